//! The same segment is stored under more than one name.
//!
//! **Fires** when objects of different codecs exist for one segment, after a change of the compression setting for
//! instance. A run of such segments is one finding.
//!
//! **Why it matters.** Tools take whichever extension they try first. If the contents differ, a restore depends on that
//! order and nothing says so.
//!
//! **Severity.** Warning from the listing alone; critical once `verify` has read both and they differ.
//!
//! **What to do.** Run `walproof verify --wal SEGMENT..SEGMENT` to compare them.

use crate::catalog::SegmentRow;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
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
