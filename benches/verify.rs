//! Proof of content beside the tools that read the same bytes: `walproof verify` against `lz4 -t` and `pg_waldump -q`, two
//! jobs against one, page checksums against `pg_checksums --check`, the memory over WAL in several codecs and that of a
//! part of 4 GiB.
//!
//! `cargo bench --bench verify [-- wal codecs pages memory] [--mib 1024]`. WAL and data files come from a PostgreSQL server in a
//! sandbox under `pgbench` and are made once (`target/tmp/bench-verify`). Everything measured is a process of its own,
//! so that the operating system tells CPU time and memory. Nothing is asserted about speed: machines are noisy.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use serde_json::{Value, json};
use walproof::model::{SegmentSize, TimelineId};
use walproof::page::{PAGE_BYTES, PageContext, PageStream, page_checksum, relation_file};
use walproof::postgres::{
    ClusterOptions, Identity, Installation, Sandbox, Server, ServerOptions, StopMode, command_literal, create_cluster,
    installations, run,
};
use walproof::run::Cancel;
use walproof::wal::ControlFile;

const ROUNDS: usize = 5;
/// Bytes of a data file that one thread takes at a time.
const SLICE_BYTES: u64 = 8 << 20;
const MIB: f64 = 1_048_576.0;
/// The reference tools are those of this major or newer.
const MAJOR_MIN: u32 = 15;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().map(String::as_str) == Some("--child") {
        return child(&args[1..]);
    }
    let mib = args.iter().position(|arg| arg == "--mib").map_or(1024, |at| args[at + 1].parse().expect("a number"));
    let chosen = |what: &str| {
        let names = ["wal", "codecs", "pages", "memory"];
        let named = args.iter().any(|arg| names.contains(&arg.as_str()));
        !named || args.iter().any(|arg| arg == what)
    };
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-verify");
    if chosen("wal") || chosen("codecs") || chosen("pages") {
        let Some(server) = tools() else {
            return println!("no PostgreSQL with pgbench and pg_waldump on this machine");
        };
        if !place.join("made").is_file() {
            make(&place, &server, mib);
        }
        if chosen("wal") {
            bench_wal(&place, &server);
        }
        if chosen("codecs") {
            bench_codecs(&place);
        }
        if chosen("pages") {
            bench_pages(&place, &server);
        }
    }
    if chosen("memory") {
        bench_memory(&place.join("memory"));
    }
}

fn tools() -> Option<Installation> {
    let wanted = ["pgbench", "pg_waldump", "pg_checksums", "initdb"];
    let mut found = installations(&[]).ok()?;
    found.retain(|one| one.version.major >= MAJOR_MIN && wanted.iter().all(|tool| one.has(tool)));
    found.into_iter().next()
}

// Measuring.

struct Cost {
    cpu: f64,
    wall: f64,
    peak_kib: i64,
}

fn cpu_s(usage: &Usage) -> f64 {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Runs a command as its only child and prints what it cost.
fn child(command: &[String]) {
    let begun = Instant::now();
    let status = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).status().expect("a program");
    let wall = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    println!("\ncost {} {wall} {} {}", cpu_s(&usage), usage.max_rss(), status.code().unwrap_or(-1));
}

