//! The rules that judge content, on WAL that is small and real: a page header, a switch record, zeros.

mod versions;

use std::collections::BTreeMap;

use walproof::audit::{self, ContentAsked, Options};
use walproof::codec::checksum::{ChecksumKind, ChecksumReader};
use walproof::model::{ObjectRow, SegmentNo, StorageClass};
use walproof::report::data::{ArchiveReport, Rung};
use walproof::run::RunContext;
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

#[tokio::test]
async fn int010_an_etag_counts_only_where_etags_are_md5() {
    let md5 = |bytes: &[u8]| {
        let (mut reader, handle) = ChecksumReader::new(bytes, &[ChecksumKind::Md5]);
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        handle.finish().checksums[0].hex()
    };
    let put = |archive: &mut Described, number: u64, etag: String| {
        let body = pack(&whole(archive, number));
        let modified = archive.tick();
        let row = ObjectRow {
            key: key(1, number).into(),
            size: body.len() as u64,
            modified,
            etag: Some(etag.into()),
            version: None,
            class: StorageClass::Standard,
            checksum: None,
        };
        archive.store.put_row(row, body);
    };
    let mut archive = archive();
    put(&mut archive, 5, "0".repeat(32));
    let report = verify(&archive).await;
    assert!(!has(&report, "INT010", "critical"), "no ETag here is an MD5: {:?}", codes(&report));
    let right = md5(&pack(&whole(&archive, 6)));
    put(&mut archive, 6, right);
    let report = verify(&archive).await;
    assert!(report.findings.iter().any(|f| f.code == "INT010" && f.subject == key(1, 5)), "{:?}", codes(&report));
    assert!(!report.findings.iter().any(|f| f.code == "INT010" && f.subject == key(1, 6)));
}
