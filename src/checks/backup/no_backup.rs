//! The archive holds no usable backup.
//!
//! **Fires** when there is no base backup at all, or when none of those that are there can be restored.
//!
//! **Why it matters.** WAL alone recovers nothing. If the server is lost now, so is the data.
//!
//! **What to do.** Take a base backup now.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP012", "no-backup", Critical, "no_backup.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    if cx.recovery.any_usable() {
        return Ok(());
    }
    let backups = cx.archive.backups.len();
    let message = match (backups, cx.archive.unfinished.len()) {
        (0, 0) => "there is no base backup".to_owned(),
        (0, unfinished) => format!("there is no finished base backup, only {unfinished} without a sentinel"),
        (1, _) => format!("the only backup, {}, cannot be restored", cx.archive.backups[0].name),
        (count, _) => format!("none of the {count} backups can be restored"),
    };
    out.push(
        Finding::new(&RULE, "basebackups_005/", message)
            .fact("backups", backups)
            .fact("unfinished", cx.archive.unfinished.len())
            .objects(cx.archive.backups.iter().map(|backup| backup.name.as_str()))
            .advise("take a base backup now"),
    );
    Ok(())
}
