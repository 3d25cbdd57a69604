//! Dumps are proven by loading them: into a new, empty server of a major that can read them, in a sandbox, and then the
//! same assertions as for any other restore.
//!
//! The dump is fetched and checked in one pass before anything starts; one that is cut never reaches a server. Owners and
//! grants are left out, because a dump does not bring its roles. What is missing on this machine (a program, an
//! extension, a locale) says nothing about the dump.

mod errors;
mod fetch;
mod load;

use std::time::{Duration, Instant};

use self::errors::Verdict;
use crate::catalog::ObjectRef;
use crate::catalog::evidence::{AssertionResult, RestoreFailure, RestoreOutcome, RestoreStep, RestoreTest, StepTime};
use crate::codec::dump::DumpKind;
use crate::fetch::Source;
use crate::model::CodecKind;
use crate::postgres::{
    ClusterOptions, Installation, PostgresError, Sandbox, Server, ServerOptions, StopMode, create_cluster,
};
use crate::restore::assert::{self, Asked};
use crate::run::RunContext;

/// What `target` says in the report of a dump: there is only one moment it can be taken back to.
pub const TARGET: &str = "dump";

/// The dump.
#[derive(Debug)]
pub struct Request<'a> {
    /// Name of the backup, for the report.
    pub backup: &'a str,
    /// Where the archive lies.
    pub source: &'a Source,
    /// The object.
    pub object: &'a ObjectRef,
    /// How it is compressed.
    pub codec: CodecKind,
}

/// What may be used and asked.
#[derive(Debug)]
pub struct Options<'a> {
    /// Servers and programs of this machine.
    pub installations: &'a [Installation],
    /// Consent to fetch a server where none of these can read the dump.
    pub download: bool,
    /// Assertions.
    pub asked: &'a Asked,
    /// How they are run. The user is the scratch server's own.
    pub assert: assert::Options,
    /// A dump that is larger once decoded is not loaded.
    pub bytes_max: u64,
    /// Longest time for loading, and for the server altogether.
    pub time_limit: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Proof {
    /// The test, with the row counts for the next run.
    pub test: RestoreTest,
    /// Why it says nothing about the dump, unless a limit of the user's is why.
    pub trouble: Option<String>,
}

/// Fetches a dump, loads it and asserts.
///
/// # Errors
/// `Cancelled` only; everything else is an outcome of the test.
pub async fn test(
    request: &Request<'_>,
    sandbox: &Sandbox,
    options: &Options<'_>,
    ctx: &RunContext,
) -> Result<Proof, PostgresError> {
    let mut test = RestoreTest::planned(request.backup, TARGET);
    test.seed = ctx.seed;
    let mut assessment = assert::Assessment::default();
    let mut trouble = None;
    let begun = Instant::now();
    let mut step = RestoreStep::Fetch;
    let verdict = steps(request, sandbox, options, ctx, &mut test, &mut step, &mut assessment).await;
    if ctx.cancel.is_set() {
        return Err(PostgresError::Cancelled);
    }
    match verdict {
        Verdict::Fine => {
            let fell = assessment.outcomes.iter().any(|outcome| outcome.ok == Some(false));
            let asserted = !options.asked.assertions.is_empty();
            test.outcome = match (fell, asserted && assessment.all_hold()) {
                (true, _) => RestoreOutcome::Failed,
                (false, true) => RestoreOutcome::Proven,
                (false, false) => RestoreOutcome::Restored,
            };
            test.failed_at = fell.then_some(RestoreStep::Assert);
            // Asserting is no part of getting the data back.
            let asserting = test.step(RestoreStep::Assert).map_or(0.0, |step| step.duration_s);
            test.rto_s = Some((begun.elapsed().as_secs_f64() - asserting).max(0.0));
        }
        Verdict::Damaged(message) => {
            test.outcome = RestoreOutcome::Failed;
            test.failed_at = Some(step);
            let objects = vec![request.object.key.to_string()];
            test.failure = Some(RestoreFailure { code: "RST001".into(), message, objects });
        }
        Verdict::NotRun(why) => {
            trouble = Some(why.clone());
            test.why = Some(why);
        }
        Verdict::Limit(why) => test.why = Some(why),
    }
    test.row_counts.clone_from(&assessment.row_counts);
    test.assertions = assessment.outcomes.iter().map(AssertionResult::from).collect();
    Ok(Proof { test, trouble })
}

