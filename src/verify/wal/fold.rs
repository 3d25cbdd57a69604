//! Joins segments in the order of timelines and positions: boundaries, copies, forks, times.

use std::collections::BTreeMap;

use super::damage;
use crate::catalog::evidence::{ContentEvidence, Damage, DamageKind, DuplicateSeen, NamedPoint, SegmentFact};
use crate::catalog::{Archive, HistoryState};
use crate::model::{Lsn, SegmentNo, TimelineId, Timestamp};
use crate::verify::ledger::{IdText, SegmentProof, SegmentText};
use crate::verify::plan::SegmentItem;
use crate::wal::{
    EventKind, JoinedRecord, RecordTime, RestorePoint, SegmentEnd, SegmentSummary, SegmentTimes, Stitcher,
    compare_at_switch,
};

/// One copy of a segment that was read.
struct Copy {
    item: SegmentItem,
    summary: Box<SegmentSummary>,
    /// What is wrong with the object as such: it could not be decoded to its end.
    broken: bool,
    damages: Vec<Damage>,
}

/// Takes segments in ascending order of timeline and number.
pub(crate) struct Fold<'a> {
    archive: &'a Archive,
    as_of: Timestamp,
    /// Copies of the segment that comes in just now.
    copies: Vec<Copy>,
    /// How the timeline's run goes on, with its last segment.
    run: Option<(TimelineId, Stitcher)>,
    left: Option<SegmentItem>,
    /// The boundary before that one was judged.
    left_joined: bool,
    /// Where a timeline is left for another: the state of the run there, by the child.
    forks: BTreeMap<TimelineId, (Stitcher, SegmentItem)>,
    /// For each child the segment number before its first file, and whose file that is.
    fork_points: BTreeMap<(TimelineId, SegmentNo), Vec<TimelineId>>,
    /// The parent's copies of switch segments.
    parents: BTreeMap<(TimelineId, SegmentNo), (SegmentItem, Box<SegmentSummary>)>,
    /// Where a record that is still open begins.
    open_since: Option<Lsn>,
    /// What this run proved.
    pub proofs: Vec<SegmentProof>,
    /// Restore points met in this run.
    pub points: Vec<NamedPoint>,
}

impl<'a> Fold<'a> {
    pub fn new(archive: &'a Archive, as_of: Timestamp) -> Self {
        let size = archive.segment_size;
        let mut fork_points: BTreeMap<(TimelineId, SegmentNo), Vec<TimelineId>> = BTreeMap::new();
        for (timeline, state) in archive.timelines.iter() {
            if !matches!(state, HistoryState::Known(_)) {
                continue;
            }
            let files = archive.timelines.path(timeline).files(size);
            if let [.., before, own] = files.as_slice()
                && let Some(last) = own.first.previous()
            {
                fork_points.entry((before.timeline, last)).or_default().push(timeline);
            }
        }
        Fold {
            archive,
            as_of,
            copies: Vec::new(),
            run: None,
            left: None,
            left_joined: false,
            forks: BTreeMap::new(),
            fork_points,
            parents: BTreeMap::new(),
            open_since: None,
            proofs: Vec::new(),
            points: Vec::new(),
        }
    }

    /// A copy that was decoded, well or not. `broken` says what is wrong with the object itself.
    pub fn read(&mut self, item: SegmentItem, summary: SegmentSummary, broken: Vec<Damage>, out: &mut ContentEvidence) {
        self.flush_before(&item, out);
        if item.partial {
            return self.partial(item, summary, broken, out);
        }
        let is_broken = !broken.is_empty();
        let mut damages = broken;
        if !is_broken || damages.iter().all(|damage| damage.kind == DamageKind::StoreChecksum) {
            damages.extend(damage::in_segment(self.archive, &item, &summary));
        }
        self.copies.push(Copy { item, summary: Box::new(summary), broken: is_broken, damages });
    }

