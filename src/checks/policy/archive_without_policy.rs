//! An archive lies in a configured bucket, but no cluster of the policy names it.
//!
//! **Fires** when an audited archive is in a bucket (or directory) that the configuration names for other clusters, while
//! none of them is this one.
//!
//! **Why it matters.** Archives are forgotten after mergers and upgrades: nobody promised anything about them, so nobody
//! notices when they stop, fill up, or lose what somebody still counts on.
//!
//! **What to do.** Give it a `[[cluster]]` with its promises, or delete it.

use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

declare_rule!("POL001", "archive-without-policy", Warning, "archive_without_policy.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    if cx.promises.exceptions.is_none() {
        return Err(NotRun("no configuration".to_owned()));
    }
    if let Some(neighbour) = cx.promises.unnamed {
        let root = cx.archive.root.to_string();
        let subject = if root.is_empty() { "archive".to_owned() } else { root };
        out.push(
            Finding::new(
                &RULE,
                subject,
                format!("no cluster of the configuration names this archive, though {neighbour} lies beside it"),
            )
            .fact("neighbour", neighbour)
            .fact("backups", cx.archive.backups.len())
            .advise("give it a [[cluster]] with its promises, or delete it"),
        );
    }
    Ok(())
}
