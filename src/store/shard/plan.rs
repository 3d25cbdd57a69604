//! Who lists what: the key space in ranges, one lister for each, cut further whenever a lister is free.
//!
//! Whatever is cut where, the ranges cover the whole key space and do not overlap: a range holds the keys behind its
//! `low` up to and including its `end`, and its right neighbour begins behind that same `end`. So a wrong guess about
//! the keys can cost a request, never a key.
//!
//! Where a cut is of use is guessed from WAL names, which count upwards. Guesses are paid from a budget: a share of
//! the pages that are certain to be needed anyway.

use std::collections::BTreeMap;

use super::space::{Numbered, PER_LOG_GUESS, ahead, behind_folder, between, learn_per_log};
use crate::model::{ObjectKey, ObjectRow};
use crate::store::{ListPage, ListRequest, StoreError, StoreErrorKind};

/// Requests beyond those of one lister, as a share of the pages known to be needed.
const EXTRA_SHARE: f64 = 0.16;
/// Cuts count pages as this much shorter than they are, so that a few keys between the segments (history files) do
/// not push the last key of a range to one more page.
const PAGE_SHARE: f64 = 0.99;
/// Pages that must be left in a range for a cut to be of use.
const PAGES_TO_CUT: f64 = 2.2;
/// Pages that a first probe jumps ahead, and by how much more each next one.
const REACH_FIRST: f64 = 4.0;
const REACH_FACTOR: f64 = 4.0;
/// Keys for one WAL number above which numbers do not tell how many keys there are.
const DENSITY_MAX: f64 = 4.0;
/// Pages from which the size of segments is learned.
const PAGES_TO_LEARN: u64 = 20;
/// Pages of a range before it is cut blindly, by bytes.
const PAGES_BEFORE_BLIND_CUT: u32 = 2;
/// Empty pages in a row that a listing may have.
const EMPTY_PAGES_MAX: u32 = 1000;

/// The ranges that are being listed. Each has exactly one request in flight.
#[derive(Debug)]
pub(super) struct Plan {
    prefix: Vec<u8>,
    listers: usize,
    /// Cutting is of use: more than one lister, and a store that heeds `start_after`.
    can_cut: bool,
    ranges: BTreeMap<u64, Range>,
    ids: u64,
    /// Rows of a full page.
    page_rows: f64,
    per_log: u64,
    /// More than one run of numbers was seen.
    has_runs: bool,
    pages: u64,
    /// Pages or parts of pages that one lister would not have asked for.
    wasted: f64,
    /// Most listers at work at the same time.
    pub(super) listers_peak: usize,
    /// Where the key space was cut.
    pub(super) cuts: Vec<ObjectKey>,
}

/// Keys behind `low` (if any) up to and including `end` (if any).
#[derive(Debug, Clone, Default)]
struct Range {
    low: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    /// The last key listed; before there is one, `low`.
    cursor: Option<Vec<u8>>,
    /// The first keys of the last page, and of the one before: how fast names go on.
    first: Option<Vec<u8>>,
    first_of_last: Option<Vec<u8>>,
    token: Option<String>,
    empty_pages: u32,
    pages: u32,
    /// A key behind `low` was seen.
    found: bool,
    /// There are keys close behind `end`, so the range is probably filled up to there.
    end_live: bool,
    /// What lies behind its run of numbers was looked for.
    skipped: bool,
    /// The range behind `end` was opened on a guess and has not answered yet.
    probing: bool,
    left: Option<u64>,
    /// Keys for each WAL number.
    density: f64,
    /// Pages that the next probe jumps ahead.
    reach: f64,
    /// Share of a page that its end is expected to waste.
    end_cost: f64,
    /// Share of a page that its first request is expected to waste.
    risk: f64,
}

/// What to do after a page arrived.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Keys of the range, in order.
    pub(super) rows: Vec<ObjectRow>,
    /// Requests to send.
    pub(super) requests: Vec<(u64, ListRequest)>,
}

