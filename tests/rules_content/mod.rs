//! The rules that judge content, on WAL that is small and real: a page header, a switch record, zeros.

mod versions;

use std::collections::BTreeMap;

use walproof::audit::{self, ContentAsked, Options};
use walproof::codec::checksum::{ChecksumKind, Checksums};
use walproof::model::{ObjectRow, SegmentNo, StorageClass};
use walproof::report::data::{ArchiveReport, Restorable, Rung};
use walproof::run::{Cancel, RunContext};
use walproof::state::open_state;
use walproof::store::{Address, Limits, StoreOptions};
use walproof::verify::{BackupChoice, WalChoice};

use crate::described::{Described, SIZE, codes, has, plain, record_at, tli};

fn key(timeline: u32, number: u64) -> String {
    format!("wal_005/{}.zst", SegmentNo(number).name(tli(timeline), SIZE))
}

fn whole(archive: &Described, number: u64) -> Vec<u8> {
    plain(number, 1, archive.system, 0, record_at(number - 1))
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// WAL 2 to 9 on timeline 1, a backup in 2.
fn archive() -> Described {
    let mut archive = Described::default();
    for number in 2..=9 {
        let body = pack(&whole(&archive, number));
        archive.put(&key(1, number), body);
        if number == 2 {
            archive.backup(1, 2);
        }
    }
    archive
}

fn asked() -> ContentAsked {
    ContentAsked { backups: Some(BackupChoice::None), wal: Some(WalChoice::All), ..ContentAsked::default() }
}

async fn verify_as(archive: &Described, asked: &ContentAsked) -> ArchiveReport {
    let ctx = RunContext::new(archive.clock + jiff::SignedDuration::from_hours(48));
    let found = audit::audit_with(&archive.target(), &Options::default(), None, Some(asked), &ctx).await;
    found.into_iter().next().unwrap()
}

async fn verify(archive: &Described) -> ArchiveReport {
    verify_as(archive, &asked()).await
}

/// Codes of findings about one segment.
fn about(report: &ArchiveReport, number: u64) -> Vec<String> {
    let name = SegmentNo(number).name(tli(1), SIZE).to_string();
    let judged = |code: &str| code.starts_with("INT") || code == "WAL006";
    let findings = report.findings.iter().filter(|f| f.subject.contains(&name) && judged(&f.code));
    findings.map(|f| f.code.to_string()).collect()
}

#[tokio::test]
async fn whole_wal_gives_nothing_and_is_valid() {
    let report = verify(&archive()).await;
    assert_eq!(codes(&report), Vec::<String>::new());
    assert_eq!(report.error, None);
    let run = &report.timelines[0].runs[0];
    assert_eq!((run.segments, run.proven_fraction), (8, 1.0));
    assert!(run.rungs.valid.is_some() && run.oldest_proof.is_some());
    let window = report.recovery_window.unwrap();
    assert_eq!(window.to_lsn.0, record_at(9) + 24, "the end is exact: behind the switch");
    assert!(report.backups[0].recovery[0].lsn_exact);
    assert_eq!(report.backups[0].rung, Some(Rung::Complete), "its parts were not read");
    let verify = report.verify.unwrap();
    assert_eq!(verify["wal_segments"], 8);
}

#[tokio::test]
async fn without_reading_the_rules_do_not_run() {
    let report = archive().audit().await;
    for code in ["INT001", "INT002", "INT003", "INT004", "INT005", "INT006", "INT010", "INT014", "WAL005"] {
        let rule = report.rules.iter().find(|rule| rule.code == code).unwrap();
        assert_eq!(serde_json::to_value(rule.outcome).unwrap(), "not_run", "{code}");
    }
}

#[tokio::test]
async fn damage_of_each_kind_is_its_own_rule_and_ends_recovery() {
    let base = archive();
    let good = whole(&base, 5);
    let mut bad_crc = good.clone();
    bad_crc[60] ^= 1;
    let mut trailing = pack(&good);
    trailing.extend(b"x");
    let mut no_page = good.clone();
    no_page[8] ^= 0x10;
    let cut = pack(&good);
    let cases: BTreeMap<&str, Vec<(&str, Vec<u8>)>> = BTreeMap::from([
        ("INT001", vec![("cut", cut[..cut.len() - 9].to_vec()), ("trailing", trailing)]),
        ("INT003", vec![("crc", pack(&bad_crc))]),
        ("INT004", vec![("swapped", pack(&whole(&base, 7))), ("address", pack(&no_page))]),
        ("INT006", vec![("short", pack(&good[..8 << 20])), ("long", pack(&[&good[..], &[0]].concat()))]),
        // Its own pages and records are whole, but it does not follow its neighbour.
        ("INT005", vec![("other history", pack(&plain(5, 1, base.system, 0, record_at(4) - 8)))]),
        ("WAL006", vec![("foreign", pack(&plain(5, 1, base.system + 1, 0, record_at(4))))]),
    ]);
    for (code, bodies) in cases {
        for (what, body) in bodies {
            let mut archive = archive();
            archive.put(&key(1, 5), body);
            let report = verify(&archive).await;
            assert!(has(&report, code, "critical"), "{what}: {:?}", codes(&report));
            assert!(about(&report, 5).contains(&code.to_owned()), "{what}: {:?}", report.findings);
            // Nothing behind it is promised any more.
            let window = report.recovery_window.as_ref().unwrap();
            assert_eq!(window.to_lsn.0, record_at(4) + 24, "{what}");
            assert_eq!(report.timelines[0].gaps.len(), 1, "{what}");
            assert!(about(&report, 6).is_empty() && about(&report, 4).is_empty(), "{what}: {:?}", report.findings);
        }
    }
}

/// Segment 5 with four records, at 40, 64, 88 and 112; the last is its switch.
fn four_records(archive: &Described) -> Vec<u8> {
    let mut bytes = whole(archive, 5);
    let mut prev = record_at(4);
    for (at, info) in [(40, 0x20), (64, 0x20), (88, 0x20), (112, 0x40)] {
        let mut record = Vec::new();
        record.extend(24u32.to_le_bytes());
        record.extend(0u32.to_le_bytes());
        record.extend(prev.to_le_bytes());
        record.extend([info, 0, 0, 0]);
        record.extend(crc32c::crc32c(&record).to_le_bytes());
        bytes[at..at + 24].copy_from_slice(&record);
        prev = SegmentNo(5).start(SIZE).0 + at as u64;
    }
    bytes
}

#[tokio::test]
async fn damage_before_a_backups_start_does_not_count_against_it() {
    let start = SegmentNo(5).start(SIZE).0;
    let system = Described::default().system;
    // Where the damage lies, where the backup starts, and whether it can still be restored.
    let cases: [(&str, usize, u64, bool); 6] = [
        ("nothing", usize::MAX, 88, true),
        ("a record before", 60, 88, true),
        ("the record before, which ends there", 84, 88, true),
        ("its own first record", 108, 88, false),
        ("a record behind", 130, 88, false),
        ("the segment's first header, which is always read", 8, 88, false),
    ];
    for (what, at, offset, usable) in cases {
        let mut archive = archive();
        let mut body = four_records(&archive);
        let prev = start + 112;
        archive.put(&key(1, 6), pack(&plain(6, 1, system, 0, prev)));
        if let Some(byte) = body.get_mut(at) {
            *byte ^= 1;
        }
        archive.put(&key(1, 5), pack(&body));
        let name = archive.backup_with(1, 5, &|sentinel| {
            sentinel["LSN"] = (start + offset).into();
            sentinel["FinishLSN"] = (start + 120).into();
        });
        let report = verify(&archive).await;
        let backup = report.backups.iter().find(|backup| backup.name == name).unwrap();
        assert_eq!(backup.restorable == Restorable::Yes, usable, "{what}: {:?}", backup.reasons);
        assert_eq!(about(&report, 5).is_empty(), at == usize::MAX, "{what}: {:?}", report.findings);
        // The older backup has to pass the damage.
        let older = &report.backups[0];
        let expected = if at == usize::MAX { record_at(9) + 24 } else { record_at(4) + 24 };
        assert_eq!(older.recovery[0].to_lsn.0, expected, "{what}");
        if at != usize::MAX && usable {
            assert_eq!(backup.recovery[0].to_lsn.0, record_at(9) + 24, "{what}");
            let finding = report.findings.iter().find(|finding| finding.code == "INT003").unwrap();
            assert_eq!(finding.facts["backups_affected"], serde_json::json!([older.name]), "{what}");
        }
    }
    // Damage to the object as such counts, wherever its bytes lie.
    let mut archive = archive();
    let body = pack(&four_records(&archive));
    archive.put(&key(1, 6), pack(&plain(6, 1, system, 0, start + 112)));
    archive.put(&key(1, 5), body[..body.len() - 5].to_vec());
    let name = archive.backup_with(1, 5, &|sentinel| sentinel["LSN"] = (start + 88).into());
    let report = verify(&archive).await;
    let backup = report.backups.iter().find(|backup| backup.name == name).unwrap();
    assert_eq!(backup.restorable, Restorable::No);
}

#[tokio::test]
async fn damage_at_the_boundary_does_not_count_against_a_backup_behind_it() {
    let start = SegmentNo(5).start(SIZE).0;
    for (offset, usable) in [(40, false), (64, true)] {
        let mut archive = archive();
        let mut body = four_records(&archive);
        // It names another record than the last of segment 4; its own CRC is right.
        body[48..56].copy_from_slice(&(record_at(4) - 8).to_le_bytes());
        let crc = crc32c::crc32c(&body[40..60]).to_le_bytes();
        body[60..64].copy_from_slice(&crc);
        archive.put(&key(1, 5), pack(&body));
        let next = plain(6, 1, archive.system, 0, start + 112);
        archive.put(&key(1, 6), pack(&next));
        let name = archive.backup_with(1, 5, &|sentinel| sentinel["LSN"] = (start + offset).into());
        let report = verify(&archive).await;
        assert_eq!(about(&report, 5), ["INT005"], "{offset}");
        let backup = report.backups.iter().find(|backup| backup.name == name).unwrap();
        assert_eq!(backup.restorable == Restorable::Yes, usable, "{offset}: {:?}", backup.reasons);
    }
}

#[tokio::test]
async fn neighbours_that_were_not_read_are_not_a_broken_chain() {
    let mut archive = archive();
    archive.put(&key(1, 5), pack(&whole(&Described::default(), 5)));
    let name = |number: u64| SegmentNo(number).name(tli(1), SIZE);
    let one = ContentAsked { wal: Some(WalChoice::Range(name(5), name(5))), ..asked() };
    let report = verify_as(&archive, &one).await;
    assert_eq!(codes(&report), Vec::<String>::new());
    let run = &report.timelines[0].runs[0];
    assert!(run.proven_fraction > 0.1 && run.proven_fraction < 0.2 && run.rungs.valid.is_none());
}

#[tokio::test]
async fn wal004_copies_are_compared() {
    let base = archive();
    for (xid, severity) in [(0, "warning"), (7, "critical")] {
        let mut archive = archive();
        let other = plain(5, 1, base.system, xid, record_at(4));
        archive.put(&format!("wal_005/{}", SegmentNo(5).name(tli(1), SIZE)), other);
        let report = verify(&archive).await;
        assert!(has(&report, "WAL004", severity), "{xid}: {:?}", codes(&report));
        assert_eq!(report.findings.len(), 1, "{:?}", codes(&report));
    }
}

/// Bytes without any structure.
fn noise() -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(40_000).collect()
}

