//! How long a fresh object of each kind lives under a set of rules: what can be said before there is any object.

use jiff::SignedDuration;

use crate::model::{StorageClass, Timestamp};
use crate::policy::Span;
use crate::policy::config::LayoutName;
use crate::policy::lifecycle::{EventKind, Lock, ObjectFacts, RuleRef, RuleSet, Simulator, Versioning};
use crate::policy::plan::{BucketSide, LockDefault};
use crate::policy::retention::Tier;

use super::scope::Scope;

/// A kind of object that an archive is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Base,
    /// A backup's sentinel and other small files of it.
    Metadata,
    Wal,
    /// WAL that compressed well: below the size that some rules ask for.
    WalSmall,
    History,
    File(Option<Tier>),
}

impl Part {
    pub fn is_base(self) -> bool {
        matches!(self, Part::Base | Part::Metadata)
    }

    pub fn is_wal(self) -> bool {
        matches!(self, Part::Wal | Part::WalSmall)
    }
}

/// A made-up object that stands for all of its kind.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub part: Part,
    pub key: Vec<u8>,
    pub size: u64,
}

const KIB: u64 = 1 << 10;

/// One object of each kind.
pub(super) fn samples(scope: &Scope, rules: [&RuleSet; 2], at: Timestamp) -> Vec<Sample> {
    let root = &scope.root;
    let sample = |part: Part, key: String, size: u64| Sample { part, key: key.into_bytes(), size };
    let wal = |folder: &str, history: &str| {
        vec![
            sample(Part::Wal, format!("{folder}00000001000000A1000000B2.lz4"), 8 << 20),
            sample(Part::WalSmall, format!("{folder}00000001000000A1000000B3.lz4"), 64 * KIB),
            sample(Part::History, history.to_owned(), 200),
        ]
    };
    let base =
        |part: String, small: String| vec![sample(Part::Base, part, 1 << 30), sample(Part::Metadata, small, KIB)];
    match scope.layout {
        LayoutName::WalG | LayoutName::WalE => {
            let backup = format!("{root}basebackups_005/base_00000001000000A1000000A0");
            let mut all = base(
                format!("{backup}/tar_partitions/part_001.tar.lz4"),
                format!("{backup}_backup_stop_sentinel.json"),
            );
            let folder = format!("{root}wal_005/");
            all.extend(wal(&folder, &format!("{folder}00000002.history.lz4")));
            all
        }
        LayoutName::BarmanCloud => {
            let server = middle(root, &["base/", "wals/"], rules);
            let backup = format!("{root}{server}base/20260101T000000");
            let mut all = base(format!("{backup}/data.tar.gz"), format!("{backup}/backup.info"));
            let folder = format!("{root}{server}wals/");
            all.extend(wal(&format!("{folder}00000001000000A1/"), &format!("{folder}00000002.history.gz")));
            all
        }
        LayoutName::PgBackRest => {
            let stanza = stanza(root, rules);
            let backup = format!("{root}backup/{stanza}/20260101-000000F");
            let mut all =
                base(format!("{backup}/pg_data/base/1/1249.zst"), format!("{root}backup/{stanza}/backup.info"));
            let folder = format!("{root}archive/{stanza}/15-1/");
            all.extend(wal(&format!("{folder}00000001000000A1/"), &format!("{folder}00000002.history")));
            all
        }
        LayoutName::Files => {
            let Some(pattern) = &scope.pattern else { return Vec::new() };
            let file = |tier: Option<Tier>| {
                let name = tier.map_or("other", Tier::name);
                sample(Part::File(tier), format!("{root}{}", pattern.example(name, at)), 5 << 30)
            };
            if !pattern.has_tier() {
                return vec![file(None)];
            }
            let promised = Tier::ALL.into_iter().filter(|tier| tier.keep(&scope.policy.retention).is_some());
            promised.map(|tier| file(Some(tier))).collect()
        }
    }
}

/// The server's folder below the root, if a rule names one.
fn middle(root: &str, folders: &[&str], rules: [&RuleSet; 2]) -> String {
    let prefixes = rules.iter().flat_map(|set| &set.rules).flat_map(|rule| &rule.filter.prefixes);
    for prefix in prefixes {
        let Some(rest) = prefix.strip_prefix(root.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok()) else {
            continue;
        };
        if let Some(at) = folders.iter().filter_map(|folder| rest.find(folder)).min() {
            return rest[..at].to_owned();
        }
    }
    String::new()
}

fn stanza(root: &str, rules: [&RuleSet; 2]) -> String {
    let prefixes = rules.iter().flat_map(|set| &set.rules).flat_map(|rule| &rule.filter.prefixes);
    for prefix in prefixes {
        let rest = prefix.strip_prefix(root.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok());
        let rest = rest.and_then(|rest| rest.strip_prefix("backup/").or_else(|| rest.strip_prefix("archive/")));
        if let Some(name) = rest.and_then(|rest| rest.split('/').next()).filter(|name| !name.is_empty()) {
            return name.to_owned();
        }
    }
    "main".to_owned()
}

/// Days until something happens to a fresh object, and the rule that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub days: u64,
    pub rule: RuleRef,
}

/// The life of a fresh object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Deleted or hidden.
    pub ended: Option<Due>,
    /// Deleted for good.
    pub gone: Option<Due>,
    /// In a class that needs a restore request.
    pub archived: Option<Due>,
    /// All classes it moves to.
    pub moves: Vec<(Due, StorageClass)>,
    /// Depends on tags or sizes that are not known.
    pub possible: bool,
}

