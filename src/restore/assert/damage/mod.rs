//! Whether the relations of a restored cluster can be read, and agree with themselves.
//!
//! - `amcheck` compares every btree index with itself and with its table, and looks at every tuple of every table;
//! - the full read copies every table to nowhere, as `pg_dump` would read it: every page with its checksum, every value
//!   through its output function, TOAST included. Indexes that `amcheck` does not take have their pages read.
//!
//! Databases, and the relations within each, come in an order that the seed decides, so that runs which are cut by their
//! time limit look at something else each time. What was covered is part of the answer.

mod plan;
mod probe;
mod relations;
mod tally;

use std::time::{Duration, Instant};

use self::plan::{Item, choose, order};
use self::probe::{Found, Probe};
use self::relations::Relation;
use self::tally::Tallies;
use super::fault::{Fault, FaultKind, shown};
use super::session::{Database, Host};
use super::{Asked, Options, Outcome};
use crate::run::{ProgressUnit, RunContext};

/// Longest statement where no time limit is set: none, as far as a server can be told.
const NO_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What can be done to a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    /// amcheck of an index.
    Index,
    /// amcheck of a table.
    Table,
    /// Reading it.
    Read,
}

impl Check {
    const ALL: [Check; 3] = [Check::Index, Check::Table, Check::Read];

    fn name(self) -> &'static str {
        match self {
            Check::Index => "amcheck of indexes",
            Check::Table => "amcheck of tables",
            Check::Read => "full read",
        }
    }
}

/// Looks at every database, and says for each kind of check what was found and how much was covered.
pub(super) async fn look(
    host: &Host<'_>,
    asked: &Asked,
    databases: &[Database],
    options: &Options,
    ctx: &RunContext,
) -> Vec<Outcome> {
    let begun = Instant::now();
    let deadline = options.check_time.and_then(|limit| begun.checked_add(limit));
    let mut tallies = Tallies::new(asked, options, ctx.seed);
    let mut per_database: Vec<Vec<Item>> = Vec::new();
    let mut shared_seen = false;
    for (number, database) in databases.iter().enumerate() {
        if let Some(why) = &database.closed {
            tallies.database_closed(&database.name, why);
            per_database.push(Vec::new());
            continue;
        }
        match relations::list(host, &database.name, !shared_seen).await {
            Ok(relations) => {
                shared_seen = true;
                let items = relations.into_iter().filter_map(|relation| {
                    let checks = checks_of(&relation, asked);
                    (!checks.is_empty()).then_some(Item { database: number, relation, checks })
                });
                per_database.push(items.collect());
            }
            Err(fault) => {
                let doing = format!("reading the catalog of database {}", shown(&database.name));
                tallies.catalog_failed(&database.name, host.why_lost(&doing, fault).await);
                per_database.push(Vec::new());
            }
        }
    }
    let names: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
    for item in per_database.iter().flatten() {
        tallies.there(item);
    }
    let chosen = choose(per_database, options.check_sample, ctx.seed, &names);
    let total = chosen.iter().flatten().map(Item::bytes).sum();
    ctx.progress.step("checking relations", ProgressUnit::Bytes, Some(total));
    for number in order(databases.len(), ctx.seed, &names) {
        let items = &chosen[number];
        if items.is_empty() || host.cancel.is_set() {
            continue;
        }
        let visit = Visit { host, database: names[number], deadline, ctx };
        if visit.all(items, &mut tallies).await.is_err() {
            // The server is gone; what is left is counted as not reached.
            break;
        }
    }
    ctx.progress.finish();
    tallies.outcomes(begun.elapsed())
}

/// Sequences and tables are read; what amcheck takes is left to it.
fn checks_of(relation: &Relation, asked: &Asked) -> Vec<Check> {
    let mut checks = Vec::new();
    if asked.amcheck && relation.is_index() && relation.amcheck_takes() {
        checks.push(Check::Index);
    }
    if asked.amcheck && relation.is_heap() {
        checks.push(Check::Table);
    }
    let by_amcheck = asked.amcheck && relation.access_method == "btree";
    if asked.full_read && !relation.is_toast() && !(relation.is_index() && by_amcheck) {
        checks.push(Check::Read);
    }
    checks
}

/// One database.
struct Visit<'a> {
    host: &'a Host<'a>,
    database: &'a str,
    deadline: Option<Instant>,
    ctx: &'a RunContext,
}

/// The server has ended.
struct Gone;

impl Visit<'_> {
    async fn all(&self, items: &[Item], tallies: &mut Tallies) -> Result<(), Gone> {
        if self.left().is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        let probe = match Probe::open(self.host, self.database, tallies.wants_amcheck()).await {
            Ok(probe) => probe,
            Err(fault) => {
                for item in items {
                    tallies.skipped(self.database, item, &format!("database {}: {}", self.database, fault.text));
                }
                return Ok(());
            }
        };
        for item in items {
            for check in &item.checks {
                let left = self.left();
                if self.host.cancel.is_set() || left.is_some_and(|left| left.is_zero()) {
                    return Ok(());
                }
                let found = probe.look(&item.relation, *check, left.unwrap_or(NO_LIMIT)).await;
                match found {
                    Ok(Found::Sound) => tallies.sound(item, *check),
                    Ok(Found::Damaged(text)) => tallies.damaged(self.database, item, *check, text),
                    Ok(Found::NotChecked(why)) => tallies.not_checked(self.database, item, *check, &why),
                    Ok(Found::Beyond(why)) => tallies.beyond(self.database, item, *check, why),
                    Err(fault) => {
                        if self.left().is_some_and(|left| left.is_zero()) && fault.kind == FaultKind::Unable {
                            return Ok(());
                        }
                        self.failed(item, *check, fault, tallies).await?;
                        if probe.is_deaf() {
                            return Ok(());
                        }
                    }
                }
            }
            self.ctx.progress.advance(item.bytes());
        }
        Ok(())
    }

    async fn failed(&self, item: &Item, check: Check, fault: Fault, tallies: &mut Tallies) -> Result<(), Gone> {
        let lost = fault.kind == FaultKind::Lost;
        let doing = format!("reading {} (database {})", item.relation.title(), shown(self.database));
        let fault = self.host.why_lost(&doing, fault).await;
        match fault.kind {
            FaultKind::Damage => tallies.damaged(self.database, item, check, fault.text),
            _ => tallies.not_checked(self.database, item, check, &fault.text),
        }
        if lost { Err(Gone) } else { Ok(()) }
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
