//! Each rule on an archive that fires it and on a near miss, and the cases in which the usual tools are wrong.
#![allow(clippy::disallowed_methods)]
#![cfg(feature = "cli")]

#[path = "rules/choose.rs"]
mod choose_rules;
#[path = "rules_content/mod.rs"]
mod content;
mod described;
#[path = "rules/restore.rs"]
mod restore_rules;

use described::{Described, SIZE, codes, has, tli};
use jiff::SignedDuration;
use serde_json::json;
use walproof::model::SegmentNo;
use walproof::report::data::{Restorable, Status};

/// Backups at 2 and 10 on timeline 1, WAL 2 to 20, one failover in 15.
fn two_timelines() -> Described {
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 3, 10);
    archive.backup(1, 10);
    archive.wal(1, 11, 14).partial(1, 15).history(2, "1\t0/F000100\tno recovery target specified\n");
    archive.wal_with_page(2, 15, 15, 1).wal(2, 16, 20);
    archive
}

#[tokio::test]
async fn a_healthy_failover_gives_nothing() {
    let report = two_timelines().audit().await;
    assert_eq!(codes(&report), Vec::<String>::new());
    assert_eq!(report.status, Status::Ok);
    let window = report.recovery_window.unwrap();
    assert_eq!(window.timeline, 2);
    assert!(window.holes.is_empty());
    assert_eq!(report.backups.len(), 2);
    for backup in &report.backups {
        assert_eq!(backup.restorable, Restorable::Yes);
        let ends: Vec<u32> = backup.recovery.iter().map(|way| way.timeline).collect();
        assert_eq!(ends, [1, 2], "timeline 1 itself, and the one that descends from it");
    }
}

#[tokio::test]
async fn wal001_a_hole_is_judged_by_need_and_never_by_position() {
    // Seventeen before the end, three before the end, and the last but one: all the same.
    for missing in [4, 17, 19] {
        let mut archive = two_timelines();
        archive.remove_wal(if missing < 15 { 1 } else { 2 }, missing, missing);
        let report = archive.audit().await;
        assert!(has(&report, "WAL001", "critical"), "{missing}: {:?}", codes(&report));
        let name = SegmentNo(missing).name(tli(if missing < 15 { 1 } else { 2 }), SIZE).to_string();
        let finding = report.findings.iter().find(|finding| finding.code == "WAL001").unwrap();
        assert!(finding.subject.ends_with(&name), "{}", finding.subject);
        assert_eq!(finding.facts["segments_missing"], 1);
    }
    // Across the switch: the last of the parent, the first of the child.
    for (timeline, missing) in [(1, 14), (2, 15)] {
        let mut archive = two_timelines();
        archive.remove_wal(timeline, missing, missing);
        assert!(has(&archive.audit().await, "WAL001", "critical"), "{missing} on {timeline}");
    }
    // Older than every usable backup: a note.
    let mut archive = Described::default();
    archive.wal(1, 2, 4).wal(1, 6, 8);
    archive.backup(1, 8);
    archive.wal(1, 9, 10);
    let report = archive.audit().await;
    assert!(has(&report, "WAL001", "info") && report.worst_severity.unwrap().name() == "info", "{:?}", codes(&report));
}

#[tokio::test]
async fn wal001_in_flight_for_a_quarter_of_an_hour_only() {
    let mut archive = two_timelines();
    archive.remove_wal(2, 19, 19);
    let soon = archive.audit_at(archive.clock + SignedDuration::from_mins(10)).await;
    assert!(has(&soon, "WAL001", "info"), "{:?}", codes(&soon));
    let later = archive.audit_at(archive.clock + SignedDuration::from_mins(20)).await;
    assert!(has(&later, "WAL001", "critical"), "{:?}", codes(&later));
}

