//! A decoded segment is not exactly one segment long.
//!
//! **Fires** when an object decodes without an error to fewer or more bytes than the archive's segments have.
//!
//! **Near miss.** A `.partial` segment may be short.
//!
//! **Why it matters.** PostgreSQL refuses a restored file of another size and ends recovery there, or stops with an error.
//!
//! **What to do.** Archive the segment again while a server still has it in `pg_wal`; if it is gone, take a new base backup
//! now. Where all are so, the segment size was taken wrong: see `wal_segment_size_source` in the report.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT006", "wal-length", Critical, "wal_length.rs");

const ADVICE: &str = "archive the segment again if a server still has it in pg_wal, else take a new base backup now: recovery ends before this segment";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::Length], ADVICE)
}
