//! What a run reads: chosen by the request, less what is proven already, cut down to the sample.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ledger::{BackupProven, Ledger, PartProven, SegmentProof};
use super::request::{BackupChoice, Request, WalChoice};
use crate::catalog::evidence::{ContentEvidence, UnreadReason};
use crate::catalog::{Archive, BaseBackup, Part, segment_key};
use crate::model::{CodecKind, ObjectId, ObjectKey, SegmentName, SegmentNo, StorageClass, TimelineId, Timestamp};
use crate::policy::{ByteSize, Sample};

/// Segments that a sample takes together: neighbours prove their boundaries, too.
const BLOCK_SEGMENTS: u64 = 16;

/// One object that holds a segment.
#[derive(Debug, Clone)]
pub(super) struct SegmentItem {
    pub name: SegmentName,
    pub number: SegmentNo,
    pub key: ObjectKey,
    pub storage: u8,
    pub codec: CodecKind,
    pub id: ObjectId,
    pub size: u64,
    pub class: StorageClass,
    /// The unfinished end of a timeline.
    pub partial: bool,
    /// Another object holds the same segment.
    pub duplicate: bool,
    /// Read in this run; otherwise `known` or nothing.
    pub read: bool,
    /// What an earlier run proved.
    pub known: Option<Box<SegmentProof>>,
}

/// One base backup.
#[derive(Debug, Clone)]
pub(super) struct BackupItem {
    /// Index into [`Archive::backups`].
    pub at: usize,
    /// Identity of its parts together.
    pub id: ObjectId,
    pub read: bool,
    pub known: Option<BackupProven>,
}

/// Objects of one class that a run would read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// How many.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

/// What a run would read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// GET requests: for what is read, and for the lists of files that backups are compared with. The lists of a
    /// delta's ancestors are asked for until all its files are found, so that there may be a few less.
    pub requests: u64,
    /// WAL objects.
    pub wal: Share,
    /// Parts of base backups.
    pub backups: Share,
    /// The same by storage class, as the stores name them.
    pub classes: BTreeMap<&'static str, Share>,
    /// Objects that are proven and have not changed.
    pub known: Share,
    /// Objects in classes that are not read.
    pub refused: Share,
}

/// What a run reads, in the order in which it does.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) segments: Vec<SegmentItem>,
    pub(super) backups: Vec<BackupItem>,
    /// What is not read, with the reasons; the rest is filled in while it runs.
    pub(super) evidence: ContentEvidence,
    estimate: Estimate,
}

/// What a sample takes or leaves as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Wal(TimelineId, u64),
    Backup(usize),
}

#[derive(Debug, Default, Clone, Copy)]
struct Weight {
    bytes: u64,
    /// The oldest proof in it; `None` where something was never proven.
    proven: Option<Timestamp>,
    begun: bool,
    /// It was damaged when it was read last.
    damaged: bool,
}

impl Plan {
    /// Chooses.
    ///
    /// # Errors
    /// The request names a backup that is not there.
    pub fn make(archive: &Archive, request: &Request, ledger: &Ledger, as_of: Timestamp) -> Result<Self, String> {
        let chosen = request.chosen(archive)?;
        let mut plan = Plan::default();
        let mut refused = Share::default();
        for at in &chosen {
            let backup = &archive.backups[*at];
            let id = identity(backup);
            let mut known = ledger.backup(&backup.name, id).cloned();
            if let Some(known) = &mut known {
                known.parts.retain(|part| request.counts(part.at, as_of));
            }
            let counts =
                known.as_ref().is_some_and(|known| known.intact && !known.damaged && request.counts(known.at, as_of));
            let mut read = !counts;
            for part in backup.parts.iter().filter(|part| read && !request.may_read(part.object.class)) {
                plan.refuse(&part.object.key, part.object.class, part.object.size, &mut refused);
            }
            read &= backup.parts.iter().all(|part| request.may_read(part.object.class)) && !backup.parts.is_empty();
            plan.backups.push(BackupItem { at: *at, id, read, known });
        }
        plan.wal(archive, request, ledger, as_of, &chosen, &mut refused);
        plan.evidence.wal_asked = plan.segments.iter().filter(|item| !item.partial).count() as u64;
        plan.evidence.backups_asked = plan.backups.len() as u64;
        plan.cut(archive, request);
        plan.pairs(archive);
        plan.count(archive, refused);
        Ok(plan)
    }

    /// What it would cost.
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// Stored bytes it reads.
    pub fn bytes(&self) -> u64 {
        self.estimate.wal.bytes + self.estimate.backups.bytes
    }

