//! WAL, control files and pages read by walproof and by PostgreSQL's own tools, compared.
//!
//! `WALPROOF_TEST_WAL=DIR` adds a folder of consecutive plain segments of PostgreSQL 15, as a server archived them.
#![cfg(all(feature = "restore", feature = "lzo", feature = "libsodium", feature = "openpgp"))]
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod described;
mod golden_support;
#[path = "wal_tools/streamed.rs"]
mod streamed;
mod wal_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::Digest;
use wal_support::{Random, Segment, each_object};
use walproof::codec::crypto::{KeyRing, KeyTransform};
use walproof::codec::{Limits, open};
use walproof::model::{CodecKind, Lsn, PgMajor, WalFileName};
use walproof::page::{PAGE_BYTES, PageContext, PageStream, PageVerdict, relation_file};
use walproof::postgres::{
    ClusterOptions, Identity, Installation, Sandbox, Server, ServerOptions, create_cluster, installations,
};
use walproof::run::Cancel;
use walproof::wal::{
    ControlFile, ControlState, DecodeOptions, ManifestChecksum, ManifestFile, ManifestReader, ManifestSink, Record,
    RecordSink, SegmentDecoder, Stitcher,
};

/// Major whose tools most tests here compare with.
const MAJOR: u32 = 15;

/// The installation of a major; `None` after saying so, if it is not there or lacks the tool.
fn installed(major: u32, tool: &str) -> Option<Installation> {
    static FOUND: OnceLock<Vec<Installation>> = OnceLock::new();
    let found = FOUND.get_or_init(|| installations(&[]).unwrap());
    let found = found.iter().find(|one| one.version.major == major && one.has(tool)).cloned();
    if found.is_none() {
        println!("SKIPPED: no {tool} of PostgreSQL {major}");
    }
    found
}

/// A tool of PostgreSQL 15; `None` after saying so, if it is not installed.
fn tool(name: &str) -> Option<PathBuf> {
    installed(MAJOR, name).map(|found| found.program(name))
}

/// What `pg_waldump` prints of each record, and what the decoder tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    records: u64,
    first: Option<Lsn>,
    last: Option<Lsn>,
    /// Sum over positions, lengths, transactions and links: the same only for the same records.
    sum: u64,
    managers: BTreeMap<u8, u32>,
}

impl Listing {
    fn add(&mut self, lsn: Lsn, prev: Lsn, total: u64, xid: u64, rmid: u8) {
        self.records += 1;
        self.first = self.first.or(Some(lsn));
        self.last = Some(lsn);
        for part in [lsn.0, prev.0, total, xid] {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(part);
        }
        *self.managers.entry(rmid).or_default() += 1;
    }
}

impl RecordSink for Listing {
    fn record(&mut self, record: &Record<'_>) {
        let header = record.header;
        self.add(record.lsn, header.prev, u64::from(header.total_bytes), u64::from(header.xid), header.rmid);
    }
}

const MANAGERS: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

/// `rmgr: Heap        len (rec/tot):     54/    54, tx:        731, lsn: 0/01000028, prev 0/00FFFFE8, desc: ...`
fn waldump(tool: &Path, folder: &Path, segment: &str) -> Listing {
    let output = Command::new(tool).arg("-p").arg(folder).arg(segment).output().unwrap();
    let mut listing = Listing::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(rest) = line.strip_prefix("rmgr: ") else { continue };
        let name = rest.split_whitespace().next().unwrap();
        let after = |key: &str| rest.split_once(key).unwrap().1.trim_start();
        let until = |text: &str| text.split([',', ' ']).next().unwrap().to_owned();
        let total = after("len (rec/tot):").split_once('/').unwrap().1.trim_start();
        listing.add(
            until(after("lsn: ")).parse().unwrap(),
            until(after("prev ")).parse().unwrap(),
            until(total).parse().unwrap(),
            until(after("tx: ")).parse().unwrap(),
            MANAGERS.iter().position(|known| *known == name).unwrap() as u8,
        );
    }
    listing
}

fn listing(segment: &Segment) -> (Listing, walproof::wal::SegmentSummary) {
    let size = segment.header.segment_size().unwrap();
    let options = DecodeOptions::new(segment.name.timeline, segment.name.number(size).unwrap(), size);
    let mut decoder = SegmentDecoder::with_sink(options, Listing::default());
    decoder.push(&segment.bytes);
    let (summary, listing) = decoder.finish();
    (listing, summary)
}

