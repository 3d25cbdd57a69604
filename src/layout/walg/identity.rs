//! Who wrote an archive: segment size, system identifiers, and where one cluster hands over to the next.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{BaseBackup, FirstPage, Incarnation, SegmentSet, SizeSource};
use crate::model::{CodecKind, Known, Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId};

/// Most runs per timeline whose first page is read: a shredded archive must not cost a request per hole.
const RUNS_MAX: usize = 32;
/// Most places per timeline where upload times run backwards that are looked into.
const BREAKS_MAX: usize = 8;

/// The one size under which backups' names and positions agree, else what content says, else what names allow.
pub(super) fn segment_size(
    backups: &[BaseBackup],
    segments: &SegmentSet,
    pages: &BTreeMap<SegmentName, Known<FirstPage>>,
) -> (SegmentSize, SizeSource) {
    let mut votes: BTreeMap<SegmentSize, usize> = BTreeMap::new();
    for backup in backups {
        // wal-e's positions are derived from the size: no evidence for it.
        let Some(lsn) = backup.start_lsn.copied().filter(|_| backup.producer == crate::catalog::Producer::WalG) else {
            continue;
        };
        let mut fitting: BTreeSet<SegmentSize> = SegmentSize::fitting(backup.name_segment, lsn).collect();
        if fitting.is_empty() {
            // A standby names its backup after the segment of `start - 1`.
            fitting = SegmentSize::fitting(backup.name_segment, Lsn(lsn.0.saturating_sub(1))).collect();
        }
        if fitting.len() == 1 {
            *votes.entry(fitting.into_iter().next().expect("one")).or_default() += 1;
        }
    }
    if let Some((size, _)) = votes.iter().max_by_key(|(_, votes)| **votes) {
        return (*size, SizeSource::Backup);
    }
    let mut votes: BTreeMap<SegmentSize, usize> = BTreeMap::new();
    for page in pages.values().filter_map(Known::get) {
        if let Ok(size) = SegmentSize::new(page.segment_size) {
            *votes.entry(size).or_default() += 1;
        }
    }
    if let Some((size, _)) = votes.iter().max_by_key(|(_, votes)| **votes) {
        return (*size, SizeSource::Content);
    }
    let mut largest = 0;
    for row in segments.all_rows() {
        largest = largest.max(row.name().seg);
        if row.codec == CodecKind::None
            && let Ok(size) = SegmentSize::new(row.size)
        {
            return (size, SizeSource::Name);
        }
    }
    let allowed =
        SegmentSize::all().filter(|size| u64::from(largest) < size.per_log()).max().unwrap_or(SegmentSize::DEFAULT);
    if allowed < SegmentSize::DEFAULT {
        (allowed, SizeSource::Name)
    } else {
        (SegmentSize::DEFAULT, SizeSource::Assumed)
    }
}

/// Segments whose first page tells who wrote what: each backup's start, the ends of runs, and both sides of places
/// where upload times run backwards.
pub(super) fn pages_to_read(backups: &[BaseBackup], segments: &SegmentSet, size: SegmentSize) -> BTreeSet<SegmentName> {
    let mut names: BTreeSet<SegmentName> = BTreeSet::new();
    for backup in backups {
        names.insert(backup.name_segment);
        if let Some(start) = backup.start_segment(size) {
            names.insert(start.name(backup.timeline(), size));
        }
    }
    for timeline in segments.timelines() {
        let line = segments.line(timeline);
        let runs: Vec<(u64, u64)> = line.present.iter().collect();
        let (head, tail) = runs.split_at(runs.len().min(RUNS_MAX / 2));
        let tail = &tail[tail.len().saturating_sub(RUNS_MAX / 2)..];
        for (first, _) in head.iter().chain(tail) {
            names.insert(SegmentNo(*first).name(timeline, size));
        }
        if let Some(last) = line.present.last() {
            names.insert(SegmentNo(last).name(timeline, size));
        }
        names.extend(backward_breaks(segments, timeline));
    }
    names
}

/// Neighbours of which the later position was stored an hour or more before the earlier one.
fn backward_breaks(segments: &SegmentSet, timeline: TimelineId) -> Vec<SegmentName> {
    let mut names = Vec::new();
    let mut previous: Option<(SegmentName, jiff::Timestamp)> = None;
    for row in segments.rows(timeline) {
        let now = (row.name(), row.modified());
        if let Some(before) = previous
            && before.1.duration_since(now.1) > jiff::SignedDuration::from_secs(3600)
        {
            names.extend([before.0, now.0]);
            if names.len() >= 2 * BREAKS_MAX {
                break;
            }
        }
        previous = Some(now);
    }
    names
}

/// What a sentinel does not say, the first page of the backup's start segment does.
pub(super) fn fill_from_pages(
    backups: &mut [BaseBackup],
    pages: &BTreeMap<SegmentName, Known<FirstPage>>,
    size: SegmentSize,
) {
    for backup in backups {
        let Some(start) = backup.start_segment(size) else { continue };
        let Some(page) = pages.get(&start.name(backup.timeline(), size)).and_then(Known::get) else { continue };
        if !backup.system_identifier.is_known() && !matches!(backup.sentinel, crate::catalog::SidecarState::Broken(..))
        {
            backup.system_identifier = Known::Value(page.system_identifier);
        }
    }
}

