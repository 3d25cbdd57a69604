//! Unpacking one tar: every member is looked up in the list of what is wanted, and written by hand.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::attempt::{self, Attempt};
use super::increment::{self, IncrementError};
use super::tree::Tree;
use super::wanted::{CONTROL, LABEL, TABLESPACE_MAP, Take, Wanted};
use super::{LeftOut, RestoreError};
use crate::codec::tarball::{Body, Entry, EntryKind, TarError, TarProblemKind, TarReader, clean_member_name};
use crate::run::Cancel;

/// Pages of an increment written at once.
const BUFFER_BYTES: usize = 1 << 20;
/// A `pg_control` has 8192 bytes.
const CONTROL_BYTES_MAX: u64 = 64 << 10;
/// Members left out that are named; the rest is counted.
const LEFT_OUT_MAX: usize = 100;

/// Files of a running server, and settings of another recovery: never restored.
pub(super) const NEVER: &[&[u8]] =
    &[b"postmaster.pid", b"postmaster.opts", b"recovery.signal", b"standby.signal", b"recovery.conf"];

/// The data directory and the tablespaces outside of it.
#[derive(Debug)]
pub(super) struct Place {
    pub data: Tree,
    pub spaces: BTreeMap<Vec<u8>, Tree>,
}

impl Place {
    /// Where a path of the data directory really lies. `None` is the place of a tablespace itself.
    pub fn of<'p>(&self, path: &'p [u8]) -> Option<(&Tree, &'p [u8])> {
        if let Some(inside) = path.strip_prefix(b"pg_tblspc/") {
            let (oid, rest) = match inside.iter().position(|byte| *byte == b'/') {
                Some(slash) => (&inside[..slash], Some(&inside[slash + 1..])),
                None => (inside, None),
            };
            if let Some(space) = self.spaces.get(oid) {
                return rest.map(|rest| (space, rest));
            }
        }
        Some((&self.data, path))
    }
}

/// What all parts of one restore share.
#[derive(Debug)]
pub(super) struct Shared {
    pub place: Place,
    pub attempt: Attempt,
    /// Asked for from outside.
    pub cancel: Cancel,
    /// A sibling failed.
    pub stop: Cancel,
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    pub left_out: Mutex<(Vec<LeftOut>, u64)>,
}

impl Shared {
    /// Whether to stop at the next piece.
    pub fn stopped(&self) -> bool {
        self.stop.is_set() || self.cancel.is_set()
    }
}

/// Which tar of a backup this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Data,
    Label,
    Control,
}

/// One tar to unpack, and by which rules.
pub(super) struct Job<'a> {
    pub key: &'a str,
    pub role: Role,
    pub wanted: &'a Wanted,
    /// The backup to restore, not an ancestor.
    pub is_target: bool,
    /// The label comes in a tar of its own, so one in another tar is stale.
    pub has_label: bool,
    /// Likewise for `pg_control`.
    pub has_control: bool,
    /// Taken over a replication connection: the server's tars are stored without their end marks.
    pub streamed: bool,
    /// Bytes written for this backup so far, and how many are plausible.
    pub written: &'a AtomicU64,
    pub budget: u64,
}

/// Reads a tar to its end. Gives the increments it held.
pub(super) fn unpack(shared: &Shared, job: &Job<'_>, input: &mut dyn BufRead) -> Result<Vec<Vec<u8>>, RestoreError> {
    let mut tar = TarReader::new(input);
    let mut part = Part { shared, job, buffer: vec![0; BUFFER_BYTES], increments: Vec::new() };
    loop {
        if shared.stopped() {
            return Err(RestoreError::Stopped);
        }
        let entry = match tar.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(part.increments),
            // The codec has seen its own end, and the list of files tells whether all are there.
            Err(TarError::Structure(problem)) if job.streamed && problem.kind == TarProblemKind::NoEndMark => {
                return Ok(part.increments);
            }
            Err(error) => return Err(RestoreError::of_tar(&job.key, error)),
        };
        part.member(&entry, tar.body())?;
    }
}

struct Part<'a> {
    shared: &'a Shared,
    job: &'a Job<'a>,
    buffer: Vec<u8>,
    increments: Vec<Vec<u8>>,
}

