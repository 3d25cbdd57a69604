//! Archives of wal-g that tests make themselves: WAL of 1 MiB segments with commits and restore points, base backups with
//! real tars. Everything in them holds, so that a finding is the test's own doing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use walproof::model::{SegmentNo, SegmentSize, TimelineId};

use crate::support::s3::FakeS3;

pub const SYSTEM: u64 = 7_300_000_000_000_000_001;
pub const SEGMENT: u64 = 1 << 20;
/// When the first object was uploaded.
pub const BEGIN: &str = "2026-11-01T00:00:00Z";

pub fn size() -> SegmentSize {
    SegmentSize::new(SEGMENT).unwrap()
}

pub fn name(number: u64) -> String {
    SegmentNo(number).name(TimelineId::new(1).unwrap(), size()).to_string()
}

/// Two moments after everything that these archives hold.
pub fn day(number: i64) -> String {
    let begin: Timestamp = BEGIN.parse().unwrap();
    (begin + SignedDuration::from_hours(24 * number)).to_string()
}

/// The transaction that commits in a segment.
pub fn xid(number: u64) -> u32 {
    700 + number as u32
}

const LONG_HEADER: usize = 40;
const COMMIT: usize = 24 + 2 + 8;
const POINT: usize = 24 + 2 + 72;
const POINT_AT: usize = LONG_HEADER + COMMIT.next_multiple_of(8);
const SWITCH_AT: usize = POINT_AT + POINT.next_multiple_of(8);

/// First position behind the commit of a segment.
pub fn commit_end(number: u64) -> u64 {
    number * SEGMENT + POINT_AT as u64
}

/// First position behind the restore point `point-N` of a segment.
pub fn point_end(number: u64) -> u64 {
    number * SEGMENT + SWITCH_AT as u64
}

