//! The header, table of contents and data blocks of `pg_dump`'s own format.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;

use super::{Dump, DumpError, ENTRIES_MAX, TEXT_BYTES_MAX, fill};
use crate::codec::tarball::tar_problem;

/// Versions of the format, as major and minor in one number.
const OLDEST: u32 = version(1, 10);
const NEWEST: u32 = version(1, 16);

const fn version(major: u32, minor: u32) -> u32 {
    major * 256 + minor
}

/// Codes of the formats in a header.
const FORMAT_CUSTOM: u8 = 1;
const FORMAT_TAR: u8 = 3;
const FORMAT_DIRECTORY: u8 = 5;

/// An entry that never has data.
const OFFSET_NO_DATA: u8 = 3;

const BLOCK_DATA: u8 = 1;
const BLOCK_BLOBS: u8 = 3;

/// What a table of contents says.
pub(super) struct Toc {
    database: Option<String>,
    server_version: Option<String>,
    dump_version: Option<String>,
    encoding: Option<String>,
    entries: u64,
    /// Numbers of entries with a data block, in a custom archive.
    pub with_data: BTreeSet<i64>,
    /// Names of files with data, in a tar or directory; with the entry's number for large objects, whose list has another
    /// name in tars than the entry says.
    pub files: BTreeMap<String, Option<i64>>,
}

impl Toc {
    pub fn describe(self, mut dump: Dump) -> Dump {
        dump.database = self.database;
        dump.server_version = self.server_version;
        dump.dump_version = self.dump_version;
        dump.encoding = self.encoding;
        dump.entries = self.entries;
        dump
    }
}

pub(super) struct Reader<'r> {
    input: &'r mut dyn Read,
    position: u64,
    int_size: usize,
    offset_size: usize,
    scratch: Vec<u8>,
}

