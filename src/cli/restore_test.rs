//! `walproof restore-test`: fetch a backup, replay, start PostgreSQL, assert; and the flags that it shares with `audit
//! --restore-test`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::args::{Common, duration, timeline};
use super::session::Session;
use super::state::Memory;
use super::{Outcome, output};
use crate::audit::{Asked, RestoreAsked};
use crate::model::TimelineId;
use crate::policy::config::{Assertion, AssertionCheck, ReplayLimit, RestoreTestPolicy};
use crate::policy::{ByteSize, Policy};
use crate::report;
use crate::restore::test::{self, Options, Pick, Wish};
use crate::state::RunId;

/// `walproof restore-test`
#[derive(Debug, Args)]
pub struct RestoreTestArgs {
    /// Addresses or names of clusters; all clusters of the configuration, or wal-g's own settings, when none is named
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// What to test
    #[command(flatten)]
    pub test: TestArgs,
    /// Makes random picks repeatable [default: one for each hour]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// What to restore, how far, and what has to hold then.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Test restore")]
pub struct TestArgs {
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
    let test = args.test.prepare(&session, &args.common, args.seed)?;
    let asked = Asked { state: state.as_ref(), restore: Some(&test), ..Asked::default() };
    let report = super::audit::report_with(&session, &args.archives, &asked).await?;
    output::write(&report, &args.common.output)?;
    Ok(output::exit(&report, &args.common.output))
}

impl TestArgs {
    /// Whether any flag is given: without a test restore they would do nothing.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.pick.is_some(), "--pick"),
            (self.target.is_some(), "--target"),
            (self.timeline.is_some(), "--timeline"),
            (!self.assert.is_empty(), "--assert"),
            (self.keep.is_some(), "--keep"),
            (self.then.is_some(), "--then"),
            (self.fallback, "--fallback"),
            (!self.pg_bin.is_empty(), "--pg-bin"),
            (self.download_postgres, "--download-postgres"),
            (self.run_as.is_some(), "--run-as"),
            (self.work_dir.is_some(), "--work-dir"),
            (self.max_restore_bytes.is_some(), "--max-restore-bytes"),
            (self.max_replay.is_some(), "--max-replay"),
            (self.no_full_read, "--no-full-read"),
            (self.no_amcheck, "--no-amcheck"),
            (self.check_time.is_some(), "--check-time"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }

    /// Binds the flags to a run.
    pub(super) fn prepare(&self, session: &Session, common: &Common, seed: Option<u64>) -> anyhow::Result<Prepared> {
        let named = session.env.get("WALPROOF_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let config = common.config.clone().or(named);
        let hourly = session.ctx.as_of.as_second().unsigned_abs() / 3600;
        Ok(Prepared {
            args: self.clone(),
            config_dir: config.as_deref().and_then(Path::parent).map(PathBuf::from).filter(|dir| dir != Path::new("")),
            seed: seed.unwrap_or(hourly),
            connections: session.options.connections,
            client: std::env::current_exe().context("where walproof itself lies")?,
            run_id: RunId::random(),
        })
    }
}

/// The flags of a test restore with what else decides: the configuration's place, the run's seed and limits.
#[derive(Debug)]
pub(super) struct Prepared {
    args: TestArgs,
    config_dir: Option<PathBuf>,
    seed: u64,
    connections: usize,
    client: PathBuf,
    run_id: RunId,
}

impl RestoreAsked for Prepared {
    fn options(&self, policy: Option<&Policy>) -> Result<Options, String> {
        self.merged(policy).map_err(|error| format!("{error:#}"))
    }

    fn kept(&self, dir: &Path) {
        eprintln!("walproof: the restored cluster is in {}", dir.display());
    }

    fn run_id(&self) -> RunId {
        self.run_id
    }
}

impl Prepared {
    /// What flags say, else the policy of the cluster, else the defaults.
    fn merged(&self, policy: Option<&Policy>) -> anyhow::Result<Options> {
        let args = &self.args;
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
        if let Some(folder) = &self.config_dir {
            for assertion in &mut assertions {
                if let AssertionCheck::File(name) = &mut assertion.check {
                    *name = folder.join(&*name).to_string_lossy().into_owned();
                }
            }
        }
        assertions.extend(args.assert.iter().map(file));
        let seconds = |span: &crate::policy::Span| span.seconds().map(Duration::from_secs);
        let mut pg_bin = args.pg_bin.clone();
        pg_bin.extend(stated.pg_bin.get().map(PathBuf::from));
        Ok(Options {
            wish: Wish { pick: text(args.pick.as_ref())?, target, timeline: args.timeline, seed: self.seed },
            fallback: args.fallback || stated.fallback.copied().unwrap_or(false),
            assertions,
            base_dir: self.config_dir.clone(),
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
            parallel: self.connections.clamp(1, 8),
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
