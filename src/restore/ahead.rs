//! Decodes ahead of the one who writes, so that both keep a core busy, in a few buffers that go round.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// The largest block of the usual codec: it is then decoded straight into the buffer.
const BUFFER_BYTES: usize = 4 << 20;
const BUFFERS: usize = 3;

/// Runs `work` with a reader that is filled by a thread of its own.
pub(super) fn reading_ahead<T>(
    source: Box<dyn Read + Send + '_>,
    work: impl FnOnce(&mut dyn BufRead) -> T,
) -> io::Result<T> {
    thread::scope(|scope| {
        let (full_in, full) = sync_channel(BUFFERS);
        let (empty, empty_out) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            let _ = empty.send(Vec::new());
        }
        let decoder = thread::Builder::new().name("decode".to_owned());
        decoder.spawn_scoped(scope, move || fill(source, &empty_out, &full_in))?;
        let mut ahead = Ahead { full, empty, buffer: Vec::new(), at: 0, ended: false };
        let done = work(&mut ahead);
        // Lets the decoder go, if it still has something to give.
        drop(ahead);
        Ok(done)
    })
}

fn fill(mut source: Box<dyn Read + Send + '_>, empty: &Receiver<Vec<u8>>, full: &SyncSender<io::Result<Vec<u8>>>) {
    while let Ok(mut buffer) = empty.recv() {
        buffer.resize(BUFFER_BYTES, 0);
        let mut filled = 0;
        let end = loop {
            match source.read(&mut buffer[filled..]) {
                Ok(0) => break Some(Ok(Vec::new())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(Err(error)),
            }
            // A whole block more would not fit, and would be decoded into a buffer between.
            if filled == buffer.len() || (filled > 0 && buffer.len() - filled < BUFFER_BYTES / 2) {
                break None;
            }
        };
        buffer.truncate(filled);
        if filled > 0 && full.send(Ok(buffer)).is_err() {
            return;
        }
        if let Some(end) = end {
            let _ = full.send(end);
            return;
        }
    }
}

struct Ahead {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let bytes = out.len().min(there.len());
        out[..bytes].copy_from_slice(&there[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.buffer.len() {
            if self.ended {
                return Ok(&[]);
            }
            let used = std::mem::take(&mut self.buffer);
            self.at = 0;
            if used.capacity() > 0 {
                let _ = self.empty.send(used);
            }
            match self.full.recv() {
                Ok(Ok(buffer)) => {
                    self.ended = buffer.is_empty();
                    self.buffer = buffer;
                }
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                // The decoder ended without a word: it panicked.
                Err(_) => return Err(io::Error::other("the decoder stopped")),
            }
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.buffer.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(usize, usize);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return if self.1 == 0 { Ok(0) } else { Err(io::Error::other("broken")) };
            }
            let bytes = out.len().min(self.0).min(70_001);
            out[..bytes].fill(7);
            self.0 -= bytes;
            Ok(bytes)
        }
    }

    #[test]
    fn everything_arrives_and_so_do_errors() {
        for total in [0, 1, 5 << 20, 30_000_017] {
            for broken in [0, 1] {
                let mut seen = 0;
                let read = reading_ahead(Box::new(Pieces(total, broken)), |reader| {
                    let mut buffer = vec![0; 100_000];
                    loop {
                        match reader.read(&mut buffer) {
                            Ok(0) => return Ok(()),
                            Ok(bytes) => {
                                assert!(buffer[..bytes].iter().all(|byte| *byte == 7));
                                seen += bytes;
                            }
                            Err(error) => return Err(error.to_string()),
                        }
                    }
                })
                .unwrap();
                assert_eq!((seen, read.is_err()), (total, broken == 1));
            }
        }
    }

    #[test]
    fn who_stops_early_waits_for_nobody() {
        let read = reading_ahead(Box::new(io::repeat(1)), |reader| reader.read(&mut [0; 10]).unwrap()).unwrap();
        assert_eq!(read, 10);
    }
}
