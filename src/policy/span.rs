use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Timestamp;

/// A length of time as a policy states it: a number and one unit, or `forever`.
///
/// Seconds are the resolution. A year is 365 days; months are no unit, because they have no length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// No planned end. Longer than every other span.
    pub const FOREVER: Span = Span(u64::MAX);

    /// So many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Span(seconds)
    }

    /// So many days of 24 hours.
    pub const fn from_days(days: u32) -> Self {
        Span(days as u64 * DAY)
    }

    /// Whether it has no end.
    pub fn is_forever(self) -> bool {
        self == Span::FOREVER
    }

    /// Length in seconds; `None` is forever.
    pub fn seconds(self) -> Option<u64> {
        (!self.is_forever()).then_some(self.0)
    }

    /// Whole days, rounded down; `None` is forever.
    pub fn days(self) -> Option<u64> {
        self.seconds().map(|seconds| seconds / DAY)
    }

    /// The moment this long after another; `None` when there is no such moment (forever, or beyond the calendar).
    pub fn after(self, moment: Timestamp) -> Option<Timestamp> {
        let seconds = i64::try_from(self.seconds()?).ok()?;
        moment.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
    }

    /// The moment this long before another, at the earliest the beginning of the calendar.
    pub fn before(self, moment: Timestamp) -> Timestamp {
        let back = self.seconds().and_then(|seconds| i64::try_from(seconds).ok());
        back.and_then(|seconds| moment.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok())
            .unwrap_or(Timestamp::MIN)
    }

    /// From one moment to a later one; nothing where the second is not later.
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        let seconds = to.as_second().saturating_sub(from.as_second());
        Span(u64::try_from(seconds).unwrap_or(0))
    }

    /// The sum; forever absorbs.
    #[must_use]
    pub fn plus(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }

    /// What is left after taking away another, at least nothing. Forever stays forever.
    #[must_use]
    pub fn minus(self, other: Span) -> Span {
        if self.is_forever() { self } else { Span(self.0.saturating_sub(other.0)) }
    }
}

/// In the largest unit that divides it: `365d`, `26h`, `90s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.seconds() else { return f.write_str("forever") };
        let (size, unit) = match seconds {
            0 => (DAY, 'd'),
            s if s % DAY == 0 => (DAY, 'd'),
            s if s % HOUR == 0 => (HOUR, 'h'),
            s if s % MINUTE == 0 => (MINUTE, 'm'),
            _ => (1, 's'),
        };
        write!(f, "{}{unit}", seconds / size)
    }
}

/// Why a text is no [`Span`], [`ByteSize`], [`Percent`] or [`Sample`]; the text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub String);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("forever") {
            return Ok(Span::FOREVER);
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        let bad = |help: &str| Err(UnitError(format!("\"{}\" is not a duration: {help}", printable(text))));
        if number.is_empty() {
            return bad("write a number and one unit, as in 15m, 26h, 35d, 52w, 1y or forever");
        }
        let size = match unit {
            "s" | "sec" => 1,
            "m" | "min" => MINUTE,
            "h" => HOUR,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7 * DAY,
            "y" | "year" | "years" => 365 * DAY,
            "" => return bad(&format!("it has no unit; did you mean {number}d?")),
            "mo" | "mon" | "month" | "months" | "M" => {
                return bad("months are not a unit (28 or 31 days?); write days, as in 30d");
            }
            other if other.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == ',') => {
                return bad("whole numbers only; take a smaller unit, as in 90m for 1.5 hours");
            }
            other if other.contains(|c: char| c.is_ascii_digit()) => {
                return bad("a number and one unit only, as in 90m for 1h30m");
            }
            _ => return bad("units are s, m, h, d, w and y (365 days)"),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(size));
        // i64 seconds keep the arithmetic with moments exact; 292 thousand million years are enough.
        match seconds.filter(|seconds| i64::try_from(*seconds).is_ok()) {
            Some(seconds) => Ok(Span(seconds)),
            None => bad("it is too large; write forever"),
        }
    }
}

/// Text from a file, cut and without control characters, for a message.
pub(crate) fn printable(text: &str) -> String {
    let mut out: String =
        text.chars().take(80).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(80).is_some() {
        out.push_str("...");
    }
    out
}

/// A number of bytes: `20GiB`, `500MB`, `1024`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS[..6].iter().rev().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        let (name, size) = unit.copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let amount = text.strip_suffix("/s").unwrap_or(text).trim();
        let bad = |help: &str| Err(UnitError(format!("\"{}\" is not a size: {help}", printable(text))));
        let end = amount.len() - amount.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, unit) = amount.split_at(end);
        let unit = unit.trim();
        let size = match BYTE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, size)) => *size,
            None if unit.is_empty() => 1,
            None => return bad("units are B, KiB, MiB, GiB, TiB (binary) and kB, MB, GB, TB (decimal)"),
        };
        match number.parse::<u64>() {
            Ok(whole) => match whole.checked_mul(size) {
                Some(bytes) => Ok(ByteSize(bytes)),
                None => bad("it is too large"),
            },
            Err(_) => match number.parse::<f64>() {
                // Below 2^53 the product is exact enough for a budget.
                Ok(part) if part * (size as f64) < 9e15 => Ok(ByteSize((part * size as f64) as u64)),
                _ => bad("write a number and a unit, as in 20GiB"),
            },
        }
    }
}

/// A share, kept in millionths: `5%`, `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    millionths: u32,
}

impl Percent {
    /// From millionths: 50 000 is 5 %.
    pub const fn from_millionths(millionths: u32) -> Self {
        Percent { millionths }
    }

    /// The share as a fraction: 0.05 for 5 %.
    pub fn fraction(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }

