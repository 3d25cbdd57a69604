//! Every golden backup, restored to `immediate`, to `latest` and to moments between: the rows are those it had.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::golden_support as g;
use crate::run::{
    asserting, full, is_clean, ledger_is, lsn, major_of, mix, outcome, postgres, restore_test, sql_file, work_dir,
};

/// What a restore has to yield.
struct Truth {
    target: String,
    timeline: Option<u64>,
    rows: u64,
    md5: String,
}

fn truth(target: String, timeline: Option<u64>, from: &Value) -> Truth {
    let md5 = from["ledger_md5"].as_str().unwrap().to_owned();
    Truth { target, timeline, rows: from["ledger_rows"].as_u64().unwrap(), md5 }
}

/// The timeline whose archived segments reach a mark: what one wrote at its very end may be stored by the next only.
fn timeline_of(expected: &Value, mark: &Value) -> u64 {
    let (own, at) = (mark["timeline"].as_u64().unwrap(), lsn(mark["lsn"].as_str().unwrap()));
    let holds = |segment: &&Value| {
        let bound = |name: &str| lsn(segment[name].as_str().unwrap());
        (bound("start_lsn")..bound("end_lsn")).contains(&at)
    };
    let timelines = expected["segments"].as_array().unwrap().iter().filter(holds);
    timelines.filter_map(|segment| segment["timeline"].as_u64()).filter(|timeline| *timeline >= own).min().unwrap()
}

/// The targets of one backup with their truths.
fn truths(expected: &Value, backup: &Value) -> Vec<Truth> {
    let name = backup["name"].as_str().unwrap();
    let own = backup["timeline"].as_u64().unwrap();
    let several = expected["timelines"].as_array().unwrap().len() > 1;
    let mut truths = vec![truth("immediate".into(), None, backup)];
    let marks = expected["marks"].as_array().unwrap();
    // A timeline 2 backup does not reach timeline 3, which is the latest: its own is named.
    let end = match (several, own) {
        (true, 2) => Some(2),
        (true, _) => Some(3),
        _ => None,
    };
    let last = marks.iter().rev().find(|mark| end.is_none_or(|end| mark["timeline"].as_u64() == Some(end))).unwrap();
    truths.push(truth("latest".into(), end.filter(|_| own == 2), last));
    let behind = lsn(backup["lsn_after"].as_str().unwrap());
    let reachable: Vec<&Value> = marks
        .iter()
        .filter(|mark| lsn(mark["lsn"].as_str().unwrap()) >= behind && mark["timeline"].as_u64() >= Some(own))
        .filter(|mark| own != 2 || mark["timeline"].as_u64() == Some(2))
        .collect();
    let seed = name.bytes().fold(7, |seed, byte| mix(seed ^ u64::from(byte)));
    let wanted = if full() { reachable.len() } else { reachable.len().min(3) };
    let mut left = reachable;
    for at in 0..wanted {
        let pick = if full() { 0 } else { (mix(seed + at as u64) % left.len() as u64) as usize };
        let mark = left.remove(pick);
        let timeline = several.then(|| timeline_of(expected, mark));
        truths.push(truth(format!("lsn={}", mark["lsn"].as_str().unwrap()), timeline, mark));
    }
    truths
}

/// A test restore with one statement.
fn told(root: &Path, bin: &Path, work: &Path, files: &Path, sql: &str, name: &str) -> Command {
    // Several databases: the statement is for one of them. Keys are the environment's, not a configuration's.
    if name.contains("composers") {
        return asserting(root, bin, work, &files.join("walproof.toml"), sql);
    }
    let mut command = restore_test(root, bin, work);
    command.arg("--assert").arg(sql_file(files, "truth.sql", sql));
    command
}