/// The cost of a command, its output and exit code.
fn measure(program: &Path, args: &[&str]) -> (Cost, String, i32) {
    let me = std::env::current_exe().expect("a path");
    let output =
        Command::new(me).arg("--child").arg(program).args(args).stderr(Stdio::inherit()).output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (text, cost) = text.rsplit_once("\ncost ").unwrap_or_else(|| panic!("{} {args:?}: {text}", program.display()));
    let numbers: Vec<f64> = cost.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let cost = Cost { cpu: numbers[0], wall: numbers[1], peak_kib: numbers[2] as i64 };
    (cost, text.to_owned(), numbers[3] as i32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn line(what: &str, bytes: u64, costs: &[Cost]) -> (f64, f64) {
    let cpu = median(costs.iter().map(|cost| cost.cpu).collect());
    let wall = median(costs.iter().map(|cost| cost.wall).collect());
    let peak = costs.iter().map(|cost| cost.peak_kib).max().unwrap_or(0);
    println!(
        "{what:<44} {:>6.0} MiB  CPU {cpu:>6.2} s  wall {wall:>6.2} s  {:>5.2} GB/s  peak {:>5.1} MiB",
        bytes as f64 / MIB,
        bytes as f64 / cpu / 1e9,
        peak as f64 / 1024.0
    );
    (cpu, wall)
}

/// One `walproof verify` that has to have read everything and found nothing wrong with it.
fn verify(root: &Path, what: &[&str], jobs: &str) -> (Cost, Value) {
    let root = root.to_str().expect("a plain path");
    let mut args = vec!["verify", root, "--jobs", jobs, "--no-progress", "--format", "json", "--layout", "wal-g"];
    args.extend(what);
    let (cost, text, code) = measure(Path::new(env!("CARGO_BIN_EXE_walproof")), &args);
    assert!(code == 0 || code == 1, "exit {code}: {text}");
    let report: Value = serde_json::from_str(&text).expect("a report");
    let archive = report["archives"][0].clone();
    let wrong: Vec<&Value> = archive["findings"].as_array().into_iter().flatten().collect();
    let content = wrong.iter().filter(|finding| finding["code"].as_str().is_some_and(|code| code.starts_with("INT")));
    assert_eq!(content.count(), 0, "{wrong:#?}");
    (cost, archive)
}

// WAL.

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().expect("a plain name")).collect();
    names.sort();
    names
}

fn bench_wal(place: &Path, server: &Installation) {
    let (plain, archive) = (place.join("plain"), place.join("archive"));
    let segments = names(&plain);
    let bytes = segments.iter().map(|name| fs::metadata(plain.join(name)).expect("a segment").len()).sum::<u64>();
    let packed: Vec<String> = names(&archive.join("wal_005"))
        .iter()
        .map(|name| archive.join("wal_005").join(name).to_str().expect("a plain path").to_owned())
        .collect();
    println!("{} segments of {} under pgbench, lz4", segments.len(), server.version);

    let (mut ours, mut two, mut lz4, mut dump) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Side by side, so that whatever else the machine does meets all of them.
    for _ in 0..ROUNDS {
        let (cost, report) = verify(&archive, &["--wal", "all", "--backup", "none"], "1");
        assert_eq!(report["verify"]["wal_segments"], segments.len(), "{}", report["verify"]);
        ours.push(cost);
        two.push(verify(&archive, &["--wal", "all", "--backup", "none"], "2").0);
        let mut args = vec!["-t", "-q", "-m"];
        args.extend(packed.iter().map(String::as_str));
        let (cost, text, code) = measure(Path::new("lz4"), &args);
        assert_eq!(code, 0, "lz4: {text}");
        lz4.push(cost);
        let (first, last) = (segments.first().expect("segments"), segments.last().expect("segments"));
        let args = ["-q", "-p", plain.to_str().expect("a plain path"), first, last];
        dump.push(measure(&server.program("pg_waldump"), &args).0);
    }
    let peaks = [peak_mib(&ours), peak_mib(&two)];
    let (ours, wall) = line("walproof verify --jobs 1", bytes, &ours);
    let (_, wall_two) = line("walproof verify --jobs 2", bytes, &two);
    let (lz4, _) = line("lz4 -t", bytes, &lz4);
    let (dump, _) = line("pg_waldump -q", bytes, &dump);
    println!("verify takes {:.2} times the CPU time of lz4 -t and pg_waldump -q (at most 1.3)", ours / (lz4 + dump));
    println!("two jobs are {:.2} times as fast as one (at least 1.7 on an idle machine)", wall / wall_two);
    for (peak, jobs) in peaks.into_iter().zip(1..) {
        println!("{jobs} jobs over lz4: peak {peak:.1} MiB (at most {})", allowed_mib(jobs, 0));
    }
}

/// What `verify` may take over WAL: two segments and the codec's window for each job.
fn allowed_mib(jobs: u64, window_mib: u64) -> u64 {
    64 + jobs * (2 * 16 + window_mib)
}

