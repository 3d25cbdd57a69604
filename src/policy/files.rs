//! Layout `files`: each object that matches a pattern is one backup.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::model::Timestamp;

use super::span::{UnitError, printable};

/// What the keys of dumps and tarballs look like, as in `{tier}/{date}.tar.zst` or `dumps/%Y/%m/%d-%H%M.sql.gz`.
///
/// `{date}` and `{time}` (or the strftime parts `%Y %m %d %H %M %S %j %y %s %F %T`) give the moment, `{tier}` the
/// retention class, `*` stands for anything within a path component, `**` for anything, `{name}` for a component's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Tier,
    Date,
    Time,
    /// A number of so many digits.
    Number(Field, usize),
    Epoch,
    /// At least one byte other than a slash.
    Name,
    Star,
    StarStar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    ShortYear,
    Month,
    Day,
    DayOfYear,
    Hour,
    Minute,
    Second,
}

/// What a key says about its backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileMatch<'k> {
    /// Retention class, as the key writes it.
    pub tier: Option<&'k [u8]>,
    /// What `{name}` stands for; the first of several.
    pub name: Option<&'k [u8]>,
    /// The day it was taken.
    pub date: Option<Date>,
    /// The time of that day, where the key has one.
    pub time: Option<Time>,
    /// Seconds since 1970, where the key has those instead.
    epoch: Option<i64>,
}

impl FileMatch<'_> {
    /// When the backup was taken. A key with a day but no time takes the time of `modified` if that is the same day.
    pub fn moment(&self, modified: Timestamp) -> Timestamp {
        if let Some(at) = self.epoch.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
            return at;
        }
        let Some(date) = self.date else { return modified };
        let time = match self.time {
            Some(time) => time,
            None if modified.to_zoned(TimeZone::UTC).date() == date => return modified,
            None => Time::midnight(),
        };
        DateTime::from_parts(date, time).to_zoned(TimeZone::UTC).map_or(modified, |zoned| zoned.timestamp())
    }
}

/// Patterns are short; keys at most 1024 bytes on every store.
const PARTS_MAX: usize = 64;

impl FilePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// An unknown placeholder or strftime part, named.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = |help: String| Err(UnitError(format!("\"{}\": {help}", printable(text))));
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, length) = if let Some(after) = rest.strip_prefix('{') {
                let Some(end) = after.find('}') else { return bad("a { is not closed".into()) };
                let part = match &after[..end] {
                    "tier" => Part::Tier,
                    "date" => Part::Date,
                    "time" => Part::Time,
                    "name" => Part::Name,
                    other => {
                        return bad(format!(
                            "{{{}}} is not known; there are {{tier}}, {{date}}, {{time}} and {{name}}",
                            printable(other)
                        ));
                    }
                };
                (part, end + 2)
            } else if let Some(after) = rest.strip_prefix('%') {
                match strftime(after, &mut parts) {
                    Some(()) => {
                        rest = &rest[2..];
                        continue;
                    }
                    None => return bad("of strftime there are %Y %y %m %d %j %H %M %S %s %F %T and %%".into()),
                }
            } else if rest.starts_with("**") {
                (Part::StarStar, 2)
            } else if rest.starts_with('*') {
                (Part::Star, 1)
            } else {
                let end = rest.find(['{', '%', '*']).unwrap_or(rest.len());
                (Part::Literal(rest.as_bytes()[..end].to_vec()), end)
            };
            parts.push(part);
            rest = &rest[length..];
        }
        if parts.is_empty() || parts.len() > PARTS_MAX {
            return bad(format!("a pattern has 1 to {PARTS_MAX} parts"));
        }
        Ok(FilePattern { parts })
    }

    /// What a key, relative to the archive's address, says; `None` if it does not match.
    pub fn matches<'k>(&self, key: &'k [u8]) -> Option<FileMatch<'k>> {
        let mut search = Search { parts: &self.parts, key, failed: Vec::new(), captures: Vec::new() };
        search.run(0, 0).then(|| search.read())?
    }

    /// Whether the pattern names the retention class.
    pub fn has_tier(&self) -> bool {
        self.parts.contains(&Part::Tier)
    }

    /// A key that matches: for judging rules before there is any object.
    pub fn example(&self, tier: &str, at: Timestamp) -> String {
        let at = at.to_zoned(TimeZone::UTC).datetime();
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => key.push_str(&String::from_utf8_lossy(bytes)),
                Part::Tier => key.push_str(tier),
                Part::Date => key.push_str(&at.date().to_string()),
                Part::Time => {
                    key.push_str(&format!("{:02}{:02}{:02}", at.hour(), at.minute(), at.second()));
                }
                Part::Number(field, digits) => {
                    let number = field.of(at);
                    key.push_str(&format!("{number:0digits$}"));
                }
                Part::Epoch => {
                    key.push_str(&at.to_zoned(TimeZone::UTC).map_or(0, |z| z.timestamp().as_second()).to_string())
                }
                Part::Name | Part::Star | Part::StarStar => key.push('x'),
            }
        }
        key
    }
}

