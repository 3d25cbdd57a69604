//! WAL segments are missing between two that exist.
//!
//! **Fires** when segments are missing on the way to any timeline: between two that exist, across a timeline switch,
//! or between a fork point and the first segment of the new timeline. A run of missing segments is one finding.
//!
//! **Why it matters.** PostgreSQL replays WAL until the first segment it cannot get, then promotes without an error:
//! everything behind the hole is lost although it lies in the archive.
//!
//! **Severity.** Critical where a backup has to pass the hole on its way to the end of a timeline. Info where the hole
//! is older than every usable backup; where it is "in flight", that is while the segment behind it was stored less than
//! 15 minutes before the audit; and where it was trimmed on purpose, that is between a permanent backup's last segment
//! and the next backup's first, with nothing older but permanent backups.
//!
//! **What to do.** Look for the segments in the server's `pg_wal` and wherever `archive_command` may have put them, and
//! archive them now. If they are gone, take a new base backup at once: moments before the hole stay reachable from the
//! older backups, moments behind it only from the new one.

use crate::catalog::{Gap, Obstacle};
use crate::checks::context::INFLIGHT_GRACE_S;
use crate::checks::timelines::fork;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};
use crate::model::SegmentNo;

declare_rule!("WAL001", "segment-gap", Critical, "segment_gap.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for gap in &cx.recovery.gaps {
        if gap.broken_only || fork::explains(cx, gap) {
            continue;
        }
        out.push(finding(cx, gap));
    }
    Ok(())
}

fn finding(cx: &CheckContext<'_>, gap: &Gap) -> Finding {
    let archive = cx.archive;
    let last = SegmentNo(gap.end.0 - 1);
    let present = &archive.wal.line(gap.timeline).present;
    let missing: u64 = gap.end.0 - gap.first.0;
    let range = cx.segment_range(gap.timeline, gap.first, last);
    let next_stored = archive.wal.modified(gap.next.0, gap.next.1);
    let in_flight = !archive.copied && next_stored.is_some_and(|stored| cx.is_fresh(stored, INFLIGHT_GRACE_S));
    let (severity, word) = if in_flight {
        (Severity::Info, " (in flight: the segment behind was stored less than 15 minutes ago)")
    } else if gap.trimmed {
        (Severity::Info, " (trimmed around permanent backups)")
    } else if gap.needed_by.is_empty() {
        (Severity::Info, " (no usable backup needs them)")
    } else {
        (Severity::Critical, "")
    };
    let plural = if missing == 1 { "segment" } else { "segments" };
    let mut finding = Finding::new(
        &RULE,
        archive.segment_subject(gap.timeline, gap.first),
        format!("{missing} {plural} missing: {range}{word}"),
    )
    .severity(severity)
    .count(missing)
    .segments(cx.segment(gap.timeline, gap.first), cx.segment(gap.timeline, last))
    .fact("segments_missing", missing)
    .fact("timeline", gap.timeline.get())
    .fact("from_lsn", gap.first.start(archive.segment_size).to_string())
    .fact("to_lsn", gap.end.start(archive.segment_size).to_string())
    .time_fact("next_segment_stored", next_stored)
    .objects(
        (gap.first.0..gap.end.0)
            .take(Finding::OBJECTS_MAX)
            .map(|n| archive.segment_subject(gap.timeline, SegmentNo(n))),
    );
    if let Some(before) = present.last_below(gap.first.0) {
        finding = finding.time_fact("previous_segment_stored", archive.wal.modified(gap.timeline, SegmentNo(before)));
    }
    let names: Vec<&str> = gap.needed_by.iter().map(|at| archive.backups[*at].name.as_str()).collect();
    if severity < Severity::Critical {
        return finding.advise(if in_flight { "look again in a few minutes" } else { "nothing has to be done" });
    }
    let broken: Vec<&str> = cx
        .obstacles(|obstacle| match obstacle {
            Obstacle::WalMissing { timeline, first, .. } => Some((*timeline, *first)),
            _ => None,
        })
        .into_iter()
        .filter(|(_, (timeline, first))| *timeline == gap.timeline && gap.first <= *first && *first < gap.end)
        .map(|(backup, _)| backup.name.as_str())
        .collect();
    if !broken.is_empty() {
        finding = finding.fact("breaks_backups", broken.clone());
    }
    let mut text = match names.as_slice() {
        [one] => format!("{one} cannot pass it"),
        [first, .., last] => format!("{} backups cannot pass it: {first} .. {last}", names.len()),
        [] => String::new(),
    };
    if let Some(chain) =
        cx.furthest(&gap.needed_by).filter(|chain| chain.to_lsn <= gap.first.start(archive.segment_size))
    {
        let segment = cx.segment(chain.last.0, chain.last.1);
        let time = chain.to.map(|to| format!("about {} ", short(to.at_least))).unwrap_or_default();
        text.push_str(&format!("; furthest moment they reach: {time}(LSN {}, segment {segment})", chain.to_lsn));
        finding = finding
            .fact("furthest_lsn", chain.to_lsn.to_string())
            .fact("furthest_segment", segment.to_string())
            .time_fact("furthest_time", chain.to.map(|to| to.at_least));
    }
    finding.fact("backups_affected", names).advise(format!(
        "{text}. Look for the missing segments in pg_wal or where archive_command may have moved them; if they are gone, \
         take a new base backup now"
    ))
}

fn short(time: crate::model::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