    fn refuse(&mut self, key: &ObjectKey, class: StorageClass, bytes: u64, refused: &mut Share) {
        let name = class.name();
        let why = match class {
            StorageClass::Glacier => format!("they lie in {name}: restore them first (Standard 3-5 h, Bulk 5-12 h)"),
            StorageClass::DeepArchive => format!("they lie in {name}: restore them first (Standard 12 h, Bulk 48 h)"),
            StorageClass::AzureArchive => format!("they lie in {name}: rehydrate them first (Standard up to 15 h)"),
            _ => format!("class {name} is not among verify.allow_classes"),
        };
        refused.objects += 1;
        refused.bytes += bytes;
        self.evidence.not_read(UnreadReason::Class(class), &why, key, bytes);
    }

    fn wal(
        &mut self,
        archive: &Archive,
        request: &Request,
        ledger: &Ledger,
        as_of: Timestamp,
        chosen: &BTreeSet<usize>,
        refused: &mut Share,
    ) {
        let size = archive.segment_size;
        let own: BTreeSet<(TimelineId, u64)> = match &request.wal {
            WalChoice::OfBackups => own_wal(archive, chosen),
            _ => BTreeSet::new(),
        };
        let since = match &request.wal {
            WalChoice::Since(span) => {
                let seconds = span.seconds().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(i64::MAX / 2);
                as_of.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
            }
            _ => Timestamp::MIN,
        };
        let wanted = |name: SegmentName, number: SegmentNo, modified: Timestamp| match &request.wal {
            WalChoice::None => false,
            WalChoice::All => true,
            WalChoice::OfBackups => own.contains(&(name.timeline, number.0)),
            WalChoice::Range(first, last) => {
                let place = |name: &SegmentName| (name.timeline, name.position());
                place(first) <= place(&name) && place(&name) <= place(last)
            }
            WalChoice::Since(_) => modified >= since,
        };
        let mut items = Vec::new();
        for timeline in archive.wal.timelines() {
            for row in archive.wal.rows(timeline) {
                let name = row.name();
                // Empty objects show in the listing; stubs are read, to say what they are.
                let Some(number) = name.number(size).filter(|_| row.size > 0) else { continue };
                if !wanted(name, number, row.modified()) {
                    continue;
                }
                let known = ledger.segment(name, row.id()).cloned().map(Box::new);
                items.push(SegmentItem {
                    name,
                    number,
                    key: segment_key(name, row.codec),
                    storage: row.storage,
                    codec: row.codec,
                    id: row.id(),
                    size: row.size,
                    class: row.class,
                    partial: false,
                    duplicate: archive.wal.at(name).len() > 1,
                    read: true,
                    known,
                });
            }
        }
        for partial in &archive.partials {
            let Some(number) = partial
                .name
                .number(size)
                .filter(|number| partial.object.size > 0 && wanted(partial.name, *number, partial.object.modified))
            else {
                continue;
            };
            let (_, codec) = CodecKind::split(partial.object.key.as_bytes());
            items.push(SegmentItem {
                name: partial.name,
                number,
                key: partial.object.key.clone(),
                storage: partial.object.storage,
                codec,
                id: partial.object.id,
                size: partial.object.size,
                class: partial.object.class,
                partial: true,
                duplicate: false,
                read: true,
                known: None,
            });
        }
        items.sort_by_key(|item| (item.name.timeline, item.number, item.partial, item.storage));
        let counts = |item: &SegmentItem| {
            item.known.as_ref().is_some_and(|known| known.valid && !known.damaged && request.counts(known.at, as_of))
        };
        // Copies of one segment are read together or not at all.
        for copies in items.chunk_by_mut(|a, b| a.name == b.name && !a.partial && !b.partial) {
            let known = copies.iter().all(counts);
            copies.iter_mut().for_each(|item| item.read = !known);
        }
        for mut item in items {
            if item.read && !request.may_read(item.class) {
                self.refuse(&item.key, item.class, item.size, refused);
                item.read = false;
            }
            self.segments.push(item);
        }
    }

