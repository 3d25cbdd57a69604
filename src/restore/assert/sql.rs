//! One value of a query: compared, or taken as a moment.

use super::Outcome;
use super::fault::{Fault, FaultKind, shown};
use super::session::{Host, Raw, Session, literal};
use crate::model::Timestamp;
use crate::policy::Span;
use crate::policy::config::{Comparison, Expect};

/// A query whose only value has to be what is expected.
pub(super) async fn value(host: &Host<'_>, database: &str, name: &str, sql: &str, expect: &Expect) -> Outcome {
    let outcome = Outcome::new(name).expected(expect.to_string());
    let judged = async {
        let session = host.users(database).await?;
        let value = only_value(&session, sql).await?;
        let holds = match expect.holds(value.as_deref()) {
            Some(holds) => holds,
            None => matches(&session, value.as_deref().unwrap_or_default(), expect).await?,
        };
        Ok::<_, Fault>((holds, value))
    };
    match judged.await {
        Ok((holds, value)) => outcome.actual(value.as_deref().unwrap_or("null")).holds(holds),
        Err(fault) => outcome.failed(host.why_lost("running an assertion", fault).await),
    }
}

/// A query whose value is a moment near the one that was recovered to.
pub(super) async fn fresh(
    host: &Host<'_>,
    database: &str,
    name: &str,
    sql: &str,
    within: Span,
    at: Option<Timestamp>,
) -> Outcome {
    let Some(at) = at else {
        let text = format!("within {within} of the recovered moment");
        return Outcome::new(name).expected(text).why("the moment that was recovered to is not known");
    };
    let outcome = Outcome::new(name).expected(format!("within {within} of {at}"));
    let judged = async {
        let session = host.users(database).await?;
        let Some(value) = only_value(&session, sql).await? else { return Ok(None) };
        // The server knows every way to write a moment; this reads dates and both kinds of timestamps.
        let question = format!("select extract(epoch from ({})::timestamptz)::float8", literal(&value));
        let answer = session.first_rows(&question, 1, host.statement_time).await.map_err(Raw::statement);
        let seconds = match answer {
            Ok((rows, _)) => rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()),
            Err(fault) if fault.kind == FaultKind::Statement => None,
            Err(fault) => return Err(fault),
        };
        let seconds = seconds.and_then(|text| text.parse::<f64>().ok()).filter(|seconds| seconds.is_finite());
        Ok::<_, Fault>(Some((value, seconds)))
    };
    let (value, seconds) = match judged.await {
        Ok(Some(found)) => found,
        Ok(None) => return outcome.actual("null").holds(false),
        Err(fault) => return outcome.failed(host.why_lost("running an assertion", fault).await),
    };
    let Some(seconds) = seconds else {
        return outcome.actual(&value).why("the value is no moment").holds(false);
    };
    let age = at.as_second() as f64 - seconds;
    let side = if age < 0.0 { "after" } else { "before" };
    let distance = Span::from_seconds(age.abs().min(i64::MAX as f64) as u64);
    let holds = within.seconds().is_none_or(|limit| age.abs() < limit as f64 + 1.0);
    outcome.actual(format!("{value}, {distance} {side} it")).holds(holds)
}

/// The first and only value of a query. No row is no value, which no comparison accepts; several rows or columns are a
/// query that says something else than its author thinks.
async fn only_value(session: &Session<'_>, sql: &str) -> Result<Option<String>, Fault> {
    let (rows, count) = session.first_rows(sql, 1, session.host().statement_time).await.map_err(Raw::statement)?;
    let statement = |text: String| Fault { kind: FaultKind::Statement, text, code: None };
    let Some(row) = rows.into_iter().next() else {
        return Err(statement("the query returned no row".into()));
    };
    if count > 1 || row.len() != 1 {
        return Err(statement(format!("the query returned {count} rows of {} columns, not one value", row.len())));
    }
    Ok(row.into_iter().next().flatten())
}

/// Regular expressions are PostgreSQL's, so that they mean what a user of PostgreSQL thinks.
async fn matches(session: &Session<'_>, value: &str, expect: &Expect) -> Result<bool, Fault> {
    let question = format!("select {} ~ {}", literal(value), literal(&expect.value));
    let (rows, _) = session.first_rows(&question, 1, session.host().statement_time).await.map_err(Raw::statement)?;
    let matched = rows.first().and_then(|row| row.first()).is_some_and(|cell| cell.as_deref() == Some("t"));
    Ok(matched == (expect.operator == Comparison::Matches))
}

/// A statement as a report names it.
pub(super) fn excerpt(sql: &str) -> String {
    let text = shown(sql);
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
