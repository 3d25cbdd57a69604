use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StoreError;
use crate::run::Cancel;

/// What a chunk is expected to have at most.
const AHEAD_CHUNK_BYTES: u32 = 256 << 10;

/// A store's stream as a [`Read`] for decoders. Use it on a blocking thread only: reading waits for the network.
pub struct StreamReader {
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    handle: Handle,
    chunk: Bytes,
    /// Chunks that came ahead of the reader, each with its share of the budget. An error comes last.
    ahead: VecDeque<(Result<Bytes, StoreError>, Option<OwnedSemaphorePermit>)>,
    cancel: Cancel,
    taken: u64,
}

impl StreamReader {
    /// Reads on the runtime that `handle` belongs to, until the stream ends or `cancel` is set.
    pub fn new(stream: BoxStream<'static, Result<Bytes, StoreError>>, handle: Handle, cancel: Cancel) -> Self {
        StreamReader { stream, handle, chunk: Bytes::new(), ahead: VecDeque::new(), cancel, taken: 0 }
    }

    /// Takes one more chunk from the store before anybody reads, once the budget (in bytes, shared by all readers) has
    /// room. Says whether to go on: not behind the end or an error. The bytes leave the budget when they are read.
    /// May be dropped while it waits: nothing is lost.
    pub async fn fetch_ahead(&mut self, budget: &Arc<Semaphore>) -> bool {
        let Ok(mut share) = budget.clone().acquire_many_owned(AHEAD_CHUNK_BYTES).await else { return false };
        if self.cancel.is_set() {
            return false;
        }
        match self.stream.next().await {
            None => false,
            Some(Ok(chunk)) => {
                let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                if let Some(surplus) = AHEAD_CHUNK_BYTES.checked_sub(bytes) {
                    drop(share.split(surplus as usize));
                } else {
                    // A chunk is taken whole even where the budget has less: it is here already.
                    let more =
                        (bytes - AHEAD_CHUNK_BYTES).min(u32::try_from(budget.available_permits()).unwrap_or(u32::MAX));
                    if let Ok(more) = budget.clone().try_acquire_many_owned(more) {
                        share.merge(more);
                    }
                }
                self.ahead.push_back((Ok(chunk), Some(share)));
                true
            }
            Some(Err(error)) => {
                self.ahead.push_back((Err(error), None));
                false
            }
        }
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
            let next = match self.ahead.pop_front() {
                Some((chunk, _)) => Some(chunk),
                None => self.handle.block_on(self.stream.next()),
            };
            match next {
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = AHEAD_CHUNK_BYTES as usize;

    fn reader(chunks: &[usize]) -> StreamReader {
        let chunks: Vec<_> = chunks.iter().map(|bytes| Ok(Bytes::from(vec![7; *bytes]))).collect();
        StreamReader::new(futures::stream::iter(chunks).boxed(), Handle::current(), Cancel::default())
    }

    fn read_exact(reader: &mut StreamReader, bytes: usize) {
        let mut out = vec![0; bytes];
        reader.read_exact(&mut out).unwrap();
        assert!(out.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn what_comes_ahead_waits_until_others_were_read() {
        let budget = Arc::new(Semaphore::new(2 * CHUNK));
        let (mut first, mut second) = (reader(&[CHUNK; 2]), reader(&[CHUNK; 2]));
        assert!(first.fetch_ahead(&budget).await);
        assert!(first.fetch_ahead(&budget).await);
        assert_eq!(budget.available_permits(), 0);
        {
            let mut waits = std::pin::pin!(second.fetch_ahead(&budget));
            assert!(futures::poll!(&mut waits).is_pending());
            read_exact(&mut first, CHUNK);
            assert!(waits.await);
        }
        // Waiting was given up: nothing is lost.
        assert!(futures::poll!(std::pin::pin!(second.fetch_ahead(&budget))).is_pending());
        read_exact(&mut first, CHUNK);
        assert!(second.fetch_ahead(&budget).await);
        read_exact(&mut second, 2 * CHUNK);
        assert!(!second.fetch_ahead(&budget).await);
        assert_eq!(budget.available_permits(), 2 * CHUNK);
    }

    #[tokio::test]
    async fn chunks_of_any_size_count_for_what_they_are() {
        let budget = Arc::new(Semaphore::new(2 * CHUNK));
        let mut reader = reader(&[1000, CHUNK + 24, 3 * CHUNK, 5]);
        assert!(reader.fetch_ahead(&budget).await);
        assert_eq!(budget.available_permits(), 2 * CHUNK - 1000);
        assert!(reader.fetch_ahead(&budget).await);
        assert_eq!(budget.available_permits(), CHUNK - 1024);
        read_exact(&mut reader, 1000);
        assert!(futures::poll!(std::pin::pin!(reader.fetch_ahead(&budget))).is_pending());
        read_exact(&mut reader, CHUNK + 24);
        // More than the whole budget is here already.
        assert!(reader.fetch_ahead(&budget).await);
        assert_eq!(budget.available_permits(), 0);
        read_exact(&mut reader, 3 * CHUNK);
        assert_eq!(budget.available_permits(), 2 * CHUNK);
    }
}
