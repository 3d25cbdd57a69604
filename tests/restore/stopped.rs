//! `walproof restore`, stopped in the middle by a signal: the same call goes on, and what comes of it is what an
//! undisturbed one makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::golden_support as g;
use crate::made::{NAME, SYSTEM, control, file, tar};

const PARTS: u32 = 80;

/// Files below a directory with their length, mode, owner and a checksum; links with where they lead.
fn everything(dir: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let path = entry.path();
            let what = if meta.is_symlink() {
                format!("to {}", fs::read_link(&path).unwrap().display())
            } else if meta.is_dir() {
                open.push(path.clone());
                "directory".to_owned()
            } else {
                format!("{} bytes, {:08x}", meta.len(), crc32c::crc32c(&fs::read(&path).unwrap()))
            };
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            out.insert(name, format!("{:o} {} {what}", meta.mode(), meta.uid()));
        }
    }
    out
}

/// A backup of many tars.
fn store(root: &Path) {
    let folder = root.join("basebackups_005").join(NAME);
    let tars = folder.join("tar_partitions");
    fs::create_dir_all(&tars).unwrap();
    let mut seed = 1u32;
    let (mut files, mut sets) = (serde_json::Map::new(), serde_json::Map::new());
    for number in 1..=PARTS {
        let body: Vec<u8> = (0..300_000)
            .flat_map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((seed >> 28) as u16).to_le_bytes()
            })
            .collect();
        let name = format!("part_{number:03}.tar");
        let packed = zstd::encode_all(&tar(&[file(&format!("/base/5/{number}"), &body)])[..], 1).unwrap();
        fs::write(tars.join(format!("{name}.zst")), packed).unwrap();
        files.insert(format!("/base/5/{number}"), json!({}));
        sets.insert(format!("{name}.zst"), json!([]));
    }
    fs::write(tars.join("pg_control.tar"), tar(&[file("/global/pg_control", &control(SYSTEM))])).unwrap();
    fs::write(tars.join("backup_label.tar"), tar(&[file("backup_label", b"label")])).unwrap();
    let write = |path: &Path, value: Value| fs::write(path, value.to_string()).unwrap();
    write(&folder.join("files_metadata.json"), json!({"Files": files, "TarFileSets": sets}));
    write(
        &folder.join("metadata.json"),
        json!({"start_lsn": 0x300_0028, "finish_lsn": 0x300_0100, "pg_version": 150_000}),
    );
    write(
        &root.join("basebackups_005").join(format!("{NAME}_backup_stop_sentinel.json")),
        json!({"LSN": 0x300_0028, "FinishLSN": 0x300_0100, "PgVersion": 150_000, "Version": 2,
            "SystemIdentifier": SYSTEM, "DataCatalogSize": PARTS * 600_000}),
    );
}

