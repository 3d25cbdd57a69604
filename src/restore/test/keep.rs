//! Leaves a restored cluster behind, where the user asked for it.

use std::path::{Path, PathBuf};

use crate::postgres::{PostgresError, Result, Sandbox};
use crate::restore::Restored;

/// Moves the data directory and its tablespaces out of the sandbox into `keep/NAME`, and mends the links between them.
///
/// # Errors
/// The file system refuses; what could not be moved goes with the sandbox.
pub(super) fn keep(sandbox: &Sandbox, data: &Path, restored: &Restored, keep: &Path, name: &str) -> Result<PathBuf> {
    let home = free_name(keep, name);
    std::fs::create_dir(&home).map_err(PostgresError::io("create", &home))?;
    sandbox.identity().give(&home)?;
    let kept = home.join("data");
    std::fs::rename(data, &kept).map_err(PostgresError::io("move", data))?;
    for (oid, from) in &restored.tablespaces {
        let to = home.join(format!("tablespace_{oid}"));
        std::fs::rename(from, &to).map_err(PostgresError::io("move", from))?;
        let link = kept.join("pg_tblspc").join(oid);
        std::fs::remove_file(&link).map_err(PostgresError::io("replace", &link))?;
        std::os::unix::fs::symlink(&to, &link).map_err(PostgresError::io("link", &link))?;
        sandbox.identity().give(&link)?;
    }
    Ok(kept)
}

/// The backup's name, with a number behind it if an earlier test left something.
fn free_name(keep: &Path, name: &str) -> PathBuf {
    let mut path = keep.join(name);
    let mut number = 2;
    while path.symlink_metadata().is_ok() {
        path = keep.join(format!("{name}.{number}"));
        number += 1;
    }
    path
}
