//! A wrong deletion can be taken back for less time than the policy asks.
//!
//! **Fires** when noncurrent versions (or soft-deleted objects) are kept for less than `undo_window`.
//!
//! **Why it matters.** A wrong `delete --confirm` or a wrong rule is often noticed days later. On Google Cloud Storage an
//! `age` counts on when an object is no longer live, so that its old version may go the same day.
//!
//! **What to do.** Keep noncurrent versions at least that long, without a keep-count.

use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

declare_rule!("LFC008", "undo-window-short", Warning, "undo_window_short.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    cx.promised("undo_window", |policy| policy.undo_window.copied())?;
    let bucket = &cx.outlook()?.bucket;
    if bucket.versioning.is_none() && bucket.soft_delete().is_none() {
        return Err(NotRun(super::versioning_off::NOT_SAID.to_owned()));
    }
    super::told(cx, &RULE, out)
}
