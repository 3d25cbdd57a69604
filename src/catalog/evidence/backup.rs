use crate::model::ObjectKey;

/// What is wrong with the content of a base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BackupDefectKind {
    /// A tar is cut off or malformed.
    TarDamaged,
    /// A data page's checksum does not match, and replay cannot repair it.
    PageChecksum,
    /// A file differs from the backup manifest.
    ManifestMismatch,
    /// An increment file is malformed.
    IncrementMalformed,
    /// A file that the metadata name is nowhere, or differs from what they say.
    FileMissing,
    /// `pg_control` is missing, damaged, or contradicts the sentinel.
    ControlInvalid,
}

impl BackupDefectKind {
    /// The rule that tells of it.
    pub fn rule(self) -> &'static str {
        match self {
            BackupDefectKind::TarDamaged => "INT007",
            BackupDefectKind::PageChecksum => "INT008",
            BackupDefectKind::ManifestMismatch => "INT009",
            BackupDefectKind::IncrementMalformed => "INT011",
            BackupDefectKind::FileMissing => "INT012",
            BackupDefectKind::ControlInvalid => "INT013",
        }
    }
}

/// One thing wrong with the content of a base backup.
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
    /// The file in the tar.
    pub member: Option<String>,
    /// One clause: what is wrong, with its numbers.
    pub message: String,
    /// The first few block numbers, for pages.
    pub blocks: Vec<u32>,
    /// How many such places there are.
    pub count: u64,
    /// What should be there.
    pub expected: Option<String>,
    /// What is.
    pub found: Option<String>,
}
