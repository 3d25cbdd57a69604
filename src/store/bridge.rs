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

    /// Takes one more chunk from the store before anybody reads, as long as the budget (in bytes, shared by all readers)
    /// has room. Says whether to go on: not behind the end, an error or an empty budget. The bytes leave the budget
    /// when they are read.
    pub async fn fetch_ahead(&mut self, budget: &Arc<Semaphore>) -> bool {
        if budget.available_permits() == 0 || self.cancel.is_set() {
            return false;
        }
        match self.stream.next().await {
            None => false,
            Some(Ok(chunk)) => {
                // A chunk is taken whole even where the budget has less: it is here already.
                let share = chunk.len().min(budget.available_permits());
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                let permit = budget.clone().try_acquire_many_owned(share).ok();
                self.ahead.push_back((Ok(chunk), permit));
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