#[tokio::test]
async fn wal001_trimmed_around_a_permanent_backup() {
    let permanent = |sentinel: &mut serde_json::Value| sentinel["IsPermanent"] = json!(true);
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup_with(1, 2, &permanent);
    archive.wal(1, 9, 9);
    archive.backup(1, 9);
    archive.wal(1, 10, 12);
    let report = archive.audit().await;
    assert!(has(&report, "WAL001", "info"), "{:?}", codes(&report));
    assert!(!has(&report, "WAL001", "critical"));
    // Near miss: nothing says that the older backup was to be kept alone.
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 9, 9);
    archive.backup(1, 9);
    archive.wal(1, 10, 12);
    assert!(has(&archive.audit().await, "WAL001", "critical"));
}

#[tokio::test]
async fn a_missing_tail_is_seen_by_the_newest_backups_stop() {
    let mut archive = two_timelines();
    archive.backup(2, 19);
    archive.remove_wal(2, 18, 20);
    let report = archive.audit().await;
    assert!(has(&report, "BKP005", "critical"), "{:?}", codes(&report));
    assert_eq!(report.backups.iter().filter(|backup| backup.restorable == Restorable::No).count(), 1);
}

#[tokio::test]
async fn wal003_stubs_are_not_segments() {
    let mut archive = two_timelines();
    let key = format!("wal_005/{}.zst", SegmentNo(5).name(tli(1), SIZE));
    archive.put(&key, Vec::new());
    let report = archive.audit().await;
    assert!(has(&report, "WAL003", "critical"), "{:?}", codes(&report));
    assert!(!has(&report, "WAL001", "critical"), "one finding for one thing: {:?}", codes(&report));
    assert_eq!(report.recovery_window.unwrap().holes.len(), 1);
}

#[tokio::test]
async fn wal004_two_codecs_for_one_segment() {
    let archive = two_timelines();
    let key = format!("wal_005/{}.lzma", SegmentNo(5).name(tli(1), SIZE));
    let at = archive.clock;
    archive.store.put(key.as_str(), vec![1; 5000], at);
    assert!(has(&archive.audit().await, "WAL004", "warning"));
}

#[tokio::test]
async fn wal006_dump_and_restore_into_the_same_prefix_overwrites() {
    // A new cluster of the same major writes the low segments again, days later.
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    let old = archive.backup(1, 2);
    archive.wal(1, 3, 12);
    archive.wait(72);
    archive.system += 1;
    archive.wal(1, 2, 5);
    archive.backup(1, 5);
    archive.wal(1, 6, 7);
    let report = archive.audit().await;
    assert!(has(&report, "WAL006", "critical"), "{:?}", codes(&report));
    let dead = report.backups.iter().find(|backup| backup.name == old).unwrap();
    assert_eq!(dead.restorable, Restorable::No, "{:?}", dead.reasons);
    assert!(report.findings.iter().any(|f| f.code == "BKP005" && f.subject == old), "{:?}", codes(&report));
}

#[tokio::test]
async fn wal006_pg_upgrade_into_the_same_prefix_is_an_incarnation() {
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 3, 12);
    archive.system += 1;
    archive.version = 170_010;
    archive.wal(1, 17, 17);
    archive.backup(1, 17);
    archive.wal(1, 18, 20);
    let report = archive.audit().await;
    assert_eq!(codes(&report), ["WAL006 info"], "names that pg_upgrade skips are no hole");
    assert_eq!(report.incarnations.len(), 2);
    assert_eq!(report.incarnations[1].pg_major, Some(17));
    assert_eq!(report.pg_major, Some(17));
    let window = report.recovery_window.unwrap();
    assert_eq!(window.from_lsn.segment(SIZE), SegmentNo(17), "windows do not cross the upgrade");
    assert_eq!(report.recovery_windows.len(), 2, "the old cluster is recoverable, too");
}

#[tokio::test]
async fn wal007_partial_only_where_nobody_went_on() {
    let mut archive = two_timelines();
    assert!(!has(&archive.audit().await, "WAL007", "warning"), "the child has the segment");
    archive.partial(2, 21);
    assert!(has(&archive.audit().await, "WAL007", "warning"));
}