    /// Leaves of what would be read only the sample.
    fn cut(&mut self, archive: &Archive, request: &Request) {
        let (share, bytes, slice) = match request.sample {
            Some(Sample::Share(share)) => (Some(share), None, None),
            Some(Sample::Bytes(ByteSize(bytes))) => (None, Some(bytes), None),
            Some(Sample::Slice { number, of }) => (None, None, Some((number, of))),
            None => (None, None, None),
        };
        if share.is_none() && bytes.is_none() && slice.is_none() && request.budget.is_none() {
            return;
        }
        let seed = request.seed;
        self.evidence.sample = Some(match (&request.sample, request.budget) {
            (Some(sample @ Sample::Slice { .. }), None) => format!("slice {sample}"),
            (Some(sample), None) => format!("{sample} (--seed {seed})"),
            (Some(sample), Some(budget)) => format!("{sample}, at most {} (--seed {seed})", ByteSize(budget)),
            (None, budget) => format!("at most {} (--seed {seed})", ByteSize(budget.unwrap_or(0))),
        });
        let mut units: BTreeMap<Unit, Weight> = BTreeMap::new();
        let mut scope = 0u64;
        for item in &self.segments {
            scope += item.size;
            if item.read {
                let known = item.known.as_deref();
                add(&mut units, unit(item), item.size, known.map(|known| known.at), known.is_some_and(|k| k.damaged));
            }
        }
        for item in &self.backups {
            let backup = &archive.backups[item.at];
            scope += backup.parts.iter().map(|part| part.object.size).sum::<u64>();
            if item.read {
                let known = item.known.as_ref();
                let damaged = known.is_some_and(|known| known.damaged);
                let left = item.parts(backup).filter(|(_, known)| known.is_none());
                let bytes = left.map(|(part, _)| part.object.size).sum();
                // One that was never read whole was never proven.
                let at = known.filter(|known| known.intact || known.damaged).map(|known| known.at);
                add(&mut units, Unit::Backup(item.at), bytes, at, damaged);
            }
        }
        let name = |unit: &Unit| match unit {
            Unit::Wal(timeline, block) => format!("wal {timeline} {block}"),
            Unit::Backup(at) => format!("backup {}", archive.backups[*at].name),
        };
        let mut order: Vec<(Unit, Weight)> = units.into_iter().collect();
        if let Some((number, of)) = slice {
            // The same slice in every run, whatever the seed: `of` runs cover everything.
            order.retain(|(unit, weight)| {
                weight.damaged || mixed(0, &name(unit)) % u128::from(of) == u128::from(number - 1)
            });
        }
        order.sort_by_key(|(unit, weight)| (!weight.damaged, weight.proven, mixed(seed, &name(unit))));
        let soft = share.map(|share| share.of(scope));
        let hard = [bytes, request.budget].into_iter().flatten().min();
        let mut taken = BTreeSet::new();
        let mut sum = 0u64;
        for (unit, weight) in order {
            let fits = hard.is_none_or(|hard| sum.saturating_add(weight.bytes) <= hard);
            if weight.damaged || (fits && soft.is_none_or(|soft| sum < soft)) {
                sum += weight.bytes;
                taken.insert(unit);
            } else if let (Unit::Backup(at), Some(hard)) = (unit, hard.filter(|hard| weight.bytes > *hard)) {
                let why = format!("the backup alone is larger than the {} that one run may read", ByteSize(hard));
                for part in &archive.backups[at].parts {
                    self.evidence.not_read(UnreadReason::Budget, &why, &part.object.key, part.object.size);
                }
            }
        }
        for item in &mut self.segments {
            item.read &= taken.contains(&unit(item));
        }
        for item in &mut self.backups {
            item.read &= taken.contains(&Unit::Backup(item.at));
        }
    }

    /// Where a timeline's first segment is read, its parent's copy of it is read again, to compare them.
    fn pairs(&mut self, archive: &Archive) {
        let mut wanted: BTreeSet<(TimelineId, SegmentNo)> = BTreeSet::new();
        for item in self.segments.iter().filter(|item| item.read && !item.partial) {
            let history = archive.timelines.history(item.name.timeline);
            if let Some((parent, switch)) = history.and_then(|history| history.parent())
                && switch.segment(archive.segment_size) == item.number
            {
                wanted.insert((parent, item.number));
            }
        }
        for item in &mut self.segments {
            item.read |= item.known.is_some() && wanted.contains(&(item.name.timeline, item.number));
        }
    }

