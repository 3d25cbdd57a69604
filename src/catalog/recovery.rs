use std::collections::BTreeMap;

use crate::model::{Lsn, SegmentNo, TimelineId, Timestamp};

use super::evidence::ContentEvidence;
use super::standing::{self, Obstacle, Standing};
use super::{Archive, BaseBackup, FilePiece, IntervalSet, Path};

/// A moment that is only known between two bounds, until WAL content has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBound {
    /// Surely reached.
    pub at_least: Timestamp,
    /// Surely not passed.
    pub at_most: Timestamp,
    /// Both are one: the time of the last commit, read in WAL.
    pub exact: bool,
}

/// How far one backup reaches on the way to one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Index into [`Archive::backups`].
    pub backup: usize,
    /// Where the way leads.
    pub timeline: TimelineId,
    /// First reachable position: where the backup is consistent.
    pub from_lsn: Lsn,
    /// First position that is not reachable.
    pub to_lsn: Lsn,
    /// The last segment was read: `to_lsn` is where its WAL ends, not only where it does.
    pub lsn_exact: bool,
    /// The last segment of the chain with the timeline of its file.
    pub last: (TimelineId, SegmentNo),
    /// Segments in the chain.
    pub segments: u64,
    /// When the backup was consistent, where known.
    pub from: Option<Timestamp>,
    /// When the end was, where upload times say something.
    pub to: Option<TimeBound>,
    /// The first segment that is missing although later ones exist; `None` where the chain simply ends.
    pub blocked_at: Option<(TimelineId, SegmentNo)>,
}

/// Segments of one timeline's files that are missing between others on some way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose files.
    pub timeline: TimelineId,
    /// First missing segment.
    pub first: SegmentNo,
    /// First segment behind.
    pub end: SegmentNo,
    /// The segment that comes next on the way, with the timeline of its file.
    pub next: (TimelineId, SegmentNo),
    /// Timelines whose way it interrupts.
    pub targets: Vec<TimelineId>,
    /// Backups (indices) that have to pass it on their way to the end of some timeline.
    pub needed_by: Vec<usize>,
    /// Removed on purpose around permanent backups: no promise ever rested on it.
    pub trimmed: bool,
    /// Objects exist for all of these, but empty or stubs.
    pub broken_only: bool,
}

/// A stretch between two reachable ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowHole {
    /// First position that cannot be reached.
    pub from_lsn: Lsn,
    /// First one that can again.
    pub to_lsn: Lsn,
    /// When it begins, where known.
    pub from: Option<Timestamp>,
    /// When it ends, where known.
    pub to: Option<Timestamp>,
}

/// Everything reachable on the way to one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Where the way leads.
    pub timeline: TimelineId,
    /// First reachable position.
    pub from_lsn: Lsn,
    /// First position behind the last reachable one.
    pub to_lsn: Lsn,
    /// When it begins.
    pub from: Option<Timestamp>,
    /// When it ends.
    pub to: Option<TimeBound>,
    /// What lies between and cannot be reached.
    pub holes: Vec<WindowHole>,
    /// Which incarnation it lies in, index into [`Archive::incarnations`].
    pub incarnation: usize,
}

/// What can be recovered from an archive: a pure function of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How each backup stands, in the order of [`Archive::backups`].
    pub standings: Vec<Standing>,
    /// Every way from every backup, usable or not.
    pub chains: Vec<Chain>,
    /// What is missing on the ways.
    pub gaps: Vec<Gap>,
    /// Reachable stretches by timeline, newest incarnation last.
    pub windows: Vec<Window>,
    /// The timeline `recovery_target_timeline = latest` would end on.
    pub latest: Option<TimelineId>,
}

impl Recovery {
    /// Works it out from listing and metadata.
    pub fn of(archive: &Archive) -> Self {
        Recovery::with(archive, None)
    }

