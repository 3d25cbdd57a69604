use std::collections::HashMap;

use serde::Serialize;

use crate::model::{StorageClass, Timestamp};

/// Tags of an object, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tags<'a> {
    /// Nobody looked: a listing does not show them. Rules with tags are tried both ways.
    #[default]
    Unknown,
    /// All of them.
    Known(&'a [(String, String)]),
}

/// What keeps a version from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Lock {
    /// Object lock or retention ends then.
    pub retain_until: Option<Timestamp>,
    /// A legal hold (S3) or object hold (GCS) has no end.
    pub hold: bool,
}

/// Replication of an object to another bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub enum Replication {
    /// Not replicated, done, or not known.
    #[default]
    NotWaiting,
    /// Pending or failed: S3's lifecycle leaves such an object alone until that changes.
    Waiting,
}

impl Replication {
    /// From the status a store reports.
    pub fn parse(status: &str) -> Self {
        match status {
            "PENDING" | "FAILED" => Replication::Waiting,
            _ => Replication::NotWaiting,
        }
    }
}

/// One version of an object, as much of it as rules look at. Borrows its key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectFacts<'a> {
    /// The whole key.
    pub key: &'a [u8],
    /// Stored bytes.
    pub size: u64,
    /// Last-Modified on S3 (for a multipart upload when it began), timeCreated on GCS. Never GCS's `updated`.
    pub created: Timestamp,
    /// Where it lies.
    pub class: StorageClass,
    /// S3 version id (`null` is one) or GCS generation, where the listing shows it.
    pub version: Option<&'a str>,
    /// Tags.
    pub tags: Tags<'a>,
    /// A delete marker holds no data.
    pub delete_marker: bool,
    /// When it stopped being the current version, where that is known without its successor (GCS `timeDeleted`).
    pub noncurrent_since: Option<Timestamp>,
    /// GCS `customTime`.
    pub custom_time: Option<Timestamp>,
    /// Lock and hold.
    pub lock: Lock,
    /// Replication to another bucket.
    pub replication: Replication,
}

impl<'a> ObjectFacts<'a> {
    /// A current object of the standard class with nothing special about it.
    pub fn new(key: &'a [u8], size: u64, created: Timestamp) -> Self {
        ObjectFacts {
            key,
            size,
            created,
            class: StorageClass::Standard,
            version: None,
            tags: Tags::Unknown,
            delete_marker: false,
            noncurrent_since: None,
            custom_time: None,
            lock: Lock::default(),
            replication: Replication::NotWaiting,
        }
    }
}

/// Byte strings one behind the other, in chunks: growing never copies what is there.
#[derive(Debug, Clone, Default, PartialEq)]
struct Arena {
    chunks: Vec<Chunk>,
    count: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Chunk {
    first: usize,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// Bytes in a chunk; a longer string gets one of its own.
const CHUNK: usize = 1 << 20;

impl Arena {
    fn push(&mut self, bytes: &[u8]) {
        if self.chunks.last().is_none_or(|chunk| chunk.bytes.len() + bytes.len() > CHUNK) {
            let bytes = Vec::with_capacity(bytes.len().max(CHUNK.min(256 + self.count * 64)));
            self.chunks.push(Chunk { first: self.count, bytes, ends: Vec::new() });
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.bytes.extend_from_slice(bytes);
            // No store has keys of 4 GiB; one would be cut here instead of ending the program.
            chunk.ends.push(u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX));
        }
        self.count += 1;
    }

    fn get(&self, index: usize) -> &[u8] {
        let chunk = &self.chunks[self.chunks.partition_point(|chunk| chunk.first <= index) - 1];
        let at = index - chunk.first;
        let start = if at == 0 { 0 } else { chunk.ends[at - 1] as usize };
        &chunk.bytes[start..chunk.ends[at] as usize]
    }

    fn reordered(&self, order: &[u32]) -> Arena {
        let mut arena = Arena::default();
        order.iter().for_each(|index| arena.push(self.get(*index as usize)));
        arena
    }
}

/// Many objects in little memory: about 25 bytes each and their keys; what is rare lies in side tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectTable {
    keys: Arena,
    /// Version ids; shorter than the other columns until the first object that has one. Empty is "none".
    versions: Arena,
    sizes: Vec<u64>,
    /// Microseconds since 1970: finer than any store's clock.
    created: Vec<i64>,
    classes: Vec<StorageClass>,
    flags: Vec<u8>,
    /// Ends of locks in microseconds; as short as `versions` may be. The least number is "none".
    locked: Vec<i64>,
    extras: HashMap<u32, Box<Extra>>,
}

