//! OpenPGP messages by wal-g, gpg 1.4 and gpg 2.

use super::encrypted::{check_files, fails, open_all};
use super::golden::{files, key_file};
use super::*;
use crate::codec::crypto::{KeyError, KeyRing};

fn walg() -> Option<(KeyRing, std::collections::BTreeMap<String, Vec<u8>>)> {
    let mut keys = KeyRing::new();
    keys.add_pgp(&key_file("walg-pgp-secret.asc")?, None).unwrap();
    Some((keys, files("walg-pgp-pg15", &["wal_005/", "tar_partitions/"])?))
}

const PROTECTED: EncryptionSeen = EncryptionSeen::OpenPgp { protected: true };

#[test]
fn golden_objects_of_wal_g() {
    let Some((keys, files)) = walg() else { return };
    check_files(&files, &keys, PROTECTED);
    for bytes in files.values() {
        assert_eq!(sniff(bytes, CodecKind::Zstd), Sniffed::OpenPgp);
        assert_eq!(fails(CodecKind::Zstd, &KeyRing::new(), bytes), CodecErrorKind::KeyMissing);
    }
}

#[cfg(feature = "lzo")]
#[test]
fn golden_objects_of_wal_e() {
    let Some(files) = files("wale-gpg-pg14", &["wal_005/", "tar_partitions/", "secret-test-key"]) else { return };
    let (key, objects): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, _)| name.ends_with(".asc"));
    let mut keys = KeyRing::new();
    keys.add_pgp(&key[0].1, None).unwrap();
    check_files(&objects.into_iter().collect(), &keys, PROTECTED);
    // The key of another archive: certainly encrypted, and not for it.
    let Some((_, others)) = walg() else { return };
    let (_, other) = others.first_key_value().unwrap();
    assert_eq!(fails(CodecKind::Zstd, &keys, other), CodecErrorKind::KeyMissing);
}

#[test]
fn a_cut_flip_or_tail_is_seen() {
    let Some((keys, files)) = walg() else { return };
    let (_, small) = files.iter().find(|(name, _)| name.contains(".backup.")).unwrap();
    let (plain, _) = open_all(CodecKind::Zstd, &keys, small).unwrap();
    // Every try costs the private key's arithmetic, so not every bit is tried.
    for length in (1..small.len()).step_by(7) {
        let error = open_all(CodecKind::Zstd, &keys, &small[..length]).unwrap_err();
        assert!(error.is_damage_with_right_key(), "{length}: {error:?}");
        if length > 60 {
            assert_eq!(error.kind, CodecErrorKind::Truncated, "{length}: {error}");
        }
    }
    for bit in (0..small.len() * 8).step_by(23) {
        let mut flipped = small.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = match open_all(CodecKind::Zstd, &keys, &flipped) {
            Err(error) => error,
            Ok((seen, _)) => {
                // The bit count of a number may be off by a little.
                assert!(bit / 8 < 20 && seen == plain, "flipped bit {bit} of byte {} passes", bit / 8);
                continue;
            }
        };
        let unread = matches!(error.kind, CodecErrorKind::Unsupported | CodecErrorKind::KeyMissing);
        // A flip in a version or algorithm makes a message of another, unread kind.
        assert!(error.is_damage_with_right_key() || (unread && bit / 8 < 600), "{bit}: {error:?}");
    }
    for tail in [&b"x"[..], b"\0", &[0xCA, 3, b'P', b'G', b'P'], &[0xD5; 40], small] {
        let error = open_all(CodecKind::Zstd, &keys, &[small, tail].concat()).unwrap_err();
        assert_eq!(error.kind, CodecErrorKind::TrailingBytes, "{error}");
    }
    // A large one, cut at many places, among them the ends of partial packets.
    let (_, large) = files.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut noise = Noise(4);
    for _ in 0..60 {
        let length = 700 + noise.below(large.len().min(600_000) - 700);
        let error = open_all(CodecKind::Zstd, &keys, &large[..length]).unwrap_err();
        assert!(error.is_damage(), "{length}: {error:?}");
        let mut flipped = large[..large.len().min(600_000)].to_vec();
        flipped[length] ^= 0x10;
        assert!(open_all(CodecKind::Zstd, &keys, &flipped).unwrap_err().is_damage());
    }
}

