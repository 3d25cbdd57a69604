use serde::Serialize;

use crate::model::{StorageClass, Timestamp};
use crate::policy::Span;

use super::index::PrefixIndex;
use super::{Action, Filter, MinimumSize, ObjectFacts, ObjectTable, Provider, RuleRef, RuleSet, Tags, Versioning};

/// Settings of a bucket, beside its rules, that decide what a deletion means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BucketSettings {
    /// Whether old versions are kept. Where it is not known, assume [`Versioning::Disabled`].
    pub versioning: Versioning,
    /// Before this moment no rule acts: when a planned configuration is applied. `None`: the rules have always been there.
    pub rules_effective: Option<Timestamp>,
    /// GCS retention policy: no deletion before this age.
    pub retention: Option<Span>,
    /// GCS soft delete: deleted data can be taken back this long.
    pub soft_delete: Option<Span>,
}

impl Default for BucketSettings {
    fn default() -> Self {
        BucketSettings { versioning: Versioning::Disabled, rules_effective: None, retention: None, soft_delete: None }
    }
}

/// What lifecycle does to a version at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// S3: moved to another class.
    Transition(StorageClass),
    /// GCS: moved to another class.
    SetClass(StorageClass),
    /// S3: hidden behind a delete marker.
    DeleteMarker,
    /// GCS: no longer the live version.
    Noncurrent,
    /// Deleted.
    Delete,
    /// GCS: can no longer be taken back.
    HardDelete,
}

/// Something that happens to a version. The first moment the provider may do it, not when it will have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The first moment.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// By which rule.
    pub rule: RuleRef,
}

/// A way in which a version stops being of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// The first moment it may be so.
    pub at: Timestamp,
    /// The rule that does it; `None`: it is so already, because a newer version or a marker hides it.
    pub rule: Option<RuleRef>,
}

/// What becomes of one version. Each ending is the first moment it may be so; absent: never under these rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Fate {
    /// In a class that answers only after a restore request. The class it has today is not looked at: see
    /// [`StorageClass::readable_at_once`].
    pub archived: Option<Ending>,
    /// Behind a marker or a newer version: still there, but not under its key.
    pub hidden: Option<Ending>,
    /// The bytes may be unrecoverable, except through soft delete.
    pub gone: Option<Ending>,
    /// Something that is not known (tags, the smallest size that moves) could make it later or never; the earlier was kept.
    pub possible: bool,
}

impl Fate {
    /// From then on a plain GET by key may fail: archived, hidden or gone, whichever comes first.
    pub fn unreadable(&self) -> Option<Ending> {
        earlier(self.archived, self.ended())
    }

    /// When it can no longer be found under its key: hidden or gone. An archived object can still be asked for.
    pub fn ended(&self) -> Option<Ending> {
        earlier(self.hidden, self.gone)
    }

    /// [`Fate::unreadable`], the moment alone.
    pub fn ends(&self) -> Option<Timestamp> {
        self.unreadable().map(|ending| ending.at)
    }

    /// When the bytes may be gone.
    pub fn gone_at(&self) -> Option<Timestamp> {
        self.gone.map(|ending| ending.at)
    }
}

fn earlier(a: Option<Ending>, b: Option<Ending>) -> Option<Ending> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// All that happens to one version, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Timeline {
    /// In order of time.
    pub events: Vec<Event>,
    /// What follows from them.
    pub fate: Fate,
}

/// Since when a version is in a state, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// GET answers.
    Readable,
    /// GET is refused until a restore was asked for.
    NeedsRestore,
    /// An older version.
    Noncurrent,
    /// An older version in a class that has to be restored first.
    NoncurrentNeedsRestore,
    /// Deleted, can be taken back for a while.
    SoftDeleted,
    /// Deleted for good.
    Gone,
}

impl State {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            State::Readable => "readable",
            State::NeedsRestore => "needs_restore",
            State::Noncurrent => "noncurrent",
            State::NoncurrentNeedsRestore => "noncurrent_needs_restore",
            State::SoftDeleted => "soft_deleted",
            State::Gone => "gone",
        }
    }
}

