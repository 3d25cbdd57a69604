use std::io;

use crate::model::ObjectKey;
use crate::store::StoreError;

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The address or a setting is wrong.
    #[error("{0}")]
    Config(String),
    /// walproof writes its state; it never writes into an archive.
    #[error(
        "the state at {state} would lie inside the archive {archive}, where walproof never writes; \
         choose a directory or prefix outside of it"
    )]
    Inside {
        /// Where the state was to be.
        state: String,
        /// The archive around it.
        archive: String,
    },
    /// The bucket could not answer.
    #[error("{doing}: {cause}")]
    Store {
        /// What was tried.
        doing: String,
        /// What came back.
        cause: StoreError,
    },
    /// The disk could not.
    #[error("{doing}: {cause}")]
    Io {
        /// What was tried.
        doing: String,
        /// What came back.
        cause: io::Error,
    },
    /// A record of a later walproof.
    #[error(
        "the state record {key} has schema {schema}, which walproof {} does not know; \
         walproof {written_by} wrote it: use that version or a newer one",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Which record.
        key: String,
        /// Its schema.
        schema: String,
        /// The version that wrote it.
        written_by: String,
    },
    /// A record that no walproof wrote like this.
    #[error("the state record {key} is damaged: {why}")]
    Damaged {
        /// Which record.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A record larger than its kind may be.
    #[error("the state record {key} is larger than {bytes_max} bytes")]
    TooLarge {
        /// Which record.
        key: String,
        /// The limit for its kind.
        bytes_max: u64,
    },
}

impl StateError {
    #[cfg(feature = "s3")]
    pub(super) fn store(doing: impl Into<String>, cause: StoreError) -> Self {
        StateError::Store { doing: doing.into(), cause }
    }

    pub(super) fn io(doing: impl Into<String>, cause: io::Error) -> Self {
        StateError::Io { doing: doing.into(), cause }
    }

    pub(super) fn damaged(key: &str, why: impl std::fmt::Display) -> Self {
        StateError::Damaged { key: shown(key), why: shown(&why.to_string()) }
    }

    /// Whether only this record is unusable: the others can still be read.
    pub fn is_about_one_record(&self) -> bool {
        matches!(self, StateError::Damaged { .. } | StateError::TooLarge { .. })
    }
}

/// Text from outside, short and without control characters.
pub(super) fn shown(text: &str) -> String {
    let end = text.char_indices().nth(200).map_or(text.len(), |(at, _)| at);
    ObjectKey::from(&text[..end]).to_string()
}
