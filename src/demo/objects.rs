//! The directory that stands for a bucket: objects appear whole or not at all.

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use serde::Serialize;

use super::{DemoError, Result};

pub(super) const BACKUPS: &str = "basebackups_005";
pub(super) const WAL: &str = "wal_005";
/// Of every compressed object.
pub(super) const EXTENSION: &str = "lz4";

#[derive(Debug, Clone)]
pub(super) struct Bucket {
    dir: PathBuf,
    /// Whether it was made here: then it is removed with its content.
    new: bool,
}

/// An object being written with lz4; it appears under its key with [`Upload::finish`].
pub(super) struct Upload {
    encoder: FrameEncoder<BufWriter<File>>,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Bucket {
    pub fn create(dir: &Path) -> Result<Self> {
        let new = !dir.exists();
        std::fs::create_dir_all(dir).map_err(DemoError::io("create", dir))?;
        if std::fs::read_dir(dir).map_err(DemoError::io("list", dir))?.next().is_some() {
            return Err(DemoError::NotEmpty(dir.to_owned()));
        }
        for folder in [BACKUPS, WAL] {
            let path = dir.join(folder);
            std::fs::create_dir(&path).map_err(DemoError::io("create", &path))?;
        }
        Ok(Bucket { dir: dir.to_owned(), new })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes everything back.
    pub fn remove(&self) {
        for folder in [BACKUPS, WAL] {
            let _ = std::fs::remove_dir_all(self.dir.join(folder));
        }
        if self.new {
            let _ = std::fs::remove_dir(&self.dir);
        }
    }

    pub fn put_json(&self, key: &str, content: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(content).map_err(|e| DemoError::Unexpected(e.to_string()))?;
        let (path, unfinished) = self.place(key)?;
        std::fs::write(&unfinished, bytes).map_err(DemoError::io("write", &unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(DemoError::io("rename", &unfinished))
    }

    pub fn upload(&self, key: &str) -> Result<Upload> {
        let (path, unfinished) = self.place(key)?;
        let file = File::create(&unfinished).map_err(DemoError::io("create", &unfinished))?;
        Ok(Upload { encoder: FrameEncoder::with_frame_info(frame(), BufWriter::new(file)), unfinished, path })
    }

    /// Compresses every finished file of the spool that is not in the archive yet. An object gets the time at which
    /// the server handed its file over, as if it had been uploaded then.
    pub fn ship(&self, spool: &Path, shipped: &mut BTreeSet<String>) -> Result<()> {
        for entry in std::fs::read_dir(spool).map_err(DemoError::io("list", spool))? {
            let entry = entry.map_err(DemoError::io("list", spool))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What is still being copied has a name that starts with a dot.
            if name.starts_with('.') || shipped.contains(&name) {
                continue;
            }
            let path = entry.path();
            let mut file = File::open(&path).map_err(DemoError::io("open", &path))?;
            let archived = file.metadata().and_then(|m| m.modified()).map_err(DemoError::io("look at", &path))?;
            let mut upload = self.upload(&format!("{WAL}/{name}.{EXTENSION}"))?;
            io::copy(&mut file, &mut upload).map_err(DemoError::io("compress", &path))?;
            upload.finish(Some(archived))?;
            shipped.insert(name);
        }
        Ok(())
    }

    fn place(&self, key: &str) -> Result<(PathBuf, PathBuf)> {
        let path = self.dir.join(key);
        let folder = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(folder).map_err(DemoError::io("create", folder))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = folder.join(format!(".{name}.unfinished"));
        Ok((path, unfinished))
    }
}

/// wal-g's: independent blocks of 4 MiB, a checksum of the content at the end, no size at the start.
fn frame() -> FrameInfo {
    FrameInfo::new().block_size(BlockSize::Max4MB).block_mode(BlockMode::Independent).content_checksum(true)
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

impl Upload {
    /// Completes the object; its size in bytes.
    pub fn finish(self, modified: Option<SystemTime>) -> Result<u64> {
        let (unfinished, path) = (self.unfinished, self.path);
        let failed = |e: io::Error| DemoError::io("write", &unfinished)(e);
        let buffered = self.encoder.finish().map_err(|e| failed(io::Error::other(e)))?;
        let file = buffered.into_inner().map_err(|e| failed(e.into_error()))?;
        if let Some(modified) = modified {
            file.set_times(FileTimes::new().set_modified(modified)).map_err(failed)?;
        }
        let bytes = file.metadata().map_err(failed)?.len();
        std::fs::rename(&unfinished, &path).map_err(failed)?;
        Ok(bytes)
    }
}

/// Reads an object of the archive, decoded and checked.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let file = File::open(path).map_err(DemoError::io("open", path))?;
    let (_, codec) = crate::model::CodecKind::split(path.file_name().unwrap_or_default().as_encoded_bytes());
    crate::codec::decoder(codec, Box::new(file), &crate::codec::Limits::default())
        .map_err(|e| DemoError::io("decode", path)(io::Error::other(e)))
}
