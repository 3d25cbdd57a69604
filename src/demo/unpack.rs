//! Puts a backup of the demo's own back into a directory: the standby starts from what was archived, so an archive
//! that the demo hands out has been restored once.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::objects::{BACKUPS, open};
use super::{DemoError, Result};

/// Unpacks all tars of a backup below `target`, which exists; the label and `pg_control` last.
pub(super) fn unpack(archive: &Path, backup: &str, target: &Path) -> Result<()> {
    let folder = archive.join(BACKUPS).join(backup).join("tar_partitions");
    let entries = std::fs::read_dir(&folder).map_err(DemoError::io("list", &folder))?;
    let mut tars: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let is_part = |path: &PathBuf| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"part_"));
    tars.sort_by_key(|path| (!is_part(path), path.clone()));
    for tar in tars {
        unpack_tar(&tar, target).map_err(DemoError::io("unpack", &tar))?;
    }
    Ok(())
}

fn unpack_tar(path: &Path, target: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(open(path).map_err(io::Error::other)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let mut place = target.to_owned();
        for component in name.components() {
            match component {
                Component::Normal(part) => place.push(part),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} leads out", name.display())));
                }
            }
        }
        if place == target {
            continue;
        }
        let mode = entry.header().mode()? & 0o777;
        if entry.header().entry_type().is_dir() {
            DirBuilder::new().recursive(true).mode(mode).create(&place)?;
        } else {
            if let Some(parent) = place.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            }
            let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&place)?;
            io::copy(&mut entry, &mut file)?;
        }
    }
    Ok(())
}
