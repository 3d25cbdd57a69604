//! Starts a server on a restored directory, watches it replay WAL, and reads off where it arrived.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::log::{RecoveryLog, pg_time};
use super::serve::{Served, WalServer};
use crate::model::{Lsn, SegmentSize, TimelineId, Timestamp};
use crate::postgres::{Installation, LogFollower, PostgresError, Sandbox, Server, ServerOptions, StopMode};
use crate::run::{ProgressUnit, RunContext};

/// What a superuser is usually called.
const SUPERUSER: &str = "postgres";
/// For a stop on the way.
const STOP_TIME: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Databases that are tried for the first connection.
const FIRST_DATABASES: [&str; 2] = ["postgres", "template1"];

/// Where a server arrived.
#[derive(Debug)]
pub struct Arrived {
    /// It runs and serves queries.
    pub server: Server,
    /// A connection of a superuser.
    pub client: Client,
    /// That superuser.
    pub user: String,
    /// `15.18`
    pub version: String,
    /// What the log said.
    pub log: RecoveryLog,
    /// First position behind the last replayed record.
    pub reached: Option<Lsn>,
    /// The timeline it was on then.
    pub timeline: Option<TimelineId>,
    /// The last commit that was replayed.
    pub time: Option<Timestamp>,
    /// Seconds from the start of the program to the first replayed record.
    pub start_s: f64,
    /// Seconds from there on until it served queries.
    pub replay_s: f64,
    /// What was handed to it.
    pub served: Served,
}

/// A server that did not arrive.
#[derive(Debug)]
pub struct Lost {
    /// What ended it, or kept it from starting.
    pub error: PostgresError,
    /// What the log said until then.
    pub log: RecoveryLog,
    /// What was handed to it.
    pub served: Served,
    /// Seconds from the start of the program to the first replayed record, or to the end.
    pub start_s: f64,
    /// Seconds from there to the end.
    pub replay_s: f64,
}

/// What to watch for.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// Hands out WAL.
    pub wal: &'a WalServer,
    /// Bytes of WAL between the backup's start and the expected end, for progress.
    pub wal_bytes: u64,
    /// Size of segments.
    pub segment: SegmentSize,
}

/// Runs a server until it serves queries. `options` hold the recovery settings.
///
/// # Errors
/// The server ended, could not be started, took too long or was stopped on request.
pub async fn replay(
    sandbox: &Sandbox,
    installation: &Installation,
    data: &Path,
    options: ServerOptions,
    watch: Watch<'_>,
    ctx: &RunContext,
) -> Result<Arrived, Box<Lost>> {
    let begun = Instant::now();
    let mut seen = Seen { log: RecoveryLog::default(), redo_at: None, begun };
    let lost = |error: PostgresError, seen: Seen| {
        let (start_s, replay_s) = seen.times();
        Box::new(Lost { error, log: seen.log, served: watch.wal.served(), start_s, replay_s })
    };
    let again = options.clone();
    let mut server = match Server::start(sandbox, installation, data, options) {
        Ok(server) => server,
        Err(error) => return Err(lost(error, seen)),
    };
    let mut follower = LogFollower::new(server.log());
    ctx.progress.step("replaying WAL", ProgressUnit::Bytes, Some(watch.wal_bytes));
    let mut told = 0;
    let outcome = loop {
        // The state first, then the log: what a server said before it ended is there by then.
        let state = if ctx.cancel.is_set() { Err(PostgresError::Cancelled) } else { server.check() };
        seen.read(&mut follower);
        if let Err(error) = state {
            break Err(error);
        }
        if seen.log.ready {
            break Ok(());
        }
        let served = watch.wal.served();
        while told < served.segments {
            told += 1;
            ctx.progress.advance(watch.segment.bytes());
        }
        if let Some(last) = served.last.and_then(|name| name.number(watch.segment)) {
            ctx.progress.note(&last.start(watch.segment).to_string());
        }
        tokio::time::sleep(POLL).await;
    };
    ctx.progress.finish();
    let (start_s, replay_s) = seen.times();
    let answered = match outcome {
        Ok(()) => match connect(&server, SUPERUSER).await {
            Err(error) if is_unknown_role(&error) => {
                under_another_name(server, sandbox, installation, data, again, ctx).await
            }
            connected => connected.map(|client| (server, client, SUPERUSER.to_owned())),
        },
        Err(error) => Err(error),
    };
    let (server, client, user) = match answered {
        Ok(answered) => answered,
        Err(error) => return Err(lost(error, seen)),
    };
    let answers = match row(&client, QUESTIONS).await {
        Ok(answers) => answers,
        Err(error) => return Err(lost(error, seen)),
    };
    let text = |at: usize| answers.get(at).cloned().flatten();
    let first = user == SUPERUSER;
    let version = text(0).unwrap_or_default();
    Ok(Arrived {
        server,
        client,
        user,
        version: version.split_whitespace().next().unwrap_or_default().to_owned(),
        // A server that was started again has forgotten both; the log has not.
        reached: text(1).and_then(|lsn| lsn.parse().ok()).or(seen.log.redo_done),
        time: text(2).and_then(|time| pg_time(&time)).or(seen.log.last_transaction),
        // The checkpoint at the end of recovery names the timeline before.
        timeline: text(3).filter(|_| first).and_then(|number| number.parse().ok()).and_then(TimelineId::new),
        log: seen.log,
        start_s,
        replay_s,
        served: watch.wal.served(),
    })
}

