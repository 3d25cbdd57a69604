//! `backup_manifest`: the server's list of files, read line by line.
//!
//! PostgreSQL writes one file to a line, and the checksum on the last line covers the raw bytes before it, so the
//! manifest is read as lines and never as one document. It may list a million files; one line is held at a time. The
//! hash is the caller's: this module says which bytes it covers.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{Lsn, TimelineId};

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestFile {
    /// Path within the data directory; any bytes.
    pub path: Vec<u8>,
    /// Size in bytes.
    pub size: u64,
    /// Checksum of the content.
    pub checksum: ManifestChecksum,
}

/// The checksum a manifest has for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestChecksum {
    /// The backup was taken without.
    None,
    /// CRC-32C, as a number.
    Crc32c(u32),
    /// SHA-2 with this many bits: 224, 256, 384 or 512.
    Sha2(u16, Vec<u8>),
}

/// A stretch of WAL that the backup needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestWalRange {
    /// On this timeline.
    pub timeline: TimelineId,
    /// From here.
    pub start: Lsn,
    /// Up to here.
    pub end: Lsn,
}

/// What a manifest says beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ManifestSummary {
    /// 1, or 2 from 17 on.
    pub version: u32,
    /// From version 2 on.
    pub system_id: Option<u64>,
    /// Files listed.
    pub files: u64,
    /// The sum of their sizes in bytes.
    pub file_bytes: u64,
    /// WAL needed; more than one if the timeline changed while the backup ran.
    pub wal_ranges: Vec<ManifestWalRange>,
    /// SHA-256 that the covered bytes must have.
    pub checksum: Vec<u8>,
    /// How many bytes from the start it covers.
    pub covered_bytes: u64,
}

/// Why a file is not a whole manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestProblem {
    /// A line longer than any that PostgreSQL writes.
    #[error("line {0} is longer than {1} bytes")]
    LongLine(u64, usize),
    /// A line that has no place there.
    #[error("line {0} is not what PostgreSQL writes there")]
    Line(u64),
    /// A version that is not known.
    #[error("has version {0}, known are 1 and 2")]
    Version(u32),
    /// It ends before its checksum.
    #[error("ends after line {0}, without its checksum")]
    CutOff(u64),
    /// Something follows its end.
    #[error("goes on behind its checksum, at line {0}")]
    Trailing(u64),
    /// More WAL ranges than timelines could be.
    #[error("lists more than {0} stretches of WAL")]
    ManyRanges(usize),
}

/// Receives a manifest's content as it is read.
pub trait ManifestSink {
    /// The next file.
    fn file(&mut self, file: ManifestFile);

    /// The next bytes that the manifest's own checksum covers.
    fn covered(&mut self, bytes: &[u8]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Header,
    Files,
    Between,
    Ranges,
    Last,
    Done,
}

/// Reads a manifest whose bytes come in pieces of any size.
#[derive(Debug)]
pub struct ManifestReader {
    place: Place,
    line: Vec<u8>,
    number: u64,
    problem: Option<ManifestProblem>,
    summary: ManifestSummary,
}

#[derive(Deserialize)]
struct FileLine {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct RangeLine {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: Lsn,
    #[serde(rename = "End-LSN")]
    end: Lsn,
}

impl ManifestReader {
    /// Longest line that is read: paths have at most 1024 bytes, at most six times that when escaped.
    pub const LINE_BYTES_MAX: usize = 1 << 14;
    /// Most WAL ranges that are read.
    pub const RANGES_MAX: usize = 1000;

    /// A reader at the start of the file.
    pub fn new() -> Self {
        ManifestReader {
            place: Place::Start,
            line: Vec::new(),
            number: 1,
            problem: None,
            summary: ManifestSummary::default(),
        }
    }

    /// Takes the next bytes. After a problem the rest is ignored.
    pub fn push(&mut self, mut bytes: &[u8], sink: &mut impl ManifestSink) {
        while !bytes.is_empty() && self.problem.is_none() {
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + piece.len() > Self::LINE_BYTES_MAX {
                self.problem = Some(ManifestProblem::LongLine(self.number, Self::LINE_BYTES_MAX));
                return;
            }
            self.line.extend_from_slice(piece);
            bytes = rest;
            if end.is_some() {
                self.take_line(sink);
            }
        }
    }

    fn take_line(&mut self, sink: &mut impl ManifestSink) {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match self.read(text, sink) {
            Ok(place) => self.place = place,
            Err(problem) => self.problem = Some(problem),
        }
        if self.place != Place::Done {
            sink.covered(&line);
            self.summary.covered_bytes += line.len() as u64;
        }
        self.number += 1;
        self.line = line;
        self.line.clear();
    }

