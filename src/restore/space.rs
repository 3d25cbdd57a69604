//! Whether the disk has room, before the first byte.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Plan, RestoreError};
use crate::model::Known;
use crate::report::bytes;

/// Refuses when the file systems of these directories together have less room than the plan needs. `used` bytes are
/// there from an interrupted attempt.
pub(super) fn check(plan: &Plan, dirs: &[&Path], used: u64) -> Result<(), RestoreError> {
    let (data, about) = match plan.data_bytes {
        Known::Value(size) => (size, ""),
        // Files are hardly ever smaller than their compressed form.
        Known::Unknown(_) => (plan.stored_bytes, "at least "),
    };
    let needed = data.saturating_add(plan.wal_bytes);
    let mut free: BTreeMap<u64, (u64, &Path)> = BTreeMap::new();
    for dir in dirs {
        let meta = dir.metadata().map_err(RestoreError::io("look at", dir))?;
        let stat = statvfs(*dir).map_err(|error| RestoreError::io("look at the file system of", dir)(error.into()))?;
        let there = stat.blocks_available() as u64 * stat.fragment_size() as u64;
        free.entry(meta.dev()).or_insert((there, dir));
    }
    let there = free.values().fold(used, |sum, (free, _)| sum.saturating_add(*free));
    if needed <= there {
        return Ok(());
    }
    let places: Vec<String> =
        free.values().map(|(free, dir)| format!("{} has {} free", dir.display(), bytes(*free))).collect();
    Err(RestoreError::Target(format!(
        "{} needs {about}{} ({} of files and {} of WAL until it is consistent), {}",
        plan.backup,
        bytes(needed),
        bytes(data),
        bytes(plan.wal_bytes),
        places.join(", ")
    )))
}

/// Bytes below a directory, as far as they can be seen. Links are not followed.
pub(super) fn used(dir: &Path) -> u64 {
    let mut sum = 0_u64;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            }
            sum = sum.saturating_add(meta.blocks().saturating_mul(512));
        }
    }
    sum
}
