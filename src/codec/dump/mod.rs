//! Dumps: which kind a file is, what it says of itself, and whether it is all there.
//!
//! One pass over the decoded bytes, bounded memory. A custom archive is walked to the end of its last data block, a tar
//! has to hold every file that its table of contents names, plain SQL has to end with its closing comment: so a dump
//! that was cut anywhere is not called whole. Whether PostgreSQL accepts it is for a test restore to say.

mod archive;
mod plain;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};

use super::tarball::{EntryKind, TarError, TarReader, is_header};
use archive::{Reader, Toc};

/// Longest text of a dump that is kept.
const TEXT_BYTES_MAX: u64 = 400;
/// Members and entries of one dump; more is no dump we know of.
const ENTRIES_MAX: u64 = 4_000_000;

/// How a dump was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpKind {
    /// `pg_dump -Fc`.
    Custom,
    /// `pg_dump -Ft`: read by `pg_restore` as it is.
    Tar,
    /// `pg_dump -Fd`, packed into a tar by somebody: to be unpacked before `pg_restore` reads it.
    DirectoryInTar,
    /// `pg_dump`: SQL for `psql`.
    Plain,
    /// `pg_dumpall`: SQL for `psql`, with all databases and roles.
    PlainCluster,
}

impl fmt::Display for DumpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DumpKind::Custom => "custom dump",
            DumpKind::Tar => "tar dump",
            DumpKind::DirectoryInTar => "directory dump in a tar",
            DumpKind::Plain => "plain dump",
            DumpKind::PlainCluster => "plain dump of a cluster",
        })
    }
}

/// What a dump says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dump {
    /// How it was written.
    pub kind: DumpKind,
    /// The database, where it says so.
    pub database: Option<String>,
    /// Version of the server it was taken from, as in `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: Option<String>,
    /// Version of the `pg_dump` that wrote it.
    pub dump_version: Option<String>,
    /// Encoding of its texts.
    pub encoding: Option<String>,
    /// Entries of its table of contents; 0 for SQL.
    pub entries: u64,
    /// Entries with data, all of which were there; 0 for SQL.
    pub data_entries: u64,
    /// Where the directory lies in the tar, with a slash at its end; empty at the top.
    pub directory: Vec<u8>,
    /// Decoded bytes.
    pub bytes: u64,
}

impl Dump {
    fn new(kind: DumpKind) -> Self {
        Dump {
            kind,
            database: None,
            server_version: None,
            dump_version: None,
            encoding: None,
            entries: 0,
            data_entries: 0,
            directory: Vec::new(),
            bytes: 0,
        }
    }

    /// The oldest major that surely can load it: that of its server, or of the newer program that wrote it.
    pub fn major(&self) -> Option<u32> {
        let major = |text: &Option<String>| text.as_deref().and_then(major_of);
        major(&self.server_version).max(major(&self.dump_version))
    }
}

