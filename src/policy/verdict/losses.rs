//! What the objects that are there lose: each one before and after, then backups, then the window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::policy::Span;
use crate::policy::config::LayoutName;
use crate::policy::lifecycle::{Fate, ObjectTable, RuleRef, Simulator};
use crate::policy::retention::{RestorePoint, promised_until};
use crate::policy::shape::{BackupUnit, Shape, shape};

use super::scope::Scope;

/// Microseconds since 1970; the largest number is "never".
type Us = i64;
const NEVER: Us = i64::MAX;

fn us(at: Option<Timestamp>) -> Us {
    at.map_or(NEVER, Timestamp::as_microsecond)
}

pub(super) fn moment(at: Us) -> Option<Timestamp> {
    if at == NEVER { None } else { Timestamp::from_microsecond(at).ok() }
}

/// Both sides of every object of a bucket.
pub(super) struct Ends {
    /// Hidden or deleted.
    ended: [Vec<Us>; 2],
    /// Deleted for good.
    gone: [Vec<Us>; 2],
    /// The rule that ends it after the change.
    rule: Vec<Option<RuleRef>>,
    /// Something unknown could make the end later.
    possible: Vec<bool>,
}

const BEFORE: usize = 0;
const AFTER: usize = 1;

impl Ends {
    pub fn new(table: &ObjectTable, before: &Simulator, after: &Simulator) -> Self {
        let side = |simulator: &Simulator, mut each: Box<dyn FnMut(&Fate) + '_>| {
            let (mut ended, mut gone) = (Vec::with_capacity(table.len()), Vec::with_capacity(table.len()));
            simulator.each(table, |_, fate| {
                ended.push(us(fate.ended().map(|ending| ending.at)));
                gone.push(us(fate.gone_at()));
                each(fate);
            });
            (ended, gone)
        };
        let (ended_before, gone_before) = side(before, Box::new(|_| {}));
        let (mut rule, mut possible) = (Vec::with_capacity(table.len()), Vec::with_capacity(table.len()));
        let (ended_after, gone_after) = side(
            after,
            Box::new(|fate| {
                rule.push(fate.ended().and_then(|ending| ending.rule));
                possible.push(fate.possible);
            }),
        );
        Ends { ended: [ended_before, ended_after], gone: [gone_before, gone_after], rule, possible }
    }
}

impl Ends {
    /// An object is deleted by hand: hidden at least, and gone where no old version is kept and no lock holds it.
    pub fn delete(&mut self, index: usize, at: Timestamp, keeps_versions: bool, locked_until: Option<Timestamp>) {
        let at = at.as_microsecond();
        self.ended[AFTER][index] = self.ended[AFTER][index].min(at);
        if !keeps_versions {
            let gone = locked_until.map_or(at, |until| until.as_microsecond().max(at));
            self.gone[AFTER][index] = self.gone[AFTER][index].min(gone);
        }
        self.rule[index] = None;
        self.possible[index] = false;
    }
}

/// An object that lives shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObjectLoss {
    /// Its key.
    pub key: String,
    /// When its bytes may be gone without the change; null: never.
    pub gone_before: Option<Timestamp>,
    /// When they may be gone with it.
    pub gone_after: Option<Timestamp>,
    /// The rule that takes it.
    pub rule: Option<String>,
    /// Something unknown (tags) could spare it.
    pub possible: bool,
}

/// Numbers over all objects of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Objects in the bucket.
    pub objects_total: usize,
    /// Objects whose bytes may be gone earlier than without the change.
    pub objects_with_shorter_life: usize,
    /// Of these, the ones that may go as soon as it is applied.
    pub eligible_at_apply: usize,
    /// Objects that are hidden earlier, though their bytes stay.
    pub objects_hidden_earlier: usize,
    /// Objects that live shorter, by the folders they lie in.
    pub by_prefix_shortened: BTreeMap<String, usize>,
    /// Objects that may go at once, by the folders they lie in.
    pub by_prefix_at_apply: BTreeMap<String, usize>,
    /// All objects, by the folders they lie in, where any is concerned.
    pub by_prefix_total: BTreeMap<String, usize>,
    /// When the oldest backup was taken that is there when the change is applied.
    pub oldest_backup_before: Option<Timestamp>,
    /// The same once the change has been applied.
    pub oldest_backup_after_apply: Option<Timestamp>,
}

/// Objects listed one by one, at most; the counts are always whole.
const LISTED_MAX: usize = 100_000;
/// Folders counted apart, at most.
const PREFIXES_MAX: usize = 1_000;

