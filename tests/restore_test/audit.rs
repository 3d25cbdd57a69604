//! `audit --restore-test`: one report of what is there, what was read and what came back.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::golden_support as g;
use crate::run::{is_clean, ledger_is, outcome, postgres, sql_file, work_dir};

fn audit(archive: &Path, more: &[&str]) -> Command {
    let mut command = g::walproof();
    command.arg("audit").arg(archive).args(["--format", "json", "--no-progress", "--now"]);
    command.arg(g::two_days_later(archive)).args(more);
    command
}

#[test]
fn an_audit_that_restores_too() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let name = "walg-none-pg15";
    let (expected, copy) = (g::expected(&golden, name), g::Copy::of(&g::root(&golden, name)));
    let (archive, work, state) = (copy.path(), work_dir(), tempfile::tempdir().unwrap());
    let last = expected["marks"].as_array().unwrap().last().unwrap();
    let is = ledger_is(last["ledger_rows"].as_u64().unwrap(), last["ledger_md5"].as_str().unwrap());
    let sql = sql_file(state.path(), "ledger.sql", &is);
    let with_server = |command: &mut Command| {
        command.arg("--pg-bin").arg(&bin).arg("--work-dir").arg(work.path()).arg("--assert").arg(&sql);
        command.arg("--state").arg(state.path().join("state"));
    };

    let mut command = audit(&archive, &["--restore-test", "--verify", "--wal", "all", "--backup", "none"]);
    with_server(&mut command);
    let (report, test, code) = outcome(&mut command);
    assert_eq!((test["outcome"].as_str(), code), (Some("proven"), 0), "{report:#}");
    assert_eq!(test["target"], "latest");
    assert!(report["verify"]["wal_segments"].as_u64().unwrap() >= 5, "{:#}", report["verify"]);
    let rungs = &report["backups"][0]["rungs"];
    assert!(!rungs["restored"].is_null() && !rungs["proven"].is_null() && rungs["intact"].is_null(), "{rungs:#}");
    is_clean(work.path()).unwrap();

    // A plain audit remembers it, and makes none of its own.
    let mut command = audit(&archive, &["--state"]);
    let (report, test, code) = outcome(command.arg(state.path().join("state")));
    assert_eq!((test["outcome"].as_str(), code), (None, 0), "{report:#}");
    assert!(!report["backups"][0]["rungs"]["proven"].is_null(), "{:#}", report["backups"]);

    // Both speak in one report: what only a restore shows, and what the listing shows.
    let wal = archive.join("wal_005");
    let segment = wal.join("000000010000000000000004");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5000..9000].fill(0x5A);
    fs::write(&segment, bytes).unwrap();
    let mut command = audit(&archive, &["--restore-test", "--no-amcheck", "--no-full-read", "--seed", "5"]);
    with_server(&mut command);
    let (report, test, code) = outcome(&mut command);
    assert_eq!((test["outcome"].as_str(), test["seed"].as_u64(), code), (Some("failed"), Some(5), 1), "{report:#}");
    let codes: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"RST004"), "{codes:?}");
    is_clean(work.path()).unwrap();

    // Flags that would do nothing are refused.
    for (flags, says) in [
        (&["--pick", "oldest"][..], "--pick says what to restore: add --restore-test"),
        (&["--download-postgres"], "--download-postgres says what to restore: add --restore-test"),
        (&["--seed", "7"], "--seed says what content to read: add --verify"),
        (&["--restore-test", "--sample", "10%"], "--sample says what content to read: add --verify"),
    ] {
        let output = audit(&archive, flags).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && errors.contains(says), "{flags:?}: {errors}");
    }
}
