//! LZ4 frames. The container is read here, because the usual readers take a missing end mark for the end.

use std::hash::Hasher;

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use twox_hash::XxHash32;

use super::error::{CodecError, CodecErrorKind};
use super::frames::trailing;
use super::source::{Decode, Source};

/// First bytes of a frame.
pub(crate) const MAGIC: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];
const LEGACY_MAGIC: u32 = 0x184C_2102;
/// How far a linked block can look back.
const HISTORY_BYTES: usize = 64 * 1024;

/// Whether a little-endian magic number opens a skippable frame (of lz4 and zstd alike).
pub(crate) fn is_skippable(magic: [u8; 4]) -> bool {
    u32::from_le_bytes(magic) & 0xFFFF_FFF0 == 0x184D_2A50
}

/// What the descriptor of the current frame says.
struct Descriptor {
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_bytes: Option<u64>,
    block_max: usize,
}

pub(crate) struct Lz4 {
    frame: Option<Descriptor>,
    frames: u64,
    hasher: XxHash32,
    frame_bytes: u64,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// Decoded bytes not handed out yet: `block[next..filled]`.
    next: usize,
    filled: usize,
    history: Vec<u8>,
}

impl Lz4 {
    pub(crate) fn new() -> Self {
        Lz4 {
            frame: None,
            frames: 0,
            hasher: XxHash32::with_seed(0),
            frame_bytes: 0,
            packed: Vec::new(),
            block: Vec::new(),
            next: 0,
            filled: 0,
            history: Vec::new(),
        }
    }

    /// Reads frame headers up to a data frame; false at a legal end of the input.
    fn begin_frame(&mut self, source: &mut Source<'_>) -> Result<bool, CodecError> {
        loop {
            let mut magic = [0; 4];
            let start = source.position();
            match source.read_full(&mut magic)? {
                4 => {}
                0 if self.frames > 0 => return Ok(false),
                0 => return Err(source.fail(CodecErrorKind::Empty, "lz4: there is no frame")),
                _ if self.frames == 0 => {
                    return Err(source.fail(CodecErrorKind::Truncated, "lz4: the frame header is cut"));
                }
                _ => return Err(trailing(source, "lz4")),
            }
            if is_skippable(magic) {
                let bytes = u32::from_le_bytes(source.array("lz4: the skippable frame")?);
                source.skip(bytes.into(), "lz4: the skippable frame")?;
                continue;
            }
            if magic == MAGIC {
                self.frame = Some(read_descriptor(source)?);
                self.frames += 1;
                self.hasher = XxHash32::with_seed(0);
                self.frame_bytes = 0;
                self.history.clear();
                return Ok(true);
            }
            let legacy = u32::from_le_bytes(magic) == LEGACY_MAGIC;
            return Err(match (self.frames, legacy) {
                (_, true) => {
                    CodecError::new(CodecErrorKind::Unsupported, start, "lz4: the legacy frame format is not read")
                }
                (0, _) => CodecError::new(CodecErrorKind::Corrupt, start, "lz4: the magic number is wrong"),
                _ => CodecError::new(
                    CodecErrorKind::TrailingBytes,
                    start,
                    "lz4: bytes that are no frame follow the last frame",
                ),
            });
        }
    }

