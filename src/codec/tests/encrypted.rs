//! Encrypted objects: what opens them, what they notice, and what is said when nothing fits.

use super::*;
use crate::codec::crypto::{KeyRing, KeyTransform};

pub(super) fn open_all(kind: CodecKind, keys: &KeyRing, bytes: &[u8]) -> Result<(Vec<u8>, EncryptionSeen), CodecError> {
    let mut opened = open(kind, keys, Box::new(bytes), &Limits::default())?;
    let mut plain = Vec::new();
    match opened.reader.read_to_end(&mut plain) {
        Ok(_) => Ok((plain, opened.encryption)),
        Err(error) => Err(codec_error(&error).expect("a slice never fails to read").clone()),
    }
}

pub(super) fn fails(kind: CodecKind, keys: &KeyRing, bytes: &[u8]) -> CodecErrorKind {
    match open_all(kind, keys, bytes) {
        Err(error) => error.kind,
        Ok((plain, encryption)) => panic!("{kind}: {} bytes, {encryption}", plain.len()),
    }
}

#[test]
fn plain_objects_open_with_and_without_keys() {
    let mut wal = sample(40_000);
    wal[..4].copy_from_slice(&[0x10, 0xD1, 0x06, 0]);
    let mut keys = KeyRing::new();
    for _ in 0..2 {
        for kind in kinds().into_iter().chain([CodecKind::None]) {
            for plain in [&wal[..], b"1\t0/9016440\tno recovery target specified\n"] {
                let (seen, encryption) = open_all(kind, &keys, &encode(kind, plain)).unwrap();
                assert_eq!((&seen[..], encryption), (plain, EncryptionSeen::None), "{kind}");
            }
        }
        keys.set_libsodium_inline(&[9; 32], KeyTransform::None).unwrap();
    }
}

#[test]
fn a_damaged_beginning_is_damage_and_noise_is_not() {
    let mut noise = Noise(3);
    let keys = KeyRing::new();
    let mut other = KeyRing::new();
    other.set_libsodium_inline(&[9; 32], KeyTransform::None).unwrap();
    for kind in kinds() {
        let packed = encode(kind, &sample(30_000));
        if kind != CodecKind::Brotli {
            for bit in 0..24 {
                let mut flipped = packed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Err(error) = open_all(kind, &keys, &flipped) {
                    let known = error.is_damage() || error.kind == CodecErrorKind::WindowTooLarge;
                    assert!(known || error.kind == CodecErrorKind::Unsupported, "{kind} bit {bit}: {error:?}");
                }
            }
        }
        for length in [0, 1, 5, 100, 20_000] {
            assert!(open_all(kind, &keys, &vec![0; length]).unwrap_err().is_damage(), "{kind} {length} zeros");
        }
        let html = b"<html><body>503 Service Unavailable</body></html>";
        assert!(open_all(kind, &keys, html).unwrap_err().is_damage(), "{kind}");
        for _ in 0..200 {
            let length = 80 + noise.below(9000);
            let bytes = noise.bytes(length);
            // Noise may pass for an lzma header once in a while; never for the others.
            assert_eq!(fails(kind, &keys, &bytes), CodecErrorKind::LooksEncrypted, "{kind} {length}");
            if cfg!(feature = "libsodium") {
                assert_eq!(fails(kind, &other, &bytes), CodecErrorKind::WrongKey, "{kind} {length}");
            }
        }
    }
    let bytes = noise.bytes(20_000);
    assert_eq!(fails(CodecKind::None, &keys, &bytes), CodecErrorKind::LooksEncrypted);
    assert_eq!(open_all(CodecKind::None, &keys, &[0; 9000]).unwrap().0, [0; 9000]);
}

#[test]
fn key_management_envelopes_are_named() {
    let mut noise = Noise(8);
    let mut aws = [&[1, 2, 2, 0][..], &noise.bytes(180), &[0x20, 0, 0xFF, 0xFF]].concat();
    aws.extend(noise.bytes(5000));
    let yandex = [&b"yckms\x01\0\0\0\x40"[..], &noise.bytes(500)].concat();
    let envelope = [&b"envelope-yc-kms\x01"[..], &noise.bytes(500)].concat();
    for kind in kinds().into_iter().chain([CodecKind::None]) {
        for (bytes, kms) in [(&aws, KmsKind::Aws), (&yandex, KmsKind::Yandex), (&envelope, KmsKind::EnvelopePgp)] {
            assert_eq!(fails(kind, &KeyRing::new(), bytes), CodecErrorKind::Kms(kms), "{kind}");
        }
    }
}

#[test]
fn an_error_of_the_reader_below_shows_at_once() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    let error = open(CodecKind::Zstd, &KeyRing::new(), Box::new(Broken), &Limits::default()).err().unwrap();
    assert!(error.is_source() && !error.is_damage_with_right_key());
}

#[cfg(any(feature = "libsodium", feature = "openpgp"))]
/// Segments, histories and tars of an archive open and are whole.
pub(super) fn check_files(
    files: &std::collections::BTreeMap<String, Vec<u8>>,
    keys: &KeyRing,
    expected: EncryptionSeen,
) {
    let mut segments = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| !name.ends_with("json")) {
        let (stem, kind) = CodecKind::split(name.rsplit('/').next().unwrap().as_bytes());
        let (plain, encryption) = open_all(kind, keys, bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(encryption, expected, "{name}");
        if stem.ends_with(b".tar") {
            let mut tar = tarball::TarReader::new(&plain[..]);
            while tar.next_entry().unwrap().is_some() {}
        } else if !stem.contains(&b'.') {
            assert_eq!((plain.len(), plain[1]), (16 << 20, 0xD1), "{name}");
            segments += 1;
        }
    }
    assert!(segments > 0);
}
