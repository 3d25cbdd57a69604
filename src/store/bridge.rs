use std::io::{self, Read};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::runtime::Handle;

use super::StoreError;
use crate::run::Cancel;

/// A store's stream as a [`Read`] for decoders. Use it on a blocking thread only: reading waits for the network.
pub struct StreamReader {
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    handle: Handle,
    chunk: Bytes,
    cancel: Cancel,
    taken: u64,
}

impl StreamReader {
    /// Reads on the runtime that `handle` belongs to, until the stream ends or `cancel` is set.
    pub fn new(stream: BoxStream<'static, Result<Bytes, StoreError>>, handle: Handle, cancel: Cancel) -> Self {
        StreamReader { stream, handle, chunk: Bytes::new(), cancel, taken: 0 }
    }

    /// Bytes given out so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

impl Read for StreamReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.cancel.is_set() {
                // `Interrupted` would make callers try again.
                return Err(io::Error::other(Stopped));
            }
            match self.handle.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
        let count = out.len().min(self.chunk.len());
        out[..count].copy_from_slice(&self.chunk.split_to(count));
        self.taken += count as u64;
        Ok(count)
    }
}

/// The run was stopped while an object was read.
#[derive(Debug, thiserror::Error)]
#[error("stopped on request")]
pub struct Stopped;
