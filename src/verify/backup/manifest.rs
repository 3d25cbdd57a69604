//! `backup_manifest` inside a backup, and the fingerprints of the members that it is compared with.

use std::fmt::Write;
use std::hash::Hasher;

use sha2::{Digest, Sha256};

use crate::catalog::evidence::{BackupDefect, MemberDefect};
use crate::model::{Lsn, ObjectKey};
use crate::wal::{ManifestChecksum, ManifestFile, ManifestProblem, ManifestReader, ManifestSink, ManifestSummary};

/// Most files of a manifest that are compared, and members that are fingerprinted.
const FILES_MAX: usize = 4_000_000;
/// Bytes that the paths of a manifest may have together.
const PATH_BYTES_MAX: usize = 256 << 20;

/// What a member is, as far as a manifest can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fingerprint {
    path: u64,
    size: u64,
    crc: u32,
}

/// The members of a part, for a manifest that may be in another.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprints {
    rows: Vec<Fingerprint>,
    /// Some members are not among them.
    pub overflow: bool,
}

impl Fingerprints {
    pub fn add(&mut self, path: &[u8], size: u64, crc: u32) {
        if self.rows.len() < FILES_MAX {
            self.rows.push(Fingerprint { path: path_hash(path), size, crc });
        } else {
            self.overflow = true;
        }
    }

    /// Those of several parts, ready to be looked up.
    pub fn joined<'a>(parts: impl Iterator<Item = &'a Fingerprints>) -> Fingerprints {
        let mut all = Fingerprints::default();
        for part in parts {
            all.rows.extend_from_slice(&part.rows);
            all.overflow |= part.overflow;
        }
        all.rows.sort_unstable();
        all
    }

    /// Every member of this path; a backup may hold one in two parts.
    fn find(&self, path: &[u8]) -> &[Fingerprint] {
        let hash = path_hash(path);
        let from = self.rows.partition_point(|row| row.path < hash);
        let until = self.rows.partition_point(|row| row.path <= hash);
        &self.rows[from..until]
    }
}

fn path_hash(path: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(path);
    hasher.finish()
}

/// A manifest as it streams by.
pub(super) struct ManifestStream {
    reader: ManifestReader,
    sink: Sink,
}

#[derive(Default)]
struct Sink {
    hash: Sha256,
    files: ManifestFiles,
}

#[derive(Debug, Clone, Default)]
struct ManifestFiles {
    paths: Vec<u8>,
    rows: Vec<Row>,
    left_out: u64,
    /// Files whose checksum is of a kind that members are not fingerprinted with.
    other_checksums: u64,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    at: u32,
    length: u16,
    size: u64,
    crc: Option<u32>,
}

impl ManifestSink for Sink {
    fn file(&mut self, file: ManifestFile) {
        let files = &mut self.files;
        let (Ok(at), Ok(length)) = (u32::try_from(files.paths.len()), u16::try_from(file.path.len())) else {
            files.left_out += 1;
            return;
        };
        if files.rows.len() >= FILES_MAX || files.paths.len() + file.path.len() > PATH_BYTES_MAX {
            files.left_out += 1;
            return;
        }
        let crc = match file.checksum {
            ManifestChecksum::Crc32c(crc) => Some(crc),
            ManifestChecksum::Sha2(..) => {
                files.other_checksums += 1;
                None
            }
            _ => None,
        };
        files.paths.extend_from_slice(&file.path);
        files.rows.push(Row { at, length, size: file.size, crc });
    }

    fn covered(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }
}

impl ManifestStream {
    pub fn new() -> Self {
        ManifestStream { reader: ManifestReader::new(), sink: Sink::default() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes, &mut self.sink);
    }

    pub fn finish(mut self) -> Box<ManifestSeen> {
        let summary = self.reader.finish(&mut self.sink);
        let checksum = self.sink.hash.finalize();
        Box::new(ManifestSeen { summary, checksum: checksum.to_vec(), files: self.sink.files })
    }
}

/// A manifest that lies in a backup.
#[derive(Debug, Clone)]
pub(super) struct ManifestSeen {
    pub summary: Result<ManifestSummary, ManifestProblem>,
    checksum: Vec<u8>,
    files: ManifestFiles,
}

/// What comparing a manifest with the members showed.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The manifest itself is not what was written.
    pub itself: Option<String>,
    /// Files that differ, the first few.
    pub differing: Vec<MemberDefect>,
    /// How many.
    pub count: u64,
    /// What could not be compared.
    pub not_checked: Vec<String>,
}

impl ManifestSeen {
    /// Whether it was written for the backup that starts here: a stale one may lie in any data directory.
    pub fn belongs_to(&self, start: Lsn) -> bool {
        self.summary.as_ref().is_ok_and(|summary| summary.wal_ranges.iter().any(|range| range.start == start))
    }

    /// Compares. `all` says that the fingerprints are of every part: only then can a file be missing.
    pub fn compare(&self, members: &Fingerprints, all: bool) -> Compared {
        let mut out = Compared::default();
        if let Ok(summary) = &self.summary
            && summary.checksum != self.checksum
        {
            out.itself = Some(format!(
                "the manifest's own checksum is {}, its bytes give {}",
                hex(&summary.checksum),
                hex(&self.checksum)
            ));
            return out;
        }
        let all = all && !members.overflow;
        for row in &self.files.rows {
            let at = row.at as usize;
            let path = &self.files.paths[at..at + usize::from(row.length)];
            if is_exempt(path) {
                continue;
            }
            let found = members.find(path);
            let same =
                |member: &Fingerprint| member.size == row.size && row.crc.is_none_or(|expected| member.crc == expected);
            if found.iter().any(same) || (found.is_empty() && !all) {
                continue;
            }
            let message = match found.first() {
                None => "is in no part, the manifest lists it".to_owned(),
                Some(member) if member.size != row.size => {
                    format!("has {} bytes, the manifest says {}", member.size, row.size)
                }
                Some(member) => {
                    format!("has CRC {:08X}, the manifest says {:08X}", member.crc, row.crc.unwrap_or_default())
                }
            };
            out.count += 1;
            if out.differing.len() < BackupDefect::MEMBERS_MAX {
                out.differing.push(MemberDefect { path: ObjectKey::new(path), message, blocks: Vec::new(), count: 1 });
            }
        }
        if self.files.left_out > 0 {
            out.not_checked.push(format!("{} files of the backup manifest: it lists too many", self.files.left_out));
        }
        if self.files.other_checksums > 0 {
            let count = self.files.other_checksums;
            out.not_checked
                .push(format!("SHA-2 checksums of {count} files of the backup manifest: sizes were compared"));
        }
        out
    }
}

/// What PostgreSQL's own verifier passes over: these change between the backup and its first start.
fn is_exempt(path: &[u8]) -> bool {
    path.starts_with(b"pg_wal/") || matches!(path, b"postgresql.auto.conf" | b"recovery.signal" | b"standby.signal")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
