//! A timeline holds WAL that the newest one does not descend from.
//!
//! **Fires** for each timeline with segments that is not an ancestor of the newest timeline.
//!
//! **Why it matters.** After a recovery to a point in the past, the WAL of the abandoned branch stays. It can still be
//! recovered to by naming its timeline, but `recovery_target_timeline = 'latest'` from one of its backups fails.
//!
//! **What to do.** Nothing, if the branch was left on purpose. If it was not, this is the data that was left behind.

use crate::catalog::HistoryState;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};

declare_rule!("TLI004", "dead-branch", Info, "dead_branch.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    if archive.incarnations.len() > 1 {
        return Ok(());
    }
    let Some(newest) = archive.wal.timelines().next_back() else { return Ok(()) };
    if !matches!(archive.timelines.state(newest), HistoryState::Known(_)) {
        return Ok(());
    }
    let path = archive.timelines.path(newest);
    for timeline in archive.wal.timelines().filter(|timeline| path.piece(*timeline).is_none()) {
        let line = archive.wal.line(timeline);
        let (Some(first), Some(last)) = (line.present.first(), line.present.last()) else { continue };
        let fork = archive.timelines.history(timeline).and_then(|history| history.parent());
        let origin =
            fork.map(|(parent, switch)| format!(", which left timeline {parent} at {switch}")).unwrap_or_default();
        out.push(
            Finding::new(
                &RULE,
                format!("timeline {timeline}"),
                format!(
                    "timeline {newest} does not descend from timeline {timeline}{origin}: {} segments",
                    line.present.count()
                ),
            )
            .severity(Severity::Info)
            .count(line.present.count())
            .fact("timeline", timeline.get())
            .fact("newest_timeline", newest.get())
            .fact("first", cx.segment(timeline, crate::model::SegmentNo(first)).to_string())
            .fact("last", cx.segment(timeline, crate::model::SegmentNo(last)).to_string())
            .advise(format!("name recovery_target_timeline = '{timeline}' to recover to it")),
        );
    }
    Ok(())
}