/// The first two folders of a key.
pub fn folders(key: &[u8]) -> String {
    let mut slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    let end = match (slashes.next(), slashes.next()) {
        (_, Some(second)) => second,
        (Some(first), None) => first,
        (None, None) => 0,
    };
    String::from_utf8_lossy(&key[..end]).into_owned()
}

/// Counts over a bucket, and the objects behind them.
pub(super) fn summary(
    table: &ObjectTable,
    ends: &Ends,
    after: &Simulator,
    apply_at: Timestamp,
) -> (Summary, Vec<ObjectLoss>) {
    let apply = apply_at.as_microsecond();
    let mut summary = Summary::default();
    let mut listed = Vec::new();
    let count = |map: &mut BTreeMap<String, usize>, folder: &str| {
        if map.len() < PREFIXES_MAX || map.contains_key(folder) {
            *map.entry(folder.to_owned()).or_default() += 1;
        }
    };
    for index in 0..table.len() {
        let object = table.get(index);
        if object.delete_marker {
            continue;
        }
        summary.objects_total += 1;
        let (before_gone, after_gone) = (ends.gone[BEFORE][index], ends.gone[AFTER][index]);
        if after_gone >= before_gone {
            let hidden = ends.ended[AFTER][index] < ends.ended[BEFORE][index];
            summary.objects_hidden_earlier += usize::from(hidden);
            continue;
        }
        let folder = folders(object.key);
        summary.objects_with_shorter_life += 1;
        count(&mut summary.by_prefix_shortened, &folder);
        if after_gone <= apply {
            summary.eligible_at_apply += 1;
            count(&mut summary.by_prefix_at_apply, &folder);
        }
        if listed.len() < LISTED_MAX {
            listed.push(ObjectLoss {
                key: crate::model::ObjectKey::new(object.key).to_string(),
                gone_before: moment(before_gone),
                gone_after: moment(after_gone),
                rule: ends.rule[index].map(|rule| after.rules().name(rule)),
                possible: ends.possible[index],
            });
        }
    }
    for index in 0..table.len() {
        let folder = folders(table.key(index));
        if summary.by_prefix_shortened.contains_key(&folder) {
            count(&mut summary.by_prefix_total, &folder);
        }
    }
    (summary, listed)
}

/// A backup that ends before the policy allows, and earlier than without the change.
#[derive(Debug, Clone)]
pub(super) struct BackupLoss {
    pub name: String,
    pub taken: Timestamp,
    /// First of its needs to go, without the change; `None`: never.
    pub before: Option<Timestamp>,
    /// The same with it.
    pub after: Timestamp,
    /// Until when it is promised; `None`: for ever.
    pub promised: Option<Timestamp>,
    /// The object that goes first.
    pub object: String,
    pub rule: Option<RuleRef>,
    /// Bytes are gone, not only hidden.
    pub gone: bool,
    /// A delta that would have lived, but an ancestor goes.
    pub by_ancestor: bool,
    pub possible: bool,
}

/// When the recovery window falls below its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowBreak {
    pub at: Timestamp,
    /// The oldest moment that can then still be recovered.
    pub oldest: Option<Timestamp>,
}

/// What one archive loses.
pub(super) struct ScopeLosses {
    pub units: usize,
    pub backups: Vec<BackupLoss>,
    /// Backups marked permanent that a rule ends, with when.
    pub permanent: Vec<(String, Timestamp, Option<RuleRef>)>,
    pub window_before: Option<WindowBreak>,
    pub window_after: Option<WindowBreak>,
    /// The oldest backup that is usable at the moment of the change.
    pub oldest: [Option<Timestamp>; 2],
    /// Median distance between full backups.
    pub cadence: Option<Span>,
}

/// Ends of one side of a backup.
#[derive(Clone, Copy)]
struct UnitEnd {
    at: Us,
    object: usize,
    gone: Us,
}

