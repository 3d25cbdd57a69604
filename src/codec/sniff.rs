//! What the first bytes of an object say. Nothing in a key shows encryption, so this is the only sign.

use super::error::KmsKind;
use super::{bzip2, gzip, lz4, lzma, snappy, zstd};
use crate::model::CodecKind;

/// First bytes of an lzop file.
pub(crate) const LZOP_MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A, 0x1A, 0x0A];

/// Bytes that [`sniff`] looks at; fewer are fine.
pub const SNIFF_BYTES: usize = 1024;

/// What an object seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sniffed {
    /// Begins as its codec demands, or (uncompressed) as a tar, a WAL segment or text does.
    Plain,
    /// A binary OpenPGP message.
    OpenPgp,
    /// OpenSSL's salted format, in which pgBackRest encrypts its repositories.
    OpenSsl,
    /// One of wal-g's KMS envelopes. For AWS there is no magic: the shape of the ciphertext fits.
    Kms(KmsKind),
    /// Looks like noise from the first byte: libsodium streams do, having no magic of their own.
    LooksEncrypted,
    /// None of these: a damaged beginning, or a codec without magic (brotli).
    Unknown,
}

/// Judges an object by its first bytes and the codec of its extension.
pub fn sniff(first_bytes: &[u8], codec: CodecKind) -> Sniffed {
    if first_bytes.is_empty() || is_plain(first_bytes, codec) {
        return Sniffed::Plain;
    }
    if let Some(kind) = kms(first_bytes) {
        return Sniffed::Kms(kind);
    }
    if first_bytes.starts_with(b"Salted__") {
        return Sniffed::OpenSsl;
    }
    if is_open_pgp(first_bytes) {
        return Sniffed::OpenPgp;
    }
    // Brotli is noise too, and has no magic: only decoding it can tell.
    if codec != CodecKind::Brotli && looks_random(first_bytes) && !is_nearly_plain(first_bytes, codec) {
        return Sniffed::LooksEncrypted;
    }
    Sniffed::Unknown
}

/// Whether the codec's own mark is there.
fn is_plain(bytes: &[u8], codec: CodecKind) -> bool {
    match codec {
        CodecKind::None => is_plain_content(bytes),
        CodecKind::Brotli => false,
        CodecKind::Lzma => is_lzma_header(bytes),
        CodecKind::Lz4 | CodecKind::Zstd if bytes.first_chunk().is_some_and(|magic| lz4::is_skippable(*magic)) => true,
        _ => bytes.starts_with(magic(codec)),
    }
}

fn magic(codec: CodecKind) -> &'static [u8] {
    match codec {
        CodecKind::Lz4 => &lz4::MAGIC,
        CodecKind::Zstd => &zstd::MAGIC,
        CodecKind::Gzip => &gzip::MAGIC,
        CodecKind::Lzop => &LZOP_MAGIC,
        CodecKind::Xz => &lzma::XZ_MAGIC,
        CodecKind::Bzip2 => &bzip2::MAGIC,
        CodecKind::Snappy => &snappy::MAGIC,
        // Properties and the low half of the dictionary size, which is a round number.
        CodecKind::Lzma => &[0x5D, 0, 0],
        CodecKind::None | CodecKind::Brotli => &[],
    }
}

/// Whether a few flipped bits explain why the mark is not there: then it is damage, not encryption.
pub(crate) fn is_nearly_plain(bytes: &[u8], codec: CodecKind) -> bool {
    let magic = magic(codec);
    if magic.len() < 3 || bytes.len() < magic.len() {
        // What is shorter than its own mark was cut, whatever it is.
        return !magic.is_empty() && magic.starts_with(bytes);
    }
    let flipped: u32 = magic.iter().zip(bytes).map(|(one, other)| (one ^ other).count_ones()).sum();
    // Noise differs in half of its bits: 4 of 32 or fewer happen once in 10^5.
    flipped as usize <= magic.len()
}

