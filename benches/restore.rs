//! How fast a backup is fetched and unpacked beside `lz4 -dc | tar x` on the same tars, and how fast a server replays
//! through `wal-fetch --prefetch` beside `cp` from a directory of plain segments.
//!
//! `WALPROOF_BENCH_MIB` sets the size of the cluster (1024), `WALPROOF_BENCH_SEGMENTS` that of the WAL (40),
//! `WALPROOF_BENCH_ROUNDS` how often each is run. An argument `unpack` or `replay` runs only that half. All lies below
//! `TMPDIR`: in memory instead of on a disk, what remains is the time of the processors.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use walproof::audit::{self, Content, Stated, Storage, Target};
use walproof::postgres::Identity;
use walproof::restore::{self, Plan, Request};
use walproof::run::{Cancel, RunContext};
use walproof::store::{self, Address, Limits, StoreOptions};

const NAME: &str = "base_000000010000000000000003";
/// Bytes of one relation file.
const FILE_BYTES: usize = 16 << 20;
/// Relation files in one tar.
const FILES_PER_TAR: usize = 15;

fn main() {
    let scratch = tempfile::Builder::new().prefix("walproof-bench-").tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).unwrap();
    if Command::new("lz4").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: there is no lz4 program to compare with");
        return;
    }
    let asked = |half: &str| std::env::args().all(|arg| !matches!(&*arg, "unpack" | "replay") || arg == half);
    if asked("unpack") {
        unpacking(scratch.path());
    }
    if asked("replay") {
        replaying(scratch.path());
    }
}

fn rounds() -> usize {
    number("WALPROOF_BENCH_ROUNDS", 5).max(1)
}

/// Brings to disk what others left to be written, so that each begins alike.
fn settle() {
    nix::unistd::sync();
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn unpacking(scratch: &Path) {
    let mib = number("WALPROOF_BENCH_MIB", 1024);
    let archive = scratch.join("archive");
    let parts = make(&archive, mib);
    let stored: u64 = parts.iter().map(|part| part.metadata().unwrap().len()).sum();
    let copied = scratch.join("copied");
    let (mut ours, mut theirs, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = rounds();
    for round in 0..rounds {
        // Who comes second must not always be the same.
        for is_ours in [round % 2 == 0, round % 2 == 1] {
            let into = scratch.join("restored");
            settle();
            if is_ours {
                ours.push(restored(&archive, &into));
                settle();
                floor.push(timed(Command::new("cp").arg("-r").arg(&into).arg(&copied)));
                fs::remove_dir_all(&copied).unwrap();
            } else {
                fs::create_dir(&into).unwrap();
                let line = |part: &PathBuf| format!("lz4 -dc '{}' | tar x -C '{}'", part.display(), into.display());
                let lines: Vec<String> = parts.iter().map(line).collect();
                theirs.push(timed(Command::new("sh").args(["-ec", &lines.join("\n")]).stderr(Stdio::null())));
            }
            fs::remove_dir_all(&into).unwrap();
        }
    }
    let all = |times: &[f64]| times.iter().map(|time| format!("{time:.2}")).collect::<Vec<_>>().join(" ");
    println!("restore: {mib} MiB from {} tars, {} MiB stored, median of {rounds}", parts.len(), stored >> 20);
    for (name, times) in [("lz4 -dc | tar x", &theirs), ("walproof", &ours), ("cp -r of the files", &floor)] {
        let (own, other) = (median(times.clone()), median(theirs.clone()));
        println!("  {name:18}  {own:.2} s   {:.2} of it   ({})", own / other, all(times));
    }
    fs::remove_dir_all(&archive).unwrap();
}

fn timed(command: &mut Command) -> f64 {
    let begun = Instant::now();
    assert!(command.status().unwrap().success(), "{command:?}");
    begun.elapsed().as_secs_f64()
}

/// Seconds from the plan to the last byte written, without bringing it to disk.
fn restored(archive: &Path, into: &Path) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = Address::Directory(archive.to_owned());
        let opened = store::open(&address, &StoreOptions::default(), Limits::new(64), Cancel::default()).await;
        let target = Target {
            name: None,
            storages: vec![Storage { store: opened.unwrap(), address }],
            layout: None,
            keys: Arc::default(),
            exceptions: Vec::new(),
            not_checked: Vec::new(),
            required: Vec::new(),
            stated: Stated::default(),
        };
        let ctx = RunContext::new("2026-11-22T00:00:00Z".parse().unwrap());
        let found = audit::catalogue(&target, &audit::Options::default(), &ctx).await.unwrap();
        let Content::Known(known) = found.into_iter().next().unwrap().content else { panic!("an archive") };
        let plan = Plan::of(&known.archive, &Request { backup: NAME.to_owned(), ..Request::default() }).unwrap();
        let options = restore::Options { sync: false, ..restore::Options::default() };
        let begun = Instant::now();
        let restored = restore::restore(&target.source(b""), &plan, into, &options, &ctx).await.unwrap();
        assert_eq!(restored.left_out_count, 0);
        begun.elapsed().as_secs_f64()
    })
}

