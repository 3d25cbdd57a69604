//! Tools' own words for their retention, as in a crontab.

use std::fmt;
use std::str::FromStr;

use crate::model::Timestamp;
use crate::policy::Span;
use crate::policy::span::{UnitError, printable};

use super::{Engine, Order, RetainMode};

/// Reads `wal-g delete retain [FULL|FIND_FULL] N [--use-sentinel-time]`, `wal-g delete before [FIND_FULL] NAME|TIME`,
/// `pgbackrest repo-retention-full=N`, `barman REDUNDANCY N` and `barman RECOVERY WINDOW OF N DAYS|WEEKS`.
impl FromStr for Engine {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError(format!(
                "\"{}\": known are \"wal-g delete retain [FULL|FIND_FULL] N\", \"wal-g delete before [FIND_FULL] \
                 NAME|TIME\", \"pgbackrest repo-retention-full=N\", \"barman REDUNDANCY N\", \"barman RECOVERY WINDOW OF N DAYS\"",
                printable(text)
            ))
        };
        let by_time = text.contains("--use-sentinel-time");
        let words: Vec<&str> =
            text.split_whitespace().filter(|word| !matches!(*word, "--use-sentinel-time" | "--confirm")).collect();
        let count = |word: &str| count_of(word).ok_or_else(bad);
        let order = if by_time { Order::Time } else { Order::Name };
        let days = |count: &str, unit: &str| {
            let number = u32::try_from(count_of(count).ok_or_else(bad)?).map_err(|_| bad())?;
            match unit.to_ascii_uppercase().trim_end_matches('S') {
                "DAY" => Ok(Span::from_days(number)),
                "WEEK" => Ok(Span::from_days(number.saturating_mul(7))),
                _ => Err(bad()),
            }
        };
        match words.as_slice() {
            ["wal-g", "delete", "retain", number] => {
                Ok(Engine::WalgRetain { count: count(number)?, mode: RetainMode::Any, order })
            }
            ["wal-g", "delete", "retain", "FULL", number] => {
                Ok(Engine::WalgRetain { count: count(number)?, mode: RetainMode::Full, order })
            }
            ["wal-g", "delete", "retain", "FIND_FULL", number] => {
                Ok(Engine::WalgRetain { count: count(number)?, mode: RetainMode::FindFull, order })
            }
            ["wal-g", "delete", "before", what] => Ok(before(what, false)),
            ["wal-g", "delete", "before", "FIND_FULL", what] => Ok(before(what, true)),
            ["pgbackrest", option] => match option.trim_start_matches('-').split_once('=') {
                Some((name, number)) if name.ends_with("retention-full") => Ok(Engine::KeepLastFull(count(number)?)),
                _ => Err(bad()),
            },
            ["barman", "REDUNDANCY", number] => Ok(Engine::KeepLastFull(count(number)?)),
            ["barman", "RECOVERY", "WINDOW", "OF", number, unit] => Ok(Engine::Window(days(number, unit)?)),
            _ => Err(bad()),
        }
    }
}

fn count_of(word: &str) -> Option<usize> {
    word.parse().ok().filter(|count| *count > 0)
}

fn before(what: &str, find_full: bool) -> Engine {
    match what.parse::<Timestamp>() {
        Ok(time) => Engine::WalgBeforeTime { time, find_full },
        Err(_) => Engine::WalgBeforeName { name: what.to_owned(), find_full },
    }
}

/// As it would stand in a crontab or a configuration file.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let find = |find_full: &bool| if *find_full { "FIND_FULL " } else { "" };
        match self {
            Engine::WalgRetain { count, mode, order } => {
                let mode = match mode {
                    RetainMode::Any => "",
                    RetainMode::Full => "FULL ",
                    RetainMode::FindFull => "FIND_FULL ",
                };
                let order = if *order == Order::Time { " --use-sentinel-time" } else { "" };
                write!(f, "wal-g delete retain {mode}{count}{order}")
            }
            Engine::WalgBeforeName { name, find_full } => {
                write!(f, "wal-g delete before {}{}", find(find_full), printable(name))
            }
            Engine::WalgBeforeTime { time, find_full } => write!(f, "wal-g delete before {}{time}", find(find_full)),
            Engine::KeepLastFull(count) => write!(f, "keep the last {count} full backups"),
            Engine::Window(span) => write!(f, "keep what a window of {span} needs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_crontabs() {
        for text in [
            "wal-g delete retain 5",
            "wal-g delete retain FULL 4 --use-sentinel-time",
            "wal-g delete before FIND_FULL 2026-11-01T00:00:00Z",
            "wal-g delete before base_000000010000000000000002",
        ] {
            assert_eq!(text.parse::<Engine>().unwrap().to_string(), text);
        }
        assert_eq!("pgbackrest repo1-retention-full=3".parse(), Ok(Engine::KeepLastFull(3)));
        assert_eq!("barman REDUNDANCY 2".parse(), Ok(Engine::KeepLastFull(2)));
        assert_eq!("barman RECOVERY WINDOW OF 4 WEEKS".parse(), Ok(Engine::Window(Span::from_days(28))));
        assert_eq!(
            "wal-g delete retain FULL 4 --confirm".parse::<Engine>().unwrap().to_string(),
            "wal-g delete retain FULL 4"
        );
        for bad in
            ["", "rm -rf /", "wal-g delete retain 0", "wal-g delete everything", "barman RECOVERY WINDOW OF 1 MONTHS"]
        {
            assert!(bad.parse::<Engine>().is_err(), "{bad}");
        }
    }
}
