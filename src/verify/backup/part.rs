use std::collections::HashSet;
use std::io::{self, Read};

use super::content::{increment_defect, page_defect};
use super::expect::Expectation;
use super::manifest::{Fingerprints, ManifestSeen, Sums};
use super::member::{Buffer, Member};
use crate::catalog::evidence::MemberDefect;
use crate::codec::tarball::{
    BLOCK_BYTES, Entry, EntryKind, TarError, TarProblem, TarProblemKind, TarReader, clean_member_name, tar_problem,
};
use crate::model::ObjectKey;
use crate::run::Cancel;
use crate::store::Stopped;
use crate::wal::{BackupLabel, ControlFile, LabelProblem, TablespaceMapEntry};

/// What one part holds, as far as the verdict on the backup needs it. Four bytes for each listed member, and little
/// more.
#[derive(Debug, Default)]
pub struct PartSeen {
    /// Its file name.
    pub name: String,
    /// What is wrong with the tar, if anything. What is known of its members ends there.
    pub tar: Option<TarProblem>,
    /// Members walked.
    pub members: u64,
    /// Bytes of their bodies.
    pub member_bytes: u64,
    /// Data pages looked at, in whole files and in increments.
    pub pages: u64,
    /// Of these, changed while the backup ran.
    pub pages_newer: u64,
    /// Increments looked at.
    pub increments: u64,

    /// Bytes of headers and padded bodies, as a server streams them.
    pub(super) stream_bytes: u64,
    /// Some member's name begins with a slash, as those of a data directory that wal-g walked do.
    pub(super) rooted: bool,
    /// Pages that are neither new, newer nor damaged.
    pub(super) pages_good: u64,
    /// The list's rows that were met, ascending.
    pub(super) rows: Vec<u32>,
    pub(super) unexpected: Few,
    pub(super) twice: Few,
    pub(super) bad_names: Few,
    pub(super) bad_pages: Few,
    /// What counts instead of `bad_pages` where the cluster has no checksums.
    pub(super) unlikely_pages: Few,
    pub(super) bad_increments: Few,
    pub(super) bad_files: Few,
    pub(super) bad_versions: Few,
    /// The version that its `PG_VERSION` files name.
    pub(super) major: Option<u32>,
    pub(super) control: Option<Result<Box<ControlFile>, String>>,
    pub(super) label: Option<Result<Box<BackupLabel>, LabelProblem>>,
    pub(super) tablespaces: Option<Result<Vec<TablespaceMapEntry>, usize>>,
    pub(super) manifest: Option<Box<ManifestSeen>>,
    pub(super) fingerprints: Fingerprints,
    /// Relations with an init fork, as `folder/filenode`: unlogged, their pages are thrown away at the first start.
    pub(super) unlogged: HashSet<Vec<u8>>,
}

/// The first few of many.
#[derive(Debug, Clone, Default)]
pub(super) struct Few {
    pub kept: Vec<MemberDefect>,
    /// How many files.
    pub files: u64,
    /// How many places in them.
    pub count: u64,
}

impl Few {
    const KEPT_MAX: usize = 200;

    pub fn add(&mut self, defect: MemberDefect) {
        self.files += 1;
        self.count += defect.count;
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(defect);
        }
    }

    pub fn note(&mut self, path: &[u8], message: impl Into<String>) {
        self.add(MemberDefect { path: ObjectKey::new(path), message: message.into(), blocks: Vec::new(), count: 1 });
    }
}

/// Relations with an init fork that are remembered.
const UNLOGGED_MAX: usize = 200_000;

/// Walks one decoded part to its end.
///
/// # Errors
/// The reader's own: damage of the codec, a failing store, a stop. A damaged tar is not an error but in the result;
/// the rest of the reader is drained then, so that damage below (which explains it) shows.
pub fn check_part(
    name: &str,
    reader: &mut dyn Read,
    expectation: &Expectation,
    cancel: &Cancel,
) -> Result<PartSeen, io::Error> {
    let mut seen = PartSeen { name: name.to_owned(), ..PartSeen::default() };
    let mut walk = Walk {
        expectation,
        cancel,
        part: expectation.part(name),
        met: expectation.files.as_ref().map(|files| vec![0u64; files.len().div_ceil(64)]).unwrap_or_default(),
        fingerprints: expectation.files.is_none() || expectation.find(b"backup_manifest").is_some(),
        buffer: Buffer::new(),
    };
    let mut tar = TarReader::new(reader);
    let problem = loop {
        if cancel.is_set() {
            return Err(io::Error::other(Stopped));
        }
        let entry = match tar.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break None,
            Err(TarError::Structure(problem)) => break Some(problem),
            Err(TarError::Read(error)) => return Err(error),
        };
        if let Err(error) = walk.member(&mut seen, &mut tar, &entry) {
            match tar_problem(&error) {
                Some(problem) => break Some(problem.clone()),
                None => return Err(error),
            }
        }
    };
    if problem.is_some() {
        drain(tar.into_inner(), &mut walk.buffer, cancel)?;
    }
    seen.tar = problem;
    seen.rows.sort_unstable();
    Ok(seen)
}

