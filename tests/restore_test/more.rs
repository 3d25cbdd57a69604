//! What is remembered, kept, limited, and tried instead.

use std::path::Path;

use serde_json::Value;

use crate::golden_support as g;
use crate::run::{is_clean, lsn, outcome, postgres, restore_test, work_dir};

const QUICK: [&str; 2] = ["--no-full-read", "--no-amcheck"];

fn json(command: &mut std::process::Command) -> (Value, i32) {
    let output = command.output().unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap())
}

/// The state holds the proof: audits show it, `reach` estimates with it, `history` lists it.
#[test]
fn a_proof_is_remembered() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let root = g::root(&golden, "walg-none-pg15");
    let (work, state) = (work_dir(), tempfile::tempdir().unwrap());
    let now = g::two_days_later(&root);
    let mut command = restore_test(&root, &bin, work.path());
    let (_, test, code) = outcome(command.args(QUICK).args(["--pick", "latest"]).arg("--state").arg(state.path()));
    assert_eq!((test["outcome"].as_str(), code), (Some("restored"), 0), "{test:#}");
    assert_eq!(test["reached_lsn"], test["expected_lsn"]);

    let with_state = |args: &[&str]| {
        let mut command = g::walproof();
        command.args(args).arg(&root).args(["--format", "json", "--now", &now]).arg("--state").arg(state.path());
        json(&mut command)
    };
    let (report, code) = with_state(&["audit"]);
    assert_eq!(code, 0);
    let archive = &report["archives"][0];
    assert_eq!(archive["last_restore"]["backup"], test["backup"], "{archive:#}");
    let backup = archive["backups"].as_array().unwrap().iter().find(|one| one["name"] == test["backup"]).unwrap();
    assert!(backup["rungs"]["restored"].is_string() && backup["rungs"]["proven"].is_null(), "{backup:#}");

    let middle = lsn(test["expected_lsn"].as_str().unwrap()) - (16 << 20);
    let middle = walproof::model::Lsn(middle).to_string();
    let (reach, code) = with_state(&["reach", "--lsn", &middle]);
    assert_eq!(code, 0);
    assert!(reach["estimated_s"].as_f64().unwrap() > 0.0, "{reach:#}");
    let mut history = g::walproof();
    let (history, _) =
        json(history.args(["history", "--format", "json", "--now", &now]).arg("--state").arg(state.path()));
    assert_eq!(history["archives"][0]["restores"][0]["outcome"], "restored", "{history:#}");
}

/// Too large is "not run": nothing is fetched, nothing is called fine, and the exit code is left alone.
#[test]
fn limits_are_kept() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-none-pg15");
    let work = work_dir();
    for limit in [["--max-restore-bytes", "1MiB"], ["--max-replay", "1KiB"]] {
        let mut command = restore_test(&root, Path::new("/"), work.path());
        let (report, test, code) = outcome(command.args(limit));
        assert_eq!((test["outcome"].as_str(), code), (Some("not_run"), 0), "{test:#}");
        assert!(test["why"].as_str().unwrap().contains("max_re"), "{test:#}");
        let rules = report["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["code"] == "RST001").unwrap();
        assert_eq!(rule["outcome"], "not_run");
        assert!(report["last_restore"].is_null());
    }
}

/// A backup that has grown beyond a limit is not tested any more; the last proof grows older, and that is found.
#[test]
fn a_limit_does_not_renew_a_proof() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let root = g::root(&golden, "walg-none-pg15");
    let (work, dir) = (work_dir(), tempfile::tempdir().unwrap());
    let config = dir.path().join("walproof.toml");
    let start: walproof::model::Timestamp = g::two_days_later(&root).parse().unwrap();
    let at = |days: i64| (start + jiff::SignedDuration::from_hours(24 * days)).to_string();
    // What was tested, what an audit at the same moment says of the last proof, and whether RST008 fires.
    let run = |days: i64, limit: &str| {
        let text = format!(
            "version = 1\n[[cluster]]\nname = \"golden\"\narchive = {:?}\ntest_restore_every = \"7d\"\n{limit}\n",
            root.to_str().unwrap()
        );
        std::fs::write(&config, text).unwrap();
        let call = |name: &str| {
            let mut command = g::walproof();
            command.args([name, "golden", "--format", "json", "--now", &at(days), "--config"]).arg(&config);
            command.arg("--state").arg(dir.path().join("state"));
            command
        };
        let mut command = call("restore-test");
        command.arg("--pg-bin").arg(&bin).arg("--work-dir").arg(work.path()).args(QUICK);
        let (_, test, _) = outcome(command.args(["--pick", "latest", "--target", "latest"]));
        let (report, _) = json(&mut call("audit"));
        let archive = report["archives"][0].clone();
        let stale = archive["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == "RST008");
        (test, archive["last_restore"].clone(), stale)
    };
    let (test, last, stale) = run(0, "");
    assert_eq!((test["outcome"].as_str(), stale), (Some("restored"), false), "{test:#}");
    assert_eq!(last["age_s"], 0);
    let limits = ["max_restore_bytes = \"1MiB\"", "max_replay = \"1KiB\""];
    for (limit, days) in limits.into_iter().zip([5, 10]) {
        let (test, last, stale) = run(days, &format!("restore_test.{limit}"));
        assert_eq!(test["outcome"], "not_run", "{limit}: {test:#}");
        let name = limit.split(' ').next().unwrap();
        assert!(test["why"].as_str().unwrap().contains(name), "{limit}: {test:#}");
        assert_eq!((last["age_s"].as_i64(), stale), (Some(days * 86_400), days > 7), "{limit}: {last:#}");
    }
    is_clean(work.path()).unwrap();
}

