//! How many requests may be in flight: a number for the whole process, a share of it for each bucket.
//!
//! A bucket that throttles has its share halved at once and given back slowly, so that one hot bucket
//! neither starves the others nor is hammered by 64 retries at a time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::StoreError;
use super::retry::or_cancelled;
use crate::run::Cancel;

/// Windows of requests that must go well before a halved share grows by one.
const WINDOWS_TO_GROW: f64 = 8.0;

/// The process-wide limits on requests and bytes.
pub struct Limits {
    connections: usize,
    all: Arc<Semaphore>,
    bytes_per_s: Option<u64>,
    /// When the bytes handed out so far will have been paid for.
    paid_at: Mutex<Option<Instant>>,
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Limits {
    /// Requests in flight unless told otherwise.
    pub const CONNECTIONS_DEFAULT: usize = 64;

    /// At most so many requests in flight (at least one), bytes unlimited.
    pub fn new(connections: usize) -> Arc<Self> {
        Limits::with_rate(connections, None)
    }

    /// The same with a limit on bytes per second over all reads.
    pub fn with_rate(connections: usize, bytes_per_s: Option<u64>) -> Arc<Self> {
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Limits {
            connections,
            all: Arc::new(Semaphore::new(connections)),
            bytes_per_s: bytes_per_s.map(|rate| rate.max(1)),
            paid_at: Mutex::new(None),
            gates: Mutex::new(HashMap::new()),
        })
    }

    /// Requests in flight, whole process.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// The door of one bucket; every store on the same bucket shares it.
    pub fn gate(&self, bucket: &str) -> Arc<Gate> {
        let mut gates = lock(&self.gates);
        let gate = gates.entry(bucket.to_owned()).or_insert_with(|| {
            Arc::new(Gate {
                all: Arc::clone(&self.all),
                share_max: self.connections as f64,
                state: Mutex::new(GateState {
                    share: self.connections as f64,
                    in_flight: 0,
                    epoch: 0,
                    answered: false,
                }),
                freed: Notify::new(),
            })
        });
        Arc::clone(gate)
    }

    /// Waits until so many bytes may be handed on under the limit on bytes.
    pub async fn pace(&self, bytes: usize, cancel: &Cancel) -> Result<(), StoreError> {
        let Some(rate) = self.bytes_per_s else { return Ok(()) };
        let ready = {
            let mut paid_at = lock(&self.paid_at);
            let now = Instant::now();
            let ready = paid_at.map_or(now, |at| at.max(now));
            *paid_at = Some(ready + Duration::from_secs_f64(bytes as f64 / rate as f64));
            ready
        };
        or_cancelled(cancel, tokio::time::sleep_until(ready)).await
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// The door to one bucket.
pub struct Gate {
    all: Arc<Semaphore>,
    share_max: f64,
    state: Mutex<GateState>,
    freed: Notify,
}

struct GateState {
    /// Requests this bucket may have in flight; the fraction is growth not yet complete.
    share: f64,
    in_flight: usize,
    /// Counts the halvings. Only a request that went in after the last one can cause the next.
    epoch: u64,
    /// At least one request went well.
    answered: bool,
}

impl Gate {
    /// Waits for a place. The place is free again when the permit is dropped.
    ///
    /// # Errors
    /// `Cancelled`.
    pub async fn enter(self: &Arc<Self>, cancel: &Cancel) -> Result<Permit, StoreError> {
        or_cancelled(cancel, async {
            // The bucket first: a request that waits for its own bucket takes no place from another's.
            let epoch = loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Registered before the look, so that a place freed in between is not missed.
                freed.as_mut().enable();
                if let Some(epoch) = self.try_enter() {
                    break epoch;
                }
                freed.await;
            };
            let mut permit = Permit { gate: Arc::clone(self), epoch, _all: None };
            // Never closed, so the only error cannot happen; without a permit the share still limits.
            permit._all = Arc::clone(&self.all).acquire_owned().await.ok();
            permit
        })
        .await
    }

    fn try_enter(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        if (state.in_flight as f64) < state.share.floor() {
            state.in_flight += 1;
            Some(state.epoch)
        } else {
            None
        }
    }

    /// Whether any request to this bucket went well so far.
    pub fn has_answered(&self) -> bool {
        lock(&self.state).answered
    }

    /// Requests this bucket may have in flight now.
    pub fn share(&self) -> usize {
        lock(&self.state).share as usize
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("share", &self.share()).finish_non_exhaustive()
    }
}

/// A place among the requests in flight.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    epoch: u64,
    _all: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// The bucket answered this request with "slow down": its share is halved, once for all requests
    /// that were in flight together.
    pub fn throttled(&self) {
        let mut state = lock(&self.gate.state);
        if state.epoch == self.epoch {
            state.epoch += 1;
            state.share = (state.share / 2.0).max(1.0);
        }
    }