#[tokio::test]
async fn int014_counts_what_no_key_opens() {
    let mut archive = archive();
    // Somebody turned encryption on: nothing behind these needs no key.
    archive.put(&key(1, 8), noise()).put(&key(1, 9), noise());
    let report = verify(&archive).await;
    let finding = report.findings.iter().find(|finding| finding.code == "INT014").unwrap();
    assert_eq!((finding.count, finding.severity.name()), (2, "warning"));
    assert!(!has(&report, "INT001", "critical") && !has(&report, "INT002", "critical"), "{:?}", codes(&report));
    assert!(report.recovery_window.unwrap().to_lsn.0 > record_at(9), "not read is not damaged");
}

#[tokio::test]
async fn int001_noise_among_what_needs_no_key_is_damage() {
    let mut archive = archive();
    archive.put(&key(1, 5), noise());
    let report = verify(&archive).await;
    assert!(has(&report, "INT001", "critical"), "{:?}", codes(&report));
    assert!(!has(&report, "INT014", "warning"), "{:?}", codes(&report));
    assert!(report.recovery_window.unwrap().to_lsn.0 < record_at(5), "nothing behind it can be recovered");
}

/// The checksum of bytes as S3 writes it: of the whole, or of parts of a size.
fn md5(bytes: &[u8], part_bytes: Option<u64>) -> String {
    let mut sums = match part_bytes {
        Some(part_bytes) => Checksums::of_parts(ChecksumKind::Md5, part_bytes),
        None => Checksums::new(&[ChecksumKind::Md5]),
    };
    sums.update(bytes);
    let count = part_bytes.map(|part_bytes| format!("-{}", (bytes.len() as u64).div_ceil(part_bytes)));
    sums.finish()[0].hex() + &count.unwrap_or_default()
}

