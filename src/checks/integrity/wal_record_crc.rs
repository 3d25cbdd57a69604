//! A WAL record is damaged.
//!
//! **Fires** when the CRC-32C of a record does not match its bytes, its length is impossible, its link to the record before
//! is wrong, or data ends in the middle of a segment without a switch.
//!
//! **Why it matters.** PostgreSQL takes a bad record for the end of WAL: it stops replaying there and promotes, without an
//! error, and everything behind is lost.
//!
//! **What to do.** Archive the segment again while a server still has it in `pg_wal`; if it is gone, take a new base backup
//! now. Moments before the record stay reachable.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT003", "wal-record-crc", Critical, "wal_record_crc.rs");

const ADVICE: &str = "archive the segment again if a server still has it in pg_wal, else take a new base backup now: recovery ends before this segment";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::Record], ADVICE)
}
