//! How fast WAL is decoded and data pages are summed, beside PostgreSQL's own tools where they are installed.
//!
//! `WALPROOF_BENCH_WAL=DIR` adds a folder of plain segments (one timeline, one segment size, names as in `pg_wal`),
//! `WALPROOF_BENCH_PGDATA=DIR` the data directory of a stopped server with checksums.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use walproof::model::{SegmentName, SegmentNo, SegmentSize, TimelineId};
use walproof::page::{PAGE_BYTES, PageContext, PageStream, page_checksum, relation_file};
use walproof::wal::header::LongHeader;
use walproof::wal::{DecodeOptions, SegmentDecoder};

const PG_BIN: &str = "/usr/lib/postgresql/15/bin";
const ROUNDS: usize = 5;
const MIB: f64 = 1048576.0;

/// CPU time of this thread, so that a busy machine does not matter; `None` where the system does not tell.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Median CPU time (or time) of some rounds.
fn median(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let (start, cpu_start) = (Instant::now(), cpu_time());
            round();
            cpu_start.zip(cpu_time()).map_or(start.elapsed(), |(before, after)| after - before)
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

fn report(what: &str, bytes: u64, time: Duration) {
    let rate = bytes as f64 / time.as_secs_f64() / 1e9;
    println!("{what:<52} {:>8.0} MiB {:>9.1} ms {rate:>7.2} GB/s", bytes as f64 / MIB, time.as_secs_f64() * 1e3);
}

fn decode(number: SegmentNo, timeline: TimelineId, size: SegmentSize, digest: bool, bytes: &[u8]) -> u64 {
    let mut options = DecodeOptions::new(timeline, number, size);
    options.digest = digest;
    let mut decoder = SegmentDecoder::new(options);
    // Codecs hand out pieces of about this size.
    for piece in bytes.chunks(4 << 20) {
        decoder.push(piece);
    }
    let summary = decoder.finish().0;
    assert!(summary.defects.is_empty(), "{:?}", summary.defects);
    summary.records
}

/// One 16 MiB segment full of records of one size, as 15 writes them.
fn synthetic(body_bytes: usize) -> Vec<u8> {
    let size = SegmentSize::DEFAULT.bytes() as usize;
    let first = size as u64;
    let (mut out, mut prev) = (Vec::with_capacity(size), first - 64);
    let mut body = vec![255, 0, 3];
    body.resize(body_bytes, 0x5A);
    let total = body.len() + 24;
    let header = |out: &mut Vec<u8>, rem: u32| {
        let at = first + out.len() as u64;
        let info = u16::from(rem > 0) | if out.is_empty() { 2 } else { 0 };
        out.extend(0xD110u16.to_le_bytes());
        out.extend(info.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend(rem.to_le_bytes());
        out.extend([0; 4]);
        if info & 2 != 0 {
            out.extend(1u64.to_le_bytes());
            out.extend((size as u32).to_le_bytes());
            out.extend(8192u32.to_le_bytes());
        }
    };
    while out.len() < size {
        if out.len().is_multiple_of(8192) {
            header(&mut out, 0);
        }
        let start = first + out.len() as u64;
        let mut record = Vec::with_capacity(total);
        record.extend((total as u32).to_le_bytes());
        record.extend(0u32.to_le_bytes());
        record.extend(prev.to_le_bytes());
        record.extend([0, 10, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &record);
        record.extend(crc.to_le_bytes());
        record.extend(&body);
        let mut rest = &record[..];
        while !rest.is_empty() && out.len() < size {
            if out.len().is_multiple_of(8192) {
                header(&mut out, rest.len() as u32);
            }
            let (piece, more) = rest.split_at(rest.len().min(8192 - out.len() % 8192));
            out.extend(piece);
            rest = more;
        }
        out.resize(out.len().next_multiple_of(8), 0);
        prev = start;
    }
    out
}

fn bench_synthetic() {
    for (what, body_bytes) in [("40", 16), ("80", 56), ("200", 176), ("8000", 7976), ("60000", 59976)] {
        let segment = synthetic(body_bytes);
        let repeats = 32;
        let time = median(|| {
            for _ in 0..repeats {
                decode(SegmentNo(1), TimelineId::FIRST, SegmentSize::DEFAULT, false, &segment);
            }
        });
        report(&format!("decode, records of {what} bytes"), repeats * segment.len() as u64, time);
    }
}

/// CPU time of children waited for so far, in clock ticks of 10 ms.
fn children_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    fields.get(13).zip(fields.get(14)).map_or(0, |(user, system)| user + system)
}

fn bench_folder(folder: &Path) {
    let mut segments: Vec<(SegmentName, PathBuf)> = std::fs::read_dir(folder)
        .expect("WALPROOF_BENCH_WAL is a folder")
        .filter_map(|entry| entry.ok())
        .filter_map(|entry| Some((SegmentName::parse(entry.file_name().as_encoded_bytes())?, entry.path())))
        .collect();
    segments.sort();
    let contents: Vec<(SegmentName, Vec<u8>)> =
        segments.iter().map(|(name, path)| (*name, std::fs::read(path).expect("a readable segment"))).collect();
    let Some((_, first)) = contents.first() else { return };
    let size = LongHeader::parse(first).and_then(|header| header.segment_size().ok()).expect("a WAL segment");
    let bytes: u64 = contents.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    for digest in [false, true] {
        let mut records = 0;
        let time = median(|| {
            records = contents
                .iter()
                .map(|(name, bytes)| decode(name.number(size).expect("a number"), name.timeline, size, digest, bytes))
                .sum();
        });
        let with = if digest { ", with digest" } else { "" };
        report(&format!("decode, {} real segments{with}", contents.len()), bytes, time);
        let (each_ns, each_bytes) = (time.as_secs_f64() * 1e9 / records as f64, bytes as f64 / records as f64);
        println!("{:<52} {each_ns:>8.1} ns for {each_bytes:.0} bytes", "  each record");
    }
    let tool = Path::new(PG_BIN).join("pg_waldump");
    let (Some((first, _)), Some((last, _)), true) = (segments.first(), segments.last(), tool.exists()) else { return };
    let mut ticks: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let before = children_ticks();
            let status = Command::new(&tool)
                .args(["-q", "-p"])
                .arg(folder)
                .args([first.to_string(), last.to_string()])
                .stderr(Stdio::null())
                .status();
            assert!(status.is_ok());
            children_ticks() - before
        })
        .collect();
    ticks.sort();
    report("pg_waldump -q, CPU time", bytes, Duration::from_millis(ticks[ROUNDS / 2] * 10));
}

