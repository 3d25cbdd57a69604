//! What every record begins with, and how its bytes are read without trusting them.
//!
//! A record is one JSON document, compressed where its kind is large. It never changes once written. A schema number
//! covers the envelope and all bodies: an older one is migrated while it is read, a newer one is refused with the
//! version of walproof that is needed.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::shown;
use super::{ArchiveId, RunId, StateError};
use crate::model::Timestamp;

/// The schema this walproof writes.
pub const SCHEMA_VERSION: u32 = 1;
const SCHEMA_NAME: &str = "walproof.state";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const ZSTD_LEVEL: i32 = 6;
/// Largest zstd window, as a power of two: bounds the decoder's memory to 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// The outcome of one audit of one archive: [`super::RunSummary`].
    Run,
    /// Objects whose content was proven, in what version and when. Its body has the totals of the run in `summary`,
    /// in the form of a report's `verify`.
    Proofs,
    /// One test restore: an entry of a report's `restore_tests`, with whatever else the proof needs.
    Restore,
    /// What an archive consisted of.
    Catalog,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] = &[Kind::Run, Kind::Proofs, Kind::Restore, Kind::Catalog];

    /// Its name in records and keys.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Proofs => "proofs",
            Kind::Restore => "restore",
            Kind::Catalog => "catalog",
        }
    }

    /// Whether its records are written compressed.
    pub fn is_compressed(self) -> bool {
        matches!(self, Kind::Proofs | Kind::Catalog)
    }

    /// Largest record as stored, in bytes.
    pub fn stored_bytes_max(self) -> u64 {
        if self.is_compressed() { 64 << 20 } else { self.bytes_max() }
    }

    /// Largest record once decompressed, in bytes.
    pub fn bytes_max(self) -> u64 {
        match self {
            Kind::Run => 1 << 20,
            Kind::Restore => 4 << 20,
            Kind::Proofs | Kind::Catalog => 256 << 20,
        }
    }
}

/// Who wrote a record, when and about what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The run that wrote it.
    pub run_id: RunId,
    /// The cluster's name at that time.
    pub cluster: String,
    /// The archive it is about.
    #[serde(flatten)]
    pub archive: ArchiveId,
    /// The moment its verdicts are about.
    pub as_of: Timestamp,
    /// What it holds.
    pub kind: Kind,
    /// The version of walproof that wrote it.
    pub written_by: String,
}

impl Head {
    /// The head of a record that this walproof writes.
    pub fn new(run_id: RunId, cluster: impl Into<String>, archive: ArchiveId, as_of: Timestamp, kind: Kind) -> Self {
        let written_by = env!("CARGO_PKG_VERSION").to_owned();
        Head { run_id, cluster: cluster.into(), archive, as_of, kind, written_by }
    }
}

#[derive(Serialize)]
struct Written<'a, T> {
    schema: String,
    #[serde(flatten)]
    head: &'a Head,
    body: &'a T,
}

/// Read before anything else: a later version may change all but this.
#[derive(Deserialize)]
struct SchemaOnly {
    schema: String,
    #[serde(default)]
    written_by: Option<String>,
}

#[derive(Deserialize)]
struct BodyOnly<T> {
    body: T,
}

/// One step from a schema to the next.
type Migration = fn(&mut Value) -> Result<(), String>;

/// From schema 1 to 2, from 2 to 3, and so on.
const MIGRATIONS: &[Migration] = &[];

/// A record that was read: its head, and its body still as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it lay, for messages.
    pub key: String,
    /// Who wrote it, when and about what.
    pub head: Head,
    json: Vec<u8>,
}

impl Record {
    /// Reads a record's bytes as they were stored. Takes at most about `kind.bytes_max()` of memory whatever the bytes
    /// are, and leaves the body unread.
    ///
    /// # Errors
    /// `Newer`, `TooLarge` or `Damaged`.
    pub fn decode(key: &str, kind: Kind, stored: Vec<u8>) -> Result<Self, StateError> {
        Self::decode_as(key, kind, stored, SCHEMA_VERSION, MIGRATIONS)
    }