    /// Works it out, with what reading content showed where it was read. Segments found damaged have to be condemned
    /// in the archive before.
    pub fn with(archive: &Archive, content: Option<&ContentEvidence>) -> Self {
        let mut standings: Vec<Standing> =
            archive.backups.iter().map(|backup| standing::of_objects(archive, backup)).collect();
        if let Some(content) = content {
            standing::add_content(archive, content, &mut standings);
        }
        let targets: Vec<Path> = archive
            .timelines
            .iter()
            .map(|(timeline, _)| timeline)
            .filter(|timeline| {
                archive.wal.line(*timeline).objects > 0
                    || archive.backups.iter().any(|backup| backup.timeline() == *timeline)
            })
            .map(|timeline| archive.timelines.path(timeline))
            .collect();
        let mut chains = Vec::new();
        for (at, backup) in archive.backups.iter().enumerate() {
            let own: Vec<Walk> = targets.iter().filter_map(|path| walk(archive, backup, path)).collect();
            add_own_wal(archive, backup, &own, &mut standings[at]);
            chains.extend(own.into_iter().filter_map(|walk| walk.into_chain(archive, at, backup, content)));
        }
        standing::add_ancestors(archive, &mut standings);
        let gaps = gaps(archive, &targets, &standings);
        let windows = windows(archive, &chains, &standings);
        let latest = latest(archive, &standings);
        Recovery { standings, chains, gaps, windows, latest }
    }

    /// Chains of one backup.
    pub fn chains_of(&self, backup: usize) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(move |chain| chain.backup == backup)
    }

    /// The window that `recovery_target_timeline = latest` follows.
    pub fn latest_window(&self) -> Option<&Window> {
        let latest = self.latest?;
        self.windows.iter().rev().find(|window| window.timeline == latest)
    }

    /// Segments that recovery from some usable backup reads, by the timeline of the file.
    pub fn reached(&self, archive: &Archive) -> BTreeMap<TimelineId, IntervalSet> {
        let mut reached: BTreeMap<TimelineId, IntervalSet> = BTreeMap::new();
        for chain in self.chains.iter().filter(|chain| self.standings[chain.backup].is_usable()) {
            let Some(start) = archive.backups[chain.backup].start_segment(archive.segment_size) else { continue };
            for file in archive.timelines.path(chain.timeline).files(archive.segment_size) {
                let first = file.first.max(start).0;
                let end = file.end.map_or(u64::MAX, |end| end.0).min(chain.last.1.0 + 1);
                reached.entry(file.timeline).or_default().insert(first, end.max(first));
            }
        }
        reached
    }

    /// The gap that a segment lies in.
    pub fn gap_at(&self, timeline: TimelineId, number: SegmentNo) -> Option<&Gap> {
        let behind = self.gaps.partition_point(|gap| (gap.timeline, gap.first) <= (timeline, number));
        self.gaps[..behind].last().filter(|gap| gap.timeline == timeline && number < gap.end)
    }

    /// Whether any backup is usable.
    pub fn any_usable(&self) -> bool {
        self.standings.iter().any(Standing::is_usable)
    }
}

/// The chain of one backup on one way, before it is known whether it covers even the backup's own WAL.
struct Walk {
    timeline: TimelineId,
    start: SegmentNo,
    /// First segment that is not there.
    end: (TimelineId, SegmentNo),
    last: Option<(TimelineId, SegmentNo)>,
    before_last: Option<(TimelineId, SegmentNo)>,
    blocked: bool,
}

