//! Versioning is off or suspended: a deletion is final.
//!
//! **Fires** when the bucket's settings say that versioning is not enabled, unless the policy says `storage.versioning =
//! "any"`. Suspended is not enabled: whatever is written or deleted from then on has no past.
//!
//! **Near miss.** A bucket whose settings do not say: the rule does not run then.
//!
//! **Why it matters.** A wrong rule, a wrong `delete --confirm` or a stolen key takes backups for good.
//!
//! **What to do.** Enable versioning, and let noncurrent versions live for the time in which a mistake is noticed.

use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::policy::config::VersioningPolicy;
use crate::policy::lifecycle::Versioning;

declare_rule!("LFC007", "versioning-off", Warning, "versioning_off.rs");

/// Why nothing about old versions can be said.
pub(super) const NOT_SAID: &str = "the file with the bucket's rules does not say whether versioning is enabled";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let bucket = &cx.outlook()?.bucket;
    let Some(versioning) = bucket.versioning else { return Err(NotRun(NOT_SAID.to_owned())) };
    let any = cx.promises.policy.and_then(|policy| policy.storage.versioning.copied()) == Some(VersioningPolicy::Any);
    if versioning != Versioning::Enabled && !any {
        out.push(
            Finding::new(
                &RULE,
                "versioning",
                format!("versioning is {}: a deletion is final", versioning.name().to_lowercase()),
            )
            .fact("versioning", versioning.name())
            .advise("enable versioning and let noncurrent versions live for the undo window"),
        );
    }
    Ok(())
}