fn drain(reader: &mut dyn Read, buffer: &mut Buffer, cancel: &Cancel) -> io::Result<()> {
    while buffer.fill(reader, cancel)? > 0 {}
    Ok(())
}

struct Walk<'a> {
    expectation: &'a Expectation,
    cancel: &'a Cancel,
    /// This part's number in the list.
    part: Option<usize>,
    /// A bit for each row of the list.
    met: Vec<u64>,
    fingerprints: bool,
    buffer: Buffer,
}

impl Walk<'_> {
    fn member(&mut self, seen: &mut PartSeen, tar: &mut TarReader<&mut dyn Read>, entry: &Entry) -> io::Result<()> {
        seen.members += 1;
        seen.member_bytes = seen.member_bytes.saturating_add(entry.size);
        let block = BLOCK_BYTES as u64;
        let padded = entry.size.checked_next_multiple_of(block).unwrap_or(entry.size);
        seen.stream_bytes = seen.stream_bytes.saturating_add(padded).saturating_add(block);
        seen.rooted |= entry.name.starts_with(b"/");
        let path = match clean_member_name(&entry.name) {
            Ok(path) => path.unwrap_or_default(),
            Err(problem) => {
                seen.bad_names.note(&entry.name, format!("is no name for a file: {problem}"));
                return Ok(());
            }
        };
        let listed = self.expectation.find(&path);
        if let Some((row, _)) = listed {
            let (word, bit) = (row / 64, 1u64 << (row % 64));
            if self.met[word] & bit == 0 {
                self.met[word] |= bit;
                // The list has at most 20 million rows.
                seen.rows.push(row as u32);
            } else if entry.kind == EntryKind::File {
                seen.twice.note(&path, "is twice in this part");
            }
        }
        if entry.kind != EntryKind::File {
            return Ok(());
        }
        let listed = listed.map(|(_, listed)| listed);
        self.judge_place(seen, &path, listed);
        let before = std::mem::take(&mut self.buffer);
        // wal-g's own walk of a data directory (names with a slash) can only meet the manifest of another backup.
        let sha = self.expectation.may_have_manifest && !entry.name.starts_with(b"/");
        let sums = self.fingerprints.then(|| Sums::new(sha));
        let mut member = Member::new(self.expectation, &path, listed, entry.size, sums, before);
        let read = if member.wants_bytes() { member.read(&mut tar.body(), self.cancel) } else { Ok(()) };
        if read.is_ok() {
            member.finish(seen);
        }
        self.buffer = member.into_buffer();
        if seen.unlogged.len() < UNLOGGED_MAX
            && let Some(relation) = path.strip_suffix(b"_init")
        {
            seen.unlogged.insert(relation.to_vec());
        }
        read
    }

    /// Whether the list knows the file, and here.
    fn judge_place(&self, seen: &mut PartSeen, path: &[u8], listed: Option<super::files::Listed<'_>>) {
        if self.expectation.files.is_none()
            || matches!(path, b"global/pg_control" | b"backup_label" | b"tablespace_map")
        {
            return;
        }
        match listed {
            None => seen.unexpected.note(path, "is not in the backup's list of files"),
            Some(listed) if listed.listed && listed.skipped => {
                seen.unexpected.note(path, "is here although the list says that it was left out");
            }
            Some(listed) if self.expectation.has_sets() && listed.part != self.part => {
                let parts = self.expectation.files.as_ref().map(|files| files.parts()).unwrap_or_default();
                let place = listed.part.and_then(|part| parts.get(part));
                match place {
                    Some(place) => seen.unexpected.note(path, format!("is here, the list says {place}")),
                    None => seen.unexpected.note(path, "is here, the list names no part for it"),
                }
            }
            Some(_) => {}
        }
    }
}

impl PartSeen {
    /// Takes the pages of a relation file.
    pub(super) fn relation(&mut self, path: &[u8], relation: &super::content::RelationSeen) {
        let pages = &relation.pages;
        if let Some(report) = &relation.increment {
            self.increments += 1;
            if let Some(defect) = increment_defect(path, report) {
                // Its pages are not where they should be: what they seem to be says nothing.
                self.bad_increments.add(defect);
                return;
            }
        }
        self.pages += pages.pages;
        self.pages_newer += pages.newer;
        self.pages_good += pages.pages - pages.new - pages.newer - pages.bad_count;
        if pages.bad_count > 0 {
            self.bad_pages.add(page_defect(path, &pages.bad, pages.bad_count));
        }
        if pages.unlikely_count > 0 {
            self.unlikely_pages.add(page_defect(path, &pages.unlikely, pages.unlikely_count));
        }
        if relation.disguised {
            self.bad_increments.note(path, "begins as an increment, the list says that it is whole");
        }
    }

    /// Whether it has all but its end mark, which parts of streamed backups may lack.
    pub(super) fn lacks_only_end_mark(&self) -> bool {
        self.tar.as_ref().is_some_and(|problem| problem.kind == TarProblemKind::NoEndMark)
    }
}