/// Stores a segment with an ETag.
fn put_tagged(archive: &mut Described, number: u64, tag: impl Fn(&[u8]) -> String) {
    let body = pack(&whole(archive, number));
    let modified = archive.tick();
    let row = ObjectRow {
        key: key(1, number).into(),
        size: body.len() as u64,
        modified,
        etag: Some(tag(&body).into()),
        version: None,
        class: StorageClass::Standard,
        checksum: None,
    };
    archive.store.put_row(row, body);
}

/// What is promised while nothing is wrong with segment 5, or where it is.
fn assert_window(report: &ArchiveReport, damaged: bool) {
    let expected = if damaged { record_at(4) + 24 } else { record_at(9) + 24 };
    assert_eq!(report.recovery_window.as_ref().unwrap().to_lsn.0, expected);
    let run = &report.timelines[0].runs[0];
    assert_eq!((run.segments, run.proven_fraction), (if damaged { 3 } else { 8 }, 1.0));
    assert_eq!(report.timelines[0].gaps.len(), usize::from(damaged));
}

#[tokio::test]
async fn int010_an_etag_counts_only_where_etags_are_md5() {
    let mut archive = archive();
    put_tagged(&mut archive, 5, |_| "0".repeat(32));
    let report = verify(&archive).await;
    assert!(!has(&report, "INT010", "critical"), "no ETag here is an MD5: {:?}", codes(&report));
    assert_window(&report, false);
    put_tagged(&mut archive, 6, |body| md5(body, None));
    let report = verify(&archive).await;
    let of_store = |report: &ArchiveReport| -> Vec<String> {
        report.findings.iter().filter(|f| f.code == "INT010").map(|f| f.subject.clone()).collect()
    };
    assert!(of_store(&report).contains(&key(1, 5)) && !of_store(&report).contains(&key(1, 6)), "{:?}", codes(&report));
}

