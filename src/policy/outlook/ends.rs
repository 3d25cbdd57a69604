//! When each thing that a recovery needs stops being there.

use std::collections::HashMap;

use crate::catalog::{Archive, BaseBackup, ObjectRef, Recovery, SegmentRow};
use crate::model::{ObjectKey, SegmentNo, StorageClass, TimelineId, Timestamp};
use crate::policy::lifecycle::{Ending, Fate, ObjectFacts, RuleRef, Simulator};

use super::EndKind;

/// The first moment at which something may stop being of use, and what decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The first moment.
    pub at: Timestamp,
    /// The object that goes first, relative to the archive.
    pub object: ObjectKey,
    /// The rule that takes it; `None`: it is so already.
    pub rule: Option<RuleRef>,
    /// What happens to it.
    pub kind: EndKind,
    /// Something that is not known (tags, sizes that move) could spare it.
    pub possible: bool,
}

/// What becomes of one backup. Absent ends never come under these rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupOutlook {
    /// The first of its needs (its objects, those of its ancestors, its own WAL) that GET cannot read any more.
    pub usable_until: Option<End>,
    /// The first of its needs that is hidden or deleted; archiving aside.
    pub ends: Option<End>,
    /// Whose the object is that decides [`BackupOutlook::ends`].
    pub need: Need,
    /// The same of its own objects alone.
    pub own_ends: Option<End>,
    /// The first of everything on the way from it to the newest WAL that GET cannot read any more.
    pub reaches_until: Option<End>,
    /// The first of everything on that way that is hidden or deleted.
    pub reach_ends: Option<End>,
    /// It reaches the newest WAL today.
    pub reaches: bool,
}

/// What a backup needs an object for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Need {
    /// One of its own.
    #[default]
    Own,
    /// One of a backup it stands on.
    Ancestor,
    /// WAL from its start to its stop.
    OwnWal,
}

/// One object's ends, without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    at: Timestamp,
    rule: Option<RuleRef>,
    kind: EndKind,
    possible: bool,
}

/// Unreadable and ended; absent is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cuts {
    unreadable: Option<Cut>,
    ended: Option<Cut>,
}

/// Looks at objects of one archive with its bucket's rules.
pub(super) struct Eye<'a> {
    pub simulator: &'a Simulator,
    /// What every key of the archive begins with in its bucket.
    pub prefix: &'a [u8],
    pub as_of: Timestamp,
}

impl Eye<'_> {
    fn object(&self, object: &ObjectRef) -> Cuts {
        self.look(object.key.as_bytes(), object.size, object.modified, object.class, object.storage)
    }

    fn look(&self, key: &[u8], size: u64, modified: Timestamp, class: StorageClass, storage: u8) -> Cuts {
        if storage != 0 {
            // It lies in another bucket, whose rules nobody named.
            return Cuts::default();
        }
        let whole = [self.prefix, key].concat();
        let mut object = ObjectFacts::new(&whole, size, modified);
        object.class = class;
        let fate = self.simulator.fate(&object);
        let mut cuts = Cuts { unreadable: cut(&fate, fate.unreadable()), ended: cut(&fate, fate.ended()) };
        if !class.readable_at_once() {
            cuts.unreadable = Some(Cut { at: self.as_of, rule: None, kind: EndKind::Archived, possible: false });
        }
        cuts
    }

    /// The longest-lived of the objects that hold one segment.
    fn segment(&self, archive: &Archive, rows: &[SegmentRow]) -> Option<(Cuts, SegmentRow)> {
        let mut best: Option<(Cuts, SegmentRow)> = None;
        for row in rows {
            let key = archive.segment_key(row);
            let cuts = self.look(key.as_bytes(), row.size, row.modified(), row.class, row.storage);
            if best.is_none_or(|(known, _)| later(known.unreadable, cuts.unreadable)) {
                best = Some((cuts, *row));
            }
        }
        best
    }
}

fn cut(fate: &Fate, ending: Option<Ending>) -> Option<Cut> {
    let ending = ending?;
    let is = |other: Option<Ending>| other == Some(ending);
    let kind = match () {
        () if is(fate.gone) => EndKind::Deleted,
        () if is(fate.hidden) => EndKind::Hidden,
        () => EndKind::Archived,
    };
    Some(Cut { at: ending.at, rule: ending.rule, kind, possible: fate.possible })
}