/// `9.6.24` and older count as 9.
fn major_of(version: &str) -> Option<u32> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Why a file is no whole dump.
#[derive(Debug)]
#[non_exhaustive]
pub enum DumpError {
    /// Something else: a tar of other files, text that is no dump. Says what was seen.
    NotADump(String),
    /// A dump of a format that is not known here, newer ones above all. Says nothing about its bytes.
    Unsupported(String),
    /// A dump that is cut or damaged: what is wrong, and at which byte.
    Damaged {
        /// One clause.
        message: String,
        /// Offset in the decoded bytes.
        at_byte: u64,
    },
    /// The reader below failed: the codec or the store.
    Read(io::Error),
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::NotADump(what) => write!(f, "not a dump: {what}"),
            DumpError::Unsupported(what) => f.write_str(what),
            DumpError::Damaged { message, at_byte } => write!(f, "{message} (at byte {at_byte})"),
            DumpError::Read(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DumpError {}

/// Reads a dump to its end. The bytes have to be decoded already.
///
/// # Errors
/// See [`DumpError`].
pub fn check(input: &mut dyn Read) -> Result<Dump, DumpError> {
    let mut start = vec![0; 512];
    let length = fill(input, &mut start).map_err(DumpError::Read)?;
    start.truncate(length);
    if start.is_empty() {
        return Err(DumpError::Damaged { message: "the dump is empty".into(), at_byte: 0 });
    }
    let is_tar = start.len() == 512 && is_header(&start);
    let custom = start.starts_with(b"PGDMP");
    // Numbers and names are read byte by byte.
    let mut whole = io::BufReader::with_capacity(64 << 10, start.as_slice().chain(input));
    if custom {
        custom_archive(&mut whole)
    } else if is_tar {
        tar(&mut whole)
    } else {
        plain::check(&mut whole)
    }
}

fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn custom_archive(input: &mut dyn Read) -> Result<Dump, DumpError> {
    let mut reader = Reader::new(input);
    let toc = reader.table_of_contents()?;
    let seen = reader.data_blocks(&toc)?;
    if let Some(missing) = toc.with_data.iter().find(|id| !seen.contains(id)) {
        return Err(reader.damaged(format!("the data of entry {missing} is missing")));
    }
    let mut dump = Dump::new(DumpKind::Custom);
    dump.data_entries = toc.with_data.len() as u64;
    dump.bytes = reader.position();
    Ok(toc.describe(dump))
}

fn tar(input: &mut dyn Read) -> Result<Dump, DumpError> {
    let mut tar = TarReader::new(input);
    let mut members: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut found: Option<(Toc, Vec<u8>)> = None;
    let mut count = 0_u64;
    let mut first = None;
    while let Some(entry) = tar.next_entry().map_err(of_tar)? {
        count += 1;
        if count > ENTRIES_MAX {
            return Err(DumpError::Unsupported(format!("a tar of more than {ENTRIES_MAX} members")));
        }
        first.get_or_insert_with(|| entry.name.clone());
        if entry.kind != EntryKind::File {
            continue;
        }
        let cut = entry.name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (directory, name) = entry.name.split_at(cut);
        if name == b"toc.dat" && found.is_none() {
            let mut body = tar.body();
            let mut reader = Reader::new(&mut body);
            let toc = reader.table_of_contents().map_err(|error| within(error, entry.at_byte))?;
            found = Some((toc, directory.to_vec()));
        }
        // Only names that a table of contents can mean are kept.
        if name.ends_with(b".dat") || name.ends_with(b".toc") || name == b"restore.sql" || compressed(name) {
            members.insert(entry.name.clone());
        }
    }
    let bytes = tar.position();
    let Some((toc, directory)) = found else {
        let first = first.unwrap_or_default();
        let shown = first.escape_ascii().to_string().chars().take(80).collect::<String>();
        return Err(DumpError::NotADump(format!("a tar of {count} members without a toc.dat, the first is {shown}")));
    };
    let full = |name: &str| [directory.as_slice(), name.as_bytes()].concat();
    let there = |name: &str| {
        let plain = full(name);
        // Named without the suffix of their compression in some versions.
        members.contains(&plain)
            || SUFFIXES.iter().any(|suffix| members.contains(&[plain.as_slice(), suffix.as_bytes()].concat()))
    };
    let whole = |file: &str, large_objects: Option<i64>| {
        there(file) || large_objects.is_some_and(|number| there("blobs.toc") || there(&format!("blobs_{number}.toc")))
    };
    if let Some((missing, _)) = toc.files.iter().find(|(file, number)| !whole(file, **number)) {
        let message = format!("the file {} that its table of contents names is missing", missing.escape_debug());
        return Err(DumpError::Damaged { message, at_byte: bytes });
    }
    let kind = if members.contains(&full("restore.sql")) { DumpKind::Tar } else { DumpKind::DirectoryInTar };
    let mut dump = Dump::new(kind);
    dump.data_entries = toc.files.len() as u64;
    (dump.directory, dump.bytes) = (directory, bytes);
    Ok(toc.describe(dump))
}

const SUFFIXES: &[&str] = &[".gz", ".lz4", ".zst"];

fn compressed(name: &[u8]) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix.as_bytes()))
}

fn within(error: DumpError, offset: u64) -> DumpError {
    match error {
        DumpError::Damaged { message, at_byte } => {
            DumpError::Damaged { message: format!("toc.dat: {message}"), at_byte: at_byte.saturating_add(offset) }
        }
        other => other,
    }
}

fn of_tar(error: TarError) -> DumpError {
    match error {
        TarError::Structure(problem) => {
            DumpError::Damaged { at_byte: problem.at_byte, message: format!("tar: {}", problem.message) }
        }
        TarError::Read(error) => DumpError::Read(error),
    }
}

/// Reads arbitrary bytes as a dump. Must neither panic nor allocate much.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    if let Ok(dump) = check(&mut &bytes[..]) {
        assert!(dump.bytes <= bytes.len() as u64);
    }
}
