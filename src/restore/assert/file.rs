//! A file of assertions: every statement has to run, and what it calls true has to be true.
//!
//! A statement that returns columns of type `boolean` has to return at least one row, and true in all of them. Lines in
//! TAP (pgTAP's `ok 1 - ..`, `not ok 2 - ..`) are read as such. Everything else only has to run without an error, as a
//! `DO` block that raises an exception where something is wrong.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures::StreamExt;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::Outcome;
use super::fault::{Fault, FaultKind};
use super::script::{Statement, split};
use super::session::{Host, Raw, Session};
use super::sql::excerpt;

/// Largest file of assertions.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Failures of one file that are told.
const TOLD_MAX: usize = 5;

/// A file, cut into statements.
pub(super) struct Script {
    name: String,
    statements: Vec<Statement>,
}

/// Reads a file. `Err` says why it cannot be run.
pub(super) fn load(base: Option<&Path>, name: &str) -> Result<Script, String> {
    let path = base.map_or_else(|| PathBuf::from(name), |base| base.join(name));
    let read = || -> std::io::Result<String> {
        let mut bytes = Vec::new();
        std::fs::File::open(&path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
        }
        String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
    };
    let text = read().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let statements = split(&text).map_err(|why| format!("{name}, {why}"))?;
    if statements.is_empty() {
        return Err(format!("{name} holds no statement: nothing was asserted"));
    }
    Ok(Script { name: name.to_owned(), statements })
}

/// What a statement came to.
enum Said {
    /// It ran and asserted nothing.
    Ran,
    /// So many values or lines, all true.
    Held(u64),
    /// Something was not.
    Fell(String),
}

/// Runs all statements on one connection, in order. One that fails does not stop the others.
pub(super) async fn run(host: &Host<'_>, database: &str, name: &str, script: &Script) -> Outcome {
    let total = script.statements.len();
    let outcome = Outcome::new(name).expected("every statement runs, and returns nothing false");
    let session = match host.users(database).await {
        Ok(session) => session,
        Err(fault) => return outcome.failed(host.why_lost("connecting", fault).await),
    };
    let (mut held, mut values) = (0_usize, 0_u64);
    let (mut failures, mut unjudged, mut corruption) = (Vec::new(), Vec::new(), false);
    for (number, statement) in script.statements.iter().enumerate() {
        if host.cancel.is_set() {
            break;
        }
        let place = || format!("statement {} ({}, line {})", number + 1, script.name, statement.line);
        match say(&session, &statement.sql).await {
            Ok(Said::Ran) => held += 1,
            Ok(Said::Held(count)) => {
                held += 1;
                values += count;
            }
            Ok(Said::Fell(why)) => failures.push(format!("{} {why}: {}", place(), excerpt(&statement.sql))),
            Err(fault) => {
                let lost = fault.kind == FaultKind::Lost;
                let fault = host.why_lost(&format!("running {}", place()), fault).await;
                let text = format!("{}: {}", place(), fault.text);
                match fault.kind {
                    FaultKind::Damage => {
                        corruption = true;
                        failures.push(text);
                    }
                    FaultKind::Statement => failures.push(text),
                    FaultKind::Unable | FaultKind::Lost => unjudged.push(text),
                }
                if lost {
                    break;
                }
            }
        }
    }
    let mut outcome = outcome.actual(format!("{held} of {total} statements hold, {values} values are true"));
    outcome.corruption = corruption;
    outcome.ok = match (failures.is_empty(), held == total) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    };
    let told = if failures.is_empty() { unjudged } else { failures };
    if !told.is_empty() {
        let more = told.len().saturating_sub(TOLD_MAX);
        let mut text = told.into_iter().take(TOLD_MAX).collect::<Vec<_>>().join("; ");
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        outcome.why = Some(text);
    }
    outcome
}

async fn say(session: &Session<'_>, sql: &str) -> Result<Said, Fault> {
    let limit = session.host().statement_time;
    // The server tells the types of the columns only when it prepares a statement.
    let prepared = session.ask(limit, session.client().prepare(sql)).await.map_err(Raw::statement)?;
    let is = |kind: &Type| -> Vec<usize> {
        let columns = prepared.columns().iter().enumerate();
        columns.filter(|(_, column)| column.type_() == kind).map(|(at, _)| at).collect()
    };
    let booleans = is(&Type::BOOL);
    let texts = if booleans.is_empty() { is(&Type::TEXT) } else { Vec::new() };
    let work = async {
        let mut stream = pin!(session.client().simple_query_raw(sql).await?);
        let (mut rows, mut held, mut fell) = (0_u64, 0_u64, None::<String>);
        while let Some(message) = stream.next().await {
            let SimpleQueryMessage::Row(row) = message? else { continue };
            rows += 1;
            for at in &booleans {
                match row.get(*at) {
                    Some("t") => held += 1,
                    other if fell.is_none() => {
                        let value = if other.is_some() { "false" } else { "null" };
                        let name = row.columns().get(*at).map_or("", |column| column.name());
                        fell = Some(format!("returned {value} in column {name} of row {rows}"));
                    }
                    _ => {}
                }
            }
            for at in &texts {
                for line in row.get(*at).unwrap_or_default().lines() {
                    match tap(line) {
                        Some(true) => held += 1,
                        Some(false) if fell.is_none() => fell = Some(format!("says {:?}", excerpt(line))),
                        _ => {}
                    }
                }
            }
        }
        Ok((rows, held, fell))
    };
    let (rows, held, fell) = session.ask(limit, work).await.map_err(Raw::statement)?;
    Ok(match fell {
        Some(why) => Said::Fell(why),
        None if rows == 0 && !booleans.is_empty() => Said::Fell("returned no row".into()),
        None if held > 0 => Said::Held(held),
        None => Said::Ran,
    })
}

/// A test line of the Test Anything Protocol; those marked as skipped or to do are none. pgTAP ends with a comment
/// where fewer tests ran than were planned.
fn tap(line: &str) -> Option<bool> {
    let line = line.trim();
    let upper = line.to_ascii_uppercase();
    if upper.contains("# SKIP") || upper.contains("# TODO") {
        return None;
    }
    let numbered = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    if line.strip_prefix("not ok").is_some_and(numbered) || line.starts_with("# Looks like you ") {
        return Some(false);
    }
    line.strip_prefix("ok").filter(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit())).map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_pgtap() {
        for (line, meaning) in [
            ("ok 1 - users exist", Some(true)),
            ("not ok 2 - orders exist", Some(false)),
            ("not ok 3 - later # TODO", None),
            ("ok 4 # SKIP no such table", None),
            ("# Looks like you failed 1 test of 3", Some(false)),
            ("1..3", None),
            ("ok", None),
            ("okay 1", None),
            ("nothing", None),
        ] {
            assert_eq!(tap(line), meaning, "{line}");
        }
    }
}