fn strftime(after: &str, parts: &mut Vec<Part>) -> Option<()> {
    let number = |field, digits| Part::Number(field, digits);
    let literal = |text: &str| Part::Literal(text.as_bytes().to_vec());
    match after.chars().next()? {
        'Y' => parts.push(number(Field::Year, 4)),
        'y' => parts.push(number(Field::ShortYear, 2)),
        'm' => parts.push(number(Field::Month, 2)),
        'd' => parts.push(number(Field::Day, 2)),
        'j' => parts.push(number(Field::DayOfYear, 3)),
        'H' => parts.push(number(Field::Hour, 2)),
        'M' => parts.push(number(Field::Minute, 2)),
        'S' => parts.push(number(Field::Second, 2)),
        's' => parts.push(Part::Epoch),
        'F' => parts.extend([
            number(Field::Year, 4),
            literal("-"),
            number(Field::Month, 2),
            literal("-"),
            number(Field::Day, 2),
        ]),
        'T' => parts.extend([
            number(Field::Hour, 2),
            literal(":"),
            number(Field::Minute, 2),
            literal(":"),
            number(Field::Second, 2),
        ]),
        '%' => parts.push(literal("%")),
        _ => return None,
    }
    Some(())
}

impl Field {
    fn of(self, at: DateTime) -> i32 {
        match self {
            Field::Year => i32::from(at.year()),
            Field::ShortYear => i32::from(at.year()) % 100,
            Field::Month => i32::from(at.month()),
            Field::Day => i32::from(at.day()),
            Field::DayOfYear => i32::from(at.date().day_of_year()),
            Field::Hour => i32::from(at.hour()),
            Field::Minute => i32::from(at.minute()),
            Field::Second => i32::from(at.second()),
        }
    }
}

/// Backtracking over parts; a state that failed once is not tried again, so the work is bounded by parts times bytes.
struct Search<'p, 'k> {
    parts: &'p [Part],
    key: &'k [u8],
    failed: Vec<bool>,
    captures: Vec<(usize, usize, usize)>,
}

impl<'k> Search<'_, 'k> {
    fn run(&mut self, part: usize, at: usize) -> bool {
        let Some(this) = self.parts.get(part) else { return at == self.key.len() };
        let width = self.key.len() + 1;
        let state = part * width + at;
        if self.failed.get(state).copied().unwrap_or(false) {
            return false;
        }
        let rest = &self.key[at..];
        let found = match this {
            Part::Literal(text) => rest.starts_with(text) && self.run(part + 1, at + text.len()),
            Part::Number(_, digits) => self.digits(part, at, &[*digits]),
            Part::Epoch => self.digits(part, at, &[10, 9]),
            Part::Date => self.forms(part, at, &["9999-99-99", "99999999", "9999_99_99"]),
            Part::Time => {
                self.forms(part, at, &["99:99:99", "99-99-99", "99_99_99", "999999", "99:99", "99-99", "9999"])
            }
            Part::Tier | Part::Name => self.stretch(part, at, 1, false),
            Part::Star => self.stretch(part, at, 0, false),
            Part::StarStar => self.stretch(part, at, 0, true),
        };
        if !found && matches!(this, Part::Tier | Part::Name | Part::Star | Part::StarStar) {
            self.failed.resize(self.parts.len() * width, false);
            self.failed[state] = true;
        }
        found
    }

    fn take(&mut self, part: usize, at: usize, length: usize) -> bool {
        self.captures.push((part, at, at + length));
        if self.run(part + 1, at + length) {
            return true;
        }
        self.captures.pop();
        false
    }

    fn digits(&mut self, part: usize, at: usize, lengths: &[usize]) -> bool {
        let run = self.key[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        lengths.iter().any(|length| run >= *length && self.take(part, at, *length))
    }

    fn forms(&mut self, part: usize, at: usize, forms: &[&str]) -> bool {
        forms.iter().any(|form| {
            let fits = self.key[at..].len() >= form.len()
                && form
                    .bytes()
                    .zip(&self.key[at..])
                    .all(|(want, byte)| if want == b'9' { byte.is_ascii_digit() } else { want == *byte });
            fits && self.take(part, at, form.len())
        })
    }

    fn stretch(&mut self, part: usize, at: usize, least: usize, slashes: bool) -> bool {
        let run = self.key[at..].iter().take_while(|byte| slashes || **byte != b'/').count();
        (least..=run).any(|length| self.take(part, at, length))
    }

    /// The values of the captures; a date or time that is none (month 13) makes the key no match.
    fn read(&self) -> Option<FileMatch<'k>> {
        let mut found = FileMatch::default();
        let (mut year, mut month, mut day, mut ordinal) = (None, None, None, None);
        let mut clock = [None; 3];
        for &(part, from, to) in &self.captures {
            let text = &self.key[from..to];
            let digits = || text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'));
            let number = || digits().fold(0i64, |sum, digit| sum * 10 + digit);
            match &self.parts[part] {
                Part::Tier => found.tier = Some(text),
                Part::Name => found.name = found.name.or(Some(text)),
                Part::Epoch => found.epoch = Some(number()),
                Part::Date => {
                    let all = number();
                    (year, month, day) = (Some(all / 10_000), Some(all / 100 % 100), Some(all % 100));
                }
                Part::Time => {
                    let all = if digits().count() == 4 { number() * 100 } else { number() };
                    clock = [Some(all / 10_000), Some(all / 100 % 100), Some(all % 100)];
                }
                Part::Number(field, _) => match field {
                    Field::Year => year = Some(number()),
                    Field::ShortYear => year = Some(2000 + number()),
                    Field::Month => month = Some(number()),
                    Field::Day => day = Some(number()),
                    Field::DayOfYear => ordinal = Some(number()),
                    Field::Hour => clock[0] = Some(number()),
                    Field::Minute => clock[1] = Some(number()),
                    Field::Second => clock[2] = Some(number()),
                },
                _ => {}
            }
        }
        if let Some(year) = year {
            let year = i16::try_from(year).ok()?;
            let small = |number: Option<i64>| i8::try_from(number.unwrap_or(1)).ok();
            let date = Date::new(year, small(month)?, small(day)?).ok()?;
            found.date = Some(match ordinal {
                Some(ordinal) => date.with().day_of_year(i16::try_from(ordinal).ok()?).build().ok()?,
                None => date,
            });
        }
        if clock[0].is_some() {
            let part = |at: usize| i8::try_from(clock[at].unwrap_or(0)).ok();
            found.time = Some(Time::new(part(0)?, part(1)?, part(2)?, 0).ok()?);
        }
        Some(found)
    }
}

