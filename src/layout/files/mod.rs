//! Layout `files`: dumps and tarballs. Each object whose key matches the declared pattern is one backup; there is no
//! sidecar to read, and no WAL.

use std::collections::BTreeMap;

use crate::catalog::{
    Archive, BackupKind, BaseBackup, LayoutKind, ObjectRef, Part, Producer, SegmentSet, SidecarState, SizeSource,
    Strays, TimelineGraph,
};
use crate::model::{CodecKind, Known, ObjectKey, ObjectRow, SegmentName, SegmentSize, TimelineId, Timestamp};
use crate::policy::files::FilePattern;

use super::{Answer, Layout, Wanted};

/// Objects that are kept as backups, at most; a pattern that matches more is not one of backups.
pub const BACKUPS_MAX: usize = 200_000;

/// The fold over dumps and tarballs.
#[derive(Debug)]
pub struct FilesLayout {
    pattern: FilePattern,
    backups: BTreeMap<(ObjectKey, u8), BaseBackup>,
    strays: Strays,
    objects: u64,
    bytes: u64,
    overflow: u64,
}

impl FilesLayout {
    /// An empty archive whose backups look like `pattern`, seen from its address.
    pub fn new(pattern: FilePattern) -> Self {
        FilesLayout { pattern, backups: BTreeMap::new(), strays: Strays::default(), objects: 0, bytes: 0, overflow: 0 }
    }

    /// Objects that matched.
    pub fn matched(&self) -> usize {
        self.backups.len()
    }

    /// Matching objects beyond [`BACKUPS_MAX`].
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// A few keys that did not match.
    pub fn sample(&self) -> &[ObjectKey] {
        &self.strays.sample
    }
}

impl Layout for FilesLayout {
    fn push(&mut self, row: ObjectRow, storage: u8) -> bool {
        let key = (row.key.clone(), storage);
        if self.backups.contains_key(&key) {
            return false;
        }
        self.objects += 1;
        self.bytes += row.size;
        // An empty object whose key ends in a slash stands for a folder.
        let found = if row.key.as_bytes().ends_with(b"/") { None } else { self.pattern.matches(row.key.as_bytes()) };
        let Some(found) = found else {
            self.strays.add(&row.key, row.size);
            return true;
        };
        if self.backups.len() >= BACKUPS_MAX {
            self.overflow += 1;
            return true;
        }
        let text = |bytes: &[u8]| ObjectKey::new(bytes).to_string();
        let subject = found.name.map(text);
        let series = match (&subject, found.tier.map(text)) {
            (Some(subject), Some(tier)) => Some(format!("{subject} {tier}")),
            (subject, tier) => tier.or_else(|| subject.clone()),
        };
        let taken = found.moment(row.modified);
        self.backups.insert(key, backup(&row, storage, taken, subject, series));
        true
    }

    fn wanted(&mut self) -> Vec<Wanted> {
        Vec::new()
    }

    fn answer(&mut self, _: &Wanted, _: Answer) {}

    fn finish(&mut self) -> Archive {
        let mut backups: Vec<BaseBackup> = std::mem::take(&mut self.backups).into_values().collect();
        backups.sort_by(|a, b| {
            (a.finished_at.copied(), &a.name, a.storage).cmp(&(b.finished_at.copied(), &b.name, b.storage))
        });
        let mut codecs: BTreeMap<CodecKind, u64> = BTreeMap::new();
        for part in backups.iter().flat_map(|backup| &backup.parts) {
            *codecs.entry(part.codec).or_default() += 1;
        }
        let mut wal = SegmentSet::default();
        wal.seal(SegmentSize::DEFAULT);
        Archive {
            layout: LayoutKind::Files,
            root: ObjectKey::default(),
            segment_size: SegmentSize::DEFAULT,
            size_source: SizeSource::Assumed,
            wal,
            partials: Vec::new(),
            histories: BTreeMap::new(),
            timelines: TimelineGraph::default(),
            latest: backups.last().map(|backup| backup.name.clone()),
            backups,
            unfinished: Vec::new(),
            first_pages: BTreeMap::new(),
            incarnations: Vec::new(),
            clusters: Vec::new(),
            strays: self.strays.clone(),
            objects: self.objects,
            bytes: self.bytes,
            codecs,
            key_missing: None,
            copied: false,
        }
    }

    fn reopen(&mut self, archive: Archive) {
        let keyed = archive.backups.into_iter().filter_map(|backup| {
            let key = backup.parts.first()?.object.key.clone();
            Some(((key, backup.storage), backup))
        });
        self.backups = keyed.collect();
    }

