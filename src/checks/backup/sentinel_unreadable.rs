//! A sentinel or metadata file is empty, cut off or not what it should be.
//!
//! **Fires** when the JSON files of a backup do not parse or hold none of their fields.
//!
//! **Why it matters.** The tool lists the backup but cannot restore it. Worse, where it is the newest one, `LATEST`
//! fails too.
//!
//! **What to do.** Bring the file back from a noncurrent version or a second copy. A sentinel can be rebuilt from
//! `metadata.json`; a lost `metadata.json` from the sentinel.

use crate::catalog::SidecarState;
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

declare_rule!("BKP003", "sentinel-unreadable", Error, "sentinel_unreadable.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let mut unread = None;
    let before = out.len();
    for (backup, _) in cx.backups() {
        for (state, what) in [
            (&backup.sentinel, "sentinel"),
            (&backup.metadata, "metadata.json"),
            (&backup.files_metadata, "files_metadata.json"),
        ] {
            match state {
                SidecarState::Broken(object, why) => out.push(
                    Finding::new(&RULE, backup.name.clone(), format!("the {what} of {} {why}", backup.name))
                        .objects([&object.key])
                        .fact("file", what)
                        .fact("bytes", object.size)
                        .time_fact("stored", Some(object.modified))
                        .advise("bring it back from a noncurrent version or a second copy, or rebuild it from the files beside it"),
                ),
                SidecarState::Unread(object, why) => unread = Some(format!("{} was not read: {why}", object.key)),
                _ => {}
            }
        }
    }
    match unread {
        Some(why) if out.len() == before => Err(NotRun(why)),
        _ => Ok(()),
    }
}
