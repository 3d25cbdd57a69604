//! One test restore from its choice to its verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::around::{Deadline, reachable};
use super::choose::{Choice, Refusal, Target, Wish, choose};
use super::end::{End, EndUnknown, end_of};
use super::pages;
use super::replay::{Arrived, Lost, Watch, replay};
use super::series::{self, Stop, Tested};
use super::serve::WalServer;
use super::settings;
use super::verdict::{self, Ruling};
use crate::catalog::evidence::{
    AssertionResult, RestoreEvidence, RestoreFailure, RestoreOutcome, RestoreStep, RestoreTest, StepTime,
};
use crate::catalog::{Archive, BaseBackup, Recovery};
use crate::fetch::Source;
use crate::policy::Sample;
use crate::policy::config::{Assertion, ReplayLimit};
use crate::postgres::{self, Identity, Installation, PostgresError, Sandbox, StopMode};
use crate::restore::assert::{self, Asked, Then};
use crate::restore::{self, Plan, Request, Restored};
use crate::run::{Cancel, ProgressUnit, RunContext};

/// How a server is stopped before it is stopped harder.
const STOP_TIME: Duration = Duration::from_secs(60);
/// For a command of the user's, where no limit is set.
const THEN_TIME: Duration = Duration::from_secs(3600);
/// Majors whose recovery is steered by `recovery.signal`.
const MAJORS: std::ops::RangeInclusive<u32> = 12..=18;

/// Everything a test restore is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which backup, how far.
    pub wish: Wish,
    /// If a backup fails, try the one before.
    pub fallback: bool,
    /// What has to hold on the restored server.
    pub assertions: Vec<Assertion>,
    /// Where relative names of assertion files begin.
    pub base_dir: Option<PathBuf>,
    /// Check heaps and indexes with amcheck.
    pub amcheck: bool,
    /// Read every relation once.
    pub full_read: bool,
    /// Longest time for both together.
    pub check_time: Option<Duration>,
    /// The share of relations for both.
    pub check_sample: Option<Sample>,
    /// A command to run before the server stops.
    pub then: Option<String>,
    /// Directories with PostgreSQL's programs that are looked at first.
    pub pg_bin: Vec<PathBuf>,
    /// Consent to fetch PostgreSQL where this machine has none of the major.
    pub download: bool,
    /// Whom the server runs as when walproof runs as root.
    pub run_as: Option<String>,
    /// Larger backups are not restored.
    pub max_restore_bytes: Option<u64>,
    /// Most WAL to replay.
    pub max_replay: Option<ReplayLimit>,
    /// Longest test.
    pub max_time: Option<Duration>,
    /// Whether this machine is like the one a real recovery would use.
    pub representative: Option<bool>,
    /// Leave the restored cluster here.
    pub keep: Option<PathBuf>,
    /// The program that answers `sandbox-wal`: walproof itself.
    pub client: PathBuf,
    /// Where sandboxes are made; the system's directory for temporary files where absent.
    pub base: Option<PathBuf>,
    /// Tars fetched at the same time.
    pub parallel: usize,
}

/// Restores a backup of an archive and proves it; with `fallback`, older ones until one can be restored.
///
/// # Errors
/// Never: what this machine or the store is at fault for is in [`Tested::error`].
pub async fn run(
    source: &Source,
    archive: &Arc<Archive>,
    recovery: &Recovery,
    remembered: &RestoreEvidence,
    options: &Options,
    ctx: &RunContext,
) -> Tested {
    if archive.layout == crate::catalog::LayoutKind::Files {
        return super::dumps::run(source, archive, recovery, remembered, options, ctx).await;
    }
    let mut kept = None;
    let mut tested = series::run(archive, recovery, remembered, options, ctx, async |backup, test| {
        let attempt = Attempt { source, archive, recovery, backup, options, ctx };
        attempt.go(test, remembered, &mut kept).await
    })
    .await;
    tested.kept = kept;
    tested
}

struct Attempt<'a> {
    source: &'a Source,
    archive: &'a Arc<Archive>,
    recovery: &'a Recovery,
    backup: &'a BaseBackup,
    options: &'a Options,
    ctx: &'a RunContext,
}

