//! `walproof restore-test`: fetch a backup, replay, start PostgreSQL, assert.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::args::{Common, duration, timeline};
use super::session::Session;
use super::state::Memory;
use super::{Outcome, output};
use crate::audit::{self, Catalogued, Content, Target};
use crate::catalog::evidence::RestoreEvidence;
use crate::model::{TimelineId, Timestamp};
use crate::policy::config::{Assertion, AssertionCheck, ReplayLimit, RestoreTestPolicy};
use crate::policy::{ByteSize, Policy};
use crate::report;
use crate::report::data::ArchiveReport;
use crate::restore::test::{self, Options, Pick, Wish};
use crate::state::{RunId, State};

/// `walproof restore-test`
#[derive(Debug, Args)]
pub struct RestoreTestArgs {
    /// Addresses or names of clusters; all clusters of the configuration, or wal-g's own settings, when none is named
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// latest, oldest, random, least-recently-proven, or a backup's name
    #[arg(long, value_name = "WHICH")]
    pub pick: Option<Pick>,
    /// immediate, latest, random, time=RFC3339, lsn=L, xid=X or name=N
    #[arg(long, value_name = "TARGET")]
    pub target: Option<test::Target>,
    /// Recover along the way to this timeline
    #[arg(long, value_name = "N", value_parser = timeline)]
    pub timeline: Option<TimelineId>,
    /// Statements that have to run, and to return no false, on the restored server (repeatable)
    #[arg(long, value_name = "FILE.sql")]
    pub assert: Vec<PathBuf>,
    /// Leave the restored cluster in this directory
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Run this before the restored server stops, with PGHOST, PGPORT, PGDATABASE and PGUSER set
    #[arg(long, value_name = "COMMAND")]
    pub then: Option<String>,
    /// If the backup cannot be restored, try the one before
    #[arg(long)]
    pub fallback: bool,
    /// Directory with PostgreSQL's programs (repeatable)
    #[arg(long, value_name = "DIR")]
    pub pg_bin: Vec<PathBuf>,
    /// Fetch PostgreSQL where this machine has none of the major that is needed
    #[arg(long)]
    pub download_postgres: bool,
    /// Unprivileged user to run the server as when walproof runs as root
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Where the backup is restored to for the time of the test [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Makes random picks repeatable [default: one for each hour]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Larger backups are not restored, e.g. 500GiB
    #[arg(long, value_name = "SIZE")]
    pub max_restore_bytes: Option<ByteSize>,
    /// Most WAL to replay, in bytes or time, e.g. 64GiB or 2h
    #[arg(long, value_name = "LIMIT", value_parser = replay_limit)]
    pub max_replay: Option<ReplayLimit>,
    /// Do not read every relation once
    #[arg(long)]
    pub no_full_read: bool,
    /// Do not check heaps and indexes with amcheck
    #[arg(long)]
    pub no_amcheck: bool,
    /// Longest time for amcheck and the full read together
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub check_time: Option<Duration>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

fn replay_limit(text: &str) -> Result<ReplayLimit, String> {
    if let Ok(time) = text.parse() {
        return Ok(ReplayLimit::Time(time));
    }
    text.parse().map(ReplayLimit::Bytes).map_err(|_| "write an amount of WAL or a time, as in 64GiB or 2h".to_owned())
}

/// `walproof restore-test`
pub(super) async fn run(args: RestoreTestArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common.output)?;
    let session = Session::new(&args.common)?;
    let memory = Memory::of(&session, args.common.state.as_deref(), &args.archives)?;
    let state = match &memory {
        Some(memory) => Some(memory.open().await.context("the state")?),
        None => None,
    };
    let client = std::env::current_exe().context("where walproof itself lies")?;
    let job = Job { args: &args, session: &session, state, run_id: RunId::random(), client };
    let (started_at, begun) = (Timestamp::now(), Instant::now());
    let mut archives: Vec<ArchiveReport> = Vec::new();
    for place in session.places(&args.archives)? {
        match session.open(&place).await {
            Ok(targets) => {
                for target in targets {
                    archives.extend(job.target(&target).await);
                }
            }
            Err(error) => archives.push(super::audit::not_opened(&place, &error)),
        }
    }
    session.ctx.progress.finish();
    let report = report::finish(started_at, begun.elapsed().as_secs_f64(), session.ctx.as_of, archives);
    output::write(&report, &args.common.output)?;
    Ok(output::exit(&report, &args.common.output))
}

struct Job<'a> {
    args: &'a RestoreTestArgs,
    session: &'a Session,
    state: Option<State>,
    run_id: RunId,
    client: PathBuf,
}

