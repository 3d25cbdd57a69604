//! What `audit`, `list` and `reach` say about real archives, whole and damaged, against what is known to be true.

#![allow(clippy::disallowed_methods)]
#![cfg(all(feature = "cli", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

mod golden_support;

use std::collections::BTreeSet;
use std::path::Path;

use golden_support as g;
use serde_json::{Value, json};

fn audit(golden: &Path, name: &str, root: &Path, keys: bool, more: &[&str]) -> (Value, i32) {
    let mut command = g::walproof();
    command.args(["audit", "--format", "json", "--now", &g::two_days_later(root)]).args(more).arg(root);
    if keys {
        g::with_keys(&mut command, golden, name);
    }
    g::report(&command.output().unwrap())
}

fn lsn(text: &str) -> u64 {
    text.parse::<walproof::model::Lsn>().unwrap().0
}

#[test]
fn wal_g_archives_are_read_as_they_are() {
    let Some(golden) = g::golden() else { return };
    for name in g::WALG {
        let expected = g::expected(&golden, name);
        let root = g::root(&golden, name);
        for keys in [false, true] {
            let (report, code) = audit(&golden, name, &root, keys, &[]);
            assert_eq!(code, 0, "{name}: {report:#}");
            assert_eq!(report["layout"], "wal-g", "{name}");
            assert_eq!(report["system_identifier"], expected["system_identifier"], "{name}");
            assert_eq!(report["wal_segment_size"], expected["wal_segment_bytes"], "{name}");
            assert_eq!(report["wal_segment_size_source"], "backup", "{name}");
            let timelines: Vec<&Value> =
                report["timelines"].as_array().unwrap().iter().map(|line| &line["id"]).collect();
            assert_eq!(json!(timelines), expected["timelines"], "{name}");
            backups_equal(name, &report, &expected);
            segments_equal(name, &report, &expected);
            let bad = report["findings"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|f| f["severity"] != "info" && f["severity"] != "warning");
            assert_eq!(bad.count(), 0, "{name}: {:#}", report["findings"]);
            if let Some(count) = expected["object_count"].as_u64() {
                assert_eq!(report["listing"]["objects"], count, "{name}");
                assert_eq!(report["listing"]["bytes"], expected["total_bytes"], "{name}");
            }
        }
    }
}

