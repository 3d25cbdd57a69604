//! What an error of a restored server means: damaged data, a statement that does not hold, or nothing at all.

use tokio_postgres::error::{DbError, SqlState};

/// Longest text taken over from a server.
const TEXT_CHARS_MAX: usize = 600;

/// Whose fault it is that a question got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The data on disk is damaged.
    Damage,
    /// The statement failed on what the database holds: a table is missing, a value does not fit.
    Statement,
    /// It says nothing about the data: a time limit, a missing library, a lost connection.
    Unable,
    /// The connection broke. Whoever asked finds out why.
    Lost,
}

/// A question that got no answer.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub kind: FaultKind,
    pub text: String,
    /// The SQLSTATE, where the server gave one.
    pub code: Option<SqlState>,
}

impl Fault {
    pub fn unable(text: impl Into<String>) -> Self {
        Fault { kind: FaultKind::Unable, text: text.into(), code: None }
    }

    /// An error of somebody's statement.
    pub fn of(error: &tokio_postgres::Error) -> Self {
        Fault::judged(error, of_statement)
    }

    /// An error while walproof itself reads a relation: there is no statement that could be wrong.
    pub fn of_reading(error: &tokio_postgres::Error) -> Self {
        Fault::judged(error, of_reading)
    }

    fn judged(error: &tokio_postgres::Error, kind: fn(&DbError) -> FaultKind) -> Self {
        let Some(db) = error.as_db_error() else {
            use std::error::Error;
            let text = match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            let kind = if error.is_closed() || is_io(error) { FaultKind::Lost } else { FaultKind::Unable };
            return Fault { kind, text: shown(&text), code: None };
        };
        let mut text = db.message().to_owned();
        if let Some(detail) = db.detail() {
            text = format!("{text} ({detail})");
        }
        Fault {
            kind: kind(db),
            text: format!("{} [{}]", shown(&text), db.code().code()),
            code: Some(db.code().clone()),
        }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    use std::error::Error;
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}

/// Text from a server or a database: bounded, on one line, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars().take(TEXT_CHARS_MAX) {
        match c {
            '\n' | '\r' | '\t' if out.ends_with(' ') => {}
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    if text.trim().chars().nth(TEXT_CHARS_MAX).is_some() {
        out.push_str("...");
    }
    out
}

/// What is the same for every statement. `None`: it depends on the statement.
fn common(db: &DbError) -> Option<FaultKind> {
    let (code, message) = (db.code().code(), db.message());
    Some(match code {
        "XX001" | "XX002" => FaultKind::Damage,
        // A library of an extension that this machine does not have; its code is that of any missing file.
        _ if message.starts_with("could not access file") || message.starts_with("could not load library") => {
            FaultKind::Unable
        }
        _ if message.starts_with("database locale is incompatible") => FaultKind::Unable,
        // A relation without its file.
        "58P01" if message.starts_with("could not open file \"") => FaultKind::Damage,
        // The server is going down: why is found out from its log.
        "57P01" | "57P02" | "57P03" => FaultKind::Lost,
        _ if matches!(code.get(..2), Some("53" | "57" | "58")) => FaultKind::Unable,
        // Writing where assertions may only read, and what follows from an error before.
        "25006" | "25P02" => FaultKind::Unable,
        _ => return None,
    })
}

fn of_statement(db: &DbError) -> FaultKind {
    common(db).unwrap_or(FaultKind::Statement)
}

fn of_reading(db: &DbError) -> FaultKind {
    common(db).unwrap_or_else(|| match db.code().code().get(..2) {
        // Internal errors, and values that their own type cannot print.
        Some("XX" | "22") => FaultKind::Damage,
        _ => FaultKind::Unable,
    })
}
