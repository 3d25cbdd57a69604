use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BackupDefect;
use crate::catalog::{FilePiece, IntervalSet};
use crate::model::{Lsn, ObjectKey, SegmentName, SegmentNo, StorageClass, TimelineId, Timestamp};

/// What is wrong with an object's bytes, or with a segment between its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DamageKind {
    /// It does not decode to its end.
    Codec,
    /// It does not decrypt or authenticate.
    Decrypt,
    /// A WAL record's CRC, length or link is wrong.
    Record,
    /// A WAL page header is wrong.
    Page,
    /// Neighbouring segments do not continue each other.
    Chain,
    /// A decoded segment has another length than a segment.
    Length,
    /// The store's own checksum says something else.
    StoreChecksum,
    /// Written by another cluster, or with another segment size.
    Foreign,
    /// The pages contradict the history file of their timeline.
    History,
}

impl DamageKind {
    /// The rule that tells of it.
    pub fn rule(self) -> &'static str {
        match self {
            DamageKind::Codec => "INT001",
            DamageKind::Decrypt => "INT002",
            DamageKind::Record => "INT003",
            DamageKind::Page => "INT004",
            DamageKind::Chain => "INT005",
            DamageKind::Length => "INT006",
            DamageKind::StoreChecksum => "INT010",
            DamageKind::Foreign => "WAL006",
            DamageKind::History => "TLI002",
        }
    }
}

/// One damaged object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong.
    pub kind: DamageKind,
    /// The object, relative to the archive's root.
    pub key: ObjectKey,
    /// The storage that holds it.
    pub storage: u8,
    /// The segment it holds, for WAL.
    pub segment: Option<SegmentName>,
    /// The backup it belongs to, for parts.
    pub backup: Option<String>,
    /// One clause: what is wrong first, with its numbers.
    pub message: String,
    /// Position of the first place.
    pub lsn: Option<Lsn>,
    /// The same, as an offset in the decoded object, or in the stored one for codecs and encryption.
    pub offset: Option<u64>,
    /// How many places of this kind there are.
    pub count: u64,
    /// What should be there.
    pub expected: Option<String>,
    /// What is.
    pub found: Option<String>,
    /// The other object of a pair.
    pub other: Option<ObjectKey>,
    /// Recovery never reads it by itself: the unfinished end of a timeline, or a stretch behind a switch.
    pub harmless: bool,
}

impl Damage {
    /// One place of an object of which nothing more is known; the rest is filled in by whoever knows it.
    pub fn new(kind: DamageKind, key: &ObjectKey, storage: u8, message: String) -> Self {
        Damage {
            kind,
            key: key.clone(),
            storage,
            segment: None,
            backup: None,
            message,
            lsn: None,
            offset: None,
            count: 1,
            expected: None,
            found: None,
            other: None,
            harmless: false,
        }
    }
}

/// Why an object was not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UnreadReason {
    /// It is encrypted and no key was given.
    KeyMissing,
    /// Its class is refused by the store, or not among those that may be read.
    Class(StorageClass),
    /// It could not be read as things are: a key service that says no, a feature that is not built in.
    Refused,
    /// It alone is larger than what one run may read.
    Budget,
    /// It vanished.
    Gone,
    /// The store failed.
    Store,
    /// The run was stopped before.
    Stopped,
}

/// Objects that were to be read and were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub reason: UnreadReason,
    /// The same for people, as far as it is the same for all.
    pub why: String,
    /// How many.
    pub count: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// The first few.
    pub sample: Vec<ObjectKey>,
}

impl Unread {
    /// Keys that are kept.
    pub const SAMPLE_MAX: usize = 20;
}

/// Segments `[first, end)` of one timeline's files, proven at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenRun {
    /// First segment.
    pub first: SegmentNo,
    /// First segment behind.
    pub end: SegmentNo,
    /// When it was proven.
    pub at: Timestamp,
    /// Pages, records and their chain hold, too.
    pub valid: bool,
}

/// What is known of the content of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFact {
    /// Which one.
    pub number: SegmentNo,
    /// First position that is not usable without the next segment.
    pub end: Lsn,
    /// Time of the last commit or abort, in microseconds since 1970.
    pub last_transaction: Option<i64>,
}

/// One timeline's segments, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalProof {
    /// Ascending and disjoint.
    pub runs: Vec<ProvenRun>,
    /// Ascending; of valid segments only.
    pub facts: Vec<SegmentFact>,
    /// Segments that recovery cannot read, by what was seen, ascending.
    pub damaged: Vec<SegmentNo>,
    /// Of these, the ones that recovery can read if it begins at this position or behind.
    pub sound_from: BTreeMap<SegmentNo, Lsn>,
}

