//! What was found, and how much of what there is was looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Check;
use super::plan::Item;
use crate::restore::assert::fault::{Fault, shown};
use crate::restore::assert::{Asked, Options, Outcome};

/// Damaged relations that are told one by one.
const TOLD_MAX: usize = 50;
/// Names that are told for each reason why something was not checked.
const NAMES_MAX: usize = 8;
/// Reasons that are told.
const REASONS_MAX: usize = 12;

#[derive(Default)]
struct Tally {
    relations: u64,
    bytes: u64,
    looked_at: u64,
    bytes_looked_at: u64,
    damaged: u64,
    told: Vec<Outcome>,
    /// Relations by the reason why they were not checked, and whether it is the server's major: how many, and the first
    /// names.
    not_checked: BTreeMap<(bool, String), (u64, Vec<String>)>,
}

/// One [`Tally`] for each kind of check that was asked for.
pub(super) struct Tallies {
    by_check: BTreeMap<Check, Tally>,
    sample: Option<String>,
    budget: Option<Duration>,
    catalogs: Vec<Outcome>,
    amcheck: bool,
}

impl Tallies {
    pub fn new(asked: &Asked, options: &Options, seed: u64) -> Self {
        let wanted = Check::ALL.into_iter().filter(|check| match check {
            Check::Index | Check::Table => asked.amcheck,
            Check::Read => asked.full_read,
        });
        Tallies {
            by_check: wanted.map(|check| (check, Tally::default())).collect(),
            sample: options.check_sample.map(|sample| format!("sample {sample}, seed {seed}")),
            budget: options.check_time,
            catalogs: Vec::new(),
            amcheck: asked.amcheck,
        }
    }

    pub fn wants_amcheck(&self) -> bool {
        self.amcheck
    }

    /// A relation exists, whether it will be looked at or not.
    pub fn there(&mut self, item: &Item) {
        for check in &item.checks {
            let tally = self.by_check.entry(*check).or_default();
            tally.relations += 1;
            tally.bytes = tally.bytes.saturating_add(bytes(item, *check));
        }
    }

    pub fn sound(&mut self, item: &Item, check: Check) {
        let tally = self.by_check.entry(check).or_default();
        tally.looked_at += 1;
        tally.bytes_looked_at = tally.bytes_looked_at.saturating_add(bytes(item, check));
    }

    pub fn damaged(&mut self, database: &str, item: &Item, check: Check, text: String) {
        self.sound(item, check);
        let tally = self.by_check.entry(check).or_default();
        tally.damaged += 1;
        if tally.told.len() < TOLD_MAX {
            let kind = if item.relation.is_index() { "index" } else { "table" };
            let kind = if item.relation.kind == 'S' { "sequence" } else { kind };
            let name = format!("{}: {kind} {} (database {database})", check.name(), item.relation.title());
            let mut outcome = Outcome::new(name).expected("no damage").holds(false);
            // Already one line and bounded; cutting it again would hide where the damage is.
            outcome.actual = Some(text);
            outcome.corruption = true;
            tally.told.push(outcome);
        }
    }

    pub fn not_checked(&mut self, database: &str, item: &Item, check: Check, why: &str) {
        self.left_out(database, item, check, why, false);
    }

    /// The checks of this major do not know such relations.
    pub fn beyond(&mut self, database: &str, item: &Item, check: Check, why: &str) {
        self.left_out(database, item, check, why, true);
    }

    fn left_out(&mut self, database: &str, item: &Item, check: Check, why: &str, beyond: bool) {
        let tally = self.by_check.entry(check).or_default();
        let (count, names) = tally.not_checked.entry((beyond, shown(why))).or_default();
        *count += 1;
        if names.len() < NAMES_MAX {
            names.push(format!("{} (database {})", item.relation.title(), shown(database)));
        }
    }

    /// All checks of a relation.
    pub fn skipped(&mut self, database: &str, item: &Item, why: &str) {
        for check in &item.checks {
            self.not_checked(database, item, *check, why);
        }
    }

    pub fn database_closed(&mut self, database: &str, why: &str) {
        self.catalogs.push(Outcome::new(format!("relations of database {database}")).why(why));
    }

    pub fn catalog_failed(&mut self, database: &str, fault: Fault) {
        self.catalogs.push(Outcome::new(format!("relations of database {database}")).failed(fault));
    }

    pub fn outcomes(self, took: Duration) -> Vec<Outcome> {
        let mut outcomes = self.catalogs;
        let share = took.as_secs_f64() / self.by_check.len().max(1) as f64;
        for (check, tally) in self.by_check {
            let what = if check == Check::Index { "indexes" } else { "relations" };
            let what = if check == Check::Table { "tables" } else { what };
            let mut actual = format!(
                "{} of {} {what}, {} of {}",
                tally.looked_at,
                tally.relations,
                crate::report::bytes(tally.bytes_looked_at),
                crate::report::bytes(tally.bytes)
            );
            if let Some(sample) = &self.sample {
                actual.push_str(&format!(" ({sample})"));
            }
            if tally.damaged > 0 {
                actual.push_str(&format!(", {} damaged", tally.damaged));
            }
            let mut summary = Outcome::new(check.name()).expected("no damage").actual(actual);
            summary.seconds = share;
            summary.corruption = tally.damaged > 0;
            let skipped: u64 = tally.not_checked.values().map(|(count, _)| count).sum();
            let reached = tally.looked_at + skipped;
            summary.beyond = tally.not_checked.keys().all(|(beyond, _)| *beyond) && reached == tally.relations;
            summary.ok = match (tally.damaged, tally.looked_at) {
                (1.., _) => Some(false),
                (0, 0) => None,
                (0, _) => Some(true),
            };
            if reached < tally.relations && self.sample.is_none() {
                let left = tally.relations - reached;
                let why = match self.budget {
                    Some(budget) => format!("the time limit of {} s left {left} {what} out", budget.as_secs()),
                    None => format!("the run ended before {left} {what} were looked at"),
                };
                summary = summary.why(why);
            } else if tally.looked_at == 0 {
                summary = summary.why(format!("nothing was looked at; {skipped} {what} could not be"));
            }
            outcomes.push(summary);
            outcomes.extend(tally.told);
            let more = tally.not_checked.len().saturating_sub(REASONS_MAX);
            for ((beyond, why), (count, names)) in tally.not_checked.into_iter().take(REASONS_MAX) {
                let mut list = names.join(", ");
                if count as usize > names.len() {
                    list.push_str(&format!(" and {} more", count as usize - names.len()));
                }
                let mut outcome = Outcome::new(format!("{}: {count} {what} not checked", check.name()));
                outcome.why = Some(format!("{why}: {list}"));
                outcome.beyond = beyond;
                outcomes.push(outcome);
            }
            if more > 0 {
                outcomes
                    .push(Outcome::new(format!("{}: not checked", check.name())).why(format!("{more} more reasons")));
            }
        }
        outcomes
    }
}

fn bytes(item: &Item, check: Check) -> u64 {
    match check {
        Check::Read => item.bytes(),
        Check::Index | Check::Table => item.relation.bytes,
    }
}
