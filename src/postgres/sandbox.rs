use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use super::{Identity, PostgresError, Result};

const PREFIX: &str = "walproof-sandbox-";
/// What a sandbox is called until its lock is held, so that nobody takes it for a dead one.
const UNBORN: &str = "walproof-unborn-";
const SOCKETS: &str = "walproof-s-";
const LOCK: &str = "lock";
/// Names the socket directory that lies outside because the sandbox's own path is too long for a socket.
const SOCKET_NOTE: &str = "socket-dir";
/// The system's limit is 104 to 108 bytes with its terminator; `/.s.PGSQL.5432` and a number come behind the directory.
const SOCKET_DIR_BYTES_MAX: usize = 80;

/// A private directory for a server and its files.
///
/// It is removed when the last clone of this handle goes, also on a panic. Its owner holds a file lock for as long as
/// it lives, which the kernel gives back even after `SIGKILL`: so the next [`Sandbox::create`] in the same place knows
/// which sandboxes are dead, ends what still runs in them and removes them.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    identity: Identity,
    keep: AtomicBool,
    sockets: AtomicU32,
    /// Never read: held for its lock.
    _lock: File,
}

impl Sandbox {
    /// Makes a new one below `base` (else the system's directory for temporary files) and removes dead ones there.
    ///
    /// # Errors
    /// `Io` if the directory cannot be made or locked.
    pub fn create(base: Option<&Path>, identity: Identity) -> Result<Self> {
        let base = base.map_or_else(std::env::temp_dir, Path::to_owned);
        let base = base.canonicalize().map_err(PostgresError::io("use", &base))?;
        reachable(&base, &identity)?;
        sweep(&base);
        // The server's user must be able to walk through, but not to look around or to rename anything.
        let mode = if identity.is_switched() { 0o711 } else { 0o700 };
        let unborn = make_unique(&base, UNBORN, mode)?;
        let root = PathBuf::from(unborn.to_string_lossy().replace(UNBORN, PREFIX));
        let lock_path = unborn.join(LOCK);
        let lock = File::create(&lock_path).map_err(PostgresError::io("create", &lock_path))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::Error(e) => PostgresError::io("lock", &lock_path)(e),
            TryLockError::WouldBlock => PostgresError::io("lock", &lock_path)(std::io::ErrorKind::WouldBlock.into()),
        })?;
        std::fs::rename(&unborn, &root).map_err(PostgresError::io("rename", &unborn))?;
        let (keep, sockets) = (AtomicBool::new(false), AtomicU32::new(0));
        Ok(Sandbox(Arc::new(Inner { root, identity, keep, sockets, _lock: lock })))
    }

    /// Where it is. Absolute, without links.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Whom its server runs as.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Makes a directory in it (mode 0700) that belongs to the server's user. `name` is one path component.
    ///
    /// # Errors
    /// `Io` if it cannot be made.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.root.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(PostgresError::io("create", &path))?;
        self.0.identity.give(&path)?;
        Ok(path)
    }

    /// Leaves the directory behind when the last handle goes, under another name that no later run removes.
    /// Call it on success only, where the user asked for the files.
    pub fn keep(&self) {
        self.0.keep.store(true, Ordering::Relaxed);
    }

    /// A new directory for a server's socket, inside if its path is short enough.
    pub(crate) fn socket_dir(&self) -> Result<PathBuf> {
        let number = self.0.sockets.fetch_add(1, Ordering::Relaxed);
        let inside = format!("s{number}");
        if self.0.root.as_os_str().len() + 1 + inside.len() <= SOCKET_DIR_BYTES_MAX {
            return self.dir(&inside);
        }
        let mut refused = None;
        for base in [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")] {
            if base.as_os_str().len() + 1 + SOCKETS.len() + 20 > SOCKET_DIR_BYTES_MAX {
                continue;
            }
            match make_unique(&base, SOCKETS, 0o700) {
                Ok(dir) => {
                    let note = self.0.root.join(format!("{SOCKET_NOTE}{number}"));
                    std::fs::write(&note, dir.as_os_str().as_encoded_bytes())
                        .map_err(PostgresError::io("write", &note))?;
                    self.0.identity.give(&dir)?;
                    return Ok(dir);
                }
                Err(e) => refused = Some(e),
            }
        }
        Err(refused.unwrap_or_else(|| PostgresError::NotUsable {
            path: self.0.root.clone(),
            reason: "the path is too long for a socket, and there is no shorter place for one".into(),
        }))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Relaxed) {
            remove_sockets(&self.root);
            let kept = self.root.to_string_lossy().replace(PREFIX, "walproof-kept-");
            let _ = std::fs::remove_file(self.root.join(LOCK));
            let _ = std::fs::rename(&self.root, kept);
        } else {
            remove(&self.root);
        }
    }
}