impl WalProof {
    /// Adds a segment; they come in ascending order.
    pub fn add(&mut self, number: SegmentNo, at: Timestamp, valid: bool) {
        match self.runs.last_mut() {
            Some(last) if last.end == number && last.at == at && last.valid == valid => last.end = number.next(),
            Some(last) if last.end > number => {}
            _ => self.runs.push(ProvenRun { first: number, end: number.next(), at, valid }),
        }
    }

    /// How many of `[first, end)` were proven, and the oldest of these proofs.
    pub fn within(&self, first: u64, end: u64, valid: bool) -> (u64, Option<Timestamp>) {
        let (mut count, mut oldest): (u64, Option<Timestamp>) = (0, None);
        for run in self.runs.iter().filter(|run| run.valid || !valid) {
            let (from, to) = (run.first.0.max(first), run.end.0.min(end));
            if from < to {
                count += to - from;
                oldest = Some(oldest.map_or(run.at, |oldest| oldest.min(run.at)));
            }
        }
        (count, oldest)
    }

    /// Takes a segment back: it cannot be counted on after all.
    pub fn disprove(&mut self, number: SegmentNo) {
        let runs = std::mem::take(&mut self.runs);
        for run in runs {
            if run.first <= number && number < run.end {
                let parts = [(run.first, number), (number.next(), run.end)];
                let parts = parts.into_iter().filter(|(first, end)| first < end);
                self.runs.extend(parts.map(|(first, end)| ProvenRun { first, end, ..run }));
            } else {
                self.runs.push(run);
            }
        }
        self.facts.retain(|fact| fact.number != number);
        self.sound_from.remove(&number);
        if let Err(at) = self.damaged.binary_search(&number) {
            self.damaged.insert(at, number);
        }
    }

    /// Adds older proofs of segments of which this says nothing.
    fn add_older(&mut self, older: &WalProof) {
        let mut told = IntervalSet::default();
        self.runs.iter().for_each(|run| told.insert(run.first.0, run.end.0));
        self.damaged.iter().for_each(|number| told.insert(number.0, number.0 + 1));
        for run in &older.runs {
            let rest = told.missing_in(run.first.0, run.end.0);
            self.runs.extend(rest.into_iter().map(|(first, end)| ProvenRun {
                first: SegmentNo(first),
                end: SegmentNo(end),
                ..*run
            }));
        }
        self.runs.sort_unstable_by_key(|run| run.first);
    }

    fn fact(&self, number: SegmentNo) -> Option<&SegmentFact> {
        let at = self.facts.binary_search_by_key(&number, |fact| fact.number).ok()?;
        self.facts.get(at)
    }
}

/// How far the content of a base backup was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupProof {
    /// Parts whose every byte decodes, with the stored bytes of all.
    pub parts: u64,
    /// Parts it has.
    pub parts_total: u64,
    /// Stored bytes of the proven parts.
    pub bytes: u64,
    /// When the oldest of them was proven.
    pub oldest: Option<Timestamp>,
    /// When every byte of it was found to decode and every file to be there.
    pub intact: Option<Timestamp>,
    /// When its pages, manifest and control file were found to hold.
    pub valid: Option<Timestamp>,
}

/// A segment that is stored more than once, and what comparing the copies showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateSeen {
    /// The segment.
    pub segment: SegmentName,
    /// The objects that were compared.
    pub keys: Vec<ObjectKey>,
    /// They hold the same as far as recovery reads.
    pub equal: bool,
}

/// A named restore point, or a commit that matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPoint {
    /// Name of the restore point.
    pub name: String,
    /// The timeline whose file holds it.
    pub timeline: u32,
    /// First position behind its record.
    pub lsn: Lsn,
    /// When it was made.
    pub time: Option<Timestamp>,
}

/// What a run read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentTotals {
    /// Segments read.
    pub wal_segments: u64,
    /// Their stored bytes.
    pub wal_bytes: u64,
    /// Parts of base backups read.
    pub backup_files: u64,
    /// Their stored bytes.
    pub backup_bytes: u64,
    /// Objects that were proven before and have not changed.
    pub known: u64,
    /// Objects whose store checksum was compared.
    pub store_checksums: u64,
    /// Seconds.
    pub duration_s: f64,
}

