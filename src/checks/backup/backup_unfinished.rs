//! A backup directory has no sentinel.
//!
//! **Fires** for each directory of backup objects without the sentinel that makes it a backup.
//!
//! **Why it matters.** The tool does not see such a backup. If the sentinel was lost after the backup had ended, all its
//! data is there and it can be repaired; if the push was interrupted, the objects are garbage that costs money.
//!
//! **Severity.** Error where the backup had ended: wal-g stores `metadata.json` just before the sentinel, and wal-e's
//! server archives the backup history file after the last tar. Info while objects arrived in the day before the audit:
//! a push may be running. After that a warning, an error if something newer proves that it is over and no later backup
//! is complete, info once a later one is.
//!
//! **What to do.** For a lost sentinel, write it again from `metadata.json` (wal-g's field names are in the manual), or
//! take a new backup. For a push that died, let `wal-g delete garbage` remove it.

use crate::catalog::{Producer, UnfinishedBackup};
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};

declare_rule!("BKP001", "backup-unfinished", Warning, "backup_unfinished.rs");

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for backup in &cx.archive.unfinished {
        out.push(finding(cx, backup));
    }
    Ok(())
}

fn finding(cx: &CheckContext<'_>, backup: &UnfinishedBackup) -> Finding {
    let sentinel = format!("basebackups_005/{}_backup_stop_sentinel.json", backup.name);
    let ended = match (&backup.metadata, backup.producer) {
        (Some(metadata), _) => Some(metadata.modified),
        (None, Producer::WalE) if backup.history_object.is_some() => Some(backup.newest),
        _ => None,
    };
    let later_complete = cx.backups().any(|(other, standing)| {
        standing.is_usable() && other.finished_at.copied().is_some_and(|finished| finished > backup.newest)
    });
    let over = backup.history_object.is_some()
        || cx
            .archive
            .unfinished
            .iter()
            .any(|other| other.newest > backup.newest && other.name_segment > backup.name_segment);
    let (severity, message, advice) = if ended.is_some_and(|ended| !cx.is_fresh(ended, HOUR_S)) {
        (
            Severity::Error,
            format!(
                "the sentinel of {} is lost: the backup had ended, its {} objects are there",
                backup.name, backup.objects
            ),
            "repairable: write the sentinel again from metadata.json, or take a new base backup; the tools do not see this one",
        )
    } else if cx.is_fresh(backup.newest, DAY_S) {
        (
            Severity::Info,
            format!("{} is being written, or was interrupted within the last day", backup.name),
            "look again when the backup should have ended",
        )
    } else if later_complete {
        (
            Severity::Info,
            format!("{} never ended; a later backup is complete", backup.name),
            "remove it with the tool's own garbage collection",
        )
    } else if over {
        (
            Severity::Error,
            format!("{} never ended, and no later backup is complete", backup.name),
            "take a base backup now, then remove this one",
        )
    } else {
        (
            Severity::Warning,
            format!("{} has no sentinel and nothing was added for more than a day", backup.name),
            "check the backup job; take a base backup",
        )
    };
    Finding::new(&RULE, backup.name.clone(), message)
        .severity(severity)
        .objects(std::iter::once(sentinel).chain(backup.sample.iter().map(ToString::to_string)))
        .fact("objects", backup.objects)
        .fact("bytes", backup.bytes)
        .fact("has_metadata", backup.metadata.is_some())
        .time_fact("newest_object", Some(backup.newest))
        .advise(advice)
}
