//! An object that a base backup needs is missing.
//!
//! **Fires** when a tar that the file sets name, `pg_control`, or `backup_label` is not there or empty, when wal-e's
//! part numbers leave one out, or when the stored tars sum to less than the sentinel counted at least. In layout `files`:
//! when a dump or tarball has fewer than 64 bytes, which is what a compressor makes of a `pg_dump` that failed.
//!
//! **Why it matters.** wal-g's own `backup-fetch` succeeds when one of several parts is missing: the restored server
//! starts, and files of some databases are not there.
//!
//! **What to do.** Bring the object back from a noncurrent version or a second copy. Otherwise the backup, and every
//! delta on top of it, is lost: take a new full backup now.

use crate::catalog::Obstacle;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP002", "part-missing", Critical, "part_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for (backup, standing) in cx.backups() {
        for obstacle in &standing.obstacles {
            if let Obstacle::TooSmall { key, bytes } = obstacle {
                out.push(
                    Finding::new(&RULE, backup.name.clone(), obstacle.to_string())
                        .objects([key])
                        .encoded(backup.parts.iter().any(|part| part.object.key.is_encoded()))
                        .fact("bytes", *bytes)
                        .advise("see why the job that wrote it failed without a word, and make the dump again"),
                );
            }
        }
        let Some(first) = backup.missing_parts.first() else { continue };
        let count = backup.missing_parts.len() as u64;
        let message = if count == 1 {
            format!("{} lacks {}: {}", backup.name, first.key, first.because)
        } else {
            format!("{} lacks {count} objects, first {}: {}", backup.name, first.key, first.because)
        };
        out.push(
            Finding::new(&RULE, backup.name.clone(), message)
                .count(count)
                .objects(backup.missing_parts.iter().map(|part| &part.key))
                .encoded(backup.missing_parts.iter().any(|part| part.key.is_encoded()))
                .fact("parts_present", backup.parts.len())
                .fact("parts_missing", count)
                .advise("bring the object back from a noncurrent version or a second copy; otherwise take a new full backup now"),
        );
    }
    Ok(())
}
