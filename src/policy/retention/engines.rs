use serde::Serialize;

use crate::model::{SegmentName, Timestamp};
use crate::policy::Span;

/// What a deleting tool looks at in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineBackup {
    /// Its name.
    pub name: String,
    /// Stands alone.
    pub full: bool,
    /// For a delta: the place of its parent in the list, where the parent is there.
    pub parent: Option<usize>,
    /// Its start segment, as the name says; the timeline is part of the order.
    pub start: SegmentName,
    /// Its stop segment, where known.
    pub stop: Option<SegmentName>,
    /// When it was taken.
    pub taken: Timestamp,
    /// Marked to be kept.
    pub permanent: bool,
}

/// How wal-g counts in `delete retain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetainMode {
    /// `retain N`: any kind; refused if the N-th is a delta.
    Any,
    /// `retain FULL N`: only fulls count.
    Full,
    /// `retain FIND_FULL N`: any kind counts, then back to the full it stands on.
    FindFull,
}

/// What wal-g sorts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// Timeline and segment in the name, its default: everything of a lower timeline is older.
    Name,
    /// `--use-sentinel-time`.
    Time,
}

/// A tool's own retention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Engine {
    /// wal-g `delete retain`.
    WalgRetain {
        /// How many.
        count: usize,
        /// Of what.
        mode: RetainMode,
        /// Sorted by.
        order: Order,
    },
    /// wal-g `delete before NAME`: the beginning of a name.
    WalgBeforeName {
        /// The name or its beginning.
        name: String,
        /// `FIND_FULL`: back to the full it stands on.
        find_full: bool,
    },
    /// wal-g `delete before TIME`: the first backup at or after it.
    WalgBeforeTime {
        /// The moment.
        time: Timestamp,
        /// `FIND_FULL`: back to the full it stands on.
        find_full: bool,
    },
    /// pgBackRest `repo-retention-full=N`, barman `REDUNDANCY N`: the newest N fulls with all that stands on them.
    KeepLastFull(usize),
    /// barman `RECOVERY WINDOW OF`, pgBackRest `repo-retention-full-type=time`: what is needed for the window.
    Window(Span),
}

/// Why a tool would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineRefusal {
    /// wal-g does not delete up to a delta.
    #[error("{0} is a delta backup: wal-g refuses to delete up to it (use FULL or FIND_FULL)")]
    TargetIsDelta(String),
    /// No backup has such a name.
    #[error("no backup is called {0}")]
    NoSuchBackup(String),
    /// A delta's parents are not in the list.
    #[error("the full backup under {0} is not there")]
    FullMissing(String),
}

/// What a tool would do. Places are those of the list of backups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EngineOutcome {
    /// Backups that would go, oldest first.
    pub deleted: Vec<usize>,
    /// Backups that stay though they cannot be restored any more: an ancestor goes.
    pub orphaned: Vec<usize>,
    /// WAL before this segment would go; lower timelines count as before. `None`: no WAL.
    pub wal_before: Option<SegmentName>,
    /// WAL that stays all the same, first to last segment: what permanent backups need.
    pub protected: Vec<(SegmentName, SegmentName)>,
}

impl EngineOutcome {
    /// Whether a segment would go.
    pub fn deletes_segment(&self, segment: SegmentName) -> bool {
        self.wal_before.is_some_and(|limit| segment < limit)
            && !self.protected.iter().any(|(first, last)| *first <= segment && segment <= *last)
    }
}