/// Where WAL that was read ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactEnd {
    /// First position behind the last whole record.
    pub lsn: Lsn,
    /// The last commit or abort before it, where every segment since was read.
    pub time: Option<Timestamp>,
}

/// What reading the content of an archive's objects showed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContentEvidence {
    /// Damaged objects, the first [`ContentEvidence::DAMAGES_MAX`].
    pub damages: Vec<Damage>,
    /// How many more there are.
    pub damages_left_out: u64,
    /// What is wrong inside base backups.
    pub backup_defects: Vec<BackupDefect>,
    /// Backup manifests that files were compared with.
    pub manifests: u64,
    /// What was not read, by reason.
    pub unread: Vec<Unread>,
    /// WAL by the timeline of the file.
    pub wal: BTreeMap<TimelineId, WalProof>,
    /// Backups by name and storage.
    pub backups: BTreeMap<(String, u8), BackupProof>,
    /// Segments stored more than once.
    pub duplicates: Vec<DuplicateSeen>,
    /// Restore points that were met, the first [`ContentEvidence::POINTS_MAX`].
    pub restore_points: Vec<NamedPoint>,
    /// How many there are.
    pub restore_point_count: u64,
    /// What was read.
    pub totals: ContentTotals,
    /// Segments that were to be read, read or not.
    pub wal_asked: u64,
    /// Backups that were to be read, read or not.
    pub backups_asked: u64,
    /// Only a part of the archive was to be read: in words.
    pub sample: Option<String>,
    /// Remarks that are no defects.
    pub notes: Vec<String>,
}

impl ContentEvidence {
    /// Damaged objects that are kept; the rest is counted.
    pub const DAMAGES_MAX: usize = 5000;
    /// Restore points that are kept.
    pub const POINTS_MAX: usize = 1000;

    /// Takes one more damage.
    pub fn damage(&mut self, damage: Damage) {
        if self.damages.len() < Self::DAMAGES_MAX {
            self.damages.push(damage);
        } else {
            self.damages_left_out += 1;
        }
    }

    /// The proofs of this run, and where it did not look those of earlier ones.
    pub fn proofs_over(&self, older: &ContentEvidence) -> ContentEvidence {
        let (wal, backups) = (self.wal.clone(), self.backups.clone());
        let mut out = ContentEvidence { wal, backups, ..ContentEvidence::default() };
        for (timeline, proof) in &older.wal {
            out.wal.entry(*timeline).or_default().add_older(proof);
        }
        let damaged = |name: &str| {
            self.damages.iter().any(|damage| damage.backup.as_deref() == Some(name))
                || self.backup_defects.iter().any(|defect| defect.backup == name)
        };
        for (place, proof) in older.backups.iter().filter(|((name, _), _)| !damaged(name)) {
            let own = out.backups.entry(place.clone()).or_default();
            if own.parts < proof.parts {
                own.clone_from(proof);
            }
        }
        out
    }

    /// Notes an object that was not read.
    pub fn not_read(&mut self, reason: UnreadReason, why: &str, key: &ObjectKey, bytes: u64) {
        let at = self.unread.iter().position(|unread| unread.reason == reason && unread.why == why);
        // Reasons are few; a store that words each refusal differently is summed up under the first.
        let at = at.or_else(|| {
            let same = |unread: &Unread| unread.reason == reason;
            (self.unread.len() >= 64).then(|| self.unread.iter().position(same)).flatten()
        });
        let unread = match at {
            Some(at) => &mut self.unread[at],
            None => {
                self.unread.push(Unread { reason, why: why.to_owned(), count: 0, bytes: 0, sample: Vec::new() });
                let last = self.unread.len() - 1;
                &mut self.unread[last]
            }
        };
        unread.count += 1;
        unread.bytes += bytes;
        if unread.sample.len() < Unread::SAMPLE_MAX {
            unread.sample.push(key.clone());
        }
    }

    /// The damaged objects of a kind.
    pub fn of_kind(&self, kind: DamageKind) -> impl Iterator<Item = &Damage> {
        self.damages.iter().filter(move |damage| damage.kind == kind)
    }