pub(super) fn scope_losses(
    scope: &Scope,
    table: &ObjectTable,
    given: Option<&[BackupUnit]>,
    ends: &Ends,
    apply_at: Timestamp,
) -> ScopeLosses {
    let mut found = shape(scope.layout, scope.pattern.as_ref(), &scope.root, table);
    if let Some(given) = given {
        let root = scope.root.as_bytes();
        let inside = |unit: &&BackupUnit| unit.objects.iter().all(|at| table.key(*at as usize).starts_with(root));
        let own: Vec<BackupUnit> = given.iter().filter(inside).cloned().collect();
        // Parents are places in the whole list, which an archive of its own may not begin.
        let first = given.iter().position(|unit| inside(&unit)).unwrap_or(0);
        if !own.is_empty() {
            found.backups = own;
            for unit in &mut found.backups {
                unit.parent = unit.parent.and_then(|parent| parent.checked_sub(first));
            }
        }
    }
    let own: [Vec<UnitEnd>; 2] =
        [BEFORE, AFTER].map(|side| found.backups.iter().map(|unit| own_end(unit, ends, side)).collect());
    let whole: [Vec<UnitEnd>; 2] = [BEFORE, AFTER].map(|side| with_needs(&found, &own[side], ends, side));
    let promised = promises(scope, &found, &whole[BEFORE]);
    let mut losses = ScopeLosses {
        units: found.backups.len(),
        backups: Vec::new(),
        permanent: Vec::new(),
        window_before: None,
        window_after: None,
        oldest: [None; 2],
        cadence: cadence(&found.backups),
    };
    for (at, unit) in found.backups.iter().enumerate() {
        let (before, after) = (whole[BEFORE][at], whole[AFTER][at]);
        if after.at >= before.at {
            continue;
        }
        let Some(end) = moment(after.at) else { continue };
        if unit.permanent {
            losses.permanent.push((unit.name.clone(), end, ends.rule[after.object]));
        }
        let Some(promise) = promised[at] else { continue };
        if promise.is_some_and(|promise| end >= promise) {
            continue;
        }
        losses.backups.push(BackupLoss {
            name: unit.name.clone(),
            taken: unit.taken,
            before: moment(before.at),
            after: end,
            promised: promise,
            object: crate::model::ObjectKey::new(table.key(after.object)).to_string(),
            rule: ends.rule[after.object],
            gone: after.gone <= after.at,
            by_ancestor: !unit.full
                && own[AFTER][at].at > after.at
                && promise.is_none_or(|p| own[AFTER][at].at >= us(Some(p))),
            possible: ends.possible[after.object],
        });
    }
    let apply = apply_at.as_microsecond();
    for side in [BEFORE, AFTER] {
        let alive = found.backups.iter().zip(&whole[side]).filter(|(_, end)| end.at > apply);
        losses.oldest[side] = alive.map(|(unit, _)| unit.taken).min();
    }
    if let Some(window) = scope.policy.recovery_window.copied().filter(|window| *window > Span::ZERO)
        && scope.layout != LayoutName::Files
    {
        let reach = [BEFORE, AFTER].map(|side| reach(&found, &whole[side], ends, side));
        // A young archive promises no more than its beginning.
        let began = found.backups.iter().map(|unit| unit.taken).min();
        if let Some(began) = began {
            losses.window_before = breaks(&found.backups, &reach[BEFORE], window, began, apply_at);
            losses.window_after = breaks(&found.backups, &reach[AFTER], window, began, apply_at);
        }
    }
    losses
}

/// The first object of a backup to go.
fn own_end(unit: &BackupUnit, ends: &Ends, side: usize) -> UnitEnd {
    let mut first = UnitEnd { at: NEVER, object: unit.objects.first().map_or(0, |at| *at as usize), gone: NEVER };
    for object in unit.objects.iter().map(|at| *at as usize).filter(|at| *at < ends.rule.len()) {
        if ends.ended[side][object] < first.at {
            first = UnitEnd { at: ends.ended[side][object], object, gone: ends.gone[side][object] };
        }
    }
    first
}

/// With the WAL from its start to its stop, and with its ancestors.
fn with_needs(shape: &Shape, own: &[UnitEnd], ends: &Ends, side: usize) -> Vec<UnitEnd> {
    let mut whole: Vec<UnitEnd> = own.to_vec();
    for (at, unit) in shape.backups.iter().enumerate() {
        if let (Some(start), Some(stop)) = (unit.start, unit.stop) {
            let from = shape.wal.partition_point(|(name, _)| name.position() < start.position());
            let needed = shape.wal[from..].iter().take_while(|(name, _)| name.position() <= stop.position());
            for (_, object) in needed.filter(|(name, _)| name.timeline == start.timeline) {
                let object = *object as usize;
                if ends.ended[side][object] < whole[at].at {
                    whole[at] = UnitEnd { at: ends.ended[side][object], object, gone: ends.gone[side][object] };
                }
            }
        }
    }
    // Parents may stand anywhere in a given list; a loop of parents ends after as many steps as there are backups.
    let alone = whole.clone();
    for (at, end) in whole.iter_mut().enumerate() {
        let mut up = at;
        for _ in 0..shape.backups.len() {
            let Some(parent) = shape.backups[up].parent.filter(|parent| *parent < alone.len()) else { break };
            if alone[parent].at < end.at {
                *end = alone[parent];
            }
            up = parent;
        }
    }
    whole
}

