//! WAL expires before the base backups that need it.
//!
//! **Fires** when, under the bucket's rules, WAL that is written from now on lives shorter than base backups. A warning where
//! `recovery_window` (with the distance between full backups) is kept all the same: then only dead weight is stored.
//!
//! **Near miss.** Both live equally long.
//!
//! **Why it matters.** A base backup whose WAL has gone is listed and billed, and brings back nothing but itself, if even its
//! own start to stop is left.
//!
//! **What to do.** Let WAL live at least as long as base backups.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC003", "wal-expires-first", Critical, "wal_expires_first.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    super::told(cx, &RULE, out)
}