    /// A segment that an earlier run proved.
    pub fn known(&mut self, item: SegmentItem, out: &mut ContentEvidence) {
        self.flush_before(&item, out);
        let Some(known) = item.known.clone().filter(|known| known.valid && !item.partial) else { return };
        // A second copy of the same segment was proven equal.
        let proof = out.wal.entry(item.name.timeline).or_default();
        if proof.runs.last().is_some_and(|last| last.end > item.number) {
            return;
        }
        proof.add(item.number, known.at, known.valid);
        if let Some(end) = known.end {
            proof.facts.push(SegmentFact { number: item.number, end, last_transaction: known.last_transaction });
        }
        let mut run = self.run_of(&item);
        match &known.edges {
            Some(edges) => {
                let stitched = run.push(edges);
                let left = self.left.take();
                for defect in &stitched.defects {
                    if let Some(left) = &left {
                        out.damage(damage::between(&item, left, defect));
                    }
                }
                if !stitched.defects.is_empty() {
                    out.wal.entry(item.name.timeline).or_default().damaged.push(item.number);
                }
            }
            None => run.reset(),
        }
        self.open_since = None;
        self.left_joined = false;
        self.go_on(run, item);
    }

    /// A segment that was not read now or before.
    pub fn unread(&mut self, item: &SegmentItem, out: &mut ContentEvidence) {
        self.flush_before(item, out);
    }

    /// The end of all segments.
    pub fn finish(mut self, out: &mut ContentEvidence) -> (Vec<SegmentProof>, Vec<NamedPoint>) {
        self.flush(out);
        (self.proofs, self.points)
    }

    fn flush_before(&mut self, item: &SegmentItem, out: &mut ContentEvidence) {
        if self.copies.first().is_some_and(|copy| copy.item.name != item.name || item.partial) {
            self.flush(out);
        }
    }

    /// The state of a timeline's run before one of its segments.
    fn run_of(&mut self, item: &SegmentItem) -> Stitcher {
        let timeline = item.name.timeline;
        match self.run.take() {
            Some((own, stitcher)) if own == timeline => stitcher,
            _ => {
                self.left = None;
                self.left_joined = false;
                self.open_since = None;
                match self.forks.remove(&timeline) {
                    Some((stitcher, left)) => {
                        self.left = Some(left);
                        stitcher
                    }
                    None => Stitcher::new(),
                }
            }
        }
    }

    /// Keeps the state of a run behind one of its segments, also for the timelines that leave it there.
    fn go_on(&mut self, run: Stitcher, item: SegmentItem) {
        let timeline = item.name.timeline;
        for child in self.fork_points.get(&(timeline, item.number)).into_iter().flatten() {
            self.forks.insert(*child, (run.clone(), item.clone()));
        }
        self.run = Some((timeline, run));
        self.left = Some(item);
    }

