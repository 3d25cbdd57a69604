//! A file's size or checksum differs from the backup manifest.
//!
//! **Fires** when a backup holds the `backup_manifest` that was written for it, and a file is missing, has another size or
//! another checksum (CRC-32C, SHA-224, SHA-256, SHA-384 or SHA-512, whichever the manifest has), or the manifest is not
//! what was written.
//!
//! **Near misses.** A manifest of another backup: a data directory that was itself restored keeps the one it came with.
//! It belongs to a backup only if its WAL begins where the backup begins.
//!
//! **Why it matters.** Files outside of relations (transaction status, configuration) have no checksum but this one.
//!
//! **What to do.** Take a new full backup.

use super::backups;
use crate::catalog::evidence::BackupDefectKind;
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

declare_rule!("INT009", "manifest-mismatch", Critical, "manifest_mismatch.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let before = out.len();
    backups::defects(cx, out, &RULE, &[BackupDefectKind::ManifestMismatch], "take a new full backup")?;
    if out.len() == before && cx.content()?.manifests == 0 {
        return Err(NotRun("no backup that was read has a manifest of its own".to_owned()));
    }
    Ok(())
}
