//! What walproof remembers: records written by every earlier schema can be read, two runs at once never clash, and a
//! state that somebody tampered with gives errors, not harm.
#![cfg(feature = "io")]
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[cfg(feature = "s3")]
#[path = "state/bucket.rs"]
mod bucket;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use walproof::model::Timestamp;
use walproof::run::Cancel;
use walproof::state::{
    ArchiveId, Directory, Head, Kind, Put, Record, RecordName, RunId, RunSummary, State, StateError, StateStore,
    open_state,
};
use walproof::store::{Address, Limits, StoreOptions};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn archive() -> ArchiveId {
    ArchiveId::new("s3://backups/pg/main", None)
}

async fn open(path: &Path) -> State {
    let address = Address::Directory(path.to_owned());
    open_state(&address, &StoreOptions::default(), Limits::new(4), Cancel::default()).await.unwrap()
}

/// A summary to write; the reference record of the first schema has one of everything.
fn summary() -> RunSummary {
    golden(1, Kind::Run).body().unwrap()
}

fn head(as_of: &str, run: u64, kind: Kind) -> Head {
    Head::new(RunId::from(run), "main", archive(), at(as_of), kind)
}

fn golden(schema: u32, kind: Kind) -> Record {
    let zst = if kind.is_compressed() { ".zst" } else { "" };
    let path = format!("tests/state/schema-{schema}/{}.json{zst}", kind.name());
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
    Record::decode(&path, kind, bytes).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn records_of_every_schema_can_be_read() {
    for schema in 1..=walproof::state::SCHEMA_VERSION {
        for kind in Kind::ALL {
            let record = golden(schema, *kind);
            let Head { run_id, cluster, archive, as_of, written_by, .. } = &record.head;
            assert_eq!((run_id.to_string().as_str(), cluster.as_str()), ("8f3a5c0b1d2e4f60", "main"));
            assert_eq!((archive.url.as_str(), *as_of), ("s3://backups/pg/main", at("2026-11-20T23:10:00.125Z")));
            assert!(!written_by.is_empty());
            assert_eq!(archive.endpoint.is_some(), *kind == Kind::Proofs);
        }
        let run: RunSummary = golden(schema, Kind::Run).body().unwrap();
        assert_eq!((run.status.as_str(), run.duration_s), ("warning", 1.4));
        assert_eq!(run.window.as_ref().and_then(|window| window.seconds), Some(2_667_245));
        assert_eq!(run.window.as_ref().map(|window| window.to_lsn.to_string()).as_deref(), Some("B5/1000000"));
        assert_eq!(run.newest_wal.as_ref().map(|wal| wal.segment.as_str()), Some("00000003000000B500000000"));
        assert_eq!(run.backups[0].duration_s, Some(787.0));
        assert_eq!(run.backups[1].kind, "delta");
        assert_eq!(run.findings.get("WAL010"), Some(&41));
        assert_eq!(run.listing.requests, 1196);
        let restore: Value = golden(schema, Kind::Restore).body().unwrap();
        assert_eq!(restore["rto_s"], 2460.0);
        let proofs: Value = golden(schema, Kind::Proofs).body().unwrap();
        assert_eq!(proofs["summary"]["wal_segments"], 12);
    }
}

/// The bytes of today are those of the newest reference: a change of a field is a change of the schema.
#[test]
fn the_newest_schema_is_what_is_written() {
    let record = golden(walproof::state::SCHEMA_VERSION, Kind::Run);
    let mut head = record.head.clone();
    head.written_by = "0.1.0".to_owned();
    let body: RunSummary = record.body().unwrap();
    let bytes = walproof::state::encode("k", &head, &body).unwrap();
    let path = format!("tests/state/schema-{}/run.json", walproof::state::SCHEMA_VERSION);
    let want = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), want);
}

#[tokio::test]
async fn runs_come_back_newest_first_and_never_from_later() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir.path().join("new/state")).await;
    let now = at("2026-11-20T00:00:00Z");
    assert!(state.latest_run(&archive(), now).await.unwrap().is_none());
    assert!(state.folders().await.unwrap().is_empty());
    // Over years, so that every step of looking back is needed.
    let times = ["2021-01-01T00:00:00Z", "2025-11-30T10:00:00Z", "2026-10-01T00:00:00Z", "2026-11-19T00:00:00Z"];
    for (number, time) in times.iter().enumerate() {
        let mut run = summary();
        run.waived = number as u64;
        state.write(&head(time, number as u64, Kind::Run), &run).await.unwrap();
    }
    state.write(&head("2027-01-01T00:00:00Z", 99, Kind::Run), &summary()).await.unwrap();
    let (latest, body) = state.latest_run(&archive(), now).await.unwrap().unwrap();
    assert_eq!((latest.as_of, body.waived), (at(times[3]), 3));
    for (count, want) in [(0, vec![]), (1, vec![3]), (2, vec![3, 2]), (3, vec![3, 2, 1]), (9, vec![3, 2, 1, 0])] {
        let runs = state.last_runs(&archive(), now, count).await.unwrap();
        let seen: Vec<u64> = runs.into_iter().map(|run| run.unwrap().1.waived).collect();
        assert_eq!(seen, want);
    }
    // The moment itself belongs to it, to the millisecond of names.
    let exact = state.latest_run(&archive(), at("2026-10-01T00:00:00.0004Z")).await.unwrap().unwrap();
    assert_eq!(exact.1.waived, 2);
    let other = ArchiveId::new("s3://backups/pg/other", None);
    assert!(state.latest_run(&other, now).await.unwrap().is_none());
    assert_eq!(state.folders().await.unwrap(), [archive().folder()]);
}