const NO_TAGS: u8 = 1;
const MARKER: u8 = 2;
const WAITING: u8 = 4;
const HOLD: u8 = 8;
const HAS_EXTRA: u8 = 16;

#[derive(Debug, Clone, Default, PartialEq)]
struct Extra {
    tags: Vec<(String, String)>,
    noncurrent_since: Option<Timestamp>,
    custom_time: Option<Timestamp>,
}

impl ObjectTable {
    /// Most objects one table takes.
    pub const OBJECTS_MAX: usize = u32::MAX as usize;

    /// Adds an object behind the others; beyond [`ObjectTable::OBJECTS_MAX`] it is refused with `false`.
    #[must_use]
    pub fn push(&mut self, object: &ObjectFacts<'_>) -> bool {
        let Ok(index) = u32::try_from(self.sizes.len()) else { return false };
        self.keys.push(object.key);
        if let Some(version) = object.version {
            while self.versions.count < self.sizes.len() {
                self.versions.push(b"");
            }
            self.versions.push(version.as_bytes());
        }
        self.sizes.push(object.size);
        self.created.push(object.created.as_microsecond());
        self.classes.push(object.class);
        if let Some(until) = object.lock.retain_until {
            self.locked.resize(self.sizes.len() - 1, i64::MIN);
            self.locked.push(until.as_microsecond());
        }
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mut flags = flag(object.tags == Tags::Known(&[]), NO_TAGS)
            | flag(object.delete_marker, MARKER)
            | flag(object.replication == Replication::Waiting, WAITING)
            | flag(object.lock.hold, HOLD);
        let extra = Extra {
            tags: match object.tags {
                Tags::Unknown => Vec::new(),
                Tags::Known(tags) => tags.to_vec(),
            },
            noncurrent_since: object.noncurrent_since,
            custom_time: object.custom_time,
        };
        if extra != Extra::default() {
            flags |= HAS_EXTRA;
            self.extras.insert(index, Box::new(extra));
        }
        self.flags.push(flags);
        true
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Key of the object at a place.
    pub fn key(&self, index: usize) -> &[u8] {
        self.keys.get(index)
    }

    /// The object at a place.
    ///
    /// # Panics
    /// When there is no such place.
    pub fn get(&self, index: usize) -> ObjectFacts<'_> {
        let created = Timestamp::from_microsecond(self.created[index]).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut object = ObjectFacts::new(self.key(index), self.sizes[index], created);
        object.class = self.classes[index];
        if index < self.versions.count {
            object.version = std::str::from_utf8(self.versions.get(index)).ok().filter(|version| !version.is_empty());
        }
        let flags = self.flags[index];
        object.delete_marker = flags & MARKER != 0;
        object.lock.hold = flags & HOLD != 0;
        if let Some(until) = self.locked.get(index).filter(|until| **until != i64::MIN) {
            object.lock.retain_until = Timestamp::from_microsecond(*until).ok();
        }
        if flags & WAITING != 0 {
            object.replication = Replication::Waiting;
        }
        if flags & NO_TAGS != 0 {
            object.tags = Tags::Known(&[]);
        }
        if flags & HAS_EXTRA == 0 {
            return object;
        }
        if let Some(extra) = u32::try_from(index).ok().and_then(|index| self.extras.get(&index)) {
            if !extra.tags.is_empty() {
                object.tags = Tags::Known(&extra.tags);
            }
            object.noncurrent_since = extra.noncurrent_since;
            object.custom_time = extra.custom_time;
        }
        object
    }

