//! WAL between a backup's start and its stop is missing.
//!
//! **Fires** when not one way from a backup holds all segments from its start position to its stop position, or when
//! another cluster overwrote them.
//!
//! **Why it matters.** A base backup is a copy of moving files: without that WAL it can never become consistent. It
//! cannot be restored at all, not even to the moment it was taken.
//!
//! **Severity.** Critical; info while the backup ended less than 15 minutes before the audit and only the newest
//! segments are still on their way.
//!
//! **What to do.** Archive the missing segments if the server still has them. Otherwise take a new base backup now.

use crate::catalog::Obstacle;
use crate::checks::context::INFLIGHT_GRACE_S;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};

declare_rule!("BKP005", "backup-wal-missing", Critical, "backup_wal_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    for (backup, standing) in cx.backups() {
        for obstacle in &standing.obstacles {
            match obstacle {
                Obstacle::WalMissing { timeline, first, last } => {
                    let (timeline, first, last) = (*timeline, *first, *last);
                    let newest = archive.wal.line(timeline).present.last();
                    let at_the_end = newest.is_none_or(|newest| newest < first.0);
                    let fresh = backup.finished_at.copied().is_some_and(|finished| cx.is_fresh(finished, INFLIGHT_GRACE_S));
                    let in_flight = at_the_end && fresh && !archive.copied;
                    let range = cx.segment_range(timeline, first, last);
                    let positions = match (backup.start_lsn.copied(), backup.finish_lsn.copied()) {
                        (Some(start), Some(stop)) => format!("{start} .. {stop}"),
                        _ => "start .. stop".to_owned(),
                    };
                    let broken = archive.wal.line(timeline).broken.around(first.0).is_some_and(|(_, end)| end > last.0);
                    let lacks = if broken { "damaged" } else { "missing" };
                    let word = if in_flight { " (in flight)" } else { "" };
                    out.push(
                        Finding::new(
                            &RULE,
                            backup.name.clone(),
                            format!("{} can never become consistent: it needs {positions}, and {range} is {lacks}{word}", backup.name),
                        )
                        .severity(if in_flight { Severity::Info } else { Severity::Critical })
                        .segments(cx.segment(timeline, first), cx.segment(timeline, last))
                        .objects((first.0..=last.0).take(Finding::OBJECTS_MAX).map(|n| archive.segment_subject(timeline, crate::model::SegmentNo(n))))
                        .fact("segments_missing", last.0 - first.0 + 1)
                        .fact("first_missing", archive.segment_subject(timeline, first))
                        .fact("start_lsn", backup.start_lsn.copied().map(|lsn| lsn.to_string()))
                        .fact("finish_lsn", backup.finish_lsn.copied().map(|lsn| lsn.to_string()))
                        .advise("archive the missing segments if the server still has them in pg_wal; otherwise take a new base backup now"),
                    );
                }
                Obstacle::WalOverwritten => out.push(
                    Finding::new(
                        &RULE,
                        backup.name.clone(),
                        format!("{} lost its WAL: another cluster overwrote {}", backup.name, backup.name_segment),
                    )
                    .objects([format!("wal_005/{}", backup.name_segment)])
                    .fact("system_identifier", backup.system_identifier.copied().map(|id| id.to_string()))
                    .advise("give each cluster a prefix of its own; this backup can only come back from noncurrent versions of its WAL"),
                ),
                _ => {}
            }
        }
    }
    Ok(())
}
