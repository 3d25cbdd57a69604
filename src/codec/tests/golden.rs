//! Bytes that real tools wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use super::*;

fn golden_dir() -> PathBuf {
    match std::env::var_os("WALPROOF_GOLDEN") {
        Some(dir) => dir.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"),
    }
}

/// Files of a golden archive whose path contains one of the pieces; `None` if the archives are not here.
pub(super) fn files(archive: &str, pieces: &[&str]) -> Option<BTreeMap<String, Vec<u8>>> {
    let path = golden_dir().join(format!("{archive}.tar.zst"));
    if !path.exists() {
        let required = std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_some_and(|value| value == "1");
        assert!(!required, "{} is missing", path.display());
        let _ = writeln!(std::io::stderr(), "SKIPPED: {} is missing", path.display());
        return None;
    }
    let mut archive = tar::Archive::new(::zstd::Decoder::new(File::open(path).unwrap()).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() && pieces.iter().any(|piece| name.contains(piece)) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.insert(name, bytes);
        }
    }
    assert!(!found.is_empty(), "nothing matches {pieces:?}");
    Some(found)
}

/// Every segment decodes to its full size and begins with a page header; every tar ends with zero blocks.
fn check(archive: &str, pieces: &[&str], segment_bytes: usize) {
    let Some(files) = files(archive, pieces) else { return };
    let (mut segments, mut tars) = (0, 0);
    for (name, bytes) in files {
        let file = name.rsplit('/').next().unwrap();
        let (stem, kind) = CodecKind::split(file.as_bytes());
        let stem = std::str::from_utf8(stem).unwrap();
        if stem.ends_with("json") || stem.ends_with("backup.info") || stem.ends_with(".txt") {
            continue;
        }
        if kind == CodecKind::Lzop && !cfg!(feature = "lzo") {
            assert_eq!(decode(kind, &bytes).unwrap_err().kind, CodecErrorKind::Unsupported);
            continue;
        }
        let plain = decode(kind, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        if stem.len() == 24 || stem.ends_with(".partial") {
            assert_eq!(plain.len(), segment_bytes, "{name}");
            assert_eq!(plain[1], 0xD1, "{name}");
            segments += 1;
        } else if stem.ends_with(".tar") {
            assert_eq!(plain.len() % 512, 0, "{name}");
            assert!(plain.ends_with(&[0; 1024]), "{name}");
            assert!(members(&plain) == members_as_usual(&plain), "{name}");
            tars += 1;
        } else {
            assert!(plain.is_ascii(), "{name}");
        }
    }
    if cfg!(feature = "lzo") || !archive.contains("lzo") {
        assert!(segments > 0 && tars > 0, "{archive}: {segments} segments, {tars} tars");
    }
}

/// A key of the golden archives.
#[cfg(any(feature = "libsodium", feature = "openpgp"))]
pub(super) fn key_file(name: &str) -> Option<Vec<u8>> {
    let path = golden_dir().join("keys").join(name);
    path.exists().then(|| std::fs::read(path).unwrap())
}

type Member = (Vec<u8>, Vec<u8>);

fn members(tar: &[u8]) -> Vec<Member> {
    let mut reader = tarball::TarReader::new(tar);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut body = Vec::new();
        reader.body().read_to_end(&mut body).unwrap();
        members.push((entry.name, body));
    }
    members
}

/// The same by another reader.
fn members_as_usual(tar: &[u8]) -> Vec<Member> {
    let mut archive = ::tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        (entry.path_bytes().into_owned(), body)
    });
    entries.collect()
}

const WAL_G: &[&str] = &["wal_005/", "tar_partitions/"];
const MIB: usize = 1 << 20;

#[test]
fn walg_lz4() {
    check("walg-lz4-pg15", &["wal_005/00000001000000000000000", "tar_partitions/"], 16 * MIB);
}

#[test]
fn walg_zstd() {
    check("walg-zstd-pg18-seg1m", WAL_G, MIB);
}

#[test]
fn walg_lzma() {
    check("walg-lzma-pg15", WAL_G, 16 * MIB);
}

#[test]
fn walg_brotli() {
    check("walg-brotli-pg15", WAL_G, 16 * MIB);
}

#[test]
fn walg_none() {
    check("walg-none-pg15", WAL_G, 16 * MIB);
}

#[test]
fn walg_lzo() {
    check("walg-lzo-pg15", WAL_G, 16 * MIB);
}

#[test]
fn wale_lzop() {
    check("wale-lzo-pg14", WAL_G, 16 * MIB);
}

#[test]
fn barman_gzip() {
    check("barman-gzip-pg15", &["/wals/", "data.tar"], 16 * MIB);
}

#[test]
fn barman_mixed() {
    check("barman-mixed-pg15", &["/wals/", "data.tar"], 16 * MIB);
}

/// One segment of each codec, damaged in the ways that the usual tools let pass here and there.
#[test]
fn damaged_segments_are_refused() {
    let lzo: &[(&str, &str)] = if cfg!(feature = "lzo") { &[("walg-lzo-pg15", "wal_005/")] } else { &[] };
    let others: &[(&str, &str)] = &[
        ("walg-lz4-pg15", "wal_005/00000001000000000000000E.lz4"),
        ("walg-zstd-pg18-seg1m", "wal_005/"),
        ("walg-lzma-pg15", "wal_005/"),
        ("walg-brotli-pg15", "wal_005/"),
        ("barman-gzip-pg15", "/wals/"),
        ("barman-mixed-pg15", ".snappy"),
        ("barman-mixed-pg15", ".bz2"),
        ("barman-mixed-pg15", ".xz"),
    ];
    let mut noise = Noise(17);
    for (archive, piece) in lzo.iter().chain(others) {
        let Some(files) = files(archive, &[piece]) else { return };
        // A segment of middle size: much content, and quick.
        let segment = |name: &str| CodecKind::split(name.rsplit('/').next().unwrap().as_bytes()).0.len() == 24;
        let (name, bytes) = files
            .iter()
            .filter(|(name, bytes)| segment(name) && !name.ends_with("json") && bytes.len() < 2_000_000)
            .max_by_key(|(_, bytes)| bytes.len())
            .unwrap();
        let kind = CodecKind::split(name.as_bytes()).1;
        let plain = decode(kind, bytes).unwrap();
        for length in [bytes.len() * 6 / 10, bytes.len() - 4, bytes.len() - 1] {
            let error = decode(kind, &bytes[..length]).unwrap_err();
            assert_eq!(error.kind, CodecErrorKind::Truncated, "{name} cut to {length}: {error}");
        }
        let tail = [&bytes[..], b"trailing garbage"].concat();
        assert!(decode(kind, &tail).unwrap_err().is_damage(), "{name} and a tail");
        for _ in 0..12 {
            let bit = noise.below(bytes.len() * 8);
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match decode(kind, &flipped) {
                Err(error) => assert!(error.is_damage(), "{name} bit {bit}: {error}"),
                // These formats have no checksum; lzop, snappy and the others do.
                Ok(seen) if matches!(kind, CodecKind::Lzma | CodecKind::Brotli) => assert!(!seen.is_empty(), "{name}"),
                Ok(seen) => assert!(seen == plain, "{name}: flipped bit {bit} gives wrong bytes"),
            }
        }
    }
}