fn check(golden: &Path, name: &str) {
    let Some(bin) = postgres(major_of(name)) else { return };
    let expected = g::expected(golden, name);
    let root = g::root(golden, name);
    let work = work_dir();
    let files = tempfile::tempdir().unwrap();
    let mut number = 0;
    for backup in expected["backups_made"].as_array().unwrap() {
        let backup_name = backup["name"].as_str().unwrap();
        for truth in truths(&expected, backup) {
            number += 1;
            let sql = ledger_is(truth.rows, &truth.md5);
            let mut command = told(&root, &bin, work.path(), files.path(), &sql, name);
            g::with_keys(&mut command, golden, name);
            command.args(["--pick", backup_name, "--target", &truth.target]);
            if let Some(timeline) = truth.timeline {
                command.args(["--timeline", &timeline.to_string()]);
            }
            // Reading everything once for each archive is enough; it is the same data every time.
            if number > 1 {
                command.args(["--no-full-read", "--no-amcheck"]);
            }
            let what = format!("{name} {backup_name} {}", truth.target);
            let (report, test, code) = outcome(&mut command);
            assert_eq!(test["outcome"], "proven", "{what}: {test:#} {:#}", report["error"]);
            assert_eq!(code, 0, "{what}: {:#}", report["findings"]);
            assert_eq!(test["failure"], Value::Null, "{what}");
            let reached = lsn(test["reached_lsn"].as_str().unwrap());
            if let Some(target) = truth.target.strip_prefix("lsn=") {
                assert!(reached >= lsn(target), "{what}: {test:#}");
            }
            if truth.target == "latest" {
                assert_eq!(test["reached_lsn"], test["expected_lsn"], "{what}");
            }
            assert!(test["rto_s"].as_f64().unwrap() > 0.0);
            is_clean(work.path()).unwrap();
        }
    }
}

macro_rules! each {
    ($($test:ident: $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            let Some(golden) = g::golden() else { return };
            check(&golden, $name);
        }
    )*};
}

each! {
    brotli: "walg-brotli-pg15",
    composers: "walg-composers-pg15",
    libsodium: "walg-libsodium-pg15",
    lz4_with_deltas_and_a_tablespace: "walg-lz4-pg15",
    lzma: "walg-lzma-pg15",
    lzo: "walg-lzo-pg15",
    none: "walg-none-pg15",
    pgp: "walg-pgp-pg15",
    through_s3: "walg-s3-pg15",
    timelines: "walg-zstd-pg17-timelines",
    small_segments: "walg-zstd-pg18-seg1m",
}

/// A moment by its time, and by the transaction that made it.
#[test]
fn moments_by_time_and_transaction() {
    let Some(golden) = g::golden() else { return };
    if Command::new("psql").arg("--version").output().is_err() {
        println!("SKIPPED: there is no psql to ask for transactions");
        return;
    }
    let names = if full() { g::WALG } else { &["walg-lz4-pg15"][..] };
    for name in names {
        let Some(bin) = postgres(major_of(name)) else { return };
        let expected = g::expected(&golden, name);
        let root = g::root(&golden, name);
        let (work, files) = (work_dir(), tempfile::tempdir().unwrap());
        let backup = &expected["backups_made"][0];
        let behind = lsn(backup["lsn_after"].as_str().unwrap());
        let marks: Vec<&Value> = expected["marks"].as_array().unwrap().iter().collect();
        let own = |mark: &&&Value| lsn(mark["lsn"].as_str().unwrap()) >= behind && mark["timeline"] == 1;
        let mark = *marks.iter().find(own).unwrap();
        let sql = ledger_is(mark["ledger_rows"].as_u64().unwrap(), mark["ledger_md5"].as_str().unwrap());
        let run = |target: &str| {
            let mut command = told(&root, &bin, work.path(), files.path(), &sql, name);
            g::with_keys(&mut command, &golden, name);
            command.args(["--pick", backup["name"].as_str().unwrap(), "--timeline", "1", "--target", target]);
            // The ledger only ever grew, one transaction after the other.
            command.args(["--then", "psql -d postgres -Atc 'select max(xmin::text::bigint) from ledger'"]);
            let (report, test, code) = outcome(command.args(["--no-full-read", "--no-amcheck"]));
            let about = format!("{name} {target}: {test:#} {:#}", report["error"]);
            assert_eq!((test["outcome"].as_str(), code), (Some("proven"), 0), "{about}");
            is_clean(work.path()).unwrap();
            let told = test["assertions"].as_array().unwrap().iter().find_map(|one| one["why"].as_str()).unwrap();
            told.parse::<u64>().unwrap()
        };
        let xid = run(&format!("time={}", mark["time"].as_str().unwrap()));
        assert_eq!(run(&format!("xid={xid}")), xid);
    }
}

