//! What comes after the last tar: directories that backups leave out, links, settings, a look whether all is there,
//! and `pg_control` as the very last file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};

use super::part::{NEVER, Place, Shared};
use super::tree::Tree;
use super::wanted::{CONTROL, LABEL, TABLESPACE_MAP, Wanted};
use super::{Plan, RestoreError};
use crate::model::PgMajor;
use crate::wal::parse_tablespace_map;
use crate::wal::{ControlFile, ControlProblem};

/// Directories that a server wants and whose contents no backup needs to hold.
const DIRECTORIES: &[&str] = &[
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
];
const MAP_BYTES_MAX: u64 = 1 << 20;

/// Before all else: is what the list names there? Increments are looked up in what the tars held, since their files
/// came from an ancestor.
pub(super) fn check(
    place: &Place,
    wanted: &Wanted,
    missing_increments: Vec<Vec<u8>>,
    control: bool,
) -> Result<(), RestoreError> {
    let mut missing: BTreeSet<Vec<u8>> = missing_increments.into_iter().collect();
    let mut count = missing.len() as u64;
    for path in wanted.paths() {
        if NEVER.contains(&path) || path == CONTROL || path == LABEL || path == TABLESPACE_MAP {
            continue;
        }
        let Some((tree, rel)) = place.of(path) else { continue };
        if tree.look(rel).map_err(RestoreError::io("look at", &tree.join(rel)))?.is_none() {
            count += 1;
            if missing.len() < 100 {
                missing.insert(path.to_vec());
            }
        }
    }
    if !control {
        count += 1;
        missing.insert(CONTROL.to_vec());
    }
    match missing.first() {
        None => Ok(()),
        Some(first) => Err(RestoreError::FilesMissing { count, first: first.escape_ascii().to_string() }),
    }
}

/// Reads the `pg_control` that was kept. One of an unknown version is taken as it is; `None` then.
pub(super) fn control(plan: &Plan, bytes: &[u8]) -> Result<Option<ControlFile>, RestoreError> {
    let damaged = |what: String| Err(RestoreError::Damaged { key: "global/pg_control".to_owned(), what });
    let control = match ControlFile::parse(bytes) {
        Ok(control) => control,
        Err(ControlProblem::Version(_) | ControlProblem::BigEndian) => return Ok(None),
        Err(problem) => return damaged(problem.to_string()),
    };
    match plan.system_identifier {
        Some(expected) if expected != control.system_id => {
            damaged(format!("is of system {}, the backup is of system {expected}", control.system_id))
        }
        _ => Ok(Some(control)),
    }
}

/// Makes what a server needs and backups lack. Gives notes for people.
pub(super) fn complete(
    shared: &Shared,
    plan: &Plan,
    tablespaces: &BTreeMap<String, PathBuf>,
    control: Option<&ControlFile>,
) -> Result<Vec<String>, RestoreError> {
    let data = &shared.place.data;
    let mut notes = Vec::new();
    let wal = if plan.pg_major.is_some_and(|major| (900..1000).contains(&major)) { "pg_xlog" } else { "pg_wal" };
    let wal_status = format!("{wal}/archive_status");
    for dir in DIRECTORIES.iter().copied().chain([wal_status.as_str()]) {
        data.make_dir(dir.as_bytes()).map_err(RestoreError::io("create", &data.path().join(dir)))?;
    }
    for (oid, dir) in tablespaces {
        let link = format!("pg_tblspc/{oid}");
        data.link(dir, link.as_bytes()).map_err(RestoreError::io("link", &data.path().join(&link)))?;
    }
    tablespace_map(data, tablespaces, &mut notes)?;
    settings(data, control, &mut notes)?;
    for tree in shared.place.spaces.values().chain([data]) {
        fchmod(tree.root(), Mode::S_IRWXU)
            .map_err(|error| RestoreError::io("set the mode of", tree.path())(error.into()))?;
    }
    Ok(notes)
}

/// The map names places on the source host, and the server makes its links after it: it has to name ours.
fn tablespace_map(
    data: &Tree,
    tablespaces: &BTreeMap<String, PathBuf>,
    notes: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let path = data.join(TABLESPACE_MAP);
    let Some(file) = data.read(TABLESPACE_MAP).map_err(RestoreError::io("read", &path))? else { return Ok(()) };
    let mut text = Vec::new();
    file.take(MAP_BYTES_MAX).read_to_end(&mut text).map_err(RestoreError::io("read", &path))?;
    let entries = parse_tablespace_map(&text).map_err(|line| RestoreError::Damaged {
        key: "tablespace_map".to_owned(),
        what: format!("line {line} is not an OID and a path"),
    })?;
    for entry in entries {
        if !tablespaces.contains_key(&entry.oid.to_string()) {
            notes.push(format!(
                "tablespace {} is named by tablespace_map only, its files stay in pg_tblspc/{0}",
                entry.oid
            ));
        }
    }
    let mut map = Vec::new();
    for (oid, dir) in tablespaces {
        map.extend(oid.as_bytes());
        map.push(b' ');
        for byte in dir.as_os_str().as_bytes() {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                map.push(b'\\');
            }
            map.push(*byte);
        }
        map.push(b'\n');
    }
    data.create(TABLESPACE_MAP).and_then(|mut file| file.write_all(&map)).map_err(RestoreError::io("write", &path))
}

