//! Every backup of the golden archives, restored to files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use walproof::layout::walg::files::read_files;
use walproof::model::Lsn;
use walproof::page::{PAGE_BYTES, PageContext, PageStream, relation_file};
use walproof::wal::{BackupLabel, ControlFile};

use crate::golden_support as g;

/// `walproof restore` into a new directory below `dir`.
pub fn restore(
    golden: &Path,
    name: &str,
    root: &Path,
    backup: &str,
    into: &Path,
    more: &[&str],
) -> (Value, i32, String) {
    let mut command = g::walproof();
    command.arg("restore").arg(root).arg(backup).arg("--into").arg(into).args(["--format", "json"]).args(more);
    let output = g::with_keys(&mut command, golden, name).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), output.status.code().unwrap(), text)
}

fn backups(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root.join("basebackups_005"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix("_backup_stop_sentinel.json").map(ToOwned::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// All files below a directory, following the links of tablespaces only.
fn tree(dir: &Path, below: &str, out: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        let meta = entry.path().symlink_metadata().unwrap();
        if meta.is_dir() || (meta.is_symlink() && below == "pg_tblspc/") {
            out.push((path.clone(), entry.path()));
            tree(&entry.path(), &format!("{path}/"), out);
        } else {
            assert!(meta.is_file(), "{path}");
            assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{path}");
            out.push((path, entry.path()));
        }
    }
}

/// Everything that can be told of a restored directory without a server.
fn holds(what: &str, into: &Path, listed: Option<BTreeSet<String>>, start: Lsn) {
    let mut files = Vec::new();
    tree(into, "", &mut files);
    let control = ControlFile::parse(&fs::read(into.join("global/pg_control")).unwrap()).unwrap();
    let label = BackupLabel::parse(&fs::read(into.join("backup_label")).unwrap()).unwrap();
    assert_eq!(label.start, start, "{what}");
    for gone in [".walproof-restore", "postmaster.pid", "recovery.signal", "standby.signal"] {
        assert!(!into.join(gone).exists(), "{what}: {gone}");
    }
    for dir in ["pg_wal/archive_status", "pg_replslot", "pg_logical/snapshots", "postgresql.conf", "pg_hba.conf"] {
        assert!(into.join(dir).exists(), "{what}: {dir}");
    }
    assert_eq!(into.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let there: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    if let Some(listed) = listed {
        let missing: Vec<&String> = listed.iter().filter(|path| !there.contains(path.as_str())).collect();
        assert!(missing.is_empty(), "{what}: {missing:?}");
        // Nothing of an ancestor that the target no longer has.
        let relation = |path: &&&str| relation_file(path.as_bytes(), 131_072).is_some();
        let extra: Vec<&&str> = there.iter().filter(relation).filter(|path| !listed.contains(**path)).collect();
        assert!(extra.is_empty(), "{what}: {extra:?}");
    }
    let context = PageContext { start: Some(start), end: None, checksums: control.has_checksums() };
    let mut pages = 0;
    for (path, place) in &files {
        let Some(relation) = relation_file(path.as_bytes(), control.relation_file_blocks) else { continue };
        let bytes = fs::read(place).unwrap();
        assert_eq!(bytes.len() % PAGE_BYTES, 0, "{what}: {path}");
        let mut stream = PageStream::new(context, PAGE_BYTES, relation.first_block);
        stream.push(&bytes);
        let report = stream.finish();
        assert_eq!(report.bad_count, 0, "{what}: {path}: {report:?}");
        pages += bytes.len() / PAGE_BYTES;
    }
    assert!(pages > 1000, "{what}: {pages} pages");
}

fn listed(root: &Path, backup: &str) -> Option<BTreeSet<String>> {
    let mut text = fs::File::open(root.join("basebackups_005").join(backup).join("files_metadata.json")).ok()?;
    let mut paths = BTreeSet::new();
    assert!(
        read_files(&mut text, &mut |entry| {
            paths.insert(entry.path.trim_matches('/').to_owned());
        })
        .unwrap()
    );
    paths.remove("");
    Some(paths)
}

fn every_backup(name: &str) {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, name);
    for backup in backups(&root) {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let into = dir.path().join("data");
        let (report, code, text) = restore(&golden, name, &root, &backup, &into, &[]);
        assert_eq!(code, 0, "{name} {backup}: {text}");
        let what = format!("{name} {backup}");
        assert_eq!(report["left_out_count"], 0, "{what}: {report:#}");
        let start = match name.starts_with("wale") {
            true => BackupLabel::parse(&fs::read(into.join("backup_label")).unwrap()).unwrap().start,
            false => {
                let sentinel = root.join("basebackups_005").join(format!("{backup}_backup_stop_sentinel.json"));
                let sentinel: Value = serde_json::from_slice(&fs::read(sentinel).unwrap()).unwrap();
                let deltas = usize::from(backup.contains("_D_"));
                assert!(report["chain"].as_u64().unwrap() as usize > deltas, "{what}");
                Lsn(sentinel["LSN"].as_u64().unwrap())
            }
        };
        holds(&what, &into, listed(&root, &backup), start);
        for space in report["tablespaces"].as_array().unwrap() {
            let (oid, place) = (space[0].as_str().unwrap(), space[1].as_str().unwrap());
            assert_eq!(fs::read_link(into.join("pg_tblspc").join(oid)).unwrap(), Path::new(place), "{what}");
            assert_eq!(Path::new(place), dir.path().join("data_tblspc").join(oid));
            // Whoever owns the data directory can get to its tablespaces.
            let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&path.metadata().unwrap());
            assert_eq!(owner(&into), owner(&dir.path().join("data_tblspc")), "{what}");
            let map = fs::read_to_string(into.join("tablespace_map")).unwrap();
            assert_eq!(map, format!("{oid} {place}\n"), "{what}");
        }
    }
}

#[test]
fn chains_and_tablespaces() {
    every_backup("walg-lz4-pg15");
}

#[test]
fn every_composer() {
    every_backup("walg-composers-pg15");
}

#[test]
fn every_codec_and_both_encryptions() {
    for name in g::WALG.iter().filter(|name| !name.contains("lz4") && !name.contains("composers")) {
        every_backup(name);
    }
}

#[test]
fn wal_e_backups_get_the_configuration_they_lack() {
    for (name, _) in g::WALE {
        every_backup(name);
    }
}

#[test]
fn tablespaces_go_where_they_are_told_and_settings_only_when_asked() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-lz4-pg15");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (into, space) = (dir.path().join("data"), dir.path().join("my space"));
    let (report, code, text) =
        restore(&golden, "walg-lz4-pg15", &root, "latest", &into, &["--tablespace", "1=/nowhere"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("has no tablespace 1; it has "), "{text}");
    assert_eq!(report, Value::Null);
    let oid: String = text.split("it has ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    let inside = format!("{oid}={}/pg_x", into.display());
    let (_, code, text) = restore(&golden, "walg-lz4-pg15", &root, "latest", &into, &["--tablespace", &inside]);
    assert!(code == 2 && text.contains("cannot lie in the data directory"), "{text}");
    let there = format!("{oid}={}", space.display());
    let more = ["--tablespace", there.as_str(), "--recovery-settings"];
    let (_, code, text) = restore(&golden, "walg-lz4-pg15", &root, "latest", &into, &more);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read_link(into.join("pg_tblspc").join(&oid)).unwrap(), space);
    assert!(fs::read_dir(&space).unwrap().next().is_some());
    assert!(into.join("recovery.signal").exists());
    let settings = fs::read_to_string(into.join("postgresql.auto.conf")).unwrap();
    assert!(settings.contains(" wal-fetch --archive "), "{settings}");
    // It is no place for another restore now.
    let (_, code, text) = restore(&golden, "walg-lz4-pg15", &root, "latest", &into, &[]);
    assert!(code == 2 && text.contains("is not empty"), "{text}");
}

#[test]
fn what_cannot_work_is_said_before_anything_is_written() {
    let Some(golden) = g::golden() else { return };
    let copy = g::Copy::of(&g::root(&golden, "walg-lz4-pg15"));
    let root = copy.path();
    let backups = backups(&root);
    let delta = backups.iter().find(|name| name.contains("_D_")).unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let into = dir.path().join("data");
    let run = |backup: &str| restore(&golden, "walg-lz4-pg15", &root, backup, &into, &[]);
    let (_, code, text) = run("base_0000000100000000000000FF");
    assert!(code == 2 && text.contains("there is no backup base_0000000100000000000000FF"), "{text}");
    let full = backups.iter().find(|name| !name.contains("_D_")).unwrap();
    let parts = root.join("basebackups_005").join(full).join("tar_partitions");
    let label = parts.join("backup_label.tar.lz4");
    let bytes = fs::read(&label).unwrap();
    fs::remove_file(&label).unwrap();
    let (_, code, text) = run(full);
    assert!(code == 1 && text.contains("backup_label.tar.lz4 is missing"), "{text}");
    fs::write(&label, bytes).unwrap();
    fs::remove_file(root.join("basebackups_005").join(format!("{full}_backup_stop_sentinel.json"))).unwrap();
    let (_, code, text) = run(delta);
    assert!(code == 1 && text.contains("needs its parent"), "{text}");
    assert!(!into.exists());
}
