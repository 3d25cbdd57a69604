//! WAL005: what became of older versions of WAL objects.

use walproof::audit::Versions;
use walproof::checks::OutcomeKind;

use super::*;

/// Adds an older version of a segment's object, and gives the current one a version, too.
fn older(archive: &mut Described, number: u64, older: Vec<u8>, current: Vec<u8>) {
    let row = |archive: &mut Described, version: &str, body: &[u8]| ObjectRow {
        key: key(1, number).into(),
        size: body.len() as u64,
        modified: archive.tick(),
        etag: Some(format!("{:08x}", crc32c::crc32c(body)).into()),
        version: Some(version.into()),
        class: StorageClass::Standard,
        checksum: None,
    };
    let old = row(archive, "v1", &older);
    archive.store.put_older(old, older);
    let new = row(archive, "v2", &current);
    archive.store.put_row(new, current);
}

/// The finding of WAL005, with the outcome of the rule and its reason.
async fn judged(
    archive: &Described,
    asked: Option<&ContentAsked>,
    versions: Versions,
) -> (Vec<String>, OutcomeKind, String) {
    let ctx = RunContext::new(archive.clock + jiff::SignedDuration::from_hours(48));
    let options = Options { versions, ..Options::default() };
    let report = audit::audit_with(&archive.target(), &options, None, asked, &ctx).await.remove(0);
    let found = report.findings.iter().filter(|finding| finding.code == "WAL005");
    let found = found.map(|finding| format!("{}: {}", finding.severity.name(), finding.message)).collect();
    let rule = report.rules.iter().find(|rule| rule.code == "WAL005").unwrap();
    (found, rule.outcome, rule.why.clone().unwrap_or_default())
}

#[tokio::test]
async fn wal005_versions_are_compared_as_far_as_recovery_reads() {
    let name = SegmentNo(5).name(tli(1), SIZE);
    let good = whole(&archive(), 5);
    let other = plain(5, 1, archive().system, 7, record_at(4));
    // Behind the switch record nothing is read.
    let mut tail = good.clone();
    tail[9 << 20] = 1;
    let repacked = zstd::encode_all(&good[..], 9).unwrap();
    assert_ne!(repacked, pack(&good));
    let cut = pack(&good)[..200].to_vec();
    let differ = format!("error: {name} was overwritten: its 2 versions hold different WAL");
    let equal = format!("info: {name} is stored more than once, in versions that hold the same WAL");
    let damaged = format!("info: {name} is stored more than once, and only older versions are damaged");
    let whole = format!("error: the current version of {name} is damaged, an older one is whole: v1");
    let cases = [
        ("other WAL", pack(&other), pack(&good), Some(differ)),
        ("packed otherwise", repacked, pack(&good), Some(equal.clone())),
        ("rubbish behind the switch", pack(&tail), pack(&good), Some(equal)),
        ("an upload that was cut off", cut.clone(), pack(&good), Some(damaged)),
        ("cut off by the newer one", pack(&good), cut, Some(whole)),
        ("the very same bytes", pack(&good), pack(&good), None),
    ];
    for (what, before, current, want) in cases {
        let mut archive = archive();
        older(&mut archive, 5, before, current);
        let (found, outcome, _) = judged(&archive, Some(&asked()), Versions::Auto).await;
        let kind = if want.is_some() { OutcomeKind::Found } else { OutcomeKind::Passed };
        assert_eq!((found, outcome), (want.into_iter().collect(), kind), "{what}");
    }
}

#[tokio::test]
async fn wal005_runs_only_where_versions_were_seen() {
    let good = whole(&archive(), 5);
    let other = plain(5, 1, archive().system, 7, record_at(4));
    let mut archive = archive();
    older(&mut archive, 5, pack(&other), pack(&good));
    // Without reading content they are not listed, unless asked for: and then nobody can tell what they hold.
    let (found, outcome, why) = judged(&archive, None, Versions::Auto).await;
    assert_eq!((found.len(), outcome), (0, OutcomeKind::NotRun));
    assert_eq!(why, "older versions of objects were not listed (--verify, --versions always)");
    let (found, outcome, _) = judged(&archive, None, Versions::Always).await;
    assert_eq!(outcome, OutcomeKind::Found);
    assert_eq!(
        found,
        ["info: a segment was overwritten, and its versions were not compared: content was not read (--verify)"]
    );
    let (_, outcome, why) = judged(&archive, Some(&asked()), Versions::Never).await;
    assert_eq!((outcome, why.as_str()), (OutcomeKind::NotRun, "--versions never"));
    // What the run does not look at is not listed.
    let name = |number: u64| SegmentNo(number).name(tli(1), SIZE);
    let elsewhere = ContentAsked { wal: Some(WalChoice::Range(name(6), name(7))), ..asked() };
    let (found, outcome, _) = judged(&archive, Some(&elsewhere), Versions::Auto).await;
    assert_eq!((found.len(), outcome), (0, OutcomeKind::Passed));
    let here = ContentAsked { wal: Some(WalChoice::Range(name(5), name(5))), ..asked() };
    assert_eq!(judged(&archive, Some(&here), Versions::Auto).await.0.len(), 1);
    // A store that keeps none.
    let (_, outcome, why) = judged(&super::archive(), Some(&asked()), Versions::Auto).await;
    assert_eq!(outcome, OutcomeKind::NotRun);
    assert_eq!(why, "older versions of objects are not listed in a store of the kind memory");
}

#[tokio::test]
async fn wal005_many_versions_in_small_pages() {
    let mut archive = Described { store: std::sync::Arc::new(walproof::store::MemoryStore::with_page(2)), ..archive() };
    let source = super::archive();
    for number in 2..=9 {
        let body = pack(&whole(&source, number));
        archive.put(&key(1, number), body);
        if number == 2 {
            archive.backup(1, 2);
        }
    }
    for (number, xid) in [(3, 1), (3, 2), (8, 3), (9, 0)] {
        let good = whole(&source, number);
        let before = plain(number, 1, source.system, xid, record_at(number - 1));
        older(&mut archive, number, pack(&before), pack(&good));
    }
    let (found, ..) = judged(&archive, Some(&asked()), Versions::Auto).await;
    let name = |number: u64| SegmentNo(number).name(tli(1), SIZE);
    assert_eq!(
        found,
        [
            format!("error: {} was overwritten: its 3 versions hold different WAL", name(3)),
            format!("error: {} was overwritten: its 2 versions hold different WAL", name(8)),
        ]
    );
}