/// A cut worth trying.
struct Cut {
    range: u64,
    at: Vec<u8>,
    /// The keys are assumed to reach beyond it; otherwise it is a probe.
    live: bool,
    /// It passes a whole run of numbers.
    is_skip: bool,
    end_cost: f64,
    risk: f64,
    reach: f64,
}

impl Plan {
    /// A plan with cuts known from an earlier listing.
    pub(super) fn new(prefix: &[u8], listers: usize, cuts: &[ObjectKey]) -> (Self, Step) {
        let mut plan = Plan {
            prefix: prefix.to_vec(),
            listers: listers.max(1),
            can_cut: listers > 1,
            ranges: BTreeMap::new(),
            ids: 0,
            page_rows: 1.0,
            per_log: PER_LOG_GUESS,
            has_runs: false,
            pages: 0,
            wasted: 0.0,
            listers_peak: 0,
            cuts: Vec::new(),
        };
        let mut cuts: Vec<&[u8]> = cuts.iter().map(ObjectKey::as_bytes).collect();
        cuts.retain(|cut| plan.can_cut && cut.starts_with(prefix) && std::str::from_utf8(cut).is_ok());
        cuts.sort_unstable();
        cuts.dedup();
        let most = plan.listers - 1;
        if cuts.len() > most {
            let all = cuts.len();
            cuts = (0..most).map(|number| cuts[number * all / most]).collect();
        }
        let mut step = Step::default();
        let mut range = Range { density: 1.0, reach: REACH_FIRST, end_cost: 0.5, ..Range::default() };
        let mut left = None;
        for cut in cuts {
            plan.cuts.push(ObjectKey::new(cut));
            let rest = Range { low: Some(cut.to_vec()), cursor: Some(cut.to_vec()), ..range.clone() };
            range.end = Some(cut.to_vec());
            range.end_live = true;
            range.left = left;
            left = Some(plan.open(range, &mut step));
            range = rest;
        }
        range.left = left;
        plan.open(range, &mut step);
        (plan, step)
    }

    fn open(&mut self, range: Range, step: &mut Step) -> u64 {
        let id = self.ids;
        self.ids += 1;
        let start_after = range.low.clone();
        step.requests.push((id, ListRequest { prefix: self.prefix.clone(), start_after, ..ListRequest::default() }));
        self.ranges.insert(id, range);
        self.listers_peak = self.listers_peak.max(self.ranges.len());
        id
    }