fn compare(tool: &Path, folder: &Path, segment: &Segment) -> walproof::wal::SegmentSummary {
    let name = segment.name.to_string();
    let (ours, summary) = listing(segment);
    let theirs = waldump(tool, folder, &name);
    assert_eq!(ours, theirs, "{name}");
    assert_eq!(summary.records, theirs.records, "{name}");
    assert_eq!(summary.resource_managers, theirs.managers.into_iter().collect::<Vec<_>>(), "{name}");
    summary
}

/// The keys of a golden archive that is encrypted.
fn keys(golden: &Path, archive: &str) -> KeyRing {
    let mut keys = KeyRing::new();
    let read = |path: PathBuf| fs::read(path).unwrap();
    match archive {
        "walg-libsodium-pg15" => {
            keys.set_libsodium_file(&read(golden.join("keys/walg-libsodium.hex")), KeyTransform::Hex).unwrap();
        }
        "walg-pgp-pg15" => keys.add_pgp(&read(golden.join("keys/walg-pgp-secret.asc")), None).unwrap(),
        "wale-gpg-pg14" => {
            let key = golden_support::unpacked(golden, archive).join("secret-test-key.asc");
            keys.add_pgp(&read(key), None).unwrap();
        }
        _ => {}
    }
    keys
}

/// Every whole segment of an archive, decrypted and decoded as `verify` does it.
fn whole_segments(golden: &Path, archive: &str, mut visit: impl FnMut(Segment)) {
    let (folder, keys) = (golden_support::root(golden, archive).join("wal_005"), keys(golden, archive));
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let (name, codec) = CodecKind::split(path.file_name().unwrap().as_encoded_bytes());
        let Some(WalFileName::Segment(name)) = WalFileName::parse(name) else { continue };
        let stored = fs::File::open(&path).unwrap();
        let mut bytes = Vec::new();
        let opened = open(codec, &keys, Box::new(stored), &Limits::default());
        std::io::Read::read_to_end(&mut opened.unwrap().reader, &mut bytes).unwrap();
        visit(Segment::of(&name.to_string(), bytes));
    }
}

/// wal-g's and wal-e's archives, with every codec, both encryptions, and segments of 16 MiB and 1 MiB.
#[test]
fn records_are_those_of_pg_waldump() {
    let Some(golden) = golden_support::golden() else { return };
    let mut compared = BTreeMap::<String, u32>::new();
    let mut missing = BTreeSet::new();
    for archive in golden_support::all() {
        let expected = golden_support::expected(&golden, archive);
        let version = ["pg_version", "server_version"].iter().find_map(|key| expected[key].as_str());
        let major = archive.rsplit("-pg").next().and_then(|rest| rest.get(..2)).unwrap().parse::<u32>().unwrap();
        assert!(version.is_none_or(|version| version.contains(&major.to_string())), "{archive}: {version:?}");
        if missing.contains(&major) {
            continue;
        }
        let Some(found) = installed(major, "pg_waldump") else {
            missing.insert(major);
            continue;
        };
        whole_segments(&golden, archive, |segment| {
            assert_eq!(segment.header.major().map(|m| u32::from(m.number())), Some(major), "{archive}");
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(segment.name.to_string()), &segment.bytes).unwrap();
            compare(&found.program("pg_waldump"), folder.path(), &segment);
            *compared.entry(archive.to_owned()).or_default() += 1;
        });
    }
    println!("segments compared: {compared:?}");
    assert!(missing.contains(&MAJOR) || compared.len() >= 9, "{compared:?}");
}

