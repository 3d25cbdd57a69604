use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest line that is kept; the rest of it is dropped.
const LINE_BYTES_MAX: usize = 4096;
/// Most that one [`LogFollower::poll`] reads.
const POLL_BYTES_MAX: u64 = 256 << 10;

/// The last lines of a log, at most `bytes_max` bytes of it. Empty if there is none.
pub fn log_tail(path: &Path, bytes_max: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(bytes_max);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        if start > 0
            && let Some(newline) = bytes.iter().position(|b| *b == b'\n')
        {
            bytes.drain(..=newline);
        }
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).trim_end().to_owned()
}

/// Reads a growing log line by line, in bounded memory.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
    /// Inside a line that was too long: its rest is dropped.
    skipping: bool,
}

impl LogFollower {
    /// Begins at the start of the file, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        LogFollower { path: path.to_owned(), offset: 0, partial: Vec::new(), skipping: false }
    }

    /// The complete lines that are new since the last call, at most 256 KiB of them; call again for more.
    pub fn poll(&mut self) -> VecDeque<String> {
        let mut lines = VecDeque::new();
        let Ok(mut file) = File::open(&self.path) else { return lines };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err()
            || file.take(POLL_BYTES_MAX).read_to_end(&mut bytes).is_err()
        {
            return lines;
        }
        self.offset += bytes.len() as u64;
        for byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                if !std::mem::take(&mut self.skipping) || !line.is_empty() {
                    lines.push_back(String::from_utf8_lossy(&line).into_owned());
                }
            } else if self.partial.len() < LINE_BYTES_MAX {
                self.partial.push(byte);
            } else {
                self.skipping = true;
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn follows_whole_lines_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut follower = LogFollower::new(&path);
        assert!(follower.poll().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(follower.poll(), ["one"]);
        file.write_all(b"o\n\nlong ").unwrap();
        assert_eq!(follower.poll(), ["two", ""]);
        file.write_all(&vec![b'x'; 10_000]).unwrap();
        file.write_all(b"\nend\n").unwrap();
        let lines = follower.poll();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LINE_BYTES_MAX);
        assert_eq!(lines[1], "end");
    }

    #[test]
    fn the_tail_starts_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "first\nsecond\nthird\n").unwrap();
        assert_eq!(log_tail(&path, 1000), "first\nsecond\nthird");
        assert_eq!(log_tail(&path, 10), "third");
        assert_eq!(log_tail(&dir.path().join("none"), 10), "");
    }
}
