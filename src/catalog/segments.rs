use std::collections::BTreeMap;

use crate::model::{
    CodecKind, Lsn, ObjectId, ObjectRow, SegmentName, SegmentNo, SegmentSize, StorageClass, TimelineId, Timestamp,
};

use super::IntervalSet;

/// One stored WAL segment, compact: its key is rebuilt from these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRow {
    position: u64,
    /// Stored bytes.
    pub size: u64,
    modified_ms: i64,
    id: [u64; 2],
    timeline: TimelineId,
    /// From the extension.
    pub codec: CodecKind,
    /// Where it lies.
    pub class: StorageClass,
    /// Which of the archive's storages holds it; 0 is the primary one.
    pub storage: u8,
}

const _: () = assert!(size_of::<SegmentRow>() <= 48, "ten million segments have to fit into 500 MB");

impl SegmentRow {
    /// Keeps what is needed of a listed row.
    pub fn new(name: SegmentName, codec: CodecKind, row: &ObjectRow, storage: u8) -> Self {
        let id = row.id().0;
        SegmentRow {
            position: name.position(),
            size: row.size,
            modified_ms: row.modified.as_millisecond(),
            id: [(id >> 64) as u64, id as u64],
            timeline: name.timeline,
            codec,
            class: row.class,
            storage,
        }
    }

    /// The file name PostgreSQL gave it.
    pub fn name(&self) -> SegmentName {
        SegmentName { timeline: self.timeline, log: (self.position >> 32) as u32, seg: self.position as u32 }
    }

    /// When this version was stored.
    pub fn modified(&self) -> Timestamp {
        Timestamp::from_millisecond(self.modified_ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Changes when the content may have changed.
    pub fn id(&self) -> ObjectId {
        ObjectId(u128::from(self.id[0]) << 64 | u128::from(self.id[1]))
    }

    /// Whether this can be a segment at all: empty and stub objects are not.
    pub fn is_plausible(&self, size: SegmentSize) -> bool {
        self.size >= self.codec.plausible_segment_bytes_min(size.bytes())
    }
}

/// All segments of an archive by timeline and position.
///
/// Rows are kept in small sorted buckets, so that nothing doubles in size while a million rows arrive
/// in any order.
#[derive(Debug, Clone, Default)]
pub struct SegmentSet {
    buckets: BTreeMap<(TimelineId, u64), Vec<SegmentRow>>,
    lines: BTreeMap<TimelineId, Line>,
    size: Option<SegmentSize>,
    rows: u64,
}

/// What is known of one timeline's segments once the segment size is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Segments with at least one plausible object.
    pub present: IntervalSet,
    /// Segments whose every object is empty or a stub, or was read and found damaged.
    pub broken: IntervalSet,
    /// Of the broken ones, those that recovery can read if it begins in them at this position or behind.
    pub sound_from: BTreeMap<u64, Lsn>,
    /// Names that no cluster with this segment size writes.
    pub impossible: Vec<SegmentName>,
    /// Objects, duplicates included.
    pub objects: u64,
    /// Stored bytes.
    pub bytes: u64,
}

const BUCKET_BITS: u32 = 12;

impl Line {
    /// First segment behind the run that recovery can read from a position in `first` on.
    pub fn readable_until(&self, first: SegmentNo, start: Option<Lsn>) -> Option<SegmentNo> {
        let run = |number: u64| self.present.around(number).map(|(_, end)| SegmentNo(end));
        let begins_behind = || self.sound_from.get(&first.0).zip(start).is_some_and(|(sound, start)| *sound <= start);
        run(first.0).or_else(|| begins_behind().then(|| run(first.0 + 1).unwrap_or(first.next())))
    }
}

impl SegmentSet {
    /// Adds a row, in any order. The set has to be sealed again before it is asked.
    pub fn push(&mut self, row: SegmentRow) {
        self.buckets.entry((row.timeline, row.position >> BUCKET_BITS)).or_default().push(row);
        self.rows += 1;
    }