impl Part<'_> {
    fn member(&mut self, entry: &Entry, body: Body<'_, &mut dyn BufRead>) -> Result<(), RestoreError> {
        let path = match clean_member_name(&entry.name) {
            Ok(Some(path)) => path,
            Ok(None) => return Ok(()),
            Err(why) => {
                self.leave_out(entry, &why.to_string());
                return Ok(());
            }
        };
        let job = self.job;
        if NEVER.contains(&&path[..]) {
            return Ok(());
        }
        let top = path.split(|byte| *byte == b'/').next();
        if top == Some(attempt::FOLDER.as_bytes()) {
            self.leave_out(entry, "its name is taken");
            return Ok(());
        }
        match entry.kind {
            EntryKind::Directory if job.is_target && job.wanted.lists(&path) => self.directory(&path),
            EntryKind::Directory => Ok(()),
            EntryKind::File => match self.take(&path) {
                None => Ok(()),
                Some(Take::Whole) if path == CONTROL => self.control(entry, body),
                Some(Take::Whole) => self.whole(entry, &path, body),
                Some(Take::Increment) => self.increment(entry, &path, body),
            },
            _ if !job.wanted.lists(&path) => Ok(()),
            EntryKind::Symlink => {
                self.leave_out(entry, "a symbolic link");
                Ok(())
            }
            EntryKind::HardLink => {
                self.leave_out(entry, "a hard link");
                Ok(())
            }
            _ => {
                self.leave_out(entry, "neither a file nor a directory");
                Ok(())
            }
        }
    }

    /// Whether a file is wanted, and how.
    fn take(&self, path: &[u8]) -> Option<Take> {
        let job = self.job;
        let wanted =
            |own: Role, elsewhere: bool| (job.is_target && (job.role == own || !elsewhere)).then_some(Take::Whole);
        match path {
            CONTROL => wanted(Role::Control, job.has_control),
            LABEL | TABLESPACE_MAP => wanted(Role::Label, job.has_label),
            _ if job.role == Role::Data => job.wanted.take(path),
            // The small tars hold nothing else.
            _ => None,
        }
    }

    fn directory(&self, path: &[u8]) -> Result<(), RestoreError> {
        let Some((tree, rel)) = self.shared.place.of(path) else { return Ok(()) };
        tree.make_dir(rel).map(drop).map_err(RestoreError::io("create", &tree.join(rel)))
    }

    fn whole(&mut self, entry: &Entry, path: &[u8], mut body: Body<'_, &mut dyn BufRead>) -> Result<(), RestoreError> {
        let shared = self.shared;
        let Some((tree, rel)) = shared.place.of(path) else {
            self.leave_out(entry, "it would take the place of a tablespace");
            return Ok(());
        };
        let mut file = tree.create(rel).map_err(RestoreError::io("create", &tree.join(rel)))?;
        loop {
            if shared.stopped() {
                return Err(RestoreError::Stopped);
            }
            // Straight from where it was decoded to.
            let piece = body.fill_buf().map_err(|error| self.unreadable(&error))?;
            let read = piece.len();
            if read == 0 {
                break;
            }
            self.count(read as u64)?;
            file.write_all(piece).map_err(RestoreError::io("write", &tree.join(rel)))?;
            body.consume(read);
        }
        shared.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn increment(
        &mut self,
        entry: &Entry,
        path: &[u8],
        mut body: Body<'_, &mut dyn BufRead>,
    ) -> Result<(), RestoreError> {
        let shared = self.shared;
        let damaged = |what: String| {
            let what = format!("{} (member {})", what, entry.name.escape_ascii());
            Err(RestoreError::Damaged { key: self.job.key.to_owned(), what })
        };
        let Some((tree, rel)) = shared.place.of(path) else {
            return damaged("an increment in the place of a tablespace".to_owned());
        };
        let Some(file) = tree.modify(rel).map_err(RestoreError::io("open", &tree.join(rel)))? else {
            return damaged("an increment to a file that no ancestor brought".to_owned());
        };
        let stop = || shared.stopped();
        match increment::apply(&mut body, entry.size, &file, &mut self.buffer, &stop) {
            Ok(bytes) => self.count(bytes)?,
            Err(IncrementError::Content(what)) => return damaged(what),
            Err(IncrementError::Read(error)) => return Err(self.unreadable(&error)),
            Err(IncrementError::Write(error)) => return Err(RestoreError::io("write", &tree.join(rel))(error)),
        }
        self.increments.push(path.to_vec());
        Ok(())
    }

    fn control(&mut self, entry: &Entry, mut body: Body<'_, &mut dyn BufRead>) -> Result<(), RestoreError> {
        if entry.size > CONTROL_BYTES_MAX {
            let what = format!("global/pg_control has {} bytes", entry.size);
            return Err(RestoreError::Damaged { key: self.job.key.to_owned(), what });
        }
        let read = fill(&mut body, &mut self.buffer).map_err(|error| self.unreadable(&error))?;
        self.shared.attempt.keep_control(&self.buffer[..read])
    }

    /// Counts what is written, and stops an archive that is far larger than it says.
    fn count(&self, bytes: u64) -> Result<(), RestoreError> {
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.job.written.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.job.budget {
            return Ok(());
        }
        let what = format!("the backup unpacks to more than {} bytes, far beyond the size it states", self.job.budget);
        Err(RestoreError::Damaged { key: self.job.key.to_owned(), what })
    }

    fn unreadable(&self, error: &std::io::Error) -> RestoreError {
        RestoreError::of_read(&self.job.key, error)
    }

    fn leave_out(&self, entry: &Entry, why: &str) {
        let mut left_out = self.shared.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.1 += 1;
        if left_out.0.len() < LEFT_OUT_MAX {
            left_out.0.push(LeftOut {
                object: self.job.key.to_owned(),
                member: entry.name.escape_ascii().to_string(),
                why: why.to_owned(),
            });
        }
    }
}

/// Reads until the buffer is full or the body over.
fn fill(body: &mut Body<'_, &mut dyn BufRead>, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match body.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
