//! More objects disappear than the policy lets go in one day.
//!
//! **Fires** in `walproof lifecycle check --deletes` when a list of keys that a tool is about to delete is longer than
//! `deletions.max_per_day` or `deletions.max_share_per_day`. An audit does not judge it yet: that takes the keys of the
//! audit before.
//!
//! **Why it matters.** A clean-up that goes wrong looks like any other clean-up, only larger. A budget stops it while
//! everything is still there.
//!
//! **What to do.** Look at what the list holds; delete in smaller steps, or raise the budget for that day.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RET006", "deletion-burst", Critical, "deletion_burst.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
