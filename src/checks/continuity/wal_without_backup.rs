//! WAL that no usable backup can reach.
//!
//! **Fires** for segments older than the oldest usable backup, or behind a hole that no backup lies after.
//!
//! **Why it matters.** It costs storage and recovers nothing. Behind a hole it also shows what a missing segment cost.
//!
//! **What to do.** Let the backup tool delete what is older than the oldest backup. For WAL behind a hole, see WAL001.

use crate::catalog::IntervalSet;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::model::SegmentNo;

declare_rule!("WAL009", "wal-without-backup", Info, "wal_without_backup.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let size = archive.segment_size;
    let used = cx.recovery.reached(archive);
    let none = IntervalSet::new();
    for timeline in archive.wal.timelines() {
        let reached = used.get(&timeline).unwrap_or(&none);
        let present = &archive.wal.line(timeline).present;
        let mut unused = IntervalSet::new();
        for (from, to) in present.iter() {
            for (first, end) in reached.missing_in(from, to) {
                unused.insert(first, end);
            }
        }
        let (Some(first), Some(last)) = (unused.first(), unused.last()) else { continue };
        let (first, last) = (SegmentNo(first), SegmentNo(last));
        let count = unused.count();
        let is_unused =
            |row: &&crate::catalog::SegmentRow| row.name().number(size).is_some_and(|number| unused.contains(number.0));
        let bytes: u64 = archive.wal.rows(timeline).filter(is_unused).map(|row| row.size).sum();
        out.push(
            Finding::new(
                &RULE,
                archive.segment_subject(timeline, first),
                format!(
                    "{count} segments on timeline {timeline} serve no usable backup: {}",
                    cx.segment_range(timeline, first, last)
                ),
            )
            .count(count)
            .segments(cx.segment(timeline, first), cx.segment(timeline, last))
            .fact("bytes", bytes)
            .fact("timeline", timeline.get())
            .fact("runs", unused.intervals())
            .advise("the backup tool's own deletion removes WAL older than the oldest backup"),
        );
    }
    Ok(())
}
