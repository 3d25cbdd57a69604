//! WAL that no usable backup can reach.
//!
//! **Fires** for segments older than the oldest usable backup, or behind a hole that no backup lies after.
//!
//! **Why it matters.** It costs storage and recovers nothing. Behind a hole it also shows what a missing segment cost.
//!
//! **What to do.** Let the backup tool delete what is older than the oldest backup. For WAL behind a hole, see WAL001.

use std::collections::BTreeMap;

use crate::catalog::IntervalSet;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::model::{SegmentNo, TimelineId};

declare_rule!("WAL009", "wal-without-backup", Info, "wal_without_backup.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let size = archive.segment_size;
    let mut used: BTreeMap<TimelineId, IntervalSet> = BTreeMap::new();
    for chain in &cx.recovery.chains {
        if !cx.recovery.standings[chain.backup].is_usable() {
            continue;
        }
        let Some(start) = archive.backups[chain.backup].start_segment(size) else { continue };
        for file in archive.timelines.path(chain.timeline).files(size) {
            let first = file.first.max(start).0;
            let end = file.end.map_or(u64::MAX, |end| end.0).min(chain.last.1.0 + 1);
            used.entry(file.timeline).or_default().insert(first, end.max(first));
        }
    }
    let none = IntervalSet::new();
    for timeline in archive.wal.timelines() {
        let reached = used.get(&timeline).unwrap_or(&none);
        let present = &archive.wal.line(timeline).present;
        let unused: Vec<(u64, u64)> = present.iter().flat_map(|(from, to)| reached.missing_in(from, to)).collect();
        let (Some(first), Some(last)) = (unused.first(), unused.last()) else { continue };
        let (first, last) = (SegmentNo(first.0), SegmentNo(last.1 - 1));
        let count: u64 = unused.iter().map(|(from, to)| to - from).sum();
        let bytes: u64 = archive
            .wal
            .rows(timeline)
            .filter(|row| {
                let number = row.name().number(size);
                number.is_some_and(|number| unused.iter().any(|(from, to)| *from <= number.0 && number.0 < *to))
            })
            .map(|row| row.size)
            .sum();
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
            .fact("runs", unused.len())
            .advise("the backup tool's own deletion removes WAL older than the oldest backup"),
        );
    }
    Ok(())
}