impl Engine {
    /// What it would delete as of a moment.
    ///
    /// # Errors
    /// What the tool itself would refuse.
    pub fn run(&self, backups: &[EngineBackup], as_of: Timestamp) -> Result<EngineOutcome, EngineRefusal> {
        match self {
            Engine::WalgRetain { count, mode, order } => walg_retain(backups, *count, *mode, *order),
            Engine::WalgBeforeName { name, find_full } => {
                let target = sorted(backups, Order::Name)
                    .into_iter()
                    .rev()
                    .find(|at| backups[*at].name == *name)
                    .or_else(|| backups.iter().position(|backup| backup.name.starts_with(name.as_str())))
                    .ok_or_else(|| EngineRefusal::NoSuchBackup(name.clone()))?;
                walg_before(backups, target, *find_full, Order::Name)
            }
            Engine::WalgBeforeTime { time, find_full } => {
                let target = sorted(backups, Order::Time).into_iter().find(|at| backups[*at].taken >= *time);
                match target {
                    Some(target) => walg_before(backups, target, *find_full, Order::Name),
                    None => Ok(EngineOutcome::default()),
                }
            }
            Engine::KeepLastFull(count) => {
                let fulls: Vec<usize> =
                    sorted(backups, Order::Time).into_iter().filter(|at| backups[*at].full).collect();
                match fulls.len().checked_sub((*count).max(1)) {
                    Some(behind) if behind > 0 => Ok(keep_from(backups, fulls[behind])),
                    _ => Ok(EngineOutcome::default()),
                }
            }
            Engine::Window(span) => {
                let edge = span.before(as_of);
                // The newest full before the window is what its first moment is restored from.
                let base = sorted(backups, Order::Time)
                    .into_iter()
                    .rfind(|at| backups[*at].full && backups[*at].taken <= edge);
                Ok(base.map_or_else(EngineOutcome::default, |base| keep_from(backups, base)))
            }
        }
    }

    /// What it would delete if one more full backup were taken at `taken`. `None` without any backup yet.
    ///
    /// # Errors
    /// What the tool itself would refuse.
    pub fn run_with_one_more(
        &self,
        backups: &[EngineBackup],
        taken: Timestamp,
    ) -> Result<Option<EngineOutcome>, EngineRefusal> {
        let Some(newest) = backups.iter().map(|backup| backup.start).max() else { return Ok(None) };
        let mut more = backups.to_vec();
        let next = SegmentName { seg: newest.seg.saturating_add(1), ..newest };
        more.push(EngineBackup {
            name: format!("base_{next}"),
            full: true,
            parent: None,
            start: next,
            stop: Some(next),
            taken,
            permanent: false,
        });
        self.run(&more, taken).map(Some)
    }

    /// Which backups go only because one more full backup is taken at `taken`: the accident that an extra manual backup
    /// has under "keep the last N".
    ///
    /// # Errors
    /// What the tool itself would refuse.
    pub fn evicted_by_one_more(&self, backups: &[EngineBackup], taken: Timestamp) -> Result<Vec<usize>, EngineRefusal> {
        let now = self.run(backups, taken)?;
        let then = self.run_with_one_more(backups, taken)?.unwrap_or_default();
        Ok(then.deleted.into_iter().filter(|at| !now.deleted.contains(at)).collect())
    }
}

/// Places, oldest first.
fn sorted(backups: &[EngineBackup], order: Order) -> Vec<usize> {
    let mut places: Vec<usize> = (0..backups.len()).collect();
    match order {
        Order::Name => places.sort_by_key(|at| (backups[*at].start, backups[*at].taken)),
        Order::Time => places.sort_by_key(|at| (backups[*at].taken, backups[*at].start)),
    }
    places
}

/// The full backup under a delta. Bounded by the number of backups, so that a loop of parents ends.
fn full_under(backups: &[EngineBackup], mut at: usize) -> Option<usize> {
    for _ in 0..=backups.len() {
        if backups[at].full {
            return Some(at);
        }
        at = backups[at].parent.filter(|parent| *parent < backups.len())?;
    }
    None
}

fn walg_retain(
    backups: &[EngineBackup],
    count: usize,
    mode: RetainMode,
    order: Order,
) -> Result<EngineOutcome, EngineRefusal> {
    let newest_first: Vec<usize> =
        sorted(backups, order).into_iter().rev().filter(|at| mode != RetainMode::Full || backups[*at].full).collect();
    // Permanent backups count too. With fewer than N there is nothing to delete.
    let Some(target) = count.checked_sub(1).and_then(|index| newest_first.get(index)) else {
        return Ok(EngineOutcome::default());
    };
    walg_before(backups, *target, mode == RetainMode::FindFull, order)
}

