//! Moments that only content names: transactions and restore points.

use super::content::{archive_id, source};
use super::{Catalogued, Content, Target};
use crate::model::{Lsn, TimelineId, Timestamp};
use crate::run::RunContext;
use crate::state::State;
use crate::verify::{self, Ledger};

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentMoment {
    /// The end of a transaction.
    Transaction(u32),
    /// A named restore point.
    RestorePoint(String),
}

/// Where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The timeline whose file holds it.
    pub timeline: TimelineId,
    /// First position behind its record.
    pub lsn: Lsn,
    /// One sentence on what was found.
    pub note: String,
}

/// Looks a moment up in what earlier runs of `verify` proved.
///
/// # Errors
/// Why it cannot be told where the moment is; always a sentence for people.
pub async fn locate(
    target: &Target,
    found: &Catalogued,
    state: Option<&State>,
    moment: &ContentMoment,
    ctx: &RunContext,
) -> Result<Vec<Located>, String> {
    let Content::Known(known) = &found.content else { return Err("the archive is not read".to_owned()) };
    let Some(state) = state else {
        return Err(
            "transactions and restore points are found in WAL that was read: run walproof verify with --state, then \
                    ask with the same --state"
                .to_owned(),
        );
    };
    let ledger = Ledger::read(state, &archive_id(target, found), ctx.as_of).await;
    let ledger = ledger.map_err(|error| format!("reading earlier proofs: {error}"))?;
    let when = |time: Option<Timestamp>| {
        time.map(|time| format!(" at {}", time.strftime("%Y-%m-%d %H:%M:%S%.f UTC"))).unwrap_or_default()
    };
    let located: Vec<Located> = match moment {
        ContentMoment::RestorePoint(name) => ledger
            .points_named(name)
            .filter_map(|point| {
                let timeline = TimelineId::new(point.timeline)?;
                let note = format!("restore point made{}, LSN {} on timeline {timeline}", when(point.time), point.lsn);
                Some(Located { timeline, lsn: point.lsn, note })
            })
            .collect(),
        ContentMoment::Transaction(xid) => {
            let ended = verify::find_transaction(&source(target, known), &known.archive, &ledger, *xid, ctx).await?;
            let located = ended.into_iter().map(|ended| {
                let word = if ended.committed { "committed" } else { "was rolled back" };
                let (timeline, lsn) = (ended.timeline, ended.lsn);
                let note = format!("transaction {xid} {word}{}, LSN {lsn} on timeline {timeline}", when(ended.time));
                Located { timeline, lsn, note }
            });
            located.collect()
        }
    };
    if located.is_empty() {
        let what = match moment {
            ContentMoment::Transaction(xid) => format!("the end of transaction {xid}"),
            ContentMoment::RestorePoint(_) => "no restore point of that name".to_owned(),
        };
        let not = if matches!(moment, ContentMoment::Transaction(_)) { " is not" } else { " is" };
        return Err(format!("{what}{not} in the WAL that was read so far (walproof verify reads the rest)"));
    }
    Ok(located)
}
