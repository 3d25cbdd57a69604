//! The second copy stops growing, or lacks what the archive holds.
//!
//! **Fires** in `walproof lifecycle check` when a plan removes a bucket's replication or disables rules of it. An audit does
//! not compare the two locations yet.
//!
//! **Why it matters.** The copy is what is left when the bucket, the account or the region is lost. Replication that ends
//! makes no noise: the copy stays, and grows older every day.
//!
//! **What to do.** Keep replication, or take the copy out of the policy first.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RET008", "copy-missing", Error, "copy_missing.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
