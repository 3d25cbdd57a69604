//! Damaged archives: the right code, the exact early end, and never "restored". On most of these PostgreSQL itself
//! starts, promotes early and says nothing.

use std::path::Path;

use serde_json::Value;
use walproof::model::{SegmentName, SegmentSize};

use crate::golden_support as g;
use crate::run::{full, is_clean, lsn, major_of, outcome, postgres, restore_test, work_dir};

const WAL_KINDS: &[&str] = &[
    "missing-wal",
    "missing-wal-run",
    "empty-wal",
    "flip-wal-bit",
    "flip-wal-record",
    "truncate-wal",
    "short-wal",
    "swap-wal",
    "foreign-wal",
    "stale-recycled-wal",
];

/// Kinds of damage to tars with the codes that may report it.
const TAR_KINDS: &[(&str, &[&str])] = &[
    ("missing-tar-part", &["RST001"]),
    ("missing-backup-label", &["RST001"]),
    ("missing-pg-control", &["RST001"]),
    ("truncate-tar-part", &["RST001"]),
    ("flip-tar-bit", &["RST001", "RST006"]),
    ("flip-page", &["RST001", "RST006"]),
];

fn seeds() -> std::ops::Range<u32> {
    1..if full() { 6 } else { 2 }
}

fn segment_start(name: &str) -> (SegmentName, u64) {
    let segment = SegmentName::parse(&name.as_bytes()[..24]).unwrap();
    (segment, segment.number(SegmentSize::DEFAULT).unwrap().start(SegmentSize::DEFAULT).0)
}

fn damaged_wal(golden: &Path, name: &str) {
    let Some(bin) = postgres(major_of(name)) else { return };
    let root = g::root(golden, name);
    let expected = g::expected(golden, name);
    let oldest = &expected["backups_made"][0];
    let start = lsn(oldest["lsn_before"].as_str().unwrap());
    let work = work_dir();
    for kind in WAL_KINDS {
        for seed in seeds() {
            let copy = g::Copy::of(&root);
            let Some(what) = g::damage(golden, kind, &copy.path(), seed, &[]) else { continue };
            let damaged = what["segment"].as_str().or(what["segments"][0].as_str()).unwrap();
            let (_, from) = segment_start(damaged);
            let mut command = restore_test(&copy.path(), &bin, work.path());
            command.args(["--pick", "oldest", "--target", "latest", "--no-full-read", "--no-amcheck"]);
            let (report, test, code) = outcome(&mut command);
            let about = format!("{name} {kind} {seed} {damaged}: {test:#} {:#}", report["error"]);
            is_clean(work.path()).unwrap();
            if from < start {
                // Nobody needs it any more.
                assert_eq!(test["outcome"], "restored", "{about}");
                continue;
            }
            assert_eq!(test["outcome"], "failed", "{about}");
            assert_eq!(code, 1, "{about}");
            let rule = test["failure"]["code"].as_str().unwrap();
            assert!(["RST003", "RST004"].contains(&rule), "{about}");
            let found = report["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == rule);
            assert!(found, "{about}");
            if let Some(reached) = test["reached_lsn"].as_str().map(lsn) {
                let until = from + SegmentSize::DEFAULT.bytes();
                assert!(reached <= until, "{about}: replay cannot have passed the damage");
                // Exactly here, not somewhere before: within the segment before it, whose end may hold no record.
                assert!(rule == "RST003" || reached + SegmentSize::DEFAULT.bytes() >= from, "{about}");
            }
            assert!(names(&test, damaged, reached_of(&test)), "{about}");
        }
    }
}

fn reached_of(test: &Value) -> Option<u64> {
    test["reached_lsn"].as_str().map(lsn)
}

/// The failure names the segment, or the one in which replay ended right before it.
fn names(test: &Value, damaged: &str, reached: Option<u64>) -> bool {
    let text = test["failure"].to_string();
    let (segment, from) = segment_start(damaged);
    text.contains(&segment.to_string()) || reached.is_some_and(|reached| reached.abs_diff(from) <= 16 << 20)
}

fn damaged_tars(golden: &Path, name: &str, backup: &str) {
    let Some(bin) = postgres(major_of(name)) else { return };
    let root = g::root(golden, name);
    let work = work_dir();
    for (kind, codes) in TAR_KINDS {
        for seed in seeds() {
            let copy = g::Copy::of(&root);
            let Some(what) = g::damage(golden, kind, &copy.path(), seed, &["--backup", backup]) else { continue };
            let mut command = restore_test(&copy.path(), &bin, work.path());
            command.args(["--pick", backup, "--target", "immediate"]);
            let (report, test, code) = outcome(&mut command);
            let about = format!("{name} {kind} {seed}: {what} {test:#} {:#}", report["error"]);
            is_clean(work.path()).unwrap();
            assert_eq!((test["outcome"].as_str(), code), (Some("failed"), 1), "{about}");
            let found = report["findings"].as_array().unwrap();
            assert!(found.iter().any(|finding| codes.contains(&finding["code"].as_str().unwrap())), "{about}");
        }
    }
}

#[test]
fn wal_lz4() {
    let Some(golden) = g::golden() else { return };
    damaged_wal(&golden, "walg-lz4-pg15");
}

#[test]
fn wal_without_any_codec() {
    let Some(golden) = g::golden() else { return };
    damaged_wal(&golden, "walg-none-pg15");
}

#[test]
fn tars_of_one_part() {
    let Some(golden) = g::golden() else { return };
    damaged_tars(&golden, "walg-lz4-pg15", "base_000000010000000000000005");
}

#[test]
fn tars_of_several_parts() {
    let Some(golden) = g::golden() else { return };
    damaged_tars(&golden, "walg-composers-pg15", "base_000000010000000000000004");
}
