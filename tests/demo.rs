//! The demo's archive is a real one: its parts agree with each other, a server restores from it to every mark, and
//! each kind of damage touches one object of a copy.
#![cfg(feature = "demo")]
#![allow(missing_docs, clippy::disallowed_methods, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use walproof::codec::{Limits, decoder};
use walproof::demo::{DamageKind, DemoArchive, DemoError, DemoOptions, Mark, build, damage};
use walproof::model::{CodecKind, SegmentName, Timestamp, WalFileName};
use walproof::postgres::{
    Identity, Installation, Sandbox, Server, ServerOptions, StopMode, choose, command_literal, installations, log_tail,
    run,
};
use walproof::run::{Cancel, RunContext};

fn server() -> Option<Installation> {
    match choose(&installations(&[]).unwrap(), None) {
        Ok(found) if found.has("initdb") => Some(found.clone()),
        _ if std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_some() => panic!("no PostgreSQL on this machine"),
        _ => {
            println!("SKIPPED: no PostgreSQL on this machine");
            None
        }
    }
}

fn context() -> RunContext {
    RunContext::new(Timestamp::now())
}

fn decode(path: &Path) -> Vec<u8> {
    let (_, codec) = CodecKind::split(path.file_name().unwrap().as_encoded_bytes());
    assert_eq!(codec, CodecKind::Lz4, "{path:?}");
    let mut bytes = Vec::new();
    decoder(codec, Box::new(File::open(path).unwrap()), &Limits::default()).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn files(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                open.push(entry.path());
            } else {
                let key = entry.path().strip_prefix(dir).unwrap().to_owned();
                found.insert(key, (std::fs::read(entry.path()).unwrap(), meta.modified().unwrap()));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_is_a_real_archive() {
    let Some(installation) = server() else { return };
    let base = tempfile::tempdir().unwrap();
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let dir = base.path().join("archive");
    let mut options = DemoOptions::default();
    options.sandbox_base = Some(base.path().to_owned());
    let begun = Instant::now();
    let made = build(&dir, &options, &context()).await.unwrap();
    println!("built with PostgreSQL {} in {:.1} s", made.pg_version, begun.elapsed().as_secs_f64());
    assert_eq!(names(base.path()), BTreeSet::from(["archive".to_owned()]), "no sandbox stays");
    let again = build(&dir, &options, &context()).await.unwrap_err();
    assert!(matches!(again, DemoError::NotEmpty(_)), "{again}");

    check_wal(&made);
    for backup in &made.backups {
        check_backup(&made, &backup.name);
    }
    check_damage(&made, base.path());

    let last_of = |timeline| made.marks.iter().rfind(|mark| mark.timeline.get() == timeline).unwrap();
    let middle = &made.marks[made.marks.len() / 2];
    let wal = base.path().join("wal");
    std::fs::create_dir(&wal).unwrap();
    for name in &made.wal_files {
        std::fs::write(wal.join(name), decode(&made.dir.join(format!("wal_005/{name}.lz4")))).unwrap();
    }
    for (backup, mark) in [(0, middle), (0, last_of(1)), (0, last_of(2)), (1, last_of(2))] {
        check_restore(&installation, &made, backup, mark, &wal, base.path()).await;
    }
}

fn check_wal(made: &DemoArchive) {
    let wal = made.dir.join("wal_005");
    let stored: BTreeSet<String> = made.wal_files.iter().map(|name| format!("{name}.lz4")).collect();
    assert_eq!(names(&wal), stored);
    let mut segments: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let (mut partial, mut labels) = (Vec::new(), 0);
    for name in &made.wal_files {
        let path = wal.join(format!("{name}.lz4"));
        let raw = std::fs::read(&path).unwrap();
        assert_eq!(raw[..6], [0x04, 0x22, 0x4D, 0x18, 0x64, 0x70], "{name}: frame header of the original tool");
        let bytes = decode(&path);
        match WalFileName::parse(name.as_bytes()).unwrap() {
            WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
                assert_eq!(bytes.len() as u64, made.segment_size.bytes(), "{name}");
                let identifier = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
                assert_eq!(identifier, made.system_identifier, "{name}");
                if name.ends_with(".partial") {
                    partial.push(segment);
                } else {
                    segments.entry(segment.timeline.get()).or_default().push(segment.position());
                }
            }
            WalFileName::History(timeline) => {
                assert_eq!(timeline.get(), 2);
                let text = String::from_utf8(bytes).unwrap();
                assert!(text.starts_with(&format!("1\t{}\t", made.switch)), "{text:?}");
            }
            WalFileName::BackupHistory { segment, offset } => {
                labels += 1;
                let text = String::from_utf8(bytes).unwrap();
                let backup = made.backups.iter().find(|b| b.name == format!("base_{segment}")).unwrap();
                assert_eq!(u64::from(offset), backup.start_lsn.offset_in(made.segment_size));
                assert!(text.contains(&format!("STOP WAL LOCATION: {}", backup.finish_lsn)), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(labels, 2);
    assert_eq!(segments.len(), 2);
    for (timeline, numbers) in &segments {
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "timeline {timeline}: {numbers:?}");
    }
    // The old timeline ends before the switch, inside whose segment the new one begins.
    let switch = made.switch.segment(made.segment_size).name(made.backups[1].timeline, made.segment_size).position();
    assert_eq!(segments[&1].last().unwrap() + 1, switch);
    assert_eq!(segments[&2][0], switch);
    assert_eq!(partial.iter().map(|s| (s.timeline.get(), s.position())).collect::<Vec<_>>(), [(1, switch)]);
    assert!(segments[&1].len() + segments[&2].len() > 20);
}

fn check_backup(made: &DemoArchive, name: &str) {
    let backups = made.dir.join("basebackups_005");
    let sentinel = json(backups.join(format!("{name}_backup_stop_sentinel.json")));
    let keys: Vec<&str> = sentinel.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "ChkpNum CompressedSize DataCatalogSize DataDir DateFmt FinishLSN FinishTime Hostname IsPermanent LSN \
                    PgVersion StartTime SystemIdentifier UncompressedSize Version";
    assert_eq!(BTreeSet::from_iter(keys), expected.split_whitespace().collect());
    let metadata = json(backups.join(name).join("metadata.json"));
    for (one, other) in [("LSN", "start_lsn"), ("FinishTime", "finish_time"), ("SystemIdentifier", "system_identifier")]
    {
        assert_eq!(sentinel[one], metadata[other]);
    }
    assert_eq!(sentinel["SystemIdentifier"], made.system_identifier);
    let segment = SegmentName::parse(&name.as_bytes()[5..]).unwrap();
    let start = made.backups.iter().find(|b| b.name == name).unwrap().start_lsn;
    assert_eq!(start.segment(made.segment_size).name(segment.timeline, made.segment_size), segment);
    assert_eq!(sentinel["LSN"], start.0);

    let details = json(backups.join(name).join("files_metadata.json"));
    let described = details["Files"].as_object().unwrap();
    let sets = details["TarFileSets"].as_object().unwrap();
    let folder = backups.join(name).join("tar_partitions");
    let (mut content, mut stored, mut members) = (0, 0, BTreeSet::new());
    assert!(names(&folder).len() > 4, "several parts: {:?}", names(&folder));
    for tar in names(&folder) {
        stored += folder.join(&tar).metadata().unwrap().len();
        let bytes = decode(&folder.join(&tar));
        assert!(bytes.ends_with(&[0; 1024]));
        let mut inside = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            content += entry.size();
            inside.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
        }
        if tar == "pg_control.tar.lz4" {
            assert_eq!(inside, ["/global/pg_control"]);
            assert!(!sets.contains_key(&tar));
            continue;
        }
        let mut listed: Vec<String> = serde_json::from_value(sets[&tar].clone()).unwrap();
        if tar == "backup_label.tar.lz4" {
            listed.reverse();
            assert_eq!(listed, ["backup_label", "tablespace_map"]);
        } else {
            members.extend(inside.iter().cloned());
        }
        assert_eq!(inside, listed, "{tar}");
    }
    assert_eq!(members, described.keys().cloned().collect());
    assert!(members.contains("/") && members.contains("/pg_wal") && members.contains("/base/1/1259"));
    assert!(!members.iter().any(|m| m.starts_with("/pg_wal/") || m.contains("postmaster")));
    assert_eq!(sentinel["UncompressedSize"], content);
    assert_eq!(sentinel["CompressedSize"], stored);
    assert!(details["DatabasesByNames"]["postgres"]["tables_new"]["public.ledger"]["relfilenode"].is_u64());
}

fn check_damage(made: &DemoArchive, base: &Path) {
    let whole = files(&made.dir);
    for kind in DamageKind::ALL {
        let copy = base.join(kind.name());
        let done = damage(*kind, &made.dir, &copy).unwrap();
        println!("{}: {}; {}; {}", kind.name(), done.what, done.usual_check, done.restore);
        let broken = files(&copy);
        let changed: Vec<&PathBuf> =
            whole.iter().filter(|(key, seen)| broken.get(*key) != Some(*seen)).map(|(k, _)| k).collect();
        assert_eq!(changed, [Path::new(&done.object)]);
        match kind {
            DamageKind::EmptySegment => assert!(broken[changed[0]].0.is_empty()),
            DamageKind::FlippedBit => {
                let path = copy.join(changed[0]);
                let mut decoded =
                    decoder(CodecKind::Lz4, Box::new(File::open(path).unwrap()), &Limits::default()).unwrap();
                assert!(decoded.read_to_end(&mut Vec::new()).is_err());
            }
            _ => assert!(!broken.contains_key(changed[0])),
        }
        std::fs::remove_dir_all(copy).unwrap();
    }
}

/// Restores with plain tools, so that nothing of the demo's own reading is trusted.
async fn check_restore(
    installation: &Installation,
    made: &DemoArchive,
    backup: usize,
    mark: &Mark,
    wal: &Path,
    base: &Path,
) {
    let cancel = Cancel::default();
    let sandbox = Sandbox::create(Some(base), Identity::resolve(None).unwrap()).unwrap();
    let data = sandbox.dir("restored").unwrap();
    let folder = made.dir.join("basebackups_005").join(&made.backups[backup].name).join("tar_partitions");
    for tar in names(&folder) {
        let plain = sandbox.root().join(tar.trim_end_matches(".lz4"));
        std::fs::write(&plain, decode(&folder.join(&tar))).unwrap();
        let mut command = std::process::Command::new("tar");
        command.arg("-xf").arg(&plain).arg("-C").arg(&data).arg("--no-same-owner").env("LC_ALL", "C");
        run(command, Duration::from_secs(60), &cancel).await.unwrap();
    }
    std::fs::write(data.join("recovery.signal"), "").unwrap();
    sandbox.identity().give_tree(&data).unwrap();
    let options = ServerOptions::default()
        .set("restore_command", format!("cp {}/%f %p", command_literal(wal).unwrap()))
        .set("recovery_target_lsn", mark.lsn.to_string())
        .set("recovery_target_timeline", "latest")
        .set("recovery_target_action", "promote")
        .set("fsync", "off")
        .set("max_connections", "20");
    let mut server = Server::start(&sandbox, installation, &data, options).unwrap();
    // Hot standby lets us in before the end of recovery: what counts is what is there afterwards.
    let client = server.ready("postgres", "postgres", &cancel, |_| {}).await.unwrap();
    loop {
        match client.query_one("select pg_is_in_recovery()", &[]).await {
            Ok(row) if !row.get::<_, bool>(0) => break,
            Ok(_) => {}
            Err(e) => panic!("{mark:?}: {e}: {}", log_tail(server.log(), 4000)),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sql = "select count(*), md5(string_agg(id || ':' || amt || ':' || note, ',' order by id)) from ledger";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, String>(1)), (mark.rows, mark.md5.clone()), "{mark:?}");
    server.stop(StopMode::Immediate, Duration::from_secs(20)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_demo_takes_everything_back() {
    if server().is_none() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let mut options = DemoOptions::default();
    options.sandbox_base = Some(base.path().to_owned());
    options.segment_mib = 1;
    let ctx = context();
    let cancel = ctx.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        cancel.set();
    });
    let error = build(&base.path().join("archive"), &options, &ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
    assert!(names(base.path()).is_empty(), "{:?}", names(base.path()));
}