    fn decode_as(
        key: &str,
        kind: Kind,
        stored: Vec<u8>,
        version: u32,
        migrations: &[Migration],
    ) -> Result<Self, StateError> {
        let damaged = |why: &dyn std::fmt::Display| StateError::damaged(key, why);
        if stored.len() as u64 > kind.stored_bytes_max() {
            return Err(StateError::TooLarge { key: shown(key), bytes_max: kind.stored_bytes_max() });
        }
        let mut json = decompress(key, kind, stored)?;
        let schema: SchemaOnly = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
        let number = schema.schema.strip_prefix(SCHEMA_NAME).and_then(|rest| rest.strip_prefix('/'));
        // No sign, no leading zero: one spelling for each number.
        let number = number.and_then(|text| text.parse::<u32>().ok().filter(|number| number.to_string() == text));
        let number = match number {
            Some(number) if number >= 1 => number,
            _ => return Err(damaged(&format_args!("its schema is {:?}", shown(&schema.schema)))),
        };
        if number > version {
            let written_by = schema.written_by.as_deref().map_or_else(|| "of a later version".to_owned(), shown);
            return Err(StateError::Newer { key: shown(key), schema: shown(&schema.schema), written_by });
        }
        if number < version {
            let mut document: Value = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
            for migrate in &migrations[number as usize - 1..] {
                migrate(&mut document).map_err(|why| damaged(&why))?;
            }
            json = serde_json::to_vec(&document).map_err(|error| damaged(&error))?;
        }
        let head: Head = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
        if head.kind != kind {
            return Err(damaged(&format_args!(
                "it is of kind {} among those of kind {}",
                head.kind.name(),
                kind.name()
            )));
        }
        Ok(Record { key: key.to_owned(), head, json })
    }

    /// The body.
    ///
    /// # Errors
    /// `Damaged` if it is not of this type.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, StateError> {
        let whole: BodyOnly<T> =
            serde_json::from_slice(&self.json).map_err(|error| StateError::damaged(&self.key, error))?;
        Ok(whole.body)
    }
}

/// The bytes of a record, as they will be stored.
///
/// # Errors
/// `TooLarge` if no walproof could read it back, `Damaged` if the body cannot be written as JSON.
pub fn encode<T: Serialize>(key: &str, head: &Head, body: &T) -> Result<Vec<u8>, StateError> {
    let too_large = || StateError::TooLarge { key: shown(key), bytes_max: head.kind.bytes_max() };
    let whole = Written { schema: format!("{SCHEMA_NAME}/{SCHEMA_VERSION}"), head, body };
    let write = |out: &mut dyn Write| -> Result<(), serde_json::Error> {
        let mut counted = Counted { out, left: head.kind.bytes_max() };
        serde_json::to_writer(&mut counted, &whole)?;
        counted.write_all(b"\n").map_err(serde_json::Error::io)
    };
    let explain = |error: serde_json::Error| match error.io_error_kind() {
        Some(io::ErrorKind::FileTooLarge) => too_large(),
        _ => StateError::damaged(key, error),
    };
    if !head.kind.is_compressed() {
        let mut bytes = Vec::new();
        write(&mut bytes).map_err(explain)?;
        return Ok(bytes);
    }
    let io = |error: io::Error| StateError::io(format!("compressing {key}"), error);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(io)?;
    encoder.include_checksum(true).map_err(io)?;
    write(&mut encoder).map_err(explain)?;
    let bytes = encoder.finish().map_err(io)?;
    if bytes.len() as u64 > head.kind.stored_bytes_max() { Err(too_large()) } else { Ok(bytes) }
}

/// Refuses to write more than a reader would take.
struct Counted<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn decompress(key: &str, kind: Kind, stored: Vec<u8>) -> Result<Vec<u8>, StateError> {
    let bytes_max = kind.bytes_max();
    if !stored.starts_with(&ZSTD_MAGIC) {
        return Ok(stored);
    }
    let damaged = |error: io::Error| StateError::damaged(key, format_args!("it does not decompress: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stored.as_slice()).map_err(damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
    let mut json = Vec::new();
    decoder.take(bytes_max + 1).read_to_end(&mut json).map_err(damaged)?;
    if json.len() as u64 > bytes_max {
        return Err(StateError::TooLarge { key: shown(key), bytes_max });
    }
    Ok(json)
}

/// Any bytes are a record, or an error that can be shown.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(name) = super::name::RecordName::parse("archive", Kind::ALL[0], &text) {
        assert!(name.key().ends_with(&*text));
    }
    for kind in Kind::ALL {
        match Record::decode("v1/a/b/c", *kind, bytes.to_vec()) {
            Ok(record) => {
                let _ = record.body::<super::RunSummary>();
                let _ = record.body::<Value>();
            }
            Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
        }
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
