//! A permanent delta stands on an ancestor that may be deleted.
//!
//! **Fires** when a delta is marked permanent and one of its ancestors is not.
//!
//! **Why it matters.** Deletion keeps permanent backups only. It may remove the ancestor, and the delta that was to be
//! kept for ever is worth nothing.
//!
//! **What to do.** Mark the whole chain: `wal-g backup-mark NAME` does it for all ancestors.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP010", "permanent-chain", Warning, "permanent_chain.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    for (backup, _) in cx.backups().filter(|(backup, _)| backup.permanent.copied() == Some(true)) {
        let mut child = backup;
        for _ in 0..archive.backups.len() {
            let Some(parent) = child.kind.parent().and_then(|name| archive.backup(name)) else { break };
            if parent.permanent.copied() == Some(false) {
                out.push(
                    Finding::new(
                        &RULE,
                        backup.name.clone(),
                        format!("{} is permanent, but its ancestor {} may be deleted", backup.name, parent.name),
                    )
                    .objects(parent.sentinel.object().map(|object| &object.key))
                    .fact("ancestor", parent.name.as_str())
                    .advise(format!("wal-g backup-mark {}", backup.name)),
                );
                break;
            }
            child = parent;
        }
    }
    Ok(())
}