async fn steps(
    request: &Request<'_>,
    sandbox: &Sandbox,
    options: &Options<'_>,
    ctx: &RunContext,
    test: &mut RestoreTest,
    step: &mut RestoreStep,
    assessment: &mut assert::Assessment,
) -> Verdict {
    let begun = Instant::now();
    let fetched = match fetch::fetch(request, sandbox, options.bytes_max, ctx).await {
        Ok(fetched) => fetched,
        Err(verdict) => return verdict,
    };
    let duration_s = begun.elapsed().as_secs_f64();
    test.steps.push(StepTime { name: RestoreStep::Fetch, duration_s, bytes: request.object.size });

    *step = RestoreStep::Unpack;
    let begun = Instant::now();
    let wanted = fetched.dump.major();
    let program = match fetched.dump.kind {
        DumpKind::Plain | DumpKind::PlainCluster => "psql",
        _ => "pg_restore",
    };
    let among = match with_server(options, wanted, ctx).await {
        Ok(among) => among,
        Err(why) => return Verdict::NotRun(why),
    };
    let (server_of, client_of) = match choose(&among, wanted, program) {
        Ok(chosen) => chosen,
        Err(why) => return Verdict::NotRun(why),
    };
    test.pg_version = Some(server_of.version.text.clone());
    let mut server = match scratch(sandbox, server_of, options.time_limit, ctx).await {
        Ok(server) => server,
        Err(error) => return Verdict::NotRun(format!("no scratch server could be started: {error}")),
    };
    let loaded = load::load(&server, sandbox, client_of, &fetched, options.time_limit, ctx).await;
    if loaded != Verdict::Fine {
        // A server that was ended, for its time above all, makes every program fail.
        return match server.check() {
            Ok(()) => loaded,
            Err(error) => Verdict::NotRun(format!("the scratch server ended while the dump was loaded: {error}")),
        };
    }
    let duration_s = begun.elapsed().as_secs_f64();
    test.steps.push(StepTime { name: RestoreStep::Unpack, duration_s, bytes: fetched.dump.bytes });

    *step = RestoreStep::Assert;
    let begun = Instant::now();
    let asserting = assert::Options { user: SUPERUSER.to_owned(), ..options.assert.clone() };
    match assert::run(&server, options.asked, &asserting, ctx).await {
        Ok(found) => *assessment = found,
        Err(error) => return Verdict::NotRun(error.to_string()),
    }
    let duration_s = begun.elapsed().as_secs_f64();
    test.steps.push(StepTime { name: RestoreStep::Assert, duration_s, bytes: 0 });
    // Nobody needs what it would still write.
    let _ = server.stop(StopMode::Immediate, Duration::from_secs(30)).await;
    Verdict::Fine
}

const SUPERUSER: &str = "postgres";

/// Dumps of older servers are loaded into this one, the oldest that is fetched.
#[cfg(feature = "demo")]
const FETCHED_MIN: u32 = 12;
/// What is fetched for a dump that does not say where it comes from.
#[cfg(feature = "demo")]
const FETCHED_NEWEST: u32 = 18;

/// What is installed, and a fetched server if that is allowed and none of these can read the dump.
async fn with_server(
    options: &Options<'_>,
    wanted: Option<u32>,
    ctx: &RunContext,
) -> Result<Vec<Installation>, String> {
    let mut among = options.installations.to_vec();
    if lowest(&among, wanted, "initdb").is_some() {
        return Ok(among);
    }
    let lacking = format!("no {} with initdb was found to load the dump into", name_of(wanted));
    if !options.download {
        return Err(format!("{lacking}; name one with --pg-bin, or allow --download-postgres"));
    }
    #[cfg(feature = "demo")]
    {
        use crate::postgres::download;
        let major = wanted.map_or(FETCHED_NEWEST, |major| major.max(FETCHED_MIN));
        ctx.progress.note(&format!("fetching PostgreSQL {major}"));
        let fetched = async { download::fetch(major, &download::cache_dir()?, &ctx.cancel).await }.await;
        among.push(fetched.map_err(|error| format!("{lacking}: {error}"))?);
        Ok(among)
    }
    #[cfg(not(feature = "demo"))]
    {
        let _ = (&mut among, ctx);
        Err(format!("{lacking}, and this build of walproof cannot fetch one"))
    }
}

