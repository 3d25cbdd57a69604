//! `backup_manifest` inside a backup, and the fingerprints of the members that it is compared with.

use std::fmt::Write;
use std::hash::Hasher;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

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
    /// Place among the SHA-2 sums, or [`NO_SHA`].
    sha: u32,
}

const NO_SHA: u32 = u32::MAX;

/// The beginnings of a member's SHA-224, -256, -384 and -512.
type ShaSums = [u64; 4];

/// The checksums of a member as it streams by. Which kind the manifest has shows only when the manifest comes, behind
/// everything else.
pub(super) struct Sums {
    crc: u32,
    sha: Option<Box<(Sha224, Sha256, Sha384, Sha512)>>,
}

impl Sums {
    /// Begins; SHA-2 costs several times what everything else does, so only where a manifest may be the backup's own.
    pub fn new(sha: bool) -> Self {
        Sums { crc: 0, sha: sha.then(Default::default) }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        if let Some(sha) = &mut self.sha {
            sha.0.update(bytes);
            sha.1.update(bytes);
            sha.2.update(bytes);
            sha.3.update(bytes);
        }
    }

    fn finish(self) -> (u32, Option<ShaSums>) {
        let sums = self.sha.map(|sha| {
            let sha = *sha;
            [
                beginning(&sha.0.finalize()),
                beginning(&sha.1.finalize()),
                beginning(&sha.2.finalize()),
                beginning(&sha.3.finalize()),
            ]
        });
        (self.crc, sums)
    }
}

/// The first eight bytes of a checksum: damage does not find a second content for them.
fn beginning(sum: &[u8]) -> u64 {
    sum.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The members of a part, for a manifest that may be in another.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprints {
    rows: Vec<Fingerprint>,
    shas: Vec<ShaSums>,
    /// Some members are not among them.
    pub overflow: bool,
}

impl Fingerprints {
    pub fn add(&mut self, path: &[u8], size: u64, sums: Sums) {
        if self.rows.len() >= FILES_MAX {
            self.overflow = true;
            return;
        }
        let (crc, shas) = sums.finish();
        let mut sha = NO_SHA;
        if let Some(shas) = shas {
            sha = u32::try_from(self.shas.len()).unwrap_or(NO_SHA);
            self.shas.push(shas);
        }
        self.rows.push(Fingerprint { path: path_hash(path), size, crc, sha });
    }

    /// Of a part whose members are not known any more.
    pub fn left_out() -> Self {
        Fingerprints { overflow: true, ..Fingerprints::default() }
    }

    /// Those of several parts, ready to be looked up.
    pub fn joined<'a>(parts: impl Iterator<Item = &'a Fingerprints>) -> Fingerprints {
        let mut all = Fingerprints::default();
        for part in parts {
            let before = u32::try_from(all.shas.len()).unwrap_or(NO_SHA);
            all.shas.extend_from_slice(&part.shas);
            all.rows.extend(part.rows.iter().map(|row| Fingerprint { sha: row.sha.saturating_add(before), ..*row }));
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

    /// Whether a member has the checksum that a manifest names; `None` where it was not summed up in this way.
    fn agrees(&self, member: &Fingerprint, sum: Expected) -> Option<bool> {
        match sum {
            Expected::Nothing => Some(true),
            Expected::Crc(crc) => Some(member.crc == crc),
            Expected::Sha(kind, expected) => {
                let sums = self.shas.get(member.sha as usize)?;
                Some(*sums.get(usize::from(kind))? == expected)
            }
        }
    }

    /// What a member has instead, with the same checksum's name.
    fn instead(&self, member: &Fingerprint, sum: Expected) -> String {
        match sum {
            Expected::Nothing => String::new(),
            Expected::Crc(crc) => format!("has CRC {:08X}, the manifest says {crc:08X}", member.crc),
            Expected::Sha(kind, expected) => {
                let found = self.shas.get(member.sha as usize).and_then(|sums| sums.get(usize::from(kind)));
                let bits = [224, 256, 384, 512].get(usize::from(kind)).copied().unwrap_or(0);
                let found = found.copied().unwrap_or_default();
                format!("has SHA-{bits} {found:016x}..., the manifest says {expected:016x}...")
            }
        }
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
}

#[derive(Debug, Clone, Copy)]
struct Row {
    at: u32,
    length: u16,
    size: u64,
    sum: Expected,
}

/// The checksum that a manifest names for a file.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Nothing,
    Crc(u32),
    /// Which of [`ShaSums`], and its beginning.
    Sha(u8, u64),
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
        let sum = match file.checksum {
            ManifestChecksum::None => Expected::Nothing,
            ManifestChecksum::Crc32c(crc) => Expected::Crc(crc),
            ManifestChecksum::Sha2(bits, sum) => {
                let kind = match bits {
                    224 => 0,
                    256 => 1,
                    384 => 2,
                    _ => 3,
                };
                Expected::Sha(kind, beginning(&sum))
            }
        };
        files.paths.extend_from_slice(&file.path);
        files.rows.push(Row { at, length, size: file.size, sum });
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
        let mut sizes_only = 0u64;
        for row in &self.files.rows {
            let at = row.at as usize;
            let path = &self.files.paths[at..at + usize::from(row.length)];
            if is_exempt(path) {
                continue;
            }
            let found = members.find(path);
            if found.is_empty() && !all {
                continue;
            }
            let of_size: Vec<_> = found.iter().filter(|member| member.size == row.size).collect();
            let sums: Vec<_> = of_size.iter().map(|member| members.agrees(member, row.sum)).collect();
            if sums.contains(&Some(true)) {
                continue;
            }
            if sums.contains(&None) {
                sizes_only += 1;
                continue;
            }
            let message = match (found.first(), of_size.first()) {
                (None, _) => "is in no part, the manifest lists it".to_owned(),
                (_, Some(member)) => members.instead(member, row.sum),
                (Some(member), None) => format!("has {} bytes, the manifest says {}", member.size, row.size),
            };
            out.count += 1;
            if out.differing.len() < BackupDefect::MEMBERS_MAX {
                out.differing.push(MemberDefect { path: ObjectKey::new(path), message, blocks: Vec::new(), count: 1 });
            }
        }
        if self.files.left_out > 0 {
            out.not_checked.push(format!("{} files of the backup manifest: it lists too many", self.files.left_out));
        }
        if sizes_only > 0 {
            out.not_checked
                .push(format!("SHA-2 checksums of {sizes_only} files of the backup manifest: sizes were compared"));
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
