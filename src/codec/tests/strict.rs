//! What the usual tools let pass is an error here.

use super::*;

/// lzma has no checksum and brotli none either; snappy has no end mark.
fn has_checksum(kind: CodecKind) -> bool {
    !matches!(kind, CodecKind::Lzma | CodecKind::Brotli)
}

#[test]
fn round_trips_in_any_piece_size() {
    for kind in kinds() {
        for length in [1, 100, 5000, 300_000] {
            let plain = sample(length);
            let packed = encode(kind, &plain);
            assert_eq!(decode(kind, &packed).unwrap(), plain, "{kind} {length}");
        }
        let plain = sample(3000);
        let packed = encode(kind, &plain);
        for (give, take) in [(1, 1), (1, 7), (13, 1), (5, 4096)] {
            let input = Trickle { bytes: &packed, piece: give, interrupted: false };
            let mut reader = decoder(kind, Box::new(input), &Limits::default()).unwrap();
            let mut seen = Vec::new();
            let mut buffer = vec![0; take];
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    read => seen.extend_from_slice(&buffer[..read]),
                }
            }
            assert_eq!(seen, plain, "{kind} {give} {take}");
        }
    }
}

/// Gives a few bytes at a time, and is interrupted before each.
struct Trickle<'a> {
    bytes: &'a [u8],
    piece: usize,
    interrupted: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let length = self.piece.min(out.len());
        self.bytes.read(&mut out[..length])
    }
}

#[test]
fn an_empty_object_is_an_error_but_for_none() {
    for kind in kinds() {
        assert_eq!(decode(kind, b"").unwrap_err().kind, CodecErrorKind::Empty, "{kind}");
    }
    assert_eq!(decode(CodecKind::None, b"").unwrap(), b"");
}

#[test]
fn a_cut_at_any_length_is_an_error() {
    for kind in kinds() {
        let packed = encode(kind, &sample(3000));
        for length in 0..packed.len() {
            let error = match decode(kind, &packed[..length]) {
                Err(error) => error,
                Ok(plain) => panic!("{kind}: cut to {length} of {} gave {} bytes", packed.len(), plain.len()),
            };
            let expected = if length == 0 { CodecErrorKind::Empty } else { CodecErrorKind::Truncated };
            assert_eq!(error.kind, expected, "{kind} cut to {length}: {error}");
            assert!(error.is_damage());
        }
    }
}

#[test]
fn a_cut_between_snappy_chunks_cannot_be_seen() {
    // The format has no end mark: this is why callers check lengths too.
    let plain = sample(100_000);
    let packed = encode(CodecKind::Snappy, &plain);
    let first = 10 + 4 + u32::from_le_bytes([packed[11], packed[12], packed[13], 0]) as usize;
    assert_eq!(decode(CodecKind::Snappy, &packed[..first]).unwrap(), plain[..65536]);
    assert_eq!(decode(CodecKind::Snappy, &packed[..first + 1]).unwrap_err().kind, CodecErrorKind::Truncated);
}

#[test]
fn a_flipped_bit_is_an_error_where_the_format_can_tell() {
    let plain = sample(1500);
    for kind in kinds() {
        let packed = encode(kind, &plain);
        for bit in 0..packed.len() * 8 {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(seen) = decode_with(kind, &flipped, &Limits { decoded_max: 1 << 20, window_max: 64 << 20 }) else {
                continue;
            };
            // A flip in what only describes (time, name, system) changes nothing that was archived.
            assert!(seen == plain || !has_checksum(kind), "{kind}: flipped bit {bit} gave wrong bytes");
        }
    }
}

