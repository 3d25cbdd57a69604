//! A plan deletes or replaces a bucket, or allows its destruction with everything in it.
//!
//! **Fires** in `walproof lifecycle check` when a plan deletes or replaces the bucket of an archive, sets `force_destroy`,
//! or when a CloudFormation bucket has a `DeletionPolicy` or `UpdateReplacePolicy` other than `Retain`.
//!
//! **Why it matters.** With `force_destroy` one `terraform destroy`, or a change of the bucket's name, deletes every version
//! of every backup. Without it the same run stops at a bucket that is not empty.
//!
//! **What to do.** Take the deletion out of the plan; set `force_destroy = false` and `prevent_destroy`, or `Retain`.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC017", "bucket-destroyable", Critical, "bucket_destroyable.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
