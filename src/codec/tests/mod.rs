#![allow(clippy::disallowed_methods)]

mod encrypted;
mod golden;
#[cfg(feature = "libsodium")]
mod libsodium;
#[cfg(feature = "openpgp")]
mod openpgp;
mod strict;

use std::io::{Read, Write};

use super::*;

/// Every codec of this build.
fn kinds() -> Vec<CodecKind> {
    let mut kinds: Vec<CodecKind> = CodecKind::ALL.iter().map(|(kind, _)| *kind).collect();
    if !cfg!(feature = "lzo") {
        kinds.retain(|kind| *kind != CodecKind::Lzop);
    }
    kinds
}

fn decode_with(kind: CodecKind, bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    match decoder(kind, Box::new(bytes), limits)?.read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(error) => Err(codec_error(&error).expect("a slice never fails to read").clone()),
    }
}

fn decode(kind: CodecKind, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    decode_with(kind, bytes, &Limits::default())
}

/// Repeatable noise.
pub(in crate::codec) struct Noise(pub(in crate::codec) u64);

impl Noise {
    pub(in crate::codec) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(in crate::codec) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(in crate::codec) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Bytes like WAL: headers, repeats, noise, zeros at the end.
fn sample(count: usize) -> Vec<u8> {
    let mut noise = Noise(7);
    let mut bytes = Vec::new();
    while bytes.len() < count * 3 / 4 {
        let length = noise.below(60);
        match noise.below(3) {
            0 => bytes.extend(noise.bytes(length)),
            1 => bytes.extend_from_slice(b"\x10\xd1\x02\x00\x01\x00\x00\x00"),
            _ => {
                let start = noise.below(bytes.len());
                let end = bytes.len().min(start + length);
                bytes.extend_from_within(start..end);
            }
        }
    }
    bytes.resize(count, 0);
    bytes
}

fn encode(kind: CodecKind, plain: &[u8]) -> Vec<u8> {
    match kind {
        CodecKind::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
            let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        CodecKind::Zstd => {
            let mut writer = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
            writer.include_checksum(true).unwrap();
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        CodecKind::Lzma => {
            let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
            let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
            let mut writer = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        CodecKind::Xz => {
            let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        CodecKind::Brotli => {
            let mut packed = Vec::new();
            ::brotli::CompressorReader::new(plain, 4096, 3, 22).read_to_end(&mut packed).unwrap();
            packed
        }
        CodecKind::Gzip => {
            let mut writer = flate2::GzBuilder::new()
                .filename("000000010000000000000001")
                .extra([1, 2, 3])
                .write(Vec::new(), flate2::Compression::default());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        CodecKind::Bzip2 => {
            let mut writer = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        CodecKind::Snappy => {
            let mut writer = snap::write::FrameEncoder::new(Vec::new());
            writer.write_all(plain).unwrap();
            writer.into_inner().unwrap()
        }
        #[cfg(feature = "lzo")]
        CodecKind::Lzop => lzop_writer::pack(plain, 1024, 0x0000_0001),
        _ => plain.to_vec(),
    }
}

#[cfg(feature = "lzo")]
mod lzop_writer {
    //! The writing side of the container, for tests only.

    fn adler(bytes: &[u8]) -> u32 {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in bytes {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        b << 16 | a
    }

    fn crc(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    pub fn pack(plain: &[u8], block_bytes: usize, flags: u32) -> Vec<u8> {
        let mut header = Vec::new();
        for number in [0x1040_u16, 0x20A0, 0x0940] {
            header.extend(number.to_be_bytes());
        }
        header.extend([1, 5]);
        header.extend(flags.to_be_bytes());
        header.extend([0; 12]);
        header.push(3);
        header.extend(b"seg");
        let sum = if flags & 0x1000 != 0 { crc(&header) } else { adler(&header) };
        let mut file = vec![0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A, 0x1A, 0x0A];
        file.extend(header);
        file.extend(sum.to_be_bytes());
        for block in plain.chunks(block_bytes) {
            let mut packed = lzokay::compress::compress(block).unwrap();
            if packed.len() >= block.len() {
                packed = block.to_vec();
            }
            file.extend((block.len() as u32).to_be_bytes());
            file.extend((packed.len() as u32).to_be_bytes());
            for (flag, bytes, sum) in [
                (0x1, block, adler as fn(&[u8]) -> u32),
                (0x100, block, crc),
                (0x2, &packed[..], adler),
                (0x200, &packed[..], crc),
            ] {
                let stored = flag & 0x202 != 0 && packed.len() == block.len();
                if flags & flag != 0 && !stored {
                    file.extend(sum(bytes).to_be_bytes());
                }
            }
            file.extend(packed);
        }
        file.extend([0; 4]);
        file
    }
}