fn peak_mib(costs: &[Cost]) -> f64 {
    costs.iter().map(|cost| cost.peak_kib).max().unwrap_or(0) as f64 / 1024.0
}

/// Segments packed in each further codec.
const CODEC_SEGMENTS_MAX: usize = 32;

/// Codecs with windows that differ, as wal-g writes them.
fn bench_codecs(place: &Path) {
    let segments: Vec<String> = names(&place.join("plain")).into_iter().take(CODEC_SEGMENTS_MAX).collect();
    for (extension, window_mib) in [("zst", 2), ("br", 4)] {
        let archive = place.join("codecs").join(extension);
        let folder = archive.join("wal_005");
        if !archive.join("made").is_file() {
            fs::create_dir_all(&folder).expect("a folder");
            for name in &segments {
                let bytes = fs::read(place.join("plain").join(name)).expect("a segment");
                let file = File::create(folder.join(format!("{name}.{extension}"))).expect("a file");
                pack(extension, &bytes, file);
            }
            fs::write(archive.join("made"), "").expect("room");
        }
        for jobs in [1, 2] {
            let costs: Vec<Cost> = (0..ROUNDS)
                .map(|_| verify(&archive, &["--wal", "all", "--backup", "none"], &jobs.to_string()).0)
                .collect();
            line(&format!("walproof verify --jobs {jobs}, {extension}"), segments.len() as u64 * (16 << 20), &costs);
            let allowed = allowed_mib(jobs, window_mib);
            println!("{jobs} jobs over {extension}: peak {:.1} MiB (at most {allowed})", peak_mib(&costs));
        }
    }
}

fn pack(extension: &str, bytes: &[u8], file: File) {
    if extension == "zst" {
        return zstd::stream::copy_encode(bytes, file, 3).expect("room");
    }
    let mut writer = brotli::CompressorWriter::new(file, 1 << 16, 3, 22);
    writer.write_all(bytes).expect("room");
    writer.flush().expect("room");
}

// Pages.

fn bench_pages(place: &Path, server: &Installation) {
    let data = place.join("data");
    let archive = place.join("pages");
    if !archive.join("made").is_file() {
        let _ = fs::remove_dir_all(&archive);
        make_parts(&archive, &data);
        fs::write(archive.join("made"), "").expect("room");
    }
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let (mut tool, mut one, mut many, mut ours) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut scanned = 0;
    for _ in 0..ROUNDS {
        let args = ["--check", "-D", data.to_str().expect("a plain path")];
        let (cost, text, code) = measure(&server.program("pg_checksums"), &args);
        assert_eq!(code, 0, "pg_checksums: {text}");
        let blocks = text.lines().find_map(|line| line.strip_prefix("Blocks scanned:"));
        scanned = blocks.expect("a count").trim().parse::<u64>().expect("a number") * PAGE_BYTES as u64;
        tool.push(cost);
        one.push(walk(&data, 1));
        many.push(walk(&data, jobs));
        let (cost, report) = verify(&archive, &["--backup", "all", "--wal", "none"], &jobs.to_string());
        assert!(report["verify"]["backup_bytes"].as_u64() >= Some(scanned), "{}", report["verify"]);
        ours.push(cost);
    }
    let (_, one) = line("page checksums on one thread", scanned, &one);
    let (_, many) = line(&format!("page checksums on {jobs} threads"), scanned, &many);
    let (_, ours) = line(&format!("walproof verify --jobs {jobs}, plain tars"), scanned, &ours);
    let (_, tool) = line("pg_checksums --check", scanned, &tool);
    println!("page checksums on one thread are {:.2} times as fast as pg_checksums", tool / one);
    println!("page checksums on {jobs} threads are {:.2} times as fast (at least 2)", tool / many);
    println!("a whole verify of the same pages in plain tars is {:.2} times as fast as pg_checksums", tool / ours);
}

/// Parts of the backup that `verify` reads.
const PARTS: usize = 4;
const CONTROL: &str = "global/pg_control";

