//! Objects are older than the policy's maximum.
//!
//! **Fires** when a backup or a WAL segment was stored longer ago than `max_age`.
//!
//! **Why it matters.** Data that had to be deleted for privacy is still there in the backups.
//!
//! **What to do.** Delete the backups with the backup tool, then the WAL before the oldest one that is left.

use crate::checks::words::minute;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::model::Timestamp;

declare_rule!("RET005", "kept-too-long", Info, "kept_too_long.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let most = cx.promised("max_age", |policy| policy.max_age.copied())?;
    let limit = most.before(cx.as_of);
    let mut old: Vec<(Timestamp, &str)> = cx
        .archive
        .backups
        .iter()
        .filter_map(|backup| Some((backup.finished_at.copied().or(backup.sentinel_modified())?, backup.name.as_str())))
        .filter(|(ended, _)| *ended < limit)
        .collect();
    old.sort();
    if let Some((oldest, _)) = old.first() {
        out.push(
            Finding::new(
                &RULE,
                "backups",
                format!("{} backups are older than {most}, the oldest of {}", old.len(), minute(*oldest)),
            )
            .count(old.len() as u64)
            .fact("max_age_s", most.seconds())
            .time_fact("oldest", Some(*oldest))
            .objects(old.iter().map(|(_, name)| *name))
            .advise("delete them with the backup tool"),
        );
    }
    if cx.archive.copied {
        return Ok(());
    }
    let mut oldest: Option<Timestamp> = None;
    let (mut count, mut bytes) = (0u64, 0u64);
    let mut keys = Vec::new();
    for row in cx.archive.wal.all_rows().filter(|row| row.modified() < limit) {
        count += 1;
        bytes = bytes.saturating_add(row.size);
        oldest = Some(oldest.map_or(row.modified(), |oldest| oldest.min(row.modified())));
        if keys.len() < Finding::OBJECTS_MAX {
            keys.push(cx.archive.segment_key(row));
        }
    }
    if let Some(oldest) = oldest {
        out.push(
            Finding::new(
                &RULE,
                "wal_005/",
                format!("{count} WAL segments ({bytes} bytes) are older than {most}, the oldest of {}", minute(oldest)),
            )
            .count(count)
            .fact("bytes", bytes)
            .fact("max_age_s", most.seconds())
            .time_fact("oldest", Some(oldest))
            .objects(keys)
            .advise("delete WAL before the oldest backup that is left, with the backup tool"),
        );
    }
    Ok(())
}