/// A backup of a cluster of relation files: rows of numbers and words, as compressible as such are.
fn make(archive: &Path, mib: usize) -> Vec<PathBuf> {
    let tars = archive.join("basebackups_005").join(NAME).join("tar_partitions");
    fs::create_dir_all(&tars).unwrap();
    let files = (mib << 20).div_ceil(FILE_BYTES);
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut parts, mut listed, mut sets) = (Vec::new(), serde_json::Map::new(), serde_json::Map::new());
    let numbers: Vec<usize> = (0..files).collect();
    for (number, chunk) in numbers.chunks(FILES_PER_TAR).enumerate() {
        let name = format!("part_{:03}.tar", number + 1);
        let path = tars.join(&name);
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        for file in chunk {
            let member = format!("base/5/{}", 16_384 + file);
            listed.insert(format!("/{member}"), json!({"MTime": "2026-11-20T00:00:00Z"}));
            append(&mut tar, &member, &relation(&mut seed));
        }
        tar.finish().unwrap();
        drop(tar);
        sets.insert(format!("{name}.lz4"), json!([]));
        parts.push(packed(&path));
    }
    for (name, member, body) in
        [("pg_control.tar", "global/pg_control", control()), ("backup_label.tar", "backup_label", b"label".to_vec())]
    {
        let path = tars.join(name);
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        append(&mut tar, member, &body);
        tar.finish().unwrap();
        drop(tar);
        packed(&path);
    }
    sets.insert("backup_label.tar.lz4".to_owned(), json!([]));
    let folder = archive.join("basebackups_005");
    let write = |path: PathBuf, value: serde_json::Value| fs::write(path, value.to_string()).unwrap();
    write(folder.join(NAME).join("files_metadata.json"), json!({"Files": listed, "TarFileSets": sets}));
    write(folder.join(NAME).join("metadata.json"), json!({"start_lsn": 0x300_0028, "pg_version": 150_000}));
    write(
        folder.join(format!("{NAME}_backup_stop_sentinel.json")),
        json!({"LSN": 0x300_0028, "FinishLSN": 0x300_0100, "PgVersion": 150_000, "Version": 2,
            "SystemIdentifier": 7_300_000_000_000_000_001u64, "DataCatalogSize": mib << 20}),
    );
    parts
}

fn append(tar: &mut tar::Builder<fs::File>, name: &str, body: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(body.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, name, body).unwrap();
}

/// As wal-g stores it: blocks of 4 MiB that stand alone, one checksum over all.
fn packed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lz4");
    let packed = PathBuf::from(name);
    let status = Command::new("lz4").args(["-q", "-1", "-B7"]).arg(path).arg(&packed).status().unwrap();
    assert!(status.success());
    fs::remove_file(path).unwrap();
    packed
}

