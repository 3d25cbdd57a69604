use std::io::{self, Read};

use super::content::RelationStream;
use super::expect::Expectation;
use super::files::Listed;
use super::manifest::{ManifestStream, Sums};
use super::part::PartSeen;
use super::small;
use crate::page::{RelationFile, relation_file};
use crate::run::Cancel;
use crate::store::Stopped;
use crate::wal::{BackupLabel, CONTROL_FILE_BYTES, ControlFile, parse_tablespace_map};

/// One buffer for all members of a part.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    const BYTES: usize = 256 << 10;

    pub fn new() -> Self {
        Buffer(vec![0; Self::BYTES])
    }

    /// Reads on; 0 at the end.
    pub fn fill(&mut self, reader: &mut dyn Read, cancel: &Cancel) -> io::Result<usize> {
        if cancel.is_set() {
            return Err(io::Error::other(Stopped));
        }
        loop {
            match reader.read(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

/// What a file is looked at as.
enum Work {
    /// Nothing is known about its form.
    Nothing,
    Relation(Box<RelationStream>),
    Manifest(Box<ManifestStream>),
    /// Small: kept whole.
    Small(Small, Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Small {
    Control,
    Label,
    TablespaceMap,
    RelationMap,
    Version,
}

/// Larger files of these kinds are not what their names say.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// One file of a part while it is read.
pub(super) struct Member<'a> {
    path: &'a [u8],
    size: u64,
    work: Work,
    sums: Option<Sums>,
    buffer: Buffer,
}

impl<'a> Member<'a> {
    pub fn new(
        expectation: &Expectation,
        path: &'a [u8],
        listed: Option<Listed<'_>>,
        size: u64,
        sums: Option<Sums>,
        buffer: Buffer,
    ) -> Self {
        let work = match small_kind(path) {
            Some(kind) if size <= SMALL_BYTES_MAX => Work::Small(kind, Vec::with_capacity(size as usize)),
            Some(_) => Work::Nothing,
            None if path == b"backup_manifest" => Work::Manifest(Box::new(ManifestStream::new())),
            None => match relation(expectation, path, listed) {
                Some(file) => Work::Relation(Box::new(RelationStream::new(expectation, listed, file, size))),
                None => Work::Nothing,
            },
        };
        Member { path, size, work, sums, buffer }
    }

    /// Whether more than its length matters.
    pub fn wants_bytes(&self) -> bool {
        self.sums.is_some() || !matches!(self.work, Work::Nothing)
    }

    pub fn read(&mut self, body: &mut dyn Read, cancel: &Cancel) -> io::Result<()> {
        loop {
            let read = self.buffer.fill(body, cancel)?;
            if read == 0 {
                return Ok(());
            }
            let bytes = &self.buffer.0[..read];
            if let Some(sums) = &mut self.sums {
                sums.push(bytes);
            }
            match &mut self.work {
                Work::Nothing => {}
                Work::Relation(stream) => stream.push(bytes),
                Work::Manifest(stream) => stream.push(bytes),
                Work::Small(_, content) => content.extend_from_slice(bytes),
            }
        }
    }

    /// Tells what it is, once all of it was read.
    pub fn finish(&mut self, seen: &mut PartSeen) {
        let path = self.path;
        if let Some(sums) = self.sums.take() {
            seen.fingerprints.add(path, self.size, sums);
        }
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing if small_kind(path) == Some(Small::Control) => {
                seen.control = Some(Err(format!("has {} bytes instead of {CONTROL_FILE_BYTES}", self.size)));
            }
            Work::Nothing => {}
            Work::Relation(stream) => seen.relation(path, &stream.finish()),
            Work::Manifest(stream) => seen.manifest = Some(stream.finish()),
            Work::Small(kind, content) => small_file(seen, kind, path, &content),
        }
    }

    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

/// A file of pages. What the list calls an increment is one of pages, whatever its path.
fn relation(expectation: &Expectation, path: &[u8], listed: Option<Listed<'_>>) -> Option<RelationFile> {
    let file = relation_file(path, expectation.file_blocks());
    // Another storage engine has increments, and pages, of a form of its own.
    if file.is_none() && listed.is_some_and(|listed| listed.incremented) && !path.starts_with(b"orioledb_data/") {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        return relation_file(&[b"global/", name].concat(), expectation.file_blocks());
    }
    file
}

fn small_kind(path: &[u8]) -> Option<Small> {
    Some(match path {
        b"global/pg_control" => Small::Control,
        b"backup_label" => Small::Label,
        b"tablespace_map" => Small::TablespaceMap,
        b"PG_VERSION" => Small::Version,
        _ => match path.rsplit(|byte| *byte == b'/').next()? {
            b"pg_filenode.map" => Small::RelationMap,
            b"PG_VERSION" => Small::Version,
            _ => return None,
        },
    })
}

fn small_file(seen: &mut PartSeen, kind: Small, path: &[u8], content: &[u8]) {
    match kind {
        Small::Control => {
            seen.control = Some(ControlFile::parse(content).map(Box::new).map_err(|problem| problem.to_string()));
        }
        Small::Label => seen.label = Some(BackupLabel::parse(content).map(Box::new)),
        Small::TablespaceMap => seen.tablespaces = Some(parse_tablespace_map(content)),
        Small::RelationMap => {
            if let Some(Err(message)) = small::relation_map(content) {
                seen.bad_files.note(path, message);
            }
        }
        Small::Version => match (small::version_file(content), seen.major) {
            (None, _) => seen.bad_versions.note(path, "names no version of PostgreSQL"),
            (Some(found), None) => seen.major = Some(found),
            (Some(found), Some(before)) if found != before => {
                seen.bad_versions.note(path, format!("names version {found}, others name {before}"));
            }
            _ => {}
        },
    }
}