#[tokio::test]
async fn one_run_may_write_many_records() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path()).await;
    let head = head("2026-11-20T00:00:00Z", 5, Kind::Proofs);
    let mut names = Vec::new();
    for part in 0..3 {
        names.push(state.write(&head, &json!({"part": part})).await.unwrap());
    }
    // The same again is the same record: an answer that was lost does no harm.
    assert_eq!(state.write(&head, &json!({"part": 0})).await.unwrap(), names[0]);
    assert_eq!(names.iter().map(|name| name.part).collect::<Vec<_>>(), [0, 1, 2]);
    let mut walk = state.walk(&archive(), Kind::Proofs, head.as_of, 2).await.unwrap();
    assert_eq!(walk.left(), 2);
    let mut seen = Vec::new();
    while let Some((_, body)) = walk.next_body::<Value>().await.unwrap() {
        seen.push(body["part"].as_u64().unwrap());
    }
    assert_eq!(seen, [2, 1], "the newest, and no more than asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_one_wins_and_nothing_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("state");
    let key = "v1/main-0123456789abcdef/run/x";
    let tasks: Vec<_> = (0..24u8)
        .map(|number| {
            let store = Directory::open(&root).unwrap();
            tokio::spawn(async move { store.put_if_absent(key, vec![number; 200_000]).await.unwrap() })
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        written += usize::from(task.await.unwrap() == Put::Written);
    }
    assert_eq!(written, 1);
    let store = Directory::open(&root).unwrap();
    let bytes = store.get(key, 1 << 20).await.unwrap().unwrap();
    assert!(bytes.len() == 200_000 && bytes.iter().all(|byte| *byte == bytes[0]));
    let folder = root.join("v1/main-0123456789abcdef/run");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing temporary is left");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.join("x")), mode(&folder)), (0o600, 0o700));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runs_at_the_same_moment_both_stay() {
    let dir = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let path = dir.path().to_owned();
            tokio::spawn(async move {
                let mut head = head("2026-11-20T00:00:00Z", 0, Kind::Run);
                head.run_id = RunId::random();
                open(&path).await.write(&head, &summary()).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().part, 0);
    }
    let runs = open(dir.path()).await.last_runs(&archive(), at("2026-11-20T00:00:00Z"), 100).await.unwrap();
    assert_eq!(runs.len(), 16);
}

#[tokio::test]
async fn links_and_pipes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let root = dir.path().join("state");
    let state = open(&root).await;
    let now = at("2026-11-20T00:00:00Z");
    let name = state.write(&head("2026-11-20T00:00:00Z", 1, Kind::Run), &summary()).await.unwrap();
    let file = root.join(name.key());
    let store = Directory::open(&root).unwrap();

    std::fs::remove_file(&file).unwrap();
    symlink(&secret, &file).unwrap();
    let error = store.get(&name.key(), 1000).await.unwrap_err().to_string();
    assert!(error.ends_with("it is a link"), "{error}");
    assert!(state.latest_run(&archive(), now).await.unwrap().is_none(), "links are not listed");
    assert_eq!(store.put_if_absent(&name.key(), b"x".to_vec()).await.unwrap(), Put::Exists);
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");

    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let error = store.get(&name.key(), 1000).await.unwrap_err().to_string();
    assert!(error.ends_with("it is no regular file"), "{error}");

    // A folder that leads elsewhere.
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::remove_dir_all(root.join("v1")).unwrap();
    symlink(&elsewhere, root.join("v1")).unwrap();
    let error = state.write(&head("2026-11-20T00:00:00Z", 2, Kind::Run), &summary()).await.unwrap_err().to_string();
    assert!(error.contains("v1 is a link or a file"), "{error}");
    assert!(state.latest_run(&archive(), now).await.is_err());
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);

    for key in ["../x", "v1/../../x", "/etc/x", "v1//x", "", "v1/.hidden", "a\0b"] {
        assert!(store.put_if_absent(key, Vec::new()).await.is_err(), "{key:?}");
        assert!(store.get(key, 10).await.is_err(), "{key:?}");
    }
}

