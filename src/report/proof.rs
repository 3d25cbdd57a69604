//! What reading content proved, for the report.

use serde_json::{Value, json};

use super::data::{BackupReport, ProvenReport, RunReport};
use super::reach::ReachContent;
use crate::catalog::evidence::{ContentEvidence, Unread};
use crate::catalog::{Archive, BaseBackup, LayoutKind, Recovery, Way};
use crate::model::{SegmentNo, TimelineId, Timestamp};

/// Restore points that the report names; the count is always true.
const POINTS_SHOWN: usize = 100;

/// The report's `verify`.
pub(super) fn block(
    archive: &Archive,
    recovery: &Recovery,
    content: &ContentEvidence,
    proofs: Option<&ContentEvidence>,
    as_of: Timestamp,
) -> serde_json::Value {
    let totals = &content.totals;
    let (fraction, oldest) = proven(archive, proofs.unwrap_or(content));
    let unread = |unread: &Unread| {
        let objects: Vec<String> = unread.sample.iter().map(ToString::to_string).collect();
        json!({"why": unread.why, "count": unread.count, "bytes": unread.bytes, "objects": objects})
    };
    let points = content.restore_points.iter().take(POINTS_SHOWN).collect::<Vec<_>>();
    let end = recovery
        .latest_window()
        .or_else(|| recovery.windows.last())
        .filter(|window| window.to.is_some_and(|to| to.exact));
    json!({
        "wal_segments": totals.wal_segments, "wal_bytes": totals.wal_bytes,
        "backup_files": totals.backup_files, "backup_bytes": totals.backup_bytes,
        "duration_s": totals.duration_s,
        "known": totals.known, "store_checksums": totals.store_checksums,
        "wal_segments_asked": content.wal_asked, "backups_asked": content.backups_asked,
        "sample": content.sample,
        "proven_fraction": fraction,
        "oldest_proof": oldest,
        "oldest_proof_age_s": oldest.map(|oldest| as_of.duration_since(oldest).as_secs().max(0)),
        "unread": content.unread.iter().map(unread).collect::<Vec<Value>>(),
        "restore_points": points, "restore_point_count": content.restore_point_count,
        "last_commit": end.and_then(|window| {
            let to = window.to?;
            Some(json!({"timeline": window.timeline.get(), "time": to.at_least, "lsn": window.to_lsn}))
        }),
    })
}

/// The report's `proven`.
pub(super) fn of(archive: &Archive, content: &ContentEvidence, as_of: Timestamp) -> ProvenReport {
    let (proven_fraction, oldest_proof) = proven(archive, content);
    let age = |oldest: Timestamp| as_of.duration_since(oldest).as_secs().max(0);
    ProvenReport { proven_fraction, oldest_proof, oldest_proof_age_s: oldest_proof.map(age) }
}

/// Share of the archive's bytes whose content is proven, and the oldest of the proofs.
fn proven(archive: &Archive, content: &ContentEvidence) -> (f64, Option<Timestamp>) {
    let (mut bytes, mut total) = (0.0, 0.0);
    let mut oldest: Option<Timestamp> = None;
    let mut older = |at: Option<Timestamp>| {
        oldest = [oldest, at].into_iter().flatten().min();
    };
    for timeline in archive.wal.timelines() {
        let line = archive.wal.line(timeline);
        let segments = line.present.count() + line.broken.count();
        total += line.bytes as f64;
        if let Some(proof) = content.wal.get(&timeline).filter(|_| segments > 0) {
            let (count, at) = proof.within(0, u64::MAX, false);
            bytes += line.bytes as f64 * count.min(segments) as f64 / segments as f64;
            older(at);
        }
    }
    for backup in &archive.backups {
        total += backup.parts.iter().map(|part| part.object.size).sum::<u64>() as f64;
        if let Some(proof) = content.backups.get(&(backup.name.clone(), backup.storage)) {
            bytes += proof.bytes as f64;
            older(proof.oldest);
        }
    }
    (if total > 0.0 { (bytes / total).min(1.0) } else { 0.0 }, oldest)
}