/// Removes the sandboxes below `base` whose owners are dead, and ends the servers that still run in them.
/// Returns what was removed. Whatever cannot be removed stays for the next run.
pub fn sweep(base: &Path) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.as_encoded_bytes();
        let unborn = name.starts_with(UNBORN.as_bytes());
        if !unborn && !name.starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // In a directory that others can write to, nothing but our own directories is touched.
        let Ok(meta) = path.symlink_metadata() else { continue };
        if !meta.is_dir() || meta.uid() != Uid::effective().as_raw() {
            continue;
        }
        if unborn {
            let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > Duration::from_secs(3600)) && remove(&path) {
                removed.push(path);
            }
            continue;
        }
        // Held until the directory is gone: of two runs that sweep at once, one does.
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_err() => continue,
            Ok(lock) => Some(lock),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(_) => continue,
        };
        if end_servers(&path) && remove(&path) {
            removed.push(path);
        }
        drop(lock);
    }
    removed
}

/// Ends every server whose data directory lies in a dead sandbox. Only processes that provably work there are
/// signalled: a number in a file may by now belong to somebody else. False if one may be alive still.
fn end_servers(root: &Path) -> bool {
    let mut all_gone = true;
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let data = entry.path();
        let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else { continue };
        let Some(pid) = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 1)
        else {
            continue;
        };
        let (pid, cwd) = (Pid::from_raw(pid), PathBuf::from(format!("/proc/{pid}/cwd")));
        let works_here = || std::fs::read_link(&cwd).is_ok_and(|dir| dir == data);
        let alive = || kill(pid, None).is_ok();
        for (round, signal) in [(100, Signal::SIGQUIT), (40, Signal::SIGKILL)] {
            if works_here() {
                let _ = kill(pid, signal);
            }
            let mut polls = 0;
            // Without /proc nothing is signalled, but a server whose supervisor saw its owner die is on its way out.
            while (works_here() || (!Path::new("/proc/self").exists() && alive())) && polls < round {
                std::thread::sleep(Duration::from_millis(50));
                polls += 1;
            }
        }
        all_gone &= !works_here();
    }
    all_gone
}

