//! The history file of a timeline is not in the archive.
//!
//! **Fires** when a timeline other than 1 has WAL or a backup, or is named as an ancestor, and its `.history` file is
//! missing.
//!
//! **Why it matters.** Recovery finds timelines by their history files. Without one, `recovery_target_timeline =
//! 'latest'` silently ends on an older timeline and promotes to a second one of the same number; the WAL that was
//! written since the promotion is never looked at. A missing file also hides every higher timeline.
//!
//! **Severity.** Critical where a usable backup or WAL on another timeline lies before it, so that a recovery has to
//! cross into it. Info where the archive begins on it: recovery from its own backups needs no history.
//!
//! **What to do.** Copy the file from any server of the cluster: it is in `pg_wal` of the promoted server and of its
//! standbys. Its content is one line per ancestor: timeline, switch position, reason.

use crate::catalog::HistoryState;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};
use crate::model::TimelineId;

use super::history_subject;

declare_rule!("TLI001", "history-missing", Critical, "history_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let has_wal = |timeline: TimelineId| archive.wal.line(timeline).objects > 0;
    for (timeline, state) in archive.timelines.iter() {
        if *state != HistoryState::Missing {
            continue;
        }
        let backups_before: Vec<&str> = cx
            .backups()
            .filter(|(backup, standing)| standing.is_usable() && backup.timeline() < timeline)
            .map(|(backup, _)| backup.name.as_str())
            .collect();
        let wal_before = archive.wal.timelines().any(|other| other < timeline);
        let in_use = has_wal(timeline) || archive.backups.iter().any(|backup| backup.timeline() == timeline);
        let (severity, word) = if backups_before.is_empty() || !in_use {
            (
                Severity::Info,
                if wal_before { "no usable backup has to cross into it" } else { "the archive begins on it" },
            )
        } else {
            (Severity::Critical, "recovery cannot cross into it")
        };
        let line = archive.wal.line(timeline);
        let mut finding = Finding::new(
            &RULE,
            history_subject(timeline),
            format!("the history file of timeline {timeline} is missing: {word}"),
        )
        .severity(severity)
        .objects([history_subject(timeline)])
        .fact("timeline", timeline.get())
        .fact("segments_on_timeline", line.present.count());
        finding = if severity == Severity::Critical {
            finding.fact("backups_affected", backups_before.clone()).advise(format!(
                "copy {:08X}.history from pg_wal of the promoted server or a standby into the archive; until then {} \
                 and older backups end before timeline {timeline}",
                timeline.get(),
                backups_before[backups_before.len() - 1]
            ))
        } else {
            finding.advise("nothing has to be done")
        };
        out.push(finding);
    }
    Ok(())
}