#[test]
fn a_servers_own_archive_is_decoded_and_stitched() {
    let (Some(tool), Some(folder)) = (tool("pg_waldump"), std::env::var_os("WALPROOF_TEST_WAL")) else {
        println!("SKIPPED: WALPROOF_TEST_WAL names no folder of segments");
        return;
    };
    let folder = PathBuf::from(folder);
    let mut names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.len() == 24);
    names.sort();
    let mut stitcher = Stitcher::new();
    let (mut records, mut joined) = (0, 0);
    for name in &names {
        let alone = tempfile::tempdir().unwrap();
        let bytes = fs::read(folder.join(name)).unwrap();
        fs::write(alone.path().join(name), &bytes).unwrap();
        let summary = compare(&tool, alone.path(), &Segment::of(name, bytes));
        assert!(summary.defects.is_empty(), "{name}: {:?}", summary.defects);
        let stitched = stitcher.push(&summary.edges);
        assert_eq!(stitched.defects, [], "{name}");
        records += summary.records;
        joined += u64::from(stitched.joined.is_some());
    }
    // Read in one go, pg_waldump also has the records that span segments.
    let mut all = Command::new(&tool);
    all.arg("-p").arg(&folder).args(["--stats", names.first().unwrap(), names.last().unwrap()]);
    let output = all.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let total = text.lines().find_map(|line| line.strip_prefix("Total")).unwrap();
    assert_eq!(total.split_whitespace().next().unwrap().parse::<u64>().unwrap(), records + joined);
    println!("{} segments, {records} records and {joined} over boundaries", names.len());
}

fn each_member(archive: &str, wanted: impl Fn(&str) -> bool, mut visit: impl FnMut(&str, &str, Vec<u8>)) -> Option<()> {
    each_object(
        archive,
        |path| path.contains("/tar_partitions/") && wanted(path),
        |path, bytes| {
            let backup = path.split('/').nth(1).unwrap().to_owned();
            let Some((_, plain)) = wal_support::decoded(path, bytes) else { return };
            wal_support::tar_members(&plain, |member, content| visit(&backup, member, content));
        },
    )
}

#[test]
fn control_files_are_read_as_pg_controldata_reads_them() {
    let Some(tool) = tool("pg_controldata") else { return };
    let mut seen = BTreeMap::<String, u32>::new();
    for archive in wal_support::PLAIN_ARCHIVES {
        let Some(expected) = wal_support::expected(archive) else { continue };
        let is_control = |path: &str| path.contains("/pg_control.tar");
        each_member(archive, is_control, |_, member, content| {
            assert_eq!(member, "global/pg_control");
            let control = ControlFile::parse(&content).unwrap();
            assert_eq!(control.system_id.to_string(), expected["system_identifier"].as_str().unwrap());
            assert_eq!(u64::from(control.wal_segment_bytes), expected["wal_segment_bytes"].as_u64().unwrap());
            assert!(control.has_checksums());
            let major = control.major.unwrap();
            *seen.entry(major.to_string()).or_default() += 1;
            assert!(expected["pg_version"].as_str().unwrap().contains(&major.to_string()));
            if major == PgMajor::V15 {
                compare_control(&tool, &content, &control);
            }
        });
    }
    println!("{seen:?}");
}

/// A time as `strftime` writes `%c` in the locale C.
fn as_printed(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

fn compare_control(tool: &Path, content: &[u8], control: &ControlFile) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("global")).unwrap();
    fs::write(folder.path().join("global/pg_control"), content).unwrap();
    let output = Command::new(tool).env("LC_ALL", "C").env("TZ", "UTC").arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {text}"));
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    let state = match control.state {
        ControlState::InProduction => "in production",
        ControlState::InArchiveRecovery => "in archive recovery",
        other => panic!("{other:?}"),
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
    for (key, ours) in [
        ("pg_control version number", control.control_version.to_string()),
        ("Catalog version number", control.catalog_version.to_string()),
        ("Database system identifier", control.system_id.to_string()),
        ("Database cluster state", state.to_owned()),
        ("pg_control last modified", as_printed(control.time)),
        ("Time of latest checkpoint", as_printed(control.checkpoint_time)),
        ("Latest checkpoint location", control.checkpoint.to_string()),
        ("Latest checkpoint's REDO location", control.redo.to_string()),
        ("Latest checkpoint's TimeLineID", control.timeline.to_string()),
        ("Latest checkpoint's PrevTimeLineID", control.previous_timeline.to_string()),
        ("Minimum recovery ending location", control.min_recovery.to_string()),
        ("Min recovery ending loc's timeline", control.min_recovery_timeline.to_string()),
        ("Backup start location", control.backup_start.to_string()),
        ("Backup end location", control.backup_end.to_string()),
        ("End-of-backup record required", yes_no(control.backup_end_required)),
        ("wal_level setting", ["minimal", "replica", "logical"][control.wal_level as usize].to_owned()),
        ("wal_log_hints setting", on_off(control.wal_log_hints)),
        ("max_connections setting", control.max_connections.to_string()),
        ("max_worker_processes setting", control.max_worker_processes.to_string()),
        ("max_wal_senders setting", control.max_wal_senders.unwrap().to_string()),
        ("max_prepared_xacts setting", control.max_prepared_transactions.to_string()),
        ("max_locks_per_xact setting", control.max_locks_per_transaction.to_string()),
        ("Database block size", control.block_bytes.to_string()),
        ("Blocks per segment of large relation", control.relation_file_blocks.to_string()),
        ("WAL block size", control.wal_block_bytes.to_string()),
        ("Bytes per WAL segment", control.wal_segment_bytes.to_string()),
        ("Data page checksum version", control.data_checksum_version.to_string()),
    ] {
        assert_eq!(value(key), ours, "{key}");
    }
}