fn relation(seed: &mut u64) -> Vec<u8> {
    const WORDS: [&str; 8] = ["ledger", "amount", "paid", "in full", "pending", "customer", "invoice", "returned"];
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    };
    let mut file = Vec::with_capacity(FILE_BYTES);
    while file.len() < FILE_BYTES {
        let random = next();
        file.extend((file.len() as u32).to_le_bytes());
        file.extend([0x02, 0x09, 0x18, 0, 3, 0]);
        file.extend(&random.to_le_bytes()[..5]);
        file.extend(WORDS[(random >> 40) as usize % 8].as_bytes());
        file.extend(WORDS[(random >> 50) as usize % 8].as_bytes());
    }
    file.truncate(FILE_BYTES);
    file
}

fn control() -> Vec<u8> {
    let mut file = vec![0; 8192];
    file[0..8].copy_from_slice(&7_300_000_000_000_000_001u64.to_le_bytes());
    file[8..12].copy_from_slice(&1300u32.to_le_bytes());
    file[12..16].copy_from_slice(&202_209_061u32.to_le_bytes());
    let crc = crc32c::crc32c(&file[..288]);
    file[288..292].copy_from_slice(&crc.to_le_bytes());
    file
}

/// The newest server of the machine that says how long its redo took.
fn server() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(major, bin)| *major >= 15 && bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

struct Machine {
    bin: PathBuf,
    dir: PathBuf,
    identity: Identity,
}

