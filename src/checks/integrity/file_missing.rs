//! A file named in the metadata is in no tar part (or in no ancestor).
//!
//! **Fires** when a tar lacks a file that the backup's own list says it holds, when a file that a delta left out, or has
//! only changed pages of, is in no ancestor, or when the sizes of all files sum to less than the sentinel counted. A
//! warning for files that are there and not in the list, or in another tar than it says.
//!
//! **Near misses.** A file that vanished while the backup ran is in a tar's set, but not among the files. Without a list
//! (wal-e, `WALG_WITHOUT_FILES_METADATA`) only the sum of sizes tells.
//!
//! **Why it matters.** A restore goes through without an error; the table, or the transaction status, is not there.
//!
//! **What to do.** Take a new full backup. For a delta see whether the ancestor was overwritten.

use super::backups;
use crate::catalog::evidence::BackupDefectKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT012", "file-missing", Critical, "file_missing.rs");

const KINDS: &[BackupDefectKind] =
    &[BackupDefectKind::FileMissing, BackupDefectKind::SizeMismatch, BackupDefectKind::FileUnexpected];

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    backups::defects(cx, out, &RULE, KINDS, "take a new full backup; see whether an ancestor was overwritten")
}