#[tokio::test]
async fn the_state_may_itself_be_reached_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let state = open(&dir.path().join("link")).await;
    let name = state.write(&head("2026-11-20T00:00:00Z", 1, Kind::Run), &summary()).await.unwrap();
    assert!(dir.path().join("real").join(name.key()).is_file());
}

#[tokio::test]
async fn a_file_in_the_place_of_the_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, "x").unwrap();
    let error = Directory::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("state is a file, not a directory"), "{error}");
}

#[tokio::test]
async fn tampered_records_are_named_and_the_others_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path()).await;
    let now = at("2026-11-20T00:00:00Z");
    let mut names: Vec<RecordName> = Vec::new();
    for run in 0..5 {
        let time = format!("2026-11-1{run}T00:00:00Z");
        names.push(state.write(&head(&time, run, Kind::Run), &summary()).await.unwrap());
    }
    let path = |name: &RecordName| dir.path().join(name.key());
    std::fs::write(path(&names[4]), b"\x1b[2J nothing of ours").unwrap();
    // The record of another moment and run in its place.
    std::fs::copy(path(&names[0]), path(&names[3])).unwrap();
    let large = std::fs::File::create(path(&names[2])).unwrap();
    large.set_len(50 << 30).unwrap();
    let runs = state.last_runs(&archive(), now, 10).await.unwrap();
    let seen: Vec<Result<u64, String>> = runs
        .into_iter()
        .map(|run| run.map(|(head, _)| head.as_of.as_second() as u64).map_err(|error| error.to_string()))
        .collect();
    let [bad, moved, huge, fine, first] = &seen[..] else { panic!("{seen:?}") };
    let bad = bad.as_ref().unwrap_err();
    assert!(bad.contains("damaged") && !bad.chars().any(char::is_control), "{bad}");
    assert!(moved.as_ref().unwrap_err().contains("its name is not that of its content"), "{moved:?}");
    assert!(huge.as_ref().unwrap_err().contains("larger than 1048576 bytes"), "{huge:?}");
    assert!(fine.is_ok() && first.is_ok());
    let (latest, _) = state.latest_run(&archive(), now).await.unwrap().unwrap();
    assert_eq!(latest.as_of, at("2026-11-11T00:00:00Z"));
    // Strangers among the records are left alone.
    std::fs::write(path(&names[0]).with_file_name("20261119T000000.000Z-notes.json"), "{}").unwrap();
    assert!(state.latest_run(&archive(), now).await.is_ok());
    // A record of a later version is no damage: all of it may mean something else.
    let newer = br#"{"schema":"walproof.state/2","written_by":"0.9.0"}"#;
    std::fs::write(path(&names[4]), newer).unwrap();
    let error = state.latest_run(&archive(), now).await.unwrap_err();
    assert!(matches!(&error, StateError::Newer { written_by, .. } if written_by == "0.9.0"), "{error}");
}

#[tokio::test]
async fn a_directory_with_very_many_names_is_listed_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn StateStore> = Arc::new(Directory::open(dir.path()).unwrap());
    let folder = dir.path().join("v1/a");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..2000 {
        std::fs::write(folder.join(format!("{number:04}")), "").unwrap();
    }
    let wanted = |from, before, last| walproof::state::Wanted { from, before, last };
    assert_eq!(store.list("v1/a", wanted(None, None, 3)).await.unwrap(), ["1997", "1998", "1999"]);
    assert_eq!(store.list("v1/a", wanted(Some("0005"), Some("0010"), 3)).await.unwrap(), ["0007", "0008", "0009"]);
    assert_eq!(store.list("v1/a", wanted(Some("0005"), Some("0007"), 3)).await.unwrap(), ["0005", "0006"]);
    assert!(store.list("v1/a", wanted(None, None, 0)).await.unwrap().is_empty());
    assert!(store.list("v1/none", wanted(None, None, 3)).await.unwrap().is_empty());
}

#[cfg(feature = "cli")]
mod commands {
    use std::path::{Path, PathBuf};
    use std::process::Output;

    use serde_json::Value;

    /// A small archive that every machine has: two segments, no backup.
    fn archive(parent: &Path, name: &str) -> PathBuf {
        let root = parent.join(name);
        std::fs::create_dir_all(root.join("wal_005")).unwrap();
        std::fs::create_dir_all(root.join("basebackups_005")).unwrap();
        for segment in ["000000010000000000000001", "000000010000000000000002"] {
            let mut page = vec![0u8; 16 << 20];
            page[..4].copy_from_slice(&[0x10, 0xD1, 0, 0]);
            std::fs::write(root.join("wal_005").join(segment), page).unwrap();
        }
        root
    }

