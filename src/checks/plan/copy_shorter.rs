//! The second copy's own lifecycle rules end it before the promise does.
//!
//! **Fires** in `walproof lifecycle check` when a plan changes the rules of the bucket that `copy.archive` names so that
//! backups or the window of the copy end before the policy allows. An audit does not judge it yet: that takes the other
//! bucket's settings, region and account.
//!
//! **Why it matters.** Lifecycle configurations and their actions are not replicated. The copy lives by its own rules, and
//! nobody looks at them until the first location is gone.
//!
//! **What to do.** Give the copy rules at least as long as the policy promises.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC022", "copy-shorter", Warning, "copy_shorter.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