    /// Sorts what came and works out runs under a segment size.
    pub fn seal(&mut self, size: SegmentSize) {
        self.size = Some(size);
        self.lines.clear();
        for ((timeline, _), rows) in &mut self.buckets {
            rows.sort_unstable_by_key(|row| (row.position, row.storage, row.codec));
            rows.dedup_by_key(|row| (row.position, row.storage, row.codec));
            let line = self.lines.entry(*timeline).or_default();
            for row in rows.iter() {
                line.objects += 1;
                line.bytes += row.size;
                match row.name().number(size) {
                    Some(number) if row.is_plausible(size) => line.present.insert(number.0, number.0 + 1),
                    Some(number) => line.broken.insert(number.0, number.0 + 1),
                    None if line.impossible.len() < 100 => line.impossible.push(row.name()),
                    None => {}
                }
            }
        }
        for line in self.lines.values_mut() {
            let only_broken: Vec<_> = line.broken.iter().flat_map(|(a, b)| line.present.missing_in(a, b)).collect();
            line.broken = IntervalSet::default();
            for (start, end) in only_broken {
                line.broken.insert(start, end);
            }
        }
        self.rows = self.lines.values().map(|line| line.objects).sum();
    }

    /// Counts a segment among the broken ones: its content was read, and recovery cannot use it, unless it begins in it
    /// behind what is wrong.
    pub fn condemn(&mut self, timeline: TimelineId, number: SegmentNo, sound_from: Option<Lsn>) {
        if let Some(line) = self.lines.get_mut(&timeline).filter(|line| line.present.contains(number.0)) {
            line.present.remove(number.0);
            line.broken.insert(number.0, number.0 + 1);
            line.sound_from.extend(sound_from.map(|lsn| (number.0, lsn)));
        }
    }

    /// Objects, duplicates included.
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Timelines that have segments, ascending.
    pub fn timelines(&self) -> impl DoubleEndedIterator<Item = TimelineId> + '_ {
        self.lines.keys().copied()
    }

    /// Runs of one timeline; empty where it has no segment.
    pub fn line(&self, timeline: TimelineId) -> &Line {
        static NONE: Line = Line {
            present: IntervalSet::EMPTY,
            broken: IntervalSet::EMPTY,
            sound_from: BTreeMap::new(),
            impossible: Vec::new(),
            objects: 0,
            bytes: 0,
        };
        self.lines.get(&timeline).unwrap_or(&NONE)
    }

    /// All rows of a timeline in order of position.
    pub fn rows(&self, timeline: TimelineId) -> impl DoubleEndedIterator<Item = &SegmentRow> + '_ {
        self.buckets.range((timeline, 0)..=(timeline, u64::MAX)).flat_map(|(_, rows)| rows.iter())
    }

    /// All rows, by timeline and position.
    pub fn all_rows(&self) -> impl DoubleEndedIterator<Item = &SegmentRow> + '_ {
        self.buckets.values().flat_map(|rows| rows.iter())
    }

    /// Every object stored for a segment name; more than one where codecs or storages differ.
    pub fn at(&self, name: SegmentName) -> &[SegmentRow] {
        let position = name.position();
        let Some(rows) = self.buckets.get(&(name.timeline, position >> BUCKET_BITS)) else { return &[] };
        let from = rows.partition_point(|row| row.position < position);
        let to = rows.partition_point(|row| row.position <= position);
        &rows[from..to]
    }

    /// The rows of a segment under the sealed size.
    pub fn at_number(&self, timeline: TimelineId, number: SegmentNo) -> &[SegmentRow] {
        match self.size {
            Some(size) => self.at(number.name(timeline, size)),
            None => &[],
        }
    }

    /// When the first plausible object of a segment was stored.
    pub fn modified(&self, timeline: TimelineId, number: SegmentNo) -> Option<Timestamp> {
        self.at_number(timeline, number).first().map(SegmentRow::modified)
    }
}

impl IntervalSet {
    const EMPTY: IntervalSet = IntervalSet::new();
}
