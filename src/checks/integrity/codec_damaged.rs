//! An object is cut off, goes on behind its end, or does not decode.
//!
//! **Fires** when an object that was read to its end is empty, lacks its end mark, fails a checksum of its format, decodes
//! to nonsense, or is followed by bytes that do not belong to it.
//!
//! **Why it matters.** Usual tools accept several of these: an empty object becomes an empty file, a cut stream a short
//! one. A restore then fails in the middle, or PostgreSQL ends recovery early without an error.
//!
//! **What to do.** For WAL: archive the segment again while the server still has it in `pg_wal`; if it is gone, take a new
//! base backup now. For a part of a backup: the backup and every delta on it are lost; take a new full backup.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT001", "codec-damaged", Critical, "codec_damaged.rs");

const ADVICE: &str =
    "archive it again if a server still has it in pg_wal; if it is a part of a backup, take a new full backup now";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::Codec], ADVICE)
}
