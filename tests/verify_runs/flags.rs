//! What the flags choose, counted by the server that is asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::made::{Made, backup, counted, day, name};
use super::run::{Content, Place, Run, at, unread};
use crate::golden_support as g;
use crate::support::s3::{FakeS3, Faults};

/// 160 segments, which are ten blocks of a sample, and three backups.
fn long() -> Made {
    Made::default().packed(2, 161).backup(3, 20_000).backup(60, 30_000).backup(120, 40_000)
}

async fn server(made: &Made) -> FakeS3 {
    let server = FakeS3::start("us-east-1", true).await;
    server.set(Faults { no_sums: true, ..Faults::default() });
    made.upload(&server);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_slices_read_everything_once() {
    let made = long();
    let server = server(&made).await;
    let content = Content::of(&server);
    let mut read = Vec::new();
    for slice in 1..=7 {
        let sample = format!("{slice}/7");
        let run = Run::of(at(&server, "verify").args(["--sample", &sample])).clean();
        let gets = content.gets();
        assert_eq!(run.read_objects(), gets.len() as u64, "the report counts what was read");
        assert_eq!(run.archive["verify"]["sample"], format!("slice {sample}"));
        read.extend(gets);
    }
    let all = made.objects.iter().map(|(key, _)| format!("pg/{key}"));
    let all = all.filter(|key| key.contains("/wal_005/") || key.contains("/tar_partitions/"));
    assert_eq!(counted(read), all.map(|key| (key, 1)).collect::<BTreeMap<_, _>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_chooses_the_same_sample_again() {
    let made = long();
    let server = server(&made).await;
    let content = Content::of(&server);
    let sample = |part: &str, seed: &str| {
        let run = Run::of(at(&server, "verify").args(["--sample", part, "--seed", seed])).clean();
        let gets: BTreeSet<String> = content.gets().into_iter().collect();
        assert_eq!(run.read_objects(), gets.len() as u64);
        (run, gets)
    };
    let (run, first) = sample("10%", "5");
    assert_eq!(sample("10%", "5").1, first);
    assert_ne!(sample("10%", "6").1, first);
    // Blocks and backups are taken whole: at least the share, and at most one more.
    let whole = made.bytes("wal_005") + made.bytes("tar_partitions");
    let largest = made.bytes(&format!("{}/tar_partitions", backup(120)));
    assert!((whole / 10..whole / 10 + largest).contains(&run.read_bytes()), "{} of {whole}", run.read_bytes());
    assert_eq!(run.archive["verify"]["sample"], "10% (--seed 5)");

    let (run, _) = sample("10KiB", "5");
    assert!(run.read_bytes() <= 10 << 10 && run.number("wal_segments") >= 16, "{}", run.archive["verify"]);
    let (why, count, _) = &unread(&run)[0];
    assert!(why.contains("larger than the 10KiB that one run may read") && *count == 12, "{:?}", unread(&run));
    // Without a seed the moment of the audit is one.
    let run = Run::of(at(&server, "verify").args(["--sample", "10%"])).clean();
    assert!(run.archive["verify"]["sample"].as_str().unwrap().starts_with("10% (--seed 17"));
}

#[test]
fn backups_and_wal_are_chosen() {
    let place = Place::new(&Made::default().packed(2, 21).backup(3, 1000).backup(9, 1000));
    let read = |args: &[&str]| {
        let run = place.verify(args).clean();
        (run.number("wal_segments"), run.number("backup_files"))
    };
    let range = format!("{}..{}", name(5), name(9));
    assert_eq!(read(&[]), (20, 8));
    assert_eq!(read(&["--wal", "all"]), (20, 0));
    assert_eq!(read(&["--wal", &range]), (5, 0));
    assert_eq!(read(&["--wal", &name(7)]), (1, 0));
    assert_eq!(read(&["--wal", &range, "--backup", "latest"]), (5, 4));
    assert_eq!(read(&["--backup", "all"]), (2, 8), "each with the segment that it needs itself");
    assert_eq!(read(&["--backup", &backup(3)]), (1, 4));
    assert_eq!(read(&["--backup", &backup(3), "--backup", &backup(9), "--wal", "none"]), (0, 8));
    assert_eq!(read(&["--backup", "all", "--wal", "none"]), (0, 8));
    assert_eq!(read(&["--backup", "none", "--wal", "all"]), (20, 0));
    // Leaving one out is asking for the other.
    assert_eq!(read(&["--backup", "none"]), (20, 0));
    assert_eq!(read(&["--wal", "none"]), (0, 8));
    assert_eq!(read(&["--wal", "none", "--backup", "none"]), (0, 0));
    // Uploads are a second apart.
    assert_eq!(read(&["--wal", "since=1d"]), (0, 0));
    assert_eq!(read(&["--wal", "since=30d"]), (20, 0));
    let run = place.verify(&["--wal", &range]);
    let line = &run.archive["timelines"][0]["runs"][0];
    assert_eq!((&line["segments"], &line["proven_fraction"]), (&20.into(), &0.25.into()));

    for (args, words) in [
        (&["--backup", "base_x"][..], "there is no backup base_x; walproof list names them"),
        (&["--backup", "all", "--backup", "none"], "--backup all stands alone"),
        (&["--wal", "yes"], "SEGMENT..SEGMENT"),
        (&["--wal", &format!("{}..{}", name(9), name(5))], "the range goes backwards"),
        (&["--sample", "8/7"], "8/7"),
        (&["--jobs", "0"], "--jobs"),
    ] {
        let output = g::walproof().arg("verify").arg(&place.root).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.code() == Some(2) && text.contains(words), "{args:?}: {text}");
    }
}

/// A report without what differs between two runs over the same archive.
fn timeless(mut archive: Value) -> Value {
    archive["verify"]["duration_s"] = Value::Null;
    archive["listing"] = Value::Null;
    archive
}

#[test]
fn any_number_of_jobs_says_the_same() {
    let made = Made::default().wal(2, 12).backup(3, 100_000).backup(7, 50_000);
    let mut bad = made.clone();
    for (key, body) in &mut bad.objects {
        if *key == format!("wal_005/{}", name(6))
            || *key == format!("basebackups_005/{}/tar_partitions/part_001.tar", backup(3))
        {
            body[60] ^= 1;
        }
    }
    for made in [made, bad] {
        let place = Place::new(&made);
        let run = |jobs: &str| timeless(place.verify(&["--jobs", jobs]).archive);
        let one = run("1");
        for jobs in ["2", "7"] {
            assert_eq!(run(jobs), one, "--jobs {jobs}");
        }
    }
}

#[test]
fn the_rate_is_kept() {
    let place = Place::new(&Made::default().wal(2, 9).backup(3, 1000));
    let (rate, pieces) = (4 << 20, 64 * (256 << 10));
    let run = place.verify(&["--limit-rate", "4MiB", "--connections", "4", "--jobs", "1"]).clean();
    // Waiting is never shorter than asked for, so this cannot fail on a busy machine. The last piece of each object in
    // flight is handed on before it is paid for.
    let least = run.read_bytes().saturating_sub(pieces.min(4 * (256 << 10))) as f64 / f64::from(rate);
    let took = run.archive["verify"]["duration_s"].as_f64().unwrap();
    assert!(took >= 0.95 * least, "{took} s for {} bytes, at least {least} s", run.read_bytes());
    assert!(least > 1.5, "the test reads enough to tell");
}

#[test]
fn time_runs_out_and_what_was_read_counts() {
    let place = Place::new(&Made::default().wal(2, 41).backup(3, 1000));
    let slowly = ["--limit-rate", "4MiB", "--connections", "1", "--jobs", "1", "--max-time", "2s"];
    let run = place.remembered(20, &slowly);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let error = run.archive["error"].as_str().unwrap();
    assert!(error.contains("verification was stopped") && error.contains("objects were not read"), "{error}");
    assert_eq!(run.archive["status"], "incomplete");
    assert_eq!(run.codes(), BTreeSet::new(), "not read is not damaged");
    let read = run.read_objects();
    assert!((1..40).contains(&read), "{read} of 44 objects");
    let line = &run.archive["timelines"][0]["runs"][0];
    assert!(line["proven_fraction"].as_f64().unwrap() < 0.9, "{line}");
    // The next run goes on where this one ended.
    let next = place.remembered(21, &[]).clean();
    assert_eq!((next.number("known"), next.read_objects() + read), (read, 44));
    assert!(next.proven() > 0.9999, "{}", next.archive["verify"]);
}

fn estimate(command: &mut Command) -> Value {
    let output = command.arg("--estimate").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let estimate: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(estimate["schema"], "walproof.estimate/1");
    estimate["archives"][0].clone()
}

/// An estimate says what a run then reads, and reads nothing itself.
#[track_caller]
fn agree(estimate: &Value, run: &Run) {
    for (share, objects, bytes) in [("wal", "wal_segments", "wal_bytes"), ("backups", "backup_files", "backup_bytes")] {
        let found = (run.number(objects), run.number(bytes));
        assert_eq!(
            (estimate[share]["objects"].as_u64(), estimate[share]["bytes"].as_u64()),
            (Some(found.0), Some(found.1))
        );
    }
    assert_eq!(estimate["known"]["objects"].as_u64().unwrap(), run.number("known"));
    let classes = estimate["classes"].as_object().unwrap().values();
    assert_eq!(classes.map(|share| share["bytes"].as_u64().unwrap()).sum::<u64>(), run.read_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_reads_nothing_and_comes_true() {
    let server = server(&Made::default().packed(2, 60).backup(3, 1000).backup(33, 2000)).await;
    let content = Content::of(&server);
    let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kept = ["--state", state.path().to_str().unwrap()];
    let half = ["--wal", "all", "--sample", "50%", "--seed", "1"];
    for args in [&[][..], &["--backup", "latest"], &half, &["--backup", "none", "--wal", "none"]] {
        server.gets();
        let said = estimate(at(&server, "verify").args(args).args(kept));
        let audit = server.gets();
        assert_eq!(counted(&audit), counted(content.audit.iter()), "{args:?}: no more than an audit reads");
        let run = Run::of(at(&server, "verify").args(args)).clean();
        agree(&said, &run);
        let reads = server.gets().len() - audit.len();
        assert_eq!(said["requests"].as_u64(), Some(reads as u64), "{args:?}: objects beyond those of the audit");
    }
    // With proofs from before.
    let first = Run::of(at(&server, "verify").args(half).args(kept)).clean();
    let said = estimate(at(&server, "verify").args(kept));
    let run = Run::of(at(&server, "verify").args(kept)).clean();
    agree(&said, &run);
    assert_eq!(run.number("known"), first.read_objects());
}

#[test]
fn an_estimate_for_people() {
    let place = Place::new(&Made::default().wal(2, 5).backup(3, 1000));
    place.remembered(10, &["--wal", &format!("{}..{}", name(2), name(3))]).clean();
    for command in [&["verify"][..], &["audit", "--verify"]] {
        let mut walproof = g::walproof();
        walproof.args(command).arg(&place.root).args(["--now", &day(11), "--estimate", "--state"]).arg(place.state());
        let output = walproof.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("would read  7 requests: WAL 2 objects, 2 MiB; backups 4 objects"), "{text}");
        assert!(text.contains("proven already, unchanged: 2 objects, 2 MiB"), "{text}");
    }
    assert_eq!(super::run::remembered(&place.state()).len(), 1, "nothing was read");
}

#[test]
fn estimates_of_real_archives_come_true() {
    let Some(golden) = g::golden() else { return };
    for name in ["walg-lz4-pg15", "walg-zstd-pg17-timelines"] {
        let root = g::root(&golden, name);
        let now = g::two_days_later(&root);
        let walproof = |command: &str| {
            let mut walproof = g::walproof();
            walproof.arg(command).arg(&root).args(["--now", &now, "--format", "json"]);
            walproof
        };
        let said = estimate(&mut walproof("verify"));
        let (run, audit) = (Run::of(&mut walproof("verify")), Run::of(&mut walproof("audit")));
        agree(&said, &run);
        let requests = |run: &Run| run.archive["listing"]["requests"].as_u64().unwrap();
        assert_eq!(said["requests"].as_u64().unwrap(), requests(&run) - requests(&audit), "{name}");
    }
}
