//! Objects, or the bucket's default, are not encrypted as the policy asks.
//!
//! **Fires** in `walproof lifecycle check` when a plan lets the bucket's default encryption fall from a key management
//! service to less. An audit does not read these settings yet.
//!
//! **Why it matters.** The change touches new objects only, so that an archive looks right for as long as the old ones are
//! looked at.
//!
//! **What to do.** Keep the algorithm that `storage.encryption` asks for.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("SEC002", "not-encrypted", Error, "not_encrypted.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
