//! libsodium streams, made here and by wal-g.

use dryoc::classic::crypto_secretstream_xchacha20poly1305 as stream;

use super::encrypted::{check_files, fails, open_all};
use super::golden::{files, key_file};
use super::*;
use crate::codec::crypto::{KeyError, KeyRing, KeyTransform};

const KEY: [u8; 32] = [0x5C; 32];
const CHUNK: usize = 8192 + 17;

fn keys() -> KeyRing {
    let mut keys = KeyRing::new();
    keys.set_libsodium_inline(&KEY, KeyTransform::None).unwrap();
    keys
}

/// As wal-g writes it: full chunks, then one that is shorter, maybe empty, with the final tag.
fn encrypt(plain: &[u8]) -> Vec<u8> {
    let mut state = stream::State::new();
    let mut bytes = vec![0; 24];
    stream::crypto_secretstream_xchacha20poly1305_init_push(&mut state, bytes.first_chunk_mut().unwrap(), &KEY);
    let full = plain.len() / 8192;
    for nth in 0..=full {
        let chunk = &plain[nth * 8192..plain.len().min(nth * 8192 + 8192)];
        let mut packed = vec![0; chunk.len() + 17];
        let tag = if nth == full { 3 } else { 0 };
        stream::crypto_secretstream_xchacha20poly1305_push(&mut state, &mut packed, chunk, None, tag).unwrap();
        bytes.extend(packed);
    }
    bytes
}

#[test]
fn every_codec_below_an_encryption() {
    for kind in kinds().into_iter().chain([CodecKind::None]) {
        for length in [40, 8192, 50_000] {
            let mut plain = sample(length);
            plain[..4].copy_from_slice(&[0x10, 0xD1, 0x06, 0]);
            let bytes = encrypt(&encode(kind, &plain));
            let (seen, encryption) = open_all(kind, &keys(), &bytes).unwrap();
            assert!(seen == plain, "{kind} {length}");
            assert_eq!(encryption, EncryptionSeen::Libsodium);
            assert_eq!(fails(kind, &KeyRing::new(), &bytes), CodecErrorKind::LooksEncrypted, "{kind} {length}");
        }
    }
}

#[test]
fn a_cut_or_flip_anywhere_is_seen() {
    let plain = Noise(1).bytes(20_000);
    let bytes = encrypt(&plain);
    assert_eq!(bytes.len(), 24 + 2 * CHUNK + 20_000 - 2 * 8192 + 17);
    let kind = CodecKind::None;
    for length in (1..bytes.len()).step_by(7).chain([24, 24 + CHUNK, 24 + 2 * CHUNK, bytes.len() - 1]) {
        let result = open_all(kind, &keys(), &bytes[..length]);
        if length < 200 {
            // So little is no sign of anything; uncompressed objects have no mark to miss.
            continue;
        }
        let error = result.unwrap_err();
        assert!(error.is_damage_with_right_key(), "{length}: {error}");
        if length >= 24 + CHUNK {
            assert!(error.is_damage(), "{length}: {error}");
        }
        let at_boundary = length >= 24 + CHUNK && (length - 24) % CHUNK == 0;
        assert_eq!(error.kind == CodecErrorKind::NoFinalTag, at_boundary, "{length}: {error}");
    }
    for bit in (0..bytes.len() * 8).step_by(37) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = open_all(kind, &keys(), &flipped).unwrap_err();
        let expected = if bit / 8 < 24 + CHUNK { CodecErrorKind::WrongKey } else { CodecErrorKind::Decrypt };
        assert_eq!(error.kind, expected, "{bit}");
    }
    let longer = [&bytes[..], b"x"].concat();
    // The last chunk is not a full one, so what follows it is taken for a part of it.
    assert_eq!(fails(kind, &keys(), &longer), CodecErrorKind::Decrypt);
    let full = encrypt(&plain[..8192]);
    assert_eq!(full.len(), 24 + CHUNK + 17);
    assert!(open_all(kind, &keys(), &[&full[..], &[0; 9000]].concat()).unwrap_err().is_damage());
}

#[test]
fn golden_objects_open_with_their_key() {
    let Some(text) = key_file("walg-libsodium.hex") else { return };
    let Some(files) = files("walg-libsodium-pg15", &["wal_005/", "tar_partitions/"]) else { return };
    let mut keys = KeyRing::new();
    keys.set_libsodium_file(&text, KeyTransform::Hex).unwrap();
    assert_eq!(
        KeyRing::new().set_libsodium_inline(&text, KeyTransform::Hex),
        Err(KeyError::BadEncoding("hex")),
        "the file ends in a newline, which only a file may"
    );
    check_files(&files, &keys, EncryptionSeen::Libsodium);
    for bytes in files.values() {
        assert_eq!(fails(CodecKind::Zstd, &KeyRing::new(), bytes), CodecErrorKind::LooksEncrypted);
        assert_eq!(fails(CodecKind::Zstd, &self::keys(), bytes), CodecErrorKind::WrongKey);
    }
}
