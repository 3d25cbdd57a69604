//! libsodium's secretstream (XChaCha20-Poly1305) in the chunks that wal-g cuts: 8192 bytes and 17 more.

use dryoc::classic::crypto_secretstream_xchacha20poly1305::{
    State, crypto_secretstream_xchacha20poly1305_init_pull as init_pull,
    crypto_secretstream_xchacha20poly1305_pull as pull,
};
use dryoc::constants::CRYPTO_SECRETSTREAM_XCHACHA20POLY1305_TAG_FINAL as TAG_FINAL;

use super::LIBSODIUM_KEY_BYTES;
use crate::codec::error::{CodecError, CodecErrorKind};
use crate::codec::source::{Decode, Source};

const HEADER_BYTES: usize = 24;
const CHUNK_BYTES: usize = 8192;
/// The tag byte and the authenticator.
const EXTRA_BYTES: usize = 17;

/// Header and first chunk: what [`opens`] wants to see.
pub(crate) const FIRST_BYTES: usize = HEADER_BYTES + CHUNK_BYTES + EXTRA_BYTES;

/// Whether the key authenticates the first chunk of a stream. Chance does not: 2^-128.
pub(crate) fn opens(key: &[u8; LIBSODIUM_KEY_BYTES], first_bytes: &[u8]) -> bool {
    let Some((header, rest)) = first_bytes.split_first_chunk::<HEADER_BYTES>() else { return false };
    let chunk = &rest[..rest.len().min(CHUNK_BYTES + EXTRA_BYTES)];
    let mut state = State::new();
    init_pull(&mut state, header, key);
    pull_chunk(&mut state, &mut [0; CHUNK_BYTES], chunk).is_some()
}

/// Plain length and tag of a chunk, if it is authentic.
fn pull_chunk(state: &mut State, plain: &mut [u8; CHUNK_BYTES], chunk: &[u8]) -> Option<(usize, u8)> {
    if chunk.len() < EXTRA_BYTES {
        return None;
    }
    let mut tag = 0;
    let length = pull(state, plain, &mut tag, chunk, None).ok()?;
    Some((length, tag))
}

/// Decrypts, and demands the final tag: without it a stream cut between two chunks would look whole.
pub(crate) struct SecretStream {
    key: [u8; LIBSODIUM_KEY_BYTES],
    state: Option<State>,
    chunk: Box<[u8; CHUNK_BYTES + EXTRA_BYTES]>,
    plain: Box<[u8; CHUNK_BYTES]>,
    next: usize,
    filled: usize,
    chunks: u64,
    finished: bool,
}

impl SecretStream {
    pub(crate) fn new(key: [u8; LIBSODIUM_KEY_BYTES]) -> Self {
        SecretStream {
            key,
            state: None,
            chunk: Box::new([0; CHUNK_BYTES + EXTRA_BYTES]),
            plain: Box::new([0; CHUNK_BYTES]),
            next: 0,
            filled: 0,
            chunks: 0,
            finished: false,
        }
    }

    fn next_chunk(&mut self, source: &mut Source<'_>) -> Result<(), CodecError> {
        let state = match &mut self.state {
            Some(state) => state,
            None => {
                let header = source.array("libsodium: the header")?;
                let state = self.state.insert(State::new());
                init_pull(state, &header, &self.key);
                state
            }
        };
        let at = source.position();
        let fail = |kind, message: &str| Err(CodecError::new(kind, at, format!("libsodium: {message}")));
        let read = source.read_full(&mut self.chunk[..])?;
        match read {
            0 => return fail(CodecErrorKind::NoFinalTag, "the stream ends without its final tag, it was cut"),
            1..EXTRA_BYTES => return fail(CodecErrorKind::Truncated, "the last chunk is cut"),
            _ => {}
        }
        let Some((length, tag)) = pull_chunk(state, &mut self.plain, &self.chunk[..read]) else {
            let last = read < self.chunk.len();
            return match (self.chunks, last) {
                (0, _) => fail(CodecErrorKind::WrongKey, "the key does not fit, or the first chunk is damaged"),
                (_, true) => fail(CodecErrorKind::Decrypt, "the last chunk is cut or damaged"),
                (_, false) => fail(CodecErrorKind::Decrypt, "a chunk is damaged"),
            };
        };
        self.chunks += 1;
        (self.next, self.filled) = (0, length);
        self.finished = tag == TAG_FINAL;
        Ok(())
    }
}

impl Decode for SecretStream {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError> {
        loop {
            if self.next < self.filled {
                let bytes = (self.filled - self.next).min(out.len());
                out[..bytes].copy_from_slice(&self.plain[self.next..self.next + bytes]);
                self.next += bytes;
                return Ok(bytes);
            }
            if self.finished {
                if source.at_end()? {
                    return Ok(0);
                }
                return Err(source.fail(CodecErrorKind::TrailingBytes, "libsodium: bytes follow the final chunk"));
            }
            self.next_chunk(source)?;
        }
    }
}
