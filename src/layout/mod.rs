//! From keys and sidecar text to an [`Archive`]: each layout is a fold over the listing.
//!
//! Rows may come in any order. The fold says which small objects it wants read, is told what they hold, and
//! gives the archive. It never fails on what it finds: what it does not understand is counted as stray.

pub mod detect;
pub mod files;
pub mod wale;
pub mod walg;

use std::io::{self, Read};

use crate::catalog::{Archive, FirstPage};
use crate::model::{CodecKind, Lsn, ObjectKey, ObjectRow, SegmentName, TimelineHistory, TimelineId};
use crate::wal::header::LongHeader;

use walg::sidecar::{FilesMetadataData, MetadataData, SentinelData};

/// Why a sidecar could not be understood.
#[derive(Debug)]
pub enum ReadProblem {
    /// The content is wrong: a fact about the archive.
    Content(String),
    /// The bytes did not arrive or did not decode: whoever opened the stream knows which.
    Io(io::Error),
}

impl ReadProblem {
    /// Tells JSON that is wrong from a stream that broke.
    pub(crate) fn from_json(error: serde_json::Error) -> Self {
        use serde_json::error::Category;
        let at = format!("line {} column {}", error.line(), error.column());
        match error.classify() {
            Category::Io => ReadProblem::Io(error.into()),
            Category::Eof if error.line() <= 1 && error.column() == 0 => ReadProblem::Content("is empty".to_owned()),
            Category::Eof => ReadProblem::Content(format!("is cut off at {at}")),
            Category::Syntax => ReadProblem::Content(format!("is not JSON (at {at})")),
            Category::Data => ReadProblem::Content(format!("has a field of the wrong form (at {at})")),
        }
    }
}

/// What a small object is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// The sentinel of a backup.
    Sentinel,
    /// wal-g's summary.
    Metadata,
    /// wal-g's list of files and tars.
    FilesMetadata,
    /// wal-e's note of the server version.
    ExtendedVersion,
    /// A timeline history file.
    History(TimelineId),
    /// A backup history file.
    BackupHistory,
    /// The first page of a segment.
    FirstPage(SegmentName),
}

/// A small object to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Relative to the archive's root.
    pub key: ObjectKey,
    /// The storage that holds it.
    pub storage: u8,
    /// What for.
    pub purpose: Purpose,
    /// How it is compressed; `None` for text that tools never compress nor encrypt.
    pub codec: Option<CodecKind>,
    /// Most decoded bytes that are looked at; behind that the answer is [`Answer::Unread`].
    pub bytes_max: u64,
    /// Stored bytes, as listed.
    pub size: u64,
}

/// What a sidecar holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sidecar {
    /// A sentinel.
    Sentinel(Box<SentinelData>),
    /// wal-g's summary.
    Metadata(Box<MetadataData>),
    /// wal-g's list of tars.
    FilesMetadata(FilesMetadataData),
    /// `server_version_num`.
    ExtendedVersion(Option<u32>),
    /// A timeline history file.
    History(Result<TimelineHistory, crate::model::HistoryProblem>),
    /// Start and stop position of a backup history file.
    BackupHistory(Option<Lsn>, Option<Lsn>),
    /// A segment's first page.
    FirstPage(FirstPage),
}

/// The answer to a [`Wanted`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Read and understood.
    Parsed(Sidecar),
    /// Read, and not what it should be.
    Broken(String),
    /// Not read; encrypted without a key, too large, or in a class that GET refuses.
    Unread {
        /// The reason, for people.
        why: String,
        /// A key is missing.
        key_missing: bool,
    },
    /// It is not there any more.
    Gone,
}

/// Reads one sidecar: decoded bytes in, facts out.
pub fn read(purpose: Purpose, input: &mut dyn Read) -> Result<Sidecar, ReadProblem> {
    Ok(match purpose {
        Purpose::Sentinel => Sidecar::Sentinel(Box::new(walg::sidecar::sentinel(input)?)),
        Purpose::Metadata => Sidecar::Metadata(Box::new(walg::sidecar::metadata(input)?)),
        Purpose::FilesMetadata => Sidecar::FilesMetadata(walg::sidecar::files_metadata(input)?),
        Purpose::ExtendedVersion => {
            let text = bytes(input, 4096)?;
            Sidecar::ExtendedVersion(wale::version_number(&String::from_utf8_lossy(&text)))
        }
        Purpose::History(timeline) => {
            let text = bytes(input, TimelineHistory::BYTES_MAX + 1)?;
            Sidecar::History(TimelineHistory::parse(timeline, &text))
        }
        Purpose::BackupHistory => {
            let text = bytes(input, 64 << 10)?;
            let text = String::from_utf8_lossy(&text);
            let position = |field: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(field))?;
                line.split_whitespace().next()?.parse().ok()
            };
            Sidecar::BackupHistory(position("START WAL LOCATION:"), position("STOP WAL LOCATION:"))
        }
        Purpose::FirstPage(_) => {
            let head = bytes(input, 40)?;
            let Some(header) = LongHeader::parse(&head) else {
                return Err(ReadProblem::Content(format!("ends after {} bytes", head.len())));
            };
            if let Some(problem) = header.problem() {
                return Err(ReadProblem::Content(format!("does not begin like a WAL segment: {problem}")));
            }
            Sidecar::FirstPage(FirstPage {
                system_identifier: header.system_id,
                segment_size: u64::from(header.segment_bytes),
                pg_major: header.major().map(|major| match u32::from(major.number()) {
                    9 => 906,
                    number => number,
                }),
                timeline: header.short.timeline,
                page_address: header.short.address.0,
            })
        }
    })
}

/// At most `max` bytes; fewer where the input ends.
fn bytes(input: &mut dyn Read, max: usize) -> Result<Vec<u8>, ReadProblem> {
    let mut out = Vec::new();
    input.take(max as u64).read_to_end(&mut out).map_err(ReadProblem::Io)?;
    Ok(out)
}

/// A layout under construction.
pub trait Layout: Send {
    /// One listed object below the archive's root, its key relative to it. Any order. Says whether it was new; only
    /// after [`Layout::reopen`] it may not be.
    fn push(&mut self, row: ObjectRow, storage: u8) -> bool;

    /// Small objects to read next. Asked again after each round of answers, until there are none.
    fn wanted(&mut self) -> Vec<Wanted>;

    /// What one of them holds.
    fn answer(&mut self, wanted: &Wanted, answer: Answer);

    /// The archive as far as it is known.
    fn finish(&mut self) -> Archive;

    /// Takes an archive back to add what a second look found.
    fn reopen(&mut self, archive: Archive);

    /// A second look did not find a backup's sentinel any more: the backup leaves the model.
    fn forget(&mut self, backup: &str, storage: u8);
}

/// Reads any bytes as each of the small objects.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    for purpose in [
        Purpose::Sentinel,
        Purpose::Metadata,
        Purpose::FilesMetadata,
        Purpose::ExtendedVersion,
        Purpose::History(TimelineId::new(7).unwrap_or(TimelineId::FIRST)),
        Purpose::BackupHistory,
    ] {
        let _ = read(purpose, &mut &bytes[..]);
    }
    if let Some(name) = SegmentName::parse(b"000000010000000000000001") {
        let _ = read(Purpose::FirstPage(name), &mut &bytes[..]);
    }
}
