//! An expiration covers objects that its author cannot have meant.
//!
//! **Fires** when a rule that ends data matches every object of the bucket, when its prefix is shorter than the archive's
//! (`prod/main` also matches `prod/maintenance/`), or when it covers base backups and WAL, several retention classes, or
//! several archives of the configuration at once.
//!
//! **Near miss.** Prefixes that end in a slash and name one kind of data each.
//!
//! **Why it matters.** On S3 the earliest expiration wins, whatever the order; there is no rule that excludes. One rule for
//! "everything" overrides every longer promise beside it.
//!
//! **What to do.** Give each kind of data its own rule, with a prefix that ends in a slash.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC002", "rule-too-broad", Error, "rule_too_broad.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    super::told(cx, &RULE, out)
}
