//! OpenPGP messages as wal-g (`WALG_PGP_KEY`) and WAL-E (`gpg -e -z 0`) write them.
//!
//! The message is read as a stream, so plain bytes flow before its integrity code is seen. That is
//! what an auditor wants: the code is checked at the end, and `Ok(0)` comes only after it was right.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pgp::composed::{
    DecryptionOptions, Deserializable, Edata, Esk, LiteralDataReader, Message, MessageReader, SignedPublicKey,
    SignedSecretKey, TheRing,
};
use pgp::types::{KeyDetails, Password, Seipdv1ReadMode};

use super::KeyError;
use crate::codec::error::{CodecError, CodecErrorKind};
use crate::codec::source::Source;

/// Most bytes of packets before the encrypted data: dozens of recipients fit. More is not a backup.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Compressed packets inside each other; writers make one.
const LAYERS_MAX: u32 = 4;

/// Reads and unlocks every private key of a key file.
pub(super) fn read_keys(text: &[u8], passphrase: Option<&str>) -> Result<Vec<SignedSecretKey>, KeyError> {
    let text = unescape_newlines(text);
    let parsed: Result<Vec<SignedSecretKey>, pgp::errors::Error> =
        SignedSecretKey::from_reader_many(&text[..]).and_then(|(keys, _)| keys.collect());
    let keys = match parsed {
        Ok(keys) if !keys.is_empty() => keys,
        _ if is_public(&text) => return Err(KeyError::PublicOnly),
        Ok(_) => return Err(KeyError::NoPgpKey("there is no key in it".to_string())),
        Err(error) => return Err(KeyError::NoPgpKey(error.to_string())),
    };
    // Unlocked once here: deriving the key from a passphrase is slow on purpose.
    let password = passphrase.map_or_else(Password::empty, Password::from);
    let unlocked: Vec<SignedSecretKey> = keys.into_iter().filter_map(|key| unlock(key, &password)).collect();
    if unlocked.is_empty() {
        return Err(KeyError::Passphrase { given: passphrase.is_some() });
    }
    Ok(unlocked)
}

/// `WALG_PGP_KEY` may hold a backslash and an `n` where a newline belongs.
fn unescape_newlines(text: &[u8]) -> Vec<u8> {
    if !text.trim_ascii_start().starts_with(b"-----BEGIN") {
        return text.to_vec();
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\n") {
            plain.push(b'\n');
            rest = tail;
        } else {
            plain.push(byte);
            rest = tail;
        }
    }
    plain
}

fn is_public(text: &[u8]) -> bool {
    SignedPublicKey::from_reader_many(text).is_ok_and(|(mut keys, _)| keys.any(|key| key.is_ok()))
}

/// The key with every part open that the passphrase opens; `None` if it opens none.
/// (The primary key alone may be a stub on a smart card, while the subkey that decrypts is there.)
fn unlock(mut key: SignedSecretKey, password: &Password) -> Option<SignedSecretKey> {
    let mut open = key.primary_key.remove_password(password).is_ok();
    for subkey in &mut key.secret_subkeys {
        open |= subkey.key.remove_password(password).is_ok();
    }
    open.then_some(key)
}

/// A message whose session key was found.
pub(crate) struct OpenPgp<'a> {
    literal: LiteralDataReader<MessageReader<'a>>,
    feed: Arc<FeedState>,
    failed: Option<CodecError>,
    ended: bool,
}

/// Opens a message. The flag says whether it carries an integrity code (very old ones do not).
pub(crate) fn open<'a>(source: Source<'a>, keys: &[SignedSecretKey]) -> Result<(OpenPgp<'a>, bool), CodecError> {
    let feed = Arc::new(FeedState::default());
    let message = Message::from_bytes(Feed { source, state: feed.clone() });
    let message = message.map_err(|error| feed.judge(&error, "the message does not parse"))?;
    let Message::Encrypted { esk, edata, .. } = &message else {
        return Err(feed.fail(CodecErrorKind::Unsupported, "the message is not encrypted"));
    };
    let protected = !matches!(edata, Edata::SymEncryptedData { .. });
    check_recipients(esk, keys, &feed)?;

    let ring = TheRing {
        secret_keys: keys.iter().collect(),
        decrypt_options: DecryptionOptions::new()
            .enable_legacy()
            .enable_gnupg_aead()
            .set_seipdv1_read_mode(Seipdv1ReadMode::Streaming),
        ..TheRing::default()
    };
    let decrypted = message.decrypt_the_ring(ring, true);
    let (mut message, _) = decrypted.map_err(|error| match error {
        pgp::errors::Error::MissingKey => {
            feed.fail(CodecErrorKind::Corrupt, "the session key does not decrypt with the recipient's key")
        }
        error => feed.judge(&error, "the encrypted data do not begin as a message"),
    })?;
    for _ in 0..LAYERS_MAX {
        message = match message {
            Message::Literal { reader, .. } => {
                feed.header_over.store(true, Ordering::Relaxed);
                return Ok((OpenPgp { literal: reader, feed, failed: None, ended: false }, protected));
            }
            Message::Compressed { .. } => message
                .decompress()
                .map_err(|error| feed.judge(&error, "the compressed packet does not begin as a message"))?,
            _ => return Err(feed.fail(CodecErrorKind::Unsupported, "signed or nested messages are not read")),
        };
    }
    Err(feed.fail(CodecErrorKind::Unsupported, "too many compressed packets inside each other"))
}