impl Machine {
    fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(self.bin.join(program));
        command.args(args).current_dir(&self.dir).env("LC_ALL", "C");
        self.identity.apply(&mut command);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn start(&self, data: &str, settings: &[String]) {
        let mut conf = fs::File::options().append(true).open(self.dir.join(data).join("postgresql.auto.conf")).unwrap();
        let dir = self.dir.display();
        writeln!(conf, "listen_addresses = ''\nunix_socket_directories = '{dir}'\nfsync = off\nmax_wal_size = 8GB")
            .unwrap();
        writeln!(conf, "logging_collector = off\nshared_buffers = 128MB\n{}", settings.join("\n")).unwrap();
        drop(conf);
        let log = format!("{dir}/{data}.log");
        // Its output would stay open for as long as the server runs.
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.args(["-D", data, "-l", &log, "-w", "-t", "900", "start"]).current_dir(&self.dir);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.identity.apply(&mut command);
        assert!(command.status().unwrap().success(), "{}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// The log once the server takes connections.
    fn wait_for_end_of_recovery(&self, log: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(self.dir.join(log)).unwrap_or_default();
            let is_up = text.contains("database system is ready to accept connections");
            if is_up || text.contains("database system is shut down") || begun.elapsed().as_secs() > 600 {
                return text;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn sql(&self, text: &str) {
        let dir = self.dir.display().to_string();
        self.run("psql", &["-h", &dir, "-U", "postgres", "-d", "postgres", "-qAtc", text]);
    }

    fn stop(&self, data: &str) {
        self.run("pg_ctl", &["-D", data, "-m", "fast", "-w", "stop"]);
    }
}

fn replaying(scratch: &Path) {
    let Some(bin) = server() else {
        println!("SKIPPED: replay: there is no PostgreSQL 15 or later in /usr/lib/postgresql");
        return;
    };
    let machine = Machine { bin, dir: scratch.join("pg"), identity: Identity::resolve(None).unwrap() };
    fs::create_dir(&machine.dir).unwrap();
    machine.identity.give(&machine.dir).unwrap();
    // Where the server's user can run it from.
    let program = scratch.join("walproof");
    fs::copy(env!("CARGO_BIN_EXE_walproof"), &program).unwrap();
    machine.run("initdb", &["-D", "source", "-A", "trust", "-U", "postgres", "--no-sync"]);
    let plain = machine.dir.join("plain");
    fs::create_dir(&plain).unwrap();
    machine.identity.give(&plain).unwrap();
    let archive = format!("archive_command = 'cp %p {}/%f'", plain.display());
    machine.start("source", &["archive_mode = on".to_owned(), archive]);
    let dir = machine.dir.display().to_string();
    machine
        .run("pg_basebackup", &["-h", &dir, "-U", "postgres", "-D", "base", "-X", "none", "-c", "fast", "--no-sync"]);
    let segments = number("WALPROOF_BENCH_SEGMENTS", 40);
    machine.sql("create table ledger (id bigint primary key, amt int, note text)");
    // About 16 MiB of WAL for each round.
    for round in 0..segments {
        machine.sql(&format!(
            "insert into ledger select i, i % 1000, 'note ' || md5(i::text) from generate_series({}, {}) i",
            round * 90_000,
            round * 90_000 + 89_999
        ));
    }
    machine.sql("select pg_switch_wal()");
    machine.stop("source");
    let bucket = machine.dir.join("bucket/wal_005");
    fs::create_dir_all(&bucket).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(&plain).unwrap().flatten() {
        let target = bucket.join(format!("{}.lz4", entry.file_name().to_str().unwrap()));
        let status = Command::new("lz4").args(["-q", "-1", "-B7"]).arg(entry.path()).arg(&target).status().unwrap();
        assert!(status.success());
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        count += 1;
    }
    for dir in [&machine.dir, &machine.dir.join("bucket"), &bucket] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let cp = format!("cp {}/%f %p", plain.display());
    let bucket = machine.dir.join("bucket");
    let fetch = format!("{} wal-fetch --archive {} --prefetch 8 %f %p", program.display(), bucket.display());
    let alone = format!("{} wal-fetch --archive {} %f %p", program.display(), bucket.display());
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let rounds = rounds();
    for round in 0..rounds {
        for turn in 0..3 {
            let which = (round + turn) % 3;
            settle();
            times[which].push(replay(&machine, [&cp, &fetch, &alone][which]));
        }
    }
    let baseline = median(times[0].clone());
    println!("replay of {count} files of WAL, median of {rounds}, as the server says");
    for (name, times) in ["cp, plain segments", "wal-fetch --prefetch 8", "wal-fetch"].into_iter().zip(times) {
        let all: Vec<String> = times.iter().map(|time| format!("{time:.2}")).collect();
        let own = median(times);
        println!("  {name:22}  {own:.2} s   {:.2} of it   ({})", own / baseline, all.join(" "));
    }
}

/// Seconds of redo.
fn replay(machine: &Machine, restore_command: &str) -> f64 {
    let mut copy = Command::new("cp");
    copy.args(["-a", "base", "replay"]).current_dir(&machine.dir);
    machine.identity.apply(&mut copy);
    assert!(copy.status().unwrap().success());
    let signal = machine.dir.join("replay/recovery.signal");
    fs::write(&signal, "").unwrap();
    machine.identity.give(&signal).unwrap();
    let settings = ["archive_mode = off".to_owned(), "hot_standby = off".to_owned()];
    machine.start("replay", &[&settings[..], &[format!("restore_command = '{restore_command}'")]].concat());
    // Without hot standby, `pg_ctl` takes a server for started as soon as it recovers.
    let log = machine.wait_for_end_of_recovery("replay.log");
    machine.stop("replay");
    let done = log.lines().find(|line| line.contains("redo done at"));
    let done = done.unwrap_or_else(|| panic!("no line about redo:\n{log}"));
    let elapsed = done.rsplit("elapsed: ").next().unwrap().trim_end_matches(" s").parse().unwrap();
    // What is fetched ahead goes with its server.
    for _ in 0..100 {
        if fs::remove_dir_all(machine.dir.join("replay")).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fs::remove_file(machine.dir.join("replay.log")).unwrap();
    elapsed
}
