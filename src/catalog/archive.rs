use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{CodecKind, Known, ObjectKey, SegmentName, SegmentNo, SegmentSize, TimelineId, Timestamp};

use super::{BaseBackup, HistoryState, ObjectRef, SegmentRow, SegmentSet, TimelineGraph, UnfinishedBackup};

/// How an archive is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LayoutKind {
    /// wal-g.
    WalG,
    /// wal-e.
    WalE,
    /// barman-cloud.
    Barman,
    /// pgBackRest.
    Pgbackrest,
    /// One object is one backup.
    Files,
}

impl LayoutKind {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            LayoutKind::WalG => "wal-g",
            LayoutKind::WalE => "wal-e",
            LayoutKind::Barman => "barman-cloud",
            LayoutKind::Pgbackrest => "pgbackrest",
            LayoutKind::Files => "files",
        }
    }
}

/// How the segment size was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SizeSource {
    /// A backup's name and its start position fit one size only.
    Backup,
    /// The long page header of a segment.
    Content,
    /// The names leave one size, or are bounded by one.
    Name,
    /// Nothing tells; PostgreSQL's default.
    Assumed,
}

/// The first page of a segment, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPage {
    /// Of the cluster that wrote it.
    pub system_identifier: u64,
    /// Of the cluster that wrote it.
    pub segment_size: u64,
    /// PostgreSQL's major version, e.g. 15 (9.6 is 906).
    pub pg_major: Option<u32>,
    /// The timeline in the page header: the parent's on pages up to a switch.
    pub timeline: u32,
    /// The position the page claims.
    pub page_address: u64,
}

/// The unfinished last segment of a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialSegment {
    /// Whose place it holds.
    pub name: SegmentName,
    /// The object.
    pub object: ObjectRef,
}

/// One timeline history file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryFile {
    /// Every object under that name; more than one where codecs differ.
    pub objects: Vec<ObjectRef>,
    /// What the first says.
    pub state: HistoryState,
    /// Objects under one name say different things.
    pub conflicting: bool,
}

/// Objects that belong to no known kind: counted, a few named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strays {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first few keys, relative to the archive's root.
    pub sample: Vec<ObjectKey>,
}

impl Strays {
    /// Counts one, and keeps its key while there is room.
    pub fn add(&mut self, key: &ObjectKey, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
        if self.sample.len() < 20 {
            self.sample.push(key.clone());
        }
    }
}

/// A stretch of positions that one cluster wrote. `pg_upgrade` into the same prefix starts the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// Whose it is, where known.
    pub system_identifier: Known<u64>,
    /// PostgreSQL's major version, where known.
    pub pg_major: Option<u32>,
    /// First segment.
    pub first: SegmentNo,
    /// First segment of the next one; `None` for the newest.
    pub end: Option<SegmentNo>,
}

impl Incarnation {
    /// Whether a segment lies in it.
    pub fn contains(&self, number: SegmentNo) -> bool {
        self.first <= number && self.end.is_none_or(|end| number < end)
    }
}

/// One server's archive as found: a value without any handle to a store.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Who wrote it.
    pub layout: LayoutKind,
    /// Where it begins inside its store; empty or ending in `/`.
    pub root: ObjectKey,
    /// Size of its WAL segments.
    pub segment_size: SegmentSize,
    /// How that was found.
    pub size_source: SizeSource,
    /// Complete segments.
    pub wal: SegmentSet,
    /// `.partial` segments.
    pub partials: Vec<PartialSegment>,
    /// Timeline history files by timeline.
    pub histories: BTreeMap<TimelineId, HistoryFile>,
    /// Ancestry.
    pub timelines: TimelineGraph,
    /// Backups with a sentinel, oldest first by start position.
    pub backups: Vec<BaseBackup>,
    /// Backup directories without one.
    pub unfinished: Vec<UnfinishedBackup>,
    /// First pages that were read.
    pub first_pages: BTreeMap<SegmentName, Known<FirstPage>>,
    /// Clusters that wrote here, oldest first; never empty where there is any backup or WAL.
    pub incarnations: Vec<Incarnation>,
    /// System identifiers that are at home here: seen in WAL and in a backup, or in several segments.
    pub clusters: Vec<u64>,
    /// Objects of no known kind.
    pub strays: Strays,
    /// Objects below the root.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The backup the tool itself calls LATEST: the sentinel stored last.
    pub latest: Option<String>,
    /// Codec of history and segment objects seen, with how many of each.
    pub codecs: BTreeMap<CodecKind, u64>,
    /// Objects are encrypted and no key was given: the first such object.
    pub key_missing: Option<ObjectKey>,
    /// Most sentinels' own times are far from their upload: the bucket was copied, Last-Modified says nothing.
    pub copied: bool,
}

impl Archive {
    /// The key of a segment's object, relative to the archive's root.
    pub fn segment_key(&self, row: &SegmentRow) -> ObjectKey {
        segment_key(row.name(), row.codec)
    }

    /// The key a missing segment would have, without knowing its codec.
    pub fn segment_subject(&self, timeline: TimelineId, number: SegmentNo) -> String {
        format!("wal_005/{}", number.name(timeline, self.segment_size))
    }

    /// A backup by name.
    pub fn backup(&self, name: &str) -> Option<&BaseBackup> {
        self.backups.iter().find(|backup| backup.name == name)
    }

    /// Whether a delta stands on another backup, directly or through others.
    pub fn stands_on(&self, delta: &BaseBackup, base: &BaseBackup) -> bool {
        let mut child = delta;
        for _ in 0..self.backups.len() {
            let Some(parent) = child.kind.parent() else { return false };
            if parent == base.name && child.storage == base.storage {
                return true;
            }
            match self.backups.iter().find(|other| other.name == parent && other.storage == child.storage) {
                Some(found) => child = found,
                None => return false,
            }
        }
        false
    }

    /// The incarnation a segment lies in.
    pub fn incarnation(&self, number: SegmentNo) -> Option<&Incarnation> {
        self.incarnations.iter().find(|incarnation| incarnation.contains(number))
    }

    /// The system identifier of the newest incarnation.
    pub fn system_identifier(&self) -> Option<u64> {
        self.incarnations.last().and_then(|incarnation| incarnation.system_identifier.copied())
    }

    /// PostgreSQL's major version in the newest incarnation.
    pub fn pg_major(&self) -> Option<u32> {
        self.incarnations.last().and_then(|incarnation| incarnation.pg_major)
    }

    /// The newest upload of any segment or sentinel.
    pub fn newest_upload(&self) -> Option<Timestamp> {
        let backups = self.backups.iter().filter_map(BaseBackup::sentinel_modified);
        let wal = self.wal.timelines().filter_map(|timeline| {
            let last = self.wal.line(timeline).present.last()?;
            self.wal.modified(timeline, SegmentNo(last))
        });
        backups.chain(wal).max()
    }
}

/// The key of a segment in the wal-g and wal-e layouts.
pub fn segment_key(name: SegmentName, codec: CodecKind) -> ObjectKey {
    match codec.extension() {
        "" => ObjectKey::from(format!("wal_005/{name}")),
        extension => ObjectKey::from(format!("wal_005/{name}.{extension}")),
    }
}