    /// Reads one line. Returns where the next one lies.
    fn read(&mut self, line: &[u8], sink: &mut impl ManifestSink) -> Result<Place, ManifestProblem> {
        let wrong = ManifestProblem::Line(self.number);
        match self.place {
            Place::Start => {
                let text = line.strip_prefix(b"{").ok_or(wrong.clone())?;
                let (key, value) = member(text).ok_or(wrong.clone())?;
                let version = value.as_u64().and_then(|value| u32::try_from(value).ok()).ok_or(wrong.clone())?;
                if key != "PostgreSQL-Backup-Manifest-Version" {
                    return Err(wrong);
                }
                self.summary.version = version;
                if !(1..=2).contains(&version) {
                    return Err(ManifestProblem::Version(version));
                }
                Ok(Place::Header)
            }
            Place::Header if line == b"\"Files\": [" => Ok(Place::Files),
            Place::Header => match member(line) {
                Some((key, value)) if key == "System-Identifier" => {
                    self.summary.system_id = Some(value.as_u64().ok_or(wrong)?);
                    Ok(Place::Header)
                }
                _ => Err(wrong),
            },
            Place::Files if line == b"]," => Ok(Place::Between),
            // Without any file the list is empty.
            Place::Files if line.is_empty() => Ok(Place::Files),
            Place::Files => {
                let file = file(line).ok_or(wrong)?;
                self.summary.files += 1;
                self.summary.file_bytes = self.summary.file_bytes.saturating_add(file.size);
                sink.file(file);
                Ok(Place::Files)
            }
            Place::Between if line == b"\"WAL-Ranges\": [" => Ok(Place::Ranges),
            Place::Ranges if line == b"]," => Ok(Place::Last),
            Place::Ranges if line.is_empty() => Ok(Place::Ranges),
            Place::Ranges => {
                let range: RangeLine = serde_json::from_slice(without_comma(line)).map_err(|_| wrong.clone())?;
                if self.summary.wal_ranges.len() >= Self::RANGES_MAX {
                    return Err(ManifestProblem::ManyRanges(Self::RANGES_MAX));
                }
                let timeline = TimelineId::new(range.timeline).ok_or(wrong)?;
                self.summary.wal_ranges.push(ManifestWalRange { timeline, start: range.start, end: range.end });
                Ok(Place::Ranges)
            }
            Place::Last => {
                let text = line.strip_suffix(b"}").ok_or(wrong.clone())?;
                let (key, value) = member(text).ok_or(wrong.clone())?;
                let checksum = value.as_str().and_then(bytes_of_hex).filter(|bytes| bytes.len() == 32);
                match checksum {
                    Some(checksum) if key == "Manifest-Checksum" => {
                        self.summary.checksum = checksum;
                        Ok(Place::Done)
                    }
                    _ => Err(wrong),
                }
            }
            Place::Done => Err(ManifestProblem::Trailing(self.number)),
            Place::Between => Err(wrong),
        }
    }

