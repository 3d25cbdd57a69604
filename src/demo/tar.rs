//! Tar members as wal-g's writer makes them: POSIX ustar, names with a leading slash (which the `tar` crate refuses
//! to write), directories without a trailing one.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;

/// What stands in a member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub name: &'a str,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    pub directory: bool,
    pub user: &'a str,
    pub group: &'a str,
}

impl Member<'_> {
    /// # Errors
    /// `InvalidInput` for what does not fit: the server's own files always do.
    fn header(&self) -> io::Result<[u8; BLOCK]> {
        let mut header = [0u8; BLOCK];
        let (prefix, name) = self.split_name()?;
        put(&mut header[..100], name)?;
        octal(&mut header[100..108], u64::from(self.mode))?;
        octal(&mut header[108..116], u64::from(self.uid))?;
        octal(&mut header[116..124], u64::from(self.gid))?;
        octal(&mut header[124..136], self.size)?;
        octal(&mut header[136..148], self.mtime)?;
        header[148..156].fill(b' ');
        header[156] = if self.directory { b'5' } else { b'0' };
        header[257..265].copy_from_slice(b"ustar\x0000");
        put(&mut header[265..297], self.user)?;
        put(&mut header[297..329], self.group)?;
        octal(&mut header[329..337], 0)?;
        octal(&mut header[337..345], 0)?;
        put(&mut header[345..500], prefix)?;
        // The sum is taken with its own field full of spaces; six digits, then NUL and a space.
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut header[148..155], sum)?;
        Ok(header)
    }

    /// A name beyond 100 bytes is cut at a slash; the front goes into a field of its own.
    fn split_name(&self) -> io::Result<(&str, &str)> {
        if self.name.len() <= 100 {
            return Ok(("", self.name));
        }
        let cut = self.name.bytes().enumerate().filter(|(at, byte)| *byte == b'/' && *at > 0 && *at <= 155);
        let cut = cut.map(|(at, _)| at).find(|at| self.name.len() - at - 1 <= 100);
        cut.map(|at| (&self.name[..at], &self.name[at + 1..])).ok_or_else(|| too_large("name"))
    }
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} does not fit into a tar header"))
}

fn put(field: &mut [u8], text: &str) -> io::Result<()> {
    field.get_mut(..text.len()).ok_or_else(|| too_large("text"))?.copy_from_slice(text.as_bytes());
    Ok(())
}

/// Digits up to the last byte, which stays NUL.
fn octal(field: &mut [u8], value: u64) -> io::Result<()> {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    if digits.len() >= field.len() {
        return Err(too_large("number"));
    }
    field[..digits.len()].copy_from_slice(digits.as_bytes());
    field[digits.len()] = 0;
    Ok(())
}

/// Writes members one after the other.
#[derive(Debug)]
pub(super) struct TarWriter<W: Write> {
    out: W,
    /// Sum of the members' sizes, without headers and padding.
    pub content_bytes: u64,
    /// What has been written in all.
    pub bytes: u64,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        TarWriter { out, content_bytes: 0, bytes: 0 }
    }

    /// Writes a header and exactly `member.size` bytes: a file that has become shorter is filled with zeros, what has
    /// been added to it since is left out. The WAL repairs both on replay.
    pub fn append(&mut self, member: &Member<'_>, content: impl Read) -> io::Result<()> {
        self.out.write_all(&member.header()?)?;
        let copied = io::copy(&mut content.take(member.size), &mut self.out)?;
        let padded = member.size.next_multiple_of(BLOCK as u64);
        io::copy(&mut io::repeat(0).take(padded - copied), &mut self.out)?;
        self.content_bytes += member.size;
        self.bytes += BLOCK as u64 + padded;
        Ok(())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn file<'a>(name: &'a str, size: u64) -> Member<'a> {
        Member {
            name,
            mode: 0o600,
            uid: 101,
            gid: 104,
            size,
            mtime: 0o15300152001,
            directory: false,
            user: "postgres",
            group: "postgres",
        }
    }

    #[test]
    fn headers_equal_those_of_the_original_tool() {
        // Checksums as they stand in archives that wal-g 3.0.9 wrote.
        let header = file("/PG_VERSION", 3).header().unwrap();
        assert_eq!(&header[..12], b"/PG_VERSION\0");
        assert_eq!(&header[100..157], b"0000600\x000000145\x000000150\x0000000000003\x0015300152001\x00014323\x00 0");
        let root = Member { mode: 0o700, mtime: 0o15300152002, directory: true, ..file("/", 0) };
        assert_eq!(&root.header().unwrap()[148..157], b"012673\x00 5");
        let label = Member { uid: 0, gid: 0, mtime: 0, user: "", group: "", ..file("backup_label", 0o373) };
        assert_eq!(&label.header().unwrap()[148..157], b"011527\x00 0");
    }

    #[test]
    fn sizes_hold_whatever_the_file_does() {
        let mut tar = TarWriter::new(Vec::new());
        tar.append(&file("/grown", 3), &b"abcdef"[..]).unwrap();
        tar.append(&file("/shrunk", 5), &b"xy"[..]).unwrap();
        tar.append(&file(&format!("/{}/{}", "d".repeat(90), "f".repeat(60)), 0), &b""[..]).unwrap();
        assert_eq!(tar.content_bytes, 8);
        let written = tar.bytes;
        let bytes = tar.finish().unwrap();
        assert_eq!(bytes.len() as u64, written + 1024);
        let mut archive = ::tar::Archive::new(Cursor::new(bytes));
        let members: Vec<(usize, Vec<u8>)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path_bytes().len(), content)
            })
            .collect();
        assert_eq!(members, [(6, b"abc".to_vec()), (7, b"xy\0\0\0".to_vec()), (152, Vec::new())]);
        assert!(file(&"n".repeat(101), 0).header().is_err());
    }
}
