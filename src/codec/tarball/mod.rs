//! A strict, streaming reader of tar files.
//!
//! Differs from usual readers in what it does not forgive: a header whose checksum is wrong, a body
//! or the end mark (two zero blocks) that is missing, bytes behind the end mark that are not zero,
//! numbers that make no sense. Names are given as raw bytes; [`clean_member_name`] turns them into
//! safe relative paths. Bodies stream; long names and PAX records are bounded.

mod header;
mod name;
mod pax;
mod reader;

pub use header::{EntryKind, is_header};
pub use name::{NameProblem, clean_member_name};
pub use reader::{Body, Entry, TarReader};

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Bytes of a tar block.
pub const BLOCK_BYTES: usize = 512;

/// What is wrong with the structure of a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TarProblemKind {
    /// The file ends inside a header, a body or an extension.
    Truncated,
    /// The file ends cleanly behind a member, but its two zero blocks are missing.
    NoEndMark,
    /// The checksum of a header is wrong.
    BadChecksum,
    /// A size, time or mode does not parse, or is absurd.
    BadNumber,
    /// A PAX or GNU extension does not parse.
    BadExtension,
    /// A PAX or GNU extension is larger than any name or number needs.
    ExtensionTooLarge,
    /// Something other than zeros follows the end mark.
    TrailingData,
    /// A kind of member that is not read here (sparse files).
    Unsupported,
}

/// A defect of a tar's structure, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarProblem {
    /// What is wrong.
    pub kind: TarProblemKind,
    /// Offset in the (decoded) tar of the header or block concerned.
    pub at_byte: u64,
    /// The member concerned, as far as known.
    pub member: Option<Vec<u8>>,
    /// One clause.
    pub message: String,
}

impl fmt::Display for TarProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tar: {}", self.message)?;
        if let Some(member) = &self.member {
            write!(f, " (member {})", member.escape_ascii())?;
        }
        write!(f, " (at byte {})", self.at_byte)
    }
}

impl StdError for TarProblem {}

/// Why a tar could not be read on.
#[derive(Debug)]
#[non_exhaustive]
pub enum TarError {
    /// The tar itself is damaged.
    Structure(TarProblem),
    /// The reader below failed: the codec (see [`codec_error`](super::codec_error)) or the store.
    Read(io::Error),
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TarError::Structure(problem) => problem.fmt(f),
            TarError::Read(error) => error.fmt(f),
        }
    }
}

impl StdError for TarError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            TarError::Structure(_) => None,
            TarError::Read(error) => Some(error),
        }
    }
}

impl From<TarProblem> for TarError {
    fn from(problem: TarProblem) -> Self {
        TarError::Structure(problem)
    }
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> io::Error {
        match error {
            TarError::Structure(problem) if problem.kind == TarProblemKind::Truncated => {
                io::Error::new(io::ErrorKind::UnexpectedEof, problem)
            }
            TarError::Structure(problem) => io::Error::new(io::ErrorKind::InvalidData, problem),
            TarError::Read(error) => error,
        }
    }
}

/// The structural defect that a [`Body`] met, if the error is one.
pub fn tar_problem(error: &io::Error) -> Option<&TarProblem> {
    error.get_ref()?.downcast_ref()
}

/// Walks arbitrary bytes as a tar. Must neither panic nor allocate much.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let mut tar = TarReader::new(bytes);
    let mut bodies = 0_u64;
    while let Ok(Some(entry)) = tar.next_entry() {
        if entry.size % 3 == 0 {
            bodies += io::copy(&mut tar.body(), &mut io::sink()).unwrap_or(0);
        }
        if let Ok(Some(path)) = clean_member_name(&entry.name) {
            assert!(!path.starts_with(b"/") && !path.is_empty());
        }
    }
    assert!(bodies <= bytes.len() as u64);
}

#[cfg(test)]
mod tests;
