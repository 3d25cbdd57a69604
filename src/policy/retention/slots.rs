use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::model::Timestamp;
use crate::policy::Span;
use crate::policy::config::Retention;

/// A generation of restore points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// One for each day.
    Daily,
    /// One for each ISO week, Monday to Sunday.
    Weekly,
    /// One for each month.
    Monthly,
    /// One for each year.
    Yearly,
}

impl Tier {
    /// Finest first.
    pub const ALL: [Tier; 4] = [Tier::Daily, Tier::Weekly, Tier::Monthly, Tier::Yearly];

    /// Its name in policies and keys.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Daily => "daily",
            Tier::Weekly => "weekly",
            Tier::Monthly => "monthly",
            Tier::Yearly => "yearly",
        }
    }

    /// The generation that a part of a key names.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Tier::ALL.into_iter().find(|tier| tier.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// How long the policy keeps it.
    pub fn keep(self, retention: &Retention) -> Option<Span> {
        match self {
            Tier::Daily => retention.daily.copied(),
            Tier::Weekly => retention.weekly.copied(),
            Tier::Monthly => retention.monthly.copied(),
            Tier::Yearly => retention.yearly.copied(),
        }
    }

    /// The slot a moment lies in, in UTC.
    pub fn slot(self, moment: Timestamp) -> Slot {
        Slot::starting(self, self.first_day(moment.to_zoned(TimeZone::UTC).date()))
    }

    fn first_day(self, date: Date) -> Date {
        let first = match self {
            Tier::Daily => Ok(date),
            Tier::Weekly => {
                let back = i64::from(date.weekday().since(Weekday::Monday));
                date.checked_sub(jiff::ToSpan::days(back))
            }
            Tier::Monthly => Ok(date.first_of_month()),
            Tier::Yearly => Ok(date.first_of_year()),
        };
        first.unwrap_or(date)
    }

    fn next(self, first: Date) -> Date {
        use jiff::ToSpan;
        let next = match self {
            Tier::Daily => first.checked_add(1.day()),
            Tier::Weekly => first.checked_add(7.days()),
            Tier::Monthly => first.checked_add(1.month()),
            Tier::Yearly => first.checked_add(1.year()),
        };
        next.unwrap_or(Date::MAX)
    }
}

/// A day, week, month or year in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Which kind.
    pub tier: Tier,
    first: Date,
}

impl Slot {
    fn starting(tier: Tier, first: Date) -> Self {
        Slot { tier, first }
    }

    /// Its first moment.
    pub fn start(&self) -> Timestamp {
        midnight(self.first)
    }

    /// The first moment behind it.
    pub fn end(&self) -> Timestamp {
        midnight(self.tier.next(self.first))
    }

    /// The slot behind it.
    pub fn next(&self) -> Slot {
        Slot::starting(self.tier, self.tier.next(self.first))
    }
}

fn midnight(date: Date) -> Timestamp {
    date.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// `2026-11-20`, `2026-W47`, `2026-11`, `2026`.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tier {
            Tier::Daily => write!(f, "{}", self.first),
            Tier::Weekly => {
                let week = self.first.iso_week_date();
                write!(f, "{:04}-W{:02}", week.year(), week.week())
            }
            Tier::Monthly => write!(f, "{:04}-{:02}", self.first.year(), self.first.month()),
            Tier::Yearly => write!(f, "{:04}", self.first.year()),
        }
    }
}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A usable backup: a moment that can be restored, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePoint {
    /// When it was taken.
    pub taken: Timestamp,
    /// When the first of its needs goes; `None`: never by any rule known.
    pub usable_until: Option<Timestamp>,
}

impl RestorePoint {
    fn usable_at(&self, moment: Timestamp) -> bool {
        self.usable_until.is_none_or(|until| until > moment)
    }
}

/// Slots looked at, at most: three hundred years of days.
const SLOTS_MAX: usize = 110_000;

/// Slots that the policy promises at `as_of` and that no usable restore point fills.
///
/// Promised are slots that are over, that began at most `keep` before `as_of`, and that did not begin before the archive
/// did (`began`: when its first backup was ever taken, as far as that is known; the oldest point otherwise).
pub fn missing_slots(
    tier: Tier,
    keep: Span,
    points: &[RestorePoint],
    began: Option<Timestamp>,
    as_of: Timestamp,
) -> Vec<Slot> {
    let Some(began) = began.or_else(|| points.iter().map(|point| point.taken).min()) else { return Vec::new() };
    // Where the first slot began before the archive, its first backup may have come too late to promise anything.
    let mut filled: Vec<Slot> =
        points.iter().filter(|point| point.usable_at(as_of)).map(|point| tier.slot(point.taken)).collect();
    filled.sort();
    let oldest = keep.before(as_of);
    let mut slot = tier.slot(began.max(oldest));
    if slot.start() < oldest {
        slot = slot.next();
    }
    let mut missing = Vec::new();
    for _ in 0..SLOTS_MAX {
        if slot.end() > as_of || slot.end() <= slot.start() {
            break;
        }
        if filled.binary_search(&slot).is_err() {
            missing.push(slot);
        }
        slot = slot.next();
    }
    missing
}

