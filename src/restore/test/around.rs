//! What a test needs around it: a client that the server's user can run, and a clock that ends it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::postgres::{PostgresError, Sandbox};
use crate::run::{Cancel, RunContext};

/// The program itself where the server's user can run it, else a copy in the sandbox: it may lie in somebody's home.
pub(super) fn reachable(program: &Path, sandbox: &Sandbox) -> Result<PathBuf, PostgresError> {
    let identity = sandbox.identity();
    if !identity.is_switched() {
        return Ok(program.to_owned());
    }
    let mut test = std::process::Command::new("/bin/sh");
    test.args(["-c", "test -x \"$1\"", "sh"]).arg(program).current_dir("/");
    identity.apply(&mut test);
    if test.status().is_ok_and(|status| status.success()) {
        return Ok(program.to_owned());
    }
    let copy = sandbox.root().join("walproof");
    if std::fs::hard_link(program, &copy).is_err() {
        std::fs::copy(program, &copy).map_err(PostgresError::io("copy", program))?;
    }
    Ok(copy)
}

/// Sets a flag of its own when the run is stopped or the time is over.
pub(super) struct Deadline {
    pub cancel: Cancel,
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Deadline {
    pub fn start(ctx: &RunContext, limit: Option<Duration>) -> Self {
        let (cancel, over) = (Cancel::default(), Arc::new(AtomicBool::new(false)));
        let (outer, inner, flag) = (ctx.cancel.clone(), cancel.clone(), Arc::clone(&over));
        let begun = Instant::now();
        let task = tokio::spawn(async move {
            loop {
                if outer.is_set() {
                    return inner.set();
                }
                if limit.is_some_and(|limit| begun.elapsed() > limit) {
                    flag.store(true, Ordering::Relaxed);
                    return inner.set();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Deadline { cancel, over, task }
    }

    /// Whether it was the clock.
    pub fn passed(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.task.abort();
    }
}
