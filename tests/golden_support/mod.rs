//! Real archives written by the real tools, and a way to damage copies of them.
//!
//! They lie in `WALPROOF_GOLDEN` (default `../shared/golden`). Where they are absent a test says SKIPPED, unless
//! `WALPROOF_REQUIRE_GOLDEN=1` makes that a failure.
#![allow(dead_code, clippy::disallowed_methods, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// Archives of wal-g, each a directory of its own name.
pub const WALG: &[&str] = &[
    "walg-brotli-pg15",
    "walg-composers-pg15",
    "walg-libsodium-pg15",
    "walg-lz4-pg15",
    "walg-lzma-pg15",
    "walg-lzo-pg15",
    "walg-none-pg15",
    "walg-pgp-pg15",
    "walg-s3-pg15",
    "walg-zstd-pg17-timelines",
    "walg-zstd-pg18-seg1m",
];

/// Archives of wal-e with the folder below `bucket/`.
pub const WALE: &[(&str, &str)] = &[("wale-lzo-pg14", "pg/main"), ("wale-gpg-pg14", "enc")];

/// Where the archives lie; `None` (after saying so) where they are not.
pub fn golden() -> Option<PathBuf> {
    let dir = std::env::var_os("WALPROOF_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"), PathBuf::from);
    if dir.join("damage.py").is_file() {
        return Some(dir);
    }
    assert_ne!(std::env::var("WALPROOF_REQUIRE_GOLDEN").as_deref(), Ok("1"), "no golden archives in {}", dir.display());
    println!("SKIPPED: golden archives (none in {})", dir.display());
    None
}

/// What is known to be true of an archive.
pub fn expected(golden: &Path, name: &str) -> Value {
    let text = fs::read_to_string(golden.join(format!("{name}.expected.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Unpacks an archive once per test build and gives its directory. Do not write into it: see [`Copy`].
pub fn unpacked(golden: &Path, name: &str) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden");
    fs::create_dir_all(&base).unwrap();
    let done = base.join(name);
    let lock = File::create(base.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !done.is_dir() {
        let part = base.join(format!("{name}.part"));
        let _ = fs::remove_dir_all(&part);
        let file = File::open(golden.join(format!("{name}.tar.zst"))).unwrap();
        let mut tar = tar::Archive::new(zstd::Decoder::new(file).unwrap());
        tar.set_preserve_mtime(true);
        tar.unpack(&part).unwrap();
        fs::rename(&part, &done).unwrap();
    }
    done
}

/// The root of a wal-g or wal-e archive.
pub fn root(golden: &Path, name: &str) -> PathBuf {
    let dir = unpacked(golden, name);
    match WALE.iter().find(|(known, _)| *known == name) {
        Some((_, folder)) => dir.join("bucket").join(folder),
        None => dir.join(name),
    }
}

/// The names of all wal-g and wal-e archives.
pub fn all() -> impl Iterator<Item = &'static str> {
    WALG.iter().copied().chain(WALE.iter().map(|(name, _)| *name))
}

/// A writable copy of an archive, removed when dropped. File times are kept: they stand for Last-Modified.
pub struct Copy(tempfile::TempDir);

impl Copy {
    pub fn of(root: &Path) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        copy_tree(root, &dir.path().join("archive"));
        Copy(dir)
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("archive")
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            set_modified(&target, modified);
        }
    }
}

pub fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// The newest modification time below a directory, and two days: nothing counts as in flight then.
pub fn two_days_later(root: &Path) -> String {
    fn newest(dir: &Path) -> SystemTime {
        let times = fs::read_dir(dir).unwrap().map(|entry| {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                newest(&entry.path())
            } else {
                entry.metadata().unwrap().modified().unwrap()
            }
        });
        times.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
    let later = newest(root) + Duration::from_secs(2 * 86_400);
    jiff::Timestamp::try_from(later).unwrap().round(jiff::Unit::Second).unwrap().to_string()
}

/// What `damage.py` did; `None` where the archive offers nothing to damage that way.
pub fn damage(golden: &Path, kind: &str, dir: &Path, seed: u32, more: &[&str]) -> Option<Value> {
    let output = Command::new("python3")
        .arg(golden.join("damage.py"))
        .args([kind])
        .arg(dir)
        .args(["--seed", &seed.to_string()])
        .args(more)
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
        Some(3) => None,
        _ => panic!("damage.py {kind}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Names that a finding about a damage has to contain at least one of.
pub fn damaged_names(what: &Value) -> Vec<String> {
    let mut names = BTreeSet::new();
    for field in ["segment", "backup"] {
        names.extend(what[field].as_str().map(ToOwned::to_owned));
    }
    for field in ["removed", "changed", "added", "segments"] {
        let list = what[field].as_array().into_iter().flatten();
        names.extend(list.filter_map(Value::as_str).map(ToOwned::to_owned));
    }
    if let Some(timeline) = what["timeline"].as_u64() {
        names.insert(format!("{timeline:08X}.history"));
    }
    names.into_iter().collect()
}

/// A walproof process with an environment of its own: no settings of the machine leak in.
pub fn walproof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walproof"));
    let keep: Vec<(&str, Option<std::ffi::OsString>)> =
        ["PATH", "TMPDIR", "NO_PROXY", "no_proxy"].into_iter().map(|name| (name, std::env::var_os(name))).collect();
    command.env_clear();
    for (name, value) in keep {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env("HOME", env!("CARGO_TARGET_TMPDIR")).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Sets wal-g's own variables for the keys of an encrypted archive.
pub fn with_keys<'c>(command: &'c mut Command, golden: &Path, name: &str) -> &'c mut Command {
    match name {
        "walg-libsodium-pg15" => command
            .env("WALG_LIBSODIUM_KEY_PATH", golden.join("keys/walg-libsodium.hex"))
            .env("WALG_LIBSODIUM_KEY_TRANSFORM", "hex"),
        "walg-pgp-pg15" => command.env("WALG_PGP_KEY_PATH", golden.join("keys/walg-pgp-secret.asc")),
        "wale-gpg-pg14" => command.env("WALG_PGP_KEY_PATH", unpacked(golden, name).join("secret-test-key.asc")),
        _ => command,
    }
}

/// The first archive of a JSON report, with the exit code.
pub fn report(output: &Output) -> (Value, i32) {
    let code = output.status.code().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}), exit {code}: {}", String::from_utf8_lossy(&output.stderr)));
    (report["archives"][0].clone(), code)
}

/// Reads a whole file.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    File::open(path)?.read_to_end(&mut out)?;
    Ok(out)
}