#[tokio::test]
async fn wal008_and_wal009_are_notes() {
    let mut archive = two_timelines();
    archive.put("wal_005/notes.txt", "x").put("basebackups_005/\u{1b}[31m", "x").wal(1, 0, 0);
    let report = archive.audit().await;
    assert!(has(&report, "WAL008", "info") && has(&report, "WAL009", "info"), "{:?}", codes(&report));
    let stray = report.findings.iter().find(|finding| finding.code == "WAL008").unwrap();
    assert_eq!(stray.count, 2);
    assert_eq!(stray.key_encoding.as_deref(), Some("percent"));
    assert!(!serde_json::to_string(&report).unwrap().contains('\u{1b}'));
}

#[tokio::test]
async fn wal010_a_run_that_was_set_aside() {
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 3, 60).wal(1, 63, 120);
    archive.wait(5);
    archive.wal(1, 61, 62);
    let report = archive.audit().await;
    let late: Vec<_> = report.findings.iter().filter(|finding| finding.code == "WAL010").collect();
    assert_eq!(late.len(), 1, "{:?}", codes(&report));
    assert_eq!(late[0].count, 2);
    // Near miss: overtaken by some minutes.
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 3, 60).wal(1, 63, 70).wal(1, 61, 62).wal(1, 71, 120);
    assert!(!has(&archive.audit().await, "WAL010", "warning"));
}

#[tokio::test]
async fn tli001_missing_history() {
    let mut archive = two_timelines();
    archive.remove("wal_005/00000002.history");
    assert!(has(&archive.audit().await, "TLI001", "critical"));
    // The archive begins on timeline 2: recovery from its own backups needs no history.
    let mut archive = Described::default();
    archive.wal(2, 15, 15);
    archive.backup(2, 15);
    archive.wal(2, 16, 20);
    let report = archive.audit().await;
    assert!(has(&report, "TLI001", "info") && !has(&report, "TLI001", "critical"), "{:?}", codes(&report));
}

#[tokio::test]
async fn tli002_and_tli003_history_files_that_cannot_be() {
    for wrong in ["1\t0/D000100\tmoved back\n", "1\t0/E000100\tmoved back\n", "1\t0/11000000\tmoved on\n"] {
        let mut archive = two_timelines();
        archive.history(2, wrong);
        let report = archive.audit().await;
        assert!(has(&report, "TLI002", "critical"), "{wrong}: {:?}", codes(&report));
    }
    let mut archive = two_timelines();
    archive.history(3, "1\t0/F000100\tx\n2\t0/13000100\tx\n").wal_with_page(3, 19, 19, 2).wal(3, 20, 22);
    assert!(!has(&archive.audit().await, "TLI002", "critical"), "a grandchild that agrees");
    archive.history(3, "1\t0/E000000\tx\n2\t0/13000100\tx\n");
    assert!(has(&archive.audit().await, "TLI002", "critical"), "a grandchild that does not");
    for broken in ["", "nonsense", "2\t0/1\tx\n", "1\t0/5\tx\n1\t0/6\tx\n"] {
        let mut archive = two_timelines();
        archive.history(2, broken);
        assert!(has(&archive.audit().await, "TLI003", "error"), "{broken:?}");
    }
}

#[tokio::test]
async fn tli004_dead_branch_and_two_switches_inside_one_segment() {
    let mut archive = two_timelines();
    archive.history(3, "1\t0/C000100\tback\n").wal_with_page(3, 12, 12, 1).wal(3, 13, 14);
    let report = archive.audit().await;
    assert!(has(&report, "TLI004", "info") && report.worst_severity.unwrap().name() == "info", "{:?}", codes(&report));
    assert_eq!(report.recovery_window.unwrap().timeline, 3);
    // Two promotions inside segment 15: complete, though timeline 2 has no segment at all.
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 3, 14).partial(1, 15).history(2, "1\t0/F000100\tx\n").partial(2, 15);
    archive.history(3, "1\t0/F000100\tx\n2\t0/F000200\tx\n").wal_with_page(3, 15, 15, 1).wal(3, 16, 18);
    let report = archive.audit().await;
    assert_eq!(codes(&report), Vec::<String>::new());
    assert_eq!(report.recovery_window.unwrap().to_lsn, SegmentNo(18).end(SIZE));
    // A hole before them is still seen.
    archive.remove_wal(1, 7, 7);
    assert!(has(&archive.audit().await, "WAL001", "critical"));
}

