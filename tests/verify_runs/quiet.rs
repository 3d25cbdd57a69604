//! `verify` leaves no traces but the state.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::made::{Made, day};
use super::run::{Place, Run};
use crate::golden_support as g;

fn files(dir: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            out.push((entry.path().display().to_string(), meta.len(), meta.modified().unwrap()));
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    out.sort();
    out
}

#[test]
fn nothing_is_written_but_the_state() {
    let place = Place::new(&Made::default().wal(2, 9).packed(10, 12).backup(3, 300_000));
    leaves_nothing(&place.root, &day(10), 12);
}

#[test]
fn nothing_is_written_for_encrypted_archives_either() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-libsodium-pg15");
    leaves_nothing(&root, &g::two_days_later(&root), 0);
}

fn leaves_nothing(root: &Path, now: &str, segments: u64) {
    let around = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let empty = ["home", "tmp", "cwd", "cache"].map(|name| around.path().join(name));
    for dir in &empty {
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let state = around.path().join("state");
    let before = files(root);
    let verify = |state: Option<&Path>| {
        let mut command = g::walproof();
        command.arg("verify").arg(root).args(["--now", now, "--format", "json"]);
        command.env("HOME", &empty[0]).env("TMPDIR", &empty[1]).current_dir(&empty[2]);
        command.env("XDG_CACHE_HOME", &empty[3]).env("XDG_CONFIG_HOME", &empty[3]).env("XDG_STATE_HOME", &empty[3]);
        if let Some(golden) = g::golden().filter(|_| segments == 0) {
            g::with_keys(&mut command, &golden, "walg-libsodium-pg15");
        }
        if let Some(state) = state {
            command.arg("--state").arg(state);
        }
        let run = Run::of(&mut command);
        assert!(run.number("wal_segments") > segments / 2 && run.archive["error"].is_null(), "{}", run.stderr);
    };
    let around_now = || files(around.path()).into_iter().map(|(path, _, _)| path).collect::<Vec<_>>();
    let nothing = around_now();
    assert_eq!(nothing.len(), 4);
    verify(None);
    assert_eq!(around_now(), nothing, "without a state nothing is written anywhere");
    assert_eq!(files(root), before, "the archive is as it was");
    verify(Some(&state));
    let state = state.display().to_string();
    let others: Vec<String> = around_now().into_iter().filter(|path| !path.starts_with(&state)).collect();
    assert_eq!(others, nothing, "only the state is written");
    assert!(around_now().len() > nothing.len(), "and that it is");
    assert_eq!(files(root), before);
}
