//! Test restores of dumps: chosen like any backup, but there is no WAL and only one moment to take each back to.

use std::time::Duration;

use super::choose::Target;
use super::run::Options;
use super::series::{self, Stop, Tested};
use crate::catalog::evidence::{RestoreEvidence, RestoreTest};
use crate::catalog::{Archive, BaseBackup, Recovery};
use crate::fetch::Source;
use crate::postgres::{Identity, PostgresError, Sandbox, installations};
use crate::restore::assert::{self, Asked, Then};
use crate::restore::dump;
use crate::run::RunContext;

/// For everything together, where no limit is set.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Loads a dump of an archive and proves it; with `fallback`, older ones until one can be loaded.
pub(super) async fn run(
    source: &Source,
    archive: &Archive,
    recovery: &Recovery,
    remembered: &RestoreEvidence,
    options: &Options,
    ctx: &RunContext,
) -> Tested {
    let mut tested = Tested::default();
    if !matches!(options.wish.target, Target::Latest | Target::Immediate) {
        let text = format!("dumps give back their own moments only; {} is none of them", options.wish.target);
        tested.error = Some(text);
        return tested;
    }
    if options.keep.is_some() {
        tested.error = Some("a loaded dump is not kept; --then can copy it out while the server runs".to_owned());
        return tested;
    }
    series::run(archive, recovery, remembered, options, ctx, async |backup, test| {
        let proof = one(source, archive, backup, remembered, options, ctx).await?;
        *test = proof.test;
        proof.trouble.map_or(Ok(()), |why| Err(Stop::Machine(why)))
    })
    .await
}

async fn one(
    source: &Source,
    archive: &Archive,
    backup: &BaseBackup,
    remembered: &RestoreEvidence,
    options: &Options,
    ctx: &RunContext,
) -> Result<dump::Proof, PostgresError> {
    let Some(part) = backup.parts.first() else {
        let mut test = RestoreTest::planned(&backup.name, dump::TARGET);
        test.why = Some("it has no object".to_owned());
        return Ok(dump::Proof { trouble: test.why.clone(), test });
    };
    let found = installations(&options.pg_bin)?;
    let sandbox = Sandbox::create(options.base.as_deref(), Identity::resolve(options.run_as.as_deref())?)?;
    let then = match &options.then {
        Some(command) => Some(Then {
            command: command.clone(),
            identity: sandbox.identity().clone(),
            dir: sandbox.dir("then")?,
            bin: found.iter().find(|one| one.has("psql")).map(|one| one.bin.clone()),
            time_limit: options.max_time.unwrap_or(TIME_MAX),
        }),
        None => None,
    };
    let asked =
        Asked { assertions: options.assertions.clone(), amcheck: options.amcheck, full_read: options.full_read, then };
    // The series of one database; others have tables of the same names.
    let same = |test: &&RestoreTest| {
        let earlier = archive.backup(&test.backup);
        !test.row_counts.is_empty() && earlier.is_some_and(|earlier| earlier.subject == backup.subject)
    };
    let before = remembered.newest_first().find(same).map(|test| test.row_counts.clone()).unwrap_or_default();
    let how = dump::Options {
        installations: &found,
        asked: &asked,
        assert: assert::Options {
            at: backup.finished_at.copied(),
            check_time: options.check_time,
            check_sample: options.check_sample,
            before,
            ..assert::Options::default()
        },
        download: options.download,
        bytes_max: options.max_restore_bytes.unwrap_or(u64::MAX),
        time_limit: options.max_time.unwrap_or(TIME_MAX),
    };
    let request = dump::Request { backup: &backup.name, source, object: &part.object, codec: part.codec };
    dump::test(&request, &sandbox, &how, &RunContext { seed: options.wish.seed, ..ctx.clone() }).await
}
