//! Keys, and the two encryptions that wal-g and WAL-E apply on their own.

mod key_text;
#[cfg(feature = "openpgp")]
pub(crate) mod openpgp;
#[cfg(feature = "libsodium")]
pub(crate) mod secretstream;

use std::fmt;

use thiserror::Error;

pub use key_text::KeyTransform;

/// Bytes of a libsodium key.
pub const LIBSODIUM_KEY_BYTES: usize = 32;

/// Why a key cannot be used. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Fewer bytes than wal-g accepts.
    #[error("the libsodium key has {0} bytes, at least 25 are needed")]
    TooShort(usize),
    /// The decoded key has the wrong length.
    #[error("the libsodium key decodes to {0} bytes instead of 32")]
    WrongLength(usize),
    /// Not the encoding that the transform names.
    #[error("the libsodium key is not valid {0}")]
    BadEncoding(&'static str),
    /// The value of `WALG_LIBSODIUM_KEY_TRANSFORM` is unknown.
    #[error("unknown key transform {0:?}: none, hex and base64 are known")]
    UnknownTransform(String),
    /// The text holds no OpenPGP key.
    #[error("no OpenPGP key can be read: {0}")]
    NoPgpKey(String),
    /// Only the public half is there: enough to write archives, not to read them.
    #[error("this is a public OpenPGP key; reading an archive needs the private one")]
    PublicOnly,
    /// The passphrase is missing or wrong.
    #[error("the passphrase does not unlock the OpenPGP key{}", if *.given { "" } else { " (none was given)" })]
    Passphrase {
        /// Whether one was given at all.
        given: bool,
    },
    /// Built without the feature.
    #[error("this build cannot use OpenPGP keys, it lacks the feature `openpgp`")]
    NotBuiltIn,
}

/// The keys of one archive. Several may be given; an object is opened with the one that fits.
#[derive(Clone, Default)]
pub struct KeyRing {
    pub(crate) libsodium: Option<[u8; LIBSODIUM_KEY_BYTES]>,
    #[cfg(feature = "openpgp")]
    pub(crate) pgp: Vec<pgp::composed::SignedSecretKey>,
}

impl KeyRing {
    /// A ring without keys.
    pub fn new() -> Self {
        KeyRing::default()
    }

    /// Whether no key was given.
    pub fn is_empty(&self) -> bool {
        self.libsodium.is_none() && !self.has_pgp()
    }

    /// Whether there is an OpenPGP key.
    pub fn has_pgp(&self) -> bool {
        #[cfg(feature = "openpgp")]
        return !self.pgp.is_empty();
        #[cfg(not(feature = "openpgp"))]
        false
    }

    /// Sets the libsodium key from the value of `WALG_LIBSODIUM_KEY`, taken as it is.
    ///
    /// # Errors
    /// The value does not give 32 bytes under the transform.
    pub fn set_libsodium_inline(&mut self, value: &[u8], transform: KeyTransform) -> Result<(), KeyError> {
        self.libsodium = Some(transform.key(value)?);
        Ok(())
    }

    /// Sets the libsodium key from the content of the file `WALG_LIBSODIUM_KEY_PATH`, which is trimmed.
    ///
    /// # Errors
    /// The trimmed content does not give 32 bytes under the transform.
    pub fn set_libsodium_file(&mut self, content: &[u8], transform: KeyTransform) -> Result<(), KeyError> {
        self.set_libsodium_inline(content.trim_ascii(), transform)
    }

    /// Adds every private key of an OpenPGP key file: armored (where the two characters `\n` may stand
    /// for a newline, as in `WALG_PGP_KEY`) or binary (as `gpg --export-secret-keys` writes).
    ///
    /// # Errors
    /// There is no private key, or the passphrase does not unlock any.
    pub fn add_pgp(&mut self, key: &[u8], passphrase: Option<&str>) -> Result<(), KeyError> {
        #[cfg(feature = "openpgp")]
        {
            self.pgp.extend(openpgp::read_keys(key, passphrase)?);
            Ok(())
        }
        #[cfg(not(feature = "openpgp"))]
        {
            let _ = (key, passphrase);
            Err(KeyError::NotBuiltIn)
        }
    }
}

impl fmt::Debug for KeyRing {
    /// Says which kinds of keys there are, never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("libsodium", &self.libsodium.is_some())
            .field("pgp", &self.has_pgp())
            .finish_non_exhaustive()
    }
}
