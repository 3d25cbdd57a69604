//! WAL, control files and pages read by walproof and by PostgreSQL's own tools, compared.
//!
//! `WALPROOF_TEST_WAL=DIR` adds a folder of consecutive plain segments of PostgreSQL 15, as a server archived them.
#![cfg(feature = "codecs")]
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod wal_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wal_support::{Random, Segment, each_object, each_segment};
use walproof::model::{Lsn, PgMajor};
use walproof::page::{PAGE_BYTES, PageContext, PageStream, PageVerdict, relation_file};
use walproof::wal::{ControlFile, ControlState, DecodeOptions, Record, RecordSink, SegmentDecoder, Stitcher};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A tool of PostgreSQL 15; `None` after saying so, if it is not installed.
fn tool(name: &str) -> Option<PathBuf> {
    let path = Path::new(BIN).join(name);
    if !path.exists() {
        println!("SKIPPED: no {}", path.display());
    }
    path.exists().then_some(path)
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

#[test]
fn records_are_those_of_pg_waldump() {
    let Some(tool) = tool("pg_waldump") else { return };
    let mut compared = 0;
    for archive in wal_support::PLAIN_ARCHIVES {
        each_segment(archive, |segment| {
            if segment.header.major() != Some(PgMajor::V15) || segment.partial {
                return;
            }
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(segment.name.to_string()), &segment.bytes).unwrap();
            compare(&tool, folder.path(), &segment);
            compared += 1;
        });
    }
    println!("{compared} segments compared");
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
