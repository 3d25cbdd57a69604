//! Reading one object to its end: decoded for whoever looks at the content, and summed up as stored for the store's own
//! checksum.

use std::io::{self, Read};
use std::sync::Arc;

use crate::codec::checksum::{ChecksumHandle, ChecksumKind, ChecksumReader, Checksums};
use crate::codec::{EncryptionSeen, Limits};
use crate::fetch::{Problem, Source, Stored};
use crate::model::CodecKind;
use crate::run::Progress;

/// How sure it is that a checksum is what it seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// The store says what it is.
    Sure,
    /// An ETag that looks like an MD5.
    Etag,
    /// Made of the checksums of parts, of which only the first one's size is known: the others are taken to have the same.
    Parts,
}

/// What comparing with the store's checksum showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreSum {
    /// The store sent none that covers the object, or the object was not read to its end.
    NotCompared,
    /// They agree.
    Equal(Trust),
    /// They do not.
    Differs {
        /// Which checksum.
        kind: ChecksumKind,
        /// Of the store.
        expected: String,
        /// Of the bytes.
        found: String,
        /// Whether it need mean anything.
        trust: Trust,
    },
}

/// How reading an object went.
#[derive(Debug)]
pub(super) struct Seen {
    /// Why it could not be read, if so.
    pub problem: Option<Problem>,
    /// How it was encrypted, once that is known.
    pub encryption: Option<EncryptionSeen>,
    /// The store's checksum.
    pub store: StoreSum,
    /// Stored bytes that came.
    pub bytes: u64,
}

/// Reads an object on a blocking thread. `take` gets the decoded bytes through a reader and has to read it to its end;
/// its error counts as the object's.
pub(super) fn read(
    source: &Source,
    stored: Stored,
    codec: CodecKind,
    limits: &Limits,
    progress: &Arc<dyn Progress>,
    take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
) -> Seen {
    let expected = expected(&stored.checksums, stored.size);
    let counted = Counted { inner: stored.reader, progress: progress.clone(), bytes: 0, told: 0 };
    let sums = match &expected {
        Some(Expected { kind, part_bytes: Some(part_bytes), .. }) => Checksums::of_parts(*kind, *part_bytes),
        Some(Expected { kind, .. }) => Checksums::new(&[*kind]),
        None => Checksums::new(&[]),
    };
    let (tap, handle) = ChecksumReader::with(counted, sums);
    let mut encryption = None;
    let result = match source.open(codec, Box::new(tap), limits) {
        Ok(mut opened) => {
            encryption = Some(opened.encryption);
            take(&mut opened.reader).map_err(|error| Problem::of_io(&error))
        }
        Err(problem) => Err(problem),
    };
    let (store, bytes) = compare(handle, expected);
    Seen { problem: result.err(), encryption, store, bytes }
}

fn compare(handle: ChecksumHandle, expected: Option<Expected>) -> (StoreSum, u64) {
    let passed = handle.finish();
    let (Some(expected), true) = (expected, passed.whole) else {
        return (StoreSum::NotCompared, passed.bytes);
    };
    let Expected { kind, text, trust, .. } = expected;
    let sum = match passed.checksums.first() {
        None => StoreSum::NotCompared,
        Some(sum) if sum.matches(&text) => StoreSum::Equal(trust),
        Some(sum) => {
            let hex = text.len() == sum.hex().len();
            let found = if hex { sum.hex() } else { sum.base64() };
            StoreSum::Differs { kind, expected: text, found, trust }
        }
    };
    (sum, passed.bytes)
}

/// A checksum that the bytes can be compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    kind: ChecksumKind,
    text: String,
    trust: Trust,
    /// It is made of the checksums of parts of this size.
    part_bytes: Option<u64>,
}

