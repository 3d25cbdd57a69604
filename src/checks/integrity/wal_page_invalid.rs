//! A WAL page header is wrong.
//!
//! **Fires** when a page of a segment says that it lies elsewhere (a recycled or swapped file), has the magic number of
//! another version, a timeline that is not in the ancestry, impossible flags, or no header at all.
//!
//! **Why it matters.** PostgreSQL ends recovery at such a page without an error. A file that was copied under a wrong name,
//! or archived before the server had filled it, looks so.
//!
//! **What to do.** Archive the segment again while a server still has it in `pg_wal`; if it is gone, take a new base backup
//! now.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT004", "wal-page-invalid", Critical, "wal_page_invalid.rs");

const ADVICE: &str = "archive the segment again if a server still has it in pg_wal, else take a new base backup now: recovery ends before this segment";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::Page], ADVICE)
}