/// Whether the second comes later.
fn later(a: Option<Cut>, b: Option<Cut>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => b.at > a.at,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The earliest so far, whose key is made only when somebody asks.
#[derive(Clone)]
enum What {
    Key(ObjectKey),
    Segment(SegmentRow),
}

#[derive(Clone, Default)]
struct First {
    unreadable: Option<(Cut, What)>,
    ended: Option<(Cut, What)>,
}

impl First {
    fn ended_at(&self) -> Option<Timestamp> {
        self.ended.as_ref().map(|(cut, _)| cut.at)
    }

    fn offer(&mut self, cuts: Cuts, what: impl Fn() -> What) {
        for (slot, cut) in [(&mut self.unreadable, cuts.unreadable), (&mut self.ended, cuts.ended)] {
            if let Some(cut) = cut
                && slot.as_ref().is_none_or(|(known, _)| cut.at < known.at)
            {
                *slot = Some((cut, what()));
            }
        }
    }

    fn merge(&mut self, other: &First) {
        for (slot, other) in [(&mut self.unreadable, &other.unreadable), (&mut self.ended, &other.ended)] {
            if let Some((cut, _)) = other
                && slot.as_ref().is_none_or(|(known, _)| cut.at < known.at)
            {
                slot.clone_from(other);
            }
        }
    }
}

fn end(archive: &Archive, first: &Option<(Cut, What)>) -> Option<End> {
    let (cut, what) = first.as_ref()?;
    let object = match what {
        What::Key(key) => key.clone(),
        What::Segment(row) => archive.segment_key(row),
    };
    Some(End { at: cut.at, object, rule: cut.rule, kind: cut.kind, possible: cut.possible })
}

/// What becomes of every backup, in the order of the archive's.
pub(super) fn backups(archive: &Archive, recovery: &Recovery, eye: &Eye<'_>) -> Vec<BackupOutlook> {
    let own: Vec<First> = archive.backups.iter().map(|backup| own_objects(backup, eye)).collect();
    let index: HashMap<(&str, u8), usize> =
        archive.backups.iter().enumerate().map(|(at, b)| ((b.name.as_str(), b.storage), at)).collect();
    let mut needs: Vec<(First, Need)> = Vec::with_capacity(own.len());
    for (at, backup) in archive.backups.iter().enumerate() {
        let mut first = own[at].clone();
        let mut need = Need::Own;
        let mut before = first.ended_at();
        let mut decides = |first: &First, by: Need| {
            if first.ended_at() != before {
                (before, need) = (first.ended_at(), by);
            }
        };
        let mut child = backup;
        // A loop of parents ends after as many steps as there are backups.
        for _ in 0..archive.backups.len() {
            let parent = child.kind.parent().and_then(|name| index.get(&(name, child.storage)));
            let Some(parent) = parent.copied() else { break };
            first.merge(&own[parent]);
            child = &archive.backups[parent];
        }
        decides(&first, Need::Ancestor);
        // Where some of it is missing, a sentinel may claim any stop; such a backup cannot be restored today.
        if recovery.standings[at].is_usable() {
            own_wal(archive, recovery, at, eye, &mut first);
        }
        decides(&first, Need::OwnWal);
        needs.push((first, need));
    }
    let reaches = reaches(archive, recovery, &needs, eye);
    let each = needs.iter().zip(&own).zip(reaches);
    each.map(|(((needs, need), own), reach)| BackupOutlook {
        need: *need,
        usable_until: end(archive, &needs.unreadable),
        ends: end(archive, &needs.ended),
        own_ends: end(archive, &own.ended),
        reaches_until: reach.as_ref().and_then(|reach| end(archive, &reach.unreadable)),
        reach_ends: reach.as_ref().and_then(|reach| end(archive, &reach.ended)),
        reaches: reach.is_some(),
    })
    .collect()
}

fn own_objects(backup: &BaseBackup, eye: &Eye<'_>) -> First {
    let mut first = First::default();
    for object in backup.objects() {
        first.offer(eye.object(object), || What::Key(object.key.clone()));
    }
    first
}

/// WAL from start to stop, on the way to the latest timeline where there is one.
fn own_wal(archive: &Archive, recovery: &Recovery, at: usize, eye: &Eye<'_>, first: &mut First) {
    let size = archive.segment_size;
    let backup = &archive.backups[at];
    let latest = recovery.latest;
    let Some(chain) = recovery.chains_of(at).max_by_key(|chain| Some(chain.timeline) == latest) else { return };
    let Some(start) = backup.start_segment(size) else { return };
    let stop = backup.stop_segment(size).unwrap_or(start);
    for file in archive.timelines.path(chain.timeline).files(size) {
        let from = file.first.max(start).0;
        let until = file.end.map_or(stop.0 + 1, |end| end.0.min(stop.0 + 1));
        for number in from..until {
            if let Some((cuts, row)) = eye.segment(archive, archive.wal.at_number(file.timeline, SegmentNo(number))) {
                first.offer(cuts, || What::Segment(row));
            }
        }
    }
}

/// What each backup needs to reach the newest WAL; `None` where it does not even today. One sweep over the WAL of the
/// latest way, from its end to the oldest backup's start.
fn reaches(archive: &Archive, recovery: &Recovery, needs: &[(First, Need)], eye: &Eye<'_>) -> Vec<Option<First>> {
    let size = archive.segment_size;
    let mut reaches: Vec<Option<First>> = vec![None; needs.len()];
    let Some(window) = recovery.latest_window() else { return reaches };
    let mut waiting: Vec<(SegmentNo, usize)> = recovery
        .chains
        .iter()
        .filter(|chain| chain.timeline == window.timeline && chain.to_lsn == window.to_lsn)
        .filter(|chain| recovery.standings[chain.backup].is_usable())
        .filter_map(|chain| Some((archive.backups[chain.backup].start_segment(size)?, chain.backup)))
        .collect();
    waiting.sort_unstable();
    let Some((oldest, _)) = waiting.first().copied() else { return reaches };
    let histories = histories(archive, eye);
    let mut first = First::default();
    let mut give = |first: &First, at: usize| {
        let mut whole = first.clone();
        whole.merge(&needs[at].0);
        let own = archive.backups[at].timeline();
        // The way there: the server looks for each next timeline's history until one is missing.
        for (_, history) in histories.range(next(own)..).take_while(|(timeline, _)| **timeline <= window.timeline) {
            whole.merge(history);
        }
        reaches[at] = Some(whole);
    };
    for file in archive.timelines.path(window.timeline).files(size).iter().rev() {
        let mut group: Vec<SegmentRow> = Vec::new();
        let look = |group: &mut Vec<SegmentRow>, first: &mut First| {
            if let Some((cuts, row)) = eye.segment(archive, group) {
                first.offer(cuts, || What::Segment(row));
            }
            group.clear();
        };
        for row in archive.wal.rows(file.timeline).rev() {
            let Some(number) = row.name().number(size) else { continue };
            if number < oldest || number < file.first {
                break;
            }
            if file.end.is_some_and(|end| number >= end) || !row.is_plausible(size) {
                continue;
            }
            if group.first().is_some_and(|known| known.name() != row.name()) {
                look(&mut group, &mut first);
            }
            while waiting.last().is_some_and(|(start, _)| *start > number) {
                if let Some((_, at)) = waiting.pop() {
                    give(&first, at);
                }
            }
            group.push(*row);
        }
        look(&mut group, &mut first);
    }
    while let Some((_, at)) = waiting.pop() {
        give(&first, at);
    }
    reaches
}

fn next(timeline: TimelineId) -> TimelineId {
    timeline.get().checked_add(1).and_then(TimelineId::new).unwrap_or(timeline)
}

fn histories(archive: &Archive, eye: &Eye<'_>) -> std::collections::BTreeMap<TimelineId, First> {
    let one = |file: &crate::catalog::HistoryFile| {
        let mut first = First::default();
        // The longest-lived of several under one name.
        let cuts = file.objects.iter().map(|object| (eye.object(object), &object.key));
        let best = cuts.reduce(|best, other| if later(best.0.unreadable, other.0.unreadable) { other } else { best });
        if let Some((cuts, key)) = best {
            first.offer(cuts, || What::Key(key.clone()));
        }
        first
    };
    archive.histories.iter().map(|(timeline, file)| (*timeline, one(file))).collect()
}