fn record(rmid: u8, info: u8, xid: u32, prev: u64, main: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if !main.is_empty() {
        body.extend([255, main.len() as u8]);
        body.extend(main);
    }
    let mut bytes = (24 + body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(xid.to_le_bytes());
    bytes.extend(prev.to_le_bytes());
    bytes.extend([info, rmid, 0, 0]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &bytes);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A plain segment: a commit, a restore point, a switch.
pub fn segment(number: u64) -> Vec<u8> {
    let start = number * SEGMENT;
    let mut bytes = vec![0; SEGMENT as usize];
    bytes[0..2].copy_from_slice(&0xD110_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&2u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&start.to_le_bytes());
    bytes[24..32].copy_from_slice(&SYSTEM.to_le_bytes());
    bytes[32..36].copy_from_slice(&(SEGMENT as u32).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192u32.to_le_bytes());
    // 2026-11-01 in microseconds since 2000, and a minute for each segment.
    let time = (846_806_400 + 60 * number as i64) * 1_000_000;
    let mut point = [0; 72];
    point[..8].copy_from_slice(&time.to_le_bytes());
    let text = format!("point-{number}");
    point[8..8 + text.len()].copy_from_slice(text.as_bytes());
    let switch_before = start - SEGMENT + SWITCH_AT as u64;
    let records = [
        (LONG_HEADER, record(1, 0, xid(number), switch_before, &time.to_le_bytes())),
        (POINT_AT, record(0, 0x70, 0, start + LONG_HEADER as u64, &point)),
        (SWITCH_AT, record(0, 0x40, 0, start + POINT_AT as u64, &[])),
    ];
    for (at, record) in records {
        bytes[at..at + record.len()].copy_from_slice(&record);
    }
    bytes
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        // wal-g's names begin with a slash, which the builder would take away.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn control(start: u64) -> Vec<u8> {
    let mut file = vec![0; 8192];
    file[0..8].copy_from_slice(&SYSTEM.to_le_bytes());
    file[8..12].copy_from_slice(&1300u32.to_le_bytes());
    file[12..16].copy_from_slice(&202_209_061u32.to_le_bytes());
    file[16] = 6;
    file[32..40].copy_from_slice(&(start + 0x38).to_le_bytes());
    file[40..48].copy_from_slice(&start.to_le_bytes());
    file[48] = 1;
    file[52] = 1;
    for (at, word) in [(216, 8192), (220, 131_072), (224, 8192), (228, SEGMENT as u32)] {
        file[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::crc32c(&file[..288]);
    file[288..292].copy_from_slice(&crc.to_le_bytes());
    file
}

/// An archive, object by object in the order of their uploads.
#[derive(Default, Clone)]
pub struct Made {
    pub objects: Vec<(String, Vec<u8>)>,
}

impl Made {
    /// Plain segments `first..=last`.
    pub fn wal(mut self, first: u64, last: u64) -> Self {
        self.objects.extend((first..=last).map(|number| (format!("wal_005/{}", name(number)), segment(number))));
        self
    }

    /// Segments `first..=last`, small.
    pub fn packed(mut self, first: u64, last: u64) -> Self {
        let packed = |number| zstd::encode_all(&segment(number)[..], 1).unwrap();
        self.objects.extend((first..=last).map(|number| (format!("wal_005/{}.zst", name(number)), packed(number))));
        self
    }

    /// A full backup in a segment, with so many bytes of data.
    pub fn backup(mut self, number: u64, bytes: usize) -> Self {
        let start = number * SEGMENT + 0x28;
        let dir = format!("basebackups_005/{}", backup(number));
        // Not of a relation: pages have no checksums here.
        let data: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
        let mut put = |key: String, body: Vec<u8>| self.objects.push((key, body));
        put(
            format!("{dir}/tar_partitions/part_001.tar"),
            tar(&[("/PG_VERSION", b"15\n"), ("/base/1/1259", &[0; 16_384])]),
        );
        put(format!("{dir}/tar_partitions/part_002.tar"), tar(&[("/pg_xact/0000", &data)]));
        put(format!("{dir}/tar_partitions/pg_control.tar"), tar(&[("/global/pg_control", &control(start))]));
        let label = format!(
            "START WAL LOCATION: 0/{start:X} (file {})\nCHECKPOINT LOCATION: 0/{:X}\nBACKUP METHOD: streamed\n\
             BACKUP FROM: primary\nSTART TIME: 2026-11-01 00:00:00 UTC\nLABEL: test\nSTART TIMELINE: 1\n",
            name(number),
            start + 0x38
        );
        put(format!("{dir}/tar_partitions/backup_label.tar"), tar(&[("backup_label", label.as_bytes())]));
        let files: Value = ["/PG_VERSION", "/base/1/1259", "/pg_xact/0000"]
            .into_iter()
            .map(|path| (path.to_owned(), json!({"IsSkipped": false, "IsIncremented": false})))
            .collect();
        let sets = json!({"part_001.tar": ["/PG_VERSION", "/base/1/1259"], "part_002.tar": ["/pg_xact/0000"],
            "backup_label.tar": []});
        put(format!("{dir}/files_metadata.json"), json!({"Files": files, "TarFileSets": sets}).to_string().into());
        let (begun, ended) = ("2026-11-01T00:00:00Z", "2026-11-01T00:00:30Z");
        let finish = start + 0x40;
        let summary = json!({"start_lsn": start, "finish_lsn": finish, "pg_version": 150_018, "is_permanent": false,
            "start_time": begun, "finish_time": ended, "system_identifier": SYSTEM});
        put(format!("{dir}/metadata.json"), summary.to_string().into());
        let sentinel = json!({"LSN": start, "FinishLSN": finish, "PgVersion": 150_018, "SystemIdentifier": SYSTEM,
            "Version": 2, "StartTime": begun, "FinishTime": ended, "DataCatalogSize": bytes + 24_579,
            "Hostname": "db1", "DataDir": "/data", "IsPermanent": false});
        put(format!("{dir}_backup_stop_sentinel.json"), sentinel.to_string().into());
        self
    }

    pub fn body(&self, key: &str) -> Vec<u8> {
        self.objects.iter().find(|(other, _)| other == key).unwrap_or_else(|| panic!("no {key}")).1.clone()
    }

    /// Stored bytes of the objects whose keys contain a text.
    pub fn bytes(&self, part: &str) -> u64 {
        self.objects.iter().filter(|(key, _)| key.contains(part)).map(|(_, body)| body.len() as u64).sum()
    }

    /// As files; modification times are a second apart.
    pub fn write(&self, into: &Path) -> PathBuf {
        let root = into.join("archive");
        let begin = SystemTime::from(BEGIN.parse::<Timestamp>().unwrap());
        for (second, (key, body)) in self.objects.iter().enumerate() {
            let path = root.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, body).unwrap();
            crate::golden_support::set_modified(&path, begin + Duration::from_secs(second as u64));
        }
        root
    }

    /// Into a bucket, below `pg/`.
    pub fn upload(&self, server: &FakeS3) {
        for (key, body) in &self.objects {
            server.put(format!("pg/{key}").as_bytes(), body.clone());
        }
    }
}

/// The name of a backup in a segment.
pub fn backup(number: u64) -> String {
    format!("base_{}", name(number))
}

/// What `damage` does to an object's bytes.
pub fn flipped(mut body: Vec<u8>, at: usize) -> Vec<u8> {
    body[at] ^= 1;
    body
}

/// Counts things by name.
pub fn counted<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}
