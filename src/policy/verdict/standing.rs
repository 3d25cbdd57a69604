//! The rules that a bucket has, judged as they are: by the same functions as a planned change, without a side before it.

use crate::model::Timestamp;
use crate::policy::config::{ArchiveAddress, Config, LayoutName, Policy, Scheme};
use crate::policy::files::FilePattern;
use crate::policy::lifecycle::{Provider, RuleSet, Simulator};
use crate::policy::outlook::BucketRules;
use crate::policy::retention::guaranteed_window;
use crate::policy::{PlanFinding, Span};

use super::context::Context;
use super::lives::Part;
use super::scope::{Role, Scope};
use super::{breadth, scope_lives, symbolic};

/// One archive in its bucket, with the bucket's rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub bucket: &'a BucketRules,
    pub root: &'a str,
    pub cluster: Option<&'a str>,
    pub layout: LayoutName,
    pub pattern: Option<&'a FilePattern>,
    pub policy: Option<&'a Policy>,
    /// For other archives in the same bucket.
    pub config: Option<&'a Config>,
    /// Median distance between full backups, as seen.
    pub cadence: Option<Span>,
    /// How long a full backup takes.
    pub duration: Span,
    pub as_of: Timestamp,
}

/// The window that rules guarantee at the worst moment, as long as backups go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guaranteed {
    /// Its length.
    pub window: Span,
    /// How long a fresh base backup lives.
    pub base: Span,
    /// How long fresh WAL lives.
    pub wal: Span,
    /// Distance between full backups: stated, else observed.
    pub every: Span,
    /// How long one takes.
    pub duration: Span,
    /// The distance is a promise, not an observation.
    pub stated: bool,
}

/// What standing rules give.
pub(crate) struct StandingVerdict {
    pub findings: Vec<PlanFinding>,
    pub guaranteed: Option<Guaranteed>,
}

/// Judges rules by their own words and by the lives they leave to what is written from now on.
pub(crate) fn judge_standing(input: &Standing<'_>) -> StandingVerdict {
    let change = &input.bucket.change;
    let before = Simulator::new(RuleSet::empty(change.provider), input.bucket.settings(None));
    let after = Simulator::new(input.bucket.rules.clone(), input.bucket.settings(None));
    let mut scopes = vec![Scope {
        cluster: Some(input.cluster.unwrap_or("the archive").to_owned()),
        role: Role::Archive,
        root: input.root.to_owned(),
        layout: input.layout,
        layout_known: true,
        pattern: input.pattern.cloned(),
        policy: input.policy.cloned().unwrap_or_default(),
    }];
    scopes.extend(neighbours(input));
    let mut cx = Context {
        change,
        before: &before,
        after: &after,
        apply_at: input.as_of,
        as_is: true,
        scopes: &scopes,
        lives: Vec::new(),
        unnamed: false,
        cause: "the bucket's rules",
    };
    cx.lives = scopes.iter().map(|scope| scope_lives(&cx, scope)).collect();
    let mut findings = Vec::new();
    symbolic::judge(&cx, 0, input.cadence, true, &mut findings);
    breadth::judge(&cx, None, &mut findings);
    let shortest =
        |part: fn(Part) -> bool| symbolic::shortest(&cx.lives[0], |lives| &lives.after, part).map(|life| life.span());
    let stated = input.policy.and_then(|policy| policy.full_backup_every.copied());
    let every = stated.or(input.cadence);
    let guaranteed = shortest(Part::is_base).zip(shortest(Part::is_wal)).zip(every).map(|((base, wal), every)| {
        let window = guaranteed_window(base, wal, every, input.duration);
        Guaranteed { window, base, wal, every, duration: input.duration, stated: stated.is_some() }
    });
    StandingVerdict { findings, guaranteed }
}

/// Other archives that the configuration names in this bucket; where each match of a folder is one, none is made up.
fn neighbours(input: &Standing<'_>) -> Vec<Scope> {
    let (Some(config), Some(bucket)) = (input.config, input.bucket.bucket.as_deref()) else { return Vec::new() };
    let scheme = if input.bucket.provider() == Provider::Gcs { Scheme::Gcs } else { Scheme::S3 };
    let here = |address: &ArchiveAddress| address.scheme == scheme && address.bucket == bucket && !address.each;
    let others = config.clusters.iter().filter(|cluster| here(&cluster.archive));
    others
        .filter(|cluster| cluster.archive.key_prefix() != input.root)
        .map(|cluster| Scope {
            cluster: Some(cluster.name.clone()),
            role: Role::Archive,
            root: cluster.archive.key_prefix(),
            layout: cluster.layout.unwrap_or(LayoutName::WalG),
            layout_known: cluster.layout.is_some(),
            pattern: cluster.files_pattern.as_deref().and_then(|text| FilePattern::parse(text).ok()),
            policy: config.policy(cluster),
        })
        .collect()
}