/// The files that `pg_checksums` reads, as a backup of plain tars of about equal size.
fn make_parts(root: &Path, data: &Path) {
    let mut found = Vec::new();
    relations(data, data, &mut found);
    let mut files: Vec<(u64, PathBuf)> =
        found.into_iter().map(|(_, path)| (fs::metadata(&path).expect("a file").len(), path)).collect();
    files.sort_by(|a, b| b.cmp(a));
    let control = ControlFile::parse(&fs::read(data.join(CONTROL)).expect("a file")).expect("a control file");
    let segment = control.redo.segment(SegmentSize::DEFAULT);
    let name = format!("base_{}", segment.name(TimelineId::FIRST, SegmentSize::DEFAULT));
    let parts = root.join("basebackups_005").join(&name).join("tar_partitions");
    fs::create_dir_all(&parts).expect("a folder");
    let part = |number: usize| format!("part_{:03}.tar", number + 1);
    let mut tars: Vec<(u64, tar::Builder<File>, Vec<String>)> = (0..PARTS)
        .map(|number| (0, tar::Builder::new(File::create(parts.join(part(number))).expect("a file")), Vec::new()))
        .collect();
    let mut listed = serde_json::Map::new();
    let size = files.iter().map(|(bytes, _)| bytes).sum::<u64>() + PAGE_BYTES as u64;
    let meta = json!({"IsSkipped": false, "IsIncremented": false, "MTime": "2026-11-01T00:00:00Z"});
    for (bytes, path) in files {
        let inside = path.strip_prefix(data).expect("inside").to_str().expect("a plain path").to_owned();
        let smallest = tars.iter_mut().min_by_key(|(bytes, _, _)| *bytes).expect("a part");
        smallest.1.append_path_with_name(&path, &inside).expect("room");
        smallest.0 += bytes;
        smallest.2.push(format!("/{inside}"));
        listed.insert(format!("/{inside}"), meta.clone());
    }
    let mut sets = serde_json::Map::new();
    for (number, (_, tar, names)) in tars.into_iter().enumerate() {
        tar.into_inner().expect("room").sync_all().expect("room");
        sets.insert(part(number), json!(names));
    }
    let mut tar = tar::Builder::new(File::create(parts.join("pg_control.tar")).expect("a file"));
    tar.append_path_with_name(data.join(CONTROL), CONTROL).expect("room");
    tar.into_inner().expect("room").sync_all().expect("room");
    let lists = json!({"Files": listed, "TarFileSets": sets});
    let sentinel = json!({"LSN": control.redo.0, "FinishLSN": control.redo.0 + 0x100, "UncompressedSize": size,
        "SystemIdentifier": control.system_id, "PgVersion": 150_018, "Version": 2});
    write_lists(root, &name, &lists, &sentinel);
}

/// Files of pages, each with the number of its first page.
fn relations(root: &Path, folder: &Path, out: &mut Vec<(u32, PathBuf)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            relations(root, &path, out);
        } else if let Ok(inside) = path.strip_prefix(root)
            && let Some(file) = relation_file(inside.as_os_str().as_encoded_bytes(), 131_072)
        {
            out.push((file.first_block, path));
        }
    }
}

/// Checks every page of a data directory as `verify` checks those of a part.
fn walk(data: &Path, threads: usize) -> Cost {
    let begun = Instant::now();
    let before = cpu_s(&getrusage(UsageWho::RUSAGE_SELF).expect("usage"));
    let mut found = Vec::new();
    relations(data, data, &mut found);
    // In slices, as parts of a backup have about one size: one thread is not left alone with the largest table.
    let sliced = |(first_block, path): &(u32, PathBuf)| {
        let bytes = fs::metadata(path).map_or(0, |meta| meta.len());
        let slices = (0..bytes.div_ceil(SLICE_BYTES)).map(|slice| slice * SLICE_BYTES);
        let of = |from: u64| (first_block + (from / PAGE_BYTES as u64) as u32, from, path.clone());
        slices.map(of).collect::<Vec<_>>()
    };
    let found: Vec<(u32, u64, PathBuf)> = found.iter().flat_map(sliced).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut piece = vec![0; 256 << 10];
                while let Some((first_block, from, path)) =
                    found.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    check_pages(*first_block, *from, path, &mut piece);
                }
            });
        }
    });
    let after = cpu_s(&getrusage(UsageWho::RUSAGE_SELF).expect("usage"));
    Cost { cpu: after - before, wall: begun.elapsed().as_secs_f64(), peak_kib: 0 }
}

