use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What is wrong with the bytes of an object, or why they could not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecErrorKind {
    /// The input ends before its own end mark, checksum or last block.
    Truncated,
    /// A header, checksum, length or symbol is wrong.
    Corrupt,
    /// The stream is whole, but something follows it.
    TrailingBytes,
    /// There is not one byte (or not one frame) to decode.
    Empty,
    /// More than this many bytes came out.
    TooLarge(u64),
    /// The stream asks for a history window (and so for memory) above the limit.
    WindowTooLarge,
    /// A legal feature of the format that is not read here, or not built in.
    Unsupported,
    /// An encrypted chunk behind a good one does not authenticate: the object was damaged.
    Decrypt,
    /// The key at hand does not open this object: it belongs to another key, or its very first
    /// encrypted chunk is damaged. A caller that saw this key open other objects may call it damage.
    WrongKey,
    /// The encrypted stream ends at a chunk boundary without its final tag: it was cut.
    NoFinalTag,
    /// Certainly encrypted, and no key for it was given.
    KeyMissing,
    /// Not the format its name promises; the bytes look encrypted, and no key was given to try.
    LooksEncrypted,
    /// Encrypted under a key that only a key management service can unwrap.
    Kms(KmsKind),
    /// The reader below (store, network, disk) failed. Says nothing about the object.
    Source,
}

/// Key management services whose envelopes wal-g writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KmsKind {
    /// `WALG_ENVELOPE_PGP_*`: an OpenPGP key wrapped by Yandex Cloud KMS.
    EnvelopePgp,
    /// `YC_CSE_KMS_KEY_ID`.
    Yandex,
    /// `WALG_CSE_KMS_ID`.
    Aws,
}

impl fmt::Display for KmsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KmsKind::EnvelopePgp => "enveloped PGP",
            KmsKind::Yandex => "Yandex Cloud KMS",
            KmsKind::Aws => "AWS KMS",
        })
    }
}

/// Why an object could not be decoded. Travels inside [`io::Error`]; see [`codec_error`].
#[derive(Debug, Clone)]
pub struct CodecError {
    /// What is wrong.
    pub kind: CodecErrorKind,
    /// How many bytes of its input the failing layer had taken. Below an encryption that is the
    /// offset in the decrypted stream.
    pub at_input_byte: u64,
    /// One clause that starts with the name of the format.
    pub message: String,
    /// The failure of the reader below, for [`CodecErrorKind::Source`] only.
    pub cause: Option<Arc<io::Error>>,
}

impl CodecError {
    pub(crate) fn new(kind: CodecErrorKind, at_input_byte: u64, message: impl Into<String>) -> Self {
        CodecError { kind, at_input_byte, message: message.into(), cause: None }
    }

    /// Marks an error of the reader below; one that a lower layer of this module found stays what it is.
    pub(crate) fn from_below(error: io::Error, at_input_byte: u64) -> Self {
        if let Some(known) = find(&error) {
            return known.clone();
        }
        let message = format!("the object could not be read: {error}");
        CodecError { kind: CodecErrorKind::Source, at_input_byte, message, cause: Some(Arc::new(error)) }
    }

    /// Whether the reader below failed, and nothing is known about the object.
    pub fn is_source(&self) -> bool {
        self.kind == CodecErrorKind::Source
    }

    /// Whether this proves that the object is damaged. Neither a missing or unfitting key nor a limit,
    /// an unread feature or a failing store is proof.
    pub fn is_damage(&self) -> bool {
        use CodecErrorKind::*;
        matches!(self.kind, Truncated | Corrupt | TrailingBytes | Empty | Decrypt | NoFinalTag)
    }

    /// Like [`CodecError::is_damage`], for an archive whose key is known to be right because it opened
    /// other objects: then an object that it does not open, or that is noise, is damaged.
    pub fn is_damage_with_right_key(&self) -> bool {
        self.is_damage() || matches!(self.kind, CodecErrorKind::WrongKey | CodecErrorKind::LooksEncrypted)
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.at_input_byte)
    }
}

impl StdError for CodecError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> io::Error {
        let kind = match (&error.cause, error.kind) {
            (Some(cause), _) => cause.kind(),
            (_, CodecErrorKind::Truncated | CodecErrorKind::Empty | CodecErrorKind::NoFinalTag) => {
                io::ErrorKind::UnexpectedEof
            }
            (_, CodecErrorKind::Unsupported) => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// The defect (or obstacle) that a decoder found, if this error came from one. `None` for errors of
/// the reader below: those say nothing about the object.
pub fn codec_error(error: &io::Error) -> Option<&CodecError> {
    find(error).filter(|error| !error.is_source())
}

/// Whether the reader below a decoder failed: the store, the network, the disk.
pub fn is_source_error(error: &io::Error) -> bool {
    find(error).is_some_and(CodecError::is_source)
}

/// The original error of the reader below a decoder.
pub fn source_error(error: &io::Error) -> Option<&io::Error> {
    find(error).and_then(|error| error.cause.as_deref())
}

/// Looks through wrappers: a `CodecError` may sit inside an error of another crate inside an `io::Error`.
fn find(error: &io::Error) -> Option<&CodecError> {
    let mut inner: &(dyn StdError + 'static) = error.get_ref()?;
    // Wrappers are shallow; the bound only guards against a cycle.
    for _ in 0..16 {
        if let Some(found) = inner.downcast_ref::<CodecError>() {
            return Some(found);
        }
        inner = match inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => wrapped,
            None => inner.source()?,
        };
    }
    None
}
