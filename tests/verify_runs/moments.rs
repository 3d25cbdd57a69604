//! `reach --xid` and `--name`: moments that only content names, found through the ledger.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::made::{Made, commit_end, day, name, point_end, xid};
use super::run::Place;
use crate::golden_support as g;

fn reach(root: &Path, state: Option<&Path>, now: &str, args: &[&str]) -> Output {
    let mut command = g::walproof();
    command.arg("reach").arg(root).args(["--now", now, "--format", "json"]).args(args);
    if let Some(state) = state {
        command.arg("--state").arg(state);
    }
    command.output().unwrap()
}

fn answer(output: &Output) -> (i32, Value) {
    let code = output.status.code().unwrap();
    let answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("exit {code}, {error}: {}", String::from_utf8_lossy(&output.stderr)));
    (code, answer)
}

fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

/// Exit code 2 with these words.
#[track_caller]
fn fails(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains(words), "{:?}: {text}", output.status);
}

#[test]
fn transactions_and_restore_points_are_found_in_what_was_read() {
    let place = Place::new(&Made::default().packed(2, 21).backup(5, 1000));
    let (state, now) = (place.state(), day(20));
    let ask = |args: &[&str]| reach(&place.root, Some(&state), &now, args);
    fails(&reach(&place.root, None, &now, &["--xid", "710"]), "run walproof verify with --state");
    fails(&ask(&["--xid", "710"]), "the end of transaction 710 is not in the WAL that was read so far");
    fails(&ask(&["--name", "point-9"]), "no restore point of that name is in the WAL that was read so far");

    // Only a part was read: what lies in it is found, the rest is not.
    place.remembered(10, &["--wal", &format!("{}..{}", name(2), name(11))]).clean();
    let (code, found) = answer(&ask(&["--xid", &xid(9).to_string()]));
    assert_eq!(code, 0, "{found:#}");
    assert_eq!((&found["verdict"], &found["lsn"]), (&"reachable".into(), &lsn(commit_end(9)).into()), "{found:#}");
    let said = found["reasons"].to_string();
    assert!(said.contains("transaction 709 committed at 2026-11-01 00:09:00 UTC"), "{said}");
    let (code, found) = answer(&ask(&["--name", "point-9"]));
    assert_eq!((code, &found["lsn"]), (0, &lsn(point_end(9)).into()), "{found:#}");
    fails(&ask(&["--xid", &xid(12).to_string()]), "is not in the WAL that was read so far");
    fails(&ask(&["--name", "point-12"]), "no restore point of that name");

    // Before every backup: known, and not reachable.
    for args in [["--xid", "703"], ["--name", "point-3"]] {
        let (code, found) = answer(&ask(&args));
        assert_eq!((code, &found["verdict"]), (1, &"unreachable".into()), "{found:#}");
    }

    // A later run reads the rest, and both still answer.
    place.remembered(11, &[]).clean();
    place.remembered(12, &[]).clean();
    for number in [6, 9, 12, 21] {
        let (code, found) = answer(&ask(&["--xid", &xid(number).to_string()]));
        assert_eq!((code, &found["lsn"]), (0, &lsn(commit_end(number)).into()), "{found:#}");
        let (code, found) = answer(&ask(&["--name", &format!("point-{number}")]));
        assert_eq!((code, &found["lsn"]), (0, &lsn(point_end(number)).into()), "{found:#}");
    }
    // Never, whatever is read.
    fails(&ask(&["--xid", "99"]), "the end of transaction 99 is not in");
    fails(&ask(&["--name", "point-99"]), "no restore point of that name");
    fails(&ask(&["--name", ""]), "no restore point of that name");

    // What was read and is gone by now leads nowhere.
    std::fs::remove_file(place.root.join(format!("wal_005/{}.zst", name(8)))).unwrap();
    let (code, found) = answer(&ask(&["--xid", &xid(12).to_string()]));
    assert_eq!((code, &found["verdict"]), (1, &"unreachable".into()), "{found:#}");
    fails(&ask(&["--xid", &xid(8).to_string()]), "is not in the WAL that was read so far");
}

/// Commits of a segment as `pg_waldump` shows them: transaction, position of the record, position of the next.
fn commits(segment: &Path) -> Option<Vec<(u32, u64, u64)>> {
    let tool = Path::new("/usr/lib/postgresql/15/bin/pg_waldump");
    if !tool.is_file() {
        println!("SKIPPED: commits of a real archive (no pg_waldump of PostgreSQL 15)");
        return None;
    }
    let output = Command::new(tool).arg(segment).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let field = |line: &str, name: &str| {
        let rest = line.split_once(name).unwrap().1.trim_start();
        rest.split(',').next().unwrap().to_owned()
    };
    let position = |line: &str| {
        let text = field(line, "lsn:");
        let (high, low) = text.split_once('/').unwrap();
        (u64::from_str_radix(high, 16).unwrap() << 32) + u64::from_str_radix(low, 16).unwrap()
    };
    let pairs = lines.windows(2).filter(|pair| pair[0].contains("desc: COMMIT"));
    Some(pairs.map(|pair| (field(pair[0], "tx:").parse().unwrap(), position(pair[0]), position(pair[1]))).collect())
}

#[test]
fn commits_of_a_real_archive_are_where_pg_waldump_sees_them() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-none-pg15");
    let now = g::two_days_later(&root);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut segments: Vec<_> = std::fs::read_dir(root.join("wal_005"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 24)
        .collect();
    segments.sort();
    let state = dir.path().join("state");
    let mut verify = g::walproof();
    verify.arg("verify").arg(&root).args(["--wal", "all", "--now", &now]).arg("--state").arg(&state);
    assert_eq!(verify.output().unwrap().status.code(), Some(0));
    let mut asked = 0;
    // The backups lie before.
    for segment in segments.iter().rev().step_by(3) {
        let Some(commits) = commits(&root.join("wal_005").join(segment)) else { return };
        let Some((xid, at, next)) = commits.first() else { continue };
        let (code, found) = answer(&reach(&root, Some(&state), &now, &["--xid", &xid.to_string()]));
        let text = found["lsn"].as_str().unwrap();
        let (high, low) = text.split_once('/').unwrap();
        let lsn = (u64::from_str_radix(high, 16).unwrap() << 32) + u64::from_str_radix(low, 16).unwrap();
        assert!((at + 1..=*next).contains(&lsn), "{xid}: {text} in {segment}, between {at:X} and {next:X}");
        asked += u32::from(code == 0);
    }
    assert!(asked > 0, "no commit of {segments:?} can be reached");
}
