//! What every long operation is given: the moment it judges by, when to stop, its seed, and whom to tell.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::Timestamp;

/// A request to stop, shared by everything that runs. Ctrl-C, `--max-time` and a host's deadline all set it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks everything to stop at its next chunk or page.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hears how far an operation has come. Silent by default; the command line draws bars on stderr.
pub trait Progress: Send + Sync {
    /// A new step begins; `total` in the unit of [`Progress::advance`], where it is known.
    fn step(&self, _name: &str, _unit: ProgressUnit, _total: Option<u64>) {}
    /// So much more is done.
    fn advance(&self, _amount: u64) {}
    /// A short word on what is being looked at.
    fn note(&self, _text: &str) {}
    /// The step is over.
    fn finish(&self) {}
}

/// What a progress number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressUnit {
    /// Objects, files, steps.
    Things,
    /// Bytes.
    Bytes,
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Goes through every audit, verification and restore.
#[derive(Clone)]
pub struct RunContext {
    /// The only time that verdicts use.
    pub as_of: Timestamp,
    /// Set from outside to stop early.
    pub cancel: Cancel,
    /// Makes samples and random picks repeatable.
    pub seed: u64,
    /// Whom to tell.
    pub progress: Arc<dyn Progress>,
}

impl RunContext {
    /// A context that judges as of a moment, never stops by itself and tells nobody.
    pub fn new(as_of: Timestamp) -> Self {
        RunContext { as_of, cancel: Cancel::default(), seed: 0, progress: Arc::new(Silent) }
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext").field("as_of", &self.as_of).field("seed", &self.seed).finish_non_exhaustive()
    }
}
