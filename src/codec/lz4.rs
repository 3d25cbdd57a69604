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

    /// Reads frame headers up to a data frame; `None` at a legal end of the input.
    fn begin_frame(&mut self, source: &mut Source<'_>) -> Result<Option<Descriptor>, CodecError> {
        loop {
            let mut magic = [0; 4];
            let start = source.position();
            match source.read_full(&mut magic)? {
                4 => {}
                0 if self.frames > 0 => return Ok(None),
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
                let frame = read_descriptor(source)?;
                self.frames += 1;
                self.hasher = XxHash32::with_seed(0);
                self.frame_bytes = 0;
                self.history.clear();
                return Ok(Some(frame));
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

    /// Reads the next block into `self.packed`: its length, and whether it is stored as it is. `None` at
    /// the end mark, when all checks of the frame held.
    fn read_block(&mut self, source: &mut Source<'_>, frame: &Descriptor) -> Result<Option<(usize, bool)>, CodecError> {
        let at = source.position();
        let corrupt = |message: String| Err(CodecError::new(CodecErrorKind::Corrupt, at, message));
        let mark = source.array("lz4: the frame lacks its end mark, it")?;
        let mark = u32::from_le_bytes(mark);
        if mark == 0 {
            if let Some(expected) = frame.content_bytes
                && expected != self.frame_bytes
            {
                let seen = self.frame_bytes;
                return corrupt(format!("lz4: the frame promises {expected} bytes and holds {seen}"));
            }
            if frame.content_checksum {
                let expected = u32::from_le_bytes(source.array("lz4: the content checksum")?);
                if expected != self.hasher.finish() as u32 {
                    return corrupt("lz4: the content checksum is wrong".into());
                }
            }
            return Ok(None);
        }
        let (bytes, stored) = ((mark & 0x7FFF_FFFF) as usize, mark >> 31 == 1);
        if bytes > frame.block_max {
            return corrupt(format!("lz4: a block of {bytes} bytes, the frame allows {}", frame.block_max));
        }
        if self.packed.len() < bytes {
            self.packed.resize(bytes, 0);
        }
        source.read_exact(&mut self.packed[..bytes], "lz4: a block")?;
        if frame.block_checksums {
            let expected = u32::from_le_bytes(source.array("lz4: a block checksum")?);
            if expected != xxh32(&self.packed[..bytes]) {
                return corrupt("lz4: a block checksum is wrong".into());
            }
        }
        Ok(Some((bytes, stored)))
    }

    /// Unpacks the block that was read into `plain`, which has room for the largest one.
    fn unpack(&mut self, frame: &Descriptor, bytes: usize, stored: bool, plain: &mut [u8]) -> Result<usize, String> {
        let packed = &self.packed[..bytes];
        let made = if stored {
            plain[..bytes].copy_from_slice(packed);
            bytes
        } else if frame.linked && !self.history.is_empty() {
            decompress_into_with_dict(packed, plain, &self.history)
                .map_err(|error| format!("lz4: a block does not decode: {error}"))?
        } else {
            decompress_into(packed, plain).map_err(|error| format!("lz4: a block does not decode: {error}"))?
        };
        let plain = &plain[..made];
        if frame.content_checksum {
            self.hasher.write(plain);
        }
        self.frame_bytes += made as u64;
        if frame.linked {
            remember(&mut self.history, plain);
        }
        Ok(made)
    }

    /// Decodes the next block, straight into `out` where that is large enough; how much of `out` was filled.
    fn next_block(&mut self, source: &mut Source<'_>, frame: Descriptor, out: &mut [u8]) -> Result<usize, CodecError> {
        let at = source.position();
        let Some((bytes, stored)) = self.read_block(source, &frame)? else { return Ok(0) };
        let corrupt = |message| CodecError::new(CodecErrorKind::Corrupt, at, message);
        let made = if let Some(room) = out.get_mut(..frame.block_max) {
            self.unpack(&frame, bytes, stored, room).map_err(corrupt)?
        } else {
            let mut block = std::mem::take(&mut self.block);
            block.resize(frame.block_max, 0);
            let filled = self.unpack(&frame, bytes, stored, &mut block);
            self.block = block;
            (self.next, self.filled) = (0, filled.map_err(corrupt)?);
            0
        };
        self.frame = Some(frame);
        Ok(made)
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
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin_frame(source)? {
                    Some(frame) => frame,
                    None => return Ok(0),
                },
            };
            let made = self.next_block(source, frame, out)?;
            if made > 0 {
                return Ok(made);
            }
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
