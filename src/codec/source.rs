//! The two ends of every decoder: a buffered, counting input and a guarded output.

use std::io::{self, Read};

use super::error::{CodecError, CodecErrorKind};

/// Bytes held of the input at most; peeking further than this is not possible.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// Buffered input that counts what was taken and marks errors of the reader below.
pub(crate) struct Source<'a> {
    inner: Box<dyn Read + Send + 'a>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    taken: u64,
    ended: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(inner: Box<dyn Read + Send + 'a>) -> Self {
        Source { inner, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, taken: 0, ended: false }
    }

    /// Bytes taken so far: where the next byte stands in the input.
    pub(crate) fn position(&self) -> u64 {
        self.taken
    }

    /// The next buffered bytes; empty only at the end of the input.
    pub(crate) fn fill(&mut self) -> Result<&[u8], CodecError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// At least `wanted` bytes, or all that are left if the input ends before.
    pub(crate) fn peek(&mut self, wanted: usize) -> Result<&[u8], CodecError> {
        debug_assert!(wanted <= BUFFER_BYTES);
        while self.end - self.start < wanted && !self.ended {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Takes bytes that `fill` or `peek` showed.
    pub(crate) fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.end - self.start);
        self.start += bytes;
        self.taken += bytes as u64;
    }

    /// Fills `out` as far as the input reaches.
    pub(crate) fn read_full(&mut self, out: &mut [u8]) -> Result<usize, CodecError> {
        let mut done = 0;
        while done < out.len() {
            // What is larger than the buffer need not go through it.
            if self.start == self.end && out.len() - done >= self.buffer.len() && !self.ended {
                let read = read_retrying(&mut *self.inner, &mut out[done..])
                    .map_err(|error| CodecError::from_below(error, self.taken))?;
                self.ended = read == 0;
                self.taken += read as u64;
                done += read;
                continue;
            }
            let available = self.fill()?;
            if available.is_empty() {
                break;
            }
            let bytes = available.len().min(out.len() - done);
            out[done..done + bytes].copy_from_slice(&available[..bytes]);
            self.consume(bytes);
            done += bytes;
        }
        Ok(done)
    }

    /// Fills all of `out`, or says that the input was cut inside `what`.
    pub(crate) fn read_exact(&mut self, out: &mut [u8], what: &str) -> Result<(), CodecError> {
        if self.read_full(out)? < out.len() {
            return Err(self.fail(CodecErrorKind::Truncated, format!("{what} is cut")));
        }
        Ok(())
    }

    /// Passes over `bytes` of input, or says that it was cut inside `what`.
    pub(crate) fn skip(&mut self, mut bytes: u64, what: &str) -> Result<(), CodecError> {
        while bytes > 0 {
            let available = self.fill()?.len();
            if available == 0 {
                return Err(self.fail(CodecErrorKind::Truncated, format!("{what} is cut")));
            }
            let step = usize::try_from(bytes).unwrap_or(usize::MAX).min(available);
            self.consume(step);
            bytes -= step as u64;
        }
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], CodecError> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes, what)?;
        Ok(bytes)
    }

    /// Whether nothing is left.
    pub(crate) fn at_end(&mut self) -> Result<bool, CodecError> {
        Ok(self.fill()?.is_empty())
    }

    /// An error at this place of the input.
    pub(crate) fn fail(&self, kind: CodecErrorKind, message: impl Into<String>) -> CodecError {
        CodecError::new(kind, self.taken, message)
    }

    fn read_more(&mut self) -> Result<(), CodecError> {
        if self.ended {
            return Ok(());
        }
        let read = read_retrying(&mut *self.inner, &mut self.buffer[self.end..])
            .map_err(|error| CodecError::from_below(error, self.taken))?;
        self.ended = read == 0;
        self.end += read;
        Ok(())
    }
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

fn read_retrying(reader: &mut (dyn Read + Send), out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reader that claims more than it was given room for would break every count above.
            Ok(read) if read > out.len() => return Err(io::Error::other("the reader overran its buffer")),
            done => return done,
        }
    }
}

/// One format. `Ok(0)` for non-empty `out` means: the stream is whole, verified, and nothing follows.
pub(crate) trait Decode: Send {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError>;
}

/// The output end: keeps the limit, and repeats an error instead of ever turning it into a clean end.
pub(crate) struct Decoding<'a, D> {
    source: Source<'a>,
    codec: D,
    room: u64,
    limit: u64,
    failed: Option<CodecError>,
    ended: bool,
}

impl<'a, D: Decode> Decoding<'a, D> {
    pub(crate) fn new(source: Source<'a>, codec: D, decoded_max: u64) -> Self {
        Decoding { source, codec, room: decoded_max, limit: decoded_max, failed: None, ended: false }
    }

    fn step(&mut self, out: &mut [u8]) -> Result<usize, CodecError> {
        if self.room == 0 {
            // Exactly the limit is allowed: only a byte beyond it is too much.
            return match self.codec.decode(&mut self.source, &mut [0])? {
                0 => Ok(0),
                _ => Err(self
                    .source
                    .fail(CodecErrorKind::TooLarge(self.limit), format!("decodes to more than {} bytes", self.limit))),
            };
        }
        let room = usize::try_from(self.room).unwrap_or(usize::MAX).min(out.len());
        let made = self.codec.decode(&mut self.source, &mut out[..room])?;
        self.room -= made as u64;
        Ok(made)
    }
}

impl<D: Decode> Read for Decoding<'_, D> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        match self.step(out) {
            Ok(made) => {
                self.ended = made == 0;
                Ok(made)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error.into())
            }
        }
    }
}