/// Against the tool's own `backup-list --detail`.
fn backups_equal(name: &str, report: &Value, expected: &Value) {
    let theirs = expected["wal_g"]["backup_list_detail"].as_array().unwrap();
    let ours = report["backups"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for their in theirs {
        let backup = their["backup_name"].as_str().unwrap();
        let our =
            ours.iter().find(|our| our["name"] == backup).unwrap_or_else(|| panic!("{name}: {backup} is not there"));
        assert_eq!(lsn(our["start_lsn"].as_str().unwrap()), their["start_lsn"].as_u64().unwrap(), "{backup}");
        assert_eq!(lsn(our["finish_lsn"].as_str().unwrap()), their["finish_lsn"].as_u64().unwrap(), "{backup}");
        assert_eq!(our["started_at"], their["start_time"], "{backup}");
        assert_eq!(our["finished_at"], their["finish_time"], "{backup}");
        assert_eq!(our["permanent"], their["is_permanent"], "{backup}");
        assert_eq!(our["pg_version"], their["pg_version"], "{backup}");
        assert_eq!(our["hostname"], their["hostname"], "{backup}");
        assert_eq!(our["size"]["uncompressed"], their["uncompressed_size"], "{backup}");
        assert_eq!(our["size"]["compressed"], their["compressed_size"], "{backup}");
        assert_eq!(our["system_identifier"], their["system_identifier"].to_string(), "{backup}");
        assert_eq!(our["user_data"], their.get("user_data").cloned().unwrap_or(Value::Null), "{backup}");
        assert_eq!(our["kind"], if backup.contains("_D_") { "delta" } else { "full" }, "{backup}");
        // The parent's own segment stands in a delta's name.
        let parent = our["parent"].as_str().map(|parent| parent[5..29].to_owned());
        assert_eq!(parent.as_deref(), backup.split_once("_D_").map(|(_, segment)| segment), "{backup}");
        assert_ne!(our["restorable"], "no", "{backup}");
        assert!(our["recovery"].as_array().is_some_and(|ways| !ways.is_empty()), "{backup}");
    }
}

fn segments_equal(name: &str, report: &Value, expected: &Value) {
    let size = walproof::model::SegmentSize::new(expected["wal_segment_bytes"].as_u64().unwrap()).unwrap();
    let mut ours = BTreeSet::new();
    for run in report["timelines"].as_array().unwrap().iter().flat_map(|line| line["runs"].as_array().unwrap()) {
        let number =
            |field: &str| walproof::model::SegmentName::parse(run[field].as_str().unwrap().as_bytes()).unwrap();
        let (first, last) = (number("first"), number("last"));
        for segment in first.number(size).unwrap().0..=last.number(size).unwrap().0 {
            ours.insert(walproof::model::SegmentNo(segment).name(first.timeline, size).to_string());
        }
    }
    let theirs: BTreeSet<String> = expected["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| segment["object"].as_str().unwrap().trim_start_matches("wal_005/")[..24].to_owned())
        .collect();
    assert_eq!(ours, theirs, "{name}");
}

#[test]
fn wal_e_archives_are_read_as_they_are() {
    let Some(golden) = g::golden() else { return };
    for (name, _) in g::WALE {
        let expected = g::expected(&golden, name);
        let root = g::root(&golden, name);
        for keys in [false, true] {
            let (report, code) = audit(&golden, name, &root, keys, &[]);
            assert_eq!(code, 0, "{name}: {report:#}");
            assert_eq!(report["layout"], "wal-e");
            assert_eq!(report["pg_major"], 14);
            if keys || *name == "wale-lzo-pg14" {
                assert_eq!(report["system_identifier"], expected["system_identifier"], "{name}");
            } else {
                assert_eq!(report["system_identifier"], Value::Null, "never guessed without the key");
            }
            assert_eq!(report["wal_segment_size"], expected["wal_segment_bytes"]);
            let Some(theirs) = expected["backups"].as_array() else { continue };
            for their in theirs {
                let backup = their["name"].as_str().unwrap();
                let our = report["backups"].as_array().unwrap().iter().find(|our| our["name"] == backup).unwrap();
                let offset: u64 = their["wal_segment_offset_backup_stop"].as_str().unwrap().parse().unwrap();
                assert_eq!(lsn(our["finish_lsn"].as_str().unwrap()) % (16 << 20), offset, "{backup}");
                let offset: u64 = their["wal_segment_offset_backup_start"].as_str().unwrap().parse().unwrap();
                assert_eq!(lsn(our["start_lsn"].as_str().unwrap()) % (16 << 20), offset, "{backup}");
                assert_eq!(our["size"]["uncompressed"].to_string(), their["expanded_size_bytes"].as_str().unwrap());
                assert_eq!(our["restorable"], "unknown", "no list of tars: never called complete");
            }
        }
    }
}

#[test]
fn other_tools_archives_are_named_and_never_called_empty() {
    let Some(golden) = g::golden() else { return };
    for (name, word) in [
        ("barman-gzip-pg15", "barman-cloud"),
        ("barman-mixed-pg15", "barman-cloud"),
        ("pgbackrest-zst-pg15", "pgBackRest"),
        ("pgbackrest-zst-bundle-pg15", "pgBackRest"),
        ("pgbackrest-aes256-bundle-pg15", "pgBackRest"),
    ] {
        let dir = g::unpacked(&golden, name);
        let output = g::walproof().args(["audit", "--format", "json"]).arg(&dir).output().unwrap();
        let (report, code) = g::report(&output);
        assert_eq!(code, 2, "{name}");
        let error = report["error"].as_str().unwrap();
        assert!(error.contains(word) && error.contains("not yet read"), "{name}: {error}");
        assert!(report["listing"]["objects"].as_u64().unwrap() > 0, "{name}");
    }
}

/// Every recorded position that lies behind a backup's end and before the end of the archived WAL is reachable, on its
/// timeline, and no other is.
#[test]
fn marks_are_reachable_exactly_where_the_archive_covers_them() {
    use walproof::catalog::{Moment, Verdict, reach};
    let Some(golden) = g::golden() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for name in g::WALG {
        let expected = g::expected(&golden, name);
        let root = g::root(&golden, name);
        let known = runtime.block_on(catalogue(&root));
        let mut reachable = 0;
        for mark in expected["marks"].as_array().unwrap() {
            let at = lsn(mark["lsn"].as_str().unwrap());
            let timeline = mark["timeline"].as_u64().unwrap();
            let end_of_wal = expected["segments"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|segment| segment["timeline"].as_u64() == Some(timeline))
                .map(|segment| lsn(segment["end_lsn"].as_str().unwrap()))
                .max()
                .unwrap_or(0);
            let ancestors = [1, timeline];
            let covered = expected["wal_g"]["backup_list_detail"].as_array().unwrap().iter().any(|backup| {
                let own = u64::from_str_radix(&backup["backup_name"].as_str().unwrap()[5..13], 16).unwrap();
                ancestors.contains(&own) && backup["finish_lsn"].as_u64().unwrap() <= at && at <= end_of_wal
            });
            let id = walproof::model::TimelineId::new(timeline as u32);
            let answer = reach(&known.0, &known.1, Moment::Lsn(walproof::model::Lsn(at)), id);
            let expected = if covered { Verdict::Reachable } else { Verdict::Unreachable };
            assert_eq!(answer.verdict, expected, "{name}: {mark}");
            reachable += u64::from(covered);
        }
        assert!(reachable > 0, "{name} covers no mark: the test looks at nothing");
    }
}

async fn catalogue(root: &Path) -> (walproof::catalog::Archive, walproof::catalog::Recovery) {
    use walproof::{audit, codec::crypto::KeyRing, run, store};
    let address = store::Address::Directory(root.to_path_buf());
    let limits = store::Limits::new(16);
    let options = store::StoreOptions::default();
    let opened = store::open(&address, &options, limits, run::Cancel::default()).await.unwrap();
    let target = audit::Target {
        name: None,
        storages: vec![audit::Storage { store: opened, address }],
        layout: None,
        keys: std::sync::Arc::new(KeyRing::new()),
        exceptions: Vec::new(),
        not_checked: Vec::new(),
        required: Vec::new(),
        stated: Default::default(),
    };
    let ctx = run::RunContext::new(jiff::Timestamp::now());
    let found = audit::catalogue(&target, &audit::Options::default(), &ctx).await.unwrap();
    match found.into_iter().next().unwrap().content {
        audit::Content::Known(known) => (known.archive, known.recovery),
        audit::Content::NotRead(_) => panic!("not read"),
    }
}

/// Every kind of damage that `audit` is to find, on every archive that it applies to, over five seeds.
#[test]
fn damage_is_found_and_named() {
    let Some(golden) = g::golden() else { return };
    let text = std::fs::read_to_string(golden.join("damage-rules.json")).unwrap();
    let kinds: Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<(String, Value)> = kinds["kinds"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, rule)| rule["command"] == "audit")
        .map(|(kind, rule)| (kind.clone(), rule.clone()))
        .collect();
    let archives: Vec<&str> = g::all().collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let runs = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(name) = archives.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    for (kind, rule) in &kinds {
                        let done = (1..=5).map_while(|seed| damage_one(&golden, name, kind, rule, seed)).count();
                        runs.fetch_add(done, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(runs.into_inner() > 300, "too few archives were damaged to prove anything");
}

fn damage_one(golden: &Path, name: &str, kind: &str, rule: &Value, seed: u32) -> Option<()> {
    let copy = g::Copy::of(&g::root(golden, name));
    let now = g::two_days_later(&copy.path());
    let what = g::damage(golden, kind, &copy.path(), seed, &[])?;
    let mut command = g::walproof();
    command.args(["audit", "--format", "json", "--now", &now]).arg(copy.path());
    let (report, code) = g::report(&command.output().unwrap());
    let codes: Vec<&str> = rule["rules"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let names = g::damaged_names(&what);
    let named = report["findings"].as_array().unwrap().iter().any(|finding| {
        let text = finding.to_string();
        codes.contains(&finding["code"].as_str().unwrap()) && names.iter().any(|name| text.contains(name.as_str()))
    });
    assert!(named, "{name} {kind} seed {seed}: {what}\n{:#}", report["findings"]);
    assert_eq!(i64::from(code), rule["exit"].as_i64().unwrap(), "{name} {kind} seed {seed}: {:#}", report["findings"]);
    Some(())
}