#[test]
fn bytes_behind_the_end_are_an_error() {
    for kind in kinds() {
        let packed = encode(kind, &sample(700));
        for tail in [&b"\0"[..], b"x", b"\0\0\0\0", b"garbage that is longer than any magic", &[0xFF; 3]] {
            let longer = [&packed[..], tail].concat();
            let result = decode(kind, &longer);
            // Zero padding in words is legal for xz, and for no other.
            if kind == CodecKind::Xz && tail == b"\0\0\0\0" {
                assert!(result.is_ok());
                continue;
            }
            let error = result.expect_err("trailing bytes");
            let expected = match kind {
                // A chunk format without an end: what follows is a bad chunk.
                CodecKind::Snappy => matches!(error.kind, CodecErrorKind::Corrupt | CodecErrorKind::Truncated),
                _ => error.kind == CodecErrorKind::TrailingBytes,
            };
            assert!(expected, "{kind} {tail:?}: {error:?}");
        }
    }
}

#[test]
fn concatenated_streams_are_one_object() {
    let (one, two) = (sample(900), sample(4000));
    for kind in kinds() {
        let both = [encode(kind, &one), encode(kind, &two)].concat();
        let result = decode(kind, &both);
        if matches!(kind, CodecKind::Lzma | CodecKind::Brotli) {
            assert_eq!(result.unwrap_err().kind, CodecErrorKind::TrailingBytes, "{kind}");
            continue;
        }
        assert_eq!(result.unwrap(), [&one[..], &two].concat(), "{kind}");
        let cut = decode(kind, &both[..both.len() - 1]).unwrap_err();
        assert_eq!(cut.kind, CodecErrorKind::Truncated, "{kind}");
    }
}

#[test]
fn skippable_frames_pass_and_hold_no_data() {
    let plain = sample(900);
    let skip = [&[0x5A, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for kind in [CodecKind::Lz4, CodecKind::Zstd] {
        let packed = encode(kind, &plain);
        let framed = [&skip[..], &packed, &skip].concat();
        assert_eq!(decode(kind, &framed).unwrap(), plain, "{kind}");
        assert_eq!(decode(kind, &framed[..framed.len() - 1]).unwrap_err().kind, CodecErrorKind::Truncated, "{kind}");
        assert_eq!(decode(kind, &skip).unwrap_err().kind, CodecErrorKind::Empty, "{kind}");
    }
}

#[test]
fn every_variant_of_an_lz4_frame() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let plain = sample(400_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in 0..8 {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks & 1 != 0)
                    .content_checksum(checks & 2 != 0)
                    .content_size((checks & 4 != 0).then_some(plain.len() as u64));
                let mut writer = FrameEncoder::with_frame_info(info, Vec::new());
                writer.write_all(&plain).unwrap();
                let packed = writer.finish().unwrap();
                assert!(decode(CodecKind::Lz4, &packed).unwrap() == plain, "{mode:?} {size:?} {checks}");
                // Without its end mark (and checksum) a frame is not whole, whatever its flags.
                let tail = if checks & 2 != 0 { 8 } else { 4 };
                for cut in 1..=tail {
                    let cut = &packed[..packed.len() - cut];
                    assert_eq!(decode(CodecKind::Lz4, cut).unwrap_err().kind, CodecErrorKind::Truncated);
                }
            }
        }
    }
}

#[cfg(feature = "lzo")]
#[test]
fn every_checksum_of_an_lzop_file() {
    let plain = sample(5000);
    for flags in [0, 0x1, 0x100, 0x101, 0x3, 0x300, 0x303, 0x1000, 0x1303] {
        let packed = lzop_writer::pack(&plain, 2048, flags);
        assert_eq!(decode(CodecKind::Lzop, &packed).unwrap(), plain, "{flags:x}");
        let cut = &packed[..packed.len() - 4];
        assert_eq!(decode(CodecKind::Lzop, cut).unwrap_err().kind, CodecErrorKind::Truncated, "{flags:x}");
    }
    for flags in [0x400, 0x800, 0x4000] {
        let packed = lzop_writer::pack(&plain, 2048, flags);
        assert!(!decode(CodecKind::Lzop, &packed).unwrap_err().message.is_empty(), "{flags:x}");
    }
}