    fn forget(&mut self, backup: &str, storage: u8) {
        self.backups.retain(|(_, at), known| *at != storage || known.name != backup);
    }
}

const NO_WAL: &str = "a dump or tarball has no WAL position";

fn backup(
    row: &ObjectRow,
    storage: u8,
    taken: Timestamp,
    subject: Option<String>,
    series: Option<String>,
) -> BaseBackup {
    let object = ObjectRef::new(row, storage);
    let file = row.key.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let codec = CodecKind::split(file).1;
    BaseBackup {
        name: row.key.to_string(),
        producer: Producer::Files,
        kind: BackupKind::Full,
        // It has no place in WAL; nothing asks for one in this layout.
        name_segment: SegmentName { timeline: TimelineId::FIRST, log: 0, seg: 0 },
        start_lsn: Known::unknown(NO_WAL),
        finish_lsn: Known::unknown(NO_WAL),
        system_identifier: Known::unknown(NO_WAL),
        pg_version: Known::unknown("the content was not read"),
        started_at: Known::unknown("neither key nor listing say when it began"),
        finished_at: Known::Value(taken),
        permanent: Known::unknown("dumps and tarballs carry no such mark"),
        user_data: None,
        hostname: None,
        data_dir: None,
        tablespaces: Vec::new(),
        stored_bytes: row.size,
        compressed_size: None,
        uncompressed_size: Known::unknown("the content was not read"),
        data_size: Known::unknown("the content was not read"),
        sentinel: SidecarState::NotExpected,
        metadata: SidecarState::NotExpected,
        files_metadata: SidecarState::NotExpected,
        parts: vec![Part { name: ObjectKey::new(file).to_string(), codec, object }],
        missing_parts: Vec::new(),
        parts_known: Known::Value(()),
        history_object: None,
        series,
        subject,
        storage,
    }
}

/// Reads any bytes as a pattern and a key without panic.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let split = bytes.len() / 2;
    let Ok(pattern) = FilePattern::parse(&String::from_utf8_lossy(&bytes[..split.min(64)])) else { return };
    let mut fold = FilesLayout::new(pattern);
    for part in bytes[split..].chunks(16) {
        let row = ObjectRow {
            key: ObjectKey::new(part),
            size: part.len() as u64,
            modified: Timestamp::UNIX_EPOCH,
            etag: None,
            version: None,
            class: crate::model::StorageClass::Standard,
            checksum: None,
        };
        fold.push(row, 0);
    }
    let _ = fold.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fold(pattern: &str, keys: &[(&str, u64)]) -> FilesLayout {
        let mut fold = FilesLayout::new(FilePattern::parse(pattern).unwrap());
        for (key, size) in keys {
            let row = ObjectRow {
                key: ObjectKey::from(*key),
                size: *size,
                modified: "2026-11-20T03:10:00Z".parse().unwrap(),
                etag: None,
                version: None,
                class: crate::model::StorageClass::Standard,
                checksum: None,
            };
            assert!(fold.push(row, 0));
        }
        fold
    }

    #[test]
    fn keys_give_moment_series_and_codec() {
        let keys = [
            ("daily/orders-2026-11-20.dump.zst", 5000),
            ("monthly/users-2026-11-01.dump.zst", 5000),
            ("daily/", 0),
            ("readme.txt", 10),
        ];
        let mut fold = fold("{tier}/{name}-{date}.dump.zst", &keys);
        let archive = fold.finish();
        assert_eq!((archive.backups.len(), archive.strays.count, archive.objects), (2, 2, 4));
        let [users, orders] = &archive.backups[..] else { panic!("{:?}", archive.backups) };
        assert_eq!(orders.finished_at.copied().unwrap().to_string(), "2026-11-20T03:10:00Z");
        assert_eq!(users.finished_at.copied().unwrap().to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(orders.series.as_deref(), Some("orders daily"));
        assert_eq!(users.subject.as_deref(), Some("users"));
        assert_eq!(orders.parts[0].codec, CodecKind::Zstd);
        assert_eq!(archive.latest.as_deref(), Some("daily/orders-2026-11-20.dump.zst"));
        fold.reopen(archive);
        fold.forget("monthly/users-2026-11-01.dump.zst", 0);
        assert_eq!(fold.finish().backups.len(), 1);
    }

    proptest! {
        #[test]
        fn any_keys_are_folded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz_one(&bytes);
        }
    }
}