/// Most sentinels were stored at another time than the backup ended: somebody copied the bucket.
pub(super) fn is_copied(backups: &[BaseBackup]) -> bool {
    let own: Vec<bool> = backups
        .iter()
        .filter(|backup| backup.started_at.is_known())
        .filter_map(|backup| {
            let distance = backup.sentinel_modified()?.duration_since(backup.finished_at.copied()?).abs();
            Some(distance > jiff::SignedDuration::from_secs(3600))
        })
        .collect();
    own.iter().filter(|far| **far).count() * 2 > own.len()
}

/// One place where a system identifier was seen.
struct Sighting {
    at: SegmentNo,
    id: u64,
    major: Option<u32>,
    page: bool,
}

/// Splits the positions of an archive among the clusters that wrote it; also the identifiers that are at home here.
pub(super) fn incarnations(
    backups: &[BaseBackup],
    segments: &SegmentSet,
    pages: &BTreeMap<SegmentName, Known<FirstPage>>,
    size: SegmentSize,
) -> (Vec<Incarnation>, Vec<u64>) {
    let mut seen: Vec<Sighting> = Vec::new();
    for (name, page) in pages {
        if let (Some(at), Some(page)) = (name.number(size), page.get()) {
            seen.push(Sighting { at, id: page.system_identifier, major: page.pg_major, page: true });
        }
    }
    for backup in backups {
        if let (Some(at), Some(id)) = (backup.start_segment(size), backup.system_identifier.copied()) {
            seen.push(Sighting { at, id, major: backup.pg_major(), page: false });
        }
    }
    let first = segments
        .timelines()
        .filter_map(|timeline| segments.line(timeline).present.first())
        .chain(backups.iter().filter_map(|backup| Some(backup.start_segment(size)?.0)))
        .min();
    let Some(first) = first else { return (Vec::new(), Vec::new()) };
    let established = established(&seen);
    let major = |id: u64| seen.iter().filter(|s| s.id == id).find_map(|s| s.major);
    if let Some(hand_over) = hand_over(&seen, &established) {
        let mut result: Vec<Incarnation> = Vec::new();
        for (id, from) in hand_over {
            let begin = if result.is_empty() { SegmentNo(first) } else { run_start(segments, from) };
            if let Some(last) = result.last_mut() {
                last.end = Some(begin);
            }
            result.push(Incarnation {
                system_identifier: Known::Value(id),
                pg_major: major(id),
                first: begin,
                end: None,
            });
        }
        return (result, established);
    }
    // No orderly hand-over: the archive is the cluster's that is seen most; of equals, the one of the newest backup.
    let mut ids: Vec<u64> =
        if established.is_empty() { seen.iter().map(|s| s.id).collect() } else { established.clone() };
    ids.sort_unstable();
    ids.dedup();
    let newest = backups.iter().rev().find_map(|backup| backup.system_identifier.copied());
    let count = |id: u64| seen.iter().filter(|s| s.id == id).count();
    let main = ids.into_iter().max_by_key(|id| (count(*id), newest == Some(*id)));
    let only = Incarnation {
        system_identifier: Known::from_option(main, "no sentinel and no readable WAL page says"),
        pg_major: main.and_then(major).or_else(|| backups.iter().rev().find_map(BaseBackup::pg_major)),
        first: SegmentNo(first),
        end: None,
    };
    (vec![only], established)
}

/// Identifiers that are at home here: seen in WAL and in a backup, or in two segments. A single odd page or a single
/// odd sentinel is a stranger, not a cluster of this archive.
fn established(seen: &[Sighting]) -> Vec<u64> {
    let mut ids: Vec<u64> = seen.iter().map(|s| s.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let any_page = seen.iter().any(|s| s.page);
    ids.retain(|id| {
        let own = || seen.iter().filter(|s| s.id == *id);
        let in_wal: BTreeSet<SegmentNo> = own().filter(|s| s.page).map(|s| s.at).collect();
        let in_backups = own().filter(|s| !s.page).count();
        if any_page { in_wal.len() >= 2 || (in_wal.len() == 1 && in_backups > 0) } else { in_backups > 0 }
    });
    ids
}

/// `(identifier, first sighting)` in order, where each cluster's positions lie wholly behind the one before and its
/// major version is higher: `pg_upgrade` into the same prefix.
fn hand_over(seen: &[Sighting], established: &[u64]) -> Option<Vec<(u64, SegmentNo)>> {
    if established.len() < 2 {
        return None;
    }
    let mut ranges: Vec<(SegmentNo, SegmentNo, u64, u32)> = Vec::new();
    for id in established {
        let own: Vec<&Sighting> = seen.iter().filter(|s| s.id == *id).collect();
        let first = own.iter().map(|s| s.at).min()?;
        let last = own.iter().map(|s| s.at).max()?;
        let major = own.iter().find_map(|s| s.major)?;
        ranges.push((first, last, *id, major));
    }
    ranges.sort_unstable();
    let orderly = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0 && pair[0].3 < pair[1].3);
    orderly.then(|| ranges.into_iter().map(|(first, _, id, _)| (id, first)).collect())
}

/// The beginning of the unbroken run that holds a segment: pg_upgrade leaves names out, so the new cluster's WAL
/// begins with a run of its own.
fn run_start(segments: &SegmentSet, at: SegmentNo) -> SegmentNo {
    let starts = segments.timelines().filter_map(|timeline| segments.line(timeline).present.around(at.0));
    SegmentNo(starts.map(|(first, _)| first).min().unwrap_or(at.0))
}
