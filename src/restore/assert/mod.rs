//! What has to hold on a restored server: the user's own assertions, and whether its relations can be read at all.
//!
//! Nothing is left behind in the restored cluster: a user's statements run read only, and `amcheck` is created in a
//! transaction that is rolled back. Three answers are kept apart everywhere: it holds, it does not, and it could not
//! be judged (a time limit, an extension whose library this machine lacks, an index that another version of a collation
//! sorts otherwise). `docs/restore-tests.md` is the manual.

mod checksums;
mod damage;
mod fault;
mod file;
mod rows;
mod script;
mod session;
mod sql;
mod then;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::fault::{Fault, FaultKind, shown};
use self::session::{Database, Host};
use crate::catalog::evidence::AssertionResult;
use crate::model::Timestamp;
use crate::policy::Sample;
use crate::policy::config::{Assertion, AssertionCheck};
use crate::postgres::{PostgresError, Result, Server};
use crate::run::RunContext;

pub use then::Then;

/// What is asked of a restored server.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The user's assertions.
    pub assertions: Vec<Assertion>,
    /// Check btree indexes and tables with `amcheck`.
    pub amcheck: bool,
    /// Read every relation once.
    pub full_read: bool,
    /// A command to run at the end.
    pub then: Option<Then>,
}

impl Asked {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.assertions.is_empty() && !self.amcheck && !self.full_read && self.then.is_none()
    }
}

/// How assertions are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// A superuser of the restored cluster.
    pub user: String,
    /// Where relative names of assertion files begin.
    pub base_dir: Option<PathBuf>,
    /// What freshness is measured against: the recovery target, or the last commit that was replayed.
    pub at: Option<Timestamp>,
    /// Longest time for one statement of a user's.
    pub statement_time: Duration,
    /// Longest time for `amcheck` and the full read together.
    pub check_time: Option<Duration>,
    /// How much `amcheck` and the full read look at.
    pub check_sample: Option<Sample>,
    /// Row counts of an earlier run, as [`Assessment::row_counts`] gave them.
    pub before: BTreeMap<String, u64>,
}

impl Default for Options {
    /// As `postgres`, ten minutes for a statement, everything.
    fn default() -> Self {
        Options {
            user: "postgres".into(),
            base_dir: None,
            at: None,
            statement_time: Duration::from_secs(600),
            check_time: None,
            check_sample: None,
            before: BTreeMap::new(),
        }
    }
}

/// How one assertion came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// As the configuration calls it, with the database where several were asked.
    pub name: String,
    /// Whether it holds; absent if it could not be judged.
    pub ok: Option<bool>,
    /// What was expected.
    pub expected: Option<String>,
    /// What was found.
    pub actual: Option<String>,
    /// Why it could not be judged, or what failed.
    pub why: Option<String>,
    /// It is about damage to the data, not about a statement of the user's.
    pub corruption: bool,
    /// No server of this major can judge it: said, but nothing that better means would have proven.
    pub beyond: bool,
    /// How long it took.
    #[serde(rename = "duration_s")]
    pub seconds: f64,
}

impl Outcome {
    fn new(name: impl Into<String>) -> Self {
        Outcome {
            name: shown(&name.into()),
            ok: None,
            expected: None,
            actual: None,
            why: None,
            corruption: false,
            beyond: false,
            seconds: 0.0,
        }
    }

    fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(shown(&text.into()));
        self
    }

    fn actual(mut self, text: impl Into<String>) -> Self {
        self.actual = Some(shown(&text.into()));
        self
    }

    fn why(mut self, text: impl Into<String>) -> Self {
        self.why = Some(shown(&text.into()));
        self
    }

    fn holds(mut self, ok: bool) -> Self {
        self.ok = Some(ok);
        self
    }

    /// What a question without an answer means for whoever asked it.
    fn failed(mut self, fault: Fault) -> Self {
        (self.ok, self.corruption) = match fault.kind {
            FaultKind::Damage => (Some(false), true),
            FaultKind::Statement => (Some(false), false),
            FaultKind::Unable | FaultKind::Lost => (None, false),
        };
        self.why = Some(fault.text);
        self
    }
}

