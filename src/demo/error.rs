use std::path::{Path, PathBuf};

use crate::postgres::PostgresError;

/// What a step of the demo gives back.
pub type Result<T> = std::result::Result<T, DemoError>;

/// Why a demo archive could not be made or damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// Something around the server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The file system refused.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The directory for an archive holds something already.
    #[error("{path} is not empty: the demo only writes into a new or empty directory", path = .0.display())]
    NotEmpty(PathBuf),
    /// A major that the demo cannot work with.
    #[error("the demo needs PostgreSQL {oldest} or newer, not {major}")]
    TooOld {
        /// The one that was asked for.
        major: u32,
        /// The oldest that works.
        oldest: u32,
    },
    /// The server said something that was not expected.
    #[error("unexpected answer of PostgreSQL: {0}")]
    Unexpected(String),
    /// The archive has nothing that could be damaged in this way.
    #[error("{path}: nothing there to damage in this way: {reason}", path = path.display())]
    NothingToDamage {
        /// The archive.
        path: PathBuf,
        /// What it lacks.
        reason: String,
    },
}

impl DemoError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DemoError {
        move |source| DemoError::Io { what, path: path.to_owned(), source }
    }
}

impl From<tokio_postgres::Error> for DemoError {
    fn from(error: tokio_postgres::Error) -> Self {
        DemoError::Postgres(PostgresError::Sql(error))
    }
}
