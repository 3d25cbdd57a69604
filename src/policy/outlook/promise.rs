//! What is promised, against what the rules leave.

use crate::catalog::{Archive, LayoutKind};
use crate::model::Timestamp;
use crate::policy::retention::{ForecastPoint, RestorePoint, Tier, promised_until};
use crate::policy::{Policy, Span};

use super::{BackupOutlook, End, Need, OutlookInput};

/// A backup that ends before the policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromiseLoss {
    /// Its place in the archive.
    pub backup: usize,
    /// The first of its needs to go.
    pub end: End,
    /// Until when it is promised; `None`: for ever.
    pub promised: Option<Timestamp>,
    /// A delta whose own objects live long enough: an ancestor goes.
    pub by_ancestor: bool,
}

impl PromiseLoss {
    /// How much too early.
    pub fn early(&self) -> Span {
        self.promised.map_or(Span::FOREVER, |promised| Span::between(self.end.at, promised))
    }
}

/// When the recovery window falls below its promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowBreak {
    /// From when.
    pub at: Timestamp,
    /// The oldest moment that can then still be recovered, through to the newest.
    pub oldest: Option<Timestamp>,
    /// What goes at that moment.
    pub end: Option<End>,
}

/// Backups that generations promise (and, where there is no WAL, the window), and that the rules take earlier.
pub(super) fn losses(input: &OutlookInput<'_>, policy: &Policy, backups: &[BackupOutlook]) -> Vec<PromiseLoss> {
    let archive = input.archive;
    let usable: Vec<usize> = (0..archive.backups.len())
        .filter(|at| input.recovery.standings[*at].is_usable() && archive.backups[*at].finished_at.is_known())
        .collect();
    let mut losses = Vec::new();
    for (at, promised) in promises(input, policy, backups, &usable) {
        let Some(end) = &backups[at].ends else { continue };
        if promised.is_some_and(|promised| end.at >= promised) {
            continue;
        }
        let own = backups[at].own_ends.as_ref().map(|own| own.at);
        let own_holds = match (own, promised) {
            (None, _) => true,
            (Some(own), Some(promised)) => own >= promised,
            (Some(_), None) => false,
        };
        let by_ancestor = backups[at].need == Need::Ancestor && own_holds;
        losses.push(PromiseLoss { backup: at, end: end.clone(), promised, by_ancestor });
    }
    losses
}

/// Places of backups that are promised, with until when; `None`: for ever.
fn promises(
    input: &OutlookInput<'_>,
    policy: &Policy,
    backups: &[BackupOutlook],
    usable: &[usize],
) -> Vec<(usize, Option<Timestamp>)> {
    let archive = input.archive;
    let taken = |at: usize| archive.backups[at].finished_at.copied().unwrap_or(Timestamp::UNIX_EPOCH);
    if archive.layout == LayoutKind::Files && input.pattern.is_some_and(|pattern| pattern.has_tier()) {
        // The key says which promise a backup is kept for.
        let promised = |at: &usize| {
            let tier = archive.backups[*at].series.as_deref()?.rsplit(' ').next()?;
            let keep = Tier::parse(tier.as_bytes())?.keep(&policy.retention)?;
            Some((*at, keep.after(taken(*at))))
        };
        return usable.iter().filter_map(promised).collect();
    }
    let mut found = Vec::new();
    let subjects: std::collections::BTreeSet<Option<&str>> =
        usable.iter().map(|at| archive.backups[*at].subject.as_deref()).collect();
    let window = policy.recovery_window.copied().filter(|window| *window > Span::ZERO);
    for subject in subjects {
        let own: Vec<usize> =
            usable.iter().copied().filter(|at| archive.backups[*at].subject.as_deref() == subject).collect();
        let points: Vec<RestorePoint> = own
            .iter()
            .map(|at| RestorePoint { taken: taken(*at), usable_until: backups[*at].ends.as_ref().map(|end| end.at) })
            .collect();
        for (at, promise) in own.iter().zip(promised_until(&points, &policy.retention)) {
            // Without WAL a window can only mean that the backups of that time are there.
            let window = window.filter(|_| archive.layout == LayoutKind::Files).map(|window| window.after(taken(*at)));
            match (promise, window) {
                (None, None) => {}
                (Some(one), None) | (None, Some(one)) => found.push((*at, one)),
                (Some(a), Some(b)) => found.push((*at, a.zip(b).map(|(a, b)| a.max(b)))),
            }
        }
    }
    found.sort_unstable();
    found
}

/// The first moment from now on at which no backup reaches back as far as promised. What is short today is another
/// rule's; between two endings nothing changes, so only these are looked at.
pub(super) fn window_break(
    archive: &Archive,
    policy: &Policy,
    backups: &[BackupOutlook],
    points: &[ForecastPoint],
    as_of: Timestamp,
) -> Option<WindowBreak> {
    let window = policy.recovery_window.copied().filter(|window| *window > Span::ZERO)?;
    if archive.layout == LayoutKind::Files {
        return None;
    }
    // A young archive promises no more than its beginning.
    let began = points.iter().map(|point| point.consistent_at).min()?;
    let end = |point: &ForecastPoint| point.reaches_until.unwrap_or(Timestamp::MAX);
    let mut order: Vec<&ForecastPoint> = points.iter().collect();
    order.sort_by_key(|point| point.consistent_at);
    let mut longest: Vec<Timestamp> = Vec::with_capacity(order.len());
    for point in &order {
        let before = longest.last().copied().unwrap_or(Timestamp::MIN);
        longest.push(before.max(end(point)));
    }
    let holds = |at: Timestamp| {
        let edge = window.before(at).max(began);
        let old_enough = order.partition_point(|point| point.consistent_at <= edge);
        old_enough > 0 && longest[old_enough - 1] > at
    };
    // Behind that, backups that are still to come carry the promise.
    let last = window.after(as_of).unwrap_or(Timestamp::MAX);
    let mut moments: Vec<Timestamp> =
        points.iter().filter_map(|point| point.reaches_until).filter(|end| *end >= as_of && *end < last).collect();
    moments.sort();
    moments.dedup();
    let at = moments.into_iter().find(|at| !holds(*at))?;
    let ends = backups.iter().filter_map(|backup| backup.reach_ends.as_ref());
    let deciding = ends.filter(|end| end.at == at).min_by(|a, b| a.object.cmp(&b.object)).cloned();
    // Nothing goes by a rule: the window is short for another reason, today already.
    let deciding = deciding?;
    let oldest = order.iter().find(|point| end(point) > at).map(|point| point.consistent_at);
    Some(WindowBreak { at, oldest, end: Some(deciding) })
}
