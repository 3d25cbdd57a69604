//! Decompression and decryption of archived objects: bytes in, bytes out, bounded.
//!
//! Every format is a [`Read`] adapter with the same promises:
//!
//! - **Whole or error.** `Ok(0)` means that the stream was complete: its end mark, checksums and final
//!   tags were there and right, and nothing followed. Usual tools are laxer: several of them accept an
//!   empty object, a missing checksum or trailing bytes.
//! - **Bounded.** Memory depends on the format and [`Limits`], never on the object; no header can ask for more.
//! - **Typed.** What is wrong travels inside [`io::Error`](std::io::Error) as [`CodecError`];
//!   [`codec_error`] finds it. An error of the reader below is marked as such, see [`is_source_error`].
//!   After an error every further read repeats it.
//!
//! Formats differ in what they can notice: raw brotli, "lzma alone" and uncompressed objects carry no
//! checksum, and a snappy stream cut between two chunks cannot be told from a whole one. Callers
//! therefore check the decoded length as well.

mod brotli;
mod bzip2;
pub mod checksum;
pub mod crypto;
pub mod dump;
mod error;
mod frames;
mod gzip;
mod lz4;
mod lzma;
#[cfg(feature = "lzo")]
mod lzop;
mod open;
mod plain;
mod snappy;
mod sniff;
mod source;
pub mod tarball;
mod zstd;

use std::io::Read;

pub use error::{CodecError, CodecErrorKind, KmsKind, codec_error, is_source_error, source_error};
pub use open::{EncryptionSeen, Opened, open};
pub use sniff::{SNIFF_BYTES, Sniffed, sniff};

use crate::model::CodecKind;
use frames::Frames;
use source::{Decode, Decoding, Source};

/// How much a stream may give and ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Decoded bytes; one more is [`CodecErrorKind::TooLarge`].
    pub decoded_max: u64,
    /// Bytes of history that zstd, xz and lzma streams may ask to keep. (Brotli's window is at most
    /// 16 MiB, the other formats have fixed block sizes.)
    pub window_max: u64,
}

impl Default for Limits {
    /// Any length, windows up to 128 MiB: what the usual tools read without being asked for more.
    fn default() -> Self {
        Limits { decoded_max: u64::MAX, window_max: 128 << 20 }
    }
}

impl Limits {
    /// Default windows, and at most this many decoded bytes.
    pub fn decoded(bytes_max: u64) -> Self {
        Limits { decoded_max: bytes_max, ..Limits::default() }
    }
}

/// Decodes one object as its extension says, without looking for encryption (see [`open`] for that).
///
/// Concatenated lz4, zstd, xz, bzip2 and lzop streams and gzip members are one object, as for the usual tools.
///
/// # Errors
/// [`CodecErrorKind::Unsupported`] for a codec that is not built in. Everything else shows when reading.
pub fn decoder<'a>(
    kind: CodecKind,
    input: Box<dyn Read + Send + 'a>,
    limits: &Limits,
) -> Result<Box<dyn Read + Send + 'a>, CodecError> {
    decoder_on(kind, Source::new(input), limits)
}

fn decoder_on<'a>(
    kind: CodecKind,
    source: Source<'a>,
    limits: &Limits,
) -> Result<Box<dyn Read + Send + 'a>, CodecError> {
    Ok(match kind {
        CodecKind::None => boxed(source, plain::Plain, limits),
        CodecKind::Lz4 => boxed(source, lz4::Lz4::new(), limits),
        CodecKind::Zstd => boxed(source, Frames::new(zstd::Zstd::new(limits)), limits),
        CodecKind::Lzma => boxed(source, Frames::new(lzma::LzmaAlone::new(limits)), limits),
        CodecKind::Xz => boxed(source, Frames::new(lzma::Xz::new(limits)), limits),
        CodecKind::Brotli => boxed(source, Frames::new(brotli::Brotli::new()), limits),
        CodecKind::Gzip => boxed(source, Frames::new(gzip::Gzip::new()), limits),
        CodecKind::Bzip2 => boxed(source, Frames::new(bzip2::Bzip2::new()), limits),
        CodecKind::Snappy => boxed(source, snappy::Snappy::new(), limits),
        #[cfg(feature = "lzo")]
        CodecKind::Lzop => boxed(source, lzop::Lzop::new(), limits),
        #[cfg(not(feature = "lzo"))]
        CodecKind::Lzop => return Err(not_built_in("lzop", "lzo")),
    })
}

fn boxed<'a, D: Decode + 'a>(source: Source<'a>, codec: D, limits: &Limits) -> Box<dyn Read + Send + 'a> {
    Box::new(Decoding::new(source, codec, limits.decoded_max))
}

#[cfg(not(all(feature = "lzo", feature = "libsodium", feature = "openpgp")))]
fn not_built_in(what: &str, feature: &str) -> CodecError {
    let message = format!("{what}: this build cannot read it, it lacks the feature `{feature}`");
    CodecError::new(CodecErrorKind::Unsupported, 0, message)
}

/// Decodes arbitrary bytes under small limits. Must neither panic nor allocate much.
#[doc(hidden)]
pub fn fuzz_one(kind: CodecKind, bytes: &[u8]) {
    let limits = Limits { decoded_max: 8 << 20, window_max: 8 << 20 };
    let Ok(mut reader) = decoder(kind, Box::new(bytes), &limits) else { return };
    let mut total = 0_u64;
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        total += read as u64;
    }
    assert!(total <= limits.decoded_max);
}

/// Opens arbitrary bytes as objects are opened, decrypting them with the ring's keys. The first byte chooses the codec.
#[doc(hidden)]
pub fn fuzz_open(keys: &crypto::KeyRing, bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let kinds = CodecKind::ALL;
    let kind = kinds.get(usize::from(*choice) % (kinds.len() + 1)).map_or(CodecKind::None, |(kind, _)| *kind);
    let limits = Limits { decoded_max: 8 << 20, window_max: 8 << 20 };
    let Ok(mut opened) = open(kind, keys, Box::new(bytes), &limits) else { return };
    let mut buffer = [0; 16 * 1024];
    while let Ok(1..) = opened.reader.read(&mut buffer) {}
}

#[cfg(test)]
mod tests;
