//! Majors without a golden archive: a cluster of each is made, archived, and restored to every kind of target. The
//! rows are those that it had at that moment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::golden_support as g;
use crate::interrupted::processes_in;
use crate::maker::{self, CONSISTENT, Made, Mark, NAME};
use crate::run::{is_clean, ledger_is, lsn, outcome, postgres, restore_test, sql_file, work_dir};

const QUICK: [&str; 2] = ["--no-full-read", "--no-amcheck"];

/// Restores to each target, and asserts that the ledger is as it was.
fn every_target(made: &Made, bin: &Path, major: u32) {
    let (root, marks) = (made.root(), &made.marks);
    let (work, files) = (work_dir(), tempfile::tempdir().unwrap());
    let (early, late) = (&marks[CONSISTENT + 1], &marks[made.named + 2]);
    let last = marks.last().unwrap();
    let targets: [(String, Option<&Mark>); 8] = [
        ("latest".into(), Some(last)),
        ("immediate".into(), Some(&marks[CONSISTENT])),
        (format!("time={}", early.time), Some(early)),
        (format!("time={}", late.time), Some(late)),
        (format!("xid={}", late.xid), Some(late)),
        (format!("name={NAME}"), Some(&marks[made.named])),
        (format!("lsn={}", early.lsn), Some(early)),
        ("random".into(), None),
    ];
    let fits = sql_file(files.path(), "fits.sql", &made.ledger_fits_where_replay_ended());
    for (number, (target, mark)) in targets.into_iter().enumerate() {
        let mut command = restore_test(&root, bin, work.path());
        command.args(["--pick", "latest", "--target", &target, "--seed", "11"]).arg("--assert").arg(&fits);
        if let Some(mark) = mark {
            let sql = ledger_is(mark.rows, &mark.md5);
            command.arg("--assert").arg(sql_file(files.path(), &format!("{number}.sql"), &sql));
        }
        // Every check of every relation once for each server whose own checks no golden archive has met.
        let thorough = number == 0 && major < 14;
        if !thorough {
            command.args(QUICK);
        }
        let (report, test, code) = outcome(&mut command);
        let about = format!("{target}: {test:#} {:#}", report["error"]);
        // What no amcheck of this major takes keeps nothing from being proven.
        assert_eq!(test["outcome"], "proven", "{about} {:#}", report["findings"]);
        assert_eq!(code, 0, "{about} {:#}", report["findings"]);
        let results = test["assertions"].as_array().unwrap();
        let held = |one: &&Value| one["name"].as_str().unwrap().ends_with(".sql") && one["ok"] == true;
        assert_eq!(results.iter().filter(held).count(), 1 + usize::from(mark.is_some()), "{about}");
        assert!(results.iter().all(|one| one["ok"] != false), "{about}");
        assert_eq!(test["backup"], made.backup, "{about}");
        let reached = lsn(test["reached_lsn"].as_str().unwrap());
        assert!(mark.is_none_or(|mark| reached >= mark.lsn.0), "{about}");
        if target == "latest" {
            assert_eq!(test["reached_lsn"], test["expected_lsn"], "{about}");
        }
        if target == "random" {
            let drawn = test["target"].as_str().unwrap().strip_prefix("lsn=").unwrap();
            assert!(lsn(drawn) >= marks[CONSISTENT].lsn.0 && reached >= lsn(drawn), "{about}");
        }
        is_clean(work.path()).unwrap();
    }
}

/// Up to 12 the server says nothing when its target never comes, and promotes; later ones refuse to.
fn a_target_that_never_comes(made: &Made, bin: &Path) {
    let work = work_dir();
    for target in ["name=after release", "xid=999999"] {
        let mut command = restore_test(&made.root(), bin, work.path());
        let (report, test, code) = outcome(command.args(["--target", target]).args(QUICK));
        let about = format!("{target}: {test:#} {:#}", report["error"]);
        assert_eq!((test["outcome"].as_str(), code), (Some("failed"), 1), "{about}");
        assert_eq!(test["failure"]["code"], "RST004", "{about}");
        assert!(test["failure"]["message"].as_str().unwrap().contains(target), "{about}");
        is_clean(work.path()).unwrap();
    }
}

