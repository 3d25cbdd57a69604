//! State in a directory. Files appear whole, only their owner can read them, and no link is followed below the root.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::error::shown;
use super::store::Wanted;
use super::{Put, StateError, StateStore};
use crate::model::ObjectKey;
use crate::store::BoxFuture;

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What files are called until they are whole.
const TEMPORARY: &str = ".tmp-";

/// State in a directory, which is made when the first record is written.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// State in this directory. It may itself be reached through a link.
    ///
    /// # Errors
    /// `Config` if something else is there.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let root = std::path::absolute(path)
            .map_err(|error| StateError::io(format!("finding the state directory {}", plain(path)), error))?;
        match std::fs::metadata(&root) {
            Ok(meta) if !meta.is_dir() => {
                Err(StateError::Config(format!("the state at {} is a file, not a directory", plain(path))))
            }
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound) => {
                Err(StateError::io(format!("looking at the state directory {}", plain(path)), error))
            }
            _ => Ok(Directory { root }),
        }
    }

    /// The directory that holds a key's file, below a root that exists. `None`: it does not exist and was not to be
    /// made.
    fn parent(&self, parts: &[&str], create: bool) -> io::Result<Option<OwnedFd>> {
        let open = std::fs::OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(&self.root);
        let root = match open {
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.root)?;
                File::open(&self.root)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut at = OwnedFd::from(root);
        for part in parts {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            at = match openat(&at, *part, flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) if create => {
                    match mkdirat(&at, *part, Mode::from_bits_truncate(DIRECTORY_MODE as nix::libc::mode_t)) {
                        // Another run may have been faster.
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    sync(&at)?;
                    openat(&at, *part, flags, Mode::empty())?
                }
                Err(Errno::ENOENT) => return Ok(None),
                Err(Errno::ELOOP | Errno::ENOTDIR | Errno::EMLINK) => {
                    return Err(io::Error::other(format!("{part} is a link or a file, not a directory")));
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(at))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> io::Result<Put> {
        let (parts, name) = split(key)?;
        let Some(parent) = self.parent(&parts, true)? else { return Err(io::ErrorKind::NotFound.into()) };
        let temporary = format!("{TEMPORARY}{:016x}", rand::random::<u64>());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(FILE_MODE as nix::libc::mode_t);
        let mut file = File::from(openat(&parent, temporary.as_str(), flags, mode)?);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| {
            match linkat(&parent, temporary.as_str(), &parent, name, AtFlags::empty()) {
                Ok(()) => Ok(Put::Written),
                Err(Errno::EEXIST) => Ok(Put::Exists),
                // File systems without hard links: the name is still taken by one writer only.
                Err(Errno::EPERM | Errno::ENOTSUP | Errno::ENOSYS | Errno::EMLINK) => {
                    match openat(&parent, name, flags, mode) {
                        Ok(file) => {
                            let mut file = File::from(file);
                            file.write_all(bytes).and_then(|()| file.sync_all()).map(|()| Put::Written)
                        }
                        Err(Errno::EEXIST) => Ok(Put::Exists),
                        Err(error) => Err(error.into()),
                    }
                }
                Err(error) => Err(error.into()),
            }
        });
        // Its own file, whatever became of the record.
        let _ = unlinkat(&parent, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        sync(&parent)?;
        linked
    }

    fn read(&self, key: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let (parts, name) = split(key)?;
        let Some(parent) = self.parent(&parts, false)? else { return Ok(None) };
        // Not blocking: a pipe put there would wait for ever.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&parent, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::EMLINK) => return Err(io::Error::other("it is a link")),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
    }

    /// Names of plain files, or of folders, that a caller wants to see.
    fn names(&self, folder: &str, folders: bool, mut take: impl FnMut(String)) -> io::Result<()> {
        let parts: Vec<&str> = folder.split('/').collect();
        // Refuses links on the way; the names alone do no harm.
        if self.parent(&parts, false)?.is_none() {
            return Ok(());
        }
        for entry in std::fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let right = if folders { kind.is_dir() } else { kind.is_file() };
            if let (true, Ok(name)) = (right, entry.file_name().into_string())
                && !name.starts_with('.')
            {
                take(name);
            }
        }
        Ok(())
    }
}

impl StateStore for Directory {
    fn url(&self, key: &str) -> String {
        let path = if key.is_empty() { self.root.clone() } else { self.root.join(key) };
        format!("file://{}", plain(&path))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<Put, StateError>> {
        Box::pin(async move {
            let (this, name) = (self.clone(), key.to_owned());
            let put = blocking(move || this.put(&name, &bytes)).await;
            put.map_err(|error| StateError::io(format!("writing {}", self.url(key)), error))
        })
    }

    fn list<'a>(&'a self, folder: &'a str, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        Box::pin(async move {
            let (this, name) = (self.clone(), folder.to_owned());
            let (from, before) = (wanted.from.map(ToOwned::to_owned), wanted.before.map(ToOwned::to_owned));
            let found = blocking(move || {
                let wanted = Wanted { from: from.as_deref(), before: before.as_deref(), last: wanted.last };
                let mut kept = BTreeSet::new();
                this.names(&name, false, |name| {
                    if wanted.covers(&name) && wanted.last > 0 {
                        kept.insert(name);
                        if kept.len() > wanted.last {
                            kept.pop_first();
                        }
                    }
                })?;
                Ok(kept.into_iter().collect())
            });
            found.await.map_err(|error| StateError::io(format!("listing {}", self.url(folder)), error))
        })
    }

    fn folders<'a>(&'a self, folder: &'a str, first: usize) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        Box::pin(async move {
            let (this, name) = (self.clone(), folder.to_owned());
            let found = blocking(move || {
                let mut kept = BTreeSet::new();
                this.names(&name, true, |name| {
                    kept.insert(name);
                    if kept.len() > first {
                        kept.pop_last();
                    }
                })?;
                Ok(kept.into_iter().collect())
            });
            found.await.map_err(|error| StateError::io(format!("listing {}", self.url(folder)), error))
        })
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        Box::pin(async move {
            let (this, name) = (self.clone(), key.to_owned());
            let read = blocking(move || this.read(&name, bytes_max)).await;
            read.map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => StateError::TooLarge { key: shown(key), bytes_max },
                _ => StateError::io(format!("reading {}", self.url(key)), error),
            })
        })
    }
}

/// Cuts a key into folders and a name. Nothing in it may lead out of the root.
fn split(key: &str) -> io::Result<(Vec<&str>, &str)> {
    let mut parts: Vec<&str> = key.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
    if !parts.iter().all(plain) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no key of a state record"));
    }
    let name = parts.pop().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((parts, name))
}

/// Makes names in a directory last. Some file systems know no such thing.
fn sync(directory: &OwnedFd) -> io::Result<()> {
    match nix::unistd::fsync(directory) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOTSUP | Errno::EBADF) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A path for people.
fn plain(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    ObjectKey::new(path.as_os_str().as_bytes()).to_string()
}