fn command(root: &Path, backup: &str, into: &Path) -> Command {
    let mut command = g::walproof();
    command.arg("restore").arg(root).arg(backup).arg("--into").arg(into).args(["--format", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn whole(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Stops a restore once some tars are unpacked. `None` where it was done before the signal came.
fn stopped(root: &Path, backup: &str, into: &Path, signal: Signal, tars: usize) -> Option<(Option<i32>, String)> {
    let child = command(root, backup, into).spawn().unwrap();
    let begun = Instant::now();
    let done = |path: &Path| path.extension().is_some_and(|extension| extension == "done");
    loop {
        let notes = fs::read_dir(into.join(".walproof-restore")).into_iter().flatten().flatten();
        if notes.filter(|entry| done(&entry.path())).count() >= tars || into.join("global/pg_control").exists() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was unpacked");
        std::thread::sleep(Duration::from_micros(300));
    }
    let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return None;
    }
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn by_any_signal_and_it_goes_on() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = dir.path().join("archive");
    store(&root);
    let clean = dir.path().join("clean");
    assert_eq!(whole(&mut command(&root, NAME, &clean))["parts_resumed"], 0);
    let clean = everything(&clean);
    assert_eq!(clean.keys().filter(|path| path.starts_with("base/5/")).count(), PARTS as usize);
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let into = dir.path().join(signal.as_str());
        // A busy machine may let it end before the signal comes.
        let ended = (0..10).find_map(|_| {
            let _ = fs::remove_dir_all(&into);
            stopped(&root, NAME, &into, signal, 8)
        });
        let (code, text) = ended.expect("stopped in the middle");
        // Killed it has no code; on request it says so, and that is no defect of the archive.
        assert_eq!(code, (signal != Signal::SIGKILL).then_some(2), "{signal}: {text}");
        assert!(!into.join("global/pg_control").exists(), "{signal}: a server would start on a half");
        let restored = whole(&mut command(&root, NAME, &into));
        let resumed = restored["parts_resumed"].as_u64().unwrap();
        // The last note may have been opened and not written yet.
        assert!((7..u64::from(PARTS)).contains(&resumed), "{signal}: {restored:#}");
        assert_eq!(restored["parts"].as_u64().unwrap() + resumed, u64::from(PARTS) + 2, "{signal}: {restored:#}");
        assert!(everything(&into) == clean, "{signal}: it differs from a clean restore");
        assert!(!into.join(".walproof-restore").exists());
        fs::remove_dir_all(&into).unwrap();
    }
}

/// Increments are not applied twice, and files that only an ancestor had do not come back.
#[test]
fn in_a_chain_of_deltas() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-lz4-pg15");
    let backup = "base_000000010000000000000016_D_00000001000000000000000E";
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let into = dir.path().join("data");
    let beside = dir.path().join("data_tblspc");
    let restored = whole(&mut command(&root, backup, &into));
    assert_eq!(restored["chain"], 3, "{restored:#}");
    let clean = (everything(&into), everything(&beside));
    let mut caught = 0;
    // Behind the tar of the second backup, of the third, and before the last of five.
    for tars in [2, 3, 4] {
        fs::remove_dir_all(&into).unwrap();
        fs::remove_dir_all(&beside).unwrap();
        caught += usize::from(stopped(&root, backup, &into, Signal::SIGKILL, tars).is_some());
        if into.join("global/pg_control").exists() {
            continue;
        }
        let restored = whole(&mut command(&root, backup, &into));
        assert!(restored["parts_resumed"].as_u64().unwrap() as usize + 1 >= tars, "{restored:#}");
        assert!((everything(&into), everything(&beside)) == clean, "{tars}: it differs from a clean restore");
    }
    assert!(caught > 0, "every restore was done before it was stopped");
}

/// Run by root for somebody else, all of it is that user's: the way to it, and the places beside it.
#[test]
fn whom_it_is_for_owns_all_of_it() {
    let Some(golden) = g::golden() else { return };
    let (root, nobody) = (g::root(&golden, "walg-lz4-pg15"), nix::unistd::User::from_name("nobody").unwrap());
    let (true, Some(nobody)) = (nix::unistd::geteuid().is_root(), nobody) else {
        println!("SKIPPED: only root restores for somebody else");
        return;
    };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let into = dir.path().join("new/data");
    whole(command(&root, "latest", &into).args(["--run-as", "nobody"]));
    let (mut seen, mut open) = (0, vec![dir.path().join("new")]);
    while let Some(at) = open.pop() {
        for path in fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()) {
            let meta = path.symlink_metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (nobody.uid.as_raw(), nobody.gid.as_raw()), "{}", path.display());
            seen += 1;
            if meta.is_dir() {
                assert_eq!(meta.mode() & 0o777, 0o700, "{}", path.display());
                open.push(path);
            }
        }
    }
    assert!(seen > 900 && dir.path().join("new/data_tblspc").is_dir(), "{seen}");
    assert_eq!(dir.path().join("new").metadata().unwrap().uid(), nobody.uid.as_raw());
}
