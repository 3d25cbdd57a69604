//! Object lock is absent or shorter than the policy's immutability.
//!
//! **Fires** in `walproof lifecycle check` when a plan removes or shortens a bucket's default retention, or leaves it
//! shorter than `immutability.min_lock` or weaker than `immutability.mode`. An audit does not judge it yet: that takes the
//! lock of every object.
//!
//! **Why it matters.** A lock is what stands between backups and an intruder, or a colleague, with credentials. Default
//! retention covers only uploads made after it was set.
//!
//! **What to do.** Set the default retention to at least `min_lock` in the mode the policy asks for, and lock the objects
//! that are there already.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC013", "lock-short", Error, "lock_short.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
