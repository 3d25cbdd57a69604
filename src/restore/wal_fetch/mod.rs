//! Fetching one file of WAL for a recovering server, so that the server never takes damage, a network fault or a wrong
//! address for the end of the archive.
//!
//! PostgreSQL believes what a `restore_command` says: any exit code from 1 to 125 is "there is no such file", and it
//! promotes; a segment that is cut or broken inside is the end of WAL to it, and it promotes, too. So a file is decoded
//! to its very end and checked before it is put in place, and "not there" is only said when the store said so about
//! an archive that is there.
#![allow(clippy::disallowed_methods)]

mod check;
mod find;
pub mod prefetch;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use find::Candidate;

use crate::codec::Limits;
use crate::fetch::{Fault, Problem, Source};
use crate::model::{CodecKind, WalFileName};
use crate::run::Cancel;
use crate::store::ReadOptions;

/// What the server that asks is, as far as it is known: its `pg_control` tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expect {
    /// Segments of another cluster are refused.
    pub system_identifier: Option<u64>,
    /// Segments of another size are refused.
    pub segment_size: Option<u64>,
}

/// The store's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fetched {
    /// The whole, checked file is in place.
    Delivered {
        /// Its bytes.
        bytes: u64,
        /// How its object was compressed.
        codec: CodecKind,
    },
    /// The archive is there and has no such file.
    Missing,
}

/// Why there is neither a file nor a "no".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The object is damaged, or cannot be decrypted with the keys at hand. Nothing was put in place.
    #[error("{0}")]
    Damaged(String),
    /// The store, the configuration, the credentials or the disk failed.
    #[error("{0}")]
    Failed(String),
    /// Stopped on request.
    #[error("stopped on request")]
    Stopped,
}

/// Largest segment there is, and more than any history file.
const BYTES_MAX: u64 = 1 << 30;

/// Puts a file of WAL in place: decoded, checked, written beside `dest`, brought to disk unless `dest` is one of a
/// server's own temporary files (which it brings to disk itself), and renamed. `dest` is untouched unless this says
/// [`Fetched::Delivered`].
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(
    source: &Source,
    name: &WalFileName,
    dest: &Path,
    expect: Expect,
    cancel: &Cancel,
) -> Result<Fetched, FetchError> {
    fetch_with(source, name, dest, expect, None, cancel).await
}

/// Whether a file must be on disk before it is in place.
///
/// PostgreSQL asks for these two names, never looks at them again after a crash, and syncs them itself before it gives
/// them the name of a segment (as far as it runs with `fsync`). To do it here would only keep redo waiting.
fn is_synced_by_server(dest: &Path) -> bool {
    dest.file_name().is_some_and(|name| name == "RECOVERYXLOG" || name == "RECOVERYHISTORY")
}

/// The same, with the codec that was seen last: its object is asked for before anything is listed.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch_with(
    source: &Source,
    name: &WalFileName,
    dest: &Path,
    expect: Expect,
    seen: Option<CodecKind>,
    cancel: &Cancel,
) -> Result<Fetched, FetchError> {
    let sync = !is_synced_by_server(dest);
    fetch_synced(source, name, (dest, sync), expect, seen, cancel).await
}

/// With the word on whether it must be on disk before it is in place.
async fn fetch_synced(
    source: &Source,
    name: &WalFileName,
    (dest, sync): (&Path, bool),
    expect: Expect,
    seen: Option<CodecKind>,
    cancel: &Cancel,
) -> Result<Fetched, FetchError> {
    let run = Run { source, name, dest, sync, expect, cancel };
    let mut bad = None;
    let mut tried = Vec::new();
    if let Some(codec) = seen {
        let likely = Candidate::new(0, name, codec);
        match run.attempt(&likely).await {
            Ok(Some(bytes)) => return Ok(Fetched::Delivered { bytes, codec }),
            Ok(None) => {}
            Err(FetchError::Stopped) => return Err(FetchError::Stopped),
            Err(error) => bad = Some(error),
        }
        tried.push(likely);
    }
    let (candidates, failed) = find::candidates(source, name).await?;
    bad = bad.or(failed);
    for candidate in candidates {
        if tried.contains(&candidate) {
            continue;
        }
        // Several objects may hold one segment, in several storages or codecs: a good one is good enough.
        match run.attempt(&candidate).await {
            Ok(Some(bytes)) => return Ok(Fetched::Delivered { bytes, codec: candidate.codec }),
            Ok(None) => {}
            Err(FetchError::Stopped) => return Err(FetchError::Stopped),
            // Damage says more than a failing store.
            Err(error) => {
                let is_damage = matches!(error, FetchError::Damaged(_));
                bad = bad.filter(|bad| matches!(bad, FetchError::Damaged(_)) || !is_damage).or(Some(error));
            }
        }
    }
    match bad {
        Some(error) => Err(error),
        None => {
            find::archive_is_there(source).await?;
            Ok(Fetched::Missing)
        }
    }
}