#[tokio::test]
async fn failover_whose_dead_primary_never_archived_its_last_segments() {
    let mut archive = two_timelines();
    archive.remove_wal(1, 13, 14);
    let report = archive.audit().await;
    let gap = report.findings.iter().find(|finding| finding.code == "WAL001").unwrap();
    assert_eq!(gap.severity.name(), "critical");
    assert_eq!(gap.facts["segments_missing"], 2);
    assert_eq!(gap.facts["furthest_lsn"], SegmentNo(12).end(SIZE).to_string());
}

#[tokio::test]
async fn bkp001_pushes_that_run_died_or_lost_their_sentinel() {
    let hours = SignedDuration::from_hours;
    let mut archive = two_timelines();
    let name = archive.backup_without_sentinel(2, 19);
    assert!(has(&archive.audit_at(archive.clock + SignedDuration::from_mins(30)).await, "BKP001", "info"));
    let report = archive.audit_at(archive.clock + hours(2)).await;
    assert!(has(&report, "BKP001", "error"), "metadata.json is written just before the sentinel: {:?}", codes(&report));
    archive.remove(&format!("basebackups_005/{name}/metadata.json"));
    assert!(has(&archive.audit_at(archive.clock + hours(2)).await, "BKP001", "info"), "may still be running");
    assert!(has(&archive.audit_at(archive.clock + hours(30)).await, "BKP001", "warning"));
    archive.wait(1).wal(2, 21, 22);
    archive.backup(2, 22);
    assert!(has(&archive.audit_at(archive.clock + hours(30)).await, "BKP001", "info"), "a later one is complete");
}

#[tokio::test]
async fn bkp002_parts_by_file_sets_and_by_size() {
    for part in ["part_002", "pg_control", "backup_label"] {
        let mut archive = two_timelines();
        archive.remove(&format!("basebackups_005/base_00000001000000000000000A/tar_partitions/{part}.tar.lz4"));
        let report = archive.audit().await;
        assert!(has(&report, "BKP002", "critical"), "{part}: {:?}", codes(&report));
    }
    // Without file sets only the sum tells.
    let plain = |sentinel: &mut serde_json::Value| sentinel["FilesMetadataDisabled"] = json!(true);
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    let name = archive.backup_with(1, 2, &plain);
    archive.wal(1, 3, 4).remove(&format!("basebackups_005/{name}/files_metadata.json"));
    let report = archive.audit().await;
    assert_eq!(codes(&report), Vec::<String>::new());
    assert_eq!(report.backups[0].restorable, Restorable::Unknown, "never called complete");
    archive.remove(&format!("basebackups_005/{name}/tar_partitions/part_001.tar.lz4"));
    archive.remove(&format!("basebackups_005/{name}/tar_partitions/part_002.tar.lz4"));
    assert!(has(&archive.audit().await, "BKP002", "critical"));
}

#[tokio::test]
async fn bkp003_and_bkp011_files_beside_a_backup() {
    let sentinel = "basebackups_005/base_00000001000000000000000A_backup_stop_sentinel.json";
    for broken in ["", "{\"LSN\":", "[]", "{}", "\u{0}\u{1}"] {
        let mut archive = two_timelines();
        archive.put(sentinel, broken);
        let report = archive.audit().await;
        assert!(has(&report, "BKP003", "error"), "{broken:?}: {:?}", codes(&report));
        assert_eq!(report.backups.iter().filter(|backup| backup.restorable == Restorable::Yes).count(), 1);
    }
    for file in ["metadata.json", "files_metadata.json"] {
        let mut archive = two_timelines();
        archive.remove(&format!("basebackups_005/base_00000001000000000000000A/{file}"));
        assert!(has(&archive.audit().await, "BKP011", "error"), "{file}");
    }
}

