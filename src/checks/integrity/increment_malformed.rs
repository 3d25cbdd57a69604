//! An increment file of a delta backup is malformed.
//!
//! **Fires** when an increment does not begin as one, has not the length that its pages need, names pages out of order or
//! behind the end of the file, or when a file that the list calls whole is an increment.
//!
//! **Why it matters.** The file cannot be put together from the parent and this backup; a tool that tries writes pages to
//! the wrong places.
//!
//! **What to do.** The delta, and every delta on top of it, is lost; its parent is not. Take a new backup.

use super::backups;
use crate::catalog::evidence::BackupDefectKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT011", "increment-malformed", Critical, "increment_malformed.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    backups::defects(cx, out, &RULE, &[BackupDefectKind::IncrementMalformed], "take a new full backup")
}