/// The lowest major that can read a dump and has a program.
fn lowest<'i>(among: &'i [Installation], major: Option<u32>, has: &str) -> Option<&'i Installation> {
    let enough = |one: &&Installation| major.is_none_or(|major| one.version.major >= major);
    let able = among.iter().filter(enough).filter(|one| one.has(has));
    able.min_by_key(|one| (one.version.major, u32::MAX - one.version.minor))
}

fn name_of(major: Option<u32>) -> String {
    major.map_or_else(|| "PostgreSQL".to_owned(), |major| format!("PostgreSQL {major} or newer"))
}

/// The server of the lowest major that can load the dump, and where the program is that does it: its own, else one that
/// is new enough. Plain dumps are statements, which any `psql` sends.
fn choose<'i>(
    among: &'i [Installation],
    major: Option<u32>,
    program: &str,
) -> Result<(&'i Installation, &'i Installation), String> {
    let wanted = name_of(major);
    let server = lowest(among, major, "initdb")
        .ok_or_else(|| format!("no {wanted} with initdb was found to load the dump into"))?;
    let newest = || among.iter().filter(|one| one.has(program)).max_by_key(|one| one.version.major);
    let client = match server.has(program) {
        true => Some(server),
        false => lowest(among, major, program).or_else(|| newest().filter(|_| program == "psql")),
    };
    let client = client.ok_or_else(|| {
        let of = if program == "psql" { "" } else { &format!(" of {wanted}") };
        format!(
            "{program}{of} is not installed (package postgresql-client; what is fetched for a test has none); {} has none",
            server.bin.display()
        )
    })?;
    Ok((server, client))
}

async fn scratch(
    sandbox: &Sandbox,
    installation: &Installation,
    time_limit: Duration,
    ctx: &RunContext,
) -> Result<Server, PostgresError> {
    ctx.progress.note("starting a scratch server");
    let cluster = ClusterOptions { superuser: SUPERUSER.to_owned(), ..ClusterOptions::default() };
    let data = create_cluster(sandbox, installation, "scratch", &cluster, &ctx.cancel).await?;
    // Nothing of it outlives the test.
    let mut server = ServerOptions { time_limit, ..ServerOptions::default() };
    for (name, value) in [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("archive_mode", "off"),
        ("max_wal_size", "4GB"),
        ("shared_buffers", "64MB"),
        ("maintenance_work_mem", "256MB"),
        ("max_connections", "20"),
        ("autovacuum", "off"),
        ("timezone", "UTC"),
    ] {
        server = server.set(name, value);
    }
    let mut server = Server::start(sandbox, installation, &data, server)?;
    server.ready(SUPERUSER, "postgres", &ctx.cancel, |_| {}).await?;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Origin, PgVersion};

    #[test]
    fn the_lowest_major_that_can_and_never_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let make = |major: u32, programs: &[&str]| {
            let bin = dir.path().join(major.to_string());
            std::fs::create_dir(&bin).unwrap();
            programs.iter().for_each(|name| std::fs::write(bin.join(name), "").unwrap());
            let version = PgVersion::parse(&format!("postgres (PostgreSQL) {major}.1")).unwrap();
            Installation { bin, version, origin: Origin::System }
        };
        let all = [make(18, &["initdb", "psql"]), make(16, &["initdb"]), make(15, &["initdb", "psql", "pg_restore"])];
        let pick = |major, program| choose(&all, major, program).map(|(a, b)| (a.version.major, b.version.major));
        assert_eq!(pick(Some(15), "pg_restore"), Ok((15, 15)));
        assert_eq!(pick(Some(16), "psql"), Ok((16, 18)));
        assert_eq!(pick(None, "psql"), Ok((15, 15)));
        // Any psql sends the statements of a plain dump, no older pg_restore reads a newer archive.
        let old = [make(17, &["initdb"]), make(14, &["psql", "pg_restore"])];
        let (server, client) = choose(&old, Some(17), "psql").unwrap();
        assert_eq!((server.version.major, client.version.major), (17, 14));
        assert!(choose(&old, Some(17), "pg_restore").unwrap_err().starts_with("pg_restore of PostgreSQL 17 or newer"));
        assert!(pick(Some(16), "pg_restore").unwrap_err().starts_with("pg_restore of PostgreSQL 16 or newer is not"));
        assert!(pick(Some(19), "psql").unwrap_err().starts_with("no PostgreSQL 19 or newer"));
    }
}
