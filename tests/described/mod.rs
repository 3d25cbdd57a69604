//! Archives described in a few lines: segments with real first pages, backups with real sentinels, in memory.
#![allow(dead_code, clippy::disallowed_methods)]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use walproof::audit::{self, Options, Storage, Target};
use walproof::codec::crypto::KeyRing;
use walproof::model::{Lsn, SegmentNo, SegmentSize, TimelineId};
use walproof::report::data::ArchiveReport;
use walproof::run::RunContext;
use walproof::store::{Address, Cloud, MemoryStore};

/// 16 MiB.
pub const SIZE: SegmentSize = SegmentSize::DEFAULT;

pub fn tli(id: u32) -> TimelineId {
    TimelineId::new(id).unwrap()
}

/// An archive under construction. Uploads are a minute apart, in the order in which they are described.
pub struct Described {
    pub store: Arc<MemoryStore>,
    pub clock: Timestamp,
    pub system: u64,
    /// `server_version_num`
    pub version: u32,
}

impl Default for Described {
    fn default() -> Self {
        Described {
            store: Arc::new(MemoryStore::new()),
            clock: "2026-11-01T00:00:00Z".parse().unwrap(),
            system: 7_300_000_000_000_000_001,
            version: 150_018,
        }
    }
}

impl Described {
    pub fn tick(&mut self) -> Timestamp {
        self.clock += SignedDuration::from_mins(1);
        self.clock
    }

    pub fn wait(&mut self, hours: i64) -> &mut Self {
        self.clock += SignedDuration::from_hours(hours);
        self
    }

    pub fn put(&mut self, key: &str, body: impl Into<Vec<u8>>) -> &mut Self {
        let at = self.tick();
        self.store.put(key, body.into(), at);
        self
    }

    /// Segments `first..=last` of a timeline whose first page carries `page_timeline`.
    pub fn wal_with_page(&mut self, timeline: u32, first: u64, last: u64, page_timeline: u32) -> &mut Self {
        for number in first..=last {
            let page = if number == first { page_timeline } else { timeline };
            let body = segment(number, page, self.system, self.version);
            let key = format!("wal_005/{}.zst", SegmentNo(number).name(tli(timeline), SIZE));
            self.put(&key, body);
        }
        self
    }

    /// Segments `first..=last` of a timeline.
    pub fn wal(&mut self, timeline: u32, first: u64, last: u64) -> &mut Self {
        self.wal_with_page(timeline, first, last, timeline)
    }

    pub fn partial(&mut self, timeline: u32, number: u64) -> &mut Self {
        let body = segment(number, timeline, self.system, self.version);
        self.put(&format!("wal_005/{}.partial.zst", SegmentNo(number).name(tli(timeline), SIZE)), body)
    }

    pub fn history(&mut self, timeline: u32, text: &str) -> &mut Self {
        self.put(&format!("wal_005/{timeline:08X}.history"), text)
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        let before = self.store.len();
        self.store.remove(key.as_bytes());
        assert_eq!(self.store.len(), before - 1, "{key} was not there");
        self
    }

    pub fn remove_wal(&mut self, timeline: u32, first: u64, last: u64) -> &mut Self {
        for number in first..=last {
            self.remove(&format!("wal_005/{}.zst", SegmentNo(number).name(tli(timeline), SIZE)));
        }
        self
    }

    /// A full backup that lives inside one segment.
    pub fn backup(&mut self, timeline: u32, segment: u64) -> String {
        self.backup_with(timeline, segment, &|_| ())
    }

    /// A full backup whose sentinel is changed before it is stored.
    pub fn backup_with(&mut self, timeline: u32, segment: u64, change: &dyn Fn(&mut Value)) -> String {
        let name = self.backup_without_sentinel(timeline, segment);
        let (start, stop) = positions(segment);
        let mut sentinel = json!({
            "LSN": start.0, "FinishLSN": stop.0, "PgVersion": self.version, "SystemIdentifier": self.system,
            "UncompressedSize": 1000, "CompressedSize": 30, "DataCatalogSize": 1000, "Version": 2,
            "StartTime": self.clock - SignedDuration::from_mins(1), "FinishTime": self.clock,
            "Hostname": "db1", "DataDir": "/data", "IsPermanent": false,
        });
        change(&mut sentinel);
        if let Some(permanent) = sentinel["IsPermanent"].as_bool().filter(|permanent| *permanent) {
            let metadata = json!({"start_time": self.clock, "finish_time": self.clock, "is_permanent": permanent,
                "start_lsn": start.0, "finish_lsn": stop.0, "pg_version": self.version, "system_identifier": self.system});
            self.put(&format!("basebackups_005/{name}/metadata.json"), metadata.to_string());
        }
        self.put(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel.to_string());
        name
    }

