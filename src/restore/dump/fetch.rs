//! The dump on disk, in the form its program reads: checked while it arrives.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Request;
use super::errors::Verdict;
use crate::codec::Limits;
use crate::codec::dump::{self, Dump, DumpError, DumpKind};
use crate::codec::tarball::{EntryKind, TarReader};
use crate::fetch::{Fault, Problem};
use crate::postgres::Sandbox;
use crate::run::{Cancel, RunContext};

/// A whole dump in the sandbox.
pub(super) struct Fetched {
    pub dump: Dump,
    /// A file, or for a directory dump the directory.
    pub path: PathBuf,
}

pub(super) async fn fetch(
    request: &Request<'_>,
    sandbox: &Sandbox,
    bytes_max: u64,
    ctx: &RunContext,
) -> Result<Fetched, Verdict> {
    ctx.progress.note("fetching the dump");
    let key = request.object.key.to_string();
    let stored = request.source.get_object(request.object, &ctx.cancel).await.map_err(|e| of_problem(&key, &e))?;
    let dir = sandbox.dir("dump").map_err(|error| Verdict::NotRun(error.to_string()))?;
    let (source, codec, cancel) = (request.source.clone(), request.codec, ctx.cancel.clone());
    let work = {
        let (dir, key) = (dir.clone(), key.clone());
        move || -> Result<Fetched, Verdict> {
            let file = dir.join("file");
            let opened = source
                .open(codec, Box::new(stored.reader), &Limits::decoded(bytes_max))
                .map_err(|problem| of_problem(&key, &problem))?;
            let out = File::create(&file).map_err(|error| disk(&file, &error))?;
            let mut tee = Tee { input: opened.reader, out, failed: None, cancel };
            let checked = dump::check(&mut tee);
            if let Some(error) = tee.failed {
                return Err(disk(&file, &error));
            }
            let dump = checked.map_err(|error| of_dump(&key, error))?;
            if dump.kind != DumpKind::DirectoryInTar {
                return Ok(Fetched { dump, path: file });
            }
            let unpacked = dir.join("directory");
            unpack(&file, &unpacked, &dump).map_err(|error| disk(&unpacked, &error))?;
            let _ = std::fs::remove_file(&file);
            Ok(Fetched { dump, path: unpacked })
        }
    };
    let fetched = tokio::task::spawn_blocking(work).await.map_err(|error| Verdict::NotRun(error.to_string()))??;
    sandbox.identity().give_tree(&dir).map_err(|error| Verdict::NotRun(error.to_string()))?;
    Ok(fetched)
}

/// Writes what is read. The checker reads everything there is, so everything is written.
struct Tee<'a> {
    input: Box<dyn Read + Send + 'a>,
    out: File,
    failed: Option<io::Error>,
    cancel: Cancel,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::Error::other("interrupted"));
        }
        let length = self.input.read(buffer)?;
        if let Err(error) = self.out.write_all(&buffer[..length]) {
            self.failed = Some(error);
            return Err(io::Error::other("the disk refused"));
        }
        Ok(length)
    }
}

/// The files of the dump's directory, and nothing else: names without a slash, regular files only.
fn unpack(file: &Path, into: &Path, dump: &Dump) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    std::fs::create_dir(into)?;
    let mut tar = TarReader::new(io::BufReader::new(File::open(file)?));
    while let Some(entry) = tar.next_entry()? {
        let Some(name) = entry.name.strip_prefix(dump.directory.as_slice()) else { continue };
        if entry.kind != EntryKind::File || name.is_empty() || name.contains(&b'/') || name.starts_with(b".") {
            continue;
        }
        // A name that comes twice is an error, not a way to change what was checked.
        let path = into.join(std::ffi::OsStr::from_bytes(name));
        let mut out = File::options().write(true).create_new(true).open(path)?;
        io::copy(&mut tar.body(), &mut out)?;
    }
    Ok(())
}

fn disk(path: &Path, error: &io::Error) -> Verdict {
    Verdict::NotRun(format!("cannot write {}: {error}", path.display()))
}

fn of_dump(key: &str, error: DumpError) -> Verdict {
    match error {
        DumpError::Damaged { .. } => Verdict::Damaged(format!("{key}: {error}")),
        DumpError::Read(error) => of_problem(key, &Problem::of_io(&error)),
        other => Verdict::NotRun(format!("{key}: {other}")),
    }
}

fn of_problem(key: &str, problem: &Problem) -> Verdict {
    let text = format!("{key}: {}", words(problem));
    match problem.fault() {
        Fault::Damaged | Fault::WrongKey | Fault::Gone => Verdict::Damaged(text),
        Fault::TooLarge => Verdict::Limit(text),
        _ => Verdict::NotRun(text),
    }
}

fn words(problem: &Problem) -> String {
    match problem.fault() {
        Fault::Gone => "the object is gone".to_owned(),
        Fault::Stopped => "interrupted".to_owned(),
        _ => problem.to_string(),
    }
}