    /// The share of a number, rounded down.
    pub fn of(self, total: u64) -> u64 {
        let part = u128::from(total) * u128::from(self.millionths) / 1_000_000;
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths) / 1e4)
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let share = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match share {
            Some(share) if (0.0..=4000.0).contains(&share) => Ok(Percent { millionths: (share * 1e4).round() as u32 }),
            _ => Err(UnitError(format!("\"{}\" is not a share: write it as in 5%", printable(text)))),
        }
    }
}

/// How much to read: a share, an amount, or the k-th of n equal slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sample {
    /// A share of the bytes.
    Share(Percent),
    /// So many bytes.
    Bytes(ByteSize),
    /// `3/7`: the third of seven slices, so that a week of runs covers everything.
    Slice {
        /// 1 to `of`.
        number: u32,
        /// At least 1.
        of: u32,
    },
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sample::Share(share) => share.fmt(f),
            Sample::Bytes(bytes) => bytes.fmt(f),
            Sample::Slice { number, of } => write!(f, "{number}/{of}"),
        }
    }
}

impl FromStr for Sample {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if let Some((number, of)) = text.split_once('/') {
            return match (number.trim().parse::<u32>(), of.trim().parse::<u32>()) {
                (Ok(number), Ok(of)) if (1..=of).contains(&number) => Ok(Sample::Slice { number, of }),
                _ => Err(UnitError(format!(
                    "\"{}\" is not a slice: write k/n with k from 1 to n, as in 3/7",
                    printable(text)
                ))),
            };
        }
        if text.ends_with('%') {
            let share: Percent = text.parse()?;
            return match share.millionths {
                0..=1_000_000 => Ok(Sample::Share(share)),
                _ => Err(UnitError(format!("\"{}\" is more than everything: at most 100%", printable(text)))),
            };
        }
        match text.parse() {
            Ok(bytes) => Ok(Sample::Bytes(bytes)),
            Err(_) => Err(UnitError(format!("\"{}\" is not a sample: write 10%, 20GiB or 3/7", printable(text)))),
        }
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Span, ByteSize, Percent, Sample);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    fn refusal<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().0
    }

    #[test]
    fn spans_are_a_number_and_one_unit() {
        assert_eq!(span("15m").seconds(), Some(900));
        assert_eq!(span("26h").seconds(), Some(26 * 3600));
        assert_eq!(span("52w"), span("364d"));
        assert_eq!(span("1y"), Span::from_days(365));
        assert!(span("forever").is_forever());
        assert!(span("forever") > span("9999y"));
        assert_eq!(span("0d"), Span::ZERO);
        for text in ["15m", "26h", "35d", "90s", "forever", "0d"] {
            assert_eq!(span(text).to_string(), text);
        }
    }

    #[test]
    fn bad_spans_say_what_to_write() {
        assert!(refusal::<Span>("35").contains("did you mean 35d?"));
        assert!(refusal::<Span>("3 months").contains("months are not a unit"));
        assert!(refusal::<Span>("1h30m").contains("90m for 1h30m"));
        assert!(refusal::<Span>("1.5h").contains("whole numbers"));
        assert!(refusal::<Span>("d").contains("a number and one unit"));
        assert!(refusal::<Span>("99999999999999999999y").contains("too large"));
        assert!(refusal::<Span>("-3d").contains("a number and one unit"));
        assert!(!refusal::<Span>("\u{1b}[31m").contains('\u{1b}'));
    }

    #[test]
    fn spans_count_from_moments() {
        let moment: Timestamp = "2026-11-20T15:00:00Z".parse().unwrap();
        assert_eq!(span("30d").after(moment).unwrap().to_string(), "2026-12-20T15:00:00Z");
        assert_eq!(span("35d").before(moment).to_string(), "2026-10-16T15:00:00Z");
        assert_eq!(Span::FOREVER.after(moment), None);
        assert_eq!(Span::FOREVER.before(moment), Timestamp::MIN);
        assert_eq!(span("9000000y").after(moment), None);
        assert_eq!(Span::between(moment, span("7d").after(moment).unwrap()), span("7d"));
        assert_eq!(Span::between(moment, span("7d").before(moment)), Span::ZERO);
    }

    #[test]
    fn sizes_shares_and_samples() {
        assert_eq!("20GiB".parse::<ByteSize>().unwrap(), ByteSize(20 << 30));
        assert_eq!("1.5MB".parse::<ByteSize>().unwrap(), ByteSize(1_500_000));
        assert_eq!("50MiB/s".parse::<ByteSize>().unwrap().to_string(), "50MiB");
        assert!(refusal::<ByteSize>("20G").contains("GiB"));
        assert!(refusal::<ByteSize>("999999PiB").contains("too large"));
        assert_eq!("5%".parse::<Percent>().unwrap().of(1000), 50);
        assert_eq!("0.5%".parse::<Percent>().unwrap().to_string(), "0.5%");
        assert!(refusal::<Percent>("5").contains("5%"));
        assert_eq!("3/7".parse::<Sample>().unwrap(), Sample::Slice { number: 3, of: 7 });
        assert!(refusal::<Sample>("8/7").contains("from 1 to n"));
        assert!(refusal::<Sample>("101%").contains("at most 100%"));
        assert_eq!("20GiB".parse::<Sample>().unwrap().to_string(), "20GiB");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,20}") {
            let _ = (text.parse::<Span>(), text.parse::<ByteSize>(), text.parse::<Percent>(), text.parse::<Sample>());
        }

        #[test]
        fn what_is_printed_is_read_back(seconds in 0..i64::MAX as u64) {
            let span = Span::from_seconds(seconds);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
            let size = ByteSize(seconds);
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
    }
}