struct Run<'a> {
    source: &'a Source,
    name: &'a WalFileName,
    dest: &'a Path,
    sync: bool,
    expect: Expect,
    cancel: &'a Cancel,
}

impl Run<'_> {
    /// Fetches one object. `None`: it is not there.
    async fn attempt(&self, candidate: &Candidate) -> Result<Option<u64>, FetchError> {
        let key = &candidate.key;
        let stored = self.source.get(candidate.storage, key, ReadOptions::default(), self.cancel).await;
        let stored = match stored {
            Ok(stored) => stored,
            Err(Problem::Gone) => return Ok(None),
            Err(problem) => return Err(sorted(&key.to_string(), problem)),
        };
        let (source, name, dest, expect) = (self.source.clone(), *self.name, self.dest.to_owned(), self.expect);
        let (codec, key) = (candidate.codec, key.to_string());
        let written = blocking(move || {
            let limits = Limits::decoded(BYTES_MAX + 1);
            let mut opened =
                source.open(codec, Box::new(stored.reader), &limits).map_err(|problem| sorted(&key, problem))?;
            let mut temporary = Temporary::beside(&dest)?;
            let checked = check::copy(&name, &key, &mut opened.reader, temporary.file()?, expect)?;
            Ok((temporary, checked))
        });
        let (temporary, checked) = written.await?;
        // Data that ends early is the end of WAL, or damage: the archive tells, by whether it goes on.
        if let (Some(early), Some(next)) = (&checked.ends_early, &checked.next) {
            let (behind, _) = find::candidates(self.source, next).await?;
            let mut goes_on = false;
            for candidate in &behind {
                goes_on = goes_on || find::exists(self.source, candidate).await?;
            }
            if goes_on {
                let key = &candidate.key;
                return Err(FetchError::Damaged(format!("{key}: {early}, and {next} follows in the archive")));
            }
        }
        let (dest, sync) = (self.dest.to_owned(), self.sync);
        blocking(move || temporary.put(&dest, sync)).await?;
        Ok(Some(checked.bytes))
    }
}

/// Sorts what went wrong with an object into the two answers that a server understands.
fn sorted(key: &str, problem: Problem) -> FetchError {
    match problem.fault() {
        Fault::Stopped => FetchError::Stopped,
        Fault::Damaged | Fault::TooLarge | Fault::KeyMissing | Fault::WrongKey => {
            FetchError::Damaged(format!("{key}: {problem}"))
        }
        Fault::Gone | Fault::Refused | Fault::Failed => FetchError::Failed(format!("{key}: {problem}")),
    }
}

/// File work away from the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(FetchError::Failed(format!("could not be fetched: {error}"))),
    }
}

/// A file on its way, removed unless it is put in place.
struct Temporary {
    path: PathBuf,
    file: Option<File>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);
const MARK: &str = ".walproof-";

impl Temporary {
    fn beside(dest: &Path) -> Result<Self, FetchError> {
        use std::os::unix::fs::OpenOptionsExt;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut name = dest.file_name().unwrap_or_default().to_owned();
        name.push(format!("{MARK}{}-{number}", std::process::id()));
        let path = dest.with_file_name(name);
        let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        match opened {
            Ok(file) => Ok(Temporary { path, file: Some(file) }),
            Err(error) => Err(failed("create", &path, &error)),
        }
    }

    fn file(&mut self) -> Result<&mut File, FetchError> {
        self.file.as_mut().ok_or_else(|| FetchError::Failed("the file is closed".to_owned()))
    }

    fn put(mut self, dest: &Path, sync: bool) -> Result<(), FetchError> {
        if let Some(file) = self.file.take().filter(|_| sync) {
            file.sync_data().map_err(|error| failed("sync", &self.path, &error))?;
        }
        std::fs::rename(&self.path, dest).map_err(|error| failed("rename to", dest, &error))?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> FetchError {
    FetchError::Failed(format!("cannot {verb} {}: {error}", path.display()))
}

/// Removes what killed processes left beside a file.
pub fn sweep(dest: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let dir = match dest.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let Some(name) = dest.file_name() else { return };
    let prefix = [name.as_bytes(), MARK.as_bytes()].concat();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.as_bytes().strip_prefix(&prefix[..]) else { continue };
        let pid = std::str::from_utf8(rest).ok().and_then(|rest| rest.split('-').next()?.parse::<i32>().ok());
        if pid.is_some_and(|pid| pid > 1 && !is_alive(pid)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_alive(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}
