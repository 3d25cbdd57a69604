//! A data page's checksum does not match and replay cannot repair it.
//!
//! **Fires** for pages of relation files and increments whose checksum is wrong, that are filled but carry none although
//! the cluster has checksums, or that look never filled but are not all zeros; and for relation maps (`pg_filenode.map`)
//! whose CRC is wrong. Where the cluster has no checksums, only headers that no server writes are damage. Damaged pages
//! that the tool itself recorded when it made the backup count where nobody read them since.
//!
//! **Near misses.** A page that changed while the backup ran (its LSN lies between start and end of the backup) may be
//! half old and half new: replay writes it again. Pages of unlogged relations are thrown away at the first start. A last
//! page that is cut off is legal in a backup of a running server.
//!
//! **Why it matters.** The restored server starts, and fails or answers wrongly when it reads the page, possibly months
//! later. The page was damaged before the backup (look at the source now) or after it.
//!
//! **What to do.** Run `pg_checksums` or `amcheck` on the source. If the source is sound take a new full backup; a restore
//! of this one loses the named blocks.

use super::backups;
use crate::catalog::evidence::BackupDefectKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT008", "page-checksum", Critical, "page_checksum.rs");

const ADVICE: &str = "check the source server for the same blocks, then take a new full backup";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    backups::defects(cx, out, &RULE, &[BackupDefectKind::PageChecksum, BackupDefectKind::PageRecorded], ADVICE)
}