#[test]
fn mutated_messages_never_panic() {
    let Some((keys, files)) = walg() else { return };
    let (_, small) = files.iter().find(|(name, _)| name.contains(".backup.")).unwrap();
    let mut noise = Noise(21);
    for _ in 0..400 {
        let mut bytes = small.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(bytes.len());
            match noise.below(3) {
                0 => bytes[at] = noise.next() as u8,
                1 => drop(bytes.splice(at..at, noise.bytes(3))),
                _ => drop(bytes.drain(at..(at + 5).min(bytes.len()))),
            }
        }
        let _ = open_all(CodecKind::Zstd, &keys, &bytes);
    }
}

#[test]
fn keys_and_passphrases() {
    let Some(secret) = key_file("walg-pgp-secret.asc") else { return };
    let public = key_file("walg-pgp-public.asc").unwrap();
    let add = |key: &[u8], passphrase| KeyRing::new().add_pgp(key, passphrase);
    assert_eq!(add(&public, None), Err(KeyError::PublicOnly));
    assert!(matches!(add(b"nothing", None), Err(KeyError::NoPgpKey(_))));
    assert!(matches!(add(b"", None), Err(KeyError::NoPgpKey(_))));
    assert!(matches!(add(&secret[..secret.len() / 2], None), Err(KeyError::NoPgpKey(_))));
    let inline = String::from_utf8(secret.clone()).unwrap().replace('\n', "\\n");
    add(inline.as_bytes(), Some("not needed")).unwrap();

    // Made by gpg, with a passphrase.
    assert_eq!(add(LOCKED_KEY, None), Err(KeyError::Passphrase { given: false }));
    assert_eq!(add(LOCKED_KEY, Some("wrong")), Err(KeyError::Passphrase { given: true }));
    let mut keys = KeyRing::new();
    keys.add_pgp(LOCKED_KEY, Some("correct horse")).unwrap();
    assert_eq!(format!("{keys:?}"), "KeyRing { libsodium: false, pgp: true, .. }");
}

const LOCKED_KEY: &[u8] = include_bytes!("data/locked-key.asc");

#[test]
fn every_shape_of_message_that_gpg_makes() {
    let mut keys = KeyRing::new();
    keys.add_pgp(LOCKED_KEY, Some("correct horse")).unwrap();
    let plain = b"START WAL LOCATION: 0/9000028 (file 000000010000000000000009)\n".repeat(40);
    let shapes: [(&[u8], bool); 5] = [
        (include_bytes!("data/mdc.lz4.gpg"), true),
        (include_bytes!("data/stdin.lz4.gpg"), true),
        (include_bytes!("data/zlib.lz4.gpg"), true),
        (include_bytes!("data/anonymous-bzip2.lz4.gpg"), true),
        // As gpg 1.4 wrote for keys that did not ask for an integrity code.
        (include_bytes!("data/nomdc.lz4.gpg"), false),
    ];
    for (nth, (bytes, protected)) in shapes.into_iter().enumerate() {
        let (seen, encryption) = open_all(CodecKind::Lz4, &keys, bytes).unwrap_or_else(|e| panic!("{nth}: {e}"));
        assert_eq!((&seen, encryption), (&plain, EncryptionSeen::OpenPgp { protected }), "{nth}");
        for length in (1..bytes.len()).step_by(3) {
            let error = open_all(CodecKind::Lz4, &keys, &bytes[..length]).unwrap_err();
            assert!(error.is_damage_with_right_key(), "{nth} {length}: {error:?}");
        }
        for bit in (0..bytes.len() * 8).step_by(5) {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // What passes is a flip in a number that can be written in several ways, and, without an
            // integrity code, in the name or time of the literal packet.
            if let Ok((seen, _)) = open_all(CodecKind::Lz4, &keys, &flipped) {
                assert!(seen == plain, "{nth}: flipped bit {bit} gives wrong bytes");
            }
        }
    }
    let signed = include_bytes!("data/signed.lz4.gpg");
    assert_eq!(fails(CodecKind::Lz4, &keys, signed), CodecErrorKind::Unsupported);
    let symmetric = include_bytes!("data/symmetric.lz4.gpg");
    assert_eq!(fails(CodecKind::Lz4, &keys, symmetric), CodecErrorKind::KeyMissing);
}