/// Everything less than the target goes, by name or by time; permanent backups stay with their own WAL.
fn walg_before(
    backups: &[EngineBackup],
    target: usize,
    find_full: bool,
    order: Order,
) -> Result<EngineOutcome, EngineRefusal> {
    let target = match (backups[target].full, find_full) {
        (true, _) => target,
        (false, true) => {
            full_under(backups, target).ok_or_else(|| EngineRefusal::FullMissing(backups[target].name.clone()))?
        }
        (false, false) => return Err(EngineRefusal::TargetIsDelta(backups[target].name.clone())),
    };
    let limit = backups[target].start;
    let less = |at: &usize| match order {
        Order::Name => backups[*at].start < limit,
        Order::Time => backups[*at].taken < backups[target].taken,
    };
    let deleted: Vec<usize> =
        sorted(backups, order).into_iter().filter(|at| less(at) && !backups[*at].permanent).collect();
    Ok(finish(backups, deleted, limit))
}

/// The full at `base` and all that is newer stay; a delta goes with its full.
fn keep_from(backups: &[EngineBackup], base: usize) -> EngineOutcome {
    let limit = backups[base].taken;
    let goes = |at: &usize| {
        let root = full_under(backups, *at).unwrap_or(*at);
        backups[root].taken < limit && !backups[*at].permanent
    };
    let deleted: Vec<usize> = sorted(backups, Order::Time).into_iter().filter(goes).collect();
    finish(backups, deleted, backups[base].start)
}

