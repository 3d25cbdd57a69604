//! Memory of the decoders does not depend on what an object claims or holds. One test in one process,
//! because the peak is the process's.
#![cfg(all(feature = "lzo", feature = "libsodium", feature = "openpgp"))]
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};

use walproof::codec::crypto::KeyRing;
use walproof::codec::tarball::TarReader;
use walproof::codec::{CodecErrorKind, Limits, codec_error, open};
use walproof::model::CodecKind;

/// How far the resident set grew while `work` ran; `None` where the system does not tell.
fn growth<T>(work: impl FnOnce() -> T) -> (T, Option<u64>) {
    let field = |name: &str| {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    // Resets the peak to what is resident now.
    let reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = field("VmRSS:").filter(|_| reset);
    let done = work();
    let peak = field("VmHWM:");
    (done, before.zip(peak).map(|(before, peak)| peak.saturating_sub(before) * 1024))
}

/// Decodes to nowhere: plain bytes, and the kind of error if there was one.
fn drain(kind: CodecKind, bytes: impl Read + Send, limits: &Limits) -> (u64, Option<CodecErrorKind>) {
    let mut reader = match open(kind, &KeyRing::new(), Box::new(bytes), limits) {
        Ok(opened) => opened.reader,
        Err(error) => return (0, Some(error.kind)),
    };
    let mut buffer = [0; 64 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (total, None),
            Ok(read) => total += read as u64,
            Err(error) => return (total, codec_error(&error).map(|error| error.kind)),
        }
    }
}

#[test]
fn memory_is_bounded() {
    let mut failures = Vec::new();
    let mut check = |what: &str, growth: Option<u64>, most_mib: u64| {
        let Some(growth) = growth else { return };
        if growth > most_mib << 20 {
            failures.push(format!("{what}: grew by {} KiB, {most_mib} MiB are allowed", growth >> 10));
        }
    };
    let limits = Limits::default();

    // Headers that claim more than there is. First, while no freed memory hides what is taken.
    let zstd_window = [&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA8][..], &[0; 20]].concat();
    let zstd_single = [&[0x28, 0xB5, 0x2F, 0xFD, 0xE0][..], &(1_u64 << 40).to_le_bytes(), &[0; 20]].concat();
    let lzma_dictionary = [&[0x5D, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0xFF; 8], &[0; 20]].concat();
    for (kind, bytes) in
        [(CodecKind::Zstd, zstd_window), (CodecKind::Zstd, zstd_single), (CodecKind::Lzma, lzma_dictionary)]
    {
        let (result, grown) = growth(|| drain(kind, &bytes[..], &limits));
        assert_eq!(result, (0, Some(CodecErrorKind::WindowTooLarge)), "{kind}");
        check(&format!("{kind}, large window"), grown, 4);
    }
    let mut lzop = vec![0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A, 0x1A, 0x0A];
    let header = [&[0x10, 0x40, 0x20, 0xA0, 0x09, 0x40, 1, 5][..], &[0; 17]].concat();
    lzop.extend(&header);
    lzop.extend(adler(&header).to_be_bytes());
    lzop.extend((64_u32 << 20).to_be_bytes());
    lzop.extend((60_u32 << 20).to_be_bytes());
    lzop.extend([0; 100]);
    let (result, grown) = growth(|| drain(CodecKind::Lzop, &lzop[..], &limits));
    assert_eq!(result, (0, Some(CodecErrorKind::Truncated)));
    check("lzop, large block", grown, 4);
    let snappy = b"\xff\x06\x00\x00sNaPpY\x00\xff\xff\xff";
    let (result, grown) = growth(|| drain(CodecKind::Snappy, &snappy[..], &limits));
    assert_eq!(result, (0, Some(CodecErrorKind::Corrupt)));
    check("snappy, large chunk", grown, 4);

    // OpenPGP: recipients without end.
    let recipient = [&[0xC1, 12, 3][..], b"recipien", &[1, 0, 1, 1]].concat();
    let keys = pgp_keys();
    let endless = Endless { piece: recipient, at: 0, left: 1 << 30 };
    let (result, grown) = growth(|| open(CodecKind::Zstd, &keys, Box::new(endless), &limits).err().map(|e| e.kind));
    assert_eq!(result, Some(CodecErrorKind::Corrupt));
    check("openpgp, many recipients", grown, 24);

    // A tar that is nothing but padding.
    let (result, grown) = growth(|| {
        let mut tar = TarReader::new(Endless { piece: vec![0; 1 << 16], at: 0, left: 1 << 30 });
        tar.next_entry().map(|entry| entry.is_none())
    });
    assert!(result.unwrap());
    check("tar, a GiB of padding", grown, 4);

    // Many zeros behind a few kilobytes: decoded in full, and stopped at a limit.
    const PLAIN: u64 = 128 << 20;
    for (kind, most_mib) in [
        (CodecKind::Lz4, 16),
        (CodecKind::Zstd, 16),
        (CodecKind::Lzma, 16),
        (CodecKind::Xz, 16),
        (CodecKind::Brotli, 32),
        (CodecKind::Gzip, 4),
        (CodecKind::Bzip2, 16),
        (CodecKind::Snappy, 4),
    ] {
        let packed = zeros(kind, PLAIN);
        let (result, grown) = growth(|| drain(kind, &packed[..], &limits));
        assert_eq!(result, (PLAIN, None), "{kind}");
        check(&format!("{kind}, {} bytes packed", packed.len()), grown, most_mib);
        let (result, grown) = growth(|| drain(kind, &packed[..], &Limits::decoded(1 << 20)));
        assert_eq!(result, (1 << 20, Some(CodecErrorKind::TooLarge(1 << 20))), "{kind}");
        check(&format!("{kind}, limited"), grown, most_mib);
    }

    assert!(failures.is_empty(), "{failures:#?}");
}

