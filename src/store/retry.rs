//! Trying again: what passes by itself is tried again within bounds, what does not is reported at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Gate, StoreError, StoreErrorKind};
use crate::run::Cancel;

/// How often a wait looks whether it has been cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Attempts at a server that has never answered.
const ATTEMPTS_WITHOUT_ANY_ANSWER_MAX: u32 = 4;
/// Longest wait that a server's `Retry-After` can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Bounds on trying again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts at one request, the first included.
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles from there, with jitter.
    pub wait_first: Duration,
    /// Longest wait between two attempts.
    pub wait_max: Duration,
    /// Longest silence of a server before an attempt counts as failed.
    pub silence_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts_max: 10,
            wait_first: Duration::from_millis(100),
            wait_max: Duration::from_secs(20),
            silence_max: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// Wait before the attempt that follows `attempt` (counted from 1): exponential, the upper half of it random, so
    /// that many requests that failed together do not come back together.
    fn wait(&self, attempt: u32, after: Option<Duration>) -> Duration {
        let doubled = self.wait_first.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(self.wait_max);
        let jittered = doubled.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        jittered.max(after.unwrap_or_default().min(RETRY_AFTER_MAX))
    }
}

/// A failed attempt, and whether another may go better.
#[derive(Debug)]
pub struct Fault {
    /// What to report if there is no further attempt.
    pub error: StoreError,
    /// Whether another attempt may go better.
    pub again: Again,
}

/// Whether another attempt may go better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The answer is final.
    No,
    /// There is no connection to the server. If there never was one, that will hardly change.
    Unreachable,
    /// A fault that may pass; the server may have said when.
    Passing(Option<Duration>),
    /// The server asks for fewer requests; it may have said for how long.
    Throttled(Option<Duration>),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault { error, again: Again::No }
    }
}

/// Runs attempts until one goes well, the answer is final, the bounds are reached or the run is cancelled. Each
/// attempt holds a place among the requests in flight and is counted.
pub async fn with_retries<T, F, A>(
    retry: &Retry,
    gate: &Arc<Gate>,
    cancel: &Cancel,
    requests: &AtomicU64,
    mut attempt: F,
) -> Result<T, StoreError>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, Fault>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let permit = gate.enter(cancel).await?;
        requests.fetch_add(1, Ordering::Relaxed);
        let fault = match or_cancelled(cancel, attempt()).await? {
            Ok(value) => {
                permit.succeeded();
                return Ok(value);
            }
            Err(fault) => fault,
        };
        let mut tries_max = retry.attempts_max;
        let after = match fault.again {
            Again::No => return Err(fault.error),
            Again::Unreachable => {
                if !gate.has_answered() {
                    tries_max = tries_max.min(ATTEMPTS_WITHOUT_ANY_ANSWER_MAX);
                }
                None
            }
            Again::Passing(after) => after,
            Again::Throttled(after) => {
                permit.throttled();
                after
            }
        };
        drop(permit);
        if tries >= tries_max {
            let mut error = fault.error;
            error.message = format!("{} ({tries} attempts)", error.message);
            return Err(error);
        }
        tracing::debug!(tries, error = %fault.error, "trying again");
        or_cancelled(cancel, tokio::time::sleep(retry.wait(tries, after))).await?;
    }
}

/// Runs a future unless the run is cancelled first.
///
/// # Errors
/// `Cancelled`.
pub async fn or_cancelled<T>(cancel: &Cancel, future: impl Future<Output = T>) -> Result<T, StoreError> {
    if cancel.is_set() {
        return Err(cancelled());
    }
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            value = &mut future => return Ok(value),
            () = tokio::time::sleep(LOOK_EVERY) => {
                if cancel.is_set() {
                    return Err(cancelled());
                }
            }
        }
    }
}

fn cancelled() -> StoreError {
    StoreError::new(StoreErrorKind::Cancelled, "stopped on request")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Limits;
    use std::cell::Cell;

    async fn run(again: impl Fn(u32) -> Option<Again>, retry: &Retry) -> (Result<u32, StoreError>, u64) {
        let requests = AtomicU64::new(0);
        let tries = Cell::new(0);
        let gate = Limits::new(8).gate("b");
        let result = with_retries(retry, &gate, &Cancel::default(), &requests, || async {
            tries.set(tries.get() + 1);
            match again(tries.get()) {
                None => Ok(tries.get()),
                Some(again) => Err(Fault { error: StoreError::new(StoreErrorKind::Network, "broken"), again }),
            }
        })
        .await;
        (result, requests.into_inner())
    }

    fn quick() -> Retry {
        Retry { wait_first: Duration::from_millis(1), wait_max: Duration::from_millis(4), ..Retry::default() }
    }

    #[tokio::test]
    async fn passing_faults_are_tried_again_within_bounds() {
        let retry = quick();
        let (result, requests) = run(|tries| (tries < 4).then_some(Again::Passing(None)), &retry).await;
        assert_eq!((result.unwrap(), requests), (4, 4));
        let (result, requests) = run(|_| Some(Again::Throttled(None)), &retry).await;
        assert_eq!(result.unwrap_err().to_string(), "broken (10 attempts)");
        assert_eq!(requests, 10);
        let (result, requests) = run(|_| Some(Again::No), &retry).await;
        assert_eq!(result.unwrap_err().to_string(), "broken");
        assert_eq!(requests, 1);
    }

    #[tokio::test]
    async fn a_server_that_names_a_time_is_waited_for() {
        let begin = tokio::time::Instant::now();
        let after = Some(Duration::from_millis(200));
        run(|tries| (tries < 2).then_some(Again::Throttled(after)), &quick()).await.0.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let retry = Retry::default();
        for attempt in 1..200 {
            let wait = retry.wait(attempt, None);
            assert!(wait >= Duration::from_millis(50) && wait <= retry.wait_max);
        }
        assert!(retry.wait(1, Some(Duration::from_secs(86_400))) <= RETRY_AFTER_MAX);
    }
}
