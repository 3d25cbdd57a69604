//! How fast objects of each format decode, on one thread.
//!
//! `cargo bench --bench codec` takes objects that real tools wrote from the golden archives;
//! `cargo bench --bench codec -- FILE...` decodes given files instead (codec by extension), to be compared
//! with `lz4 -t FILE` and the like.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walproof::codec::crypto::{KeyRing, KeyTransform};
use walproof::codec::{Limits, open};
use walproof::model::CodecKind;

/// Archive, piece of the path, label. Objects are those whose path contains the piece.
const GROUPS: &[(&str, &str, &str)] = &[
    ("walg-none-pg15", "wal_005/", "none"),
    ("walg-lz4-pg15", "wal_005/", "lz4"),
    ("walg-zstd-pg17-timelines", "wal_005/", "zstd"),
    ("walg-brotli-pg15", "wal_005/", "brotli"),
    ("walg-lzma-pg15", "wal_005/", "lzma"),
    ("walg-lzo-pg15", "wal_005/", "lzop"),
    ("barman-gzip-pg15", "/wals/", "gzip"),
    ("barman-mixed-pg15", ".snappy", "snappy"),
    ("barman-mixed-pg15", ".bz2", "bzip2"),
    ("barman-mixed-pg15", ".xz", "xz"),
    ("walg-libsodium-pg15", "wal_005/", "zstd in libsodium"),
    ("walg-pgp-pg15", "wal_005/", "zstd in OpenPGP"),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is a check that it still works.
    let full = args.iter().any(|arg| arg == "--bench");
    let files: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    if !files.is_empty() {
        return files.iter().for_each(|file| bench_file(Path::new(file)));
    }
    let golden = std::env::var_os("WALPROOF_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"), PathBuf::from);
    if !golden.exists() {
        println!("SKIPPED: {} is missing", golden.display());
        return;
    }
    let keys = keys(&golden);
    println!("{:<20} {:>8} {:>10} {:>10} {:>9}", "codec", "objects", "packed MB", "plain MB", "MB/s");
    for (archive, piece, label) in GROUPS {
        let objects = objects(&golden.join(format!("{archive}.tar.zst")), piece);
        let packed: usize = objects.iter().map(|(_, bytes)| bytes.len()).sum();
        let (mut plain, mut best) = (0, Duration::MAX);
        for _ in 0..if full { 5 } else { 1 } {
            let clock = Instant::now();
            plain = objects.iter().map(|(kind, bytes)| drain(*kind, &keys, &bytes[..], 256 << 10)).sum();
            best = best.min(clock.elapsed());
        }
        let rate = plain as f64 / best.as_secs_f64() / 1e6;
        let mega = |bytes: f64| format!("{:.1}", bytes / 1e6);
        let (packed, decoded) = (mega(packed as f64), mega(plain as f64));
        println!("{label:<20} {:>8} {packed:>10} {decoded:>10} {rate:>9.0}", objects.len());
    }
}

fn bench_file(path: &Path) {
    let kind = CodecKind::split(path.as_os_str().as_encoded_bytes()).1;
    for buffer_bytes in [64 << 10, 256 << 10, 4 << 20, 16 << 20] {
        for _ in 0..3 {
            let clock = Instant::now();
            let file = File::open(path).expect("a readable file");
            let plain = drain(kind, &KeyRing::new(), file, buffer_bytes);
            let taken = clock.elapsed();
            let rate = plain as f64 / taken.as_secs_f64() / 1e6;
            let seconds = taken.as_secs_f64();
            println!("{kind}: {plain} bytes in {seconds:.3} s, {rate:.0} MB/s, {} KiB at a time", buffer_bytes >> 10);
        }
    }
}

/// Decodes everything and gives the plain length.
fn drain(kind: CodecKind, keys: &KeyRing, input: impl Read + Send, buffer_bytes: usize) -> u64 {
    let mut reader = open(kind, keys, Box::new(input), &Limits::default()).expect("an object that opens").reader;
    let mut buffer = vec![0; buffer_bytes];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer).expect("an object that decodes") {
            0 => return total,
            read => total += read as u64,
        }
    }
}

fn keys(golden: &Path) -> KeyRing {
    let mut keys = KeyRing::new();
    let file = |name: &str| std::fs::read(golden.join("keys").join(name)).expect("a key file");
    keys.set_libsodium_file(&file("walg-libsodium.hex"), KeyTransform::Hex).expect("a key");
    keys.add_pgp(&file("walg-pgp-secret.asc"), None).expect("a key");
    keys
}

fn objects(archive: &Path, piece: &str) -> Vec<(CodecKind, Vec<u8>)> {
    let mut archive =
        tar::Archive::new(zstd::Decoder::new(File::open(archive).expect("a golden archive")).expect("zstd"));
    let mut objects = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a member");
        let name = entry.path_bytes().into_owned();
        let is_wanted = name.windows(piece.len()).any(|window| window == piece.as_bytes());
        if !is_wanted || !entry.header().entry_type().is_file() || name.ends_with(b".json") {
            continue;
        }
        let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a body");
        objects.push((CodecKind::split(file).1, bytes));
    }
    objects
}
