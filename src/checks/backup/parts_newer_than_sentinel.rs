//! Parts of a backup are newer than its sentinel.
//!
//! **Fires** when tars were stored more than a minute after the sentinel that should have been written last. Not run for
//! a copied bucket.
//!
//! **Why it matters.** The backup is being overwritten in place, or was: two backups from a standby can share a name.
//! The sentinel then describes other data than the tars hold.
//!
//! **Severity.** Error; warning while the parts arrived in the last day and the new push may still be running.
//!
//! **What to do.** Let only one host push backups, or push from the primary. Take a new base backup.

use crate::catalog::parts_newer_than_sentinel;
use crate::checks::{CheckContext, Checked, Finding, NotRun, Severity, declare_rule};

declare_rule!("BKP013", "parts-newer-than-sentinel", Error, "parts_newer_than_sentinel.rs");

const DAY_S: i64 = 24 * 3600;

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    if cx.archive.copied {
        return Err(NotRun("the bucket was copied: upload times differ from the backups' own times".to_owned()));
    }
    for (backup, _) in cx.backups() {
        let newer = parts_newer_than_sentinel(cx.archive, backup);
        let Some(newest) = newer.iter().map(|object| object.modified).max() else { continue };
        let severity = if cx.is_fresh(newest, DAY_S) { Severity::Warning } else { Severity::Error };
        out.push(
            Finding::new(
                &RULE,
                backup.name.clone(),
                format!(
                    "{} objects of {} are newer than its sentinel: it was overwritten in place",
                    newer.len(),
                    backup.name
                ),
            )
            .severity(severity)
            .count(newer.len() as u64)
            .objects(newer.iter().map(|object| &object.key))
            .time_fact("sentinel_stored", backup.sentinel_modified())
            .time_fact("newest_part_stored", Some(newest))
            .advise("let only one host push backups; take a new base backup"),
        );
    }
    Ok(())
}
