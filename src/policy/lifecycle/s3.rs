//! S3's engine and MinIO's: what the rules do to the versions of one key.

use crate::model::StorageClass;

use super::simulator::{Case, DAY, EventKind, NEVER, SMALL, Simulator, Sink, Us, matches};
use super::{Action, ObjectFacts, Provider, Replication, Rule, Versioning, When};

/// A transition that may become due.
struct Due {
    at: Us,
    class: StorageClass,
    rule: u32,
}

/// The earliest of several moments with the rule that sets it; the first rule wins among equals.
#[derive(Clone, Copy)]
struct Earliest {
    at: Us,
    rule: u32,
}

impl Earliest {
    const NEVER: Earliest = Earliest { at: NEVER, rule: 0 };

    fn offer(&mut self, at: Us, rule: u32) {
        if at < self.at {
            *self = Earliest { at, rule };
        }
    }
}

struct Walk<'s, 'c> {
    sim: &'s Simulator,
    candidates: &'c [u32],
    case: Case,
    minio: bool,
}

pub(super) fn walk(
    sim: &Simulator,
    candidates: &[u32],
    versions: &[ObjectFacts<'_>],
    case: Case,
    sink: &mut impl Sink,
) {
    let walk = Walk { sim, candidates, case, minio: sim.ordered.provider == Provider::Minio };
    let versioning = sim.bucket.versioning;
    let wipe = walk.wipe(versions);
    let mut successor: Option<Us> = None;
    let mut newer = 0u32;
    // When the version that is current today becomes noncurrent too, older ones have one more newer than now.
    let mut retires = NEVER;
    for (at, version) in versions.iter().enumerate() {
        let born = version.created.as_microsecond();
        if version.delete_marker {
            // A marker holds no data; only its time matters. MinIO counts it among the retained ones.
            newer += u32::from(walk.minio && successor.is_some());
            successor = Some(born);
            continue;
        }
        let known = version.noncurrent_since.map(|since| since.as_microsecond());
        let hidden_since = if versioning == Versioning::Disabled { known } else { known.or(successor) };
        let mut class = version.class;
        let mut end = wipe;
        let noncurrent_since = match hidden_since {
            Some(since) => {
                sink.hidden(at, since);
                Some(since)
            }
            None => {
                let hides = walk.current(at, version, &mut class, &mut end, sink);
                retires = hides.unwrap_or(NEVER);
                hides
            }
        };
        if let Some(since) = noncurrent_since {
            let newer = Newer { now: newer, retires: if hidden_since.is_some() { retires } else { NEVER } };
            let expires = walk.noncurrent(at, version, since, newer, class, wipe.at, sink);
            end.offer(expires.at, expires.rule);
        }
        if end.at != NEVER {
            delete(at, version, end, sink);
        }
        newer += u32::from(hidden_since.is_some());
        successor = Some(born);
    }
}

/// Newer noncurrent versions of a version: how many there are, and when one more may come.
#[derive(Clone, Copy)]
struct Newer {
    now: u32,
    retires: Us,
}

impl Newer {
    /// From when there are at least so many; deletions of newer ones are not waited for.
    fn at_least(self, wanted: u32) -> Option<Us> {
        if self.now >= wanted {
            Some(Us::MIN)
        } else {
            (self.retires != NEVER && self.now + 1 >= wanted).then_some(self.retires)
        }
    }
}

/// Before this a version cannot be deleted: its lock has to end, and a hold has no end.
fn locked_until(version: &ObjectFacts<'_>) -> Us {
    if version.lock.hold { NEVER } else { version.lock.retain_until.map_or(Us::MIN, |until| until.as_microsecond()) }
}

fn delete(at: usize, version: &ObjectFacts<'_>, end: Earliest, sink: &mut impl Sink) {
    let due = end.at.max(locked_until(version));
    if due != NEVER {
        sink.event(at, due, EventKind::Delete, end.rule);
    }
}

impl<'s> Walk<'s, '_> {
    fn rules<'w>(&'w self, object: &'w ObjectFacts<'_>) -> impl Iterator<Item = (u32, &'s Rule)> + 'w {
        // S3 leaves an object alone until it has been replicated; MinIO does not look.
        let waits = !self.minio && object.replication == Replication::Waiting;
        let candidates = if waits { &[][..] } else { self.candidates };
        let sim = self.sim;
        candidates
            .iter()
            .map(move |number| (*number, &sim.ordered.rules[*number as usize]))
            .filter(move |(_, rule)| matches(&rule.filter, object, self.case))
    }

    /// Midnight UTC behind the day that is so many days later; documented for S3, and MinIO's rounding too.
    fn due(&self, base: Us, days: u32) -> Us {
        if self.minio && days == 0 {
            return base;
        }
        let later = base.saturating_add(Us::from(days).saturating_mul(DAY));
        later.div_euclid(DAY).saturating_add(1).saturating_mul(DAY)
    }

    fn when(&self, base: Us, when: When) -> Us {
        let due = match when {
            When::Days(days) => self.due(base, days),
            // A date is no single event: it keeps acting on whatever is written later.
            When::Date(date) => date.as_microsecond().max(base),
        };
        due.max(self.sim.effective)
    }

    /// The current version. Returns when it becomes noncurrent, if versioning keeps it; otherwise `gone` is lowered.
    fn current(
        &self,
        at: usize,
        version: &ObjectFacts<'_>,
        class: &mut StorageClass,
        gone: &mut Earliest,
        sink: &mut impl Sink,
    ) -> Option<Us> {
        let born = version.created.as_microsecond();
        let mut end = Earliest::NEVER;
        let mut moves = Vec::new();
        for (number, rule) in self.rules(version) {
            for action in &rule.actions {
                match action {
                    Action::Expire { when, .. } => end.offer(self.when(born, *when), number),
                    Action::Transition { when, class, .. } => {
                        moves.push(Due { at: self.when(born, *when), class: *class, rule: number });
                    }
                    _ => {}
                }
            }
        }
        let permanent = match self.sim.bucket.versioning {
            Versioning::Disabled => true,
            // An id that no listing showed may be null, and then nothing is kept.
            Versioning::Suspended => version.version.is_none_or(|id| id == "null"),
            Versioning::Enabled => false,
        };
        // On one day a deletion comes before a move, a move before a marker; MinIO does not move what it hides.
        // What a lock keeps goes on moving.
        let until = match permanent {
            true => end.at.min(gone.at).max(locked_until(version)),
            false if self.minio => end.at.min(gone.at),
            false => end.at.saturating_add(1),
        };
        self.moves(at, version, moves, until, class, sink);
        if end.at == NEVER {
            return None;
        }
        if permanent {
            gone.offer(end.at, end.rule);
            return None;
        }
        sink.event(at, end.at, EventKind::DeleteMarker, end.rule);
        Some(end.at)
    }

    /// A noncurrent version: moves it until it expires (or until `limit`), and returns when it does.
    #[allow(clippy::too_many_arguments)]
    fn noncurrent(
        &self,
        at: usize,
        version: &ObjectFacts<'_>,
        since: Us,
        newer: Newer,
        mut class: StorageClass,
        limit: Us,
        sink: &mut impl Sink,
    ) -> Earliest {
        let mut end = Earliest::NEVER;
        let mut moves = Vec::new();
        for (number, rule) in self.rules(version) {
            for action in &rule.actions {
                match action {
                    Action::NoncurrentExpire { days, newer: wanted } => {
                        if let Some(from) = newer.at_least(*wanted) {
                            end.offer(self.due(since, *days).max(from).max(self.sim.effective), number);
                        }
                    }
                    Action::NoncurrentTransition { days, newer: wanted, class, .. } => {
                        if let Some(from) = newer.at_least(*wanted) {
                            let at = self.due(since, *days).max(from).max(self.sim.effective);
                            moves.push(Due { at, class: *class, rule: number });
                        }
                    }
                    _ => {}
                }
            }
        }
        let until = end.at.min(limit).max(locked_until(version));
        self.moves(at, version, moves, until, &mut class, sink);
        end
    }

    /// Applies transitions that come before a moment: earliest first, one for each moment, the coldest among equals.
    fn moves(
        &self,
        at: usize,
        version: &ObjectFacts<'_>,
        mut moves: Vec<Due>,
        until: Us,
        class: &mut StorageClass,
        sink: &mut impl Sink,
    ) {
        if moves.is_empty() {
            return;
        }
        moves.sort_by_key(|due| (due.at, preference(due.class), due.rule));
        let mut done = None;
        for due in moves.iter().take_while(|due| due.at < until) {
            if done == Some(due.at) || !self.allowed(version, due, *class) {
                continue;
            }
            sink.event(at, due.at, EventKind::Transition(due.class), due.rule);
            *class = due.class;
            done = Some(due.at);
        }
    }

    fn allowed(&self, version: &ObjectFacts<'_>, due: &Due, from: StorageClass) -> bool {
        if self.minio {
            // Once in a tier an object stays in it.
            return from != StorageClass::Other;
        }
        let filter = &self.sim.ordered.rules[due.rule as usize].filter;
        let sized = filter.larger_than.is_some() || filter.smaller_than.is_some();
        let archive = matches!(due.class, StorageClass::Glacier | StorageClass::DeepArchive);
        let small_stays = version.size < SMALL && !sized && !(archive && self.case.small_move);
        !small_stays && may_move(from, due.class)
    }

    /// MinIO can delete all versions of a key with the current one, or some days after a delete marker.
    fn wipe(&self, versions: &[ObjectFacts<'_>]) -> Earliest {
        let mut end = Earliest::NEVER;
        let (true, Some(newest)) = (self.minio, versions.first()) else { return end };
        let born = newest.created.as_microsecond();
        let mut marker = if newest.delete_marker { born } else { NEVER };
        if !newest.delete_marker {
            for (number, rule) in self.rules(newest) {
                for action in &rule.actions {
                    if let Action::Expire { when, all_versions } = action {
                        let at = self.when(born, *when);
                        marker = marker.min(at);
                        if *all_versions {
                            end.offer(at, number);
                        }
                    }
                }
            }
        }
        if marker != NEVER {
            for number in self.candidates {
                for action in &self.sim.ordered.rules[*number as usize].actions {
                    if let Action::ExpireBehindMarker { days } = action {
                        end.offer(self.due(marker, *days).max(self.sim.effective), *number);
                    }
                }
            }
        }
        end
    }
}

/// Among transitions due at one moment: the archive classes first, then intelligent tiering, then the cheaper class.
fn preference(class: StorageClass) -> u8 {
    match class {
        StorageClass::DeepArchive => 0,
        StorageClass::Glacier => 1,
        StorageClass::IntelligentTiering => 2,
        StorageClass::GlacierIr => 3,
        StorageClass::OnezoneIa => 4,
        StorageClass::StandardIa => 5,
        _ => 6,
    }
}

/// Objects only move down; nothing returns to STANDARD.
fn may_move(from: StorageClass, to: StorageClass) -> bool {
    use StorageClass as Class;
    match from {
        Class::StandardIa => !matches!(to, Class::Standard | Class::StandardIa),
        Class::IntelligentTiering => {
            matches!(to, Class::OnezoneIa | Class::GlacierIr | Class::Glacier | Class::DeepArchive)
        }
        Class::OnezoneIa | Class::GlacierIr => matches!(to, Class::Glacier | Class::DeepArchive),
        Class::Glacier => to == Class::DeepArchive,
        Class::DeepArchive => false,
        _ => to != from,
    }
}