/// Configuration that the backup does not hold: wal-e leaves it out, some distributions keep it elsewhere.
fn settings(data: &Tree, control: Option<&ControlFile>, notes: &mut Vec<String>) -> Result<(), RestoreError> {
    let mut main = "# Written by walproof: the backup holds no postgresql.conf.\n".to_owned();
    if let Some(control) = control {
        // Replay with hot standby needs at least what the source had.
        let senders = control.max_wal_senders.map(|senders| ("max_wal_senders", senders));
        let known = [
            ("max_connections", control.max_connections),
            ("max_worker_processes", control.max_worker_processes),
            ("max_prepared_transactions", control.max_prepared_transactions),
            ("max_locks_per_transaction", control.max_locks_per_transaction),
        ];
        for (name, value) in known.into_iter().chain(senders) {
            let _ = writeln!(main, "{name} = {value}");
        }
    }
    let hba = "# Written by walproof: the backup holds no pg_hba.conf.\nlocal all all peer\n";
    let ident = "# Written by walproof: the backup holds no pg_ident.conf.\n";
    let mut written = Vec::new();
    for (name, text) in [("postgresql.conf", main.as_str()), ("pg_hba.conf", hba), ("pg_ident.conf", ident)] {
        let path = data.path().join(name);
        if data.look(name.as_bytes()).map_err(RestoreError::io("look at", &path))?.is_none() {
            let write = data.create(name.as_bytes()).and_then(|mut file| file.write_all(text.as_bytes()));
            write.map_err(RestoreError::io("write", &path))?;
            written.push(name);
        }
    }
    if !written.is_empty() {
        notes.push(format!("the backup holds no {}: minimal ones were written", written.join(", ")));
    }
    Ok(())
}

/// Everything to disk: one call for each file system instead of one for each file.
pub(super) fn sync(place: &Place) -> Result<(), RestoreError> {
    for tree in place.spaces.values().chain([&place.data]) {
        let failed = |error: std::io::Error| RestoreError::io("sync", tree.path())(error);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        nix::unistd::syncfs(tree.root()).map_err(|error| failed(error.into()))?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        sync_below(tree.path()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync_below(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => sync_below(&entry.path())?,
            kind if kind.is_file() => std::fs::File::open(entry.path())?.sync_all()?,
            _ => {}
        }
    }
    std::fs::File::open(dir)?.sync_all()
}

/// The last file: from here on a server would start.
pub(super) fn write_control(data: &Tree, bytes: &[u8], sync: bool) -> Result<(), RestoreError> {
    let path = data.join(CONTROL);
    let write = || {
        let mut file = data.create(CONTROL)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
            nix::unistd::fsync(data.make_dir(b"global")?)?;
        }
        Ok(())
    };
    write().map_err(RestoreError::io("write", &path))
}

/// Recovery settings, as lines for `postgresql.auto.conf` and an empty `recovery.signal`, or a `recovery.conf` before 12.
pub(super) fn recovery(data: &Tree, major: Option<u32>, lines: &[(String, String)]) -> Result<(), RestoreError> {
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    let old = major.is_some_and(|major| !(u32::from(PgMajor::V12.number())..900).contains(&major));
    let name: &[u8] = if old { b"recovery.conf" } else { b"postgresql.auto.conf" };
    let path = data.join(name);
    let write = || {
        let mut whole = Vec::new();
        if let (false, Some(mut file)) = (old, data.read(name)?) {
            file.read_to_end(&mut whole)?;
            if whole.last().is_some_and(|last| *last != b'\n') {
                whole.push(b'\n');
            }
        }
        whole.extend(text.as_bytes());
        data.create(name)?.write_all(&whole)?;
        if !old {
            data.create(b"recovery.signal")?;
        }
        Ok(())
    };
    write().map_err(RestoreError::io("write", &path))
}

/// Where tablespaces go: as asked for, else beside the data directory.
pub(super) fn places(plan: &Plan, into: &Path) -> BTreeMap<String, PathBuf> {
    let mut beside = into.as_os_str().to_owned();
    beside.push("_tblspc");
    let beside = PathBuf::from(beside);
    let place = |space: &super::Space| space.to.clone().unwrap_or_else(|| beside.join(&space.oid));
    plan.tablespaces.iter().map(|space| (space.oid.clone(), place(space))).collect()
}
