use serde::{Deserialize, Serialize};

use crate::model::{
    CodecKind, Known, Lsn, ObjectId, ObjectKey, ObjectRow, SegmentName, SegmentNo, SegmentSize, StorageClass,
    TimelineId, Timestamp,
};

/// An object that a backup or timeline rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Relative to the archive's root.
    pub key: ObjectKey,
    /// Stored bytes.
    pub size: u64,
    /// When this version was stored.
    pub modified: Timestamp,
    /// Where it lies.
    pub class: StorageClass,
    /// Changes when the content may have changed.
    pub id: ObjectId,
    /// Which of the archive's storages holds it.
    pub storage: u8,
}

impl ObjectRef {
    /// Keeps what is needed of a listed row.
    pub fn new(row: &ObjectRow, storage: u8) -> Self {
        ObjectRef {
            key: row.key.clone(),
            size: row.size,
            modified: row.modified,
            class: row.class,
            id: row.id(),
            storage,
        }
    }
}

/// Whole or on top of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupKind {
    /// Stands alone.
    Full,
    /// Needs its parent and the parent's ancestors.
    Delta {
        /// Name of the backup it was made from, as its sentinel says.
        parent: Option<String>,
        /// Name of the chain's full backup.
        full: Option<String>,
        /// Start position of the parent.
        from_lsn: Option<Lsn>,
    },
}

impl BackupKind {
    /// Whether it is a delta.
    pub fn is_delta(&self) -> bool {
        matches!(self, BackupKind::Delta { .. })
    }

    /// The parent's name.
    pub fn parent(&self) -> Option<&str> {
        match self {
            BackupKind::Delta { parent, .. } => parent.as_deref(),
            BackupKind::Full => None,
        }
    }
}

/// Which tool wrote a backup: archives change tools in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Producer {
    /// wal-g.
    WalG,
    /// wal-e.
    WalE,
    /// Whoever uploads dumps and tarballs.
    Files,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// Its OID, the name below `pg_tblspc`.
    pub oid: String,
    /// Where it was on the source host.
    pub location: String,
}

/// A file beside a backup that the tool writes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SidecarState {
    /// Neither there nor promised.
    NotExpected,
    /// Promised but not there; holds the key it should have.
    Missing(ObjectKey),
    /// There and understood.
    Read(ObjectRef),
    /// There, and empty, cut off or not what it should be: the reason.
    Broken(ObjectRef, String),
    /// There, but not looked at: the reason.
    Unread(ObjectRef, String),
}

impl SidecarState {
    /// The listed object, if there is one.
    pub fn object(&self) -> Option<&ObjectRef> {
        match self {
            SidecarState::Read(object) | SidecarState::Broken(object, _) | SidecarState::Unread(object, _) => {
                Some(object)
            }
            SidecarState::NotExpected | SidecarState::Missing(_) => None,
        }
    }
}

/// One stored tar of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// File name below `tar_partitions/`, with extension.
    pub name: String,
    /// From the extension.
    pub codec: CodecKind,
    /// The object.
    pub object: ObjectRef,
}

/// A part that ought to be there and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPart {
    /// The key it should have, relative to the archive's root.
    pub key: ObjectKey,
    /// How that is known.
    pub because: String,
}