fn check_pages(first_block: u32, from: u64, path: &Path, piece: &mut [u8]) {
    let context = PageContext { checksums: true, ..PageContext::default() };
    let mut file = File::open(path).expect("a file");
    file.seek(SeekFrom::Start(from)).expect("a place in a file");
    let mut file = file.take(SLICE_BYTES);
    let mut stream = PageStream::new(context, PAGE_BYTES, first_block);
    loop {
        match file.read(piece).expect("a file that can be read") {
            0 => break,
            read => stream.push(&piece[..read]),
        }
    }
    assert_eq!(stream.finish().bad_count, 0, "{}", path.display());
}

// Memory.

const LSN: u64 = 0x0200_0028;
const FILE_BYTES: u64 = 1 << 30;
const FILES: u32 = 4;

/// A backup with one part of 4 GiB of pages with right checksums, and what belongs to it.
fn make_large(root: &Path) {
    let backup = root.join("basebackups_005/base_000000010000000000000002");
    fs::create_dir_all(backup.join("tar_partitions")).expect("a folder");
    let part = File::create(backup.join("tar_partitions/part_001.tar.zst")).expect("a file");
    let mut part = zstd::Encoder::new(part, 1).expect("an encoder");
    let mut sets = Vec::new();
    for number in 0..FILES {
        let name = match number {
            0 => "base/5/16384".to_owned(),
            number => format!("base/5/16384.{number}"),
        };
        let mut header = tar::Header::new_gnu();
        header.set_path(&name).expect("a path");
        header.set_size(FILE_BYTES);
        header.set_mode(0o600);
        header.set_cksum();
        part.write_all(header.as_bytes()).expect("room");
        let mut page = [0; PAGE_BYTES];
        for block in 0..(FILE_BYTES as usize / PAGE_BYTES) as u32 {
            let block = number * 131_072 + block;
            fill(&mut page, block);
            part.write_all(&page).expect("room");
        }
        sets.push(format!("/{name}"));
    }
    part.write_all(&[0; 1024]).expect("room");
    part.finish().expect("room").sync_all().expect("room");
    let files: serde_json::Map<String, Value> = sets
        .iter()
        .map(|name| {
            (name.clone(), json!({"IsSkipped": false, "IsIncremented": false, "MTime": "2026-11-01T00:00:00Z"}))
        })
        .collect();
    let sentinel = json!({"LSN": LSN, "FinishLSN": LSN + 0x100, "SystemIdentifier": 7_710_395_111_527_005_548_u64,
        "PgVersion": 150_018, "UncompressedSize": u64::from(FILES) * FILE_BYTES, "Version": 2});
    let lists = json!({"Files": files, "TarFileSets": {"part_001.tar.zst": sets}});
    write_lists(root, "base_000000010000000000000002", &lists, &sentinel);
}

/// A backup's list of files, and its sentinel.
fn write_lists(root: &Path, name: &str, lists: &Value, sentinel: &Value) {
    let backups = root.join("basebackups_005");
    fs::write(backups.join(name).join("files_metadata.json"), lists.to_string()).expect("room");
    fs::write(backups.join(format!("{name}_backup_stop_sentinel.json")), sentinel.to_string()).expect("room");
}