/// A disk that is too small says nothing about the archive, and is noticed before the first byte is fetched.
#[test]
fn a_disk_that_is_too_small_is_no_finding() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let copy = g::Copy::of(&g::root(&golden, "walg-none-pg15"));
    for entry in std::fs::read_dir(copy.path().join("basebackups_005")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let mut sentinel: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            sentinel["DataCatalogSize"] = (1u64 << 60).into();
            std::fs::write(&path, sentinel.to_string()).unwrap();
        }
    }
    let work = work_dir();
    let mut command = restore_test(&copy.path(), &bin, work.path());
    let (report, test, code) = outcome(command.args(QUICK));
    assert_eq!((test["outcome"].as_str(), code), (Some("not_run"), 2), "{test:#}");
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("needs 1 EiB (1 EiB of files and 16 MiB of WAL") && error.contains(" free"), "{error}");
    is_clean(work.path()).unwrap();
    let into = work.path().join("data");
    let mut command = g::walproof();
    let output = command.arg("restore").arg(copy.path()).arg("latest").arg("--into").arg(&into).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("needs 1 EiB (1 EiB of files"), "{text}");
    assert!(!into.join("PG_VERSION").exists());
}

/// A server that is not there says nothing about the archive: exit code 2 and one sentence.
#[test]
fn a_missing_server_is_no_finding() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-none-pg15");
    let (work, empty) = (work_dir(), tempfile::tempdir().unwrap());
    let mut command = restore_test(&root, empty.path(), work.path());
    let (report, test, code) = outcome(&mut command);
    assert_eq!((test["outcome"].as_str(), code), (Some("not_run"), 2), "{test:#}");
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("holds no program named postgres"), "{error}");
    is_clean(work.path()).unwrap();
}

/// The newest backup is damaged; the one before serves, and what that means is said.
#[test]
fn the_backup_before_stands_in() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let root = g::root(&golden, "walg-composers-pg15");
    let copy = g::Copy::of(&root);
    let newest = "base_000000010000000000000014";
    g::damage(&golden, "truncate-tar-part", &copy.path(), 1, &["--backup", newest]).unwrap();
    let work = work_dir();
    let mut command = restore_test(&copy.path(), &bin, work.path());
    let output = command.args(QUICK).args(["--pick", newest, "--fallback"]).output().unwrap();
    let (report, code) = g::report(&output);
    assert_eq!(code, 1);
    let tests = report["restore_tests"].as_array().unwrap();
    assert_eq!(tests.len(), 2, "{tests:#?}");
    assert_eq!((&tests[0]["outcome"], &tests[0]["failure"]["code"]), (&"failed".into(), &"RST001".into()));
    assert_eq!(tests[1]["outcome"], "restored", "{:#}", tests[1]);
    assert!(tests[1]["loss"].as_str().unwrap().contains("had to serve instead"), "{:#}", tests[1]);
    is_clean(work.path()).unwrap();
}

/// The cluster stays where the user wants it, tablespaces included, and the user's command saw it.
#[test]
fn the_cluster_is_kept_and_handed_on() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let root = g::root(&golden, "walg-lz4-pg15");
    let keep = work_dir();
    let mut command = restore_test(&root, &bin, keep.path());
    command.args(QUICK).args(["--pick", "latest", "--target", "immediate"]).arg("--keep").arg(keep.path());
    command.args(["--then", "test -S \"$PGHOST/.s.PGSQL.$PGPORT\" && test \"$PGUSER\" = postgres"]);
    let (_, test, code) = outcome(&mut command);
    assert_eq!(code, 0, "{test:#}");
    let assertions = test["assertions"].as_array().unwrap();
    assert!(
        assertions.iter().any(|one| one["name"].as_str().unwrap().contains("PGHOST") && one["ok"] == true),
        "{test:#}"
    );
    let left: Vec<_> = std::fs::read_dir(keep.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let data = left[0].join("data");
    assert!(data.join("PG_VERSION").is_file());
    let links: Vec<_> = std::fs::read_dir(data.join("pg_tblspc")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(links.len(), 1);
    let target = links[0].canonicalize().unwrap();
    assert!(target.starts_with(&left[0]), "{}", target.display());
    assert!(std::fs::read_dir(&target).unwrap().count() > 0);
}
