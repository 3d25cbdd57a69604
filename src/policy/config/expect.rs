use std::cmp::Ordering;

use serde::Serialize;

/// What a value has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expect {
    /// How it is compared.
    pub operator: Comparison,
    /// With what, as text; numbers are compared as numbers. Empty for [`Comparison::Null`] and [`Comparison::NotNull`].
    pub value: String,
    /// The upper bound of [`Comparison::Between`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<String>,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Comparison {
    /// The same.
    Equal,
    /// Anything else.
    NotEqual,
    /// Less.
    Less,
    /// Less or the same.
    AtMost,
    /// More.
    More,
    /// More or the same.
    AtLeast,
    /// Within two bounds, which belong to it.
    Between,
    /// Matches a regular expression, as PostgreSQL's `~` does.
    Matches,
    /// Does not match one.
    MatchesNot,
    /// No value.
    Null,
    /// Any value.
    NotNull,
}

impl Expect {
    /// Reads `42`, `>= 42`, `!= 'x'`, `between 1 and 9`, `~ ^v[0-9]`, `null`, `not null`. Without an operator the value
    /// has to be equal. Quotes as in SQL are taken off, so `'null'` is the text.
    pub fn parse(text: &str) -> Self {
        const OPERATORS: &[(&str, Comparison)] = &[
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("!~", Comparison::MatchesNot),
            ("==", Comparison::Equal),
            ("=", Comparison::Equal),
            (">", Comparison::More),
            ("<", Comparison::Less),
            ("~", Comparison::Matches),
        ];
        let text = text.trim();
        let plain = |operator, value: &str| Expect { operator, value: unquoted(value), upper: None };
        match text.to_ascii_lowercase().as_str() {
            "null" | "is null" => return plain(Comparison::Null, ""),
            "not null" | "is not null" => return plain(Comparison::NotNull, ""),
            lower if lower.starts_with("between ") => {
                let rest = &text["between ".len()..];
                if let Some(at) = rest.to_ascii_lowercase().find(" and ") {
                    let upper = Some(unquoted(&rest[at + " and ".len()..]));
                    return Expect { operator: Comparison::Between, value: unquoted(&rest[..at]), upper };
                }
            }
            _ => {}
        }
        match OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?))) {
            Some((operator, value)) => plain(operator, value),
            None => plain(Comparison::Equal, text),
        }
    }

    /// Whether a value, as PostgreSQL prints it, is what is expected; `None` is NULL, which is like no value at all.
    /// A number never compares with a text. No answer for regular expressions: those are the server's to judge.
    pub fn holds(&self, actual: Option<&str>) -> Option<bool> {
        let Some(actual) = actual else { return Some(self.operator == Comparison::Null) };
        let against = |value: &str, accepted: &[Ordering]| {
            compare(actual, value).is_some_and(|ordering| accepted.contains(&ordering))
        };
        Some(match self.operator {
            Comparison::Equal => same(actual, &self.value),
            Comparison::NotEqual => !same(actual, &self.value),
            Comparison::Less => against(&self.value, &[Ordering::Less]),
            Comparison::AtMost => against(&self.value, &[Ordering::Less, Ordering::Equal]),
            Comparison::More => against(&self.value, &[Ordering::Greater]),
            Comparison::AtLeast => against(&self.value, &[Ordering::Greater, Ordering::Equal]),
            Comparison::Between => {
                against(&self.value, &[Ordering::Greater, Ordering::Equal])
                    && self.upper.as_deref().is_some_and(|upper| against(upper, &[Ordering::Less, Ordering::Equal]))
            }
            Comparison::Null => false,
            Comparison::NotNull => true,
            Comparison::Matches | Comparison::MatchesNot => return None,
        })
    }
}

/// As a report shows it.
impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.operator {
            Comparison::Equal => return f.write_str(&self.value),
            Comparison::Null => return f.write_str("null"),
            Comparison::NotNull => return f.write_str("not null"),
            Comparison::Between => {
                return write!(f, "between {} and {}", self.value, self.upper.as_deref().unwrap_or_default());
            }
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::More => ">",
            Comparison::AtLeast => ">=",
            Comparison::Matches => "~",
            Comparison::MatchesNot => "!~",
        };
        write!(f, "{sign} {}", self.value)
    }
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("''", "'"))
}