fn walk(archive: &Archive, backup: &BaseBackup, path: &Path) -> Option<Walk> {
    let size = archive.segment_size;
    let piece = path.piece(backup.timeline())?;
    let start_lsn = backup.start_lsn.copied();
    if let Some(end) = piece.end {
        // Left before the backup began, or before it could become consistent: no way from here.
        let reached = backup.finish_lsn.copied().or(start_lsn);
        if start_lsn.is_none_or(|start| start >= end) || reached.is_some_and(|finish| finish > end) {
            return None;
        }
    }
    let start = backup.start_segment(size)?;
    let limit = archive.incarnation(start).and_then(|incarnation| incarnation.end);
    let mut at = start;
    let mut owner = path.owner(start, size);
    let mut last = None;
    let mut before_last = None;
    let mut blocked = false;
    let files = path.files(size);
    for (index, file) in files.iter().enumerate() {
        if file.end.is_some_and(|end| end <= at) {
            continue;
        }
        owner = file.timeline;
        // Only in its first segment recovery begins in the middle.
        let begin = start_lsn.filter(|_| at == start);
        let Some(mut end) = archive.wal.line(file.timeline).readable_until(at, begin) else {
            blocked = anything_behind(archive, &files[index..], at);
            break;
        };
        for bound in [file.end, limit].into_iter().flatten() {
            end = end.min(bound);
        }
        if end > at {
            before_last = if end.0 - at.0 >= 2 { Some((file.timeline, SegmentNo(end.0 - 2))) } else { last };
            last = Some((file.timeline, SegmentNo(end.0 - 1)));
            at = end;
        }
        if file.end != Some(at) {
            blocked = limit != Some(at) && anything_behind(archive, &files[index..], at);
            break;
        }
    }
    Some(Walk { timeline: path.target(), start, end: (owner, at), last, before_last, blocked })
}

/// Whether any segment lies behind `at` on the rest of a way.
fn anything_behind(archive: &Archive, files: &[FilePiece], at: SegmentNo) -> bool {
    let limit = archive.incarnation(at).and_then(|incarnation| incarnation.end);
    files.iter().any(|file| {
        let from = file.first.max(at);
        let found = archive.wal.line(file.timeline).present.first_at_or_above(from.0);
        found.is_some_and(|found| file.end.is_none_or(|end| found < end.0) && limit.is_none_or(|limit| found < limit.0))
    })
}

impl Walk {
    fn into_chain(
        self,
        archive: &Archive,
        at: usize,
        backup: &BaseBackup,
        content: Option<&ContentEvidence>,
    ) -> Option<Chain> {
        let size = archive.segment_size;
        let last = self.last?;
        let from_lsn = backup.finish_lsn.copied().or(backup.start_lsn.copied()).unwrap_or(self.start.start(size));
        let mut to_lsn = last.1.end(size);
        if to_lsn < from_lsn {
            return None;
        }
        let exact = content.and_then(|content| {
            let files = archive.timelines.path(self.timeline).files(size);
            content.end_of(&files, last)
        });
        if let Some(exact) = exact {
            to_lsn = exact.lsn.clamp(from_lsn, to_lsn);
        }
        let modified = |place: (TimelineId, SegmentNo)| archive.wal.modified(place.0, place.1);
        let from = backup.finished_at.copied();
        let to = if let Some(time) = exact.and_then(|exact| exact.time) {
            // Recovery needs a commit at or behind the moment asked for: nothing later can be named.
            let time = from.map_or(time, |from| time.max(from));
            Some(TimeBound { at_least: time, at_most: time, exact: true })
        } else if archive.copied {
            None
        } else {
            modified(last).map(|at_most| {
                let before = self.before_last.and_then(modified);
                let at_least = [before, from].into_iter().flatten().max().unwrap_or(at_most);
                TimeBound { at_least: at_least.min(at_most), at_most, exact: false }
            })
        };
        Some(Chain {
            backup: at,
            timeline: self.timeline,
            from_lsn,
            to_lsn,
            lsn_exact: exact.is_some(),
            last,
            segments: last.1.0 + 1 - self.start.0,
            from,
            to,
            blocked_at: self.blocked.then_some(self.end),
        })
    }
}