    /// This request went well: the share grows back a little.
    pub fn succeeded(&self) {
        let grew = {
            let mut state = lock(&self.gate.state);
            let before = state.share;
            state.answered = true;
            if before < self.gate.share_max {
                state.share = (before + 1.0 / (WINDOWS_TO_GROW * before)).min(self.gate.share_max);
            }
            state.share.floor() > before.floor()
        };
        if grew {
            self.gate.freed.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.gate.state).in_flight -= 1;
        self.gate.freed.notify_one();
    }
}

/// A panic of another thread cannot leave these few numbers half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    #[tokio::test]
    async fn share_halves_once_per_burst_and_grows_back_slowly() {
        let limits = Limits::new(64);
        let gate = limits.gate("b");
        let cancel = Cancel::default();
        let mut burst = Vec::new();
        for _ in 0..64 {
            burst.push(gate.enter(&cancel).await.unwrap());
        }
        burst.iter().for_each(Permit::throttled);
        assert_eq!(gate.share(), 32);
        assert_eq!(limits.gate("other").share(), 64);
        drop(burst);
        let permit = gate.enter(&cancel).await.unwrap();
        permit.throttled();
        assert_eq!(gate.share(), 16);
        let mut requests = 0;
        while gate.share() < 64 {
            permit.succeeded();
            requests += 1;
        }
        assert!((8_000..20_000).contains(&requests), "{requests}");
    }

    #[tokio::test]
    async fn process_wide_limit_holds_over_buckets() {
        let limits = Limits::new(3);
        let cancel = Cancel::default();
        let mut held = Vec::new();
        for bucket in ["a", "b", "c"] {
            held.push(limits.gate(bucket).enter(&cancel).await.unwrap());
        }
        let gate = limits.gate("d");
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.enter(&cancel)).await.is_err());
        held.pop();
        assert!(tokio::time::timeout(Duration::from_secs(5), gate.enter(&cancel)).await.is_ok());
    }

    #[tokio::test]
    async fn waiting_ends_on_cancel() {
        let limits = Limits::new(1);
        let gate = limits.gate("a");
        let cancel = Cancel::default();
        let _held = gate.enter(&cancel).await.unwrap();
        let other = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            other.set();
        });
        assert_eq!(gate.enter(&cancel).await.unwrap_err().kind, StoreErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn many_waiters_all_get_in() {
        let limits = Limits::new(3);
        let gate = limits.gate("a");
        let mut tasks = Vec::new();
        for _ in 0..200 {
            let gate = Arc::clone(&gate);
            tasks.push(tokio::spawn(async move {
                let permit = gate.enter(&Cancel::default()).await.unwrap();
                tokio::task::yield_now().await;
                drop(permit);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(lock(&gate.state).in_flight, 0);
    }

    #[tokio::test]
    async fn bytes_are_paced() {
        let limits = Limits::with_rate(4, Some(1_000_000));
        let begin = Instant::now();
        for _ in 0..11 {
            limits.pace(20_000, &Cancel::default()).await.unwrap();
        }
        assert!(begin.elapsed() >= Duration::from_millis(195), "{:?}", begin.elapsed());
    }
}