impl Timeline {
    /// The state at a moment of a version that has this timeline.
    pub fn state(&self, object: &ObjectFacts<'_>, soft_delete: bool, at: Timestamp) -> State {
        let mut class = object.class;
        let hidden_now = self.fate.hidden.filter(|ending| ending.rule.is_none());
        let mut hidden = hidden_now.is_some_and(|ending| ending.at <= at);
        let mut deleted = false;
        for event in self.events.iter().filter(|event| event.at <= at) {
            match event.kind {
                EventKind::Transition(to) | EventKind::SetClass(to) => class = to,
                EventKind::DeleteMarker | EventKind::Noncurrent => hidden = true,
                EventKind::Delete => deleted = true,
                EventKind::HardDelete => return State::Gone,
            }
        }
        match (deleted, hidden, class.readable_at_once()) {
            (true, _, _) if soft_delete => State::SoftDeleted,
            (true, _, _) => State::Gone,
            (_, false, true) => State::Readable,
            (_, false, false) => State::NeedsRestore,
            (_, true, true) => State::Noncurrent,
            (_, true, false) => State::NoncurrentNeedsRestore,
        }
    }
}

/// Microseconds since 1970. Plain numbers: millions of objects meet dozens of rules.
pub(super) type Us = i64;
pub(super) const NEVER: Us = i64::MAX;
pub(super) const DAY: Us = 86_400_000_000;

/// The end of the calendar; what would come later never comes.
fn last() -> Us {
    Timestamp::MAX.as_microsecond()
}

pub(super) fn moment(at: Us) -> Option<Timestamp> {
    if at >= last() { None } else { Timestamp::from_microsecond(at).ok() }
}

/// Hears what happens.
pub(super) trait Sink {
    /// Something happens to the version at a place of the group.
    fn event(&mut self, version: usize, at: Us, kind: EventKind, rule: u32);
    /// The version is hidden already since then.
    fn hidden(&mut self, version: usize, at: Us);
}

/// One way to take what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    /// Rules with tags match objects whose tags are unknown.
    pub tags_match: bool,
    /// Objects below 128 KiB may move to the archive classes.
    pub small_move: bool,
}

/// Says what a bucket's rules will do to its objects. A pure function of what it is given.
#[derive(Debug, Clone)]
pub struct Simulator {
    /// As given, for names.
    rules: RuleSet,
    /// Sorted by name, so that the order of the file cannot decide which of two equal rules is named.
    pub(super) ordered: RuleSet,
    numbers: Vec<u32>,
    index: PrefixIndex,
    pub(super) bucket: BucketSettings,
    pub(super) effective: Us,
    any_tags: bool,
}

impl Simulator {
    /// Prepares rules for many objects.
    pub fn new(rules: RuleSet, bucket: BucketSettings) -> Self {
        let mut numbers: Vec<u32> = (0..u32::try_from(rules.rules.len()).unwrap_or(u32::MAX)).collect();
        numbers.sort_by(|a, b| {
            let (a, b) = (&rules.rules[*a as usize], &rules.rules[*b as usize]);
            a.id.cmp(&b.id).then_with(|| a.filter.prefixes.cmp(&b.filter.prefixes))
        });
        let ordered = RuleSet {
            rules: numbers.iter().map(|number| rules.rules[*number as usize].clone()).collect(),
            ..RuleSet { rules: Vec::new(), ..rules.clone() }
        };
        let acts = |at: usize| {
            let rule = &ordered.rules[at];
            rule.enabled && rule.actions.iter().any(Action::touches_data)
        };
        let index = PrefixIndex::new(&ordered, acts);
        let any_tags = (0..ordered.rules.len()).any(|at| acts(at) && !ordered.rules[at].filter.tags.is_empty());
        let effective = bucket.rules_effective.map_or(Us::MIN, Timestamp::as_microsecond);
        Simulator { rules, ordered, numbers, index, bucket, effective, any_tags }
    }

    /// The rules as given; [`RuleRef`]s point into them.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The settings as given.
    pub fn bucket(&self) -> &BucketSettings {
        &self.bucket
    }

    /// What becomes of an object that is the only version of its key.
    pub fn fate(&self, object: &ObjectFacts<'_>) -> Fate {
        let mut fates = [Fate::default()];
        self.fates_into(std::slice::from_ref(object), &mut fates);
        fates[0]
    }

