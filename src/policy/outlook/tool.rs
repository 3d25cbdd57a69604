//! What the backup tool's own deletion would take, against the promises.

use std::collections::BTreeSet;
use std::collections::HashMap;

use crate::catalog::{Archive, Recovery};
use crate::model::{SegmentName, Timestamp};
use crate::policy::Span;
use crate::policy::config::Policy;
use crate::policy::retention::{Engine, EngineBackup, EngineOutcome, RestorePoint, Tier, missing_slots};

/// What one run of a tool's deletion would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolOutlook {
    /// Why the tool itself would refuse.
    pub refused: Option<String>,
    /// Backups that would go, oldest first.
    pub deletes: Vec<String>,
    /// Backups that would stay and be worth nothing: an ancestor goes.
    pub orphans: Vec<String>,
    /// WAL before this segment would go.
    pub wal_before: Option<SegmentName>,
    /// Backups that one more full backup, taken now by hand, would make it delete.
    pub evicted_by_one_more: Vec<String>,
    /// The oldest moment that could still be recovered, through to the newest.
    pub oldest_left: Option<Timestamp>,
    /// Promises that would not hold any more, one sentence each.
    pub breaks: Vec<String>,
    /// The same after one more full backup.
    pub breaks_with_one_more: Vec<String>,
}

/// Simulates a run of the tool as of a moment.
pub fn tool_outlook(
    archive: &Archive,
    recovery: &Recovery,
    policy: Option<&Policy>,
    engine: &Engine,
    as_of: Timestamp,
) -> ToolOutlook {
    let backups = engine_backups(archive);
    let outcome = match engine.run(&backups, as_of) {
        Ok(outcome) => outcome,
        Err(refusal) => return ToolOutlook { refused: Some(refusal.to_string()), ..ToolOutlook::default() },
    };
    let names = |places: &[usize]| places.iter().map(|at| backups[*at].name.clone()).collect::<Vec<_>>();
    let kept = Kept::of(archive, recovery, &outcome);
    let then = engine.run_with_one_more(&backups, as_of).ok().flatten().unwrap_or_default();
    let evicted: Vec<usize> = then.deleted.iter().copied().filter(|at| !outcome.deleted.contains(at)).collect();
    let breaks = |kept: &Kept| policy.map_or_else(Vec::new, |policy| broken(archive, recovery, policy, kept, as_of));
    let breaks_now = breaks(&kept);
    let mut breaks_then =
        if evicted.is_empty() { Vec::new() } else { breaks(&Kept { coming: 1, ..Kept::of(archive, recovery, &then) }) };
    breaks_then.retain(|line| !breaks_now.contains(line));
    ToolOutlook {
        refused: None,
        deletes: names(&outcome.deleted),
        orphans: names(&outcome.orphaned),
        wal_before: outcome.wal_before,
        evicted_by_one_more: names(&evicted),
        oldest_left: kept.oldest,
        breaks: breaks_now,
        breaks_with_one_more: breaks_then,
    }
}

fn engine_backups(archive: &Archive) -> Vec<EngineBackup> {
    let index: HashMap<&str, usize> =
        archive.backups.iter().enumerate().map(|(at, backup)| (backup.name.as_str(), at)).collect();
    let each = archive.backups.iter().map(|backup| EngineBackup {
        name: backup.name.clone(),
        full: !backup.kind.is_delta(),
        parent: backup.kind.parent().and_then(|parent| index.get(parent).copied()),
        start: backup.name_segment,
        stop: backup
            .stop_segment(archive.segment_size)
            .map(|number| number.name(backup.timeline(), archive.segment_size)),
        taken: backup.finished_at.copied().or(backup.sentinel_modified()).unwrap_or(Timestamp::UNIX_EPOCH),
        permanent: backup.permanent.copied() == Some(true),
    });
    each.collect()
}

/// What is left after a deletion.
struct Kept {
    /// Places of usable backups that stay usable.
    usable: BTreeSet<usize>,
    /// The first moment of the window that is left.
    oldest: Option<Timestamp>,
    /// Full backups that are still to be taken.
    coming: usize,
}

impl Kept {
    fn of(archive: &Archive, recovery: &Recovery, outcome: &EngineOutcome) -> Self {
        let gone = |at: &usize| outcome.deleted.contains(at) || outcome.orphaned.contains(at);
        let usable: BTreeSet<usize> =
            (0..archive.backups.len()).filter(|at| recovery.standings[*at].is_usable() && !gone(at)).collect();
        let latest = recovery.latest_window();
        let reaching = recovery.chains.iter().filter(|chain| {
            latest.is_some_and(|window| window.timeline == chain.timeline && window.to_lsn == chain.to_lsn)
                && usable.contains(&chain.backup)
                // A permanent backup in front of the limit keeps its own WAL alone.
                && outcome.wal_before.is_none_or(|limit| archive.backups[chain.backup].name_segment >= limit)
        });
        Kept { oldest: reaching.filter_map(|chain| chain.from).min(), usable, coming: 0 }
    }
}

/// Promises that hold today and would not any more.
fn broken(archive: &Archive, recovery: &Recovery, policy: &Policy, kept: &Kept, as_of: Timestamp) -> Vec<String> {
    let today = Kept::of(archive, recovery, &EngineOutcome::default());
    let mut lines = Vec::new();
    if let Some(window) = policy.recovery_window.copied().filter(|window| *window > Span::ZERO)
        && let Some(oldest_today) = today.oldest
    {
        // A young archive promises no more than its beginning.
        let needed = window.before(as_of).max(oldest_today);
        if kept.oldest.is_none_or(|oldest| oldest > needed) {
            let left = kept.oldest.map_or("nothing".to_owned(), |oldest| {
                format!("{} d", Span::between(oldest, as_of).days().unwrap_or(0))
            });
            lines.push(format!("recovery_window is {window}, {left} would be left"));
        }
    }
    if let Some(least) = policy.min_full_backups.copied() {
        let full = |at: &&usize| !archive.backups[**at].kind.is_delta();
        let fulls = |kept: &Kept| kept.usable.iter().filter(full).count() + kept.coming;
        let (was, left) = (fulls(&today), fulls(kept));
        if left < least as usize && left < was {
            lines.push(format!("min_full_backups is {least}, {left} would be left"));
        }
    }
    let points = |kept: &Kept| -> Vec<RestorePoint> {
        let taken = kept.usable.iter().filter_map(|at| archive.backups[*at].finished_at.copied());
        taken.map(|taken| RestorePoint { taken, usable_until: None }).collect()
    };
    let (was, left) = (points(&today), points(kept));
    let began = archive.backups.iter().filter_map(|backup| backup.finished_at.copied()).min();
    for tier in Tier::ALL {
        let Some(keep) = tier.keep(&policy.retention) else { continue };
        let before = missing_slots(tier, keep, &was, began, as_of);
        let after = missing_slots(tier, keep, &left, began, as_of);
        let new: Vec<String> = after.iter().filter(|slot| !before.contains(slot)).map(ToString::to_string).collect();
        if let Some(first) = new.first() {
            lines.push(format!(
                "retention.{} is {keep}, {} of its slots would be empty, first {first}",
                tier.name(),
                new.len()
            ));
        }
    }
    lines
}