impl<'r> Reader<'r> {
    pub fn new(input: &'r mut dyn Read) -> Self {
        Reader { input, position: 0, int_size: 4, offset_size: 8, scratch: vec![0; 16 << 10] }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn damaged(&self, message: impl Into<String>) -> DumpError {
        DumpError::Damaged { message: message.into(), at_byte: self.position }
    }

    /// The header and every entry.
    pub fn table_of_contents(&mut self) -> Result<Toc, DumpError> {
        let mut magic = [0; 5];
        self.exact(&mut magic)?;
        if &magic != b"PGDMP" {
            return Err(self.damaged("the table of contents does not begin with PGDMP"));
        }
        let (major, minor, _revision) = (self.byte()?, self.byte()?, self.byte()?);
        let found = version(u32::from(major), u32::from(minor));
        if !(OLDEST..=NEWEST).contains(&found) {
            return Err(DumpError::Unsupported(format!(
                "archive format {major}.{minor} is not known here (1.10 to 1.16 are)"
            )));
        }
        self.int_size = usize::from(self.byte()?);
        self.offset_size = usize::from(self.byte()?);
        if !(1..=8).contains(&self.int_size) || !(1..=8).contains(&self.offset_size) {
            return Err(self.damaged("the header states impossible sizes of numbers"));
        }
        let format = self.byte()?;
        if ![FORMAT_CUSTOM, FORMAT_TAR, FORMAT_DIRECTORY].contains(&format) {
            return Err(self.damaged(format!("the header states format {format}")));
        }
        if found >= version(1, 15) {
            self.byte()?;
        } else {
            self.int()?;
        }
        // When it was made: second, minute, hour, day, month, year, daylight saving.
        for _ in 0..7 {
            self.int()?;
        }
        let mut toc = Toc {
            database: self.text()?,
            server_version: self.text()?,
            dump_version: self.text()?,
            encoding: None,
            entries: 0,
            with_data: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        let count = self.int()?;
        let count = u64::try_from(count).map_err(|_| self.damaged(format!("it states {count} entries")))?;
        if count > ENTRIES_MAX {
            return Err(DumpError::Unsupported(format!("a dump of {count} entries")));
        }
        for _ in 0..count {
            self.entry(found, format, &mut toc)?;
        }
        toc.entries = count;
        Ok(toc)
    }

    fn entry(&mut self, found: u32, format: u8, toc: &mut Toc) -> Result<(), DumpError> {
        let number = self.int()?;
        if number <= 0 {
            return Err(self.damaged(format!("an entry has the number {number}")));
        }
        let had_data = self.int()? != 0;
        // Table and row of the catalog.
        self.text()?;
        self.text()?;
        let _tag = self.text()?;
        let kind = self.text()?;
        // Section.
        if found >= version(1, 11) {
            self.int()?;
        }
        let definition = self.text()?;
        if kind.as_deref() == Some("ENCODING") {
            toc.encoding = definition.as_deref().and_then(encoding_of);
        }
        // How to drop it, how to copy it, schema, tablespace.
        for _ in 0..4 {
            self.text()?;
        }
        if found >= version(1, 14) {
            self.text()?;
        }
        if found >= version(1, 16) {
            self.int()?;
        }
        // Owner, and whether it has OIDs.
        self.text()?;
        self.text()?;
        // What it depends on, to the first text that is none.
        let mut dependencies = 0_u64;
        while self.text()?.is_some() {
            dependencies += 1;
            if dependencies > ENTRIES_MAX {
                return Err(self.damaged("an entry depends on more than there is"));
            }
        }
        if format == FORMAT_CUSTOM {
            let state = self.byte()?;
            if !(1..=OFFSET_NO_DATA).contains(&state) {
                return Err(self.damaged(format!("entry {number} states {state} where its data is")));
            }
            let size = self.offset_size;
            self.skip(size as u64)?;
            if had_data && state != OFFSET_NO_DATA {
                toc.with_data.insert(number);
            }
        } else if let Some(file) = self.text()?.filter(|file| !file.is_empty()) {
            if file.len() as u64 >= TEXT_BYTES_MAX || file.contains('/') {
                return Err(self.damaged(format!("entry {number} names an impossible file")));
            }
            toc.files.insert(file, (kind.as_deref() == Some("BLOBS")).then_some(number));
        }
        Ok(())
    }

    /// Everything behind the table of contents: the numbers of the entries whose data was whole.
    pub fn data_blocks(&mut self, toc: &Toc) -> Result<HashSet<i64>, DumpError> {
        let mut seen = HashSet::new();
        while let Some(kind) = self.byte_or_end()? {
            let number = self.int()?;
            match kind {
                BLOCK_DATA => self.chunks()?,
                BLOCK_BLOBS => {
                    while self.int()? != 0 {
                        self.chunks()?;
                    }
                }
                other => return Err(self.damaged(format!("a data block of kind {other}"))),
            }
            if !toc.with_data.contains(&number) {
                return Err(self.damaged(format!("a data block for entry {number}, which has no data")));
            }
            seen.insert(number);
        }
        Ok(seen)
    }

    /// Chunks with their lengths, to one of no length.
    fn chunks(&mut self) -> Result<(), DumpError> {
        loop {
            let length = self.int()?;
            match u64::try_from(length) {
                Ok(0) => return Ok(()),
                Ok(length) => self.skip(length)?,
                Err(_) => return Err(self.damaged(format!("a chunk of {length} bytes"))),
            }
        }
    }

    /// A sign, then the digits from the lowest.
    fn int(&mut self) -> Result<i64, DumpError> {
        let mut bytes = [0; 9];
        let length = self.int_size + 1;
        self.exact(&mut bytes[..length])?;
        let value = bytes[1..length].iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        let value = i64::try_from(value).map_err(|_| self.damaged("a number beyond all bounds"))?;
        match bytes[0] {
            0 => Ok(value),
            1 => Ok(-value),
            other => Err(self.damaged(format!("a number with the sign {other}"))),
        }
    }

    /// A text, of which the start is kept; `None` is one that is not there.
    fn text(&mut self) -> Result<Option<String>, DumpError> {
        let length = self.int()?;
        let Ok(length) = u64::try_from(length) else { return Ok(None) };
        let kept = length.min(TEXT_BYTES_MAX);
        let mut bytes = vec![0; kept as usize];
        self.exact(&mut bytes)?;
        self.skip(length - kept)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn byte(&mut self) -> Result<u8, DumpError> {
        let mut byte = [0];
        self.exact(&mut byte)?;
        Ok(byte[0])
    }

    fn byte_or_end(&mut self) -> Result<Option<u8>, DumpError> {
        let mut byte = [0];
        let length = fill(self.input, &mut byte).map_err(read_error)?;
        self.position += length as u64;
        Ok((length == 1).then_some(byte[0]))
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), DumpError> {
        let length = fill(self.input, buffer).map_err(read_error)?;
        self.position += length as u64;
        if length < buffer.len() { Err(self.damaged("the dump ends in the middle")) } else { Ok(()) }
    }

    fn skip(&mut self, mut length: u64) -> Result<(), DumpError> {
        while length > 0 {
            let part = usize::try_from(length).unwrap_or(usize::MAX).min(self.scratch.len());
            let read = fill(self.input, &mut self.scratch[..part]).map_err(read_error)?;
            self.position += read as u64;
            if read < part {
                return Err(self.damaged("the dump ends in the middle"));
            }
            length -= read as u64;
        }
        Ok(())
    }
}

/// A tar around it may be what is damaged.
fn read_error(error: std::io::Error) -> DumpError {
    match tar_problem(&error) {
        Some(problem) => DumpError::Damaged { message: format!("tar: {}", problem.message), at_byte: problem.at_byte },
        None => DumpError::Read(error),
    }
}

/// From `SET client_encoding = 'UTF8';`.
pub(super) fn encoding_of(statement: &str) -> Option<String> {
    let (_, rest) = statement.split_once("client_encoding = '")?;
    let (name, _) = rest.split_once('\'')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| name.to_owned())
}