/// A run of zeros, packed.
fn zeros(kind: CodecKind, count: u64) -> Vec<u8> {
    fn fill(mut writer: impl Write, count: u64) {
        let piece = vec![0; 1 << 20];
        (0..count >> 20).for_each(|_| writer.write_all(&piece).unwrap());
    }
    let mut packed = Vec::new();
    match kind {
        CodecKind::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB);
            let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(info, &mut packed);
            fill(&mut writer, count);
            writer.finish().unwrap();
        }
        CodecKind::Zstd => fill(zstd::Encoder::new(&mut packed, 1).unwrap().auto_finish(), count),
        CodecKind::Lzma => {
            let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
            let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
            fill(liblzma::write::XzEncoder::new_stream(&mut packed, stream), count);
        }
        CodecKind::Xz => fill(liblzma::write::XzEncoder::new(&mut packed, 0), count),
        CodecKind::Brotli => fill(brotli::CompressorWriter::new(&mut packed, 4096, 1, 22), count),
        CodecKind::Gzip => fill(flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast()), count),
        CodecKind::Bzip2 => fill(bzip2::write::BzEncoder::new(&mut packed, bzip2::Compression::fast()), count),
        CodecKind::Snappy => fill(snap::write::FrameEncoder::new(&mut packed), count),
        _ => unreachable!("not asked for"),
    }
    packed
}

fn adler(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

fn pgp_keys() -> KeyRing {
    let mut keys = KeyRing::new();
    let key = include_bytes!("../src/codec/tests/data/locked-key.asc");
    keys.add_pgp(key, Some("correct horse")).unwrap();
    keys
}

/// The same bytes again and again.
struct Endless {
    piece: Vec<u8>,
    at: usize,
    left: usize,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.piece[self.at..];
        let bytes = rest.len().min(out.len()).min(self.left);
        out[..bytes].copy_from_slice(&rest[..bytes]);
        self.at = (self.at + bytes) % self.piece.len();
        self.left -= bytes;
        Ok(bytes)
    }
}
