use std::fmt;
use std::io::Read;

use super::crypto::KeyRing;
use super::error::{CodecError, CodecErrorKind, KmsKind};
use super::frames::Frame;
#[cfg(not(all(feature = "libsodium", feature = "openpgp")))]
use super::not_built_in;
use super::sniff::{self, Sniffed, sniff};
use super::source::Source;
use super::{Limits, brotli, decoder_on};
use crate::model::CodecKind;

/// Bytes looked at before a decision: the header and first chunk of a libsodium stream, and some more.
const PEEK_BYTES: usize = 16 * 1024;

/// How an object turned out to be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncryptionSeen {
    /// Not at all.
    None,
    /// libsodium secretstream; every chunk is authenticated.
    Libsodium,
    /// OpenPGP.
    OpenPgp {
        /// Whether the message carries an integrity code. Messages of very old writers do not.
        protected: bool,
    },
}

impl fmt::Display for EncryptionSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EncryptionSeen::None => "none",
            EncryptionSeen::Libsodium => "libsodium",
            EncryptionSeen::OpenPgp { protected: true } => "OpenPGP",
            EncryptionSeen::OpenPgp { protected: false } => "OpenPGP without integrity code",
        })
    }
}

/// An object ready to be read in the plain.
pub struct Opened<'a> {
    /// Gives the plain bytes.
    pub reader: Box<dyn Read + Send + 'a>,
    /// What had to be taken off.
    pub encryption: EncryptionSeen,
}

/// Opens one object: looks at its first bytes, decrypts it if it is encrypted, decodes it.
///
/// Nothing in a key shows encryption, so the bytes decide:
///
/// 1. The codec's own mark at the start: plain, even if keys were given. (An archive may have been
///    started without encryption, and noise imitates no mark.) Uncompressed and brotli objects have
///    none, so with a libsodium key that key is tried first: if it authenticates the first chunk, that is proof.
/// 2. A libsodium key that authenticates the first chunk: a libsodium stream.
/// 3. KMS envelopes and OpenPGP messages by their own marks.
/// 4. Content that looks plain without a mark: WAL, tar or text; brotli that decodes to something.
/// 5. A mark with a few flipped bits: plain and damaged, the decoder will say so.
/// 6. Noise: [`CodecErrorKind::WrongKey`] if a libsodium key was given, else [`CodecErrorKind::LooksEncrypted`].
///    Both are guesses: the object may have been overwritten instead.
/// 7. Anything else is handed to the decoder, which will refuse it.
///
/// # Errors
/// [`CodecErrorKind::KeyMissing`], [`CodecErrorKind::Kms`] and those above when it is encrypted and
/// cannot be opened; [`CodecErrorKind::Unsupported`] when the build lacks what it takes; errors of the
/// reader below ([`CodecError::is_source`]), since the first bytes are read here. An empty object is
/// [`CodecErrorKind::Empty`] when it is read, but for uncompressed ones.
pub fn open<'a>(
    kind: CodecKind,
    keys: &KeyRing,
    input: Box<dyn Read + Send + 'a>,
    limits: &Limits,
) -> Result<Opened<'a>, CodecError> {
    let mut source = Source::new(input);
    let way = decide(kind, keys, source.peek(PEEK_BYTES)?)?;
    let (source, encryption) = match way {
        Way::Plain => (source, EncryptionSeen::None),
        #[cfg(feature = "libsodium")]
        Way::Libsodium => (libsodium(source, keys)?, EncryptionSeen::Libsodium),
        Way::OpenPgp => open_pgp(source, keys)?,
    };
    Ok(Opened { reader: decoder_on(kind, source, limits)?, encryption })
}

enum Way {
    Plain,
    #[cfg(feature = "libsodium")]
    Libsodium,
    OpenPgp,
}

