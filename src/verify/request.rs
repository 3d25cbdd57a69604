use std::collections::BTreeSet;
use std::str::FromStr;

use crate::catalog::Archive;
use crate::model::{SegmentName, StorageClass, Timestamp};
use crate::policy::{Sample, Span};

/// Which base backups to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupChoice {
    /// None.
    None,
    /// All.
    All,
    /// The newest.
    Latest,
    /// These, with the ancestors of deltas.
    Named(Vec<String>),
}

/// Which WAL to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalChoice {
    /// None.
    None,
    /// All.
    All,
    /// What the chosen backups need to become consistent.
    OfBackups,
    /// Segments from one name to another, both included; on every timeline between theirs.
    Range(SegmentName, SegmentName),
    /// Segments stored since so long ago.
    Since(Span),
}

impl FromStr for WalChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let segment = |name: &str| {
            let name = name.trim();
            SegmentName::parse(name.as_bytes()).ok_or_else(|| format!("{name:?} is not the name of a segment"))
        };
        match text.trim() {
            "all" => Ok(WalChoice::All),
            "none" => Ok(WalChoice::None),
            other => match (other.strip_prefix("since="), other.split_once("..")) {
                (Some(span), _) => {
                    span.parse().map(WalChoice::Since).map_err(|error: crate::policy::UnitError| error.to_string())
                }
                (None, Some((first, last))) => {
                    let (first, last) = (segment(first)?, segment(last)?);
                    let order = (first.timeline, first.position()) <= (last.timeline, last.position());
                    if order { Ok(WalChoice::Range(first, last)) } else { Err("the range goes backwards".to_owned()) }
                }
                (None, None) => segment(other).map(|name| WalChoice::Range(name, name)).map_err(|_| {
                    "write all, none, SEGMENT..SEGMENT (both included) or since=DURATION, as in since=7d".to_owned()
                }),
            },
        }
    }
}

/// What to read of an archive.
#[derive(Debug, Clone)]
pub struct Request {
    /// Base backups.
    pub backups: BackupChoice,
    /// WAL.
    pub wal: WalChoice,
    /// Only a part of these.
    pub sample: Option<Sample>,
    /// At most so many stored bytes.
    pub budget: Option<u64>,
    /// Chooses the sample.
    pub seed: u64,
    /// Read also what is proven and has not changed.
    pub reverify: bool,
    /// A proof older than this many seconds is made again.
    pub interval: Option<u64>,
    /// Classes that may be read from; `None` for all that answer at once.
    pub classes: Option<BTreeSet<StorageClass>>,
}

impl Default for Request {
    /// Everything that is not proven yet.
    fn default() -> Self {
        Request {
            backups: BackupChoice::All,
            wal: WalChoice::All,
            sample: None,
            budget: None,
            seed: 0,
            reverify: false,
            interval: None,
            classes: None,
        }
    }
}

impl Request {
    /// Whether objects of a class may be read.
    pub fn may_read(&self, class: StorageClass) -> bool {
        class.readable_at_once() && self.classes.as_ref().is_none_or(|classes| classes.contains(&class))
    }

    /// Whether a proof of that moment still counts.
    pub fn counts(&self, at: Timestamp, as_of: Timestamp) -> bool {
        let age = as_of.duration_since(at).as_secs();
        !self.reverify && self.interval.is_none_or(|interval| age < i64::try_from(interval).unwrap_or(i64::MAX))
    }

    /// Indices of the chosen backups, with the ancestors that they stand on.
    ///
    /// # Errors
    /// A name that no backup has.
    pub fn chosen(&self, archive: &Archive) -> Result<BTreeSet<usize>, String> {
        let mut chosen: BTreeSet<usize> = match &self.backups {
            BackupChoice::None => BTreeSet::new(),
            BackupChoice::All => (0..archive.backups.len()).collect(),
            BackupChoice::Latest => archive.backups.len().checked_sub(1).into_iter().collect(),
            BackupChoice::Named(names) => {
                let mut found = BTreeSet::new();
                for name in names {
                    let at = archive.backups.iter().enumerate().filter(|(_, backup)| backup.name == *name);
                    let before = found.len();
                    found.extend(at.map(|(at, _)| at));
                    if found.len() == before {
                        return Err(format!("there is no backup {name}; walproof list names them"));
                    }
                }
                found
            }
        };
        let mut todo: Vec<usize> = chosen.iter().copied().collect();
        while let Some(at) = todo.pop() {
            let backup = &archive.backups[at];
            let Some(parent) = backup.kind.parent() else { continue };
            let same = |other: &&crate::catalog::BaseBackup| other.name == parent && other.storage == backup.storage;
            if let Some(found) = archive.backups.iter().position(|other| same(&other))
                && chosen.insert(found)
            {
                todo.push(found);
            }
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_of_wal() {
        let name = |text: &str| SegmentName::parse(text.as_bytes()).unwrap();
        let (a, b) = ("000000010000000000000002", "000000010000000000000005");
        assert_eq!(format!("{a}..{b}").parse(), Ok(WalChoice::Range(name(a), name(b))));
        assert_eq!(a.parse(), Ok(WalChoice::Range(name(a), name(a))));
        assert_eq!("since=7d".parse(), Ok(WalChoice::Since("7d".parse().unwrap())));
        for bad in ["", "x..y", "since=", &format!("{b}..{a}"), "yes"] {
            assert!(bad.parse::<WalChoice>().is_err(), "{bad}");
        }
    }
}