#[tokio::test]
async fn bkp004_and_bkp010_delta_chains() {
    let delta = |sentinel: &mut serde_json::Value| {
        sentinel["DeltaFrom"] = json!("base_000000010000000000000002");
        sentinel["DeltaFullName"] = json!("base_000000010000000000000002");
        sentinel["DeltaLSN"] = json!(0x200_0028);
        sentinel["DeltaCount"] = json!(1);
    };
    let mut archive = Described::default();
    archive.wal(1, 2, 2);
    archive.backup(1, 2);
    archive.wal(1, 3, 5);
    archive.backup_with(1, 5, &delta);
    archive.wal(1, 6, 8);
    assert_eq!(codes(&archive.audit().await), Vec::<String>::new());
    let kept = |sentinel: &mut serde_json::Value| {
        delta(sentinel);
        sentinel["IsPermanent"] = json!(true);
    };
    archive.backup_with(1, 7, &kept);
    assert!(has(&archive.audit().await, "BKP010", "warning"));
    archive.remove("basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json");
    let report = archive.audit().await;
    assert_eq!(report.findings.iter().filter(|finding| finding.code == "BKP004").count(), 2, "{:?}", codes(&report));
    assert!(has(&report, "BKP012", "critical"), "nothing is left to restore");
    assert!(report.recovery_window.is_none());
}

#[tokio::test]
async fn bkp009_a_backup_of_another_cluster() {
    let mut archive = two_timelines();
    let foreign = |sentinel: &mut serde_json::Value| sentinel["SystemIdentifier"] = json!(42);
    let name = archive.backup_with(2, 18, &foreign);
    let report = archive.audit().await;
    assert!(
        report.findings.iter().any(|finding| finding.code == "BKP009" && finding.subject == name),
        "{:?}",
        codes(&report)
    );
    assert_eq!(report.system_identifier.as_deref(), Some("7300000000000000001"));
}

#[tokio::test]
async fn bkp012_wal_without_any_backup() {
    let mut archive = Described::default();
    archive.wal(1, 2, 9);
    let report = archive.audit().await;
    assert!(has(&report, "BKP012", "critical"), "{:?}", codes(&report));
    assert_eq!(report.status, Status::Critical);
}

#[tokio::test]
async fn bkp013_overwritten_in_place() {
    let mut archive = two_timelines();
    archive.wait(1);
    archive.put("basebackups_005/base_00000001000000000000000A/tar_partitions/part_001.tar.lz4", vec![2; 10]);
    let hours = SignedDuration::from_hours;
    assert!(has(&archive.audit_at(archive.clock + hours(1)).await, "BKP013", "warning"), "may still be going on");
    assert!(has(&archive.audit_at(archive.clock + hours(48)).await, "BKP013", "error"));
}

#[tokio::test]
async fn lfc004_objects_that_cannot_be_read_at_once() {
    use walproof::model::{ObjectRow, StorageClass};
    let mut archive = two_timelines();
    let key = format!("wal_005/{}.zst", SegmentNo(5).name(tli(1), SIZE));
    let at = archive.tick();
    let row = |key: &str, class| ObjectRow {
        key: key.into(),
        size: 5000,
        modified: at,
        etag: Some("x".into()),
        version: None,
        class,
        checksum: None,
    };
    archive.store.put_row(row(&key, StorageClass::GlacierIr), vec![]);
    assert!(!has(&archive.audit().await, "LFC004", "error"), "read at once, only dearer");
    archive.store.put_row(row(&key, StorageClass::DeepArchive), vec![]);
    assert!(has(&archive.audit().await, "LFC004", "error"));
    let part = "basebackups_005/base_00000001000000000000000A/tar_partitions/part_001.tar.lz4";
    archive.store.put_row(row(part, StorageClass::Glacier), vec![]);
    let report = archive.audit().await;
    let backup = report.backups.iter().find(|backup| backup.name == "base_00000001000000000000000A").unwrap();
    assert_eq!(backup.rungs.complete, None, "such a backup is not complete");
}

