//! Snappy in its framing format. The chunks are read here; `snap` decodes the blocks.

use snap::raw::{Decoder, decompress_len};

use super::error::{CodecError, CodecErrorKind};
use super::source::{Decode, Source};

/// The stream identifier that opens a stream.
pub(crate) const MAGIC: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// Most plain bytes that one chunk may hold.
const PLAIN_MAX: usize = 64 * 1024;
/// Most bytes that these can grow to when packed: the format's own bound.
const PACKED_MAX: usize = 32 + PLAIN_MAX + PLAIN_MAX / 6;

/// The format has no end mark: a stream cut between two chunks looks whole.
pub(crate) struct Snappy {
    begun: bool,
    chunks: u64,
    packed: Vec<u8>,
    plain: Vec<u8>,
    next: usize,
    filled: usize,
}

impl Snappy {
    pub(crate) fn new() -> Self {
        Snappy { begun: false, chunks: 0, packed: Vec::new(), plain: Vec::new(), next: 0, filled: 0 }
    }

    /// Decodes up to the next data chunk; false at the end of the input.
    fn next_chunk(&mut self, source: &mut Source<'_>) -> Result<bool, CodecError> {
        loop {
            let at = source.position();
            let mut head = [0; 4];
            match source.read_full(&mut head)? {
                4 => {}
                0 if self.chunks > 0 => return Ok(false),
                0 if !self.begun => return Err(source.fail(CodecErrorKind::Empty, "snappy: the object is empty")),
                _ => return Err(source.fail(CodecErrorKind::Truncated, "snappy: the stream is cut")),
            }
            let [kind, length @ ..] = head;
            let length = u32::from_le_bytes([length[0], length[1], length[2], 0]) as usize;
            let corrupt = |message: String| Err(CodecError::new(CodecErrorKind::Corrupt, at, message));
            if !self.begun && kind != MAGIC[0] {
                return corrupt("snappy: the stream identifier is missing".into());
            }
            match kind {
                // A repeated identifier opens a concatenated stream.
                0xFF => {
                    let mut name = [0; 6];
                    if length != name.len() {
                        return corrupt("snappy: the stream identifier is wrong".into());
                    }
                    source.read_exact(&mut name, "snappy: the stream identifier")?;
                    if name != MAGIC[4..] {
                        return corrupt("snappy: the stream identifier is wrong".into());
                    }
                    self.begun = true;
                }
                0x00 | 0x01 => {
                    self.chunks += 1;
                    self.read_data(source, kind == 0, length, at)?;
                    return Ok(true);
                }
                // Padding and reserved chunks that may be skipped.
                0x80..=0xFE => source.skip(length as u64, "snappy: a skippable chunk")?,
                _ => {
                    let message = format!("snappy: a chunk of the reserved type {kind:#04x}");
                    return corrupt(message);
                }
            }
        }
    }

    fn read_data(&mut self, source: &mut Source<'_>, packed: bool, length: usize, at: u64) -> Result<(), CodecError> {
        let corrupt = |message: String| CodecError::new(CodecErrorKind::Corrupt, at, message);
        let most = if packed { PACKED_MAX } else { PLAIN_MAX };
        let Some(bytes) = length.checked_sub(4).filter(|bytes| *bytes <= most) else {
            return Err(corrupt(format!("snappy: a chunk of {length} bytes")));
        };
        let expected = u32::from_le_bytes(source.array("snappy: a chunk")?);
        self.next = 0;
        self.plain.resize(PLAIN_MAX, 0);
        if packed {
            self.packed.resize(bytes, 0);
            source.read_exact(&mut self.packed, "snappy: a chunk")?;
            // The decoder writes only as much as the block announces, so that has to fit.
            let announced = decompress_len(&self.packed).map_err(|error| corrupt(format!("snappy: {error}")))?;
            if announced > PLAIN_MAX {
                return Err(corrupt(format!("snappy: a chunk that unpacks to {announced} bytes")));
            }
            self.filled = Decoder::new()
                .decompress(&self.packed, &mut self.plain)
                .map_err(|error| corrupt(format!("snappy: a chunk does not decode: {error}")))?;
        } else {
            source.read_exact(&mut self.plain[..bytes], "snappy: a chunk")?;
            self.filled = bytes;
        }
        let sum = crc32c::crc32c(&self.plain[..self.filled]);
        if sum.rotate_right(15).wrapping_add(0xA282_EAD8) != expected {
            return Err(corrupt("snappy: the checksum of a chunk is wrong".into()));
        }
        Ok(())
    }
}

impl Decode for Snappy {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError> {
        while self.next == self.filled {
            (self.next, self.filled) = (0, 0);
            if !self.next_chunk(source)? {
                return Ok(0);
            }
        }
        let bytes = (self.filled - self.next).min(out.len());
        out[..bytes].copy_from_slice(&self.plain[self.next..self.next + bytes]);
        self.next += bytes;
        Ok(bytes)
    }
}