const QUESTIONS: &str = "select current_setting('server_version'), pg_last_wal_replay_lsn(), \
                         pg_last_xact_replay_timestamp(), (select prev_timeline_id from pg_control_checkpoint())";

fn is_unknown_role(error: &PostgresError) -> bool {
    matches!(error, PostgresError::Sql(error)
        if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION))
}

/// The cluster was made by somebody who is not called postgres: asks a server without a network, which needs no name,
/// and starts the real one again.
async fn under_another_name(
    server: Server,
    sandbox: &Sandbox,
    installation: &Installation,
    data: &Path,
    options: ServerOptions,
    ctx: &RunContext,
) -> Result<(Server, Client, String), PostgresError> {
    server.stop(StopMode::Fast, STOP_TIME).await?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo \"$0\" | \"$@\"", "select rolname from pg_catalog.pg_authid where oid = 10"]);
    command.arg(installation.program("postgres")).arg("--single").arg("-D").arg(data);
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.arg("template1").env_clear().env("LC_ALL", "C").current_dir(data);
    sandbox.identity().apply(&mut command);
    let said = crate::postgres::run(command, STOP_TIME, &ctx.cancel).await?.stdout;
    let name = said.split_once("rolname = \"").and_then(|(_, rest)| rest.split_once("\"\t(typeid"));
    let user = name.map(|(name, _)| name.to_owned()).ok_or_else(|| PostgresError::NotUsable {
        path: data.to_owned(),
        reason: "its superuser has no name".to_owned(),
    })?;
    let mut server = Server::start(sandbox, installation, data, options)?;
    let client = server.ready(&user, "template1", &ctx.cancel, |_| {}).await?;
    Ok((server, client, user))
}

struct Seen {
    log: RecoveryLog,
    redo_at: Option<Instant>,
    begun: Instant,
}

impl Seen {
    fn read(&mut self, follower: &mut LogFollower) {
        loop {
            let lines = follower.poll();
            if lines.is_empty() {
                break;
            }
            for line in lines {
                self.log.line(&line);
            }
        }
        if self.redo_at.is_none() && (self.log.redo_starts.is_some() || self.log.ready) {
            self.redo_at = Some(Instant::now());
        }
    }

    fn times(&self) -> (f64, f64) {
        let now = Instant::now();
        let redo = self.redo_at.unwrap_or(now);
        (redo.duration_since(self.begun).as_secs_f64(), now.duration_since(redo).as_secs_f64())
    }
}

/// A connection to a database that is always there.
async fn connect(server: &Server, user: &str) -> Result<Client, PostgresError> {
    let mut first = None;
    for database in FIRST_DATABASES {
        match server.connect(user, database).await {
            Ok(client) => return Ok(client),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or(PostgresError::Cancelled))
}

/// The columns of a query's first row, as text.
pub(super) async fn row(client: &Client, sql: &str) -> Result<Vec<Option<String>>, PostgresError> {
    Ok(rows(client, sql).await?.into_iter().next().unwrap_or_default())
}

/// All rows of a query, as text.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<Option<String>>>, PostgresError> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(ToOwned::to_owned)).collect()),
            _ => None,
        })
        .collect())
}