    /// All of a backup but what makes it one.
    pub fn backup_without_sentinel(&mut self, timeline: u32, segment: u64) -> String {
        let name = format!("base_{}", SegmentNo(segment).name(tli(timeline), SIZE));
        let dir = format!("basebackups_005/{name}");
        let (start, stop) = positions(segment);
        for part in ["part_001", "part_002", "pg_control", "backup_label"] {
            self.put(&format!("{dir}/tar_partitions/{part}.tar.lz4"), vec![1; 10]);
        }
        let metadata = json!({"start_time": self.clock, "finish_time": self.clock, "is_permanent": false,
            "start_lsn": start.0, "finish_lsn": stop.0, "pg_version": self.version, "system_identifier": self.system});
        self.put(&format!("{dir}/metadata.json"), metadata.to_string());
        let files = json!({"Files": {"/base/1/1": {}}, "TarFileSets":
            {"part_001.tar.lz4": [], "part_002.tar.lz4": [], "backup_label.tar.lz4": []}});
        self.put(&format!("{dir}/files_metadata.json"), files.to_string());
        name
    }

    /// Audits it as of two days after the last upload.
    pub async fn audit(&self) -> ArchiveReport {
        self.audit_at(self.clock + SignedDuration::from_hours(48)).await
    }

    pub async fn audit_at(&self, as_of: Timestamp) -> ArchiveReport {
        let mut found = audit::audit(&self.target(), &Options::default(), &RunContext::new(as_of)).await;
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    pub fn target(&self) -> Target {
        let address = Address::exact(Cloud::S3, "b", "");
        Target {
            name: Some("t".to_owned()),
            storages: vec![Storage { store: self.store.clone(), address }],
            layout: None,
            keys: Arc::new(KeyRing::new()),
            exceptions: Vec::new(),
            not_checked: Vec::new(),
            required: Vec::new(),
            stated: Default::default(),
        }
    }
}

fn positions(segment: u64) -> (Lsn, Lsn) {
    let start = SegmentNo(segment).start(SIZE);
    (Lsn(start.0 + 0x28), Lsn(start.0 + 0x100))
}

/// A segment of zeros behind a true long page header, compressed.
pub fn segment(number: u64, timeline: u32, system: u64, version: u32) -> Vec<u8> {
    let magic: u16 = match version / 10_000 {
        14 => 0xD10D,
        15 => 0xD110,
        16 => 0xD113,
        17 => 0xD116,
        _ => 0xD118,
    };
    let mut bytes = vec![0u8; SIZE.bytes() as usize];
    bytes[0..2].copy_from_slice(&magic.to_le_bytes());
    bytes[2..4].copy_from_slice(&6u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&timeline.to_le_bytes());
    bytes[8..16].copy_from_slice(&SegmentNo(number).start(SIZE).0.to_le_bytes());
    bytes[24..32].copy_from_slice(&system.to_le_bytes());
    bytes[32..36].copy_from_slice(&(SIZE.bytes() as u32).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192u32.to_le_bytes());
    zstd::encode_all(&bytes[..], 1).unwrap()
}

/// Codes with severities, for short comparisons.
pub fn codes(report: &ArchiveReport) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.code, finding.severity.name())).collect()
}

/// Whether a finding of a rule has a severity.
pub fn has(report: &ArchiveReport, code: &str, severity: &str) -> bool {
    report.findings.iter().any(|finding| finding.code == code && finding.severity.name() == severity)
}

/// A whole segment, plain: its only record is a switch that follows the one of the segment before.
pub fn plain(number: u64, timeline: u32, system: u64, xid: u32, prev: u64) -> Vec<u8> {
    let mut bytes = zstd::decode_all(&segment(number, timeline, system, 150_018)[..]).unwrap();
    let mut record = Vec::new();
    record.extend(24u32.to_le_bytes());
    record.extend(xid.to_le_bytes());
    record.extend(prev.to_le_bytes());
    record.extend([0x40, 0, 0, 0]);
    record.extend(crc32c::crc32c(&record).to_le_bytes());
    bytes[40..64].copy_from_slice(&record);
    bytes
}

/// Where the only record of such a segment begins.
pub fn record_at(number: u64) -> u64 {
    SegmentNo(number).start(SIZE).0 + 40
}
