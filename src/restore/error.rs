use std::io;
use std::path::Path;

use super::Refusal;
use crate::codec::tarball::TarError;
use crate::fetch::Problem;

/// Why a backup was not restored. What was written so far stays, without `global/pg_control`, so that no server starts
/// on it by mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Known before the first byte.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The archive is damaged: an object, by its key, and what is wrong with it.
    #[error("{key}: {what}")]
    Damaged {
        /// The object, relative to the archive's root.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// All tars were read, and files that the backup's own list names were in none of them.
    #[error("{count} files that the backup lists are in none of its tars, e.g. {first}")]
    FilesMissing {
        /// How many.
        count: u64,
        /// One of them.
        first: String,
    },
    /// An object is there, but cannot be read as things are: a key is missing, a class, a permission.
    #[error("{key}: {problem}")]
    Unreadable {
        /// The object, relative to the archive's root.
        key: String,
        /// Why.
        problem: Problem,
    },
    /// The place to restore to cannot be used.
    #[error("{0}")]
    Target(String),
    /// A file or directory of the target could not be written.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// Stopped on request; the same call goes on where this one ended.
    #[error("stopped on request")]
    Stopped,
}

impl RestoreError {
    /// Whether the archive is at fault, and not the machine, the store or whoever asked.
    pub fn is_defect(&self) -> bool {
        match self {
            RestoreError::Refused(refusal) => refusal.is_defect(),
            RestoreError::Damaged { .. } | RestoreError::FilesMissing { .. } => true,
            RestoreError::Unreadable { problem, .. } => matches!(problem, Problem::Gone | Problem::WrongKey(_)),
            _ => false,
        }
    }

    /// Sorts what went wrong with an object.
    pub(super) fn of_object(key: &impl std::fmt::Display, problem: Problem) -> Self {
        match problem {
            Problem::Stopped => RestoreError::Stopped,
            Problem::Damaged(_) | Problem::TooLarge(_) | Problem::Gone => {
                RestoreError::Damaged { key: key.to_string(), what: problem.to_string() }
            }
            problem => RestoreError::Unreadable { key: key.to_string(), problem },
        }
    }

    pub(super) fn of_tar(key: &impl std::fmt::Display, error: TarError) -> Self {
        match error {
            TarError::Structure(problem) => RestoreError::Damaged { key: key.to_string(), what: problem.to_string() },
            TarError::Read(error) => RestoreError::of_read(key, &error),
        }
    }

    /// An error that came up through the decoder or the tar.
    pub(super) fn of_read(key: &impl std::fmt::Display, error: &io::Error) -> Self {
        match crate::codec::tarball::tar_problem(error) {
            Some(problem) => RestoreError::Damaged { key: key.to_string(), what: problem.to_string() },
            None => RestoreError::of_object(key, Problem::of_io(error)),
        }
    }

    pub(super) fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{verb} {}", path.display());
        move |error| RestoreError::Io { what, error }
    }
}