    /// All objects in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ObjectFacts<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Sorts by key, and among versions of one key newest first (in their old order where the times are equal).
    pub fn sort(&mut self) {
        let sorted = |table: &Self, a: usize, b: usize| {
            table.key(a).cmp(table.key(b)).then(table.created[b].cmp(&table.created[a]))
        };
        if (1..self.len()).all(|at| sorted(self, at - 1, at).is_le()) {
            return;
        }
        let mut order: Vec<u32> = (0..self.len()).filter_map(|index| u32::try_from(index).ok()).collect();
        order.sort_by(|a, b| sorted(self, *a as usize, *b as usize));
        // Column by column, so that at no time two whole tables exist.
        self.keys = self.keys.reordered(&order);
        if self.versions.count > 0 {
            while self.versions.count < self.sizes.len() {
                self.versions.push(b"");
            }
            self.versions = self.versions.reordered(&order);
        }
        self.sizes = order.iter().map(|index| self.sizes[*index as usize]).collect();
        self.created = order.iter().map(|index| self.created[*index as usize]).collect();
        self.classes = order.iter().map(|index| self.classes[*index as usize]).collect();
        self.flags = order.iter().map(|index| self.flags[*index as usize]).collect();
        if !self.locked.is_empty() {
            self.locked.resize(self.sizes.len(), i64::MIN);
            self.locked = order.iter().map(|index| self.locked[*index as usize]).collect();
        }
        let mut extras = std::mem::take(&mut self.extras);
        let moved = order.iter().zip(0u32..).filter_map(|(old, new)| Some((new, extras.remove(old)?)));
        self.extras = moved.collect();
    }

    /// Places of keys that begin so; the table has to be sorted.
    pub fn with_prefix(&self, prefix: &[u8]) -> std::ops::Range<usize> {
        let first = self.partition_point(|key| key < prefix);
        let behind = self.partition_point(|key| key < prefix || key.starts_with(prefix));
        first..behind
    }

    fn partition_point(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.key(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Ranges of places that hold versions of the same key; the table has to be sorted.
    pub fn groups(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.len() {
                return None;
            }
            let start = at;
            at += 1;
            while at < self.len() && self.key(at) == self.key(start) {
                at += 1;
            }
            Some(start..at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_back_what_was_put_in() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let tags = [("tier".to_owned(), "pg".to_owned())];
        let mut objects = vec![
            ObjectFacts::new(b"b", 1, at("2026-01-01T00:00:00Z")),
            ObjectFacts::new(b"a", 2, at("2026-01-01T00:00:00Z")),
            ObjectFacts::new(b"a", 3, at("2026-02-01T00:00:00.123456Z")),
            ObjectFacts::new(b"", 4, at("2026-02-01T00:00:00Z")),
        ];
        objects[1].version = Some("null");
        objects[2].tags = Tags::Known(&tags);
        objects[2].lock.hold = true;
        objects[3].lock.retain_until = Some(at("2027-01-01T00:00:00Z"));
        objects[3].replication = Replication::Waiting;
        objects[0].tags = Tags::Known(&[]);
        objects[0].class = StorageClass::Glacier;
        let mut table = ObjectTable::default();
        for object in &objects {
            assert!(table.push(object));
        }
        assert_eq!(table.iter().collect::<Vec<_>>(), objects);
        table.sort();
        let sizes: Vec<u64> = table.iter().map(|object| object.size).collect();
        assert_eq!(sizes, [4, 3, 2, 1]);
        assert_eq!(table.get(2).version, Some("null"));
        assert_eq!(
            (table.get(0).lock.retain_until, table.get(0).replication),
            (objects[3].lock.retain_until, Replication::Waiting)
        );
        assert_eq!(table.get(1).tags, Tags::Known(&tags));
        assert_eq!((table.with_prefix(b"a"), table.with_prefix(b""), table.with_prefix(b"c")), (1..3, 0..4, 4..4));
        assert_eq!(table.groups().collect::<Vec<_>>(), [0..1, 1..3, 3..4]);
    }
}