    /// The result, once all bytes were pushed.
    pub fn finish(mut self, sink: &mut impl ManifestSink) -> Result<ManifestSummary, ManifestProblem> {
        // The last line may lack its line feed.
        if !self.line.is_empty() && self.problem.is_none() {
            self.take_line(sink);
        }
        match self.problem {
            Some(problem) => Err(problem),
            None if self.place == Place::Done => Ok(self.summary),
            None => Err(ManifestProblem::CutOff(self.number.saturating_sub(1))),
        }
    }
}

impl Default for ManifestReader {
    fn default() -> Self {
        ManifestReader::new()
    }
}

fn without_comma(line: &[u8]) -> &[u8] {
    line.strip_suffix(b",").unwrap_or(line)
}

/// `"key": value` with or without a comma behind it.
fn member(text: &[u8]) -> Option<(String, Value)> {
    let mut object = Vec::with_capacity(text.len() + 2);
    object.push(b'{');
    object.extend_from_slice(without_comma(text));
    object.push(b'}');
    let members: serde_json::Map<String, Value> = serde_json::from_slice(&object).ok()?;
    let mut members = members.into_iter();
    members.next().filter(|_| members.next().is_none())
}

fn file(line: &[u8]) -> Option<ManifestFile> {
    let line: FileLine = serde_json::from_slice(without_comma(line)).ok()?;
    let path = match (line.path, line.encoded_path) {
        (Some(path), None) => path.into_bytes(),
        (None, Some(encoded)) => bytes_of_hex(&encoded)?,
        _ => return None,
    };
    let checksum = match (line.algorithm.as_deref(), line.checksum) {
        (None | Some("NONE"), None) => ManifestChecksum::None,
        (Some(algorithm), Some(text)) => {
            let bytes = bytes_of_hex(&text)?;
            match algorithm {
                // The four bytes as they lie in memory on a little-endian machine.
                "CRC32C" => ManifestChecksum::Crc32c(u32::from_le_bytes(bytes.try_into().ok()?)),
                "SHA224" | "SHA256" | "SHA384" | "SHA512" => {
                    let bits: u16 = algorithm[3..].parse().ok()?;
                    if bytes.len() * 8 != usize::from(bits) {
                        return None;
                    }
                    ManifestChecksum::Sha2(bits, bytes)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(ManifestFile { path, size: line.size, checksum })
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Seen {
        files: Vec<ManifestFile>,
        covered: Vec<u8>,
    }

    impl ManifestSink for Seen {
        fn file(&mut self, file: ManifestFile) {
            self.files.push(file);
        }
        fn covered(&mut self, bytes: &[u8]) {
            self.covered.extend_from_slice(bytes);
        }
    }

    fn read(text: &[u8], piece: usize) -> (Result<ManifestSummary, ManifestProblem>, Seen) {
        let (mut reader, mut seen) = (ManifestReader::new(), Seen::default());
        text.chunks(piece).for_each(|piece| reader.push(piece, &mut seen));
        (reader.finish(&mut seen), seen)
    }

    const MANIFEST: &str = concat!(
        "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n",
        "\"System-Identifier\": 7300000000000000001,\n",
        "\"Files\": [\n",
        "{ \"Path\": \"backup_label\", \"Size\": 227, \"Last-Modified\": \"2026-11-20 23:02:05 GMT\", ",
        "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"0d9287dd\" },\n",
        "{ \"Encoded-Path\": \"61ff\", \"Size\": 3, \"Last-Modified\": \"2026-11-20 23:02:05 GMT\" }\n",
        "],\n",
        "\"WAL-Ranges\": [\n",
        "{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n",
        "],\n",
        "\"Manifest-Checksum\": \"00000000000000000000000000000000000000000000000000000000000000ab\"}\n",
    );

    #[test]
    fn reads_a_manifest_in_pieces_of_any_size() {
        for piece in [1, 7, 100_000] {
            let (summary, seen) = read(MANIFEST.as_bytes(), piece);
            let summary = summary.unwrap();
            assert_eq!((summary.version, summary.files, summary.file_bytes), (2, 2, 230));
            assert_eq!(summary.system_id, Some(7_300_000_000_000_000_001));
            assert_eq!(summary.wal_ranges[0].end, Lsn(0x200_0100));
            assert_eq!(summary.checksum[31], 0xAB);
            assert_eq!(seen.files[0].checksum, ManifestChecksum::Crc32c(0xDD87_920D));
            assert_eq!(seen.files[1].path, [0x61, 0xFF]);
            assert_eq!(seen.files[1].checksum, ManifestChecksum::None);
            let covered = &MANIFEST[..MANIFEST.find("\"Manifest-Checksum").unwrap()];
            assert_eq!(seen.covered, covered.as_bytes());
            assert_eq!(summary.covered_bytes, covered.len() as u64);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let verdict = |text: String| read(text.as_bytes(), 100).0.unwrap_err();
        assert_eq!(verdict(String::new()), ManifestProblem::CutOff(0));
        assert_eq!(verdict(MANIFEST[..MANIFEST.len() / 2].to_owned()), ManifestProblem::Line(5));
        let lines: Vec<&str> = MANIFEST.lines().collect();
        assert_eq!(verdict(lines[..9].join("\n")), ManifestProblem::CutOff(9));
        assert_eq!(verdict(MANIFEST.to_owned() + "{}\n"), ManifestProblem::Trailing(11));
        assert_eq!(verdict(MANIFEST.replacen('2', "3", 1)), ManifestProblem::Version(3));
        assert_eq!(verdict(MANIFEST.replace("CRC32C", "CRC64")), ManifestProblem::Line(4));
        assert_eq!(verdict(MANIFEST.replace("00ab", "00")), ManifestProblem::Line(10));
        assert_eq!(verdict("x".repeat(20_000)), ManifestProblem::LongLine(1, ManifestReader::LINE_BYTES_MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(at in 0usize..700, byte: u8, cut in 0usize..800) {
            let mut bytes = MANIFEST.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = read(&bytes, 13);
        }
    }
}
