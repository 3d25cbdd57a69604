//! Checksums over bytes as they pass: what a store says of an object can be compared without a second read.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A kind of checksum that stores and backup tools keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ChecksumKind {
    /// MD5: ETags of S3 objects that were uploaded in one piece, GCS, Azure.
    Md5,
    /// SHA-1: S3, names of pgBackRest's WAL.
    Sha1,
    /// SHA-256: S3, backup manifests.
    Sha256,
    /// CRC-32 as in gzip: S3.
    Crc32,
    /// CRC-32C (Castagnoli): S3, GCS, backup manifests.
    Crc32c,
    /// CRC-64/NVME: S3's default.
    Crc64Nvme,
}

impl fmt::Display for ChecksumKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChecksumKind::Md5 => "MD5",
            ChecksumKind::Sha1 => "SHA-1",
            ChecksumKind::Sha256 => "SHA-256",
            ChecksumKind::Crc32 => "CRC-32",
            ChecksumKind::Crc32c => "CRC-32C",
            ChecksumKind::Crc64Nvme => "CRC-64/NVME",
        })
    }
}

/// A finished checksum; CRCs in network byte order, as stores write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Which kind.
    pub kind: ChecksumKind,
    /// Its value.
    pub bytes: Vec<u8>,
}

impl Checksum {
    /// Lower-case hex digits.
    pub fn hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Standard Base64 with padding.
    pub fn base64(&self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in self.bytes.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bits);
            for place in 0..4 {
                let index = bits >> (18 - 6 * place) & 63;
                text.push(if place <= group.len() { char::from(ALPHABET[index as usize]) } else { '=' });
            }
        }
        text
    }

    /// Whether a store's text, hex in any case or Base64, names the same value.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.trim_matches('"');
        text.eq_ignore_ascii_case(&self.hex()) || text == self.base64()
    }
}

/// Checksums being computed.
pub struct Checksums(Vec<Running>);

enum Running {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Crc32(crc_fast::Digest),
    Crc32c(u32),
    Crc64Nvme(crc_fast::Digest),
    Parts(Box<Parts>),
}

/// A checksum of the checksums of parts.
struct Parts {
    kind: ChecksumKind,
    part_bytes: u64,
    /// Bytes that the part at hand still takes.
    left: u64,
    part: Checksums,
    whole: Checksums,
}

impl Parts {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.end_part();
            }
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.part.update(&bytes[..taken]);
            self.left -= taken as u64;
            bytes = &bytes[taken..];
        }
    }

    fn end_part(&mut self) {
        let part = std::mem::replace(&mut self.part, Checksums::new(&[self.kind]));
        part.finish().iter().for_each(|sum| self.whole.update(&sum.bytes));
        self.left = self.part_bytes;
    }

    fn finish(mut self) -> (ChecksumKind, Vec<u8>) {
        self.end_part();
        let whole = self.whole.finish().pop().map(|sum| sum.bytes).unwrap_or_default();
        (self.kind, whole)
    }
}

impl Checksums {
    /// The checksum of the checksums of parts of a size, the last one shorter: of uploads in parts.
    pub fn of_parts(kind: ChecksumKind, part_bytes: u64) -> Self {
        let part_bytes = part_bytes.max(1);
        let (part, whole) = (Checksums::new(&[kind]), Checksums::new(&[kind]));
        Checksums(vec![Running::Parts(Box::new(Parts { kind, part_bytes, left: part_bytes, part, whole }))])
    }

    /// Begins one of each kind.
    pub fn new(kinds: &[ChecksumKind]) -> Self {
        let begin = |kind: &ChecksumKind| match kind {
            ChecksumKind::Md5 => Running::Md5(Md5::new()),
            ChecksumKind::Sha1 => Running::Sha1(Sha1::new()),
            ChecksumKind::Sha256 => Running::Sha256(Sha256::new()),
            ChecksumKind::Crc32 => Running::Crc32(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc)),
            ChecksumKind::Crc32c => Running::Crc32c(0),
            ChecksumKind::Crc64Nvme => Running::Crc64Nvme(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme)),
        };
        Checksums(kinds.iter().map(begin).collect())
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for running in &mut self.0 {
            match running {
                Running::Md5(sum) => sum.update(bytes),
                Running::Sha1(sum) => sum.update(bytes),
                Running::Sha256(sum) => sum.update(bytes),
                Running::Crc32(sum) | Running::Crc64Nvme(sum) => sum.update(bytes),
                Running::Crc32c(sum) => *sum = crc32c::crc32c_append(*sum, bytes),
                Running::Parts(parts) => parts.update(bytes),
            }
        }
    }

    /// The values, in the order they were asked for.
    pub fn finish(self) -> Vec<Checksum> {
        let finish = |running| match running {
            Running::Md5(sum) => (ChecksumKind::Md5, sum.finalize().to_vec()),
            Running::Sha1(sum) => (ChecksumKind::Sha1, sum.finalize().to_vec()),
            Running::Sha256(sum) => (ChecksumKind::Sha256, sum.finalize().to_vec()),
            // 32 bits, in the low half.
            Running::Crc32(sum) => (ChecksumKind::Crc32, (sum.finalize() as u32).to_be_bytes().to_vec()),
            Running::Crc32c(sum) => (ChecksumKind::Crc32c, sum.to_be_bytes().to_vec()),
            Running::Crc64Nvme(sum) => (ChecksumKind::Crc64Nvme, sum.finalize().to_be_bytes().to_vec()),
            Running::Parts(parts) => parts.finish(),
        };
        self.0.into_iter().map(finish).map(|(kind, bytes)| Checksum { kind, bytes }).collect()
    }
}