#[tokio::test]
async fn a_copied_bucket_says_nothing_about_time() {
    let mut archive = two_timelines();
    archive.wait(240);
    // Copying stores every object anew, in the order of keys.
    let objects = two_timelines();
    let copy = Described { clock: archive.clock, ..Described::default() };
    let request = walproof::store::ListRequest { keys_max: Some(1000), ..Default::default() };
    let page = walproof::store::Store::list_page(&*objects.store, request).await.unwrap();
    let mut at = copy.clock;
    for row in page.rows {
        at += SignedDuration::from_secs(1);
        let body = read(&objects, &row.key).await;
        copy.store.put(row.key, body, at);
    }
    let report = copy.audit_at(at + SignedDuration::from_hours(1)).await;
    assert_eq!(report.time_source.as_deref(), Some("sidecar"));
    assert_eq!(codes(&report), Vec::<String>::new());
    for code in ["WAL010", "BKP013"] {
        let rule = report.rules.iter().find(|rule| rule.code == code).unwrap();
        assert!(rule.why.as_deref().is_some_and(|why| why.contains("copied")), "{code}");
    }
}

async fn read(archive: &Described, key: &walproof::model::ObjectKey) -> Vec<u8> {
    use futures::TryStreamExt;
    let read = walproof::store::Store::read(&*archive.store, key, Default::default()).await.unwrap();
    let chunks: Vec<bytes::Bytes> = read.stream.try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn the_furthest_moment_is_given_for_each_backup() {
    let mut archive = two_timelines();
    archive.remove_wal(1, 7, 7);
    let report = archive.audit().await;
    let old = &report.backups[0].recovery;
    assert!(old.iter().all(|way| way.to_lsn == SegmentNo(6).end(SIZE)), "{old:?}");
    assert!(old.iter().all(|way| way.blocked_at.as_deref() == Some("000000010000000000000007")));
    assert!(old.iter().all(|way| way.to.is_some() && way.to_segment.ends_with("06")));
    let new = report.backups[1].recovery.iter().find(|way| way.timeline == 2).unwrap();
    assert_eq!(new.to_lsn, SegmentNo(20).end(SIZE));
    let window = report.recovery_window.unwrap();
    assert_eq!(window.holes.len(), 1);
    assert_eq!(window.holes[0].from_lsn, SegmentNo(6).end(SIZE));
    assert!(window.holes[0].from.is_some() && window.holes[0].to.is_some());
}

#[tokio::test]
async fn every_rule_has_a_manual_page() {
    let mut seen = std::collections::BTreeSet::new();
    for rule in walproof::checks::all() {
        assert!(seen.insert(rule.code), "{} twice", rule.code);
        let manual = rule.manual();
        assert!(manual.len() > 200, "{} has no manual page", rule.code);
        assert!(walproof::checks::rule(rule.name).is_some_and(|found| found.code == rule.code));
    }
}

/// Half a million holes: a report that can be read, with true counts.
#[tokio::test]
async fn a_shredded_archive_gives_a_bounded_report() {
    use walproof::model::{ObjectRow, StorageClass};
    let mut archive = two_timelines();
    let at = archive.tick();
    for number in (100..20_000u64).step_by(2) {
        let row = ObjectRow {
            key: format!("wal_005/{}.lz4", SegmentNo(number).name(tli(2), SIZE)).as_str().into(),
            size: if number % 20 == 0 { 0 } else { 100_000 },
            modified: at,
            etag: Some("x".into()),
            version: None,
            class: if number % 4 == 0 { StorageClass::Glacier } else { StorageClass::Standard },
            checksum: None,
        };
        archive.store.put_row(row, vec![]);
    }
    let report = archive.audit().await;
    let gaps: Vec<_> = report.findings.iter().filter(|finding| finding.code == "WAL001").collect();
    assert_eq!(gaps.len(), 1000);
    let missing: u64 = gaps.iter().map(|finding| finding.count).sum();
    assert!((9_900..12_000).contains(&missing), "{missing}");
    assert!(report.listing.requests < 300, "{} requests", report.listing.requests);
}
