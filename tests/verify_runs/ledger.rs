//! What is remembered from run to run: nothing proven and unchanged is read twice, what changed is.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::made::{Made, backup, day, flipped, name, segment};
use super::run::{Content, Place, Run, at, remembered};
use crate::golden_support as g;
use crate::support::s3::{Extra, FakeS3, Faults};

fn small() -> Made {
    Made::default().packed(2, 11).backup(3, 5000).backup(8, 6000)
}

/// The first screen of an audit as of a day.
fn screen(place: &Place, today: i64, args: &[&str]) -> String {
    let mut command = g::walproof();
    command.arg("verify").arg(&place.root).args(["--now", &day(today)]).arg("--state").arg(place.state()).args(args);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn nothing_that_is_proven_is_read_again() {
    let place = Place::new(&small());
    let first = place.remembered(10, &[]).clean();
    assert_eq!((first.number("wal_segments"), first.number("backup_files"), first.number("known")), (10, 8, 0));
    assert!(first.proven() > 0.9999, "{}", first.archive["verify"]);
    let second = place.remembered(14, &[]).clean();
    assert_eq!((second.read_objects(), second.read_bytes(), second.number("known")), (0, 0, 18));
    // What stands on the ledger is as good as what was read now, and as old as it is.
    assert_eq!(second.archive["verify"]["proven_fraction"], first.archive["verify"]["proven_fraction"]);
    assert_eq!(second.archive["verify"]["oldest_proof"], day(10));
    assert_eq!(second.archive["verify"]["oldest_proof_age_s"], 4 * 86_400);
    let runs = |run: &Run| {
        let mut runs = run.archive["timelines"][0]["runs"].clone();
        // The listing is new.
        runs[0]["rungs"]["listed"] = Value::Null;
        runs
    };
    assert_eq!(runs(&second), runs(&first));
    let line = &runs(&second)[0];
    assert_eq!((&line["proven_fraction"], &line["oldest_proof"]), (&1.0.into(), &day(10).into()));
    assert_eq!((&line["rungs"]["intact"], &line["rungs"]["valid"]), (&day(10).into(), &day(10).into()));
    for (now, then) in
        second.archive["backups"].as_array().unwrap().iter().zip(first.archive["backups"].as_array().unwrap())
    {
        for rung in ["intact", "valid"] {
            assert_eq!((&now["rungs"][rung], &now["rung"]), (&then["rungs"][rung], &"valid".into()), "{}", now["name"]);
        }
        assert_eq!((&now["proven_fraction"], &now["oldest_proof"]), (&1.0.into(), &day(10).into()));
        // The end of the window is as exact as when it was read.
        assert_eq!(now["recovery"], then["recovery"]);
    }
    let text = screen(&place, 14, &[]);
    assert!(text.contains("content proven 100 % (oldest proof 4 d 0 h)"), "{text}");

    // A run without a state knows nothing, and another archive is another archive.
    assert_eq!(place.verify(&[]).number("known"), 0);
    let other = Place::new(&small());
    let mut command = g::walproof();
    command.arg("verify").arg(&other.root).args(["--now", &day(15), "--format", "json"]).arg("--state");
    assert_eq!(Run::of(command.arg(place.state())).read_objects(), 18);

    // As of a moment before the proofs there are none.
    assert_eq!(place.remembered(9, &[]).read_objects(), 18);
    let again = place.remembered(16, &["--reverify"]).clean();
    assert_eq!((again.read_objects(), again.number("known")), (18, 0));
    assert_eq!(again.archive["verify"]["oldest_proof"], day(16));
    assert!(screen(&place, 16, &[]).contains("content proven 100 % ·"));
}

#[test]
fn what_changed_is_read_again() {
    let place = Place::new(&small());
    place.remembered(10, &[]).clean();
    let touch = |key: &str, body: &[u8]| {
        let path = place.root.join(key);
        fs::write(&path, body).unwrap();
        let at = SystemTime::from(day(11).parse::<jiff::Timestamp>().unwrap());
        g::set_modified(&path, at + Duration::from_secs(1));
    };
    // The same bytes at another time.
    let wal = format!("wal_005/{}.zst", name(5));
    touch(&wal, &small().body(&wal));
    let run = place.remembered(12, &[]).clean();
    assert_eq!((run.number("wal_segments"), run.number("backup_files"), run.number("known")), (1, 0, 17));
    let part = format!("basebackups_005/{}/tar_partitions/part_002.tar", backup(3));
    touch(&part, &small().body(&part));
    let run = place.remembered(13, &[]);
    assert_eq!(run.codes(), BTreeSet::from(["BKP013".to_owned()]), "a part is newer than its sentinel");
    assert_eq!(run.number("wal_segments"), 0);
    assert!((1..=4).contains(&run.number("backup_files")), "parts of the one backup: {}", run.archive["verify"]);
    // Other bytes: the proof of the old ones is no proof, and damage is found by every run until it is gone.
    let bad = zstd::encode_all(&flipped(segment(6), 70)[..], 1).unwrap();
    let wal = format!("wal_005/{}.zst", name(6));
    touch(&wal, &bad);
    for today in [14, 15] {
        let run = place.remembered(today, &[]);
        assert_eq!((run.code, run.number("wal_segments")), (1, 1), "{}", run.archive["verify"]);
        assert!(run.codes().contains("INT003"), "{:?}", run.codes());
        let runs = run.archive["timelines"][0]["runs"].as_array().unwrap();
        assert_eq!((runs.len(), &runs[0]["last"]), (2, &name(5).into()), "nothing can be replayed across it");
    }
    touch(&wal, &small().body(&wal));
    let run = place.remembered(16, &[]);
    assert_eq!((run.codes().len(), run.number("wal_segments")), (1, 1), "{:?}", run.codes());
    assert_eq!(place.remembered(17, &[]).read_objects(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_bucket_is_its_etag() {
    let server = FakeS3::start("us-east-1", true).await;
    server.set(Faults { no_sums: true, ..Faults::default() });
    small().upload(&server);
    let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let verify = || Run::of(at(&server, "verify").arg("--state").arg(state.path())).clean();
    assert_eq!(verify().read_objects(), 18);
    let content = Content::of(&server);
    assert_eq!(verify().read_objects(), 0);
    assert_eq!(content.gets(), Vec::<String>::new());
    // Same size, same time, another ETag: another object.
    let key = format!("pg/wal_005/{}.zst", name(7));
    server.mark(key.as_bytes(), Extra { etag: Some("0123-9".to_owned()), ..Extra::default() });
    let run = verify();
    assert_eq!((run.read_objects(), content.gets()), (1, vec![key]));
}

#[test]
fn what_was_proven_longest_ago_comes_first() {
    // Six blocks of sixteen segments; a sample takes whole blocks.
    let place = Place::new(&Made::default().packed(16, 111).backup(17, 1000));
    let block = |number: u64| format!("{}..{}", name(16 * number), name(16 * number + 15));
    let numbers = |names: &[String]| {
        let mut blocks: Vec<u64> =
            names.iter().map(|name| u64::from_str_radix(&name[16..], 16).unwrap() / 16).collect();
        blocks.dedup();
        blocks
    };
    let last = || numbers(remembered(&place.state()).last().unwrap());
    for (today, number) in [(10, 4), (11, 2), (12, 6)] {
        let run = place.remembered(today, &["--wal", &block(number)]).clean();
        assert_eq!((run.number("wal_segments"), last()), (16, vec![number]));
    }
    // Never proven first: three runs of one block each.
    let mut read = Vec::new();
    let one = ["--wal", "all", "--sample", "1%"];
    for today in 13..16 {
        place.remembered(today, &one).clean();
        read.extend(last());
    }
    let order = read.clone();
    read.sort_unstable();
    assert_eq!(read, [1, 3, 5]);
    let run = place.remembered(16, &one).clean();
    assert_eq!(
        (run.read_objects(), run.archive["timelines"][0]["runs"][0]["proven_fraction"].as_f64()),
        (0, Some(1.0))
    );
    assert_eq!(run.archive["timelines"][0]["runs"][0]["oldest_proof"], day(10));
    // All of them again, and the oldest first.
    let mut read = Vec::new();
    for today in 17..23 {
        let again = ["--wal", "all", "--sample", "1%", "--reverify"];
        let run = place.remembered(today, &again).clean();
        assert_eq!(run.number("wal_segments"), 16);
        read.extend(last());
    }
    assert_eq!(read, [&[4, 2, 6][..], &order].concat());
}

#[test]
fn proofs_grow_old() {
    let place = Place::new(&small());
    let config = place.dir.path().join("walproof.toml");
    let text = format!(
        "version = 1\n[[cluster]]\nname = \"main\"\narchive = {:?}\n[cluster.verify]\ninterval = \"30d\"\n[state]\nurl = {:?}\n",
        place.root,
        place.state()
    );
    fs::write(&config, text).unwrap();
    let read = |today: i64| {
        let mut command = g::walproof();
        command.args(["verify", "--format", "json", "--now", &day(today), "--config"]).arg(&config);
        Run::of(&mut command).clean().read_objects()
    };
    assert_eq!([10, 39, 41, 42].map(read), [18, 0, 18, 0]);
}

#[test]
fn a_damaged_record_of_proofs_is_no_proof() {
    let place = Place::new(&small());
    place.remembered(10, &[]).clean();
    let mut todo = vec![place.state()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                fs::write(&path, bytes).unwrap();
            }
        }
    }
    let run = place.remembered(11, &[]);
    assert_eq!(run.read_objects(), 18);
    let said = Value::to_string(&run.archive);
    assert!(said.contains("an earlier record of proofs cannot be read"), "{said}");
}