#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let split = bytes.len() / 2;
    if let Ok(pattern) = FilePattern::parse(&String::from_utf8_lossy(&bytes[..split.min(64)])) {
        let _ = pattern.matches(&bytes[split..]);
        let _ = pattern.example("daily", Timestamp::UNIX_EPOCH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found<'k>(pattern: &str, key: &'k str) -> Option<FileMatch<'k>> {
        FilePattern::parse(pattern).unwrap().matches(key.as_bytes())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn tier_and_date() {
        let key = "monthly/2026-11-01.tar.zst";
        let found = found("{tier}/{date}.tar.zst", key).unwrap();
        assert_eq!(found.tier, Some(&b"monthly"[..]));
        assert_eq!(found.moment(at("2026-11-01T02:10:00Z")), at("2026-11-01T02:10:00Z"));
        assert_eq!(found.moment(at("2027-01-01T02:10:00Z")), at("2026-11-01T00:00:00Z"));
        assert_eq!(
            super::FilePattern::parse("{tier}/{date}.tar.zst").unwrap().matches(b"monthly/x/2026-11-01.tar.zst"),
            None
        );
    }

    #[test]
    fn strftime_and_wildcards() {
        let hit = found("dumps/%Y/%m/%d-%H%M.sql.gz", "dumps/2026/11/02-0315.sql.gz").unwrap();
        assert_eq!(hit.moment(Timestamp::UNIX_EPOCH), at("2026-11-02T03:15:00Z"));
        let hit = found("**/{name}-{date}T{time}Z.dump", "a/b/orders-db-20261102T031500Z.dump").unwrap();
        assert_eq!(hit.moment(Timestamp::UNIX_EPOCH), at("2026-11-02T03:15:00Z"));
        assert_eq!(hit.name, Some(&b"orders-db"[..]));
        assert_eq!(found("*.dump", "a/b.dump"), None);
        assert_eq!(found("*.dump", "b.dump").unwrap().moment(at("2026-01-01T00:00:00Z")), at("2026-01-01T00:00:00Z"));
        assert_eq!(found("x-%s", "x-1795000000").unwrap().moment(Timestamp::UNIX_EPOCH).as_second(), 1_795_000_000);
        assert_eq!(found("%Y%j", "2026032").unwrap().date.unwrap().to_string(), "2026-02-01");
        assert_eq!(found("{date}.tar", "2026-13-01.tar"), None);
        assert_eq!(found("100%%", "100%").unwrap(), FileMatch::default());
    }

    #[test]
    fn bad_patterns_are_explained() {
        for bad in ["", "{tire}/x", "{date", "%q", "x%"] {
            assert!(FilePattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_keys_cost_little() {
        let pattern = FilePattern::parse("**a**a**a**a**a**a**a**a**b").unwrap();
        assert_eq!(pattern.matches("a".repeat(1024).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn examples_match(tier in "[a-z]{1,8}", second in 0i64..4_000_000_000) {
            let moment = Timestamp::from_second(second).unwrap();
            for text in ["{tier}/{date}.tar.zst", "%Y/%m/{tier}-%d-%H%M%S", "{tier}/{date}-{time}", "*/{tier}/%F_%T.x"] {
                let pattern = FilePattern::parse(text).unwrap();
                let key = pattern.example(&tier, moment);
                let hit = pattern.matches(key.as_bytes()).unwrap();
                prop_assert_eq!(hit.tier.unwrap(), tier.as_bytes());
                prop_assert_eq!(hit.date.unwrap(), moment.to_zoned(TimeZone::UTC).date());
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_one(&bytes);
        }
    }
}