/// Removes a sandbox and the socket directories it has elsewhere. A process that is just ending may still write:
/// so several attempts.
fn remove(root: &Path) -> bool {
    remove_sockets(root);
    for _ in 0..20 {
        match std::fs::remove_dir_all(root) {
            Ok(()) => return true,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return true,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    false
}

fn remove_sockets(root: &Path) {
    use std::os::unix::ffi::OsStringExt;
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(SOCKET_NOTE.as_bytes())
            && let Ok(bytes) = std::fs::read(entry.path())
        {
            let dir = PathBuf::from(std::ffi::OsString::from_vec(bytes));
            if dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(SOCKETS.as_bytes())) {
                let _ = std::fs::remove_dir_all(dir);
            }
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether the server's user can walk to a directory at all: below somebody's home it often cannot.
fn reachable(base: &Path, identity: &Identity) -> Result<()> {
    if !identity.is_switched() {
        return Ok(());
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cd -- \"$1\"", "sh"]).arg(base).current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    identity.apply(&mut command);
    let unusable = |reason| PostgresError::NotUsable { path: base.to_owned(), reason };
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(unusable(format!(
            "user {:?}, whom PostgreSQL must run as, cannot enter it (or a directory above it)",
            identity.name()
        ))),
        Err(e) => Err(unusable(format!("cannot run a program as user {:?}: {e}", identity.name()))),
    }
}

/// A new directory with an unguessable enough name; never one that exists.
fn make_unique(base: &Path, prefix: &str, mode: u32) -> Result<PathBuf> {
    let mut last = None;
    for _ in 0..100 {
        let path = base.join(format!("{prefix}{:012x}", rand::random::<u64>() & 0xFFFF_FFFF_FFFF));
        match DirBuilder::new().mode(mode).create(&path) {
            Ok(()) => {
                // The process's umask may have taken away what `mode` gives.
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                    .map_err(PostgresError::io("set the mode of", &path))?;
                return Ok(path);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => last = Some((path, e)),
            Err(e) => return Err(PostgresError::io("create", &path)(e)),
        }
    }
    let (path, e) = last.unwrap_or_else(|| (base.to_owned(), std::io::ErrorKind::AlreadyExists.into()));
    Err(PostgresError::io("create", &path)(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        base
    }

    fn sandbox(base: &Path) -> Sandbox {
        Sandbox::create(Some(base), Identity::resolve(None).unwrap()).unwrap()
    }

    fn names(base: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn goes_with_its_last_handle() {
        let base = base();
        let first = sandbox(base.path());
        let second = first.clone();
        let data = first.dir("data").unwrap();
        assert_eq!(data.metadata().unwrap().uid(), first.identity().uid());
        drop(first);
        assert!(data.exists());
        drop(second);
        assert!(names(base.path()).is_empty());
    }

    #[test]
    fn is_kept_when_asked_and_not_swept() {
        let base = base();
        let kept = sandbox(base.path());
        kept.dir("data").unwrap();
        kept.keep();
        drop(kept);
        assert!(sweep(base.path()).is_empty());
        assert!(names(base.path())[0].starts_with("walproof-kept-"));
    }

    #[test]
    fn only_dead_ones_are_swept() {
        let base = base();
        let alive = sandbox(base.path());
        let dead = base.path().join(format!("{PREFIX}dead"));
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();
        let elsewhere = base.path().join("somebody-elses");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(dead.join(format!("{SOCKET_NOTE}0")), elsewhere.as_os_str().as_encoded_bytes()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, base.path().join(format!("{PREFIX}link"))).unwrap();
        std::fs::create_dir(base.path().join(format!("{UNBORN}young"))).unwrap();
        // Names a process that lives but does not work there: this test.
        std::fs::create_dir(dead.join("data")).unwrap();
        std::fs::write(dead.join("data/postmaster.pid"), std::process::id().to_string()).unwrap();
        assert_eq!(sweep(base.path()), [dead]);
        assert!(alive.root().exists() && elsewhere.exists());
    }

    #[test]
    fn a_place_that_the_user_cannot_reach_is_named() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let identity = Identity::resolve(None).unwrap();
        if identity.is_switched() {
            let message = Sandbox::create(Some(base.path()), identity).unwrap_err().to_string();
            assert!(message.contains("cannot enter it"), "{message}");
        }
    }

    #[test]
    fn a_long_path_gets_its_socket_elsewhere() {
        let base = base();
        let long = base.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let sandbox = sandbox(&long);
        let socket = sandbox.socket_dir().unwrap();
        assert!(socket.as_os_str().len() <= SOCKET_DIR_BYTES_MAX, "{socket:?}");
        drop(sandbox);
        assert!(!socket.exists());
    }
}