/// A backup whose own WAL is whole on no way can never become consistent.
fn add_own_wal(archive: &Archive, backup: &BaseBackup, walks: &[Walk], standing: &mut Standing) {
    let size = archive.segment_size;
    let (Some(start), Some(stop)) = (backup.start_segment(size), backup.stop_segment(size)) else { return };
    if walks.iter().any(|walk| walk.end.1 > stop) {
        return;
    }
    // Not one way begins with the backup's timeline: judge its own files.
    let furthest = walks.iter().map(|walk| walk.end).max_by_key(|end| end.1);
    let (timeline, first) = furthest.unwrap_or((backup.timeline(), start));
    let present = &archive.wal.line(timeline).present;
    let missing = present.missing_in(first.0, stop.0 + 1);
    let last = missing.last().map_or(stop, |hole| SegmentNo(hole.1 - 1));
    let first = missing.first().map_or(first, |hole| SegmentNo(hole.0));
    standing.obstacles.push(Obstacle::WalMissing { timeline, first, last });
}

fn gaps(archive: &Archive, targets: &[Path], standings: &[Standing]) -> Vec<Gap> {
    let size = archive.segment_size;
    let mut found: BTreeMap<(TimelineId, SegmentNo, SegmentNo), Gap> = BTreeMap::new();
    for path in targets {
        let files = path.files(size);
        let target = path.target();
        let Some(last) = archive.wal.line(target).present.last() else { continue };
        let begins = |file: &FilePiece| {
            let first = archive.wal.line(file.timeline).present.first_at_or_above(file.first.0);
            first.filter(|first| file.end.is_none_or(|end| *first < end.0))
        };
        let Some(mut at) = files.iter().find_map(begins) else { continue };
        for (index, file) in files.iter().enumerate() {
            let end = file.end.map_or(last + 1, |end| end.0);
            if end <= at {
                continue;
            }
            let present = &archive.wal.line(file.timeline).present;
            for (first, behind) in present.missing_in(at.max(file.first.0), end) {
                if archive.incarnations.iter().skip(1).any(|next| first <= next.first.0 && next.first.0 <= behind) {
                    continue;
                }
                let next = if behind < end {
                    (file.timeline, SegmentNo(behind))
                } else {
                    let rest =
                        files[index + 1..].iter().find_map(|file| Some((file.timeline, SegmentNo(begins(file)?))));
                    match rest {
                        Some(next) => next,
                        None => continue,
                    }
                };
                let key = (file.timeline, SegmentNo(first), SegmentNo(behind));
                let needed: Vec<usize> = archive
                    .backups
                    .iter()
                    .enumerate()
                    .filter(|(at, backup)| {
                        standings[*at].is_usable_but_for_wal()
                            && must_pass(archive, backup, path, SegmentNo(first))
                            && !begins_behind(archive, backup, file.timeline, (first, behind))
                    })
                    .map(|(at, _)| at)
                    .collect();
                let broken = &archive.wal.line(file.timeline).broken;
                let gap = found.entry(key).or_insert_with(|| Gap {
                    timeline: key.0,
                    first: key.1,
                    end: key.2,
                    next,
                    targets: Vec::new(),
                    needed_by: Vec::new(),
                    trimmed: is_trimmed(archive, key.1, key.2),
                    broken_only: broken.around(first).is_some_and(|(_, until)| until >= behind),
                });
                gap.targets.push(target);
                gap.needed_by.extend(needed);
                gap.needed_by.sort_unstable();
                gap.needed_by.dedup();
            }
            at = at.max(end);
        }
    }
    found.into_values().collect()
}

/// Whether a gap is one segment that is damaged before the backup's start only.
fn begins_behind(archive: &Archive, backup: &BaseBackup, owner: TimelineId, gap: (u64, u64)) -> bool {
    let starts_here = backup.start_segment(archive.segment_size) == Some(SegmentNo(gap.0)) && gap.1 == gap.0 + 1;
    let line = archive.wal.line(owner);
    starts_here && line.readable_until(SegmentNo(gap.0), backup.start_lsn.copied()).is_some()
}

/// Whether recovery from a backup along a way needs a segment.
fn must_pass(archive: &Archive, backup: &BaseBackup, path: &Path, segment: SegmentNo) -> bool {
    let size = archive.segment_size;
    let Some(piece) = path.piece(backup.timeline()) else { return false };
    let Some(start) = backup.start_segment(size) else { return false };
    let leaves_before = piece.end.zip(backup.start_lsn.copied()).is_some_and(|(end, start)| start >= end);
    let same = archive.incarnation(start).map(|i| i.first) == archive.incarnation(segment).map(|i| i.first);
    start <= segment && !leaves_before && same
}