/// A heap page with some noise, older than the backup.
fn fill(page: &mut [u8; PAGE_BYTES], block: u32) {
    page.fill(0);
    page[..8].copy_from_slice(&[0, 0, 0, 0, 0x10, 0, 0, 1]);
    page[12..20].copy_from_slice(&[28, 0, 0, 0x1F, 0, 0x20, 4, 0x20]);
    let mut noise = u64::from(block) + 1;
    for word in page[0x1F00..].chunks_exact_mut(8) {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        word.copy_from_slice(&noise.to_le_bytes());
    }
    let sum = page_checksum(page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
}

fn bench_memory(root: &Path) {
    if !root.join("made").is_file() {
        make_large(root);
        fs::write(root.join("made"), "").expect("room");
    }
    for jobs in ["1", "2"] {
        let (cost, archive) = verify(root, &["--backup", "all", "--wal", "none"], jobs);
        let read = archive["verify"]["backup_bytes"].as_u64().unwrap_or(0);
        let jobs_count: i64 = jobs.parse().expect("a number");
        // zstd at level 1 keeps 512 KiB; segments have 16 MiB.
        let allowed = 64 + jobs_count * (2 * 16 + 8);
        println!(
            "a part of {} GiB ({} MiB stored), {jobs} jobs: CPU {:.2} s, peak {:.1} MiB (at most {allowed})",
            (u64::from(FILES) * FILE_BYTES) >> 30,
            read >> 20,
            cost.cpu,
            cost.peak_kib as f64 / 1024.0
        );
    }
}

// The corpus.

/// Runs a server under `pgbench` until so much WAL is archived; keeps its WAL, packed and plain, and its data.
fn make(place: &Path, server: &Installation, mib: u64) {
    let _ = fs::remove_dir_all(place);
    let (plain, packed) = (place.join("plain"), place.join("archive/wal_005"));
    fs::create_dir_all(&plain).expect("a folder");
    fs::create_dir_all(&packed).expect("a folder");
    let cancel = Cancel::default();
    let sandbox = Sandbox::create(None, Identity::resolve(None).expect("a user")).expect("a sandbox");
    let spool = sandbox.dir("spool").expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let data = runtime.block_on(async {
        let data = create_cluster(&sandbox, server, "data", &ClusterOptions::default(), &cancel).await.expect("initdb");
        let mut options = ServerOptions::default()
            .set("archive_mode", "on")
            .set("archive_command", format!("cp %p {}/%f", command_literal(&spool).expect("a plain path")))
            .set("fsync", "off")
            .set("synchronous_commit", "off")
            .set("shared_buffers", "64MB")
            .set("checkpoint_timeout", "60s")
            .set("max_wal_size", "512MB");
        options.time_limit = Duration::from_secs(1800);
        let mut running = Server::start(&sandbox, server, &data, options).expect("a server");
        let client = running.ready("postgres", "postgres", &cancel, |_| {}).await.expect("a connection");
        let pgbench = |args: &[&str]| {
            let mut command = Command::new(server.program("pgbench"));
            command.args(args).args(["-U", "postgres", "-h"]).arg(running.socket_dir());
            command.args(["-p", &running.port().to_string(), "postgres"]).stderr(Stdio::null());
            command
        };
        run(pgbench(&["-i", "-q", "-s", "20"]), Duration::from_secs(600), &cancel).await.expect("pgbench -i");
        while (names(&spool).len() as u64) * 16 < mib {
            let load = pgbench(&["-n", "-c", "4", "-j", "1", "-t", "5000"]);
            run(load, Duration::from_secs(600), &cancel).await.expect("pgbench");
        }
        client.batch_execute("select pg_switch_wal()").await.expect("a switch");
        drop(client);
        // The archiver finishes what is left.
        running.stop(StopMode::Fast, Duration::from_secs(300)).await.expect("a stop");
        data
    });
    let is_segment = |name: &String| name.len() == 24;
    for name in names(&spool).into_iter().filter(is_segment) {
        let bytes = fs::read(spool.join(&name)).expect("a segment");
        let info =
            FrameInfo::new().block_size(BlockSize::Max4MB).block_mode(BlockMode::Independent).content_checksum(true);
        let file = File::create(packed.join(format!("{name}.lz4"))).expect("a file");
        let mut writer = FrameEncoder::with_frame_info(info, file);
        writer.write_all(&bytes).expect("room");
        writer.finish().expect("room");
        fs::write(plain.join(&name), &bytes).expect("room");
    }
    copy_tree(&data, &place.join("data"));
    fs::write(place.join("made"), "").expect("room");
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).expect("room");
        }
    }
}