fn decide(kind: CodecKind, keys: &KeyRing, head: &[u8]) -> Result<Way, CodecError> {
    let sniffed = sniff(head, kind);
    let has_mark = !matches!(kind, CodecKind::None | CodecKind::Brotli);
    if head.is_empty() || (sniffed == Sniffed::Plain && (has_mark || keys.libsodium.is_none())) {
        return Ok(Way::Plain);
    }
    #[cfg(feature = "libsodium")]
    if libsodium_opens(keys, head) {
        return Ok(Way::Libsodium);
    }
    let fail = |kind, message: String| Err(CodecError::new(kind, 0, message));
    match sniffed {
        Sniffed::Plain => return Ok(Way::Plain),
        Sniffed::Kms(kms) => return fail(CodecErrorKind::Kms(kms), kms_message(kms)),
        Sniffed::OpenSsl => {
            let message = "encrypted in OpenSSL's salted format, which is not opened here";
            return fail(CodecErrorKind::KeyMissing, message.into());
        }
        Sniffed::OpenPgp if keys.has_pgp() => return Ok(Way::OpenPgp),
        Sniffed::OpenPgp => {
            let message = "an OpenPGP message, and no OpenPGP key was given";
            return fail(CodecErrorKind::KeyMissing, message.into());
        }
        Sniffed::LooksEncrypted | Sniffed::Unknown => {}
    }
    if kind == CodecKind::Brotli && is_plausible_brotli(head) {
        return Ok(Way::Plain);
    }
    if !sniff::looks_random(head) || sniff::is_nearly_plain(head, kind) {
        return Ok(Way::Plain);
    }
    if sniff::is_nearly_open_pgp(head) {
        let message = "openpgp: the header of the first packet is damaged";
        return fail(CodecErrorKind::Corrupt, message.into());
    }
    Err(refuse_noise(kind, keys))
}

/// What to say of an object that looks encrypted and that nothing at hand opens.
fn refuse_noise(kind: CodecKind, keys: &KeyRing) -> CodecError {
    if keys.libsodium.is_none() {
        let message = format!("not {kind}: encrypted with a key that was not given, or overwritten with noise");
        return CodecError::new(CodecErrorKind::LooksEncrypted, 0, message);
    }
    #[cfg(not(feature = "libsodium"))]
    return not_built_in("libsodium encryption", "libsodium");
    #[cfg(feature = "libsodium")]
    {
        let message =
            format!("not {kind}, and the libsodium key does not open it: another key, or damaged at the start");
        CodecError::new(CodecErrorKind::WrongKey, 0, message)
    }
}

fn kms_message(kms: KmsKind) -> String {
    format!("encrypted under {kms}: the data key can only be unwrapped by that service")
}

/// Whether the beginning decodes to something that is not noise. Needed because noise often passes for
/// a brotli stream: one stored block swallows anything.
fn is_plausible_brotli(head: &[u8]) -> bool {
    let mut brotli = brotli::Brotli::new();
    let mut plain = vec![0; 4096];
    let (mut used, mut made) = (0, 0);
    while made < plain.len() {
        // In small steps: an error later in the stream is damage, and the decoder will name it.
        let next = head.len().min(used + 512);
        let Ok(step) = brotli.step(&head[used..next], &mut plain[made..]) else { break };
        used += step.used;
        made += step.made;
        if step.ended || (step.used == 0 && step.made == 0) {
            return made > 0 && is_plausible_content(&plain[..made]);
        }
    }
    made >= 64 && is_plausible_content(&plain[..made])
}

fn is_plausible_content(plain: &[u8]) -> bool {
    sniff::is_plain_content(plain) || !sniff::looks_random(plain)
}

#[cfg(feature = "libsodium")]
fn libsodium_opens(keys: &KeyRing, head: &[u8]) -> bool {
    use super::crypto::secretstream::{FIRST_BYTES, opens};
    const { assert!(FIRST_BYTES <= PEEK_BYTES) };
    keys.libsodium.is_some_and(|key| opens(&key, head))
}

#[cfg(feature = "libsodium")]
fn libsodium<'a>(source: Source<'a>, keys: &KeyRing) -> Result<Source<'a>, CodecError> {
    use super::crypto::secretstream::SecretStream;
    use super::source::Decoding;
    let Some(key) = keys.libsodium else {
        return Err(CodecError::new(CodecErrorKind::KeyMissing, 0, "libsodium: no key was given"));
    };
    Ok(Source::new(Box::new(Decoding::new(source, SecretStream::new(key), u64::MAX))))
}

#[cfg(feature = "openpgp")]
fn open_pgp<'a>(source: Source<'a>, keys: &KeyRing) -> Result<(Source<'a>, EncryptionSeen), CodecError> {
    let (message, protected) = super::crypto::openpgp::open(source, &keys.pgp)?;
    Ok((Source::new(Box::new(message)), EncryptionSeen::OpenPgp { protected }))
}

#[cfg(not(feature = "openpgp"))]
fn open_pgp<'a>(_source: Source<'a>, _keys: &KeyRing) -> Result<(Source<'a>, EncryptionSeen), CodecError> {
    Err(not_built_in("OpenPGP encryption", "openpgp"))
}