    /// What becomes of all versions of one key, given newest first.
    pub fn fates(&self, versions: &[ObjectFacts<'_>]) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); versions.len()];
        self.fates_into(versions, &mut fates);
        fates
    }

    fn fates_into(&self, versions: &[ObjectFacts<'_>], fates: &mut [Fate]) {
        let cases = self.cases(versions);
        let mut raw = vec_or_one(versions.len());
        for (number, case) in cases.iter().enumerate() {
            raw.clear();
            self.walk(versions, *case, &mut raw);
            for (fate, raw) in fates.iter_mut().zip(raw.fates()) {
                let this = self.finish(raw);
                *fate = if number == 0 { this } else { worse(*fate, this) };
            }
        }
    }

    /// All events of all versions of one key, given newest first.
    pub fn timelines(&self, versions: &[ObjectFacts<'_>]) -> Vec<Timeline> {
        let mut timelines: Vec<Timeline> = Vec::new();
        for (number, case) in self.cases(versions).iter().enumerate() {
            let mut record = Record { fates: RawFates::many(versions.len()), events: vec![Vec::new(); versions.len()] };
            self.walk(versions, *case, &mut record);
            let read = record.events.iter().zip(record.fates.fates()).map(|(events, raw)| Timeline {
                events: events.iter().filter_map(|event| self.event(*event)).collect(),
                fate: self.finish(raw),
            });
            if number == 0 {
                timelines = read.collect();
                continue;
            }
            for (kept, other) in timelines.iter_mut().zip(read) {
                let fate = worse(kept.fate, other.fate);
                let loses_more = |fate: &Fate| (fate.gone_at().unwrap_or(Timestamp::MAX), fate.ends());
                if loses_more(&other.fate).0 < loses_more(&kept.fate).0
                    || kept.fate.ends().is_none() && other.fate.ends().is_some()
                {
                    kept.events = other.events;
                }
                kept.fate = fate;
            }
        }
        timelines
    }

    /// What becomes of each object of a table that is sorted by key, told one by one in its order.
    pub fn each(&self, table: &ObjectTable, mut tell: impl FnMut(usize, &Fate)) {
        let (mut group, mut fates) = (Vec::new(), Vec::new());
        for range in table.groups() {
            let first = range.start;
            if range.len() == 1 {
                tell(first, &self.fate(&table.get(first)));
                continue;
            }
            group.clear();
            group.extend(range.clone().map(|index| table.get(index)));
            fates.clear();
            fates.resize(range.len(), Fate::default());
            self.fates_into(&group, &mut fates);
            range.zip(&fates).for_each(|(index, fate)| tell(index, fate));
        }
    }

    /// What becomes of each object of a table that is sorted by key, in its order: about 70 bytes for each.
    pub fn table(&self, table: &ObjectTable) -> Vec<Fate> {
        let mut fates = Vec::with_capacity(table.len());
        self.each(table, |_, fate| fates.push(*fate));
        fates
    }

    /// One case where everything that matters is known.
    fn cases(&self, versions: &[ObjectFacts<'_>]) -> Cases {
        let tags_unknown = self.any_tags && versions.iter().any(|version| version.tags == Tags::Unknown);
        let (sure, worst) = match self.ordered.minimum_size {
            _ if self.ordered.provider != Provider::S3 => (true, true),
            MinimumSize::AllClasses128K => (false, false),
            MinimumSize::VariesByClass => (true, true),
            MinimumSize::Unknown if versions.iter().any(|version| version.size < SMALL) => (false, true),
            MinimumSize::Unknown => (true, true),
        };
        Cases {
            first: Case { tags_match: tags_unknown, small_move: worst },
            // Fewer rules match and fewer objects move: nothing in it can be earlier, but it may be the truth.
            second: (tags_unknown || sure != worst).then_some(Case { tags_match: false, small_move: sure }),
        }
    }

    fn walk(&self, versions: &[ObjectFacts<'_>], case: Case, sink: &mut impl Sink) {
        let Some(first) = versions.first() else { return };
        let candidates = self.index.rules(first.key);
        match self.ordered.provider {
            Provider::Gcs => super::gcs::walk(self, candidates, versions, case, sink),
            Provider::S3 | Provider::Minio => super::s3::walk(self, candidates, versions, case, sink),
        }
    }

    fn finish(&self, raw: &RawFate) -> Fate {
        let ending = |end: RawEnd| moment(end.at).map(|at| Ending { at, rule: end.rule.map(|rule| self.number(rule)) });
        Fate { archived: ending(raw.archived), hidden: ending(raw.hidden), gone: ending(raw.gone), possible: false }
    }

    fn event(&self, (at, kind, rule): (Us, EventKind, u32)) -> Option<Event> {
        moment(at).map(|at| Event { at, kind, rule: self.number(rule) })
    }

    fn number(&self, ordered: u32) -> RuleRef {
        RuleRef(self.numbers[ordered as usize])
    }
}

/// S3's smallest size that moves to every class.
pub(super) const SMALL: u64 = 128 << 10;

struct Cases {
    first: Case,
    second: Option<Case>,
}

impl Cases {
    fn iter(&self) -> impl Iterator<Item = &Case> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

/// The earlier of each, marked where they differ.
fn worse(a: Fate, b: Fate) -> Fate {
    let possible = a.possible || b.possible || a.gone_at() != b.gone_at() || a.ends() != b.ends();
    Fate {
        archived: earlier(a.archived, b.archived),
        hidden: earlier(a.hidden, b.hidden),
        gone: earlier(a.gone, b.gone),
        possible,
    }
}

/// Whether the part of a filter that the index does not know holds.
pub(super) fn matches(filter: &Filter, object: &ObjectFacts<'_>, case: Case) -> bool {
    let tags = filter.tags.is_empty()
        || match object.tags {
            Tags::Unknown => case.tags_match,
            Tags::Known(tags) => filter.tags.iter().all(|wanted| tags.contains(wanted)),
        };
    tags && filter.size(object.size)
        && (filter.suffixes.is_empty() || filter.suffixes.iter().any(|suffix| object.key.ends_with(suffix)))
}

#[derive(Debug, Clone, Copy)]
struct RawEnd {
    at: Us,
    rule: Option<u32>,
}

impl RawEnd {
    const NEVER: RawEnd = RawEnd { at: NEVER, rule: None };

    fn offer(&mut self, at: Us, rule: Option<u32>) {
        if at < self.at {
            *self = RawEnd { at, rule };
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct RawFate {
    archived: RawEnd,
    hidden: RawEnd,
    gone: RawEnd,
}

const ALIVE: RawFate = RawFate { archived: RawEnd::NEVER, hidden: RawEnd::NEVER, gone: RawEnd::NEVER };

/// Fates of one group; the common group of one needs no allocation.
enum RawFates {
    One([RawFate; 1]),
    Many(Vec<RawFate>),
}

fn vec_or_one(count: usize) -> RawFates {
    if count == 1 { RawFates::One([ALIVE]) } else { RawFates::many(count) }
}

impl RawFates {
    fn many(count: usize) -> Self {
        RawFates::Many(vec![ALIVE; count])
    }

    fn fates(&self) -> &[RawFate] {
        match self {
            RawFates::One(one) => one,
            RawFates::Many(many) => many,
        }
    }

    fn fates_mut(&mut self) -> &mut [RawFate] {
        match self {
            RawFates::One(one) => one,
            RawFates::Many(many) => many,
        }
    }

    fn clear(&mut self) {
        self.fates_mut().fill(ALIVE);
    }
}

impl Sink for RawFates {
    fn event(&mut self, version: usize, at: Us, kind: EventKind, rule: u32) {
        let fate = &mut self.fates_mut()[version];
        match kind {
            EventKind::Transition(class) | EventKind::SetClass(class) if class.readable_at_once() => {}
            EventKind::Transition(_) | EventKind::SetClass(_) => fate.archived.offer(at, Some(rule)),
            EventKind::DeleteMarker | EventKind::Noncurrent => fate.hidden.offer(at, Some(rule)),
            EventKind::Delete => fate.gone.offer(at, Some(rule)),
            EventKind::HardDelete => {}
        }
    }

    fn hidden(&mut self, version: usize, at: Us) {
        self.fates_mut()[version].hidden.offer(at, None);
    }
}

struct Record {
    fates: RawFates,
    events: Vec<Vec<(Us, EventKind, u32)>>,
}

impl Sink for Record {
    fn event(&mut self, version: usize, at: Us, kind: EventKind, rule: u32) {
        self.fates.event(version, at, kind, rule);
        self.events[version].push((at, kind, rule));
    }

    fn hidden(&mut self, version: usize, at: Us) {
        self.fates.hidden(version, at);
    }
}
