//! A history file contradicts another one, or the archive's own segments.
//!
//! **Fires** when two objects hold different contents for one timeline, when a history file and that of an ancestor
//! disagree on the way they share, or when the fork point it names cannot be: the timeline has segments before it, or
//! its first segment shows that the switch lies elsewhere.
//!
//! **Why it matters.** Two promotions that took the same timeline number, or a file copied from another cluster, send a
//! recovery down the wrong way: WAL of one branch is replayed on top of the other, or replay stops early without error.
//!
//! **What to do.** Compare with the file in `pg_wal` of the servers that ran on this timeline. If two servers were
//! promoted to the same number, archive the one that counts under a prefix of its own and take a new base backup.

use std::collections::BTreeSet;

use crate::catalog::HistoryState;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

use super::{fork, history_subject};

declare_rule!("TLI002", "history-conflict", Critical, "history_conflict.rs");

/// Segments whose pages `verify` found to be of other timelines than the history says.
fn contradicted_by_pages(cx: &CheckContext<'_>, out: &mut Vec<Finding>) {
    let Some(content) = cx.evidence.content else { return };
    let mut told = BTreeSet::new();
    for damage in content.of_kind(DamageKind::History) {
        let Some(segment) = damage.segment else { continue };
        let subject = history_subject(segment.timeline);
        let known = out.iter().any(|finding| finding.code == RULE.code && finding.subject == subject);
        if known || !told.insert(segment.timeline) {
            continue;
        }
        out.push(
            Finding::new(
                &RULE,
                subject.clone(),
                format!("the history of timeline {} and the pages of {segment} disagree: {}", segment.timeline, damage.message),
            )
            .objects([subject, damage.key.to_string()])
            .fact("timeline", segment.timeline.get())
            .fact("segment", segment.to_string())
            .advise("compare it with the file in pg_wal of a server that ran on this timeline, and put that one into the archive"),
        );
    }
}

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let mut unread = None;
    for (timeline, state) in archive.timelines.iter() {
        let objects = || {
            archive.histories.get(&timeline).into_iter().flat_map(|file| file.objects.iter().map(|o| o.key.to_string()))
        };
        if let HistoryState::Unread(why) = state {
            unread = Some(format!("{} was not read: {why}", history_subject(timeline)));
        }
        if archive.histories.get(&timeline).is_some_and(|file| file.conflicting) {
            out.push(
                Finding::new(
                    &RULE,
                    history_subject(timeline),
                    format!("two objects hold different histories of timeline {timeline}"),
                )
                .objects(objects())
                .fact("timeline", timeline.get())
                .advise("keep the one that the server on this timeline has in pg_wal"),
            );
            continue;
        }
        let Some(history) = archive.timelines.history(timeline) else { continue };
        if let Some(conflict) = fork::conflict(cx, timeline) {
            out.push(
                Finding::new(
                    &RULE,
                    history_subject(timeline),
                    format!("timeline {timeline} cannot begin at {}: {}", conflict.switch, conflict.because),
                )
                .objects(objects())
                .fact("timeline", timeline.get())
                .fact("switch_lsn", conflict.switch.to_string())
                .fact("first_segment", cx.segment(timeline, conflict.begins).to_string())
                .advise("compare it with the file in pg_wal of a server that ran on this timeline, and put that one into the archive"),
            );
            continue;
        }
        for (at, entry) in history.entries.iter().enumerate().skip(1) {
            let Some(ancestor) = archive.timelines.history(entry.parent) else { continue };
            let own: Vec<_> = history.entries[..at].iter().map(|e| (e.parent, e.switch)).collect();
            let theirs: Vec<_> = ancestor.entries.iter().map(|e| (e.parent, e.switch)).collect();
            if own != theirs {
                out.push(
                    Finding::new(
                        &RULE,
                        history_subject(timeline),
                        format!(
                            "the histories of timelines {timeline} and {} disagree on where they come from",
                            entry.parent
                        ),
                    )
                    .objects([history_subject(timeline), history_subject(entry.parent)])
                    .fact("timeline", timeline.get())
                    .fact("ancestor", entry.parent.get())
                    .advise("compare both with pg_wal of the servers that ran on these timelines"),
                );
                break;
            }
        }
    }
    contradicted_by_pages(cx, out);
    match unread {
        Some(why) if out.iter().all(|finding| finding.code != RULE.code) => Err(NotRun(why)),
        _ => Ok(()),
    }
}