/// A base backup: everything its sentinel, metadata and listing tell.
#[derive(Debug, Clone)]
pub struct BaseBackup {
    /// Its name in the archive.
    pub name: String,
    /// Who wrote it.
    pub producer: Producer,
    /// Whole, or on top of which.
    pub kind: BackupKind,
    /// The segment in its name.
    pub name_segment: SegmentName,
    /// Where WAL is needed from.
    pub start_lsn: Known<Lsn>,
    /// From where on it is consistent.
    pub finish_lsn: Known<Lsn>,
    /// Of the cluster it was taken from.
    pub system_identifier: Known<u64>,
    /// As `server_version_num`, e.g. 150018.
    pub pg_version: Known<u32>,
    /// When it began.
    pub started_at: Known<Timestamp>,
    /// When it ended. For tools that do not say, the sentinel's upload.
    pub finished_at: Known<Timestamp>,
    /// Protected from the tool's own deletion.
    pub permanent: Known<bool>,
    /// What the user attached, as JSON text.
    pub user_data: Option<String>,
    /// Host it was taken on.
    pub hostname: Option<String>,
    /// Data directory it was taken from.
    pub data_dir: Option<String>,
    /// Tablespaces outside the data directory.
    pub tablespaces: Vec<Tablespace>,
    /// Bytes of all its objects as listed.
    pub stored_bytes: u64,
    /// Compressed size as the tool recorded it: a lower bound of what it uploaded.
    pub compressed_size: Option<u64>,
    /// Sum of the file sizes in its tars.
    pub uncompressed_size: Known<u64>,
    /// Size of the data directory when it was taken.
    pub data_size: Known<u64>,
    /// Written last: its presence makes the backup.
    pub sentinel: SidecarState,
    /// `metadata.json` (wal-g).
    pub metadata: SidecarState,
    /// `files_metadata.json` (wal-g).
    pub files_metadata: SidecarState,
    /// The tars that are there.
    pub parts: Vec<Part>,
    /// The tars that ought to be there.
    pub missing_parts: Vec<MissingPart>,
    /// `Value(())` where the list of needed parts is known, else why completeness cannot be told.
    pub parts_known: Known<()>,
    /// The backup history file that the server archived when the backup ended, if it did.
    pub history_object: Option<ObjectKey>,
    /// Backups of one series are alike; where a layout knows several (retention classes of dumps), its name.
    pub series: Option<String>,
    /// What it is a backup of, where one place holds those of several (dumps of several databases).
    pub subject: Option<String>,
    /// The storage it lies in.
    pub storage: u8,
}

impl BaseBackup {
    /// The timeline it was taken on.
    pub fn timeline(&self) -> TimelineId {
        self.name_segment.timeline
    }

    /// First segment that recovery from it reads.
    pub fn start_segment(&self, size: SegmentSize) -> Option<SegmentNo> {
        match self.start_lsn.copied() {
            Some(lsn) => Some(lsn.segment(size)),
            None => self.name_segment.number(size),
        }
    }

    /// Last segment it needs to become consistent; a stop on a boundary belongs to the segment before.
    pub fn stop_segment(&self, size: SegmentSize) -> Option<SegmentNo> {
        let stop = self.finish_lsn.copied()?.end_segment(size);
        let start = self.start_segment(size)?;
        Some(stop.max(start))
    }

    /// When its sentinel was stored: what the tools order backups by.
    pub fn sentinel_modified(&self) -> Option<Timestamp> {
        self.sentinel.object().map(|object| object.modified)
    }

    /// PostgreSQL's major version, e.g. 15.
    pub fn pg_major(&self) -> Option<u32> {
        self.pg_version.copied().map(|version| if version >= 100_000 { version / 10_000 } else { version / 100 })
    }

    /// Every listed object it consists of.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        let sidecars = [&self.sentinel, &self.metadata, &self.files_metadata];
        self.parts.iter().map(|part| &part.object).chain(sidecars.into_iter().filter_map(SidecarState::object))
    }
}

/// A directory of backup objects without a sentinel.
#[derive(Debug, Clone)]
pub struct UnfinishedBackup {
    /// Name of the directory.
    pub name: String,
    /// Who seems to have written it.
    pub producer: Producer,
    /// The segment in its name.
    pub name_segment: SegmentName,
    /// Objects in it.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The newest upload in it.
    pub newest: Timestamp,
    /// `metadata.json`, which wal-g uploads just before the sentinel.
    pub metadata: Option<ObjectRef>,
    /// The server archived the history file of this backup: it had ended.
    pub history_object: Option<ObjectKey>,
    /// A few of its keys.
    pub sample: Vec<ObjectKey>,
}