impl Job<'_> {
    /// Every archive below an address, one after the other. One that fails never stops the others.
    async fn target(&self, target: &Target) -> Vec<ArchiveReport> {
        let (session, ctx) = (self.session, &self.session.ctx);
        let mut entries = Vec::new();
        match audit::catalogue(target, &session.options, ctx).await {
            Ok(found) => {
                for found in found {
                    entries.push(self.archive(target, found).await);
                }
            }
            Err(error) => {
                let provider = target.storages[0].store.provider();
                let name = target.name.clone().unwrap_or_else(|| target.url());
                entries.push(report::broken_archive(&name, &target.url(), provider, error.layout(), error.to_string()));
            }
        }
        for entry in &mut entries {
            entry.endpoint = target.storages[0].store.endpoint();
        }
        entries
    }

    async fn archive(&self, target: &Target, mut found: Catalogued) -> ArchiveReport {
        let ctx = &self.session.ctx;
        let known = match found.content {
            Content::Known(known) if found.error.is_none() => *known,
            other => {
                found.content = other;
                return audit::judge(target, found, ctx);
            }
        };
        let id = audit::restore_id(target, &found.url);
        let mut evidence = RestoreEvidence::default();
        let mut error = None;
        if let Some(state) = &self.state {
            match audit::remembered(state, &id, ctx.as_of).await {
                Ok(remembered) => evidence = remembered,
                Err(failed) => error = Some(format!("what earlier tests proved cannot be read: {failed}")),
            }
        }
        let policy = target.stated.policy(&found.url);
        let audit::Known { archive, recovery, content, .. } = known;
        let archive = Arc::new(archive);
        let source = target.source(archive.root.as_bytes());
        match self.options(policy.as_ref()) {
            Ok(options) => {
                let tested = test::run(&source, &archive, &recovery, &evidence, &options, ctx).await;
                error = tested.error.or(error);
                if let Some(kept) = &tested.kept {
                    eprintln!("walproof: the restored cluster is in {}", kept.display());
                }
                evidence.tests = tested.tests;
            }
            Err(refused) => error = Some(refused.to_string()),
        }
        if let Some(state) = &self.state {
            let written = audit::remember_tests(state, self.run_id, &found.name, &id, ctx.as_of, &evidence.tests).await;
            if let Err(failed) = written {
                error = error.or(Some(format!("the test is done, but it cannot be remembered: {failed}")));
            }
        }
        // The task that served WAL may still hold it for a moment.
        let archive = Arc::try_unwrap(archive).unwrap_or_else(|shared| (*shared).clone());
        found.error = error;
        found.content = Content::Known(Box::new(audit::Known {
            archive,
            recovery,
            content,
            restores: Some(Box::new(evidence)),
            versions: None,
        }));
        audit::judge(target, found, ctx)
    }

    /// The folder of the configuration file, where one is named.
    fn config_dir(&self) -> Option<PathBuf> {
        let named = self.args.common.config.clone();
        let file = named.or_else(|| self.session.env.get("WALPROOF_CONFIG").map(PathBuf::from))?;
        file.parent().map(PathBuf::from).filter(|dir| !dir.as_os_str().is_empty())
    }

    /// What flags say, else the policy of the cluster, else the defaults.
    fn options(&self, policy: Option<&Policy>) -> anyhow::Result<Options> {
        let args = self.args;
        let none = RestoreTestPolicy::default();
        let stated = policy.map_or(&none, |policy| &policy.restore_test);
        let text = |flag: Option<&Pick>| match (flag, stated.pick.get()) {
            (Some(pick), _) => Ok(pick.clone()),
            (None, Some(pick)) => pick.parse().map_err(|error: String| anyhow::anyhow!("restore_test.pick: {error}")),
            (None, None) => Ok(Pick::Latest),
        };
        let target = match (&args.target, stated.target.get()) {
            (Some(target), _) => target.clone(),
            (None, Some(target)) => {
                target.0.parse().map_err(|error: String| anyhow::anyhow!("restore_test.target: {error}"))?
            }
            (None, None) => test::Target::Latest,
        };
        let file = |path: &PathBuf| {
            // Names on the command line begin in the working directory, those of the configuration beside it.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let name = path.display().to_string();
            Assertion { name: name.clone(), database: None, check: AssertionCheck::File(name) }
        };
        let mut assertions = stated.assertions.get().cloned().unwrap_or_default();
        // Files that the configuration names lie beside it, wherever walproof runs.
        let named = self.session.env.get("WALPROOF_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let config = args.common.config.clone().or(named);
        if let Some(folder) = config.as_deref().and_then(Path::parent) {
            for assertion in &mut assertions {
                if let AssertionCheck::File(name) = &mut assertion.check {
                    *name = folder.join(&*name).to_string_lossy().into_owned();
                }
            }
        }
        assertions.extend(args.assert.iter().map(file));
        let hourly = self.session.ctx.as_of.as_second().unsigned_abs() / 3600;
        let seconds = |span: &crate::policy::Span| span.seconds().map(Duration::from_secs);
        let mut pg_bin = args.pg_bin.clone();
        pg_bin.extend(stated.pg_bin.get().map(PathBuf::from));
        Ok(Options {
            wish: Wish {
                pick: text(args.pick.as_ref())?,
                target,
                timeline: args.timeline,
                seed: args.seed.unwrap_or(hourly),
            },
            fallback: args.fallback || stated.fallback.copied().unwrap_or(false),
            assertions,
            base_dir: self.config_dir(),
            amcheck: !args.no_amcheck && stated.amcheck.copied().unwrap_or(true),
            full_read: !args.no_full_read && stated.full_read.copied().unwrap_or(true),
            check_time: args.check_time.or(stated.check_time.get().and_then(seconds)),
            check_sample: stated.check_sample.get().cloned(),
            then: args.then.clone().or(stated.then.get().cloned()),
            pg_bin,
            download: args.download_postgres || stated.download_postgres.copied().unwrap_or(false),
            run_as: args.run_as.clone().or(stated.run_as.get().cloned()),
            max_restore_bytes: args.max_restore_bytes.or(stated.max_restore_bytes.copied()).map(|size| size.0),
            max_replay: args.max_replay.or(stated.max_replay.copied()),
            max_time: stated.max_time.get().and_then(seconds),
            representative: stated.representative.copied(),
            keep: args.keep.clone(),
            client: self.client.clone(),
            base: args.work_dir.clone(),
            parallel: self.session.options.connections.clamp(1, 8),
        })
    }
}

/// `walproof sandbox-wal`: the `restore_command` of a restored server.
#[derive(Debug, Args)]
pub struct SandboxWalArgs {
    /// Where walproof listens
    pub socket: PathBuf,
    /// The file in pg_wal that is wanted
    pub name: String,
    /// Where it is to go
    pub dest: PathBuf,
}

/// Asks the walproof that runs the test for one file of WAL.
pub(super) fn sandbox_wal(args: &SandboxWalArgs) -> Outcome {
    let (code, word) = test::ask(&args.socket, &args.name, &args.dest);
    if let Some(word) = word {
        eprintln!("walproof: {}", report::clean(&word));
    }
    Outcome::Code(code)
}