/// Until when each backup is promised. `None`: no promise; `Some(None)`: for ever.
fn promises(scope: &Scope, shape: &Shape, before: &[UnitEnd]) -> Vec<Option<Option<Timestamp>>> {
    let retention = &scope.policy.retention;
    let points: Vec<RestorePoint> = shape
        .backups
        .iter()
        .zip(before)
        .map(|(unit, end)| RestorePoint { taken: unit.taken, usable_until: moment(end.at) })
        .collect();
    let tiers_named = scope.pattern.as_ref().is_some_and(|pattern| pattern.has_tier());
    if tiers_named {
        // The key says which promise a backup is kept for.
        let keep = |unit: &BackupUnit| unit.tier.and_then(|tier| tier.keep(retention));
        return shape.backups.iter().map(|unit| keep(unit).map(|keep| keep.after(unit.taken))).collect();
    }
    let mut promised = promised_until(&points, retention);
    let window = scope.policy.recovery_window.copied().filter(|window| *window > Span::ZERO);
    if let (LayoutName::Files, Some(window)) = (scope.layout, window) {
        // Without WAL a window can only mean that the backups of that time are there.
        for (promise, unit) in promised.iter_mut().zip(&shape.backups) {
            let until = window.after(unit.taken);
            *promise = match *promise {
                Some(None) => Some(None),
                Some(Some(known)) => Some(until.map(|until| until.max(known))),
                None => Some(until),
            };
        }
    }
    promised
}

/// Until when recovery from each backup reaches the newest WAL: it and everything behind its start have to be there.
fn reach(shape: &Shape, whole: &[UnitEnd], ends: &Ends, side: usize) -> Vec<Us> {
    // By position, the longest-lived copy counts: after a fork one of two segments may be a dead branch's.
    let mut positions: Vec<(u64, Us)> = Vec::new();
    for (name, object) in &shape.wal {
        let end = ends.ended[side][*object as usize];
        match positions.last_mut() {
            Some((position, longest)) if *position == name.position() => *longest = (*longest).max(end),
            _ => positions.push((name.position(), end)),
        }
    }
    let mut from_here = vec![NEVER; positions.len() + 1];
    for at in (0..positions.len()).rev() {
        from_here[at] = from_here[at + 1].min(positions[at].1);
    }
    let each = |(unit, end): (&BackupUnit, &UnitEnd)| match unit.start {
        Some(start) => {
            let at = positions.partition_point(|(position, _)| *position < start.position());
            end.at.min(from_here[at])
        }
        None => end.at,
    };
    shape.backups.iter().zip(whole).map(each).collect()
}

/// The first moment from the change on at which no backup reaches back as far as promised. Between two endings nothing
/// changes, so only these are looked at.
fn breaks(
    units: &[BackupUnit],
    reach: &[Us],
    window: Span,
    began: Timestamp,
    apply_at: Timestamp,
) -> Option<WindowBreak> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|at| units[*at].taken);
    let taken: Vec<Us> = order.iter().map(|at| units[*at].taken.as_microsecond()).collect();
    let mut longest = Vec::with_capacity(order.len());
    let mut best = Us::MIN;
    for at in &order {
        best = best.max(reach[*at]);
        longest.push(best);
    }
    let apply = apply_at.as_microsecond();
    let last = us(window.after(apply_at));
    let mut moments: Vec<Us> = reach.iter().copied().filter(|end| *end > apply && *end < last).collect();
    moments.push(apply);
    moments.sort_unstable();
    for at in moments {
        let edge = window.before(moment(at)?).max(began).as_microsecond();
        let old_enough = taken.partition_point(|taken| *taken <= edge);
        let holds = old_enough > 0 && longest[old_enough - 1] > at;
        if !holds {
            let usable = order.iter().zip(&taken).filter(|(unit, _)| reach[**unit] > at).map(|(_, taken)| *taken).min();
            return Some(WindowBreak { at: moment(at)?, oldest: usable.and_then(moment) });
        }
    }
    None
}

/// Median distance between full backups; `None` with fewer than three.
fn cadence(units: &[BackupUnit]) -> Option<Span> {
    let mut taken: Vec<Timestamp> = units.iter().filter(|unit| unit.full).map(|unit| unit.taken).collect();
    taken.sort();
    let mut gaps: Vec<Span> = taken.windows(2).map(|pair| Span::between(pair[0], pair[1])).collect();
    gaps.sort();
    (gaps.len() >= 2).then(|| gaps[gaps.len() / 2])
}
