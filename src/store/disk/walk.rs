//! Walks a directory tree in the byte order of whole keys, with bounded memory.
//!
//! Key order is not directory order: `a.b` lies between `a!` and `a/c`. Sorting each directory's entries by name,
//! a subdirectory with its `/`, and going down at once gives exactly the key order.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::resume::Resume;
use crate::model::{ObjectKey, ObjectRow, StorageClass, Timestamp};

/// Bytes of names kept of one directory; what does not fit is read again later.
const WINDOW_BYTES_MAX: usize = 24 << 20;
/// What a name costs beside its bytes.
const NAME_OVERHEAD_BYTES: usize = 32;
/// Bytes of names kept of all directories above the current place.
const STACK_BYTES_MAX: usize = 64 << 20;

/// What a listing shows next.
#[derive(Debug)]
pub(super) enum Shown {
    Row(ObjectRow),
    Prefix(ObjectKey),
}

/// An error of the file system, with the place where it happened.
#[derive(Debug)]
pub(super) struct WalkError {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

/// A walk that can be left and gone on with.
#[derive(Debug)]
pub(super) struct Walker {
    root: PathBuf,
    prefix: Vec<u8>,
    delimiter: bool,
    resume: Resume,
    stack: Vec<Frame>,
    window_bytes_max: usize,
    peeked: Option<Shown>,
}

/// One directory on the way to the current place.
#[derive(Debug)]
struct Frame {
    /// Its key with the final `/`; empty for the root.
    dir: Vec<u8>,
    window: Window,
}

/// The next names of a directory in order, subdirectories with a final `/`.
#[derive(Debug, Default)]
struct Window {
    names: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// There are more names behind the last one here.
    more: bool,
    /// The last name taken out.
    last: Vec<u8>,
}

impl Walker {
    pub(super) fn new(root: PathBuf, prefix: Vec<u8>, delimiter: bool, resume: Resume) -> Self {
        Walker {
            root,
            prefix,
            delimiter,
            resume,
            stack: vec![Frame { dir: Vec::new(), window: Window { more: true, ..Window::default() } }],
            window_bytes_max: WINDOW_BYTES_MAX,
            peeked: None,
        }
    }

    /// Takes the next object or folded prefix.
    pub(super) fn next(&mut self) -> Result<Option<Shown>, WalkError> {
        match self.peeked.take() {
            Some(shown) => Ok(Some(shown)),
            None => self.step(),
        }
    }

    /// Whether there is a next one.
    pub(super) fn has_next(&mut self) -> Result<bool, WalkError> {
        if self.peeked.is_none() {
            self.peeked = self.step()?;
        }
        Ok(self.peeked.is_some())
    }

    fn step(&mut self) -> Result<Option<Shown>, WalkError> {
        loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            let Some(name) = frame.window.pop() else {
                if frame.window.more {
                    self.refill()?;
                } else {
                    self.stack.pop();
                }
                continue;
            };
            let key = [&frame.dir[..], &name[..]].concat();
            if key.ends_with(b"/") {
                let inside = key.starts_with(&self.prefix) || self.prefix.starts_with(&key);
                if inside && !self.resume.passed_all(&key) {
                    self.go_down(key);
                }
                continue;
            }
            if !key.starts_with(&self.prefix) || self.resume.passed(&key) {
                continue;
            }
            let Some(row) = self.stat(key)? else { continue };
            if let Some(folded) = self.fold(row.key.as_bytes()) {
                self.stack.retain(|frame| !frame.dir.starts_with(&folded));
                self.resume = Resume::Folded(folded.clone());
                return Ok(Some(Shown::Prefix(ObjectKey::new(folded))));
            }
            return Ok(Some(Shown::Row(row)));
        }
    }

    /// The common prefix that hides this key in a listing with a delimiter.
    fn fold(&self, key: &[u8]) -> Option<Vec<u8>> {
        let behind = self.delimiter.then(|| key.get(self.prefix.len()..)).flatten()?;
        let slash = behind.iter().position(|byte| *byte == b'/')?;
        key.get(..self.prefix.len() + slash + 1).map(<[u8]>::to_vec)
    }

    fn go_down(&mut self, dir: Vec<u8>) {
        let mut kept: usize = self.stack.iter().map(|frame| frame.window.bytes).sum();
        for frame in &mut self.stack {
            if kept <= STACK_BYTES_MAX {
                break;
            }
            kept -= frame.window.bytes;
            frame.window.forget();
        }
        self.stack.push(Frame { dir, window: Window { more: true, ..Window::default() } });
    }

    /// Reads the next names of the top directory. One that vanished since its name was read is empty.
    fn refill(&mut self) -> Result<(), WalkError> {
        let Some(frame) = self.stack.last_mut() else { return Ok(()) };
        let path = path_of(&self.root, &frame.dir);
        let is_root = frame.dir.is_empty();
        match frame.window.read(&path, self.window_bytes_max) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_root => {
                frame.window = Window::default();
                Ok(())
            }
            other => other.map_err(|error| WalkError { path, error }),
        }
    }

    /// `None` for what vanished since its name was read, or was replaced by something that is no regular file.
    fn stat(&self, key: Vec<u8>) -> Result<Option<ObjectRow>, WalkError> {
        let path = path_of(&self.root, &key);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(Some(ObjectRow {
                key: ObjectKey::new(key),
                size: meta.len(),
                modified: meta.modified().map_or(Timestamp::UNIX_EPOCH, timestamp),
                etag: None,
                version: None,
                class: StorageClass::Standard,
                checksum: None,
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WalkError { path, error }),
        }
    }
}