fn check_file(path: &str, content: &[u8], context: PageContext) -> Option<walproof::page::PageReport> {
    let file = relation_file(path.as_bytes(), 131_072)?;
    let mut stream = PageStream::new(context, PAGE_BYTES, file.first_block);
    content.chunks(10_000).for_each(|piece| stream.push(piece));
    Some(stream.finish())
}

#[test]
fn pages_of_golden_backups_are_whole() {
    for archive in ["walg-none-pg15", "walg-zstd-pg17-timelines", "walg-zstd-pg18-seg1m"] {
        let context = PageContext { checksums: true, ..PageContext::default() };
        let mut pages = 0;
        let is_part = |path: &str| path.contains("/part_");
        each_member(archive, is_part, |backup, path, content| {
            let Some(report) = check_file(path, &content, context) else { return };
            assert_eq!(report.bad, [], "{archive} {backup} {path}");
            pages += report.pages;
        });
        assert!(pages > 2000 || wal_support::tarball(archive).is_none(), "{archive}: {pages} pages");
    }
}

/// A data directory made of a golden backup, with a control file that says "stopped".
fn stopped_cluster(folder: &Path) -> Option<()> {
    each_member(
        "walg-none-pg15",
        |_| true,
        |_, path, mut content| {
            if path == "global/pg_control" {
                content[16] = 1;
                let crc = crc32c::crc32c(&content[..288]);
                content[288..292].copy_from_slice(&crc.to_le_bytes());
            }
            let target = folder.join(path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, content).unwrap();
        },
    )?;
    fs::create_dir_all(folder.join("pg_tblspc")).ok()
}

#[test]
fn pages_are_judged_as_pg_checksums_judges_them() {
    let Some(tool) = tool("pg_checksums") else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    if stopped_cluster(root).is_none() {
        return;
    }
    // Damage one page in every fifth file, anywhere in the page.
    let mut random = Random(7);
    let mut files: Vec<PathBuf> =
        fs::read_dir(root.join("base/5")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().step_by(5) {
        let mut content = fs::read(path).unwrap();
        let inside = path.strip_prefix(root).unwrap().to_str().unwrap();
        if content.len() < PAGE_BYTES || relation_file(inside.as_bytes(), 131_072).is_none() {
            continue;
        }
        let at = random.below(content.len() as u64) as usize;
        content[at] ^= 1 << random.below(8);
        fs::write(path, content).unwrap();
    }
    let output = Command::new(&tool).env("LC_ALL", "C").args(["--check", "-D"]).arg(root).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // pg_checksums: error: checksum verification failed in file ".../base/5/1247", block 3: calculated checksum A but block contains B
    let mut theirs: Vec<(String, u32, u16, u16)> = errors
        .lines()
        .filter_map(|line| {
            let rest = line.split_once("failed in file \"")?.1;
            let (path, rest) = rest.split_once("\", block ")?;
            let inside = Path::new(path).strip_prefix(root).ok()?.to_str()?.to_owned();
            let numbers: Vec<&str> = rest.split([':', ' ']).collect();
            let hex = |text: &str| u16::from_str_radix(text, 16).unwrap();
            let computed = rest.split_once("calculated checksum ")?.1.split(' ').next()?;
            Some((inside, numbers[0].parse().ok()?, hex(computed), hex(rest.rsplit(' ').next()?)))
        })
        .collect();
    let mut ours = Vec::new();
    let (mut pages, mut count) = (0, 0);
    let context = PageContext { checksums: true, ..PageContext::default() };
    let mut folders = vec![root.join("base"), root.join("global")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let Some(report) = check_file(&inside, &fs::read(&path).unwrap(), context) else { continue };
            pages += report.pages;
            count += 1;
            for bad in report.bad {
                match bad.verdict {
                    PageVerdict::Bad { stored, computed, .. } => {
                        ours.push((inside.clone(), bad.block, computed, stored))
                    }
                    // pg_checksums passes over pages that look new.
                    verdict => println!("{inside} block {}: {verdict:?}", bad.block),
                }
            }
        }
    }
    theirs.sort();
    ours.sort();
    assert!(ours.len() > 20, "{}", ours.len());
    assert_eq!(ours, theirs);
    let number = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{text} {errors}"));
        line.split_once(':').unwrap().1.trim().parse::<u64>().unwrap()
    };
    assert_eq!((number("Files scanned"), number("Blocks scanned")), (count, pages));
}

