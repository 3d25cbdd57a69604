//! One candidate after the other, until one can be restored: the same for backups and for dumps.

use std::path::PathBuf;

use super::choose::{Target, candidates};
use super::run::Options;
use crate::catalog::evidence::{
    RestoreEvidence, RestoreFailure, RestoreOutcome, RestoreStep, RestoreTest, fingerprint,
};
use crate::catalog::{Archive, BaseBackup, LayoutKind, Recovery};
use crate::postgres::PostgresError;
use crate::restore::dump;
use crate::run::RunContext;

/// What came of it.
#[derive(Debug, Default)]
pub struct Tested {
    /// In the order in which they were made.
    pub tests: Vec<RestoreTest>,
    /// Why the last one says nothing about the archive, unless a limit of the user's is why.
    pub error: Option<String>,
    /// Where the restored cluster was left.
    pub kept: Option<PathBuf>,
}

/// Why a test does not go on.
pub(super) enum Stop {
    /// The archive is at fault.
    Failed(RestoreStep, RestoreFailure),
    /// A limit of the user's.
    Limit(String),
    /// This machine, the store or a key.
    Machine(String),
}

impl From<PostgresError> for Stop {
    fn from(error: PostgresError) -> Self {
        Stop::Machine(error.to_string())
    }
}

/// Tries the chosen backup and, if it fails and older ones may serve, those. `attempt` fills in the test that it is given.
pub(super) async fn run<'a>(
    archive: &'a Archive,
    recovery: &Recovery,
    remembered: &RestoreEvidence,
    options: &Options,
    ctx: &RunContext,
    mut attempt: impl AsyncFnMut(&'a BaseBackup, &mut RestoreTest) -> Result<(), Stop>,
) -> Tested {
    let mut tested = Tested::default();
    let backups = match candidates(archive, recovery, remembered, &options.wish, options.fallback) {
        Ok(backups) => backups,
        Err(why) => {
            tested.error = Some(why);
            return tested;
        }
    };
    let dumps = archive.layout == LayoutKind::Files;
    let newest = backups[0];
    for backup in backups {
        let target = if dumps { dump::TARGET.to_owned() } else { options.wish.target.to_string() };
        let mut test = RestoreTest::planned(&backup.name, &target);
        let stop = attempt(backup, &mut test).await.err();
        test.at = Some(ctx.as_of);
        test.seed = options.wish.seed;
        test.fingerprint = fingerprint(archive, backup);
        test.representative = options.representative;
        match stop {
            None => {}
            Some(Stop::Failed(step, failure)) => {
                test.outcome = RestoreOutcome::Failed;
                test.failed_at = Some(step);
                test.failure = Some(failure);
            }
            Some(Stop::Limit(why)) => test.why = Some(why),
            Some(Stop::Machine(why)) => {
                let what = if dumps { "dump" } else { "restore" };
                tested.error = Some(format!("{}: the {what} could not be tested: {why}", backup.name));
                test.why = Some(why);
            }
        }
        if newest.name != backup.name && test.reached_target() {
            test.loss = Some(loss(newest, backup, dumps || options.wish.target == Target::Immediate));
        }
        let failed = test.outcome == RestoreOutcome::Failed;
        tested.tests.push(test);
        if !failed || ctx.cancel.is_set() {
            break;
        }
    }
    tested
}

/// What it means that an older backup had to serve: WAL makes up for the difference, unless it is not replayed.
fn loss(newest: &BaseBackup, used: &BaseBackup, is_lost: bool) -> String {
    let between = newest.finished_at.copied().zip(used.finished_at.copied());
    let span = between.map(|(to, from)| to.duration_since(from).as_secs().max(0));
    let time = span.map_or_else(String::new, |seconds| format!(", {seconds} s of them"));
    let what = match is_lost {
        true => format!("changes between the two{time} would be lost"),
        false => format!("WAL between the two{time} is replayed in addition"),
    };
    format!("{} had to serve instead of {}: {what}", used.name, newest.name)
}
