//! Files that a command is given beside an archive: read once, whole, and never without a limit.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::Context;

/// Larger than any plan, report or listing in one document; a file above it is something else.
const BYTES_MAX: u64 = 1 << 30;

/// How messages call a file.
pub(super) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether `-` was written for it.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The bytes of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_at_most(path, BYTES_MAX)
}

/// The same with a limit of one's own.
pub(super) fn read_at_most(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let name = name(path);
    let file: Box<dyn Read> = if is_stdin(path) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| name.clone())?)
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).with_context(|| name.clone())?;
    if bytes.len() as u64 > limit {
        anyhow::bail!("{name} is larger than {} MiB", limit >> 20);
    }
    Ok(bytes)
}

/// Where a result goes: a file, else standard output.
pub(super) fn writer(path: Option<&Path>) -> anyhow::Result<Box<dyn Write>> {
    Ok(match path {
        Some(path) => {
            Box::new(BufWriter::new(File::create(path).with_context(|| format!("writing {}", path.display()))?))
        }
        None => Box::new(BufWriter::new(io::stdout().lock())),
    })
}