/// What a manifest says of a folder: lines as `pg_verifybackup` would begin them.
struct Manifest(BTreeMap<String, ManifestFile>, sha2::Sha256);

impl ManifestSink for Manifest {
    fn file(&mut self, file: ManifestFile) {
        self.0.insert(String::from_utf8(file.path.clone()).unwrap(), file);
    }

    fn covered(&mut self, bytes: &[u8]) {
        self.1.update(bytes);
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Complaint {
    Missing(String),
    Extra(String),
    Size(String),
    Checksum(String),
    Manifest,
}

/// The manifest of a plain backup, and what is wrong with its files.
fn our_complaints(backup: &Path) -> BTreeSet<Complaint> {
    let bytes = fs::read(backup.join("backup_manifest")).unwrap();
    let (mut reader, mut manifest) = (ManifestReader::new(), Manifest(BTreeMap::new(), sha2::Sha256::new()));
    bytes.chunks(777).for_each(|piece| reader.push(piece, &mut manifest));
    let Ok(summary) = reader.finish(&mut manifest) else { return [Complaint::Manifest].into() };
    if manifest.1.finalize().as_slice() != summary.checksum {
        return [Complaint::Manifest].into();
    }
    assert_eq!(summary.files as usize, manifest.0.len());
    let mut complaints = BTreeSet::new();
    for (path, file) in &manifest.0 {
        let Ok(content) = fs::read(backup.join(path)) else {
            complaints.insert(Complaint::Missing(path.clone()));
            continue;
        };
        let right = match &file.checksum {
            ManifestChecksum::None => true,
            ManifestChecksum::Crc32c(sum) => crc32c::crc32c(&content) == *sum,
            ManifestChecksum::Sha2(224, sum) => sha2::Sha224::digest(&content).as_slice() == sum,
            ManifestChecksum::Sha2(512, sum) => sha2::Sha512::digest(&content).as_slice() == sum,
            other => panic!("{other:?}"),
        };
        if content.len() as u64 != file.size {
            complaints.insert(Complaint::Size(path.clone()));
        } else if !right {
            complaints.insert(Complaint::Checksum(path.clone()));
        }
    }
    // As pg_verifybackup passes over the manifest itself, WAL, and what belongs to recovery.
    let own = ["backup_manifest", "postgresql.auto.conf", "recovery.signal", "standby.signal"];
    let mut open = vec![backup.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(backup).unwrap().to_str().unwrap().to_owned();
            if inside == "pg_wal" || own.contains(&inside.as_str()) {
                continue;
            } else if path.is_dir() {
                open.push(path);
            } else if !manifest.0.contains_key(&inside) {
                complaints.insert(Complaint::Extra(inside));
            }
        }
    }
    complaints
}

fn their_complaints(tool: &Path, backup: &Path) -> BTreeSet<Complaint> {
    let output = Command::new(tool).env("LC_ALL", "C").arg("-n").arg(backup).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: BTreeSet<Complaint> = text
        .lines()
        .map(|line| {
            let path = line.split('"').nth(1).unwrap_or("").to_owned();
            match line {
                _ if line.contains("present in the manifest but not on disk") => Complaint::Missing(path),
                _ if line.contains("present on disk but not in the manifest") => Complaint::Extra(path),
                _ if line.contains("on disk but size") => Complaint::Size(path),
                _ if line.contains("checksum mismatch for file") => Complaint::Checksum(path),
                _ if line.contains("manifest") => Complaint::Manifest,
                _ => panic!("{text}"),
            }
        })
        .collect();
    assert_eq!(output.status.success(), complaints.is_empty(), "{text}");
    complaints
}

/// A running server with a table.
struct Cluster {
    server: Server,
    _sandbox: Sandbox,
    /// Keeps the server's watchers.
    _runtime: tokio::runtime::Runtime,
}

impl Cluster {
    fn start(found: &Installation) -> Self {
        let sandbox = Sandbox::create(None, Identity::resolve(None).unwrap()).unwrap();
        let (runtime, cancel) = (tokio::runtime::Runtime::new().unwrap(), Cancel::default());
        let server = runtime.block_on(async {
            let options = ClusterOptions::default();
            let data = create_cluster(&sandbox, found, "data", &options, &cancel).await.unwrap();
            let options = ServerOptions::default().set("fsync", "off").set("wal_level", "replica");
            let mut server = Server::start(&sandbox, found, &data, options).unwrap();
            let client = server.ready("postgres", "postgres", &cancel, |_| {}).await.unwrap();
            client.batch_execute("create table t as select generate_series(1, 5000) as id").await.unwrap();
            server
        });
        Cluster { server, _sandbox: sandbox, _runtime: runtime }
    }