fn check(major: u32) {
    let Some(bin) = postgres(major) else { return };
    let made = maker::make(&bin);
    every_target(&made, &bin, major);
    a_target_that_never_comes(&made, &bin);
    if major == 16 {
        a_replay_that_hangs(&made, &bin);
        a_library_that_is_not_here(&made, &bin);
    }
}

#[test]
fn of_12() {
    check(12);
}

#[test]
fn of_13() {
    check(13);
}

#[test]
fn of_16() {
    check(16);
}

/// Programs like these, whose server waits for an hour before each commit that it replays.
fn patient(bin: &Path, dir: &Path) -> PathBuf {
    let slow = dir.join("bin");
    fs::create_dir(&slow).unwrap();
    let real = bin.join("postgres").display().to_string();
    let script = format!(
        "#!/bin/sh\nfor word; do\n  [ \"$word\" = --version ] && exec '{real}' \"$@\"\ndone\n\
         exec '{real}' \"$@\" -c recovery_min_apply_delay=1h\n"
    );
    fs::write(slow.join("postgres"), script).unwrap();
    for path in [dir, &slow, &slow.join("postgres")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    slow
}

/// `max_time` ends it. That says nothing about the archive.
fn a_replay_that_hangs(made: &Made, bin: &Path) {
    let (work, dir) = (work_dir(), tempfile::tempdir().unwrap());
    let slow = patient(bin, dir.path());
    let config = dir.path().join("walproof.toml");
    let text = format!(
        "version = 1\n[[cluster]]\nname = \"made\"\narchive = {:?}\nrestore_test.max_time = \"10s\"\n",
        made.root().to_str().unwrap()
    );
    fs::write(&config, text).unwrap();
    let mut command = g::walproof();
    command.args(["restore-test", "made", "--target", "latest", "--format", "json", "--config"]).arg(&config);
    command.arg("--pg-bin").arg(&slow).arg("--work-dir").arg(work.path()).args(QUICK);
    command.arg("--now").arg(g::two_days_later(&made.root()));
    let begun = Instant::now();
    let (report, test, code) = outcome(&mut command);
    let about = format!("{test:#} {:#}", report["error"]);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}: {about}", begun.elapsed());
    assert_eq!((test["outcome"].as_str(), code), (Some("not_run"), 0), "{about}");
    assert_eq!(test["why"], "it took longer than max_time (10 s)", "{about}");
    let steps: Vec<&Value> = test["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert!(steps.contains(&&Value::from("replay")), "{about}");
    assert_eq!(report["last_restore"], Value::Null, "{about}");
    assert_eq!(processes_in(work.path()), Vec::<String>::new());
    is_clean(work.path()).unwrap();
}

/// WAL of a custom resource manager needs its library: a lack of this machine, not damage.
fn a_library_that_is_not_here(made: &Made, bin: &Path) {
    let copy = g::Copy::of(&made.root());
    maker::to_custom_resource_manager(&copy.path(), &made.messages);
    let work = work_dir();
    let mut command = restore_test(&copy.path(), bin, work.path());
    let (report, test, code) = outcome(command.args(["--target", "latest"]).args(QUICK));
    let about = format!("{test:#} {:#}", report["error"]);
    assert_eq!((test["outcome"].as_str(), code), (Some("not_run"), 2), "{about}");
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("resource manager with ID 130 not registered"), "{about}");
    let blamed = |finding: &&Value| finding["severity"] != "info";
    assert_eq!(report["findings"].as_array().unwrap().iter().filter(blamed).count(), 0, "{:#}", report["findings"]);
    is_clean(work.path()).unwrap();
    // Before that record nothing is missing.
    let mark = made.marks.last().unwrap();
    let mut command = restore_test(&copy.path(), bin, work.path());
    let target = format!("xid={}", mark.xid);
    let (report, test, code) = outcome(command.args(["--target", &target]).args(QUICK));
    assert_eq!((test["outcome"].as_str(), code), (Some("restored"), 0), "{test:#} {:#}", report["error"]);
}