/// "lzma alone" has no magic, but its header is narrow: valid properties, a dictionary size of the form
/// 2^n or 2^n + 2^(n-1), and a size that is unknown or below 256 GiB.
fn is_lzma_header(bytes: &[u8]) -> bool {
    let Some((&[properties, d0, d1, d2, d3, size @ ..], _)) = bytes.split_first_chunk::<13>() else { return false };
    let dictionary = u32::from_le_bytes([d0, d1, d2, d3]);
    let round = match dictionary {
        0 => false,
        u32::MAX => true,
        _ => (dictionary >> dictionary.trailing_zeros()) <= 3,
    };
    let size = u64::from_le_bytes(size);
    properties < 9 * 5 * 5 && round && (size == u64::MAX || size < 1 << 38)
}

/// Whether uncompressed bytes begin as something an archive holds: WAL, tar, or text.
pub(crate) fn is_plain_content(bytes: &[u8]) -> bool {
    is_wal(bytes) || crate::codec::tarball::is_header(bytes) || is_text(bytes)
}

/// The first page of a segment: a page magic of any major, only known flags, the long header's among them.
fn is_wal(bytes: &[u8]) -> bool {
    let Some(&[_, magic_high, flags, flags_high]) = bytes.first_chunk() else { return false };
    matches!(magic_high, 0xD0 | 0xD1) && flags & 0x02 != 0 && flags < 0x10 && flags_high == 0
}

/// UTF-8 without control characters; cut at the end of what was looked at.
fn is_text(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(SNIFF_BYTES)];
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !valid.is_empty() && valid.chars().all(|char| matches!(char, '\t' | '\n' | '\r') || !char.is_control())
}

fn kms(bytes: &[u8]) -> Option<KmsKind> {
    if bytes.starts_with(b"envelope-yc-kms") {
        return Some(KmsKind::EnvelopePgp);
    }
    if bytes.starts_with(b"yckms") {
        return Some(KmsKind::Yandex);
    }
    // AWS: a ciphertext blob (they begin 01 02 0x 00) of 184 bytes, then the header of a DARE 2.0 package.
    let blob = matches!(bytes, [1, 2, 0..=9, 0, ..]);
    let package = matches!(bytes.get(184..188), Some([0x20, 0 | 1, _, _]));
    (blob && package).then_some(KmsKind::Aws)
}

/// The beginning of an encrypted OpenPGP message: a packet that names a recipient or a passphrase.
/// Narrow on purpose, so that noise does not pass: lengths, versions and algorithms have to make sense.
pub(crate) fn is_open_pgp(bytes: &[u8]) -> bool {
    let Some((tag, length, body)) = packet_start(bytes) else { return false };
    match (tag, body) {
        // Public key encrypted session key, version 3: eight bytes of key id, an algorithm.
        (1, [3, rest @ ..]) => (12..=1100).contains(&length) && matches!(rest.get(8), Some(1 | 2 | 16 | 18 | 25 | 26)),
        // Version 6: length of what follows, version of the key, its fingerprint.
        (1, [6, 21, 4, ..] | [6, 33, 6, ..]) => (12..=1100).contains(&length),
        // Symmetric key encrypted session key: cipher, kind of derivation, hash.
        (3, [4, 1..=13, 0 | 1 | 3 | 4, 1..=14, ..]) => (4..=80).contains(&length),
        // Marker.
        (10, [b'P', b'G', b'P', ..]) => length == 3,
        _ => false,
    }
}

/// Tag, length and body of the first packet, old or new format, if its length is given at the start.
fn packet_start(bytes: &[u8]) -> Option<(u8, u32, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    if head & 0xC0 == 0xC0 {
        let (length, skip) = match rest {
            [one @ 0..=191, ..] => (u32::from(*one), 1),
            [one @ 192..=223, two, ..] => ((u32::from(*one) - 192) * 256 + u32::from(*two) + 192, 2),
            [255, four @ ..] => (number(four.get(..4)?), 5),
            _ => return None,
        };
        return Some((head & 0x3F, length, rest.get(skip..)?));
    }
    if head & 0x80 != 0 {
        let skip = *[1, 2, 4].get(usize::from(head & 3))?;
        return Some((head >> 2 & 0x0F, number(rest.get(..skip)?), rest.get(skip..)?));
    }
    None
}

