//! The lzop container, as WAL-E wrote it by piping through `lzop`. Blocks are LZO1X.

use flate2::Crc;

use super::error::{CodecError, CodecErrorKind};
use super::sniff::LZOP_MAGIC as MAGIC;
use super::source::{Decode, Source};

/// What `lzop` itself accepts as the largest block.
const BLOCK_MAX: u32 = 64 << 20;
/// No LZO1X stream unpacks to more than this many times its size (a length byte counts 255).
const RATIO_MAX: u64 = 256;
/// Packed bytes are read in such pieces, so that a block which only claims to be large costs nothing.
const PIECE: usize = 1 << 20;

const ADLER_PLAIN: u32 = 0x1;
const ADLER_PACKED: u32 = 0x2;
const EXTRA_FIELD: u32 = 0x40;
const CRC_PLAIN: u32 = 0x100;
const CRC_PACKED: u32 = 0x200;
const MULTIPART: u32 = 0x400;
const FILTER: u32 = 0x800;
const HEADER_CRC: u32 = 0x1000;
const RESERVED: u32 = 0x000F_C000;

/// Files in an lzop container, concatenated (`lzop -dc` joins them too).
pub(crate) struct Lzop {
    flags: Option<u32>,
    files: u64,
    packed: Vec<u8>,
    plain: Vec<u8>,
    next: usize,
}

impl Lzop {
    pub(crate) fn new() -> Self {
        Lzop { flags: None, files: 0, packed: Vec::new(), plain: Vec::new(), next: 0 }
    }

    /// Reads the header of the next file; false at a legal end of the input.
    fn begin_file(&mut self, source: &mut Source<'_>) -> Result<bool, CodecError> {
        let start = source.peek(MAGIC.len())?;
        if start.is_empty() {
            return match self.files {
                0 => Err(source.fail(CodecErrorKind::Empty, "lzop: the object is empty")),
                _ => Ok(false),
            };
        }
        if !start.starts_with(&MAGIC) {
            let cut = MAGIC.starts_with(start);
            return Err(match (self.files, cut) {
                (0, true) => source.fail(CodecErrorKind::Truncated, "lzop: the header is cut"),
                (0, false) => source.fail(CodecErrorKind::Corrupt, "lzop: the magic number is wrong"),
                _ => source.fail(CodecErrorKind::TrailingBytes, "lzop: bytes follow the final block"),
            });
        }
        source.consume(MAGIC.len());
        self.flags = Some(read_header(source)?);
        self.files += 1;
        Ok(true)
    }

    /// Unpacks the next block; false at the final one.
    fn next_block(&mut self, source: &mut Source<'_>, flags: u32) -> Result<bool, CodecError> {
        let at = source.position();
        let corrupt = |message: String| CodecError::new(CodecErrorKind::Corrupt, at, message);
        let what = "lzop: the file lacks its final block, it";
        let plain_len = u32::from_be_bytes(source.array(what)?);
        if plain_len == 0 {
            self.flags = None;
            return Ok(false);
        }
        if plain_len == u32::MAX {
            return Err(CodecError::new(CodecErrorKind::Unsupported, at, "lzop: split files are not read"));
        }
        let what = "lzop: a block";
        let packed_len = u32::from_be_bytes(source.array(what)?);
        if plain_len > BLOCK_MAX || packed_len == 0 || packed_len > plain_len {
            return Err(corrupt(format!("lzop: a block of {plain_len} bytes packed to {packed_len}")));
        }
        if u64::from(plain_len) > (u64::from(packed_len) + 16) * RATIO_MAX {
            return Err(corrupt(format!("lzop: a block of {plain_len} bytes cannot be packed to {packed_len}")));
        }
        let is_packed = packed_len < plain_len;
        let mut sum = |flag: u32| match flags & flag {
            0 => Ok(None),
            _ => source.array(what).map(|bytes| Some(u32::from_be_bytes(bytes))),
        };
        let (plain_adler, plain_crc) = (sum(ADLER_PLAIN)?, sum(CRC_PLAIN)?);
        // A stored block has no second pair of checksums.
        let (packed_adler, packed_crc) = if is_packed { (sum(ADLER_PACKED)?, sum(CRC_PACKED)?) } else { (None, None) };

        let place = if is_packed { &mut self.packed } else { &mut self.plain };
        read_pieces(source, place, packed_len as usize)?;
        check(place, packed_adler, packed_crc).map_err(|name| corrupt(format!("lzop: the packed {name} is wrong")))?;
        if is_packed {
            self.plain.resize(plain_len as usize, 0);
            match lzokay::decompress::decompress(&self.packed, &mut self.plain) {
                Ok(made) if made == self.plain.len() => {}
                Ok(made) => return Err(corrupt(format!("lzop: a block of {plain_len} bytes unpacks to {made}"))),
                Err(error) => return Err(corrupt(format!("lzop: a block does not decode: {error}"))),
            }
        }
        check(&self.plain, plain_adler, plain_crc).map_err(|name| corrupt(format!("lzop: the {name} is wrong")))?;
        self.next = 0;
        Ok(true)
    }
}

impl Decode for Lzop {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError> {
        loop {
            if self.next < self.plain.len() {
                let bytes = (self.plain.len() - self.next).min(out.len());
                out[..bytes].copy_from_slice(&self.plain[self.next..self.next + bytes]);
                self.next += bytes;
                return Ok(bytes);
            }
            match self.flags {
                Some(flags) => {
                    self.next_block(source, flags)?;
                }
                None => {
                    if !self.begin_file(source)? {
                        return Ok(0);
                    }
                }
            }
        }
    }
}

