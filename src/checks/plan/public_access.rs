//! The bucket can become public.
//!
//! **Fires** in `walproof lifecycle check` when a plan turns off a switch of the public access block that was on, or no
//! longer enforces `public_access_prevention`. An audit does not read these settings yet.
//!
//! **Why it matters.** A base backup is the whole database, in the plain unless it was encrypted before the upload.
//!
//! **What to do.** Keep all four switches of the public access block on, or `public_access_prevention = "enforced"`.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("SEC001", "public-access", Critical, "public_access.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