    /// Takes a base backup without WAL.
    fn backup(&self, found: &Installation, more: &[&str], into: &Path) {
        let made = Command::new(found.program("pg_basebackup"))
            .args(["-U", "postgres", "-X", "none", "-c", "fast", "--no-sync", "--no-estimate-size"])
            .args(more)
            .arg("-h")
            .arg(self.server.socket_dir())
            .args(["-p", &self.server.port().to_string(), "-D"])
            .arg(into)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

#[test]
fn manifests_are_judged_as_pg_verifybackup_judges_them() {
    let Some(found) = installed(MAJOR, "pg_verifybackup") else { return };
    let tool = found.program("pg_verifybackup");
    let cluster = Cluster::start(&found);
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(11);
    for algorithm in ["CRC32C", "SHA224", "SHA512", "NONE"] {
        let backup = folder.path().join(algorithm);
        cluster.backup(&found, &[&format!("--manifest-checksums={algorithm}")], &backup);
        let compare = |what: &str| {
            let (ours, theirs) = (our_complaints(&backup), their_complaints(&tool, &backup));
            assert_eq!(ours, theirs, "{algorithm}, {what}");
            ours
        };
        assert_eq!(compare("intact"), BTreeSet::new());
        let mut files: Vec<PathBuf> =
            fs::read_dir(backup.join("base/1")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| fs::metadata(path).unwrap().len() >= PAGE_BYTES as u64);
        files.sort();
        for path in files.iter().step_by(29) {
            let mut content = fs::read(path).unwrap();
            let at = random.below(content.len() as u64) as usize;
            content[at] ^= 1 << random.below(8);
            fs::write(path, content).unwrap();
        }
        fs::remove_file(&files[1]).unwrap();
        fs::write(backup.join("base/1/99999"), "more").unwrap();
        fs::write(&files[2], "short").unwrap();
        let found = compare("flipped, missing, extra and cut files");
        let flipped = found.iter().filter(|found| matches!(found, Complaint::Checksum(_))).count();
        assert_eq!((flipped > 3, found.len() - flipped), (algorithm != "NONE", 3), "{found:?}");
        // The manifest's own checksum, last: nothing else is looked at then.
        let manifest = backup.join("backup_manifest");
        let mut content = fs::read(&manifest).unwrap();
        let at = content.windows(8).position(|window| window == b"base/1/1").unwrap();
        content[at + 7] = b'3';
        fs::write(&manifest, content).unwrap();
        assert_eq!(compare("a flipped manifest"), [Complaint::Manifest].into());
    }
}
