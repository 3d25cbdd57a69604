//! A WAL object is empty, or too small to be a segment in its codec.
//!
//! **Fires** for objects of zero bytes, and for those smaller than the best possible compression of a whole segment
//! leaves over. A run of such objects is one finding.
//!
//! **Why it matters.** The usual tools list such an object as present, and several of them even deliver it with success:
//! a file of zero bytes. PostgreSQL then stops with an error, or ends recovery there without one.
//!
//! **What to do.** Archive the segment again if the server still has it in `pg_wal`. Otherwise it is a hole: take a new
//! base backup now.

use crate::catalog::SegmentRow;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};
use crate::model::{SegmentNo, TimelineId};

declare_rule!("WAL003", "empty-object", Critical, "empty_object.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let size = archive.segment_size;
    for timeline in archive.wal.timelines() {
        let mut run: Vec<&SegmentRow> = Vec::new();
        let mut count = 0u64;
        let mut last: Option<u64> = None;
        for row in archive.wal.rows(timeline).filter(|row| !row.is_plausible(size)) {
            let Some(number) = row.name().number(size) else { continue };
            if last.is_some_and(|last| number.0 > last + 1) {
                out.push(finding(cx, timeline, &run, count));
                run.clear();
                count = 0;
            }
            if run.len() < Finding::OBJECTS_MAX {
                run.push(row);
            }
            count += 1;
            last = Some(number.0);
        }
        if !run.is_empty() {
            out.push(finding(cx, timeline, &run, count));
        }
    }
    Ok(())
}

fn finding(cx: &CheckContext<'_>, timeline: TimelineId, run: &[&SegmentRow], count: u64) -> Finding {
    let archive = cx.archive;
    let size = archive.segment_size;
    let first = run[0];
    let number = first.name().number(size).unwrap_or(SegmentNo(0));
    let key = archive.segment_key(first);
    let least = first.codec.plausible_segment_bytes_min(size.bytes());
    let message = if count == 1 {
        format!("{key} has {} bytes; a segment of {size} has at least {least} in this codec", first.size)
    } else {
        format!("{count} WAL objects are empty or stubs, from {key} on ({} bytes)", first.size)
    };
    // Another object of the same segment may be good: then only tools that take the first codec they find fail.
    let broken = archive.wal.line(timeline).broken.contains(number.0);
    let last = run[run.len() - 1];
    let mut finding = Finding::new(&RULE, archive.segment_subject(timeline, number), message)
        .count(count)
        .segments(first.name(), last.name())
        .objects(run.iter().map(|row| archive.segment_key(row)))
        .fact("bytes", first.size)
        .fact("bytes_min", least)
        .fact("timeline", timeline.get())
        .time_fact("stored", Some(first.modified()))
        .advise(
            "archive the segment again if the server still has it in pg_wal; if not, take a new base backup now: recovery \
             ends before this segment",
        );
    let gap = cx.recovery.gap_at(timeline, number);
    if let Some(gap) = gap {
        let names: Vec<&str> = gap.needed_by.iter().map(|at| archive.backups[*at].name.as_str()).collect();
        finding = finding.fact("backups_affected", names);
        if let Some(chain) = cx.furthest(&gap.needed_by) {
            finding = finding
                .fact("furthest_lsn", chain.to_lsn.to_string())
                .time_fact("furthest_time", chain.to.map(|to| to.at_least));
        }
        if gap.needed_by.is_empty() {
            finding = finding.severity(Severity::Info).advise("nothing has to be done: no usable backup needs it");
        }
    } else if !broken {
        finding = finding.fact("another_object_exists", true);
    }
    finding
}