fn same(actual: &str, expected: &str) -> bool {
    // The file's `true` is what the server prints as `t`.
    let as_bool = match expected {
        "true" => Some("t"),
        "false" => Some("f"),
        _ => None,
    };
    actual == expected || as_bool == Some(actual) || compare(actual, expected) == Some(Ordering::Equal)
}

/// Numbers as numbers, texts by their bytes (which orders ISO dates), and never one with the other.
fn compare(actual: &str, expected: &str) -> Option<Ordering> {
    match (Decimal::parse(actual), Decimal::parse(expected)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (None, None) => Some(actual.cmp(expected)),
        _ => None,
    }
}

/// A number of any length, exactly: counts and sums of money do not fit into a float.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Significant digits, without zeros at either end; none for zero.
    digits: Vec<u8>,
    /// Where the point stands: the value is `0.digits` times ten to this.
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (number, power) = match rest.split_once(['e', 'E']) {
            Some((number, power)) => (number, power.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let all = || whole.bytes().chain(part.bytes());
        if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let leading = all().take_while(|byte| *byte == b'0').count();
        let mut digits: Vec<u8> = all().skip(leading).collect();
        digits.truncate(digits.len() - digits.iter().rev().take_while(|byte| **byte == b'0').count());
        if digits.is_empty() {
            return Some(Decimal { negative: false, digits, exponent: 0 });
        }
        let exponent = whole.len() as i64 - leading as i64 + i64::from(power);
        Some(Decimal { negative, digits, exponent })
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        self.sign().cmp(&other.sign()).then_with(|| if self.negative { size().reverse() } else { size() })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(expect: &str, actual: &str) -> bool {
        Expect::parse(expect).holds(Some(actual)).unwrap()
    }

    #[test]
    fn expectations_have_operators() {
        let plain = |operator, value: &str| Expect { operator, value: value.into(), upper: None };
        assert_eq!(Expect::parse("42"), plain(Comparison::Equal, "42"));
        assert_eq!(Expect::parse(">= 42"), plain(Comparison::AtLeast, "42"));
        assert_eq!(Expect::parse("<> x"), plain(Comparison::NotEqual, "x"));
        assert_eq!(Expect::parse("= 'it''s'"), plain(Comparison::Equal, "it's"));
        assert_eq!(Expect::parse("'null'"), plain(Comparison::Equal, "null"));
        assert_eq!(Expect::parse("!~ x$"), plain(Comparison::MatchesNot, "x$"));
        assert_eq!(Expect::parse("between the lines"), plain(Comparison::Equal, "between the lines"));
        for text in ["42", ">= 42", "between 1 and 9", "~ ^a", "null", "not null", "!= x"] {
            assert_eq!(Expect::parse(text).to_string(), text);
        }
    }

    #[test]
    fn values_are_judged() {
        for (expect, actual) in [
            ("42", "42.00"),
            ("true", "t"),
            ("false", "f"),
            (">= 9", "10"),
            ("> 9007199254740992", "9007199254740993"),
            ("< -1", "-1.5"),
            ("between 1 and 9", "9"),
            ("between 2026-01-01 and 2026-12-31", "2026-11-28"),
            ("1e3", "1000"),
            ("not null", ""),
            ("", ""),
        ] {
            assert!(holds(expect, actual), "{actual} is {expect}");
        }
        for (expect, actual) in [
            ("42", "43"),
            ("> 9", "9"),
            // A number is no text: neither order means anything.
            (">= 10", "abc"),
            (">= 2026-01-01", "5"),
            ("between 1 and 9", "10"),
            ("null", "x"),
            ("true", "f"),
        ] {
            assert!(!holds(expect, actual), "{actual} is not {expect}");
        }
        // No value is like nothing, not even like something else.
        for expect in ["1", "!= 1", "> 1", "not null", ""] {
            assert_eq!(Expect::parse(expect).holds(None), Some(false), "{expect}");
        }
        assert_eq!(Expect::parse("null").holds(None), Some(true));
        assert_eq!(Expect::parse("~ x").holds(Some("x")), None);
    }

    proptest! {
        #[test]
        fn numbers_order_as_numbers(a in any::<i64>(), b in any::<i64>(), zeros in 0..4_usize) {
            let written = format!("{a}.{}", "0".repeat(zeros));
            prop_assert_eq!(compare(&written, &b.to_string()), Some(a.cmp(&b)));
        }
    }
}