/// File systems hold times that no calendar does; those become the nearest one that has a name.
fn timestamp(time: std::time::SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time < std::time::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX })
}

fn path_of(root: &Path, key: &[u8]) -> PathBuf {
    if key.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(key)) }
}

impl Window {
    fn pop(&mut self) -> Option<Box<[u8]>> {
        let name = self.names.pop_front()?;
        self.bytes -= cost(&name);
        self.last = name.to_vec();
        Some(name)
    }

    /// Gives up the names not yet taken; they are read again when their turn comes.
    fn forget(&mut self) {
        self.more |= !self.names.is_empty();
        self.names = VecDeque::new();
        self.bytes = 0;
    }

    /// Reads the smallest names behind the last one taken, as many as fit.
    fn read(&mut self, path: &Path, bytes_max: usize) -> io::Result<()> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut bytes = 0;
        // Once something did not fit: the largest name that did.
        let mut bound: Option<Box<[u8]>> = None;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A link is neither followed nor listed; nor is a device, socket or pipe.
            if !kind.is_dir() && !kind.is_file() {
                continue;
            }
            let mut name = entry.file_name().as_bytes().to_vec();
            if kind.is_dir() {
                name.push(b'/');
            }
            let behind = bound.as_ref().is_some_and(|bound| name.as_slice() > &bound[..]);
            if behind || (!self.last.is_empty() && name <= self.last) {
                continue;
            }
            bytes += cost(&name);
            names.push(name.into());
            if bytes > 2 * bytes_max {
                bytes = keep_smallest(&mut names, bytes_max);
                bound = names.last().cloned();
            }
        }
        names.sort_unstable();
        self.more = bound.is_some();
        self.names = names.into();
        self.bytes = bytes;
        Ok(())
    }
}

fn cost(name: &[u8]) -> usize {
    name.len() + NAME_OVERHEAD_BYTES
}

/// Keeps the smallest names that fit, at least one. Returns their bytes.
fn keep_smallest(names: &mut Vec<Box<[u8]>>, bytes_max: usize) -> usize {
    names.sort_unstable();
    let mut bytes = 0;
    let mut keep = 0;
    for name in names.iter() {
        if keep > 0 && bytes + cost(name) > bytes_max {
            break;
        }
        bytes += cost(name);
        keep += 1;
    }
    names.truncate(keep);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(root: &Path, prefix: &str, delimiter: bool, resume: Resume, window: usize) -> Vec<String> {
        let mut walker = Walker::new(root.to_owned(), prefix.into(), delimiter, resume);
        walker.window_bytes_max = window;
        let mut keys = Vec::new();
        while let Some(shown) = walker.next().unwrap() {
            keys.push(match shown {
                Shown::Row(row) => row.key.to_string(),
                Shown::Prefix(key) => format!("{key}*"),
            });
        }
        keys
    }

    fn tree() -> (tempfile::TempDir, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let mut all: Vec<String> =
            ["a!", "a.b", "a/c", "a/d/e", "a-b/x", "a0", "b/.hidden.tmp", "b/1", "c", "wal/#1#", "a/d.e"]
                .map(String::from)
                .to_vec();
        all.extend((0..50).map(|n| format!("wal/{n:03}")));
        for key in &all {
            let path = dir.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("b/link")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a/c"), dir.path().join("linked")).unwrap();
        all.sort_unstable();
        (dir, all)
    }

    #[test]
    fn keys_come_in_byte_order_whatever_the_window() {
        let (dir, all) = tree();
        for window in [1, 100, 400, WINDOW_BYTES_MAX] {
            assert_eq!(keys(dir.path(), "", false, Resume::Start, window), all, "{window}");
        }
    }

    #[test]
    fn a_walk_resumes_at_any_key() {
        let (dir, all) = tree();
        let between = ["", "a", "a/", "a/d", "a/d/", "a/d/zz", "a/zz", "b/", "wal", "zz"].map(String::from);
        for start in all.iter().chain(&between) {
            let want: Vec<_> = all.iter().filter(|key| *key > start).cloned().collect();
            assert_eq!(keys(dir.path(), "", false, Resume::Key(start.clone().into()), 20), want, "{start}");
        }
    }

    #[test]
    fn prefixes_need_not_end_at_a_slash() {
        let (dir, all) = tree();
        for prefix in ["a", "a/", "a/d", "wal/01", "nothing", "a/c", "b/."] {
            let want: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
            assert_eq!(keys(dir.path(), prefix, false, Resume::Start, 20), want, "{prefix}");
        }
    }

    #[test]
    fn folders_are_folded_and_empty_ones_are_not_shown() {
        let (dir, _) = tree();
        let all = ["a!", "a-b/*", "a.b", "a/*", "a0", "b/*", "c", "wal/*"];
        assert_eq!(keys(dir.path(), "", true, Resume::Start, 20), all);
        assert_eq!(keys(dir.path(), "", true, Resume::Folded("a/".into()), 20), all[4..]);
        assert_eq!(keys(dir.path(), "a/", true, Resume::Start, 20), ["a/c", "a/d.e", "a/d/*"]);
        assert_eq!(keys(dir.path(), "a", true, Resume::Start, 20), ["a!", "a-b/*", "a.b", "a/*", "a0"]);
    }

    #[test]
    fn forgotten_names_are_read_again() {
        let (dir, all) = tree();
        let mut walker = Walker::new(dir.path().to_owned(), Vec::new(), false, Resume::Start);
        let mut seen = Vec::new();
        while let Some(Shown::Row(row)) = walker.next().unwrap() {
            walker.stack.iter_mut().for_each(|frame| frame.window.forget());
            seen.push(row.key.to_string());
        }
        assert_eq!(seen, all);
    }
}
