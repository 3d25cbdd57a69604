//! Will it still be recoverable next month? What a bucket's rules do to one archive that gets nothing new, and what they
//! guarantee as long as it does.
//!
//! A pure function of the archive, the rules, the policy and the moment: only moments at which something ends are looked
//! at, so the answer is exact and costs nothing for each day.

mod bucket;
mod ends;
mod promise;
mod tool;

pub use bucket::{BucketRules, EndKind};
pub use ends::{BackupOutlook, End, Need};
pub use promise::{PromiseLoss, WindowBreak};
pub use tool::{ToolOutlook, tool_outlook};

use crate::catalog::{Archive, LayoutKind, Recovery};
use crate::model::Timestamp;
use crate::policy::config::{Config, LayoutName};
use crate::policy::files::FilePattern;
use crate::policy::lifecycle::{RuleRef, Simulator};
use crate::policy::retention::{ForecastPoint, ForecastStep, forecast};
use crate::policy::verdict::{Guaranteed, Standing, judge_standing};
use crate::policy::{PlanFinding, Policy, Span};

/// Everything an outlook is made from.
#[derive(Debug, Clone, Copy)]
pub struct OutlookInput<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// What can be recovered from it today.
    pub recovery: &'a Recovery,
    /// Its bucket's rules.
    pub bucket: &'a BucketRules,
    /// What every key of the archive begins with in its bucket; empty or ending in `/`.
    pub root: &'a [u8],
    /// The moment.
    pub as_of: Timestamp,
    /// The promises of its cluster.
    pub policy: Option<&'a Policy>,
    /// The name of its cluster, for messages.
    pub cluster: Option<&'a str>,
    /// For layout `files`: what keys look like.
    pub pattern: Option<&'a FilePattern>,
    /// The whole configuration, for archives that share the bucket.
    pub config: Option<&'a Config>,
}

/// What a bucket's rules do to one archive.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// The rules.
    pub bucket: BucketRules,
    /// One for each backup, in the order of the archive's.
    pub backups: Vec<BackupOutlook>,
    /// The newest moment that can be recovered today.
    pub newest: Option<Timestamp>,
    /// The window as a step function of the date, from today on, if nothing new is uploaded.
    pub steps: Vec<ForecastStep>,
    /// What the rules guarantee while backups go on as they did; `None` where no distance between them is known.
    pub guaranteed: Option<Guaranteed>,
    /// Backups that end before the policy allows.
    pub losses: Vec<PromiseLoss>,
    /// When the window falls below its promise although uploads go on.
    pub window_break: Option<WindowBreak>,
    /// Rules that match no object of the archive though they name its folders.
    pub unmatched: Vec<RuleRef>,
    /// What the rules' own words and lifetimes give, by the same measure as a planned change.
    pub findings: Vec<PlanFinding>,
}

impl Outlook {
    /// Works it out.
    pub fn of(input: OutlookInput<'_>) -> Outlook {
        let OutlookInput { archive, recovery, bucket, as_of, .. } = input;
        // What is there now has not been taken yet, however long it is overdue: from now on it may be.
        let simulator = Simulator::new(bucket.rules.clone(), bucket.settings(Some(as_of)));
        let eye = ends::Eye { simulator: &simulator, prefix: input.root, as_of };
        let backups = ends::backups(archive, recovery, &eye);
        let newest = recovery.latest_window().and_then(|window| Some(window.to?.at_least)).or_else(|| {
            let usable = archive.backups.iter().zip(&recovery.standings).filter(|(_, standing)| standing.is_usable());
            usable.filter_map(|(backup, _)| backup.finished_at.copied()).max()
        });
        let points = points(archive, recovery, &backups, as_of, |backup| (&backup.usable_until, &backup.reaches_until));
        let steps = newest.map_or_else(Vec::new, |newest| forecast(&points, newest, as_of));
        let root = String::from_utf8_lossy(input.root);
        let judged = judge_standing(&Standing {
            bucket,
            root: &root,
            cluster: input.cluster,
            layout: layout(archive.layout),
            pattern: input.pattern,
            policy: input.policy,
            config: input.config,
            cadence: cadence(archive),
            duration: duration(archive),
            as_of,
        });
        let losses = input.policy.map_or_else(Vec::new, |policy| promise::losses(&input, policy, &backups));
        let window_break = input.policy.and_then(|policy| {
            let points = self::points(archive, recovery, &backups, as_of, |backup| (&backup.ends, &backup.reach_ends));
            promise::window_break(archive, policy, &backups, &points, as_of)
        });
        Outlook {
            bucket: bucket.clone(),
            newest,
            steps,
            guaranteed: judged.guaranteed,
            losses,
            window_break,
            unmatched: unmatched(archive, bucket, input.root),
            findings: judged.findings,
            backups,
        }
    }

    /// The first thing that ends under these rules.
    pub fn first_end(&self) -> Option<(usize, &End)> {
        let ends = self.backups.iter().enumerate().filter_map(|(at, backup)| Some((at, backup.usable_until.as_ref()?)));
        ends.min_by_key(|(_, end)| end.at)
    }

    /// The first moment at which something promised ends.
    pub fn first_broken(&self) -> Option<Timestamp> {
        let losses = self.losses.iter().map(|loss| loss.end.at);
        losses.chain(self.window_break.as_ref().map(|broken| broken.at)).min()
    }

