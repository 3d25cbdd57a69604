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
