use serde::Serialize;

use crate::model::Timestamp;
use crate::policy::Span;

/// A backup as a forecast sees it. `None`: no end by any rule known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForecastPoint {
    /// The first moment that can be recovered from it.
    pub consistent_at: Timestamp,
    /// When the first object that the backup itself needs goes: its parts, its ancestors, its own start..stop WAL.
    pub usable_until: Option<Timestamp>,
    /// When the first object on the way from it to the newest WAL goes, at the latest `usable_until`.
    pub reaches_until: Option<Timestamp>,
}

/// One step of a forecast: from this moment on, until the next step, nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ForecastStep {
    /// From when.
    pub at: Timestamp,
    /// The oldest moment from which on every later one can be recovered.
    pub oldest: Option<Timestamp>,
    /// Length of that window, up to `newest`.
    pub window: Span,
    /// Backups that can be restored at all.
    pub backups: usize,
}

/// The recovery window of an archive that gets nothing new, as a step function of the date: only the moments at which
/// something ends are looked at, so the result is exact and as long as it has to be.
///
/// `newest` is the newest recoverable moment. The first step is at `now`.
pub fn forecast(points: &[ForecastPoint], newest: Timestamp, now: Timestamp) -> Vec<ForecastStep> {
    let later = |end: Option<Timestamp>| end.filter(|end| *end > now);
    let mut moments: Vec<Timestamp> =
        points.iter().flat_map(|point| [later(point.usable_until), later(point.reaches_until)]).flatten().collect();
    moments.push(now);
    moments.sort();
    moments.dedup();
    // Backups that end drop out of counts; the oldest is found by sweeping from the last moment to the first.
    let end = |end: Option<Timestamp>| end.unwrap_or(Timestamp::MAX);
    let mut usable: Vec<Timestamp> = points.iter().map(|point| end(point.usable_until)).collect();
    usable.sort();
    let mut by_reach: Vec<(Timestamp, Timestamp)> =
        points.iter().map(|point| (end(point.reaches_until), point.consistent_at)).collect();
    by_reach.sort();
    let mut steps: Vec<ForecastStep> = Vec::with_capacity(moments.len());
    let mut oldest: Option<Timestamp> = None;
    let mut next = by_reach.len();
    for at in moments.iter().rev() {
        while next > 0 && by_reach[next - 1].0 > *at {
            next -= 1;
            let moment = by_reach[next].1;
            oldest = Some(oldest.map_or(moment, |known| known.min(moment)));
        }
        steps.push(ForecastStep {
            at: *at,
            oldest,
            window: oldest.map_or(Span::ZERO, |oldest| Span::between(oldest, newest)),
            backups: usable.len() - usable.partition_point(|end| *end <= *at),
        });
    }
    steps.reverse();
    steps.dedup_by(|later, earlier| (later.oldest, later.backups) == (earlier.oldest, earlier.backups));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + day * 86_400).unwrap()
    }

    #[test]
    fn steps_are_where_something_ends() {
        let point = |taken: i64, usable: Option<i64>, reach: Option<i64>| ForecastPoint {
            consistent_at: at(taken),
            usable_until: usable.map(at),
            reaches_until: reach.map(at),
        };
        // The first backup loses its way forward before it is gone itself; the last lives for ever.
        let points = [point(0, Some(30), Some(20)), point(7, Some(37), Some(37)), point(14, None, None)];
        let steps = forecast(&points, at(15), at(15));
        let seen: Vec<_> = steps.iter().map(|step| (step.at, step.window.days(), step.backups)).collect();
        assert_eq!(seen, [(at(15), Some(15), 3), (at(20), Some(8), 3), (at(30), Some(8), 2), (at(37), Some(1), 1)]);
        let none = forecast(&[], at(0), at(0));
        assert_eq!((none[0].oldest, none[0].backups), (None, 0));
    }

    proptest! {
        #[test]
        fn every_step_is_what_a_look_at_that_moment_finds(
            shape in proptest::collection::vec((0i64..50, proptest::option::of(0i64..90), proptest::option::of(0i64..90)), 0..12),
            look in 50i64..100,
        ) {
            let points: Vec<ForecastPoint> = shape
                .iter()
                .map(|(taken, usable, reach)| ForecastPoint {
                    consistent_at: at(*taken),
                    usable_until: usable.map(at),
                    reaches_until: reach.map(at),
                })
                .collect();
            let steps = forecast(&points, at(50), at(50));
            let step = steps.iter().rfind(|step| step.at <= at(look)).unwrap();
            let lives = |end: Option<Timestamp>| end.is_none_or(|end| end > at(look));
            let oldest = points.iter().filter(|p| lives(p.reaches_until)).map(|p| p.consistent_at).min();
            prop_assert_eq!(step.oldest, oldest);
            prop_assert_eq!(step.backups, points.iter().filter(|p| lives(p.usable_until)).count());
        }
    }
}