    /// Takes the answer to a range's request.
    pub(super) fn arrived(&mut self, id: u64, page: ListPage) -> Result<Step, StoreError> {
        let ListPage { mut rows, next, .. } = page;
        let Some(mut range) = self.ranges.remove(&id) else { return Ok(Step::default()) };
        self.pages += 1;
        range.pages += 1;
        check_progress(&mut range, rows.len(), next.as_deref())?;
        self.drop_before_low(&range, &mut rows);
        if self.listers > 1 {
            check_order(&range, &rows)?;
        }
        if next.is_some() {
            self.page_rows = self.page_rows.max(rows.len() as f64);
        }
        if !range.found && !rows.is_empty() {
            range.found = true;
            self.look_left(&mut range, rows[0].key.as_bytes());
        }
        let all = rows.len();
        if let Some(end) = &range.end {
            rows.truncate(rows.partition_point(|row| row.key.as_bytes() <= end.as_slice()));
        }
        let is_past_end = rows.len() < all || range.end.as_deref().is_some_and(|end| is_last(&rows, end));
        let is_over = is_past_end || next.is_none();
        if range.low.is_some() && rows.is_empty() && is_over {
            self.wasted += 1.0;
        } else {
            self.wasted += (all - rows.len()) as f64 / self.page_rows;
        }
        if self.can_cut {
            self.learn(&mut range, &rows);
        }
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            range.first = range.first_of_last.replace(first.key.as_bytes().to_vec());
            range.cursor = Some(last.key.as_bytes().to_vec());
        }
        let mut step = Step { rows, requests: Vec::new() };
        if is_over {
            if !range.found {
                self.settle_left(&range, false);
            }
        } else {
            range.token.clone_from(&next);
            let prefix = self.prefix.clone();
            step.requests.push((id, ListRequest { prefix, token: next, ..ListRequest::default() }));
            self.ranges.insert(id, range);
        }
        self.cut_more(&mut step);
        Ok(step)
    }

    /// Stores that include `start_after` itself are put right; on one that ignores it, cutting is of no use.
    fn drop_before_low(&mut self, range: &Range, rows: &mut Vec<ObjectRow>) {
        let Some(low) = range.low.as_deref().filter(|_| !range.found) else { return };
        let before = rows.iter().take_while(|row| row.key.as_bytes() <= low).count();
        if rows.first().is_some_and(|row| row.key.as_bytes() < low) {
            self.can_cut = false;
        }
        rows.drain(..before);
    }

    /// The first key of a range tells how far its left neighbour is filled.
    fn look_left(&mut self, range: &mut Range, first: &[u8]) {
        let Some(low) = range.low.as_deref() else { return };
        let near = |range: &Range| {
            let (low, first) = (Numbered::parse(low)?, Numbered::parse(first)?);
            let gap = first.position(self.per_log).saturating_sub(low.position(self.per_log));
            low.same_run(&first).then_some(gap as f64 * range.density <= 0.5 * self.page_rows)
        };
        let near = near(range);
        let is_near = near.unwrap_or(false);
        if !is_near {
            range.reach = REACH_FIRST;
        }
        self.has_runs |= near.is_none();
        self.settle_left(range, is_near);
    }

    fn settle_left(&mut self, range: &Range, is_near: bool) {
        if let Some(left) = range.left.and_then(|left| self.ranges.get_mut(&left))
            && left.end == range.low
        {
            left.end_live = is_near;
            left.probing = false;
        }
    }

    fn learn(&mut self, range: &mut Range, rows: &[ObjectRow]) {
        if self.pages <= PAGES_TO_LEARN {
            self.per_log = learn_per_log(rows.iter().map(|row| row.key.as_bytes()), self.per_log);
        }
        let Some(last) = rows.last().and_then(|row| Numbered::parse(row.key.as_bytes())) else { return };
        let run = last.run_prefix();
        let from = rows.partition_point(|row| row.key.as_bytes() < run.as_slice());
        let Some(first) = rows[from..].iter().find_map(|row| Numbered::parse(row.key.as_bytes())) else { return };
        let span = last.position(self.per_log).saturating_sub(first.position(self.per_log)) + 1;
        // A handful of keys says little.
        if rows.len() - from >= 10 {
            range.density = (rows.len() - from) as f64 / span as f64;
        }
    }

    /// Pages certain to be needed: those that came, and those in ranges filled up to their end.
    fn pages_needed(&self) -> f64 {
        let ahead: f64 = self.ranges.values().filter_map(|range| self.pages_left(range)).sum();
        self.pages as f64 - self.wasted + 0.9 * ahead
    }

    /// Pages left in a range that is filled up to its end, the one in flight included.
    fn pages_left(&self, range: &Range) -> Option<f64> {
        if !range.end_live || range.density > DENSITY_MAX {
            return None;
        }
        let (cursor, end) = (Numbered::parse(range.cursor.as_deref()?)?, Numbered::parse(range.end.as_deref()?)?);
        let span = end.position(self.per_log).saturating_sub(cursor.position(self.per_log));
        cursor.same_run(&end).then_some(span as f64 * range.density / self.unit())
    }

    /// Keys of a page, as cuts count them.
    fn unit(&self) -> f64 {
        (self.page_rows * PAGE_SHARE).floor().max(1.0)
    }

    /// Gives free listers something to do, as long as the budget allows.
    fn cut_more(&mut self, step: &mut Step) {
        while self.can_cut && self.ranges.len() < self.listers {
            let expected: f64 = self
                .ranges
                .values()
                .map(|range| {
                    let end = if range.end.is_some() { range.end_cost } else { 0.0 };
                    end + if range.found { 0.0 } else { range.risk }
                })
                .sum();
            let left = EXTRA_SHARE * self.pages_needed() - self.wasted - expected;
            let affordable = |cut: &Cut| cut.end_cost + cut.risk <= left;
            let Some(cut) = self
                .skip()
                .filter(affordable)
                .or_else(|| self.probe().filter(affordable))
                .or_else(|| self.halve().filter(affordable))
                .or_else(|| self.blind().filter(affordable))
            else {
                return;
            };
            self.apply(cut, step);
        }
    }

    fn apply(&mut self, cut: Cut, step: &mut Step) {
        let Some(left) = self.ranges.get_mut(&cut.range) else { return };
        self.cuts.push(ObjectKey::new(cut.at.as_slice()));
        let right = Range {
            low: Some(cut.at.clone()),
            cursor: Some(cut.at.clone()),
            end: left.end.replace(cut.at),
            end_live: left.end_live,
            probing: left.probing,
            left: Some(cut.range),
            density: left.density,
            reach: cut.reach,
            end_cost: left.end_cost,
            risk: cut.risk,
            ..Range::default()
        };
        left.skipped |= cut.is_skip;
        left.end_live = cut.live;
        left.probing = !cut.live;
        left.end_cost = cut.end_cost;
        let id = self.open(right, step);
        // Whoever waits for news on its left now has another neighbour there.
        for range in self.ranges.values_mut().filter(|range| range.left == Some(cut.range)) {
            range.left = Some(id);
        }
        if let Some(right) = self.ranges.get_mut(&id) {
            right.left = Some(cut.range);
        }
    }

    /// Looks for the next run of numbers, once it is clear that there are several: timelines, backups beside WAL.
    fn skip(&self) -> Option<Cut> {
        let open = self.ranges.iter().filter(|(_, range)| {
            self.has_runs && range.found && !range.end_live && !range.probing && !range.skipped && counts(range)
        });
        let (id, at) = open
            .filter_map(|(id, range)| {
                // Behind all digits; history files of the same timeline come before.
                let at = [&Numbered::parse(range.cursor.as_deref()?)?.run_prefix()[..], b"~"].concat();
                self.is_inside(range, &at).then_some((id, at))
            })
            .next_back()?;
        Some(Cut { range: *id, at, live: false, is_skip: true, end_cost: 0.5, risk: 0.7, reach: REACH_FIRST })
    }

    /// Looks how far a run of numbers goes, from the range that has shown most.
    fn probe(&self) -> Option<Cut> {
        let open = self.ranges.iter().filter(|(_, range)| range.found && !range.end_live && !range.probing);
        let (id, range, at) = open
            .filter_map(|(id, range)| Some((id, range, self.probe_at(range)?)))
            .max_by_key(|(_, range, _)| range.pages)?;
        let reach = reach_of(range) * REACH_FACTOR;
        Some(Cut { range: *id, at, live: false, is_skip: false, end_cost: 0.25, risk: 0.7, reach })
    }

    fn probe_at(&self, range: &Range) -> Option<Vec<u8>> {
        let cursor = Numbered::parse(range.cursor.as_deref()?)?;
        if range.density > DENSITY_MAX {
            return None;
        }
        let page = (self.unit() / range.density).max(1.0);
        let from = cursor.position(self.per_log);
        let end = range.end.as_deref().and_then(Numbered::parse).filter(|end| end.same_run(&cursor));
        let ahead = match end {
            // Nothing close behind the end: half way there.
            Some(end) => {
                let span = end.position(self.per_log).saturating_sub(from) as f64;
                if span <= 2.0 * PAGES_TO_CUT * page {
                    return None;
                }
                span / 2.0
            }
            None => (1.0 + reach_of(range)) * page,
        };
        let at = cursor.key_at(from.checked_add(ahead as u64)?, self.per_log)?;
        self.is_inside(range, &at).then_some(at)
    }

    /// Halves what is left of the range with most left.
    fn halve(&self) -> Option<Cut> {
        let most = |a: &(&u64, &Range, f64), b: &(&u64, &Range, f64)| a.2.total_cmp(&b.2);
        let ranges = self.ranges.iter().filter_map(|(id, range)| Some((id, range, self.pages_left(range)?)));
        let (id, range, left) = ranges.filter(|(_, _, left)| *left >= PAGES_TO_CUT).max_by(most)?;
        let cursor = Numbered::parse(range.cursor.as_deref()?)?;
        // Whole pages, the one in flight first: where numbers have one key each, the last page then ends at the cut.
        let keys = (left / 2.0).floor().max(1.0) * self.unit();
        let ahead = (keys / range.density).max(1.0);
        let at = cursor.key_at(cursor.position(self.per_log).checked_add(ahead as u64)?, self.per_log)?;
        let end_cost = if (range.density - 1.0).abs() < 0.01 { 0.1 } else { 0.5 };
        self.is_inside(range, &at).then_some(Cut {
            range: *id,
            at,
            live: true,
            is_skip: false,
            end_cost,
            risk: 0.1,
            reach: range.reach,
        })
    }

    /// Cuts a range that has come far and whose names do not count: behind a folder, else by bytes.
    fn blind(&self) -> Option<Cut> {
        let open = self.ranges.iter().filter(|(_, range)| {
            range.found && !range.probing && range.pages >= PAGES_BEFORE_BLIND_CUT && !counts(range)
        });
        let cut = open.filter_map(|(id, range)| {
            let (cursor, high) = (range.cursor.as_deref()?, range.end.as_deref());
            let first = range.first.as_deref()?;
            let at = behind_folder(&self.prefix, first, cursor, high)
                .or_else(|| ahead(&self.prefix, first, cursor, high))
                .or_else(|| between(&self.prefix, cursor, high))?;
            self.is_inside(range, &at).then_some((id, range.pages, at))
        });
        let (id, _, at) = cut.max_by_key(|(_, pages, _)| *pages)?;
        Some(Cut { range: *id, at, live: false, is_skip: false, end_cost: 0.5, risk: 0.7, reach: REACH_FIRST })
    }

    /// A cut must lie inside the range and be text: stores take no other `start_after`.
    fn is_inside(&self, range: &Range, at: &[u8]) -> bool {
        at.starts_with(&self.prefix)
            && range.cursor.as_deref().is_none_or(|cursor| cursor < at)
            && range.end.as_deref().is_none_or(|end| at < end)
            && std::str::from_utf8(at).is_ok()
    }

    /// Pages asked for so far.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }
}