    fn count(&mut self, archive: &Archive, refused: Share) {
        let mut estimate = Estimate { refused, ..Estimate::default() };
        let mut class = |class: StorageClass, bytes: u64, known: bool| {
            if known {
                estimate.known.objects += 1;
                estimate.known.bytes += bytes;
            } else {
                let share = estimate.classes.entry(class.name()).or_default();
                share.objects += 1;
                share.bytes += bytes;
            }
        };
        let (mut wal, mut parts, mut more) = (Share::default(), Share::default(), 0);
        for item in &self.segments {
            if item.read {
                wal.objects += 1;
                wal.bytes += item.size;
                class(item.class, item.size, false);
            } else if item.known.is_some() {
                class(item.class, item.size, true);
            }
        }
        for item in &self.backups {
            let backup = &archive.backups[item.at];
            let intact = item.known.as_ref().is_some_and(|known| known.intact && !known.damaged);
            for (part, known) in item.parts(backup).filter(|(_, known)| item.read || intact || known.is_some()) {
                let read = item.read && known.is_none();
                class(part.object.class, part.object.size, !read);
                if read {
                    parts.objects += 1;
                    parts.bytes += part.object.size;
                }
            }
            more += if item.read { lists(archive, backup) } else { 0 };
        }
        estimate.requests = wal.objects + parts.objects + more;
        estimate.wal = wal;
        estimate.backups = parts;
        self.evidence.totals.known = estimate.known.objects;
        self.estimate = estimate;
    }
}

fn unit(item: &SegmentItem) -> Unit {
    Unit::Wal(item.name.timeline, item.number.0 / BLOCK_SEGMENTS)
}

fn add(units: &mut BTreeMap<Unit, Weight>, unit: Unit, bytes: u64, proven: Option<Timestamp>, damaged: bool) {
    let weight = units.entry(unit).or_default();
    weight.bytes += bytes;
    weight.damaged |= damaged;
    weight.proven = if weight.begun { weight.proven.zip(proven).map(|(a, b)| a.min(b)) } else { proven };
    weight.begun = true;
}

/// Lists of files that a backup is compared with: its own and, where files come from ancestors, theirs.
fn lists(archive: &Archive, backup: &BaseBackup) -> u64 {
    let mut lists = 0;
    let mut next = Some(backup);
    // A chain that runs in a circle ends somewhere.
    for _ in 0..=archive.backups.len() {
        let Some(backup) = next else { break };
        lists += u64::from(backup.files_metadata.object().is_some());
        let parent = backup.kind.parent();
        next = parent.and_then(|name| archive.backups.iter().find(|o| o.name == name && o.storage == backup.storage));
    }
    lists
}

impl BackupItem {
    /// The backup's parts, with what an interrupted run proved of them.
    pub(super) fn parts<'a>(
        &'a self,
        backup: &'a BaseBackup,
    ) -> impl Iterator<Item = (&'a Part, Option<&'a PartProven>)> {
        let known = self.known.iter().flat_map(|known| &known.parts);
        let known: HashMap<&str, &PartProven> = known.map(|part| (part.name.as_str(), part)).collect();
        backup.parts.iter().map(move |part| (part, known.get(part.name.as_str()).copied()))
    }
}

/// A number that depends on the seed and a name in no visible way.
fn mixed(seed: u64, name: &str) -> u128 {
    let id = ObjectId::digest(&[&seed.to_le_bytes(), name.as_bytes()]).0;
    // The low bits of FNV follow the last byte too closely for a modulus.
    id ^ (id >> 67)
}

/// Changes when any object of a backup's content does.
fn identity(backup: &BaseBackup) -> ObjectId {
    let mut parts: Vec<(&[u8], u128)> = backup.objects().map(|object| (object.key.as_bytes(), object.id.0)).collect();
    parts.sort_unstable();
    let texts: Vec<Vec<u8>> = parts.into_iter().map(|(key, id)| [key, &id.to_le_bytes()[..]].concat()).collect();
    let slices: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    ObjectId::digest(&slices)
}

fn own_wal(archive: &Archive, chosen: &BTreeSet<usize>) -> BTreeSet<(TimelineId, u64)> {
    /// A backup that runs through more WAL than this has a wrong stop position.
    const SEGMENTS_MAX: u64 = 1 << 20;
    let size = archive.segment_size;
    let mut own = BTreeSet::new();
    for backup in chosen.iter().map(|at| &archive.backups[*at]) {
        let Some(start) = backup.start_segment(size) else { continue };
        let stop = backup.stop_segment(size).unwrap_or(start);
        let path = archive.timelines.path(backup.timeline());
        for number in start.0..=stop.0.min(start.0 + SEGMENTS_MAX) {
            own.insert((path.owner(SegmentNo(number), size), number));
        }
    }
    own
}

impl Request {
    /// Whether backups are to be read at all.
    pub fn wants_backups(&self) -> bool {
        self.backups != BackupChoice::None
    }
}