/// The one checksum to compare: the cheapest that covers the whole object, else the cheapest that is made of those of its
/// parts, else an ETag.
fn expected(checksums: &[(String, String)], size: Option<u64>) -> Option<Expected> {
    let named =
        |name: &str| checksums.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let kinds = [
        ("crc32c", ChecksumKind::Crc32c),
        ("crc64nvme", ChecksumKind::Crc64Nvme),
        ("crc32", ChecksumKind::Crc32),
        ("sha256", ChecksumKind::Sha256),
        ("sha1", ChecksumKind::Sha1),
        ("md5", ChecksumKind::Md5),
    ];
    let whole = |(name, kind): &(&str, ChecksumKind)| {
        Some(Expected { kind: *kind, text: named(name)?.clone(), trust: Trust::Sure, part_bytes: None })
    };
    let etag = named("etag").map(|etag| etag.trim_matches('"'));
    // `VALUE-COUNT`; some servers leave the number of parts out, which the ETag has, too.
    let count = |text: &str| text.rsplit_once('-').and_then(|(_, count)| count.parse::<u64>().ok());
    let in_parts = |kind: ChecksumKind, text: &str| {
        let part_bytes: u64 = named("part-bytes")?.parse().ok().filter(|bytes| *bytes > 0)?;
        let parts = count(text).or_else(|| count(etag?))?;
        if size?.div_ceil(part_bytes) != parts {
            return None;
        }
        let text = text.rsplit_once('-').map_or(text, |(value, _)| value).to_owned();
        // Parts that are all there is have no other size.
        let trust = if parts == 1 { Trust::Sure } else { Trust::Parts };
        Some(Expected { kind, text, trust, part_bytes: Some(part_bytes) })
    };
    let found = kinds.iter().find_map(whole);
    let found =
        found.or_else(|| kinds.iter().find_map(|(name, kind)| in_parts(*kind, named(&format!("{name}-composite"))?)));
    found.or_else(|| {
        let etag = etag?;
        let value = etag.split('-').next()?;
        // Keys of a key service make ETags that are no MD5.
        let is_md5 = value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        let by_key = named("encryption").is_some_and(|kind| !kind.eq_ignore_ascii_case("AES256"));
        if !is_md5 || by_key {
            return None;
        }
        match etag.contains('-') {
            false => {
                Some(Expected { kind: ChecksumKind::Md5, text: etag.to_owned(), trust: Trust::Etag, part_bytes: None })
            }
            true => Some(Expected { trust: Trust::Parts, ..in_parts(ChecksumKind::Md5, etag)? }),
        }
    })
}

/// Tells how far reading has come.
struct Counted<R> {
    inner: R,
    progress: Arc<dyn Progress>,
    bytes: u64,
    told: u64,
}

const TELL_BYTES: u64 = 1 << 20;

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.bytes += read as u64;
        if self.bytes - self.told >= TELL_BYTES {
            self.progress.advance(self.bytes - self.told);
            self.told = self.bytes;
        }
        Ok(read)
    }
}

impl<R> Drop for Counted<R> {
    fn drop(&mut self) {
        self.progress.advance(self.bytes - self.told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(sums: &[(&str, &str)]) -> Option<(ChecksumKind, Trust, Option<u64>)> {
        let sums: Vec<(String, String)> = sums.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        expected(&sums, Some(20 << 20)).map(|found| (found.kind, found.trust, found.part_bytes))
    }

    #[test]
    fn the_cheapest_checksum_of_the_whole_object_is_compared() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let sure = Some((ChecksumKind::Crc32c, Trust::Sure, None));
        assert_eq!(pick(&[("etag", md5), ("md5", "x"), ("crc32c", "x")]), sure);
        let etag = Some((ChecksumKind::Md5, Trust::Etag, None));
        assert_eq!(pick(&[("crc32c-composite", "x"), ("etag", md5)]), etag);
        assert_eq!(pick(&[("etag", "d41d8cd98f00b204e9800998ecf8427e-3")]), None);
        assert_eq!(pick(&[("etag", md5), ("encryption", "aws:kms")]), None);
        assert_eq!(pick(&[("etag", md5), ("encryption", "AES256")]), etag);
        assert_eq!(pick(&[("etag", "CJ+abc")]), None);
    }

    #[test]
    fn checksums_of_parts_need_the_size_of_the_parts() {
        let (etag, bytes) = (("etag", "d41d8cd98f00b204e9800998ecf8427e-3"), ("part-bytes", "8388608"));
        let parts = |kind| Some((kind, Trust::Parts, Some(8 << 20)));
        assert_eq!(pick(&[etag, bytes]), parts(ChecksumKind::Md5));
        assert_eq!(pick(&[etag, bytes, ("crc32c-composite", "AAAAAA==-3")]), parts(ChecksumKind::Crc32c));
        assert_eq!(pick(&[etag, bytes, ("sha256-composite", "AAAA")]), parts(ChecksumKind::Sha256));
        // 20 MiB in parts of 8 are three, not four; and a key of a key service leaves no MD5.
        assert_eq!(pick(&[("etag", "d41d8cd98f00b204e9800998ecf8427e-4"), bytes]), None);
        assert_eq!(pick(&[etag, bytes, ("encryption", "aws:kms")]), None);
        let one = ("crc32c-composite", "AAAAAA==-1");
        assert_eq!(pick(&[one, ("part-bytes", "20971520")]).unwrap().1, Trust::Sure);
    }
}
