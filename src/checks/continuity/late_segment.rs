//! A run of segments was uploaded long after its neighbours.
//!
//! **Fires** when segments were stored more than an hour, and more than 20 times the usual distance between uploads,
//! after the next segment that was on time. One finding for the run. Silent when more than 5 % of the archive is late,
//! and not run for a copied bucket: upload times then say nothing. A policy's `late_after` replaces both thresholds.
//!
//! **Why it matters.** Somebody set WAL aside, when `pg_wal` filled up for instance, and copied it later. Until then the
//! archive had a hole that nobody was told of; next time the files may be forgotten.
//!
//! **What to do.** Find out what moved them (a changed `archive_command`, a manual copy) and make sure it cannot recur.

use crate::catalog::SegmentRow;
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::model::TimelineId;

declare_rule!("WAL010", "late-segment", Warning, "late_segment.rs");

const LATE_S: i64 = 3600;
const LATE_MEDIANS: i64 = 20;

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    if archive.copied {
        return Err(NotRun("the bucket was copied: upload times differ from the backups' own times".to_owned()));
    }
    let mut found = Vec::new();
    let mut late_total = 0u64;
    for timeline in archive.wal.timelines() {
        let stated = cx.promises.policy.and_then(|policy| policy.late_after.copied()?.seconds());
        let threshold = match stated.and_then(|stated| i64::try_from(stated).ok()) {
            Some(stated) => stated,
            None => LATE_S.max(median_distance_s(cx, timeline).saturating_mul(LATE_MEDIANS)),
        };
        // From the newest position down: the earliest upload behind a segment is when it should have been there.
        let mut on_time: Option<jiff::Timestamp> = None;
        let mut run: Vec<SegmentRow> = Vec::new();
        let mut count = 0u64;
        let mut delay = 0i64;
        for row in archive.wal.rows(timeline).rev() {
            let stored = row.modified();
            let late_by = on_time.map_or(0, |next| stored.duration_since(next).as_secs());
            if late_by > threshold {
                run.push(*row);
                if run.len() > Finding::OBJECTS_MAX {
                    // Keep the newest and the oldest ones.
                    run.swap_remove(Finding::OBJECTS_MAX - 1);
                }
                count += 1;
                delay = delay.max(late_by);
                continue;
            }
            on_time = Some(on_time.map_or(stored, |next| next.min(stored)));
            if count > 0 {
                found.push(finding(cx, timeline, &run, count, delay, threshold));
                late_total += count;
            }
            run.clear();
            count = 0;
            delay = 0;
        }
        if count > 0 {
            found.push(finding(cx, timeline, &run, count, delay, threshold));
            late_total += count;
        }
    }
    if late_total * 20 <= archive.wal.len() {
        out.append(&mut found);
    }
    Ok(())
}

fn finding(
    cx: &CheckContext<'_>,
    timeline: TimelineId,
    run: &[SegmentRow],
    count: u64,
    delay: i64,
    threshold: i64,
) -> Finding {
    let first = run.iter().map(SegmentRow::name).min().expect("a run is not empty");
    let last = run.iter().map(SegmentRow::name).max().expect("a run is not empty");
    let hours = delay / 3600;
    let (what, whose) = if count == 1 { ("segment was", "its") } else { ("segments were", "their") };
    Finding::new(
        &RULE,
        format!("wal_005/{first}"),
        format!("{count} {what} uploaded up to {hours} h after {whose} neighbours: {first} .. {last}"),
    )
    .count(count)
    .segments(first, last)
    .objects(run.iter().map(|row| cx.archive.segment_key(row)))
    .fact("late_by_s", delay)
    .fact("threshold_s", threshold)
    .fact("timeline", timeline.get())
    .time_fact("stored", run.first().map(SegmentRow::modified))
    .advise("find out what set this WAL aside (a changed archive_command, a manual copy) and make sure it cannot recur")
}

/// The usual distance between two uploads, in seconds.
fn median_distance_s(cx: &CheckContext<'_>, timeline: TimelineId) -> i64 {
    // A million distances need no exact median: every k-th is plenty.
    let total = cx.archive.wal.line(timeline).objects;
    let step = (total / 10_000).max(1) as usize;
    let mut distances = Vec::new();
    let mut previous: Option<jiff::Timestamp> = None;
    for (at, row) in cx.archive.wal.rows(timeline).enumerate() {
        let stored = row.modified();
        if let Some(before) = previous
            && at % step == 0
        {
            distances.push(stored.duration_since(before).as_secs().abs());
        }
        previous = Some(stored);
    }
    let middle = distances.len() / 2;
    if distances.is_empty() { 0 } else { *distances.select_nth_unstable(middle).1 }
}