impl fmt::Debug for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksums({})", self.0.len())
    }
}

/// A reader that computes checksums of what passes. It can be given away (into a decoder, say); the
/// values come from its [`ChecksumHandle`].
#[derive(Debug)]
pub struct ChecksumReader<R> {
    inner: R,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    sums: Option<Checksums>,
    bytes: u64,
    ended: bool,
}

/// Gives the checksums of a [`ChecksumReader`].
#[derive(Debug)]
pub struct ChecksumHandle(Arc<Mutex<State>>);

/// What passed through a [`ChecksumReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// How many bytes.
    pub bytes: u64,
    /// Whether the end was seen. If not, the checksums are those of a beginning.
    pub whole: bool,
    /// In the order they were asked for.
    pub checksums: Vec<Checksum>,
}

impl<R: Read> ChecksumReader<R> {
    /// Wraps a reader.
    pub fn new(inner: R, kinds: &[ChecksumKind]) -> (Self, ChecksumHandle) {
        ChecksumReader::with(inner, Checksums::new(kinds))
    }

    /// Wraps a reader, for checksums that were begun.
    pub fn with(inner: R, sums: Checksums) -> (Self, ChecksumHandle) {
        let state = State { sums: Some(sums), bytes: 0, ended: false };
        let state = Arc::new(Mutex::new(state));
        (ChecksumReader { inner, state: state.clone() }, ChecksumHandle(state))
    }
}

impl<R: Read> Read for ChecksumReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        // The lock is held by the handle only once, at the end.
        let mut state = self.state.lock().map_err(|_| io::Error::other("a checksum was interrupted"))?;
        state.bytes += read as u64;
        state.ended |= read == 0 && !out.is_empty();
        if let Some(sums) = &mut state.sums {
            sums.update(&out[..read]);
        }
        Ok(read)
    }
}

impl ChecksumHandle {
    /// What passed so far. The reader goes on without computing.
    pub fn finish(self) -> Passed {
        // Nothing is computed under a panic, so a poisoned lock still holds sound values.
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let checksums = state.sums.take().map(Checksums::finish).unwrap_or_default();
        Passed { bytes: state.bytes, whole: state.ended, checksums }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ChecksumKind; 6] = [
        ChecksumKind::Md5,
        ChecksumKind::Sha1,
        ChecksumKind::Sha256,
        ChecksumKind::Crc32,
        ChecksumKind::Crc32c,
        ChecksumKind::Crc64Nvme,
    ];

    #[test]
    fn known_values_in_any_pieces() {
        let expected = [
            "25f9e794323b453885f5181f1b624d0b",
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            "cbf43926",
            "e3069283",
            "ae8b14860a799888",
        ];
        for piece in [1, 2, 9] {
            let (mut reader, handle) = ChecksumReader::new(&b"123456789"[..], &ALL);
            let mut buffer = vec![0; piece];
            while reader.read(&mut buffer).unwrap() > 0 {}
            let passed = handle.finish();
            assert_eq!((passed.bytes, passed.whole), (9, true));
            let hex: Vec<String> = passed.checksums.iter().map(Checksum::hex).collect();
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn checksums_of_parts_are_summed_up_again() {
        // As S3 makes them: the parts' values one behind the other.
        let of = |bytes: &[u8]| {
            let mut sums = Checksums::new(&[ChecksumKind::Md5]);
            sums.update(bytes);
            sums.finish().pop().unwrap().bytes
        };
        for (part_bytes, parts) in
            [(4, vec!["1234", "5678", "9"]), (3, vec!["123", "456", "789"]), (20, vec!["123456789"])]
        {
            let expected = of(&parts.iter().flat_map(|part| of(part.as_bytes())).collect::<Vec<u8>>());
            for piece in [1, 2, 5, 9] {
                let sums = Checksums::of_parts(ChecksumKind::Md5, part_bytes);
                let (mut reader, handle) = ChecksumReader::with(&b"123456789"[..], sums);
                let mut buffer = vec![0; piece];
                while reader.read(&mut buffer).unwrap() > 0 {}
                assert_eq!(handle.finish().checksums[0].bytes, expected, "{part_bytes} {piece}");
            }
        }
    }

    #[test]
    fn a_beginning_is_not_whole() {
        let (mut reader, handle) = ChecksumReader::new(&b"123456789"[..], &[ChecksumKind::Crc32c]);
        reader.read_exact(&mut [0; 9]).unwrap();
        assert!(!handle.finish().whole);
        assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn texts_of_stores() {
        let sum = |bytes: &[u8]| Checksum { kind: ChecksumKind::Md5, bytes: bytes.to_vec() };
        assert_eq!(sum(b"").base64(), "");
        assert_eq!(sum(b"f").base64(), "Zg==");
        assert_eq!(sum(b"fo").base64(), "Zm8=");
        assert_eq!(sum(b"foobar").base64(), "Zm9vYmFy");
        assert!(sum(b"fo").matches("\"666F\"") && sum(b"fo").matches("Zm8=") && !sum(b"fo").matches("zm8="));
    }
}