/// Whether one flipped bit near the beginning hides an OpenPGP message.
pub(crate) fn is_nearly_open_pgp(bytes: &[u8]) -> bool {
    let mut head = [0; 16];
    let length = bytes.len().min(head.len());
    head[..length].copy_from_slice(&bytes[..length]);
    (0..length * 8).any(|bit| {
        let mut flipped = head;
        flipped[bit / 8] ^= 1 << (bit % 8);
        is_open_pgp(&flipped[..length])
    })
}

/// Whether bytes could come from a cipher: as many ones as zeros, as many distinct values as chance gives.
/// Compressed data pass too, so this is asked only where the codec's own mark is missing.
pub(crate) fn looks_random(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(SNIFF_BYTES)];
    if bytes.len() < 32 {
        return false;
    }
    let length = bytes.len() as f64;
    let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    // Five standard deviations of a fair coin thrown 8 n times.
    let fair = (f64::from(ones) - 4.0 * length).abs() < 5.0 * (2.0 * length).sqrt();
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let pairs: f64 = counts.iter().map(|count| f64::from(*count) * (f64::from(*count) - 1.0) / 2.0).sum();
    let expected = length * (length - 1.0) / 512.0;
    // Equal pairs are Poisson distributed; text, zeros and headers have many times as many.
    fair && pairs < expected + 6.0 * expected.sqrt() + 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_content_is_known_without_a_mark() {
        let wal = |magic: u16, flags: u16| [&magic.to_le_bytes()[..], &flags.to_le_bytes(), &[0; 40]].concat();
        assert_eq!(sniff(&wal(0xD110, 2), CodecKind::None), Sniffed::Plain);
        assert_eq!(sniff(&wal(0xD093, 7), CodecKind::None), Sniffed::Plain);
        for other in [wal(0xD110, 0), wal(0xD110, 0x12), wal(0xC110, 2)] {
            assert_eq!(sniff(&other, CodecKind::None), Sniffed::Unknown);
        }
        for text in ["1\t0/9016440\treason\n\n", "{\"a\": \"\u{e9}\"}"] {
            assert_eq!(sniff(text.as_bytes(), CodecKind::None), Sniffed::Plain, "{text}");
        }
        // A character cut at the end of what was looked at is still text.
        let long = [&[b'a'; SNIFF_BYTES - 1][..], "\u{e9}".as_bytes()].concat();
        assert_eq!(sniff(&long, CodecKind::None), Sniffed::Plain);
        assert_eq!(sniff(b"", CodecKind::Zstd), Sniffed::Plain);
    }

    #[test]
    fn marks_of_encryptions() {
        assert_eq!(sniff(b"Salted__12345678", CodecKind::Gzip), Sniffed::OpenSsl);
        assert_eq!(sniff(b"yckms\x01\0\0", CodecKind::Lz4), Sniffed::Kms(KmsKind::Yandex));
        let recipient = |head: &[u8]| [head, b"\x03recipien\x01", &[0; 30]].concat();
        for head in [&[0xC1, 40][..], &[0xC1, 192, 8], &[0xC1, 255, 0, 0, 0, 40], &[0x84, 40], &[0x85, 1, 12]] {
            assert!(is_open_pgp(&recipient(head)), "{head:x?}");
        }
        for head in [&[0xC1, 5][..], &[0xC1, 230], &[0x85, 100, 12], &[0x87], &[0x04, 40], &[0xC2, 40]] {
            assert!(!is_open_pgp(&recipient(head)), "{head:x?}");
        }
    }

    #[test]
    fn only_noise_looks_random() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(SNIFF_BYTES)
        .collect();
        for length in [32, 61, 100, 500, SNIFF_BYTES] {
            assert!(looks_random(&noise[..length]), "{length}");
            assert!(!looks_random(&vec![0xA5; length]), "{length}");
            let digits: Vec<u8> = noise[..length].iter().map(|byte| b'0' + byte % 10).collect();
            assert!(!looks_random(&digits), "{length}");
        }
        assert!(!looks_random(&noise[..31]));
    }
}