    /// An end in words: the object, what happens to it, and the rule.
    pub fn reason(&self, end: &End) -> String {
        let may = if end.possible { " (if its tags or size are what the rule asks for)" } else { "" };
        match end.rule {
            Some(rule) => {
                format!("{} {} by rule \"{}\"{may}", end.object, end.kind.verb(), self.bucket.rules.name(rule))
            }
            None => format!("{} {} already", end.object, end.kind.verb()),
        }
    }
}

/// What a forecast looks at: usable backups, with the ends that count.
fn points<'b>(
    archive: &Archive,
    recovery: &Recovery,
    backups: &'b [BackupOutlook],
    as_of: Timestamp,
    ends: impl Fn(&'b BackupOutlook) -> (&'b Option<End>, &'b Option<End>),
) -> Vec<ForecastPoint> {
    let each = archive.backups.iter().zip(&recovery.standings).zip(backups);
    let usable = each.filter(|((_, standing), _)| standing.is_usable());
    let point = |((backup, _), outlook): ((&crate::catalog::BaseBackup, _), &'b BackupOutlook)| {
        let (usable, reach) = ends(outlook);
        let at = |end: &Option<End>| end.as_ref().map(|end| end.at);
        Some(ForecastPoint {
            consistent_at: backup.finished_at.copied()?,
            usable_until: at(usable),
            // Without a whole way to the newest moment it carries no window, today or ever.
            reaches_until: if outlook.reaches { at(reach) } else { Some(as_of) },
        })
    };
    usable.filter_map(point).collect()
}

fn layout(kind: LayoutKind) -> LayoutName {
    match kind {
        LayoutKind::WalE => LayoutName::WalE,
        LayoutKind::Barman => LayoutName::BarmanCloud,
        LayoutKind::Pgbackrest => LayoutName::PgBackRest,
        LayoutKind::Files => LayoutName::Files,
        _ => LayoutName::WalG,
    }
}

/// Median distance between full backups; `None` with fewer than three.
fn cadence(archive: &Archive) -> Option<Span> {
    let fulls = archive.backups.iter().filter(|backup| !backup.kind.is_delta());
    let mut taken: Vec<Timestamp> = fulls.filter_map(|backup| backup.finished_at.copied()).collect();
    taken.sort();
    let mut gaps: Vec<Span> = taken.windows(2).map(|pair| Span::between(pair[0], pair[1])).collect();
    gaps.sort();
    (gaps.len() >= 2).then(|| gaps[gaps.len() / 2])
}

/// The longest that one of the last full backups took.
fn duration(archive: &Archive) -> Span {
    let fulls = archive.backups.iter().rev().filter(|backup| !backup.kind.is_delta()).take(10);
    let took = fulls.filter_map(|b| Some(Span::between(b.started_at.copied()?, b.finished_at.copied()?)));
    took.max().unwrap_or(Span::ZERO)
}

/// Rules whose prefixes lie inside the archive and that match nothing in it. A prefix outside is another's business: what
/// else lies in the bucket was not listed.
fn unmatched(archive: &Archive, bucket: &BucketRules, root: &[u8]) -> Vec<RuleRef> {
    let folders: [&[u8]; 2] = [b"wal_005/", b"basebackups_005/"];
    let inside = |prefix: &Vec<u8>| {
        prefix.strip_prefix(root).is_some_and(|rest| match archive.layout {
            LayoutKind::Files => !rest.is_empty() && archive.strays.count == 0,
            // Below the root lies more than the model keeps, where there are strays.
            _ => folders.iter().any(|folder| rest.starts_with(folder)) || !rest.is_empty() && archive.strays.count == 0,
        })
    };
    let mut open: Vec<(RuleRef, &[Vec<u8>])> = bucket
        .rules
        .rules
        .iter()
        .zip(0u32..)
        .filter(|(rule, _)| rule.enabled && rule.actions.iter().any(crate::policy::lifecycle::Action::touches_data))
        .filter(|(rule, _)| !rule.filter.prefixes.is_empty() && rule.filter.prefixes.iter().all(inside))
        .map(|(rule, number)| (RuleRef(number), rule.filter.prefixes.as_slice()))
        .collect();
    let mut see = |key: &[u8]| {
        let matches = |prefix: &Vec<u8>| prefix.strip_prefix(root).is_some_and(|rest| key.starts_with(rest));
        open.retain(|(_, prefixes)| !prefixes.iter().any(matches));
        open.is_empty()
    };
    for backup in &archive.backups {
        if backup.objects().any(|object| see(object.key.as_bytes())) {
            return Vec::new();
        }
    }
    for unfinished in &archive.unfinished {
        unfinished.sample.iter().for_each(|key| {
            see(key.as_bytes());
        });
    }
    let histories = archive.histories.values().flat_map(|file| &file.objects);
    for object in histories.chain(archive.partials.iter().map(|partial| &partial.object)) {
        see(object.key.as_bytes());
    }
    for row in archive.wal.all_rows() {
        if see(archive.segment_key(row).as_bytes()) {
            return Vec::new();
        }
    }
    open.into_iter().map(|(rule, _)| rule).collect()
}