impl Life {
    /// Length until it is hidden or deleted.
    pub fn span(&self) -> Span {
        self.ended.map_or(Span::FOREVER, Due::span)
    }

    /// Length until it is deleted for good.
    pub fn gone_span(&self) -> Span {
        self.gone.map_or(Span::FOREVER, Due::span)
    }
}

impl Due {
    pub fn span(self) -> Span {
        Span::from_seconds(self.days.saturating_mul(86_400))
    }
}

/// The lives of an object under the rules of both sides.
#[derive(Debug, Clone)]
pub(super) struct Lives {
    pub sample: Sample,
    pub before: Life,
    pub after: Life,
    /// How long a deletion by hand can be taken back.
    pub undo_before: Span,
    pub undo_after: Span,
}

/// What a side adds to a fresh object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh {
    versioning: Versioning,
    lock: Option<LockDefault>,
    soft_delete: Option<Span>,
}

impl Fresh {
    pub fn new(side: &BucketSide, simulator: &Simulator) -> Self {
        Fresh {
            versioning: simulator.bucket().versioning,
            lock: side.lock.known().copied().flatten(),
            soft_delete: simulator.bucket().soft_delete,
        }
    }
}

/// The life of an object that is written just before the end of a day, so that S3's rounding adds nothing, soon after the
/// rules are there and in many years, so that rules with dates show what they do to what comes later.
pub(super) fn life(simulator: &Simulator, fresh: Fresh, sample: &Sample, apply_at: Timestamp) -> Life {
    let day = 86_400;
    let end_of_day = apply_at.as_second().div_euclid(day) * day + day - 1;
    let mut worst: Option<Life> = None;
    for created in [end_of_day, end_of_day + 7_305 * day] {
        let Ok(created) = Timestamp::from_second(created) else { continue };
        let object = object(fresh, sample, created);
        let timeline = simulator.timelines(std::slice::from_ref(&object)).remove(0);
        let due = |at: Timestamp, rule: RuleRef| Due {
            days: u64::try_from(at.as_second().saturating_sub(created.as_second())).unwrap_or(0) / day as u64,
            rule,
        };
        let ending = |ending: Option<crate::policy::lifecycle::Ending>| {
            ending.and_then(|ending| Some(due(ending.at, ending.rule?)))
        };
        let moves = timeline.events.iter().filter_map(|event| match event.kind {
            EventKind::Transition(class) | EventKind::SetClass(class) => Some((due(event.at, event.rule), class)),
            _ => None,
        });
        let this = Life {
            ended: ending(timeline.fate.ended()),
            gone: ending(timeline.fate.gone),
            archived: ending(timeline.fate.archived),
            moves: moves.collect(),
            possible: timeline.fate.possible,
        };
        worst = Some(match worst {
            None => this,
            Some(known) => both(known, this),
        });
    }
    worst.unwrap_or_default()
}

/// The shorter of two lives, with what happens in either.
fn both(a: Life, b: Life) -> Life {
    let shorter = |a: Option<Due>, b: Option<Due>| match (a, b) {
        (Some(a), Some(b)) => Some(if b.days < a.days { b } else { a }),
        (a, b) => a.or(b),
    };
    let mut moves = a.moves;
    moves.extend(b.moves.into_iter().filter(|new| !moves.contains(new)).collect::<Vec<_>>());
    Life {
        ended: shorter(a.ended, b.ended),
        gone: shorter(a.gone, b.gone),
        archived: shorter(a.archived, b.archived),
        moves,
        possible: a.possible || b.possible,
    }
}

fn object<'s>(fresh: Fresh, sample: &'s Sample, created: Timestamp) -> ObjectFacts<'s> {
    let mut object = ObjectFacts::new(&sample.key, sample.size, created);
    object.version = match fresh.versioning {
        Versioning::Enabled => Some("new"),
        Versioning::Suspended => Some("null"),
        _ => None,
    };
    object.lock = Lock { retain_until: fresh.lock.and_then(|lock| lock.span.after(created)), hold: false };
    object
}

/// How long a deletion can be taken back, of an object as old as one can become under the rules (up to a year): on GCS an
/// age counts on when the object is no longer live.
pub(super) fn undo(simulator: &Simulator, fresh: Fresh, sample: &Sample, life: &Life, apply_at: Timestamp) -> Span {
    if fresh.versioning != Versioning::Enabled {
        return fresh.soft_delete.unwrap_or(Span::ZERO);
    }
    let day = 86_400;
    let end_of_day = apply_at.as_second().div_euclid(day) * day + day - 1;
    let Ok(deleted) = Timestamp::from_second(end_of_day) else { return Span::ZERO };
    let age = life.span().minus(Span::from_days(1)).min(Span::from_days(365));
    let mut object = object(Fresh { lock: None, ..fresh }, sample, age.before(deleted));
    object.noncurrent_since = Some(deleted);
    match simulator.fate(&object).gone {
        None => Span::FOREVER,
        Some(gone) => {
            let kept = gone.at.duration_since(deleted).max(SignedDuration::ZERO).as_secs();
            let days = u64::try_from(kept).unwrap_or(0) / day as u64 * day as u64;
            Span::from_seconds(days).plus(fresh.soft_delete.unwrap_or(Span::ZERO))
        }
    }
}