/// Adds what was proven of a run of segments `[first, end)`.
pub(super) fn run(report: &mut RunReport, content: &ContentEvidence, timeline: TimelineId, first: u64, end: u64) {
    let Some(proof) = content.wal.get(&timeline) else { return };
    let (intact, oldest) = proof.within(first, end, false);
    let (valid, oldest_valid) = proof.within(first, end, true);
    report.proven_fraction = intact as f64 / (end - first).max(1) as f64;
    report.oldest_proof = oldest;
    report.rungs.intact = oldest.filter(|_| intact == end - first);
    report.rungs.valid = oldest_valid.filter(|_| valid == end - first);
}

/// Adds what was proven of a backup: of itself, of the ancestors it stands on, and of its own WAL.
pub(super) fn backup(report: &mut BackupReport, archive: &Archive, content: &ContentEvidence, backup: &BaseBackup) {
    let Some(own) = content.backups.get(&(backup.name.clone(), backup.storage)) else { return };
    let total: u64 = backup.parts.iter().map(|part| part.object.size).sum();
    report.proven_fraction = if total > 0 { own.bytes as f64 / total as f64 } else { 0.0 };
    report.oldest_proof = own.oldest;
    let (intact, valid) = chain(archive, content, backup);
    report.rungs.intact = intact;
    // A dump needs no WAL.
    report.rungs.valid = match archive.layout {
        LayoutKind::Files => valid,
        _ => both(valid, own_wal(archive, content, backup)),
    };
}

/// What was proven of a way to a moment.
pub(super) fn way(archive: &Archive, way: &Way, content: &ContentEvidence) -> ReachContent {
    let size = archive.segment_size;
    let (start, stop) = (way.segments.0.0, way.segments.1.0 + 1);
    let (mut proven, mut oldest) = (0, None);
    for file in archive.timelines.path(way.target).files(size) {
        let (first, end) = (file.first.0.max(start), file.end.map_or(stop, |end| end.0.min(stop)));
        if let Some(proof) = content.wal.get(&file.timeline).filter(|_| first < end) {
            let (count, at) = proof.within(first, end, true);
            proven += count;
            oldest = [oldest, at].into_iter().flatten().min();
        }
    }
    let (intact, valid) = chain(archive, content, &archive.backups[way.backup]);
    oldest = [oldest, valid.or(intact)].into_iter().flatten().min();
    let backup = match (intact, valid) {
        (_, Some(_)) => "valid",
        (Some(_), None) => "intact",
        (None, None) => "not_read",
    };
    ReachContent { segments: stop - start, segments_proven: proven, backup: backup.to_owned(), oldest_proof: oldest }
}

/// When a backup with all its ancestors was proven intact, and valid.
fn chain(archive: &Archive, content: &ContentEvidence, backup: &BaseBackup) -> (Option<Timestamp>, Option<Timestamp>) {
    let proof = |backup: &BaseBackup| content.backups.get(&(backup.name.clone(), backup.storage));
    let own = proof(backup);
    let (mut intact, mut valid) = (own.and_then(|own| own.intact), own.and_then(|own| own.valid));
    let mut child = backup;
    for _ in 0..archive.backups.len() {
        let Some(parent) = child.kind.parent() else { break };
        let found = archive.backups.iter().find(|other| other.name == parent && other.storage == child.storage);
        let below = found.and_then(proof);
        intact = both(intact, below.and_then(|proof| proof.intact));
        valid = both(valid, below.and_then(|proof| proof.valid));
        match found {
            Some(found) => child = found,
            None => break,
        }
    }
    (intact, valid)
}

/// When the WAL between start and stop was proven valid, all of it.
fn own_wal(archive: &Archive, content: &ContentEvidence, backup: &BaseBackup) -> Option<Timestamp> {
    let size = archive.segment_size;
    let (start, stop) = (backup.start_segment(size)?, backup.stop_segment(size)?);
    let path = archive.timelines.path(backup.timeline());
    let mut oldest = None;
    for number in start.0..=stop.0 {
        let owner = path.owner(SegmentNo(number), size);
        let proof = content.wal.get(&owner)?;
        let sound = proof.sound_from.get(&SegmentNo(number)).zip(backup.start_lsn.copied());
        let is_valid = number != start.0 || sound.is_none_or(|(sound, start)| *sound > start);
        let (count, at) = proof.within(number, number + 1, is_valid);
        if count == 0 {
            return None;
        }
        oldest = [oldest, at].into_iter().flatten().min();
    }
    oldest
}

fn both(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    Some(a?.min(b?))
}