impl Attempt<'_> {
    async fn go(
        &self,
        test: &mut RestoreTest,
        remembered: &RestoreEvidence,
        kept: &mut Option<PathBuf>,
    ) -> Result<(), Stop> {
        let deadline = Deadline::start(self.ctx, self.options.max_time);
        let ctx = RunContext { cancel: deadline.cancel.clone(), ..self.ctx.clone() };
        let (choice, end) = self.plan(test, &ctx).await?;
        let outcome = self.carry_out(test, &choice, end.as_ref(), remembered, &ctx, kept).await;
        match outcome {
            Err(Stop::Machine(_)) if deadline.passed() => {
                let limit = self.options.max_time.unwrap_or_default().as_secs();
                Err(Stop::Limit(format!("it took longer than max_time ({limit} s)")))
            }
            other => other,
        }
    }

    /// Everything that is decided before the first byte of the backup is fetched.
    async fn plan<'c>(&'c self, test: &mut RestoreTest, ctx: &RunContext) -> Result<(Choice<'c>, Option<End>), Stop> {
        let wish = &self.options.wish;
        let mut choice =
            choose(self.archive, self.recovery, self.backup, wish, None).map_err(|refusal| refused(test, refusal))?;
        test.timeline = Some(choice.chain.timeline.get());
        self.within_limits(&choice)?;
        let end = match end_of(self.source, self.archive, choice.chain, &ctx.cancel).await {
            Ok(end) => Some(end),
            Err(EndUnknown::Stopped) => return Err(Stop::Machine("interrupted".to_owned())),
            Err(EndUnknown::Damaged { segment, why }) if choice.target == Target::Latest => {
                test.reached_lsn = Some(self.start_of(&segment).unwrap_or(choice.chain.to_lsn));
                let message = format!(
                    "the archive ends with segment {segment}, which is damaged: {why}; recovery from {} would end in it \
                     or before, without an error line",
                    self.backup.name
                );
                let failure =
                    RestoreFailure { code: "RST004".into(), message, objects: vec![format!("wal_005/{segment}")] };
                return Err(Stop::Failed(RestoreStep::Plan, failure));
            }
            Err(EndUnknown::Unread(why)) if choice.target == Target::Latest => {
                return Err(Stop::Machine(format!("where the archive ends cannot be told: {why}")));
            }
            Err(_) => None,
        };
        if wish.target == Target::Random {
            let last_record = end.as_ref().map(|end| end.last_record);
            choice = choose(self.archive, self.recovery, self.backup, wish, last_record)
                .map_err(|refusal| refused(test, refusal))?;
        }
        test.target = choice.target.to_string();
        test.expected_lsn = match &choice.target {
            Target::Lsn(lsn) => Some(*lsn),
            Target::Immediate => self.backup.finish_lsn.copied(),
            Target::Latest => end.as_ref().map(|end| end.end),
            _ => None,
        };
        Ok((choice, end))
    }

    fn start_of(&self, segment: &str) -> Option<crate::model::Lsn> {
        let size = self.archive.segment_size;
        let name = crate::model::SegmentName::parse(segment.as_bytes())?;
        name.number(size).map(|number| number.start(size))
    }

    fn within_limits(&self, choice: &Choice<'_>) -> Result<(), Stop> {
        if let Some(most) = self.options.max_restore_bytes {
            let own = self.backup.uncompressed_size.copied().unwrap_or(self.backup.stored_bytes);
            let bytes = self.backup.data_size.copied().unwrap_or(0).max(own);
            if bytes > most {
                return Err(Stop::Limit(format!(
                    "{} has {bytes} bytes, max_restore_bytes is {most}",
                    self.backup.name
                )));
            }
        }
        let end = match choice.target {
            Target::Lsn(lsn) => lsn,
            Target::Immediate => choice.chain.from_lsn,
            _ => choice.chain.to_lsn,
        };
        match self.options.max_replay {
            Some(ReplayLimit::Bytes(most)) => {
                let bytes = end.0.saturating_sub(self.backup.start_lsn.copied().unwrap_or(choice.chain.from_lsn).0);
                if bytes > most.0 {
                    return Err(Stop::Limit(format!("{bytes} bytes of WAL would be replayed, max_replay is {most}")));
                }
            }
            Some(ReplayLimit::Time(most)) if choice.target != Target::Immediate => {
                let until = match choice.target {
                    Target::Time(time) => Some(time),
                    _ => choice.chain.to.map(|to| to.at_most),
                };
                let span = choice.chain.from.zip(until).map(|(from, to)| to.duration_since(from).as_secs());
                if let (Some(span), Some(limit)) = (span, most.seconds())
                    && span > i64::try_from(limit).unwrap_or(i64::MAX)
                {
                    return Err(Stop::Limit(format!("{span} s of WAL would be replayed, max_replay is {most}")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Fetch, start, replay, assert.
    async fn carry_out(
        &self,
        test: &mut RestoreTest,
        choice: &Choice<'_>,
        end: Option<&End>,
        remembered: &RestoreEvidence,
        ctx: &RunContext,
        kept: &mut Option<PathBuf>,
    ) -> Result<(), Stop> {
        let options = self.options;
        let installation = self.installation(&ctx.cancel).await?;
        test.pg_version = Some(installation.version.to_string());
        let identity = Identity::resolve(options.run_as.as_deref())?;
        if let Some(keep) = &options.keep {
            std::fs::create_dir_all(keep).map_err(PostgresError::io("create", keep))?;
        }
        let base = options.keep.as_deref().or(options.base.as_deref());
        let sandbox = Sandbox::create(base, identity)?;
        let data = sandbox.dir("data")?;
        let restored = self.fetch(test, &sandbox, &data, ctx).await?;
        let major = installation.version.major;
        let control = settings::control_of(&data).map_err(|why| {
            let message = format!("{} was restored, but no server can start on it: {why}", self.backup.name);
            Stop::Failed(RestoreStep::Start, RestoreFailure { code: "RST002".into(), message, objects: Vec::new() })
        })?;
        settings::prepare_data(&sandbox, &data)?;
        let client = reachable(&options.client, &sandbox)?;
        let wal = WalServer::start(&sandbox, self.source, self.archive, choice.chain, &ctx.cancel)?;
        let target = verdict::server_target(choice);
        let recovery = settings::Recovery {
            client: &client,
            socket: wal.socket(),
            target: &target,
            timeline: verdict::server_timeline(choice, self.archive),
        };
        let mut server_options = settings::options(&sandbox, major, &control, &recovery)?;
        if let Some(limit) = options.max_time {
            server_options.time_limit = limit;
        }
        let begin = self.backup.start_lsn.copied().unwrap_or(choice.chain.from_lsn);
        let until = test.expected_lsn.unwrap_or(choice.chain.to_lsn);
        let watch = Watch { wal: &wal, wal_bytes: until.0.saturating_sub(begin.0), segment: self.archive.segment_size };
        let arrived = match replay(&sandbox, &installation, &data, server_options, watch, ctx).await {
            Ok(arrived) => arrived,
            Err(lost) => return Err(self.lost(test, choice, &lost)),
        };
        drop(wal);
        self.arrived(test, choice, end, &arrived, &restored)?;
        let place =
            Place { sandbox: &sandbox, installation: &installation, data: &data, checksums: control.has_checksums() };
        self.assert(test, choice, &place, arrived, remembered, ctx).await?;
        if let Some(keep) = &options.keep {
            *kept = Some(super::keep::keep(&sandbox, &data, &restored, keep, &self.backup.name)?);
        }
        Ok(())
    }

    async fn installation(&self, cancel: &Cancel) -> Result<Installation, Stop> {
        let major = self.backup.pg_major().or_else(|| self.archive.pg_major());
        let Some(major) = major else {
            return Err(Stop::Machine(format!("the version of PostgreSQL that {} needs is unknown", self.backup.name)));
        };
        if !MAJORS.contains(&major) {
            return Err(Stop::Machine(format!(
                "{} was taken from PostgreSQL {major}; restores are tested on {} to {}",
                self.backup.name,
                MAJORS.start(),
                MAJORS.end()
            )));
        }
        let found = postgres::installations(&self.options.pg_bin)?;
        match postgres::choose(&found, Some(major)) {
            Ok(installation) => Ok(installation.clone()),
            #[cfg(feature = "demo")]
            Err(_) if self.options.download => {
                let cache = postgres::download::cache_dir()?;
                Ok(postgres::download::fetch(major, &cache, cancel).await?)
            }
            Err(error) => {
                let _ = cancel;
                Err(Stop::Machine(format!("{error}; name one with --pg-bin, or allow --download-postgres")))
            }
        }
    }

    async fn fetch(
        &self,
        test: &mut RestoreTest,
        sandbox: &Sandbox,
        data: &Path,
        ctx: &RunContext,
    ) -> Result<Restored, Stop> {
        let failed = |step: RestoreStep, message: String| {
            Stop::Failed(step, RestoreFailure { code: "RST001".into(), message, objects: Vec::new() })
        };
        let request = Request { backup: self.backup.name.clone(), ..Request::default() };
        let plan = Plan::of(self.archive, &request).map_err(|refusal| match refusal.is_defect() {
            true => failed(RestoreStep::Plan, format!("{} cannot be restored: {refusal}", self.backup.name)),
            false => Stop::Machine(refusal.to_string()),
        })?;
        let identity = sandbox.identity();
        let options = restore::Options {
            parallel: self.options.parallel,
            sync: false,
            owner: identity.is_switched().then(|| identity.clone()),
            resume: false,
            ..restore::Options::default()
        };
        let begun = Instant::now();
        let result = restore::restore(self.source, &plan, data, &options, ctx).await;
        let step = |bytes| StepTime { name: RestoreStep::Fetch, duration_s: begun.elapsed().as_secs_f64(), bytes };
        match result {
            Ok(restored) => {
                // The server's user must reach its tablespaces, which lie beside the data directory.
                for (_, dir) in &restored.tablespaces {
                    for dir in dir.ancestors().take_while(|dir| *dir != sandbox.root()) {
                        identity.give(dir)?;
                    }
                }
                test.steps.push(step(restored.stored_bytes));
                test.steps.push(StepTime {
                    name: RestoreStep::Unpack,
                    duration_s: restored.sync_s,
                    bytes: restored.bytes,
                });
                Ok(restored)
            }
            Err(error) => {
                test.steps.push(step(0));
                Err(match error.is_defect() {
                    true => failed(RestoreStep::Fetch, format!("{} could not be restored: {error}", self.backup.name)),
                    false => Stop::Machine(error.to_string()),
                })
            }
        }
    }

    fn lost(&self, test: &mut RestoreTest, choice: &Choice<'_>, lost: &Lost) -> Stop {
        times(test, lost.start_s, lost.replay_s, lost.served.bytes);
        test.reached_lsn = lost.log.redo_done.or(test.reached_lsn);
        test.reached_time = lost.log.last_transaction;
        match verdict::of_lost(choice, lost, self.archive.segment_size) {
            Ruling::Failed { step, code, message, objects, reached } => {
                test.reached_lsn = reached.or(test.reached_lsn);
                Stop::Failed(step, RestoreFailure { code: code.to_owned(), message, objects })
            }
            Ruling::Machine(why) => Stop::Machine(why),
        }
    }

    fn arrived(
        &self,
        test: &mut RestoreTest,
        choice: &Choice<'_>,
        end: Option<&End>,
        arrived: &Arrived,
        restored: &Restored,
    ) -> Result<(), Stop> {
        times(test, arrived.start_s, arrived.replay_s, arrived.served.bytes);
        test.pg_version = Some(arrived.version.clone());
        test.reached_lsn = arrived.reached;
        test.reached_timeline = arrived.timeline.map(|timeline| timeline.get());
        test.reached_time = arrived.time;
        test.rto_s = Some(restored.fetch_s + restored.sync_s + arrived.start_s + arrived.replay_s);
        match verdict::of_arrived(choice, end, arrived, self.archive) {
            None => Ok(()),
            Some(Ruling::Failed { step, code, message, objects, .. }) => {
                // An early end took less time than a recovery would.
                test.rto_s = None;
                Err(Stop::Failed(step, RestoreFailure { code: code.to_owned(), message, objects }))
            }
            Some(Ruling::Machine(why)) => Err(Stop::Machine(why)),
        }
    }

    /// Asks the server, and stops it.
    async fn assert(
        &self,
        test: &mut RestoreTest,
        choice: &Choice<'_>,
        place: &Place<'_>,
        arrived: Arrived,
        remembered: &RestoreEvidence,
        ctx: &RunContext,
    ) -> Result<(), Stop> {
        let options = self.options;
        let Arrived { server, client, user, time, .. } = arrived;
        drop(client);
        let then = match &options.then {
            Some(command) => Some(Then {
                command: command.clone(),
                identity: place.sandbox.identity().clone(),
                dir: place.sandbox.dir("then")?,
                bin: Some(place.installation.bin.clone()),
                time_limit: options.max_time.unwrap_or(THEN_TIME),
            }),
            None => None,
        };
        let asked = Asked {
            assertions: options.assertions.clone(),
            amcheck: options.amcheck,
            full_read: options.full_read,
            then,
        };
        let before = remembered.newest_first().find(|test| !test.row_counts.is_empty());
        let how = assert::Options {
            user,
            base_dir: options.base_dir.clone(),
            at: match choice.target {
                Target::Time(time) => Some(time),
                _ => time,
            },
            check_time: options.check_time,
            check_sample: options.check_sample,
            before: before.map(|test| test.row_counts.clone()).unwrap_or_default(),
            ..assert::Options::default()
        };
        let begun = Instant::now();
        ctx.progress.step("asserting", ProgressUnit::Things, None);
        let assessed = assert::run(&server, &asked, &how, ctx).await;
        ctx.progress.finish();
        let assessment = assessed?;
        let holds = assessment.all_hold() && !options.assertions.is_empty();
        test.row_counts = assessment.row_counts;
        test.assertions = assessment.outcomes.into_iter().map(result).collect();
        let stopped = server.stop(StopMode::Fast, STOP_TIME).await;
        if options.full_read && options.check_sample.is_none() && place.checksums && stopped.is_ok() {
            let (data, limit, cancel) = (place.data.to_owned(), options.check_time, ctx.cancel.clone());
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            let checked = tokio::task::spawn_blocking(move || pages::check(&data, left, &cancel)).await;
            test.assertions.extend(checked.ok());
        }
        test.steps.push(StepTime { name: RestoreStep::Assert, duration_s: begun.elapsed().as_secs_f64(), bytes: 0 });
        let failed = test.assertions.iter().any(|one| one.ok == Some(false));
        test.outcome = match (failed, holds) {
            (true, _) => RestoreOutcome::Failed,
            (false, true) => RestoreOutcome::Proven,
            (false, false) => RestoreOutcome::Restored,
        };
        test.failed_at = failed.then_some(RestoreStep::Assert);
        match stopped {
            // The files are as the server left them at worst, like after a crash.
            Ok(()) | Err(PostgresError::TimedOut { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn result(outcome: assert::Outcome) -> AssertionResult {
    let assert::Outcome { name, ok, expected, actual, why, corruption, .. } = outcome;
    AssertionResult { name, ok, expected, actual, why, corruption }
}

/// Where a test happens, and with what.
struct Place<'a> {
    sandbox: &'a Sandbox,
    installation: &'a Installation,
    data: &'a Path,
    checksums: bool,
}

fn refused(test: &mut RestoreTest, refusal: Refusal) -> Stop {
    test.reached_lsn = refusal.reaches;
    let Refusal { code, message, objects, .. } = refusal;
    Stop::Failed(RestoreStep::Plan, RestoreFailure { code: code.to_owned(), message, objects })
}

fn times(test: &mut RestoreTest, start_s: f64, replay_s: f64, wal_bytes: u64) {
    test.steps.push(StepTime { name: RestoreStep::Start, duration_s: start_s, bytes: 0 });
    test.steps.push(StepTime { name: RestoreStep::Replay, duration_s: replay_s, bytes: wal_bytes });
}