/// A hole that the tool's own deletion leaves around permanent backups: everything older than it is nothing but
/// permanent backups with their own WAL, and it ends right before the next backup's start.
fn is_trimmed(archive: &Archive, first: SegmentNo, end: SegmentNo) -> bool {
    let size = archive.segment_size;
    let start = |backup: &BaseBackup| backup.start_segment(size);
    let starts_next = archive.backups.iter().any(|backup| start(backup) == Some(end));
    let older: Vec<&BaseBackup> =
        archive.backups.iter().filter(|backup| start(backup).is_some_and(|start| start < first)).collect();
    let ends_before = older.iter().any(|backup| backup.stop_segment(size).map(SegmentNo::next) == Some(first));
    if !starts_next || !ends_before || older.iter().any(|backup| backup.permanent.copied() != Some(true)) {
        return false;
    }
    // The tool protects from (start - 1) on, which may lie in the segment before.
    archive.wal.timelines().all(|timeline| {
        let present = &archive.wal.line(timeline).present;
        present.iter().filter(|(from, _)| *from < first.0).all(|(from, to)| {
            let mut at = from;
            let to = to.min(first.0);
            while at < to {
                let holder = older.iter().find_map(|backup| {
                    let stop = backup.stop_segment(size)?.0;
                    let from = start(backup)?.0.saturating_sub(1);
                    (from <= at && at <= stop).then_some(stop + 1)
                });
                match holder {
                    Some(next) => at = next,
                    None => return false,
                }
            }
            true
        })
    })
}

fn windows(archive: &Archive, chains: &[Chain], standings: &[Standing]) -> Vec<Window> {
    let mut groups: BTreeMap<(usize, TimelineId), Vec<&Chain>> = BTreeMap::new();
    for chain in chains.iter().filter(|chain| standings[chain.backup].is_usable()) {
        let incarnation = archive.incarnations.iter().position(|i| i.contains(chain.last.1)).unwrap_or(0);
        groups.entry((incarnation, chain.timeline)).or_default().push(chain);
    }
    let mut windows = Vec::new();
    for ((incarnation, timeline), mut group) in groups {
        group.sort_by_key(|chain| (chain.from_lsn, chain.to_lsn));
        let first = group[0];
        let mut window = Window {
            timeline,
            from_lsn: first.from_lsn,
            to_lsn: first.to_lsn,
            from: first.from,
            to: first.to,
            holes: Vec::new(),
            incarnation,
        };
        for chain in &group[1..] {
            if chain.from_lsn > window.to_lsn {
                window.holes.push(WindowHole {
                    from_lsn: window.to_lsn,
                    to_lsn: chain.from_lsn,
                    from: window.to.map(|to| to.at_least),
                    to: chain.from,
                });
            }
            if chain.to_lsn > window.to_lsn {
                window.to_lsn = chain.to_lsn;
                window.to = chain.to;
            }
        }
        windows.push(window);
    }
    windows
}

fn latest(archive: &Archive, standings: &[Standing]) -> Option<TimelineId> {
    let newest = archive.incarnations.last()?;
    let has_wal_here =
        |timeline: TimelineId| archive.wal.line(timeline).present.first_at_or_above(newest.first.0).is_some();
    if archive.incarnations.len() > 1 {
        // History files of the older cluster say nothing about this one.
        return archive.wal.timelines().filter(|timeline| has_wal_here(*timeline)).max();
    }
    let usable = archive.backups.iter().zip(standings).filter(|(_, standing)| standing.is_usable());
    let from = usable.map(|(backup, _)| backup.timeline()).min().or_else(|| archive.wal.timelines().next())?;
    Some(archive.timelines.latest_probed(from))
}