impl From<&Outcome> for AssertionResult {
    fn from(outcome: &Outcome) -> Self {
        AssertionResult {
            name: outcome.name.clone(),
            ok: outcome.ok,
            expected: outcome.expected.clone(),
            actual: outcome.actual.clone(),
            why: outcome.why.clone(),
            corruption: outcome.corruption,
        }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assessment {
    /// In the order of the configuration, then `amcheck`, the full read and the command.
    pub outcomes: Vec<Outcome>,
    /// Rows by `database.table`, to be kept and given back as [`Options::before`].
    pub row_counts: BTreeMap<String, u64>,
}

impl Assessment {
    /// Whether everything that was asked was judged, as far as a server of this major can, and holds.
    pub fn all_hold(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.ok == Some(true) || outcome.ok.is_none() && outcome.beyond)
    }
}

/// Looks at everything that was asked for, one after the other. A failure never stops the rest.
///
/// # Errors
/// `Cancelled`. Everything else, a crash of the server included, is an outcome.
pub async fn run(server: &Server, asked: &Asked, options: &Options, ctx: &RunContext) -> Result<Assessment> {
    let host = Host { server, user: &options.user, cancel: &ctx.cancel, statement_time: options.statement_time };
    let mut assessment = Assessment::default();
    if asked.is_empty() {
        return Ok(assessment);
    }
    let databases = host.databases().await;
    if ctx.cancel.is_set() {
        return Err(PostgresError::Cancelled);
    }
    let databases = match databases {
        Ok(databases) => databases,
        Err(fault) => {
            let fault = host.why_lost("listing the databases", fault).await;
            assessment.outcomes.push(Outcome::new("databases of the cluster").failed(fault));
            Vec::new()
        }
    };
    for assertion in &asked.assertions {
        ctx.progress.note(&format!("assertion {}", shown(&assertion.name)));
        let begun = Instant::now();
        let mut outcomes = one(&host, assertion, &databases, options, &mut assessment.row_counts).await;
        if ctx.cancel.is_set() {
            return Err(PostgresError::Cancelled);
        }
        let share = begun.elapsed().as_secs_f64() / outcomes.len().max(1) as f64;
        outcomes.iter_mut().for_each(|outcome| outcome.seconds = share);
        assessment.outcomes.extend(outcomes);
    }
    if asked.amcheck || asked.full_read {
        assessment.outcomes.extend(damage::look(&host, asked, &databases, options, ctx).await);
    }
    if let Some(command) = &asked.then
        && !ctx.cancel.is_set()
    {
        ctx.progress.note("the command of the configuration");
        assessment.outcomes.push(then::run(&host, command, &databases).await);
    }
    if ctx.cancel.is_set() {
        return Err(PostgresError::Cancelled);
    }
    Ok(assessment)
}

async fn one(
    host: &Host<'_>,
    assertion: &Assertion,
    databases: &[Database],
    options: &Options,
    counts: &mut BTreeMap<String, u64>,
) -> Vec<Outcome> {
    let chosen = match choose(assertion.database.as_deref(), databases) {
        Ok(chosen) => chosen,
        Err(outcome) => return vec![outcome.named(&assertion.name)],
    };
    let script = match &assertion.check {
        AssertionCheck::File(path) => match file::load(options.base_dir.as_deref(), path) {
            Ok(script) => Some(script),
            Err(why) => return vec![Outcome::new(&assertion.name).why(why)],
        },
        _ => None,
    };
    if let AssertionCheck::TablesMin(min) = assertion.check {
        return vec![rows::tables(host, &assertion.name, min, &chosen).await];
    }
    // Tables are looked for in every database; it is enough that one has them.
    let anywhere = assertion.database.is_none()
        && matches!(assertion.check, AssertionCheck::Rows { .. } | AssertionCheck::Checksums { .. });
    let mut outcomes = Vec::new();
    let mut lacking: Option<Outcome> = None;
    for database in &chosen {
        let name = match chosen.len() {
            1 => assertion.name.clone(),
            _ => format!("{} (database {})", assertion.name, database.name),
        };
        let outcome = match &database.closed {
            Some(why) => vec![Outcome::new(&name).why(why)],
            None => match &assertion.check {
                AssertionCheck::Sql { sql, expect } => vec![sql::value(host, &database.name, &name, sql, expect).await],
                AssertionCheck::Fresh { sql, within } => {
                    vec![sql::fresh(host, &database.name, &name, sql, *within, options.at).await]
                }
                AssertionCheck::File(_) => match &script {
                    Some(script) => vec![file::run(host, &database.name, &name, script).await],
                    None => Vec::new(),
                },
                AssertionCheck::Rows { table, min, max, max_drop, max_drift } => {
                    let wanted =
                        rows::Wanted { table, min: *min, max: *max, max_drop: *max_drop, max_drift: *max_drift };
                    match rows::rows(host, &database.name, &name, &wanted, &options.before, counts).await {
                        Ok(outcome) => vec![outcome],
                        Err(missing) => {
                            lacking = Some(missing);
                            continue;
                        }
                    }
                }
                AssertionCheck::Checksums { table, query, query_column } => {
                    let wanted = checksums::Wanted { table, query: query.as_deref(), column: query_column.as_deref() };
                    match checksums::compare(host, &database.name, &name, &wanted).await {
                        Ok(outcomes) => outcomes,
                        Err(missing) => {
                            lacking = Some(missing);
                            continue;
                        }
                    }
                }
                AssertionCheck::TablesMin(_) => Vec::new(),
            },
        };
        outcomes.extend(outcome);
    }
    if let Some(missing) = lacking
        && (outcomes.is_empty() || !anywhere)
    {
        outcomes.push(missing.named(&assertion.name));
    }
    outcomes
}

impl Outcome {
    fn named(mut self, name: &str) -> Self {
        self.name = shown(name);
        self
    }
}

/// The databases that an assertion is about. `postgres` only where it is used, since every cluster has it.
fn choose<'d>(wanted: Option<&str>, databases: &'d [Database]) -> std::result::Result<Vec<&'d Database>, Outcome> {
    if let Some(wanted) = wanted {
        return match databases.iter().find(|database| database.name == wanted) {
            Some(database) => Ok(vec![database]),
            // Nothing is known of a cluster that could not be listed.
            None if databases.is_empty() => {
                Err(Outcome::new("").why("the databases of the cluster could not be listed"))
            }
            None => {
                let there: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
                let text = format!("there is no database {wanted:?}; there is {}", there.join(", "));
                Err(Outcome::new("").expected(format!("database {wanted}")).why(text).holds(false))
            }
        };
    }
    let users: Vec<&Database> = databases.iter().filter(|database| !database.is_template).collect();
    let used = |database: &&Database| database.name != "postgres" || database.holds_tables || database.closed.is_some();
    let chosen: Vec<&Database> = users.iter().copied().filter(used).collect();
    match (chosen.is_empty(), users.is_empty()) {
        (false, _) => Ok(chosen),
        (true, false) => Ok(users),
        (true, true) => Err(Outcome::new("").why("the cluster has no database that takes connections")),
    }
}
