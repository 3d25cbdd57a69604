use std::fmt;
use std::io;

use crate::codec::{self, CodecError, CodecErrorKind};
use crate::store::{Stopped, StoreError, StoreErrorKind};

/// Why an object could not be read to its end, by whose fault it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The store has no such object (any more).
    Gone,
    /// It is there and cannot be read as things are: an archive class, a key service that says no, a feature that is
    /// not built in. Says nothing about its bytes.
    Refused(String),
    /// It is encrypted and no key was given.
    KeyMissing(String),
    /// Not what its name promises, no key was given, and its bytes look random: encrypted, or overwritten. Which of
    /// the two, only other objects of the archive can tell.
    Noise(CodecError),
    /// A key was given and does not open it: another key's object, or damage to its very first bytes.
    WrongKey(CodecError),
    /// It is damaged.
    Damaged(CodecError),
    /// A limit was passed: more decoded bytes, or a larger window than allowed.
    TooLarge(CodecError),
    /// The store failed; nothing is known about the object.
    Store(StoreError),
    /// The run was stopped.
    Stopped,
    /// An error of the reader's own, from behind the decoder.
    Other(String),
}

/// Whose fault a [`Problem`] is: all that most readers have to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no such object (any more).
    Gone,
    /// It cannot be read as things are, which says nothing about its bytes.
    Refused,
    /// No key was given, and it needs one, as far as can be told.
    KeyMissing,
    /// The key that was given does not open it.
    WrongKey,
    /// Its bytes are not what its name promises.
    Damaged,
    /// It decodes to more than it may.
    TooLarge,
    /// The store, the network or this machine failed.
    Failed,
    /// Nobody's: the run was stopped.
    Stopped,
}

impl Problem {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Problem::Gone => Fault::Gone,
            Problem::Refused(_) => Fault::Refused,
            Problem::KeyMissing(_) | Problem::Noise(_) => Fault::KeyMissing,
            Problem::WrongKey(_) => Fault::WrongKey,
            Problem::Damaged(_) => Fault::Damaged,
            Problem::TooLarge(_) => Fault::TooLarge,
            Problem::Store(_) | Problem::Other(_) => Fault::Failed,
            Problem::Stopped => Fault::Stopped,
        }
    }

    /// Sorts the error of a store.
    pub fn of_store(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NotFound => Problem::Gone,
            StoreErrorKind::ArchivedClass | StoreErrorKind::KmsDenied => Problem::Refused(error.to_string()),
            StoreErrorKind::Cancelled => Problem::Stopped,
            _ => Problem::Store(error),
        }
    }

    /// Sorts an error met while reading a plain stream: the decoder's, the store's below it, or the reader's own.
    pub fn of_io(error: &io::Error) -> Self {
        if let Some(defect) = codec::codec_error(error) {
            return match defect.kind {
                CodecErrorKind::KeyMissing => Problem::KeyMissing(defect.to_string()),
                CodecErrorKind::LooksEncrypted => Problem::Noise(defect.clone()),
                CodecErrorKind::WrongKey => Problem::WrongKey(defect.clone()),
                CodecErrorKind::Kms(_) | CodecErrorKind::Unsupported => Problem::Refused(defect.to_string()),
                CodecErrorKind::TooLarge(_) | CodecErrorKind::WindowTooLarge => Problem::TooLarge(defect.clone()),
                _ => Problem::Damaged(defect.clone()),
            };
        }
        let below = codec::source_error(error);
        let cause = below.unwrap_or(error).get_ref();
        if cause.is_some_and(|cause| cause.is::<Stopped>()) {
            return Problem::Stopped;
        }
        match cause.and_then(|cause| cause.downcast_ref::<StoreError>()) {
            Some(known) => {
                let mut copy = StoreError::new(known.kind, known.message.clone());
                copy.advice.clone_from(&known.advice);
                Problem::of_store(copy)
            }
            None if below.is_some() => {
                Problem::Store(StoreError::new(StoreErrorKind::Network, below.unwrap_or(error).to_string()))
            }
            None => Problem::Other(error.to_string()),
        }
    }

    /// Whether this proves that the object is damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Problem::Damaged(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Gone => f.write_str("the store has no such object"),
            Problem::Refused(why) | Problem::KeyMissing(why) | Problem::Other(why) => f.write_str(why),
            Problem::Noise(error) | Problem::WrongKey(error) | Problem::Damaged(error) | Problem::TooLarge(error) => {
                error.fmt(f)
            }
            Problem::Store(error) => error.fmt(f),
            Problem::Stopped => f.write_str("stopped on request"),
        }
    }
}

impl std::error::Error for Problem {}
