//! Google Cloud Storage's engine: rules are conditions, times are exact, and a noncurrent generation meets the same rules
//! again.

use crate::model::StorageClass;

use super::simulator::{Case, DAY, EventKind, NEVER, Simulator, Sink, Us, matches};
use super::{Action, GcsConditions, ObjectFacts, Versioning};

/// A generation at one stage of its life.
struct Stage<'o, 'k> {
    object: &'o ObjectFacts<'k>,
    noncurrent_since: Option<Us>,
    newer: u32,
    class: StorageClass,
}

pub(super) fn walk(
    sim: &Simulator,
    candidates: &[u32],
    versions: &[ObjectFacts<'_>],
    case: Case,
    sink: &mut impl Sink,
) {
    let mut successor = None;
    for (at, object) in versions.iter().enumerate() {
        let known = object.noncurrent_since.map(|since| since.as_microsecond());
        let noncurrent_since = known.or(successor);
        if let Some(since) = noncurrent_since {
            sink.hidden(at, since);
        }
        // All versions in front of it are newer, the live one included.
        let newer = u32::try_from(at).unwrap_or(u32::MAX);
        let stage = Stage { object, noncurrent_since, newer, class: object.class };
        live_through(sim, candidates, stage, case, at, sink);
        successor = Some(object.created.as_microsecond());
    }
}

/// Lets one action after the other happen until the generation is gone or nothing more can happen.
fn live_through(
    sim: &Simulator,
    candidates: &[u32],
    mut stage: Stage<'_, '_>,
    case: Case,
    at: usize,
    sink: &mut impl Sink,
) {
    let mut time = sim.effective;
    // Each round makes it noncurrent, colder or deleted: there cannot be many.
    for _ in 0..8 {
        let mut delete = (NEVER, 0u32);
        let mut colder = (NEVER, 0u8, StorageClass::Standard, 0u32);
        for number in candidates {
            let rule = &sim.ordered.rules[*number as usize];
            if !matches(&rule.filter, stage.object, case) {
                continue;
            }
            for action in &rule.actions {
                match action {
                    Action::GcsDelete(when) => {
                        let due = satisfied(when, &stage).max(time);
                        if due < delete.0 {
                            delete = (due, *number);
                        }
                    }
                    Action::GcsSetClass { class, when } if rank(*class) > rank(stage.class) => {
                        let due = satisfied(when, &stage).max(time);
                        // The cheapest at rest wins, and rank counts down towards it.
                        let choice = (due, u8::MAX - rank(*class), *class, *number);
                        if due != NEVER && (choice.0, choice.1) < (colder.0, colder.1) {
                            colder = choice;
                        }
                    }
                    _ => {}
                }
            }
        }
        if delete.0 == NEVER && colder.0 == NEVER {
            return;
        }
        if colder.0 < delete.0 {
            sink.event(at, colder.0, EventKind::SetClass(colder.2), colder.3);
            (time, stage.class) = (colder.0, colder.2);
            continue;
        }
        if stage.noncurrent_since.is_none() && sim.bucket.versioning == Versioning::Enabled {
            sink.event(at, delete.0, EventKind::Noncurrent, delete.1);
            stage.noncurrent_since = Some(delete.0);
            time = delete.0;
            continue;
        }
        end(sim, stage.object, delete, at, sink);
        return;
    }
}

/// A deletion waits for retention and lock; a hold has no end.
fn end(sim: &Simulator, object: &ObjectFacts<'_>, (due, rule): (Us, u32), at: usize, sink: &mut impl Sink) {
    if object.lock.hold {
        return;
    }
    let created = object.created.as_microsecond();
    let kept = |span: crate::policy::Span, from: Us| {
        let seconds = span.seconds().and_then(|seconds| Us::try_from(seconds).ok()).unwrap_or(NEVER);
        from.saturating_add(seconds.saturating_mul(1_000_000))
    };
    let retained = sim.bucket.retention.map_or(Us::MIN, |span| kept(span, created));
    let locked = object.lock.retain_until.map_or(Us::MIN, |until| until.as_microsecond());
    let due = due.max(retained).max(locked);
    sink.event(at, due, EventKind::Delete, rule);
    if let Some(span) = sim.bucket.soft_delete.filter(|span| *span > crate::policy::Span::ZERO) {
        sink.event(at, kept(span, due), EventKind::HardDelete, rule);
    }
}

/// From when all conditions hold, as long as the stage does not change; `NEVER` if they cannot.
fn satisfied(when: &GcsConditions, stage: &Stage<'_, '_>) -> Us {
    let created = stage.object.created.as_microsecond();
    let custom = stage.object.custom_time.map(|time| time.as_microsecond());
    let live = stage.noncurrent_since.is_none();
    let before = |limit: Option<crate::model::Timestamp>, time: Option<Us>| match limit {
        None => true,
        Some(limit) => time.is_some_and(|time| time < limit.as_microsecond()),
    };
    let possible = when.is_live.is_none_or(|wanted| wanted == live)
        && when.newer_versions.is_none_or(|wanted| stage.newer >= wanted)
        && (when.classes.is_empty() || when.classes.contains(&stage.class))
        && before(when.created_before, Some(created))
        && before(when.noncurrent_before, stage.noncurrent_since)
        && before(when.custom_before, custom);
    if !possible {
        return NEVER;
    }
    let after = |days: Option<u32>, from: Option<Us>| match (days, from) {
        (None, _) => Us::MIN,
        (Some(_), None) => NEVER,
        (Some(days), Some(from)) => from.saturating_add(Us::from(days).saturating_mul(DAY)),
    };
    // Nothing happens before the object, or its state, is there.
    after(when.age_days, Some(created))
        .max(after(when.noncurrent_days, stage.noncurrent_since))
        .max(after(when.custom_days, custom))
        .max(created)
        .max(stage.noncurrent_since.unwrap_or(Us::MIN))
}

/// Coldest last: an object never becomes warmer by a rule.
fn rank(class: StorageClass) -> u8 {
    match class {
        StorageClass::Nearline => 1,
        StorageClass::Coldline => 2,
        StorageClass::Archive => 3,
        _ => 0,
    }
}
