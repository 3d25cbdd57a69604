//! Reading one object to its end: decoded for whoever looks at the content, and summed up as stored for the store's own
//! checksum.

use std::io::{self, Read};
use std::sync::Arc;

use crate::codec::checksum::{ChecksumHandle, ChecksumKind, ChecksumReader};
use crate::codec::{EncryptionSeen, Limits};
use crate::fetch::{Problem, Source, Stored};
use crate::model::CodecKind;
use crate::run::Progress;

/// What comparing with the store's checksum showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreSum {
    /// The store sent none that covers the object, or the object was not read to its end.
    NotCompared,
    /// They agree.
    Equal {
        /// The checksum is an ETag that turned out to be an MD5.
        etag: bool,
    },
    /// They do not.
    Differs {
        /// Which checksum.
        kind: ChecksumKind,
        /// Of the store.
        expected: String,
        /// Of the bytes.
        found: String,
        /// The checksum is an ETag, which may be no MD5 at all.
        etag: bool,
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
    let expected = expected(&stored.checksums);
    let counted = Counted { inner: stored.reader, progress: progress.clone(), bytes: 0, told: 0 };
    let kinds: Vec<ChecksumKind> = expected.iter().map(|(kind, _, _)| *kind).collect();
    let (tap, handle) = ChecksumReader::new(counted, &kinds);
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

fn compare(handle: ChecksumHandle, expected: Option<(ChecksumKind, String, bool)>) -> (StoreSum, u64) {
    let passed = handle.finish();
    let (Some((kind, text, etag)), true) = (expected, passed.whole) else {
        return (StoreSum::NotCompared, passed.bytes);
    };
    let sum = match passed.checksums.first() {
        None => StoreSum::NotCompared,
        Some(sum) if sum.matches(&text) => StoreSum::Equal { etag },
        Some(sum) => {
            let hex = text.len() == sum.hex().len();
            let found = if hex { sum.hex() } else { sum.base64() };
            StoreSum::Differs { kind, expected: text, found, etag }
        }
    };
    (sum, passed.bytes)
}

/// The one checksum to compare: the cheapest that covers the whole object. `true` marks an ETag.
fn expected(checksums: &[(String, String)]) -> Option<(ChecksumKind, String, bool)> {
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
    let found = kinds.into_iter().find_map(|(name, kind)| Some((kind, named(name)?.clone(), false)));
    found.or_else(|| {
        let etag = named("etag")?.trim_matches('"');
        // Uploads in parts have a dash, and keys of a key service make ETags that are no MD5.
        let is_md5 = etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let by_key = named("encryption").is_some_and(|kind| !kind.eq_ignore_ascii_case("AES256"));
        (is_md5 && !by_key).then(|| (ChecksumKind::Md5, etag.to_owned(), true))
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

    fn pick(sums: &[(&str, &str)]) -> Option<(ChecksumKind, bool)> {
        let sums: Vec<(String, String)> = sums.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        expected(&sums).map(|(kind, _, etag)| (kind, etag))
    }

    #[test]
    fn the_cheapest_checksum_of_the_whole_object_is_compared() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(pick(&[("etag", md5), ("md5", "x"), ("crc32c", "x")]), Some((ChecksumKind::Crc32c, false)));
        assert_eq!(pick(&[("crc32c-composite", "x"), ("etag", md5)]), Some((ChecksumKind::Md5, true)));
        assert_eq!(pick(&[("etag", "d41d8cd98f00b204e9800998ecf8427e-3")]), None);
        assert_eq!(pick(&[("etag", md5), ("encryption", "aws:kms")]), None);
        assert_eq!(pick(&[("etag", md5), ("encryption", "AES256")]), Some((ChecksumKind::Md5, true)));
        assert_eq!(pick(&[("etag", "CJ+abc")]), None);
    }
}