    fn walproof(directory: &Path, args: &[&str]) -> Output {
        let mut command = assert_cmd::Command::cargo_bin("walproof").unwrap();
        command.current_dir(directory).env_clear().env("HOME", directory);
        command.args(args).output().unwrap()
    }

    fn history(directory: &Path, args: &[&str]) -> Value {
        let output =
            walproof(directory, &[&["history", "--format", "json", "--now", "2030-01-01T00:00:00Z"], args].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn each_audit_is_remembered_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        let main = archive(dir.path(), "main");
        let other = archive(dir.path(), "other");
        let text = format!(
            "version = 1\n[state]\nurl = \"memory\"\n[[cluster]]\nname = \"shop\"\narchive = {:?}\n",
            main.display().to_string()
        );
        std::fs::write(dir.path().join("walproof.toml"), text).unwrap();
        for (day, args) in [(1, vec!["audit"]), (2, vec!["audit"]), (3, vec!["audit", "shop", "other"])] {
            let now = format!("2029-01-0{day}T00:00:00Z");
            let output = walproof(dir.path(), &[&args[..], &["--now", &now]].concat());
            // The findings decide, and nothing is said about the state.
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
        let all = history(dir.path(), &[]);
        assert_eq!(all["schema"], "walproof.history/1");
        let names: Vec<&str> =
            all["archives"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["other", "shop"]);
        let shop = history(dir.path(), &["shop", "--last", "2"]);
        let [shop] = &shop["archives"].as_array().unwrap()[..] else { panic!("{shop}") };
        assert_eq!(shop["url"], format!("file://{}", main.display()));
        let runs = shop["runs"].as_array().unwrap();
        assert_eq!(
            runs.iter().map(|run| &run["as_of"]).collect::<Vec<_>>(),
            ["2029-01-02T00:00:00Z", "2029-01-03T00:00:00Z"]
        );
        assert_eq!(runs[0]["newest_segment"], "000000010000000000000002");
        assert!(runs[0]["wal_lag_s"].as_i64().unwrap() > 0);
        assert_eq!(runs[0]["findings"]["BKP012"], 1);
        // By address, absolute or not; and as of an earlier moment.
        for name in ["other", other.to_str().unwrap(), "./other"] {
            let found = history(dir.path(), &[name]);
            assert_eq!(found["archives"][0]["name"], "other", "{name}");
        }
        let text = walproof(dir.path(), &["history", "shop", "--now", "2029-01-01T12:00:00Z"]);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("2029-01-01 00:00  CRITICAL") && !text.contains("2029-01-02"), "{text}");
        let none = walproof(dir.path(), &["history", "nothing-of-the-kind"]);
        assert_eq!(none.status.code(), Some(2));
        let told = String::from_utf8_lossy(&none.stderr).into_owned();
        assert!(told.starts_with("walproof: nothing is remembered of nothing-of-the-kind in file://"), "{told}");
    }

    #[test]
    fn a_state_inside_an_archive_is_refused_before_anything_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let main = archive(dir.path(), "main");
        archive(dir.path(), "other");
        let text = format!("version = 1\n[[cluster]]\nname = \"shop\"\narchive = {:?}\n", main.display().to_string());
        std::fs::write(dir.path().join("walproof.toml"), text).unwrap();
        // Neither into the archive of this run, nor into one that only the configuration names.
        for (archive, state) in [("shop", "main/state"), ("other", "other"), ("other", "main/deep/er")] {
            let output = walproof(dir.path(), &["audit", archive, "--state", state]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{told}");
            assert!(told.contains("would lie inside the archive") && told.lines().count() == 1, "{told}");
        }
        assert_eq!(std::fs::read_dir(main).unwrap().count(), 2);
    }

    #[test]
    fn a_state_that_cannot_be_written_leaves_the_results() {
        let dir = tempfile::tempdir().unwrap();
        archive(dir.path(), "main");
        std::fs::write(dir.path().join("file"), "").unwrap();
        for state in ["file", "file/below"] {
            let output = walproof(dir.path(), &["audit", "main", "--state", state, "--format", "json"]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{told}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["archives"][0]["status"], "critical");
            assert!(told.starts_with("walproof: the audit is done, but it cannot be remembered: "), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn a_state_of_a_later_version_says_which_one_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        archive(dir.path(), "main");
        walproof(dir.path(), &["audit", "main", "--state", "memory"]);
        let runs = std::fs::read_dir(dir.path().join("memory/v1")).unwrap().next().unwrap().unwrap().path().join("run");
        let record = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&record, r#"{"schema":"walproof.state/7","written_by":"3.2.1","x":[]}"#).unwrap();
        let output = walproof(dir.path(), &["history", "--state", "memory"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{told}");
        assert!(told.contains("walproof 3.2.1 wrote it: use that version or a newer one"), "{told}");
    }
}
