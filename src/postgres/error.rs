use std::path::PathBuf;
use std::time::Duration;

/// What a step around PostgreSQL gives back.
pub type Result<T> = std::result::Result<T, PostgresError>;

/// Why a PostgreSQL could not be found, started or used. Never says anything about an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// No usable installation of the wanted major.
    #[error("no PostgreSQL{} found; looked in {looked}", major.map(|m| format!(" {m}")).unwrap_or_default())]
    NotFound {
        /// The major that was wanted; `None` for any.
        major: Option<u32>,
        /// Where it was looked for, and what was there instead.
        looked: String,
    },
    /// A directory or program that was named cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    NotUsable {
        /// What was named.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No user to run the server as.
    #[error("{0}")]
    User(String),
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
    /// A helper program (`initdb`, `pg_restore`, ...) failed.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },
    /// The server ended by itself.
    #[error("postgres ended by itself ({status}); the end of its log: {log}")]
    Exited {
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A time limit passed.
    #[error("{what} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// The run was asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The server answered with an error.
    #[error("{}", sql_text(.0))]
    Sql(#[from] tokio_postgres::Error),
    /// Binaries could not be fetched.
    #[error("cannot download PostgreSQL {major}: {reason}")]
    Download {
        /// The wanted major.
        major: u32,
        /// Why not.
        reason: String,
    },
}

impl PostgresError {
    /// For `map_err`: an IO error with what was tried on which path.
    pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> PostgresError {
        move |source| PostgresError::Io { what, path: path.to_owned(), source }
    }
}

/// tokio-postgres shows "db error" and hides the server's own words one level below.
fn sql_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}: {} (SQLSTATE {})", db.severity().to_lowercase(), db.message(), db.code().code()),
        None => {
            use std::error::Error;
            match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }
        }
    }
}