fn bench_pages() {
    // As much as stays in a cache, which is where a decoder leaves it, and as much as does not.
    for (what, bytes, repeats) in [("cache", 256 << 10, 1024), ("memory", 256usize << 20, 1)] {
        let pages: Vec<u8> = (0..bytes).map(|at| (at ^ at >> 7) as u8).collect();
        let time = median(|| {
            for _ in 0..repeats {
                let sum =
                    pages.chunks_exact(PAGE_BYTES).zip(0..).fold(0, |sum, (page, n)| sum ^ page_checksum(page, n));
                std::hint::black_box(sum);
            }
        });
        report(&format!("page checksums in {what}"), repeats * pages.len() as u64, time);
    }
}

fn relation_files(root: &Path, folder: &Path, out: &mut Vec<(u32, PathBuf)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            relation_files(root, &path, out);
        } else if let Ok(inside) = path.strip_prefix(root)
            && let Some(file) = relation_file(inside.as_os_str().as_encoded_bytes(), 131_072)
        {
            out.push((file.first_block, path));
        }
    }
}

fn bench_data_directory(folder: &Path) {
    let mut files = Vec::new();
    relation_files(folder, folder, &mut files);
    let context = PageContext { checksums: true, ..PageContext::default() };
    let mut bytes = 0;
    let mut piece = vec![0; 256 << 10];
    let time = median(|| {
        bytes = 0;
        for (first_block, path) in &files {
            let mut file = std::fs::File::open(path).expect("a readable file");
            let mut stream = PageStream::new(context, PAGE_BYTES, *first_block);
            loop {
                match std::io::Read::read(&mut file, &mut piece).expect("a readable file") {
                    0 => break,
                    n => {
                        stream.push(&piece[..n]);
                        bytes += n as u64;
                    }
                }
            }
            let report = stream.finish();
            assert_eq!(report.bad_count, 0, "{}: {:?}", path.display(), report.bad);
        }
    });
    report(&format!("page checksums, {} files", files.len()), bytes, time);
    let tool = Path::new(PG_BIN).join("pg_checksums");
    if !tool.exists() {
        return;
    }
    let mut ticks: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let before = children_ticks();
            let status = Command::new(&tool).args(["--check", "-D"]).arg(folder).stdout(Stdio::null()).status();
            assert!(status.is_ok_and(|status| status.success()), "pg_checksums failed");
            children_ticks() - before
        })
        .collect();
    ticks.sort();
    report("pg_checksums --check, CPU time", bytes, Duration::from_millis(ticks[ROUNDS / 2] * 10));
}

fn main() {
    bench_synthetic();
    if let Some(folder) = std::env::var_os("WALPROOF_BENCH_WAL") {
        bench_folder(Path::new(&folder));
    }
    bench_pages();
    if let Some(folder) = std::env::var_os("WALPROOF_BENCH_PGDATA") {
        bench_data_directory(Path::new(&folder));
    }
}