fn finish(backups: &[EngineBackup], deleted: Vec<usize>, limit: SegmentName) -> EngineOutcome {
    let mut lost = vec![false; backups.len()];
    deleted.iter().for_each(|at| lost[*at] = true);
    let mut orphaned = Vec::new();
    for at in 0..backups.len() {
        let mut up = at;
        for _ in 0..backups.len() {
            let Some(parent) = backups[up].parent.filter(|parent| *parent < backups.len()) else { break };
            if lost[parent] && !deleted.contains(&at) {
                orphaned.push(at);
                break;
            }
            up = parent;
        }
    }
    let protected = backups
        .iter()
        .filter(|backup| backup.permanent && backup.start < limit)
        .map(|backup| (backup.start, backup.stop.unwrap_or(backup.start)))
        .collect();
    EngineOutcome { deleted, orphaned, wal_before: Some(limit), protected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimelineId;
    use proptest::prelude::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + day * 86_400).unwrap()
    }

    fn segment(timeline: u32, seg: u32) -> SegmentName {
        SegmentName { timeline: TimelineId::new(timeline).unwrap(), log: 0, seg }
    }

    fn full(day: i64, timeline: u32, seg: u32) -> EngineBackup {
        EngineBackup {
            name: format!("base_{}", segment(timeline, seg)),
            full: true,
            parent: None,
            start: segment(timeline, seg),
            stop: Some(segment(timeline, seg + 1)),
            taken: at(day),
            permanent: false,
        }
    }

    fn delta(day: i64, seg: u32, parent: usize) -> EngineBackup {
        EngineBackup { full: false, parent: Some(parent), ..full(day, 1, seg) }
    }

    fn retain(count: usize, mode: RetainMode) -> Engine {
        Engine::WalgRetain { count, mode, order: Order::Name }
    }

    #[test]
    fn walg_counts_as_documented() {
        let backups = [full(0, 1, 10), delta(1, 20, 0), full(7, 1, 30), delta(8, 40, 2), delta(9, 50, 3)];
        let run = |engine: Engine| engine.run(&backups, at(10)).map(|outcome| outcome.deleted);
        assert_eq!(run(retain(1, RetainMode::Full)), Ok(vec![0, 1]));
        assert_eq!(run(retain(2, RetainMode::Full)), Ok(vec![]));
        assert!(matches!(run(retain(1, RetainMode::Any)), Err(EngineRefusal::TargetIsDelta(_))));
        assert_eq!(run(retain(1, RetainMode::FindFull)), Ok(vec![0, 1]));
        assert_eq!(run(retain(9, RetainMode::Full)), Ok(vec![]));
        let before = |name: &str, find_full| Engine::WalgBeforeName { name: name.into(), find_full };
        assert_eq!(run(before(&backups[2].name, false)), Ok(vec![0, 1]));
        assert_eq!(run(before(&backups[4].name, true)), Ok(vec![0, 1]));
        assert!(run(before("base_X", false)).is_err());
        let time = |day| Engine::WalgBeforeTime { time: at(day), find_full: true };
        assert_eq!(run(time(8)), Ok(vec![0, 1]));
        assert_eq!(run(time(99)), Ok(vec![]));
        let outcome = retain(1, RetainMode::Full).run(&backups, at(10)).unwrap();
        assert!(outcome.deletes_segment(segment(1, 29)) && !outcome.deletes_segment(segment(1, 30)));
    }

    #[test]
    fn lower_timelines_are_older_whatever_their_position() {
        let backups = [full(0, 1, 90), full(5, 2, 40)];
        let outcome = retain(1, RetainMode::Full).run(&backups, at(6)).unwrap();
        assert_eq!(outcome.deleted, [0]);
        assert!(outcome.deletes_segment(segment(1, 500)));
    }

    #[test]
    fn permanent_backups_count_and_keep_only_their_own_wal() {
        let mut backups = [full(0, 1, 10), full(7, 1, 20), full(14, 1, 30)];
        backups[0].permanent = true;
        let outcome = retain(1, RetainMode::Full).run(&backups, at(15)).unwrap();
        assert_eq!(outcome.deleted, [1]);
        assert_eq!(outcome.protected, [(segment(1, 10), segment(1, 11))]);
        assert!(!outcome.deletes_segment(segment(1, 11)) && outcome.deletes_segment(segment(1, 12)));
    }

    #[test]
    fn an_extra_manual_backup_evicts_an_old_one() {
        let backups = [full(0, 1, 10), full(7, 1, 20), full(14, 1, 30)];
        let engine = Engine::KeepLastFull(3);
        assert!(engine.run(&backups, at(15)).unwrap().deleted.is_empty());
        assert_eq!(engine.evicted_by_one_more(&backups, at(15)), Ok(vec![0]));
        assert_eq!(Engine::Window(Span::from_days(10)).evicted_by_one_more(&backups, at(15)), Ok(vec![]));
    }

    #[test]
    fn a_window_keeps_what_its_first_moment_needs() {
        let backups = [full(0, 1, 10), full(7, 1, 20), delta(8, 25, 1), full(14, 1, 30)];
        let run = |days: u32, day: i64| Engine::Window(Span::from_days(days)).run(&backups, at(day)).unwrap().deleted;
        assert_eq!(run(5, 15), [0]);
        assert_eq!(run(1, 15), [0, 1, 2]);
        assert_eq!(run(30, 15), [] as [usize; 0]);
    }

    #[test]
    fn a_delta_that_outlives_its_full_is_orphaned() {
        // A delta on timeline 2 made from a full on timeline 1: by name the full is older than anything there.
        let mut child = delta(3, 15, 0);
        child.start = segment(2, 15);
        let backups = [full(0, 1, 10), full(2, 2, 12), child];
        let outcome = retain(1, RetainMode::Full).run(&backups, at(4)).unwrap();
        assert_eq!((outcome.deleted, outcome.orphaned), (vec![0], vec![2]));
    }

    proptest! {
        #[test]
        fn nothing_permanent_goes_and_loops_end(
            shape in proptest::collection::vec((any::<bool>(), 0usize..8, 0u32..60, 0i64..60, any::<bool>()), 0..8),
            count in 0usize..5,
        ) {
            let backups: Vec<EngineBackup> = shape
                .into_iter()
                .map(|(is_full, parent, seg, day, permanent)| EngineBackup {
                    full: is_full,
                    parent: (!is_full).then_some(parent),
                    permanent,
                    ..full(day, 1, seg)
                })
                .collect();
            for engine in [
                retain(count, RetainMode::Any), retain(count, RetainMode::Full), retain(count, RetainMode::FindFull),
                Engine::KeepLastFull(count), Engine::Window(Span::from_days(count as u32 * 9)),
            ] {
                if let Ok(outcome) = engine.run(&backups, at(60)) {
                    prop_assert!(outcome.deleted.iter().all(|at| !backups[*at].permanent));
                    prop_assert!(outcome.orphaned.iter().all(|at| !outcome.deleted.contains(at)));
                }
                let _ = engine.evicted_by_one_more(&backups, at(61));
            }
        }
    }
}
