//! A backup's size departs from its series by more than the policy allows.
//!
//! **Fires** when a full backup is smaller or larger than the median of the (up to five) full backups before it by more
//! than `backup_size_change`. Deltas do not count: their size is that of the changes.
//!
//! **Why it matters.** A backup that is suddenly half as large may lack a tablespace or a database; one that is suddenly
//! twice as large may hold what was meant for another server.
//!
//! **What to do.** Compare with the size of the data directory; test-restore the backup.

use crate::catalog::BaseBackup;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP008", "size-anomaly", Warning, "size_anomaly.rs");

const SERIES_MIN: usize = 2;
const SERIES_MAX: usize = 5;

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let most = cx.promised("backup_size_change", |policy| policy.backup_size_change.copied())?;
    let mut series: std::collections::BTreeMap<Option<&str>, Vec<&BaseBackup>> = std::collections::BTreeMap::new();
    for backup in cx.archive.backups.iter().filter(|backup| !backup.kind.is_delta()) {
        series.entry(backup.series.as_deref()).or_default().push(backup);
    }
    for backups in series.values_mut() {
        backups.sort_by_key(|backup| (backup.finished_at.copied(), &backup.name));
        // What the tool counted before compression where every backup says so, else what is stored.
        let counted = backups.iter().all(|backup| backup.uncompressed_size.is_known());
        let size = |backup: &BaseBackup| match backup.uncompressed_size.copied() {
            Some(size) if counted => size,
            _ => backup.stored_bytes,
        };
        for at in SERIES_MIN..backups.len() {
            let mut before: Vec<u64> =
                backups[at.saturating_sub(SERIES_MAX)..at].iter().map(|backup| size(backup)).collect();
            before.sort_unstable();
            let median = before[before.len() / 2];
            let own = size(backups[at]);
            if median == 0 || own.abs_diff(median) <= most.of(median) {
                continue;
            }
            let percent = (own as f64 / median as f64 - 1.0) * 100.0;
            out.push(
                Finding::new(
                    &RULE,
                    backups[at].name.clone(),
                    format!(
                        "{} has {own} bytes, {percent:+.0} % against the median of the {} full backups before it ({median}); {most} are allowed",
                        backups[at].name,
                        before.len()
                    ),
                )
                .fact("bytes", own)
                .fact("median_bytes", median)
                .fact("counted", if counted { "uncompressed" } else { "stored" })
                .advise("compare with the size of the data directory, and test-restore it"),
            );
        }
    }
    Ok(())
}