/// Header bytes, which its own checksum covers.
struct Header<'s, 'a> {
    source: &'s mut Source<'a>,
    adler: Adler32,
    crc: Crc,
}

impl Header<'_, '_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let bytes = self.source.array("lzop: the header")?;
        self.adler.update(&bytes);
        self.crc.update(&bytes);
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_be_bytes)
    }

    fn skip(&mut self, bytes: u32) -> Result<(), CodecError> {
        (0..bytes).try_for_each(|_| self.array::<1>().map(drop))
    }

    /// Compares the running checksum with the stored one.
    fn check(&mut self, flags: u32, what: &str) -> Result<(), CodecError> {
        let expected = if flags & HEADER_CRC != 0 { self.crc.sum() } else { self.adler.sum() };
        if u32::from_be_bytes(self.source.array("lzop: the header")?) != expected {
            return Err(self.source.fail(CodecErrorKind::Corrupt, format!("lzop: the checksum of {what} is wrong")));
        }
        Ok(())
    }
}

/// Reads what follows the magic and gives the flags.
fn read_header(source: &mut Source<'_>) -> Result<u32, CodecError> {
    let mut header = Header { source, adler: Adler32::new(), crc: Crc::new() };
    let version = header.u16()?;
    let _library = header.u16()?;
    // Older files lack the needed version, the level and half of the time.
    let modern = version >= 0x0940;
    let needed = if modern { header.u16()? } else { 0 };
    let [method] = header.array()?;
    if modern {
        let _level = header.array::<1>()?;
    }
    let flags = header.u32()?;
    if flags & FILTER != 0 {
        let _filter = header.u32()?;
    }
    let _mode_and_time = header.array::<8>()?;
    if modern {
        let _time_high = header.u32()?;
    }
    let [name_bytes] = header.array()?;
    header.skip(name_bytes.into())?;
    header.check(flags, "the header")?;
    if flags & EXTRA_FIELD != 0 {
        (header.adler, header.crc) = (Adler32::new(), Crc::new());
        let bytes = header.u32()?;
        header.skip(bytes)?;
        header.check(flags, "the extra field")?;
    }
    // Judged behind the checksum: before it, an odd value is more likely damage.
    let unsupported = |what: &str| Err(header.source.fail(CodecErrorKind::Unsupported, format!("lzop: {what}")));
    match (version, method) {
        (..0x0900, _) => return unsupported("the version is too old"),
        (_, 1..=3) if needed <= 0x1040 => {}
        (_, 1..=3) => return unsupported("the version is too new"),
        _ => return unsupported("the compression method is not LZO1X"),
    }
    if flags & (MULTIPART | FILTER | RESERVED) != 0 {
        return unsupported("filters, multi-part archives and reserved flags are not read");
    }
    Ok(flags)
}

fn read_pieces(source: &mut Source<'_>, place: &mut Vec<u8>, bytes: usize) -> Result<(), CodecError> {
    place.clear();
    while place.len() < bytes {
        let start = place.len();
        place.resize(bytes.min(start + PIECE), 0);
        source.read_exact(&mut place[start..], "lzop: a block")?;
    }
    Ok(())
}

/// Compares the checksums that are there; the name of the first that differs.
fn check(bytes: &[u8], adler: Option<u32>, crc: Option<u32>) -> Result<(), &'static str> {
    if let Some(expected) = adler {
        let mut sum = Adler32::new();
        sum.update(bytes);
        if sum.sum() != expected {
            return Err("Adler-32");
        }
    }
    if let Some(expected) = crc {
        let mut sum = Crc::new();
        sum.update(bytes);
        // lzop takes its CRCs from zlib's function, as everybody does.
        if sum.sum() != expected {
            return Err("CRC-32");
        }
    }
    Ok(())
}

/// Adler-32, in lanes that the compiler can vectorise.
struct Adler32 {
    a: u32,
    b: u32,
}

impl Adler32 {
    const MODULUS: u32 = 65521;
    const LANES: usize = 32;
    /// Most lanes of 255 for which `b` stays below 2^32 when it starts below the modulus.
    const LANES_MAX: usize = 5552 / Self::LANES;

    fn new() -> Self {
        Adler32 { a: 1, b: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(Self::LANES * Self::LANES_MAX) {
            let (rows, rest) = run.as_chunks::<{ Self::LANES }>();
            for row in rows {
                // b gains a for each byte of the row, and each byte for itself and all behind it.
                let mut sum = 0_u32;
                let mut weighted = 0_u32;
                for (place, byte) in row.iter().enumerate() {
                    sum += u32::from(*byte);
                    weighted += u32::from(*byte) * (Self::LANES - place) as u32;
                }
                self.b += self.a * Self::LANES as u32 + weighted;
                self.a += sum;
            }
            for byte in rest {
                self.a += u32::from(*byte);
                self.b += self.a;
            }
            self.a %= Self::MODULUS;
            self.b %= Self::MODULUS;
        }
    }

    fn sum(&self) -> u32 {
        self.b << 16 | self.a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adler_matches_its_definition() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| if n < 12_000 { 255 } else { (n * 7 + n / 256) as u8 }).collect();
        for length in [0, 1, 31, 32, 33, 5551, 5552, 5553, 12_000, 20_000] {
            let (mut a, mut b) = (1_u64, 0_u64);
            for byte in &bytes[..length] {
                a = (a + u64::from(*byte)) % 65521;
                b = (b + a) % 65521;
            }
            let mut sum = Adler32::new();
            sum.update(&bytes[..length]);
            assert_eq!(u64::from(sum.sum()), b << 16 | a, "{length}");
        }
    }
}
