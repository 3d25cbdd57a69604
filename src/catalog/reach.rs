//! Can one moment be recovered, and if not, which ones nearby can?

use crate::model::{Lsn, SegmentNo, TimelineId, Timestamp};

use super::{Archive, Chain, Recovery};

/// The moment asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A position.
    Lsn(Lsn),
    /// A time.
    Time(Timestamp),
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No obstacle is known.
    Reachable,
    /// It lies before, behind or between what can be reached.
    Unreachable,
    /// It lies between two bounds, or upload times say nothing.
    Unknown,
}

/// How a moment is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Index into [`Archive::backups`].
    pub backup: usize,
    /// The timeline to name as `recovery_target_timeline`.
    pub target: TimelineId,
    /// Timelines whose files are read, in order.
    pub timelines: Vec<TimelineId>,
    /// First and last segment that is read.
    pub segments: (SegmentNo, SegmentNo),
    /// Stored bytes of the backup and its ancestors.
    pub backup_bytes: u64,
    /// Stored bytes of that WAL.
    pub wal_bytes: u64,
}

/// A moment that can be reached, next to one that cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    /// Its position.
    pub lsn: Lsn,
    /// Its time, where known.
    pub time: Option<Timestamp>,
    /// The backup to start from.
    pub backup: usize,
    /// The timeline to name.
    pub timeline: TimelineId,
}

/// Everything about one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The answer.
    pub verdict: Verdict,
    /// The best way: the newest backup, so that least is replayed.
    pub way: Option<Way>,
    /// Other timelines on the way to which the moment can be reached as well, with another history.
    pub also: Vec<TimelineId>,
    /// The last reachable moment before.
    pub before: Option<Near>,
    /// The first reachable moment behind.
    pub after: Option<Near>,
}

/// Looks for a way to a moment, on any timeline or on the way to one.
pub fn reach(archive: &Archive, recovery: &Recovery, moment: Moment, timeline: Option<TimelineId>) -> Reach {
    let usable = |chain: &&Chain| recovery.standings[chain.backup].is_usable();
    let wanted = |chain: &&Chain| timeline.is_none_or(|timeline| chain.timeline == timeline);
    let chains: Vec<&Chain> = recovery.chains.iter().filter(usable).filter(wanted).collect();
    // On the way asked for, or failing that on the way `latest` takes, from the newest backup.
    let rank = |chain: &&&Chain| {
        (recovery.standings[chain.backup].is_complete(), chain.from_lsn, recovery.latest == Some(chain.timeline))
    };
    let sure = chains.iter().filter(|chain| covers(chain, moment) == Verdict::Reachable).max_by_key(rank);
    let maybe = chains.iter().filter(|chain| covers(chain, moment) == Verdict::Unknown).max_by_key(rank);
    let verdict = match (sure, maybe) {
        (Some(_), _) => Verdict::Reachable,
        (None, Some(_)) => Verdict::Unknown,
        (None, None) => Verdict::Unreachable,
    };
    let way = sure.or(maybe).map(|chain| way(archive, chain, moment));
    let chosen = sure.or(maybe).map(|chain| chain.timeline);
    let mut also: Vec<TimelineId> = chains
        .iter()
        .filter(|chain| covers(chain, moment) == verdict && Some(chain.timeline) != chosen)
        .map(|chain| chain.timeline)
        .collect();
    also.sort_unstable();
    also.dedup();
    let mut result = Reach { verdict, way, also, before: None, after: None };
    if verdict != Verdict::Reachable {
        result.before = before(&chains, moment);
        result.after = after(&chains, moment);
    }
    result
}

fn covers(chain: &Chain, moment: Moment) -> Verdict {
    match moment {
        Moment::Lsn(lsn) if chain.from_lsn <= lsn && lsn <= chain.to_lsn => Verdict::Reachable,
        Moment::Lsn(_) => Verdict::Unreachable,
        Moment::Time(time) => match (chain.from, chain.to) {
            (Some(from), _) if time < from => Verdict::Unreachable,
            (Some(_), Some(to)) if time <= to.at_least => Verdict::Reachable,
            (_, Some(to)) if time > to.at_most => Verdict::Unreachable,
            _ => Verdict::Unknown,
        },
    }
}

fn way(archive: &Archive, chain: &Chain, moment: Moment) -> Way {
    let size = archive.segment_size;
    let backup = &archive.backups[chain.backup];
    let start = backup.start_segment(size).unwrap_or(chain.last.1);
    let path = archive.timelines.path(chain.timeline);
    let mut timelines = Vec::new();
    let mut wal_bytes = 0u64;
    let mut last = start;
    let stop = match moment {
        Moment::Lsn(lsn) => lsn.end_segment(size).max(start).min(chain.last.1),
        Moment::Time(_) => chain.last.1,
    };
    for file in path.files(size) {
        let first = file.first.max(start);
        let end = file.end.map_or(stop.next(), |end| end.min(stop.next()));
        if first >= end {
            continue;
        }
        let from = first.name(file.timeline, size);
        let until = SegmentNo(end.0 - 1).name(file.timeline, size);
        let mut previous = None;
        for row in archive.wal.rows(file.timeline).filter(|row| from <= row.name() && row.name() <= until) {
            if previous == Some(row.name()) {
                continue;
            }
            previous = Some(row.name());
            wal_bytes += row.size;
            last = row.name().number(size).unwrap_or(last);
            if let Moment::Time(time) = moment
                && row.modified() >= time
            {
                break;
            }
        }
        timelines.push(file.timeline);
        if matches!(moment, Moment::Time(_)) && last < SegmentNo(end.0 - 1) {
            break;
        }
    }
    let mut backup_bytes = backup.stored_bytes;
    let mut child = backup;
    for _ in 0..archive.backups.len() {
        let Some(parent) = child.kind.parent().and_then(|name| archive.backup(name)) else { break };
        backup_bytes += parent.stored_bytes;
        child = parent;
    }
    Way { backup: chain.backup, target: chain.timeline, timelines, segments: (start, last), backup_bytes, wal_bytes }
}

fn before(chains: &[&Chain], moment: Moment) -> Option<Near> {
    let end = |chain: &&&Chain| match moment {
        Moment::Lsn(lsn) => chain.to_lsn <= lsn,
        Moment::Time(time) => chain.to.is_some_and(|to| to.at_least <= time),
    };
    let best = chains.iter().filter(end).max_by_key(|chain| match moment {
        Moment::Lsn(_) => (None, chain.to_lsn),
        Moment::Time(_) => (chain.to.map(|to| to.at_least), chain.to_lsn),
    })?;
    Some(Near { lsn: best.to_lsn, time: best.to.map(|to| to.at_least), backup: best.backup, timeline: best.timeline })
}

fn after(chains: &[&Chain], moment: Moment) -> Option<Near> {
    let begin = |chain: &&&Chain| match moment {
        Moment::Lsn(lsn) => chain.from_lsn > lsn,
        Moment::Time(time) => chain.from.is_some_and(|from| from > time),
    };
    let best = chains.iter().filter(begin).min_by_key(|chain| match moment {
        Moment::Lsn(_) => (None, chain.from_lsn),
        Moment::Time(_) => (chain.from, chain.from_lsn),
    })?;
    Some(Near { lsn: best.from_lsn, time: best.from, backup: best.backup, timeline: best.timeline })
}