/// wal-e: the end of the archive, on 14.
#[test]
fn wale() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(14) else { return };
    for (name, _) in g::WALE {
        let expected = g::expected(&golden, name);
        let root = g::root(&golden, name);
        let (work, files) = (work_dir(), tempfile::tempdir().unwrap());
        let rows = expected["truth"]["rows"].as_u64().unwrap();
        let sql = sql_file(files.path(), "t.sql", &format!("select count(*) = {rows} and max(id) = {rows} from t;\n"));
        let mut command = restore_test(&root, &bin, work.path());
        g::with_keys(&mut command, &golden, name);
        command.args(["--pick", "oldest", "--target", "latest"]).arg("--assert").arg(&sql);
        let (report, test, code) = outcome(&mut command);
        assert_eq!((test["outcome"].as_str(), code), (Some("proven"), 0), "{name}: {test:#} {report:#}");
        is_clean(work.path()).unwrap();
    }
}

/// `latest` follows timeline 3, which a backup of timeline 2 cannot reach: PostgreSQL would not start. Foreseen.
#[test]
fn a_timeline_that_cannot_be_reached_is_refused_before_anything_is_fetched() {
    let Some(golden) = g::golden() else { return };
    let name = "walg-zstd-pg17-timelines";
    let root = g::root(&golden, name);
    let work = work_dir();
    let backup = "base_00000002000000000000000C";
    // No PostgreSQL is needed to say so.
    let mut command = restore_test(&root, Path::new("/"), work.path());
    let (report, test, code) = outcome(command.args(["--pick", backup, "--target", "latest"]));
    assert_eq!(code, 1, "{report:#}");
    assert_eq!((test["outcome"].as_str(), test["failed_at"].as_str()), (Some("failed"), Some("plan")));
    assert_eq!(test["steps"].as_array().unwrap().len(), 0);
    assert_eq!(test["failure"]["code"], "RST004");
    let message = test["failure"]["message"].as_str().unwrap();
    assert!(message.contains("timeline 3 does not descend from timeline 2"), "{message}");
    // So are moments before the backup and behind the archive.
    for target in ["lsn=0/C000010", "lsn=0/F0000000", "time=2020-01-01T00:00:00Z", "time=2031-01-01T00:00:00Z"] {
        let mut command = restore_test(&root, Path::new("/"), work.path());
        let (_, test, code) = outcome(command.args(["--pick", backup, "--timeline", "2", "--target", target]));
        assert_eq!((test["failed_at"].as_str(), code), (Some("plan"), 1), "{target}: {test:#}");
    }
    // The last segment of timeline 1 was stored as timeline 2's only.
    let oldest = |target: &str, timeline: &[&str]| {
        let mut command = restore_test(&root, Path::new("/"), work.path());
        command.args(["--pick", "base_000000010000000000000003", "--target", target]).args(timeline);
        let (_, test, code) = outcome(&mut command);
        (test, code)
    };
    let (test, code) = oldest("lsn=0/9016240", &["--timeline", "1"]);
    assert_eq!((test["failed_at"].as_str(), code), (Some("plan"), 1), "{test:#}");
    let message = test["failure"]["message"].as_str().unwrap();
    let words = "0/9016240 lies behind 0/9000000, where the archived WAL of timeline 1 ends; that of 2, 3 goes further";
    assert_eq!(message, words);
    // Not told, it is the latest timeline that has the position: these restores lack a server only.
    for (target, timeline) in [("lsn=0/E0103F8", 2), ("lsn=0/8010CF8", 3), ("lsn=0/6011B88", 3)] {
        let (test, code) = oldest(target, &[]);
        assert_eq!((test["timeline"].as_u64(), code), (Some(timeline), 2), "{target}: {test:#}");
        assert_eq!(test["outcome"], "not_run");
    }
}