#[tokio::test]
async fn int010_what_differs_from_the_stores_checksum_is_neither_promised_nor_proven() {
    let part_bytes = 100;
    for parts in [None, Some(part_bytes)] {
        let mut archive = archive();
        for number in 2..=9 {
            put_tagged(&mut archive, number, |body| md5(body, parts));
            if parts.is_some() {
                archive.store.in_parts(key(1, number).as_str(), part_bytes);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Directory(dir.path().join("state"));
        let state = open_state(&address, &StoreOptions::default(), Limits::new(4), Cancel::default()).await.unwrap();
        let remembering = ContentAsked { state: Some(state), ..asked() };
        let report = verify_as(&archive, &ContentAsked { reverify: true, ..remembering.clone() }).await;
        assert_eq!(codes(&report), Vec::<String>::new(), "{parts:?}");
        assert_eq!(report.verify.as_ref().unwrap()["store_checksums"], 8, "{parts:?}");
        assert_window(&report, false);
        // It decodes to whole WAL, but is not what the store took.
        put_tagged(&mut archive, 5, |body| md5(&[body, &[1]].concat()[1..], parts));
        for _ in 0..2 {
            // That ETags are MD5 sums here is remembered; damaged objects are read again in every run.
            let report = verify_as(&archive, &remembering).await;
            assert_eq!(about(&report, 5), ["INT010"], "{parts:?}: {:?}", report.findings);
            assert_window(&report, true);
            let verify = report.verify.as_ref().unwrap();
            assert_eq!((&verify["wal_segments"], &verify["known"]), (&1.into(), &7.into()), "{parts:?}");
            let finding = report.findings.iter().find(|finding| finding.code == "INT010").unwrap();
            assert_eq!(finding.message.contains("of its parts"), parts.is_some(), "{}", finding.message);
        }
        // One part size more or less and nothing can be compared.
        if parts.is_some() {
            archive.store.in_parts(key(1, 5).as_str(), 7);
            let report = verify_as(&archive, &ContentAsked { reverify: true, ..remembering }).await;
            assert_eq!(codes(&report), Vec::<String>::new());
            assert_eq!(report.verify.as_ref().unwrap()["store_checksums"], 7);
        }
    }
}
