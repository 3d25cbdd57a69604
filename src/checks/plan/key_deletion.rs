//! A plan schedules the deletion of an encryption key that objects of the window may need.
//!
//! **Fires** in `walproof lifecycle check` when a plan deletes or replaces an `aws_kms_key` or a `google_kms_crypto_key`. An
//! audit does not judge it yet: that takes the keys' own state.
//!
//! **Why it matters.** Once the key is gone every object encrypted with it is unreadable for good, however well it is
//! locked, versioned and replicated.
//!
//! **What to do.** Cancel the deletion, or re-encrypt what the window needs with another key first.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("SEC004", "key-deletion", Critical, "key_deletion.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