    /// Decodes the next block into `self.block`; false at the end mark, when all checks held.
    fn next_block(&mut self, source: &mut Source<'_>) -> Result<bool, CodecError> {
        let Some(frame) = &self.frame else { return Ok(false) };
        let at = source.position();
        let corrupt = |message: String| CodecError::new(CodecErrorKind::Corrupt, at, message);
        let mark = source.array("lz4: the frame lacks its end mark, it")?;
        let mark = u32::from_le_bytes(mark);
        if mark == 0 {
            if let Some(expected) = frame.content_bytes
                && expected != self.frame_bytes
            {
                let seen = self.frame_bytes;
                return Err(corrupt(format!("lz4: the frame promises {expected} bytes and holds {seen}")));
            }
            if frame.content_checksum {
                let expected = u32::from_le_bytes(source.array("lz4: the content checksum")?);
                if expected != self.hasher.finish() as u32 {
                    return Err(corrupt("lz4: the content checksum is wrong".into()));
                }
            }
            self.frame = None;
            return Ok(false);
        }
        let (stored, bytes) = (mark >> 31 == 1, (mark & 0x7FFF_FFFF) as usize);
        if bytes > frame.block_max {
            return Err(corrupt(format!("lz4: a block of {bytes} bytes, the frame allows {}", frame.block_max)));
        }
        let place = if stored { &mut self.block } else { &mut self.packed };
        if place.len() < bytes {
            place.resize(bytes, 0);
        }
        source.read_exact(&mut place[..bytes], "lz4: a block")?;
        if frame.block_checksums {
            let expected = u32::from_le_bytes(source.array("lz4: a block checksum")?);
            if expected != xxh32(&place[..bytes]) {
                return Err(corrupt("lz4: a block checksum is wrong".into()));
            }
        }
        self.next = 0;
        self.filled = if stored {
            bytes
        } else {
            self.block.resize(frame.block_max, 0);
            if frame.linked && !self.history.is_empty() {
                decompress_into_with_dict(&self.packed[..bytes], &mut self.block, &self.history)
            } else {
                decompress_into(&self.packed[..bytes], &mut self.block)
            }
            .map_err(|error| corrupt(format!("lz4: a block does not decode: {error}")))?
        };
        let plain = &self.block[..self.filled];
        if frame.content_checksum {
            self.hasher.write(plain);
        }
        self.frame_bytes += plain.len() as u64;
        if frame.linked {
            remember(&mut self.history, plain);
        }
        Ok(true)
    }
}

impl Decode for Lz4 {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError> {
        loop {
            if self.next < self.filled {
                let bytes = (self.filled - self.next).min(out.len());
                out[..bytes].copy_from_slice(&self.block[self.next..self.next + bytes]);
                self.next += bytes;
                return Ok(bytes);
            }
            if self.frame.is_none() && !self.begin_frame(source)? {
                return Ok(0);
            }
            self.next_block(source)?;
        }
    }
}

fn read_descriptor(source: &mut Source<'_>) -> Result<Descriptor, CodecError> {
    let what = "lz4: the frame header";
    let at = source.position();
    let corrupt = |message: &str| CodecError::new(CodecErrorKind::Corrupt, at, format!("lz4: {message}"));
    // Flags, block size, then up to 8 bytes of content size.
    let mut head = [0; 10];
    source.read_exact(&mut head[..2], what)?;
    let (flags, sizes) = (head[0], head[1]);
    if flags >> 6 != 1 {
        return Err(corrupt("the frame version is unknown"));
    }
    if flags & 0x02 != 0 || sizes & 0x8F != 0 {
        return Err(corrupt("a reserved bit of the frame header is set"));
    }
    let block_max = match sizes >> 4 {
        4 => 64 * 1024,
        5 => 256 * 1024,
        6 => 1024 * 1024,
        7 => 4 * 1024 * 1024,
        _ => return Err(corrupt("the block size is unknown")),
    };
    if flags & 0x01 != 0 {
        return Err(CodecError::new(CodecErrorKind::Unsupported, at, "lz4: the frame needs a dictionary"));
    }
    let has_content_bytes = flags & 0x08 != 0;
    let length = if has_content_bytes { 10 } else { 2 };
    source.read_exact(&mut head[2..length], what)?;
    let [check] = source.array(what)?;
    if check != (xxh32(&head[..length]) >> 8) as u8 {
        return Err(corrupt("the header checksum is wrong"));
    }
    let [_, _, content @ ..] = head;
    Ok(Descriptor {
        linked: flags & 0x20 == 0,
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 0x04 != 0,
        content_bytes: has_content_bytes.then(|| u64::from_le_bytes(content)),
        block_max,
    })
}

fn xxh32(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// Keeps the last 64 KiB of what was decoded.
fn remember(history: &mut Vec<u8>, plain: &[u8]) {
    if plain.len() >= HISTORY_BYTES {
        history.clear();
        history.extend_from_slice(&plain[plain.len() - HISTORY_BYTES..]);
        return;
    }
    let surplus = (history.len() + plain.len()).saturating_sub(HISTORY_BYTES);
    history.drain(..surplus);
    history.extend_from_slice(plain);
}
