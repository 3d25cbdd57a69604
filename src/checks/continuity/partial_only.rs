//! A segment that recovery may need exists only as `.partial`.
//!
//! **Fires** for a `.partial` object whose segment is complete neither on its own timeline nor on one that descends
//! from it.
//!
//! **Why it matters.** Recovery never asks for `.partial` files. Whatever was committed in that segment cannot be
//! recovered until somebody renames the file by hand.
//!
//! **What to do.** If the server that wrote it is lost, copy the object under the segment's own name: PostgreSQL stops
//! at its end. If a promoted server continued from it, its first segment should be in the archive: see WAL001.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("WAL007", "partial-only", Warning, "partial_only.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    for partial in &archive.partials {
        let Some(number) = partial.name.number(archive.segment_size) else { continue };
        let own = partial.name.timeline;
        let complete = |timeline| archive.wal.line(timeline).present.contains(number.0);
        let continued = archive.wal.timelines().any(|timeline| {
            complete(timeline) && (timeline == own || archive.timelines.path(timeline).piece(own).is_some())
        });
        if continued {
            continue;
        }
        out.push(
            Finding::new(
                &RULE,
                format!("wal_005/{}.partial", partial.name),
                format!("{} exists only as .partial, which recovery never reads", partial.name),
            )
            .objects([&partial.object.key])
            .segments(partial.name, partial.name)
            .fact("bytes", partial.object.size)
            .fact("timeline", own.get())
            .time_fact("stored", Some(partial.object.modified))
            .advise(
                "if the server that wrote it is gone, store it under the segment's own name to recover what it holds",
            ),
        );
    }
    Ok(())
}
