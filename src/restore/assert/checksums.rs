//! Comparison with a table of names, row counts and checksums that was backed up with the data.

use super::Outcome;
use super::fault::{Fault, FaultKind, shown};
use super::rows::{count_rows, find_table};
use super::session::{Host, Raw, Session, TextRow, quoted};
use crate::policy::config::CHECKSUM_QUERY;

/// Rows of the checksum table that are compared.
const ROWS_MAX: usize = 100_000;
/// Rows that differ which are told one by one.
const TOLD_MAX: usize = 50;

/// Where checksums are, and how they were computed.
pub(super) struct Wanted<'a> {
    pub table: &'a str,
    pub query: Option<&'a str>,
    pub column: Option<&'a str>,
}

/// Compares every table that is named. `Err` is the outcome for a database without a checksum table.
pub(super) async fn compare(
    host: &Host<'_>,
    database: &str,
    name: &str,
    wanted: &Wanted<'_>,
) -> Result<Vec<Outcome>, Outcome> {
    let outcome = Outcome::new(name);
    let read = async {
        let session = host.users(database).await?;
        let Some(table) = find_table(&session, wanted.table).await? else { return Ok(None) };
        let query = match wanted.column {
            Some(column) => quoted(column),
            None => "null".to_owned(),
        };
        let sql = format!("select table_name, row_count, checksum, {query} from {table} order by 1");
        let rows = session.first_rows(&sql, ROWS_MAX, host.statement_time).await.map_err(Raw::statement)?;
        Ok::<_, Fault>(Some((session, rows)))
    };
    let (session, (rows, count)) = match read.await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let text = format!("there is no table {}", shown(wanted.table));
            return Err(outcome.expected("the checksums that were backed up").why(text).holds(false));
        }
        Err(fault) => return Ok(vec![outcome.failed(host.why_lost("reading the checksums", fault).await)]),
    };
    if count == 0 {
        let text = format!("{} holds no row: nothing was compared", shown(wanted.table));
        return Ok(vec![outcome.expected("the checksums that were backed up").why(text).holds(false)]);
    }
    let (mut agree, mut differ, mut unjudged, mut damaged) = (0_u64, 0_u64, count - rows.len() as u64, 0_u64);
    let mut told = Vec::new();
    for row in rows {
        if host.cancel.is_set() {
            break;
        }
        let about = format!("{name}: {}", row.first().and_then(Option::as_deref).unwrap_or("null"));
        let one = match compare_one(&session, &row, wanted, Outcome::new(about)).await {
            Ok(one) => one,
            Err((one, fault)) => one.failed(host.why_lost("computing a checksum", fault).await),
        };
        match one.ok {
            Some(true) => {
                agree += 1;
                continue;
            }
            Some(false) => differ += 1,
            None => unjudged += 1,
        }
        damaged += u64::from(one.corruption);
        if told.len() < TOLD_MAX {
            told.push(one);
        }
    }
    let mut text = format!("{agree} of {count} tables agree");
    if differ > 0 {
        text.push_str(&format!(", {differ} differ"));
    }
    if unjudged > 0 {
        text.push_str(&format!(", {unjudged} could not be compared"));
    }
    let mut summary = outcome.expected(format!("{count} tables as they were backed up")).actual(text);
    summary.ok = match (differ, unjudged) {
        (1.., _) => Some(false),
        (0, 1..) => None,
        (0, 0) => Some(true),
    };
    if summary.ok.is_none() {
        summary.why = told.iter().find_map(|one| one.why.clone());
    }
    summary.corruption = damaged > 0 && damaged == differ;
    told.insert(0, summary);
    Ok(told)
}

async fn compare_one(
    session: &Session<'_>,
    row: &TextRow,
    wanted: &Wanted<'_>,
    outcome: Outcome,
) -> Result<Outcome, (Outcome, Fault)> {
    let [Some(name), rows, checksum, query] = row.as_slice() else {
        return Ok(outcome.why("the row names no table"));
    };
    if rows.is_none() && checksum.is_none() {
        return Ok(outcome.why("the row holds neither a count nor a checksum"));
    }
    let mut expected = Vec::new();
    expected.extend(rows.as_ref().map(|rows| format!("{rows} rows")));
    expected.extend(checksum.as_ref().map(|checksum| format!("checksum {checksum}")));
    let outcome = outcome.expected(expected.join(", "));
    let found = async {
        let Some(table) = find_table(session, name).await? else { return Ok(None) };
        let counted = match rows {
            Some(_) => Some(count_rows(session, &table).await?.to_string()),
            None => None,
        };
        let computed = match checksum {
            Some(_) => {
                let template = query.as_deref().or(wanted.query).unwrap_or(CHECKSUM_QUERY);
                Some(compute(session, &template.replace("{table}", &table)).await?)
            }
            None => None,
        };
        Ok::<_, Fault>(Some((counted, computed)))
    };
    match found.await {
        Ok(Some((counted, computed))) => {
            let mut actual = Vec::new();
            actual.extend(counted.as_ref().map(|rows| format!("{rows} rows")));
            actual.extend(computed.as_ref().map(|sum| format!("checksum {}", sum.as_deref().unwrap_or("null"))));
            let holds = counted.is_none_or(|counted| Some(counted) == *rows)
                && computed.is_none_or(|computed| computed == *checksum);
            Ok(outcome.actual(actual.join(", ")).holds(holds))
        }
        Ok(None) => Ok(outcome.why("there is no such table").holds(false)),
        Err(fault) => Err((outcome, fault)),
    }
}

/// The value of a checksum query. As a part of a larger query, so that a text which lay in the database can be nothing
/// but a query.
async fn compute(session: &Session<'_>, query: &str) -> Result<Option<String>, Fault> {
    let limit = session.host().statement_time;
    let sql = format!("select s.v::text from ({}\n) as s(v) limit 2", query.trim().trim_end_matches(';'));
    let statement = session.ask(limit, session.client().prepare(&sql)).await.map_err(Raw::statement)?;
    let rows = session.ask(limit, session.client().query(&statement, &[])).await.map_err(Raw::statement)?;
    match rows.as_slice() {
        [row] => row.try_get(0).map_err(|error| Fault::unable(error.to_string())),
        rows => Err(Fault {
            kind: FaultKind::Statement,
            text: format!("the checksum query returned {} rows, not one", rows.len()),
            code: None,
        }),
    }
}