    fn flush(&mut self, out: &mut ContentEvidence) {
        let copies = std::mem::take(&mut self.copies);
        let Some(first) = copies.first() else { return };
        let (name, number) = (first.item.name, first.item.number);
        if copies.len() > 1 || first.item.duplicate {
            compare(&copies, out);
        }
        let is_good = |copy: &Copy| copy.damages.iter().all(|damage| damage.harmless);
        let best = copies.iter().position(is_good).or_else(|| copies.iter().position(|copy| !copy.broken));
        let mut good = copies.iter().any(is_good);
        let intact = copies.iter().any(|copy| !copy.broken);
        let mut joined = None;
        let mut history_only = false;
        let mut sound_from = None;
        if let Some(best) = best.map(|best| &copies[best]) {
            let mut run = self.run_of(&best.item);
            let left = self.left.take();
            let stitched = run.push(&best.summary.edges);
            let judged = stitched.judged && stitched.defects.is_empty();
            joined = stitched.joined;
            let first = best.summary.edges.first_record.map(|first| Lsn(first.lsn.0 + 1));
            sound_from = match stitched.defects.as_slice() {
                [] => best.summary.sound_from,
                // A recovery that begins behind the boundary does not meet what is wrong there.
                defects if defects.iter().all(|defect| defect.kind.is_of_boundary()) => {
                    best.summary.sound_from.zip(first).map(|(sound, first)| sound.max(first))
                }
                _ => None,
            };
            // Damage inside explains what does not fit outside.
            if good {
                for defect in &stitched.defects {
                    let left = left.as_ref().unwrap_or(&best.item);
                    out.damage(damage::between(&best.item, left, defect));
                    good = false;
                }
                if self.compare_with_parent(&best.item, &best.summary, out) {
                    (good, sound_from) = (false, None);
                }
            } else {
                history_only = best.damages.iter().all(|damage| damage.harmless || damage.kind == DamageKind::History);
            }
            let forks =
                left.as_ref().is_some_and(|left| self.fork_points.contains_key(&(left.name.timeline, left.number)));
            if judged
                && self.left_joined
                && !forks
                && let Some(before) = self.proofs.last_mut()
            {
                // Both of its boundaries are proven.
                if left.is_some_and(|left| before.name.0 == left.name) {
                    before.edges = None;
                }
            }
            self.left_joined = judged;
            if !good {
                // What follows a damaged segment is not measured by it.
                run.reset();
            }
            self.parents.insert((name.timeline, number), (best.item.clone(), best.summary.clone()));
            self.go_on(run, best.item.clone());
        }
        if !good && !history_only {
            let proof = out.wal.entry(name.timeline).or_default();
            proof.damaged.push(number);
            if let Some(lsn) = sound_from {
                proof.sound_from.insert(number, lsn);
            }
        }
        let best = best.map(|best| &copies[best]);
        if intact {
            out.wal.entry(name.timeline).or_default().add(number, self.as_of, good);
        }
        let facts = best.filter(|_| good).map(|copy| self.facts(copy, joined.as_ref(), out));
        for copy in &copies {
            let is_good = good && is_good(copy);
            self.proofs.push(SegmentProof {
                name: SegmentText(name),
                id: IdText(copy.item.id),
                at: self.as_of,
                valid: is_good,
                damaged: !is_good,
                end: facts.filter(|_| is_good).map(|facts| facts.end),
                last_transaction: facts.filter(|_| is_good).and_then(|facts| facts.last_transaction),
                xids: xids(&copy.summary.times, joined.as_ref()).filter(|_| is_good),
                edges: Some(Box::new(copy.summary.edges.clone())).filter(|_| is_good),
            });
        }
        for copy in copies {
            copy.damages.into_iter().for_each(|damage| out.damage(damage));
        }
        // Only what may still be compared is kept.
        let floor = number.0.saturating_sub(1);
        let forks = &self.fork_points;
        self.parents.retain(|(timeline, number), _| {
            *timeline == name.timeline && number.0 >= floor
                || forks.keys().any(|(parent, last)| parent == timeline && last.0 + 1 == number.0)
        });
    }

    /// Times and ends of a good segment.
    fn facts(&mut self, copy: &Copy, joined: Option<&JoinedRecord>, out: &mut ContentEvidence) -> SegmentFact {
        let summary = &copy.summary;
        let size = self.archive.segment_size;
        let number = copy.item.number;
        let end = match &summary.edges.end {
            SegmentEnd::Open(open) => open.start,
            SegmentEnd::Continues => self.open_since.unwrap_or(number.start(size)),
            _ => summary.used_until(),
        };
        self.open_since = matches!(summary.edges.end, SegmentEnd::Open(_) | SegmentEnd::Continues).then_some(end);
        let of_joined = joined.and_then(|joined| joined.event.as_ref());
        let ended = of_joined.filter(|event| matches!(event.kind, EventKind::Commit { .. } | EventKind::Abort { .. }));
        let last = summary.times.last_transaction.map(|moment| moment.time).or(ended.and_then(|event| event.time));
        let fact = SegmentFact { number, end, last_transaction: last.map(|time| time.0) };
        out.wal.entry(copy.item.name.timeline).or_default().facts.push(fact);
        if let Some(event) = of_joined
            && let EventKind::RestorePoint { name } = &event.kind
        {
            self.point(copy.item.name.timeline, name, event.end, event.time, out);
        }
        out.restore_point_count +=
            summary.times.restore_point_count.saturating_sub(summary.times.restore_points.len() as u64);
        for RestorePoint { name, end, time, .. } in &summary.times.restore_points {
            self.point(copy.item.name.timeline, name, *end, *time, out);
        }
        fact
    }