#[test]
fn a_limit_is_exact_and_met_early() {
    for kind in kinds() {
        let plain = vec![0; 40_000_000];
        let packed = encode(kind, &plain);
        let small = Limits::decoded(1 << 20);
        let error = decode_with(kind, &packed, &small).unwrap_err();
        assert_eq!(error.kind, CodecErrorKind::TooLarge(1 << 20), "{kind}");
        assert!(!error.is_damage());
        let packed = encode(kind, &plain[..50_000]);
        assert_eq!(decode_with(kind, &packed, &Limits::decoded(50_000)).unwrap().len(), 50_000, "{kind}");
        let error = decode_with(kind, &packed, &Limits::decoded(49_999)).unwrap_err();
        assert_eq!(error.kind, CodecErrorKind::TooLarge(49_999), "{kind}");
    }
    let error = decode_with(CodecKind::None, b"1234", &Limits::decoded(3)).unwrap_err();
    assert_eq!(error.kind, CodecErrorKind::TooLarge(3));
}

#[test]
fn a_window_above_the_limit_is_refused() {
    let limits = Limits { window_max: 1 << 20, ..Limits::default() };
    let plain = sample(3 << 20);
    let mut writer = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    writer.window_log(24).unwrap();
    writer.write_all(&plain).unwrap();
    let zstd = writer.finish().unwrap();
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(32 << 20);
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut writer = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    writer.write_all(&plain[..1000]).unwrap();
    let lzma = writer.finish().unwrap();
    let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 6);
    writer.write_all(&plain[..1000]).unwrap();
    let xz = writer.finish().unwrap();
    for (kind, packed) in [(CodecKind::Zstd, zstd), (CodecKind::Lzma, lzma), (CodecKind::Xz, xz)] {
        let error = decode_with(kind, &packed, &limits).unwrap_err();
        assert_eq!(error.kind, CodecErrorKind::WindowTooLarge, "{kind}: {error}");
        assert!(decode(kind, &packed).is_ok(), "{kind}");
    }
}

#[test]
fn an_error_of_the_reader_below_stays_one_and_repeats() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "gone")),
                read => Ok(read),
            }
        }
    }
    for kind in kinds().into_iter().chain([CodecKind::None]) {
        let packed = encode(kind, &sample(100_000));
        for length in [0, 3, packed.len() / 2, packed.len()] {
            let mut reader = decoder(kind, Box::new(Broken(&packed[..length])), &Limits::default()).unwrap();
            let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
            for error in [error, reader.read(&mut [0; 9]).unwrap_err()] {
                assert!(is_source_error(&error), "{kind} {length}: {error}");
                assert!(codec_error(&error).is_none());
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                assert_eq!(source_error(&error).unwrap().to_string(), "gone");
            }
        }
    }
}

#[test]
fn mutated_streams_never_panic() {
    let mut noise = Noise(11);
    for kind in kinds() {
        let packed = encode(kind, &sample(20_000));
        for _ in 0..400 {
            let mut bytes = packed.clone();
            for _ in 0..=noise.below(4) {
                let at = noise.below(bytes.len());
                match noise.below(4) {
                    0 => bytes[at] = noise.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    2 => drop(bytes.splice(at..at, noise.bytes(5))),
                    _ => {
                        let end = (at + 1 + noise.below(40)).min(bytes.len());
                        bytes[at..end].fill(0xFF);
                    }
                }
            }
            fuzz_one(kind, &bytes);
            let length = noise.below(300);
            fuzz_one(kind, &noise.bytes(length));
        }
    }
}

#[test]
fn a_decoder_can_move_to_another_thread() {
    let packed = encode(CodecKind::Zstd, &sample(5000));
    let mut reader = decoder(CodecKind::Zstd, Box::new(&packed[..]), &Limits::default()).unwrap();
    let copied = std::thread::scope(|scope| {
        scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap()).join().unwrap()
    });
    assert_eq!(copied, 5000);
}
