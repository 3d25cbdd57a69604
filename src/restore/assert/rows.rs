//! How many rows and tables there are, now and in the run before.

use std::collections::BTreeMap;

use super::Outcome;
use super::fault::{Fault, FaultKind, shown};
use super::session::{Database, Host, Raw, Session, USER_TABLES, literal};
use crate::policy::Percent;

/// What is asked of a table.
pub(super) struct Wanted<'a> {
    pub table: &'a str,
    pub min: Option<u64>,
    pub max: Option<u64>,
    pub max_drop: Option<Percent>,
    pub max_drift: Option<Percent>,
}

/// Counts the rows of a table. `Err` is the outcome for a database that has no such table.
pub(super) async fn rows(
    host: &Host<'_>,
    database: &str,
    name: &str,
    wanted: &Wanted<'_>,
    before: &BTreeMap<String, u64>,
    counts: &mut BTreeMap<String, u64>,
) -> Result<Outcome, Outcome> {
    let mut limits = Vec::new();
    limits.extend(wanted.min.map(|min| format!(">= {min}")));
    limits.extend(wanted.max.map(|max| format!("<= {max}")));
    let counted = async {
        let session = host.users(database).await?;
        let Some(table) = find_table(&session, wanted.table).await? else { return Ok(None) };
        let count = count_rows(&session, &table).await?;
        Ok::<_, Fault>(Some(count))
    };
    let outcome = Outcome::new(name);
    let count = match counted.await {
        Ok(Some(count)) => count,
        Ok(None) => {
            let text = format!("there is no table {}", shown(wanted.table));
            return Err(outcome.expected(limits.join(", ")).why(text).holds(false));
        }
        Err(fault) => {
            let doing = format!("counting the rows of {}", shown(wanted.table));
            return Ok(outcome.expected(limits.join(", ")).failed(host.why_lost(&doing, fault).await));
        }
    };
    let key = format!("{database}.{}", wanted.table);
    let earlier = before.get(&key).copied();
    counts.insert(key, count);
    let mut holds = wanted.min.is_none_or(|min| count >= min) && wanted.max.is_none_or(|max| count <= max);
    for (share, also_more) in [(wanted.max_drop, false), (wanted.max_drift, true)] {
        let Some(share) = share else { continue };
        let direction = if also_more { "fewer or more" } else { "fewer" };
        let Some(earlier) = earlier else {
            limits.push(format!("at most {share} {direction} than in the run before"));
            continue;
        };
        let room = share.of(earlier);
        holds &= count >= earlier.saturating_sub(room);
        holds &= !also_more || count <= earlier.saturating_add(room);
        limits.push(format!("at most {share} {direction} than {earlier}"));
    }
    let compares = wanted.max_drop.is_some() || wanted.max_drift.is_some();
    let outcome = outcome.expected(limits.join(", ")).actual(count.to_string());
    Ok(match earlier {
        None if compares && holds && wanted.min.is_none() && wanted.max.is_none() => {
            outcome.why("no earlier run has counted this table; the next one compares with this")
        }
        None if compares => outcome.why("no earlier run has counted this table").holds(holds),
        _ => outcome.holds(holds),
    })
}

/// Counts the tables of users in all these databases together.
pub(super) async fn tables(host: &Host<'_>, name: &str, min: u64, databases: &[&Database]) -> Outcome {
    let outcome = Outcome::new(name).expected(format!(">= {min}"));
    let mut total = 0_u64;
    for database in databases {
        let counted = async {
            if let Some(why) = &database.closed {
                return Err(Fault::unable(why));
            }
            let session = host.own(&database.name).await?;
            number(&session, &format!("select count(*) from ({USER_TABLES}) t")).await
        };
        match counted.await {
            Ok(count) => total = total.saturating_add(count),
            Err(fault) => return outcome.failed(host.why_lost("counting tables", fault).await),
        }
    }
    outcome.actual(total.to_string()).holds(total >= min)
}

/// A table as SQL names it, quoted by the server; `None` if there is none.
pub(super) async fn find_table(session: &Session<'_>, table: &str) -> Result<Option<String>, Fault> {
    // First as SQL reads the name, then letter for letter: `Order Items` in a file means that very table.
    let name = literal(table);
    let exact = format!("quote_ident({name})");
    for question in [name.as_str(), exact.as_str()] {
        match session.first_rows(&format!("select to_regclass({question})"), 1, session.host().statement_time).await {
            Ok((rows, _)) => {
                if let Some(found) = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()) {
                    return Ok(Some(found));
                }
            }
            Err(raw) => match raw.statement() {
                fault if fault.kind == FaultKind::Statement => {}
                fault => return Err(fault),
            },
        }
    }
    Ok(None)
}

/// Rows of a table that [`find_table`] found.
pub(super) async fn count_rows(session: &Session<'_>, table: &str) -> Result<u64, Fault> {
    number(session, &format!("select count(*) from {table}")).await
}

async fn number(session: &Session<'_>, sql: &str) -> Result<u64, Fault> {
    let (rows, _) = session.first_rows(sql, 1, session.host().statement_time).await.map_err(Raw::statement)?;
    let text = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default();
    text.parse().map_err(|_| Fault::unable(format!("the server answered {:?} instead of a number", shown(&text))))
}