    /// Where the WAL of a way ends, if its last segment was read: `files` is the way, `last` its last segment.
    pub fn end_of(&self, files: &[FilePiece], last: (TimelineId, SegmentNo)) -> Option<ExactEnd> {
        let lsn = self.wal.get(&last.0)?.fact(last.1)?.end;
        let mut number = last.1;
        let owner = |number: SegmentNo| {
            files.iter().rev().find(|file| file.first <= number && file.end.is_none_or(|end| number < end))
        };
        let time = loop {
            let file = if number == last.1 { Some(last.0) } else { owner(number).map(|file| file.timeline) };
            let fact = file.and_then(|file| self.wal.get(&file)).and_then(|proof| proof.fact(number));
            match fact {
                Some(fact) if fact.last_transaction.is_some() => {
                    break fact.last_transaction.and_then(|us| Timestamp::from_microsecond(us).ok());
                }
                Some(_) => {}
                None => break None,
            }
            match number.previous() {
                Some(previous) => number = previous,
                None => break None,
            }
        };
        Some(ExactEnd { lsn, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_and_are_counted() {
        let mut proof = WalProof::default();
        let (a, b) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(5));
        for (number, at, valid) in [(3, b, true), (4, b, true), (5, a, false), (8, b, true)] {
            proof.add(SegmentNo(number), at, valid);
        }
        assert_eq!(proof.runs.len(), 3);
        assert_eq!(proof.within(0, 100, false), (4, Some(a)));
        assert_eq!(proof.within(0, 100, true), (3, Some(b)));
        assert_eq!(proof.within(4, 6, true), (1, Some(b)));
        assert_eq!(proof.within(6, 8, false), (0, None));
        proof.disprove(SegmentNo(4));
        proof.disprove(SegmentNo(4));
        assert_eq!((proof.within(3, 6, false), proof.damaged.as_slice()), ((2, Some(a)), &[SegmentNo(4)][..]));
    }

    #[test]
    fn older_proofs_count_where_nothing_newer_is_known() {
        let tli = TimelineId::new(1).unwrap();
        let (old, new) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(5));
        let (mut older, mut newer) = (ContentEvidence::default(), ContentEvidence::default());
        (2..10).for_each(|number| older.wal.entry(tli).or_default().add(SegmentNo(number), old, true));
        newer.wal.entry(tli).or_default().add(SegmentNo(4), new, true);
        newer.wal.entry(tli).or_default().damaged.push(SegmentNo(6));
        let place = ("base".to_owned(), 0);
        older.backups.insert(place.clone(), BackupProof { parts: 3, intact: Some(old), ..Default::default() });
        newer.backups.insert(place.clone(), BackupProof { parts: 1, ..Default::default() });
        let proofs = newer.proofs_over(&older);
        assert_eq!(proofs.wal[&tli].within(0, 100, true), (7, Some(old)), "all but the damaged one");
        assert_eq!(proofs.wal[&tli].within(4, 5, true), (1, Some(new)));
        assert_eq!(proofs.backups[&place].intact, Some(old));
        let damage =
            Damage { backup: Some("base".to_owned()), ..Damage::new(DamageKind::Codec, &"k".into(), 0, String::new()) };
        newer.damage(damage);
        assert_eq!(newer.proofs_over(&older).backups[&place].intact, None);
    }

    #[test]
    fn the_end_has_the_time_of_the_last_transaction_before_it() {
        let tli = |n| TimelineId::new(n).unwrap();
        let fact = |number, us| SegmentFact { number: SegmentNo(number), end: Lsn(number * 100), last_transaction: us };
        let mut content = ContentEvidence::default();
        content.wal.entry(tli(1)).or_default().facts = vec![fact(3, Some(7)), fact(4, None)];
        content.wal.entry(tli(2)).or_default().facts = vec![fact(5, None), fact(7, None)];
        let files = [
            FilePiece { timeline: tli(1), first: SegmentNo(0), end: Some(SegmentNo(5)) },
            FilePiece { timeline: tli(2), first: SegmentNo(5), end: None },
        ];
        let end = content.end_of(&files, (tli(2), SegmentNo(5))).unwrap();
        assert_eq!((end.lsn, end.time.map(|time| time.as_microsecond())), (Lsn(500), Some(7)));
        assert_eq!(content.end_of(&files, (tli(2), SegmentNo(7))).unwrap().time, None, "6 was not read");
        assert_eq!(content.end_of(&files, (tli(2), SegmentNo(6))), None);
    }

    #[test]
    fn what_was_not_read_is_summed_up() {
        let mut content = ContentEvidence::default();
        for number in 0..30 {
            content.not_read(UnreadReason::KeyMissing, "no key", &format!("k{number}").into(), 10);
        }
        assert_eq!(content.unread.len(), 1);
        assert_eq!((content.unread[0].count, content.unread[0].sample.len()), (30, Unread::SAMPLE_MAX));
    }
}