/// Tells "no key for this" from "damaged": a recipient that is one of ours but for a bit or two is damage.
fn check_recipients(esk: &[Esk], keys: &[SignedSecretKey], feed: &FeedState) -> Result<(), CodecError> {
    let recipients: Vec<_> = esk
        .iter()
        .filter_map(|esk| match esk {
            Esk::PublicKeyEncryptedSessionKey(recipient) => Some(recipient),
            Esk::SymKeyEncryptedSessionKey(_) => None,
        })
        .collect();
    let fits = recipients.iter().any(|recipient| {
        keys.iter().any(|key| {
            recipient.match_identity(key.primary_key.public_key())
                || key.secret_subkeys.iter().any(|subkey| recipient.match_identity(subkey.public_key()))
        })
    });
    if fits {
        return Ok(());
    }
    let mut names = Vec::new();
    for id in recipients.iter().filter_map(|recipient| recipient.id().ok()) {
        let near = keys.iter().any(|key| {
            is_near(id.as_ref(), key.primary_key.legacy_key_id().as_ref())
                || key.secret_subkeys.iter().any(|subkey| is_near(id.as_ref(), subkey.legacy_key_id().as_ref()))
        });
        if near {
            let message = format!("the recipient {id} is a given key but for a flipped bit");
            return Err(feed.fail(CodecErrorKind::Corrupt, message));
        }
        names.push(id.to_string());
    }
    let message = match names.len() {
        0 if recipients.is_empty() => "encrypted with a passphrase only".to_string(),
        0 => "encrypted to a recipient whose key was not given".to_string(),
        _ => format!("encrypted to {}, whose key was not given", names.join(", ")),
    };
    Err(feed.fail(CodecErrorKind::KeyMissing, message))
}

fn is_near(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() <= 2
}

impl OpenPgp<'_> {
    fn step(&mut self, out: &mut [u8]) -> Result<usize, CodecError> {
        let read = self.literal.read(out).map_err(|error| self.feed.judge(&error, "the message is damaged"))?;
        if read > 0 {
            return Ok(read);
        }
        let rest = rest_is_empty(self.literal.get_mut().get_mut());
        match rest.map_err(|error| self.feed.judge(&error, "the end of the message is damaged"))? {
            true => Ok(0),
            false => Err(self.feed.fail(CodecErrorKind::TrailingBytes, "bytes follow the message")),
        }
    }
}

impl Read for OpenPgp<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        match self.step(out) {
            Ok(read) => {
                self.ended = read == 0;
                Ok(read)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error.into())
            }
        }
    }
}

/// Whether nothing follows the literal data in any layer. Reading the encrypted layer to its end is
/// what checks the integrity code.
fn rest_is_empty(mut layer: &mut MessageReader<'_>) -> io::Result<bool> {
    loop {
        layer = match layer {
            MessageReader::Compressed(inner) => {
                if !inner.fill_buf()?.is_empty() || !inner.get_mut().fill_buf()?.is_empty() {
                    return Ok(false);
                }
                inner.get_mut().get_mut()
            }
            MessageReader::Edata(inner) => {
                if !inner.fill_buf()?.is_empty() {
                    return Ok(false);
                }
                inner.get_mut().get_mut()
            }
            MessageReader::Reader(reader) => return Ok(reader.fill_buf()?.is_empty()),
        }
    }
}

/// The encrypted bytes on their way into the library, which wants its own kind of reader.
struct Feed<'a> {
    source: Source<'a>,
    state: Arc<FeedState>,
}

/// What is remembered outside, because errors lose their type inside the library.
#[derive(Default)]
struct FeedState {
    taken: AtomicU64,
    ended: AtomicBool,
    header_over: AtomicBool,
    error: Mutex<Option<CodecError>>,
}

impl FeedState {
    fn fail(&self, kind: CodecErrorKind, message: impl fmt::Display) -> CodecError {
        CodecError::new(kind, self.taken.load(Ordering::Relaxed), format!("openpgp: {message}"))
    }

    /// What an error of the library means: first what went wrong below it, then its integrity code,
    /// then whether it ran out of bytes.
    fn judge(&self, error: &(dyn std::error::Error + 'static), what: &str) -> CodecError {
        if let Ok(below) = self.error.lock()
            && let Some(below) = &*below
        {
            return below.clone();
        }
        let text = error.to_string();
        if text.contains("Modification Detection Code") {
            return self.fail(CodecErrorKind::Corrupt, "the integrity code is wrong");
        }
        let kind = if self.ended.load(Ordering::Relaxed) { CodecErrorKind::Truncated } else { CodecErrorKind::Corrupt };
        self.fail(kind, format_args!("{what}: {text}"))
    }

    fn keep(&self, error: CodecError) -> io::Error {
        if let Ok(mut place) = self.error.lock() {
            *place = Some(error.clone());
        }
        error.into()
    }
}

impl BufRead for Feed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let header_over = self.state.header_over.load(Ordering::Relaxed);
        if !header_over && self.state.taken.load(Ordering::Relaxed) > HEADER_BYTES_MAX {
            let error = self.state.fail(CodecErrorKind::Corrupt, "the packets before the data are too large");
            return Err(self.state.keep(error));
        }
        match self.source.fill() {
            Ok(bytes) => {
                if bytes.is_empty() {
                    self.state.ended.store(true, Ordering::Relaxed);
                }
                // Small pieces keep the count of the header honest.
                Ok(if header_over { bytes } else { &bytes[..bytes.len().min(4096)] })
            }
            Err(error) => Err(self.state.keep(error)),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.source.consume(bytes);
        self.state.taken.store(self.source.position(), Ordering::Relaxed);
    }
}

impl Read for Feed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feed")
    }
}
