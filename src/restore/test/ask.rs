//! The `restore_command` of a restored server: asks walproof for one file and writes it where the server wants it.
//!
//! It runs as the server's user and holds no secret. Exit codes are those of `wal-fetch`: everything but "there is no
//! such file" stops the server, so that it never takes a fault for the end of the archive.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::serve::{DAMAGED, NONE, SEND};

/// A whole, checked file is in its place.
const DELIVERED: u8 = 0;
/// The archive has no such file.
const MISSING: u8 = 1;
/// It is damaged.
const BROKEN: u8 = 126;
/// It could not be asked for or written.
const TROUBLE: u8 = 127;

/// Asks for a file and puts it at `dest`. The exit code, with a word on what is wrong.
pub fn ask(socket: &Path, name: &str, dest: &Path) -> (u8, Option<String>) {
    match try_ask(socket, name, dest) {
        Ok(answer) => answer,
        Err(error) => (TROUBLE, Some(format!("{name}: {error}"))),
    }
}

fn try_ask(socket: &Path, name: &str, dest: &Path) -> io::Result<(u8, Option<String>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("{name}\n").as_bytes())?;
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    reader.by_ref().take(4096).read_line(&mut line)?;
    let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    let length = match word {
        SEND => rest.parse::<u64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?,
        NONE => return Ok((MISSING, None)),
        DAMAGED => return Ok((BROKEN, Some(rest.to_owned()))),
        _ => return Ok((TROUBLE, Some(if rest.is_empty() { "no answer".to_owned() } else { rest.to_owned() }))),
    };
    let mut part = dest.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = File::create(&part)?;
    let copied = io::copy(&mut reader.take(length), &mut file)?;
    if copied != length {
        let _ = std::fs::remove_file(&part);
        return Ok((TROUBLE, Some(format!("{name}: {copied} of {length} bytes came"))));
    }
    std::fs::rename(&part, dest)?;
    Ok((DELIVERED, None))
}
