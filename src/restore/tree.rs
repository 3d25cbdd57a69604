//! A directory that is written into and never left: every component of a path is opened by itself, links are not
//! followed, whatever an archive calls its members.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat};

/// Open directories that are remembered; a cluster has one for each database.
const DIRS_MAX: usize = 200;

/// Whom files are handed over to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// One directory with everything below it.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<OwnedFd>,
    path: PathBuf,
    owner: Option<Owner>,
    dirs: Mutex<HashMap<Vec<u8>, Arc<OwnedFd>>>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Other,
}

impl Tree {
    /// Opens a directory that exists. It may be named through a link: whoever restores said so.
    pub fn open(path: &Path, owner: Option<Owner>) -> io::Result<Tree> {
        let root = File::options().read(true).open(path)?;
        if !root.metadata()?.is_dir() {
            return Err(io::Error::from(Errno::ENOTDIR));
        }
        let root = OwnedFd::from(root);
        give(&root, owner)?;
        Ok(Tree { root: Arc::new(root), path: path.to_owned(), owner, dirs: Mutex::default() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it, for messages.
    pub fn join(&self, rel: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(rel))
    }

    /// The directory itself.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Makes a directory and those above it, as far as they are not there.
    pub fn make_dir(&self, rel: &[u8]) -> io::Result<Arc<OwnedFd>> {
        self.dir(rel, true)
    }

    /// An empty file for writing: a new one, or what an interrupted attempt left.
    pub fn create(&self, rel: &[u8]) -> io::Result<File> {
        let (dir, name) = self.parent(rel, true)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = match openat(&dir, name, flags | OFlag::O_EXCL, mode) {
            Ok(file) => file,
            Err(Errno::EEXIST) => {
                // O_NONBLOCK: a named pipe must not hold us.
                let file = openat(&dir, name, flags | OFlag::O_NONBLOCK, mode)?;
                let stat = fstat(&file)?;
                if kind(&stat) != Kind::File || stat.st_nlink != 1 {
                    return Err(io::Error::other("something that is no plain file has its name"));
                }
                nix::unistd::ftruncate(&file, 0)?;
                file
            }
            Err(error) => return Err(error.into()),
        };
        give(&file, self.owner)?;
        Ok(File::from(file))
    }

    /// A file that is there, for reading and writing.
    pub fn modify(&self, rel: &[u8]) -> io::Result<Option<File>> {
        self.existing(rel, OFlag::O_RDWR)
    }

    /// A file that is there, for reading.
    pub fn read(&self, rel: &[u8]) -> io::Result<Option<File>> {
        self.existing(rel, OFlag::O_RDONLY)
    }

    fn existing(&self, rel: &[u8], access: OFlag) -> io::Result<Option<File>> {
        let Some((dir, name)) = missing(self.parent(rel, false))? else { return Ok(None) };
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if kind(&fstat(&file)?) != Kind::File {
            return Err(io::Error::other("something that is no plain file has its name"));
        }
        Ok(Some(File::from(file)))
    }

    /// What has this name, if anything.
    pub fn look(&self, rel: &[u8]) -> io::Result<Option<Kind>> {
        let Some((dir, name)) = missing(self.parent(rel, false))? else { return Ok(None) };
        match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a link, in place of one that an earlier attempt left.
    pub fn link(&self, target: &Path, rel: &[u8]) -> io::Result<()> {
        let (dir, name) = self.parent(rel, true)?;
        if let Ok(stat) = fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            && SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
        {
            unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)?;
        }
        symlinkat(target, &dir, name)?;
        if let Some(owner) = self.owner {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            nix::unistd::fchownat(&dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// The open directory that holds a path, and the path's last component.
    fn parent<'p>(&self, rel: &'p [u8], make: bool) -> io::Result<(Arc<OwnedFd>, &'p [u8])> {
        let (parent, name) = match rel.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&rel[..slash], &rel[slash + 1..]),
            None => (&rel[..0], rel),
        };
        check(name)?;
        Ok((self.dir(parent, make)?, name))
    }

    fn dir(&self, rel: &[u8], make: bool) -> io::Result<Arc<OwnedFd>> {
        if rel.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(open) = self.dirs.lock().unwrap_or_else(PoisonError::into_inner).get(rel) {
            return Ok(Arc::clone(open));
        }
        let mut at = Arc::clone(&self.root);
        for name in rel.split(|byte| *byte == b'/') {
            check(name)?;
            at = Arc::new(self.enter(&at, name, make)?);
        }
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if dirs.len() >= DIRS_MAX {
            dirs.clear();
        }
        dirs.insert(rel.to_vec(), Arc::clone(&at));
        Ok(at)
    }

    fn enter(&self, at: &OwnedFd, name: &[u8], make: bool) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(at, name, flags, Mode::empty()) {
            Ok(dir) => Ok(dir),
            Err(Errno::ENOENT) if make => {
                match mkdirat(at, name, Mode::S_IRWXU) {
                    // Another part may have been quicker.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let dir = openat(at, name, flags, Mode::empty())?;
                give(&dir, self.owner)?;
                Ok(dir)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn give(file: &impl AsFd, owner: Option<Owner>) -> io::Result<()> {
    if let Some(owner) = owner {
        fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    Ok(())
}

/// Names come here cleaned; this is the last line, should one not be.
pub(super) fn check(name: &[u8]) -> io::Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    }
    Ok(())
}

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    }
}

fn missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn nothing_outside_is_written_or_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        symlink(dir.path().join("secret"), root.join("direct")).unwrap();
        std::fs::hard_link(dir.path().join("secret"), root.join("hard")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        let tree = Tree::open(&root, None).unwrap();
        for path in
            ["../secret", "a/../../secret", "up/secret", "up/new", "direct", "hard", "pipe", "", "/a", "a//b", "a/./b"]
        {
            assert!(tree.create(path.as_bytes()).is_err(), "{path}");
        }
        for path in ["../secret", "up/secret", "direct", "pipe", "a"] {
            assert!(!matches!(tree.modify(path.as_bytes()), Ok(Some(_))), "{path}");
            assert!(!matches!(tree.read(path.as_bytes()), Ok(Some(_))), "{path}");
        }
        assert!(tree.make_dir(b"up/new").is_err());
        assert_eq!(std::fs::read(dir.path().join("secret")).unwrap(), b"s");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn files_and_directories_are_private_and_made_when_needed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(dir.path(), None).unwrap();
        tree.create(b"base/5/1259").unwrap().write_all(b"longer").unwrap();
        tree.create(b"base/5/1259").unwrap().write_all(b"new").unwrap();
        let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("base"), mode("base/5"), mode("base/5/1259")), (0o700, 0o700, 0o600));
        let mut text = String::new();
        tree.read(b"base/5/1259").unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "new");
        assert!(tree.modify(b"base/6/1").unwrap().is_none());
        assert_eq!(tree.look(b"base/5").unwrap(), Some(Kind::Directory));
        tree.link(Path::new("/one"), b"pg_tblspc/1").unwrap();
        tree.link(Path::new("/two"), b"pg_tblspc/1").unwrap();
        assert_eq!(tree.look(b"pg_tblspc/1").unwrap(), Some(Kind::Other));
        assert_eq!(std::fs::read_link(dir.path().join("pg_tblspc/1")).unwrap(), Path::new("/two"));
    }
}
