//! The same segment is stored under more than one name.
//!
//! **Fires** when objects of different codecs exist for one segment, after a change of the compression setting for
//! instance. A run of such segments is one finding.
//!
//! **Why it matters.** Tools take whichever extension they try first. If the contents differ, a restore depends on that
//! order and nothing says so.
//!
//! **Severity.** Warning from the listing alone, and where `verify` has read all copies and they agree; critical once it has
//! read them and they differ in what recovery reads.
//!
//! **What to do.** Run `walproof verify --wal SEGMENT..SEGMENT` to compare them.

use crate::catalog::SegmentRow;
use crate::catalog::evidence::DuplicateSeen;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};
use crate::model::TimelineId;

declare_rule!("WAL004", "duplicate-segment", Warning, "duplicate_segment.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for timeline in cx.archive.wal.timelines() {
        let mut run: Vec<SegmentRow> = Vec::new();
        let mut segments = 0u64;
        let mut last_number = None;
        let mut rows = cx.archive.wal.rows(timeline).peekable();
        while let Some(row) = rows.next() {
            let mut same = vec![*row];
            while let Some(next) = rows.peek().filter(|next| next.name() == row.name()) {
                same.push(**next);
                rows.next();
            }
            let seen = cx
                .evidence
                .content
                .and_then(|content| content.duplicates.iter().find(|seen| seen.segment == row.name()));
            if let Some(seen) = seen.filter(|seen| !seen.equal) {
                out.push(differing(seen));
                continue;
            }
            let codecs = same.iter().any(|other| other.codec != row.codec);
            let number = row.name().number(cx.archive.segment_size).map(|number| number.0);
            if !codecs {
                continue;
            }
            if segments > 0 && number != last_number {
                out.push(finding(cx, timeline, &run, segments));
                run.clear();
                segments = 0;
            }
            segments += 1;
            last_number = number.map(|number| number + 1);
            if run.len() < Finding::OBJECTS_MAX {
                run.extend(same);
            }
        }
        if segments > 0 {
            out.push(finding(cx, timeline, &run, segments));
        }
    }
    Ok(())
}

/// Copies that were read and hold different WAL.
fn differing(seen: &DuplicateSeen) -> Finding {
    let segment = seen.segment;
    let keys: Vec<String> = seen.keys.iter().map(ToString::to_string).collect();
    Finding::new(
        &RULE,
        format!("wal_005/{segment}"),
        format!("{segment} is stored {} times and the copies differ: {}", keys.len(), keys.join(", ")),
    )
    .severity(Severity::Critical)
    .segments(segment, segment)
    .objects(&seen.keys)
    .fact("contents", "different")
    .fact("timeline", segment.timeline.get())
    .advise(
        "find out which copy is right (compare with pg_wal of the server) and take the other away: a restore takes \
             whichever its tool tries first",
    )
}

fn finding(cx: &CheckContext<'_>, timeline: TimelineId, rows: &[SegmentRow], segments: u64) -> Finding {
    let first = rows[0].name();
    let last = rows[rows.len() - 1].name();
    let codecs: std::collections::BTreeSet<String> = rows.iter().map(|row| row.codec.to_string()).collect();
    let codecs: Vec<String> = codecs.into_iter().collect();
    let message = if segments == 1 {
        format!("{first} is stored {} times ({})", rows.len(), codecs.join(", "))
    } else {
        format!("{segments} segments from {first} on are stored more than once ({})", codecs.join(", "))
    };
    Finding::new(&RULE, format!("wal_005/{first}"), message)
        .count(segments)
        .segments(first, last)
        .objects(rows.iter().map(|row| cx.archive.segment_key(row)))
        .fact("codecs", codecs)
        .fact("timeline", timeline.get())
        .advise(format!("compare their contents: walproof verify --wal {first}..{last}"))
}