/// Until when each restore point is promised by the generations: for each slot the point that lives longest (among
/// equals the first taken) has to live `keep` from the moment it was taken. `Some(None)`: for ever. `None`: no promise.
pub fn promised_until(points: &[RestorePoint], retention: &Retention) -> Vec<Option<Option<Timestamp>>> {
    let mut promised: Vec<Option<Option<Timestamp>>> = vec![None; points.len()];
    for tier in Tier::ALL {
        let Some(keep) = tier.keep(retention) else { continue };
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by_key(|at| points[*at].taken);
        for slot in order.chunk_by(|a, b| tier.slot(points[*a].taken) == tier.slot(points[*b].taken)) {
            let lives = |at: &usize| points[*at].usable_until.unwrap_or(Timestamp::MAX);
            let Some(longest) = slot.iter().map(lives).max() else { continue };
            let Some(keeper) = slot.iter().find(|at| lives(at) == longest) else { continue };
            let until = keep.after(points[*keeper].taken);
            let known = &mut promised[*keeper];
            *known = Some(match (*known, until) {
                (None, until) => until,
                (Some(None), _) | (_, None) => None,
                (Some(Some(a)), Some(b)) => Some(a.max(b)),
            });
        }
    }
    promised
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::config::{Key, Origin};
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn point(taken: &str, until: Option<&str>) -> RestorePoint {
        RestorePoint { taken: at(taken), usable_until: until.map(at) }
    }

    #[test]
    fn slots_are_calendar_slots_in_utc() {
        let moment = at("2027-01-01T23:59:59Z");
        let names: Vec<String> = Tier::ALL.iter().map(|tier| tier.slot(moment).to_string()).collect();
        assert_eq!(names, ["2027-01-01", "2026-W53", "2027-01", "2027"]);
        let week = Tier::Weekly.slot(moment);
        assert_eq!((week.start(), week.end()), (at("2026-12-28T00:00:00Z"), at("2027-01-04T00:00:00Z")));
    }

    #[test]
    fn a_slot_without_a_usable_backup_is_missing() {
        let points = [
            point("2026-11-10T02:00:00Z", None),
            point("2026-11-11T02:00:00Z", Some("2026-11-15T00:00:00Z")),
            point("2026-11-13T02:00:00Z", None),
        ];
        let missing = missing_slots(Tier::Daily, Span::from_days(30), &points, None, at("2026-11-15T12:00:00Z"));
        let names: Vec<String> = missing.iter().map(Slot::to_string).collect();
        // The 11th is gone, the 12th and 14th never were; the 15th is not over.
        assert_eq!(names, ["2026-11-11", "2026-11-12", "2026-11-14"]);
        let short = missing_slots(Tier::Daily, Span::from_days(3), &points, None, at("2026-11-15T12:00:00Z"));
        assert_eq!(short.iter().map(Slot::to_string).collect::<Vec<_>>(), ["2026-11-14"]);
        assert_eq!(missing_slots(Tier::Daily, Span::FOREVER, &[], None, at("2026-11-15T12:00:00Z")), []);
        let older = missing_slots(
            Tier::Monthly,
            Span::FOREVER,
            &points,
            Some(at("2026-09-05T00:00:00Z")),
            at("2026-11-15T12:00:00Z"),
        );
        assert_eq!(older.iter().map(Slot::to_string).collect::<Vec<_>>(), ["2026-09", "2026-10"]);
    }

    #[test]
    fn the_longest_lived_of_a_slot_carries_the_promise() {
        let origin = Origin::Defaults { line: 1 };
        let retention = Retention {
            daily: Key::new(Span::from_days(30), origin.clone()),
            monthly: Key::new(Span::FOREVER, origin),
            ..Retention::default()
        };
        let points = [
            point("2026-11-10T02:00:00Z", Some("2026-12-01T00:00:00Z")),
            point("2026-11-10T12:00:00Z", Some("2026-12-01T00:00:00Z")),
            point("2026-11-11T02:00:00Z", None),
        ];
        let promised = promised_until(&points, &retention);
        assert_eq!(promised, [Some(Some(at("2026-12-10T02:00:00Z"))), None, Some(None)]);
        assert_eq!(promised_until(&points, &Retention::default()), [None, None, None]);
    }

    #[test]
    fn absurd_times_end() {
        let points = [RestorePoint { taken: Timestamp::MIN, usable_until: None }];
        assert!(missing_slots(Tier::Daily, Span::FOREVER, &points, None, Timestamp::MAX).len() <= SLOTS_MAX);
        let last = [RestorePoint { taken: Timestamp::MAX, usable_until: None }];
        for tier in Tier::ALL {
            let _ = missing_slots(tier, Span::FOREVER, &last, None, Timestamp::MAX);
        }
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_its_slot(second in -60_000_000_000i64..200_000_000_000) {
            let moment = Timestamp::from_second(second).unwrap();
            for tier in Tier::ALL {
                let slot = tier.slot(moment);
                prop_assert!(slot.start() <= moment && moment < slot.end());
                prop_assert_eq!(slot.next().start(), slot.end());
                prop_assert_eq!(tier.slot(slot.start()), slot);
            }
        }
    }
}
