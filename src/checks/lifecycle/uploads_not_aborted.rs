//! Uploads that were never completed are never cleaned up.
//!
//! **Fires** when no enabled rule that reaches the archive aborts incomplete multipart uploads. MinIO does so by itself.
//!
//! **Why it matters.** Parts of broken uploads are billed and seen in no listing.
//!
//! **What to do.** Add a rule that aborts them after 7 days: at least twice the longest upload.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::policy::lifecycle::{Action, Provider, Rule};

declare_rule!("LFC011", "uploads-not-aborted", Info, "uploads_not_aborted.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let bucket = &cx.outlook()?.bucket;
    let aborts =
        |rule: &Rule| rule.enabled && rule.actions.iter().any(|action| matches!(action, Action::AbortUploads { .. }));
    if bucket.provider() != Provider::Minio && !bucket.rules.rules.iter().any(aborts) {
        out.push(
            Finding::new(
                &RULE,
                "bucket",
                "incomplete uploads are never aborted: they are billed and no listing shows them",
            )
            .advise("add a rule that aborts incomplete multipart uploads after 7 days"),
        );
    }
    Ok(())
}
