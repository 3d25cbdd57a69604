//! What an interrupted restore leaves behind, so that the same call goes on where it ended: which backup of which
//! objects, and the tars that were unpacked to their end.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::{Owner, Tree};
use super::{Plan, RestoreError};

/// The directory below the target that holds it; gone when the restore is complete.
pub(super) const FOLDER: &str = ".walproof-restore";
const NOTE: &[u8] = b"attempt.json";
const NOTE_BYTES_MAX: u64 = 1 << 20;
/// Ends the list of a finished tar; without it, its writer was interrupted.
const END: &[u8] = b"\0end";
/// `pg_control`, until all else is there.
const CONTROL: &[u8] = b"pg_control";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    version: u32,
    backup: String,
    objects: String,
    tablespaces: BTreeMap<String, PathBuf>,
    /// What was written and not synced survives the end of a process, but not of the machine.
    boot: String,
}

/// An attempt under way. Holds a lock on the target.
#[derive(Debug)]
pub(super) struct Attempt {
    tree: Tree,
    _lock: File,
    /// It goes on with what an earlier one left.
    pub resumed: bool,
}

impl Attempt {
    /// Begins in an empty directory, or goes on in one that an attempt at the same backup left.
    pub fn begin(
        into: &Path,
        plan: &Plan,
        tablespaces: &BTreeMap<String, PathBuf>,
        owner: Option<Owner>,
        resume: bool,
    ) -> Result<Attempt, RestoreError> {
        make(into, owner)?;
        let note = Note {
            version: 1,
            backup: plan.backup.clone(),
            objects: plan.fingerprint().to_string(),
            tablespaces: tablespaces.clone(),
            boot: boot(),
        };
        let folder = into.join(FOLDER);
        let earlier = check(into, &folder, &note, resume)?;
        for (oid, dir) in tablespaces {
            make(dir, owner)?;
            if earlier.is_none() && !is_empty(dir)? {
                let dir = dir.display();
                return Err(RestoreError::Target(format!("{dir}, where tablespace {oid} would go, is not empty")));
            }
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(RestoreError::io("create", &folder))?;
        let tree = Tree::open(&folder, owner).map_err(RestoreError::io("open", &folder))?;
        let lock = tree.create(b"lock").map_err(RestoreError::io("create a lock in", &folder))?;
        if lock.try_lock().is_err() {
            return Err(RestoreError::Target(format!("{}: another restore is at work there", into.display())));
        }
        let trusted = earlier.as_ref().is_some_and(|earlier| !note.boot.is_empty() && earlier.boot == note.boot);
        if earlier.is_some() && !trusted {
            forget(&folder)?;
        }
        let attempt = Attempt { tree, _lock: lock, resumed: trusted };
        if !trusted {
            let text = serde_json::to_vec(&note).unwrap_or_default();
            attempt.write(NOTE, &text)?;
        }
        Ok(attempt)
    }

    fn write(&self, name: &[u8], bytes: &[u8]) -> Result<(), RestoreError> {
        let written = self.tree.create(name).and_then(|mut file| file.write_all(bytes));
        written.map_err(RestoreError::io("write", &self.tree.join(name)))
    }

    /// What an earlier attempt says of a tar that it unpacked to its end: the increments in it.
    pub fn finished(&self, step: usize, part: usize) -> Option<Vec<Vec<u8>>> {
        let mut text = Vec::new();
        self.tree.read(done(step, part).as_bytes()).ok()??.read_to_end(&mut text).ok()?;
        let list = text.strip_suffix(END)?;
        Some(list.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Records that a tar was unpacked to its end.
    pub fn finish(&self, step: usize, part: usize, increments: &[Vec<u8>]) -> Result<(), RestoreError> {
        let mut text = increments.join(&0);
        text.extend(END);
        self.write(done(step, part).as_bytes(), &text)
    }

    /// Keeps `pg_control` until all else is there.
    pub fn keep_control(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.write(CONTROL, bytes)
    }

    /// The `pg_control` that was kept.
    pub fn control(&self) -> Result<Option<Vec<u8>>, RestoreError> {
        let read = || {
            let Some(mut file) = self.tree.read(CONTROL)? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        read().map_err(RestoreError::io("read", &self.tree.join(CONTROL)))
    }

    /// Removes every trace of the attempt: the restore is complete.
    pub fn end(self) -> Result<(), RestoreError> {
        let folder = self.tree.path().to_owned();
        std::fs::remove_dir_all(&folder).map_err(RestoreError::io("remove", &folder))
    }
}

/// Makes a directory with those above it. All that are new belong to whom the files will: a server has to reach them.
fn make(dir: &Path, owner: Option<Owner>) -> Result<(), RestoreError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        DirBuilder::new().mode(0o700).create(dir).map_err(RestoreError::io("create", dir))?;
        if let Some(owner) = owner {
            let given = std::os::unix::fs::lchown(dir, Some(owner.uid), Some(owner.gid));
            given.map_err(RestoreError::io("change the owner of", dir))?;
        }
    }
    if dir.is_dir() {
        return Ok(());
    }
    Err(RestoreError::Target(format!("{}: not a directory", dir.display())))
}

fn done(step: usize, part: usize) -> String {
    format!("{step}-{part}.done")
}

/// Looks what is in the target: nothing, or an attempt that may go on.
fn check(into: &Path, folder: &Path, note: &Note, resume: bool) -> Result<Option<Note>, RestoreError> {
    let refuse = |why: String| Err(RestoreError::Target(format!("{}: {why}", into.display())));
    if is_empty(into)? {
        return Ok(None);
    }
    let text = File::open(folder.join("attempt.json")).and_then(|file| {
        let mut text = Vec::new();
        file.take(NOTE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    });
    let Ok(text) = text else {
        // Killed between making the folder and writing into it.
        let only_folder = std::fs::read_dir(into)
            .map_err(RestoreError::io("list", into))?
            .flatten()
            .all(|entry| entry.file_name() == FOLDER || entry.file_name() == "lost+found");
        return if only_folder {
            Ok(None)
        } else {
            refuse("is not empty; a restore needs a directory of its own".into())
        };
    };
    let Ok(earlier) = serde_json::from_slice::<Note>(&text) else {
        return refuse("holds a restore that another version of walproof began; empty it".into());
    };
    if !resume {
        return refuse(format!("holds an unfinished restore of {}; empty it", earlier.backup));
    }
    if earlier.backup != note.backup {
        return refuse(format!("holds an unfinished restore of {}, not of {}", earlier.backup, note.backup));
    }
    if earlier.objects != note.objects {
        let why = "holds an unfinished restore, and the backup's objects have changed since; empty it";
        return refuse(why.to_owned());
    }
    if earlier.tablespaces != note.tablespaces {
        return refuse("holds an unfinished restore with other places for tablespaces".into());
    }
    Ok(Some(earlier))
}

/// Whether nothing but a file system's own folder is in a directory.
fn is_empty(dir: &Path) -> Result<bool, RestoreError> {
    let entries = std::fs::read_dir(dir).map_err(RestoreError::io("list", dir))?;
    for entry in entries {
        if entry.map_err(RestoreError::io("list", dir))?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// After a restart of the machine nothing is sure to be on disk: all tars are unpacked again, over what is there.
fn forget(folder: &Path) -> Result<(), RestoreError> {
    for entry in std::fs::read_dir(folder).map_err(RestoreError::io("list", folder))?.flatten() {
        if entry.file_name() != "lock" {
            std::fs::remove_file(entry.path()).map_err(RestoreError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Names this run of the machine; empty where it has no such name.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
