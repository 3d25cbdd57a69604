//! Golden archives for the tests of WAL and pages: streamed out of their tarballs, object by object.
#![allow(dead_code, clippy::disallowed_methods, clippy::print_stdout)]

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use walproof::model::{SegmentName, TimelineHistory, TimelineId, WalFileName};
use walproof::wal::Ancestry;
use walproof::wal::header::LongHeader;

/// The wal-g archives whose objects decode without a key and without lzop.
pub const PLAIN_ARCHIVES: [&str; 8] = [
    "walg-none-pg15",
    "walg-lz4-pg15",
    "walg-zstd-pg17-timelines",
    "walg-composers-pg15",
    "walg-s3-pg15",
    "walg-lzma-pg15",
    "walg-brotli-pg15",
    "walg-zstd-pg18-seg1m",
];

/// The tarball of a golden archive; `None` after saying so, if golden archives are not at hand.
pub fn tarball(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WALPROOF_GOLDEN")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"));
    let path = folder.join(format!("{name}.tar.zst"));
    if path.is_file() {
        return Some(path);
    }
    assert!(std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_none_or(|v| v != "1"), "no golden archive {path:?}");
    println!("SKIPPED: no golden archive {}", path.display());
    None
}

/// Calls `visit` with the path inside the archive and the raw bytes of each object that `wanted` accepts.
pub fn each_object(name: &str, wanted: impl Fn(&str) -> bool, mut visit: impl FnMut(&str, Vec<u8>)) -> Option<()> {
    let file = File::open(tarball(name)?).unwrap();
    let mut tar = tar::Archive::new(zstd::Decoder::new(BufReader::new(file)).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let inside = path.split_once('/').map_or("", |(_, rest)| rest).to_owned();
        if entry.header().entry_type().is_file() && wanted(&inside) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            visit(&inside, bytes);
        }
    }
    Some(())
}

/// Undoes the codec that an object's extension names; `None` for those these tests have no use for.
pub fn decoded(name: &str, bytes: Vec<u8>) -> Option<(String, Vec<u8>)> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension @ ("lz4" | "zst" | "br" | "lzma"))) => (stem, extension),
        Some((_, "lzo" | "json")) => return None,
        // A tar without compression, a bare segment, a backup history file.
        _ => (name, ""),
    };
    let mut plain = Vec::new();
    match extension {
        "lz4" => lz4_flex::frame::FrameDecoder::new(&bytes[..]).read_to_end(&mut plain),
        "zst" => zstd::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut plain),
        "br" => brotli::Decompressor::new(&bytes[..], 1 << 16).read_to_end(&mut plain),
        "lzma" => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(u64::MAX).unwrap();
            liblzma::read::XzDecoder::new_stream(&bytes[..], stream).read_to_end(&mut plain)
        }
        _ => return Some((stem.to_owned(), bytes)),
    }
    .unwrap();
    Some((stem.to_owned(), plain))
}

/// A decoded segment of a golden archive.
pub struct Segment {
    pub name: SegmentName,
    pub partial: bool,
    pub header: LongHeader,
    pub bytes: Vec<u8>,
}

/// The timelines of an archive by its history files.
pub fn ancestries(archive: &str) -> Vec<Ancestry> {
    let mut ancestries = vec![Ancestry::none(TimelineId::FIRST)];
    let is_history = |path: &str| path.starts_with("wal_005/") && path.contains(".history");
    each_object(archive, is_history, |path, bytes| {
        let (name, bytes) = decoded(&path["wal_005/".len()..], bytes).unwrap();
        let Some(WalFileName::History(timeline)) = WalFileName::parse(name.as_bytes()) else { return };
        ancestries.push(Ancestry::of(&TimelineHistory::parse(timeline, &bytes).unwrap()));
    });
    ancestries
}

/// What is known to be true about a golden archive.
pub fn expected(archive: &str) -> Option<serde_json::Value> {
    let path = tarball(archive)?.with_file_name(format!("{archive}.expected.json"));
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// Calls `visit` for each segment, ascending by name.
pub fn each_segment(archive: &str, mut visit: impl FnMut(Segment)) -> Option<()> {
    let mut packed = Vec::new();
    let is_wal = |path: &str| path.starts_with("wal_005/");
    each_object(archive, is_wal, |path, bytes| packed.push((path["wal_005/".len()..].to_owned(), bytes)))?;
    packed.sort();
    for (name, bytes) in packed {
        let stem = name.strip_suffix(".lz4").or(name.strip_suffix(".zst")).unwrap_or(&name);
        if stem.ends_with("_delta") {
            continue;
        }
        let Some((name, bytes)) = decoded(&name, bytes) else { continue };
        match WalFileName::parse(name.as_bytes()) {
            Some(WalFileName::Segment(name)) => visit(Segment::new(name, false, bytes)),
            Some(WalFileName::Partial(name)) => visit(Segment::new(name, true, bytes)),
            _ => {}
        }
    }
    Some(())
}

impl Segment {
    /// A plain segment under its name.
    pub fn of(name: &str, bytes: Vec<u8>) -> Self {
        Segment::new(SegmentName::parse(name.as_bytes()).unwrap(), false, bytes)
    }

    fn new(name: SegmentName, partial: bool, bytes: Vec<u8>) -> Self {
        let header = LongHeader::parse(&bytes).unwrap();
        Segment { name, partial, header, bytes }
    }
}

/// Repeatable random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (value ^ value >> 31) % limit.max(1)
    }
}

/// The files of one tar object of a golden backup: path without the leading slash, and content.
pub fn tar_members(bytes: &[u8], mut visit: impl FnMut(&str, Vec<u8>)) {
    let mut tar = tar::Archive::new(bytes);
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            visit(path.trim_start_matches('/'), content);
        }
    }
}
