use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::error::{CodecError, CodecErrorKind};
use super::frames::{Frame, Step, StepError, trailing};
use super::source::Source;

/// First bytes of a member: magic and the only compression method there is.
pub(crate) const MAGIC: [u8; 3] = [0x1F, 0x8B, 8];

const HEADER_CRC: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;

/// gzip members, concatenated. Header and trailer are read here, so that every member is checked alike.
pub(crate) struct Gzip {
    inflate: Decompress,
    crc: Crc,
}

impl Gzip {
    pub(crate) fn new() -> Self {
        Gzip { inflate: Decompress::new(false), crc: Crc::new() }
    }
}

impl Frame for Gzip {
    const NAME: &'static str = "gzip";

    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError> {
        if nth > 0 {
            if source.at_end()? {
                return Ok(false);
            }
            if !source.peek(2)?.starts_with(&MAGIC[..2]) {
                return Err(trailing(source, Self::NAME));
            }
            self.inflate.reset(false);
            self.crc = Crc::new();
        }
        read_header(source)?;
        Ok(true)
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
        let (used, made) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, out, FlushDecompress::None)
            .map_err(|_| (CodecErrorKind::Corrupt, "gzip: the data are corrupt".to_string()))?;
        // Both differences are at most the length of a slice.
        let used = (self.inflate.total_in() - used) as usize;
        let made = (self.inflate.total_out() - made) as usize;
        self.crc.update(&out[..made]);
        Ok(Step { used, made, ended: status == Status::StreamEnd })
    }

    fn finish(&mut self, source: &mut Source<'_>) -> Result<(), CodecError> {
        let what = "gzip: the checksum behind the data";
        let crc = u32::from_le_bytes(source.array(what)?);
        let length = u32::from_le_bytes(source.array(what)?);
        if crc != self.crc.sum() {
            return Err(source.fail(CodecErrorKind::Corrupt, "gzip: the checksum is wrong"));
        }
        // The length is stored modulo 2^32.
        if length != self.inflate.total_out() as u32 {
            return Err(source.fail(CodecErrorKind::Corrupt, "gzip: the length is wrong"));
        }
        Ok(())
    }
}

fn read_header(source: &mut Source<'_>) -> Result<(), CodecError> {
    let mut crc = Crc::new();
    let head: [u8; 10] = header_bytes(source, &mut crc)?;
    if head[..3] != MAGIC {
        return Err(source.fail(CodecErrorKind::Corrupt, "gzip: the magic number or method is wrong"));
    }
    let flags = head[3];
    if flags & 0xE0 != 0 {
        return Err(source.fail(CodecErrorKind::Corrupt, "gzip: a reserved flag is set"));
    }
    if flags & EXTRA != 0 {
        let bytes = u16::from_le_bytes(header_bytes(source, &mut crc)?);
        for _ in 0..bytes {
            header_bytes::<1>(source, &mut crc)?;
        }
    }
    for field in [NAME, COMMENT] {
        // Never kept, so their length does not matter.
        while flags & field != 0 && header_bytes(source, &mut crc)? != [0] {}
    }
    if flags & HEADER_CRC != 0 {
        let sum = crc.sum() as u16;
        if u16::from_le_bytes(source.array("gzip: the header")?) != sum {
            return Err(source.fail(CodecErrorKind::Corrupt, "gzip: the header checksum is wrong"));
        }
    }
    Ok(())
}

fn header_bytes<const N: usize>(source: &mut Source<'_>, crc: &mut Crc) -> Result<[u8; N], CodecError> {
    let bytes = source.array("gzip: the header")?;
    crc.update(&bytes);
    Ok(bytes)
}