/// Whether the names of a range tell how far it has come.
fn counts(range: &Range) -> bool {
    range.density <= DENSITY_MAX && range.cursor.as_deref().is_some_and(|cursor| Numbered::parse(cursor).is_some())
}

/// Pages that the next probe jumps ahead: more where much was already seen.
fn reach_of(range: &Range) -> f64 {
    range.reach.max(f64::from(range.pages))
}

fn is_last(rows: &[ObjectRow], key: &[u8]) -> bool {
    rows.last().is_some_and(|row| row.key.as_bytes() == key)
}

/// A listing out of order cannot be cut anywhere without losing keys.
fn check_order(range: &Range, rows: &[ObjectRow]) -> Result<(), StoreError> {
    let cursor = range.cursor.as_deref().map(|cursor| (cursor, rows.first().map(|row| row.key.as_bytes())));
    let mut bad = match cursor {
        Some((cursor, Some(first))) if first <= cursor => rows.first(),
        _ => None,
    };
    bad = bad.or_else(|| rows.windows(2).find(|pair| pair[0].key >= pair[1].key).map(|pair| &pair[1]));
    match bad {
        None => Ok(()),
        Some(row) => Err(StoreError::new(
            StoreErrorKind::Protocol,
            format!("the store does not list in key order: {} comes too late", row.key),
        )
        .advise("list it with --connections 1")),
    }
}

/// Refuses a listing that never gets anywhere.
fn check_progress(range: &mut Range, rows: usize, token: Option<&str>) -> Result<(), StoreError> {
    range.empty_pages = if rows == 0 { range.empty_pages + 1 } else { 0 };
    let is_circle = token.is_some() && range.token.as_deref() == token;
    if is_circle || range.empty_pages > EMPTY_PAGES_MAX {
        let what = if is_circle { "goes round in circles" } else { "shows 1000 empty pages in a row" };
        return Err(StoreError::new(StoreErrorKind::Protocol, format!("the listing {what}")));
    }
    Ok(())
}
