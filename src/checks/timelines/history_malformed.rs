//! A history file cannot be parsed.
//!
//! **Fires** when a `.history` object is empty, is not text of the form `timeline<TAB>position<TAB>reason`, or holds
//! lines that no server writes: ancestors out of order, switch positions that go back.
//!
//! **Why it matters.** PostgreSQL refuses to start recovery when it reads such a file, for this timeline and for all
//! that are probed with it.
//!
//! **What to do.** Replace it with the file from `pg_wal` of a server that ran on this timeline.

use crate::catalog::HistoryState;
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

use super::history_subject;

declare_rule!("TLI003", "history-malformed", Error, "history_malformed.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let mut unread = None;
    let mut found = false;
    for (timeline, state) in cx.archive.timelines.iter() {
        match state {
            HistoryState::Malformed(problem) => {
                found = true;
                let objects = cx
                    .archive
                    .histories
                    .get(&timeline)
                    .into_iter()
                    .flat_map(|file| file.objects.iter().map(|o| &o.key));
                out.push(
                    Finding::new(
                        &RULE,
                        history_subject(timeline),
                        format!("the history file of timeline {timeline} {problem}"),
                    )
                    .objects(objects)
                    .fact("timeline", timeline.get())
                    .advise("replace it with the file from pg_wal of a server that ran on this timeline"),
                );
            }
            HistoryState::Unread(why) => unread = Some(format!("{} was not read: {why}", history_subject(timeline))),
            _ => {}
        }
    }
    match unread {
        Some(why) if !found => Err(NotRun(why)),
        _ => Ok(()),
    }
}
