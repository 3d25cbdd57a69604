use crate::model::ObjectKey;

/// What is wrong with the content of a base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BackupDefectKind {
    /// A tar is cut off or malformed.
    TarDamaged,
    /// The checksum of a data page, or of another file that carries one, does not match, and replay cannot repair it.
    PageChecksum,
    /// The tool that made the backup recorded damaged pages, and nobody has read them here.
    PageRecorded,
    /// A file differs from the backup manifest.
    ManifestMismatch,
    /// An increment file is malformed.
    IncrementMalformed,
    /// A file that the metadata name is in no part, or in no ancestor.
    FileMissing,
    /// A file that the metadata do not name, or name elsewhere. A restore passes it over.
    FileUnexpected,
    /// The sizes of all files do not add up to what the sentinel says.
    SizeMismatch,
    /// `pg_control` is missing, damaged, or contradicts the sentinel.
    ControlInvalid,
    /// `backup_label` or `tablespace_map` is missing, unreadable, or contradicts the sentinel.
    LabelInvalid,
}

impl BackupDefectKind {
    /// The rule that tells of it.
    pub fn rule(self) -> &'static str {
        match self {
            BackupDefectKind::TarDamaged => "INT007",
            BackupDefectKind::PageChecksum | BackupDefectKind::PageRecorded => "INT008",
            BackupDefectKind::ManifestMismatch => "INT009",
            BackupDefectKind::IncrementMalformed => "INT011",
            BackupDefectKind::FileMissing | BackupDefectKind::FileUnexpected | BackupDefectKind::SizeMismatch => {
                "INT012"
            }
            BackupDefectKind::ControlInvalid | BackupDefectKind::LabelInvalid => "INT013",
        }
    }

    /// Whether the backup cannot be trusted any more. Others are contradictions that a restore survives.
    pub fn is_fatal(self) -> bool {
        self != BackupDefectKind::FileUnexpected
    }
}

/// A file of a backup that something is wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDefect {
    /// Its path below the data directory.
    pub path: ObjectKey,
    /// What is wrong, beginning with a verb: `has 3 damaged pages, first ...`.
    pub message: String,
    /// The damaged pages by number within the fork, the first few.
    pub blocks: Vec<u32>,
    /// How many things are wrong with it.
    pub count: u64,
}

/// One thing wrong with the content of a base backup: all defects of one kind in one part, or in the backup as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupDefect {
    /// What.
    pub kind: BackupDefectKind,
    /// Name of the backup.
    pub backup: String,
    /// The storage it lies in.
    pub storage: u8,
    /// The part that shows it, relative to the archive's root; `None` where the backup as a whole does.
    pub key: Option<ObjectKey>,
    /// One clause: what is wrong, with its numbers.
    pub message: String,
    /// The files concerned, the first [`BackupDefect::MEMBERS_MAX`].
    pub members: Vec<MemberDefect>,
    /// How many files are concerned.
    pub files: u64,
    /// How many places there are: pages, files, places in increments.
    pub count: u64,
    /// What should be there.
    pub expected: Option<String>,
    /// What is.
    pub found: Option<String>,
}

impl BackupDefect {
    /// Files that are named; the rest is counted.
    pub const MEMBERS_MAX: usize = 20;
}
