//! Reading one file of a directory, without ever leaving the directory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::{blocking, fault};
use crate::model::ObjectKey;
use crate::run::Cancel;
use crate::store::{Limits, ObjectRead, ReadOptions, StoreError, StoreErrorKind};

/// Bytes asked of the system at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Opens a file and reads it in chunks.
pub(super) async fn open(
    root: &Path,
    key: ObjectKey,
    options: ReadOptions,
    limits: Arc<Limits>,
    cancel: Cancel,
) -> Result<ObjectRead, StoreError> {
    if options.version.is_some() {
        return Err(StoreError::new(StoreErrorKind::Unsupported, format!("{key}: a directory keeps no versions")));
    }
    let root = root.to_owned();
    let name = key.clone();
    let (file, size) = blocking(move || open_inside(&root, &name)).await?;
    let range = options.range.unwrap_or(0..size);
    let end = range.end.min(size);
    let state = Reading { file: Arc::new(file), key, at: range.start.min(end), end, limits, cancel };
    let stream = futures::stream::try_unfold(state, Reading::next).boxed();
    Ok(ObjectRead { size: Some(size), stream, checksums: Vec::new() })
}

struct Reading {
    file: Arc<File>,
    key: ObjectKey,
    at: u64,
    end: u64,
    limits: Arc<Limits>,
    cancel: Cancel,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        if self.at >= self.end {
            return Ok(None);
        }
        if self.cancel.is_set() {
            return Err(StoreError::new(StoreErrorKind::Cancelled, "stopped on request"));
        }
        let want = usize::try_from(self.end - self.at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let (file, key, at) = (Arc::clone(&self.file), self.key.clone(), self.at);
        // Allocated here and not there: an allocator that keeps memory for each thread would keep some for every thread
        // that ever read.
        let mut chunk = Vec::with_capacity(want);
        let chunk = blocking(move || {
            read_at(&file, &mut chunk, want, at).map_err(|error| {
                StoreError::new(StoreErrorKind::Network, format!("cannot read {key}: {error}")).because(error)
            })?;
            Ok(Bytes::from(chunk))
        })
        .await?;
        if chunk.is_empty() {
            let message = format!("{} became shorter while it was read: it ends at byte {}", self.key, self.at);
            return Err(StoreError::new(StoreErrorKind::Cut, message));
        }
        self.limits.pace(chunk.len(), &self.cancel).await?;
        self.at += chunk.len() as u64;
        Ok(Some((chunk, self)))
    }
}

/// Fills the room of a chunk, which nobody need fill with zeros before. The file is this reader's own, so its position
/// is, too.
fn read_at(mut file: &File, chunk: &mut Vec<u8>, bytes: usize, at: u64) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    file.take(bytes as u64).read_to_end(chunk)
}

/// Opens a file part by part, so that no part can be a link out of the directory, not even one that is put there
/// in between.
fn open_inside(root: &Path, key: &ObjectKey) -> Result<(File, u64), StoreError> {
    let impossible = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
    let parts: Vec<&[u8]> = key.as_bytes().split(|byte| *byte == b'/').collect();
    if parts.iter().any(|part| impossible(part)) {
        return Err(not_found(key, "no file can have this name"));
    }
    let mut at = OwnedFd::from(File::open(root).map_err(|error| fault(root, error))?);
    for (number, part) in parts.iter().enumerate() {
        // Without O_NONBLOCK, opening a named pipe would wait for a writer.
        let kind = if number + 1 < parts.len() { OFlag::O_DIRECTORY } else { OFlag::O_NONBLOCK };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | kind;
        at = openat(&at, *part, flags, Mode::empty()).map_err(|error| match error {
            Errno::ENOENT | Errno::ENOTDIR => not_found(key, "no such file"),
            Errno::ELOOP => not_found(key, "a symbolic link, which is never followed"),
            other => fault(&root.join(key.to_string()), io::Error::from(other)),
        })?;
    }
    let file = File::from(at);
    let meta = file.metadata().map_err(|error| fault(&root.join(key.to_string()), error))?;
    if !meta.is_file() {
        return Err(not_found(key, "not a regular file"));
    }
    Ok((file, meta.len()))
}

fn not_found(key: &ObjectKey, why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("{key}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_the_directory_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::fs::write(root.join("a/file"), "ok").unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        symlink(dir.path().join("secret"), root.join("direct")).unwrap();
        symlink("a", root.join("inside")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();

        let open = |key: &str| open_inside(&root, &key.into());
        assert_eq!(open("a/file").unwrap().1, 2);
        let absolute = format!("{}/secret", dir.path().display());
        for key in [
            "../secret",
            "a/../../secret",
            "up/secret",
            "direct",
            "inside/file",
            "pipe",
            "a",
            "a/",
            "",
            "/a/file",
            "a//file",
            "a/./file",
            "nul\0",
            "a/file/x",
            &absolute,
        ] {
            assert_eq!(open(key).unwrap_err().kind, StoreErrorKind::NotFound, "{key}");
        }
        // The directory itself may be named through a link.
        symlink(&root, dir.path().join("alias")).unwrap();
        assert!(open_inside(&dir.path().join("alias"), &"a/file".into()).is_ok());
    }
}