    fn point(
        &mut self,
        timeline: TimelineId,
        name: &str,
        lsn: Lsn,
        time: Option<RecordTime>,
        out: &mut ContentEvidence,
    ) {
        out.restore_point_count += 1;
        if self.points.len() < ContentEvidence::POINTS_MAX {
            let time = time.and_then(RecordTime::timestamp);
            self.points.push(NamedPoint { name: name.to_owned(), timeline: timeline.get(), lsn, time });
        }
    }

    /// Compares a timeline's first segment with its parent's copy of it. Says whether they differ.
    fn compare_with_parent(&self, item: &SegmentItem, summary: &SegmentSummary, out: &mut ContentEvidence) -> bool {
        let Some((parent, switch)) =
            self.archive.timelines.history(item.name.timeline).and_then(|history| history.parent())
        else {
            return false;
        };
        if switch.segment(self.archive.segment_size) != item.number {
            return false;
        }
        let Some((other, theirs)) = self.parents.get(&(parent, item.number)) else { return false };
        if theirs.is_damaged() {
            return false;
        }
        let Some(defect) = compare_at_switch(theirs, summary, switch) else { return false };
        out.damage(damage::between(item, other, &defect));
        true
    }

    /// The unfinished end of a timeline: no recovery reads it by itself, but a fork may be compared with it.
    fn partial(&mut self, item: SegmentItem, summary: SegmentSummary, broken: Vec<Damage>, out: &mut ContentEvidence) {
        if broken.is_empty() {
            damage::in_segment(self.archive, &item, &summary).into_iter().for_each(|damage| out.damage(damage));
            let place = (item.name.timeline, item.number);
            self.parents.entry(place).or_insert_with(|| (item, Box::new(summary)));
        }
        broken.into_iter().for_each(|damage| out.damage(damage));
    }
}

/// Transactions that ended in a segment, the one whose record began before it included.
fn xids(times: &SegmentTimes, joined: Option<&JoinedRecord>) -> Option<(u32, u32)> {
    let mut before = SegmentTimes::default();
    if let Some(event) = joined.and_then(|joined| joined.event.as_ref()) {
        before.add(event);
    }
    let less = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
    match (times.xids, before.xids) {
        (Some((low, high)), Some((xid, _))) => {
            Some((if less(xid, low) { xid } else { low }, if less(high, xid) { xid } else { high }))
        }
        (own, other) => own.or(other),
    }
}

/// Compares the copies of a segment as far as recovery reads.
fn compare(copies: &[Copy], out: &mut ContentEvidence) {
    /// Segments whose copies are told apart in a report.
    const DUPLICATES_MAX: usize = 10_000;
    let read: Vec<&Copy> = copies.iter().filter(|copy| !copy.broken && copy.summary.content.is_some()).collect();
    let [first, rest @ ..] = read.as_slice() else { return };
    if rest.is_empty() || out.duplicates.len() >= DUPLICATES_MAX {
        return;
    }
    let equal = rest.iter().all(|copy| copy.summary.content == first.summary.content);
    let keys = read.iter().map(|copy| copy.item.key.clone()).collect();
    out.duplicates.push(DuplicateSeen { segment: first.item.name, keys, equal });
}
