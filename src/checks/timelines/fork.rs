//! Where a timeline begins, by its history file and by what the segments themselves say.

use crate::catalog::Gap;
use crate::checks::CheckContext;
use crate::model::{Lsn, SegmentNo, TimelineId};

/// A history file names another fork point than the segments around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkConflict {
    /// Whose history file.
    pub timeline: TimelineId,
    /// Where it says the parent was left.
    pub switch: Lsn,
    /// The segment in which the timeline really begins.
    pub begins: SegmentNo,
    /// How that is known.
    pub because: String,
}

/// Compares a timeline's history with the first segment stored for it.
pub fn conflict(cx: &CheckContext<'_>, timeline: TimelineId) -> Option<ForkConflict> {
    let archive = cx.archive;
    let size = archive.segment_size;
    let history = archive.timelines.history(timeline)?;
    let (parent, switch) = history.parent()?;
    let forked_in = switch.segment(size);
    let begins = SegmentNo(archive.wal.line(timeline).present.first()?);
    let found = |because: String| Some(ForkConflict { timeline, switch, begins, because });
    if begins < forked_in {
        return found(format!("segment {} lies before the switch at {switch}", cx.segment(timeline, begins)));
    }
    let page = archive.first_pages.get(&cx.segment(timeline, begins)).and_then(|page| page.get());
    if begins == forked_in {
        // The page that holds the switch still carries the parent's timeline.
        let mid_segment = switch.offset_in(size) > 0;
        return match page {
            Some(page) if mid_segment && page.timeline == timeline.get() => found(format!(
                "the first page of {} is already timeline {timeline}'s, so the switch was not behind it",
                cx.segment(timeline, begins)
            )),
            _ => None,
        };
    }
    match page {
        Some(page) if page.timeline != timeline.get() => found(format!(
            "{} begins with timeline {}'s WAL, so the switch lies in it and not at {switch}",
            cx.segment(timeline, begins),
            page.timeline
        )),
        Some(_) => None,
        None if archive.partials.iter().any(|partial| partial.name == cx.segment(parent, begins)) => found(format!(
            "timeline {parent} ends with {}.partial, where timeline {timeline} begins",
            cx.segment(parent, begins)
        )),
        None => None,
    }
}

/// Whether a gap exists only because a history file names a wrong fork point.
pub fn explains(cx: &CheckContext<'_>, gap: &Gap) -> bool {
    if gap.next.0 != gap.timeline {
        return false;
    }
    conflict(cx, gap.timeline).is_some_and(|conflict| {
        gap.first >= conflict.switch.segment(cx.archive.segment_size) && gap.end == conflict.begins
    })
}
