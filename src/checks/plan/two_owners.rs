//! Two resources own the lifecycle rules of one bucket.
//!
//! **Fires** in `walproof lifecycle check` when a plan holds more than one resource that writes a bucket's lifecycle
//! configuration: two `aws_s3_bucket_lifecycle_configuration` for one bucket, or one beside `lifecycle_rule` blocks of the
//! bucket itself.
//!
//! **Why it matters.** The provider's API replaces the whole configuration. Each apply overwrites what the other wrote, so
//! that the rules which act depend on what was applied last, and neither plan shows it.
//!
//! **What to do.** Put all rules of a bucket into one resource.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC016", "two-owners", Error, "two_owners.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
