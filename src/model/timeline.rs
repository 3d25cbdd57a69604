use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::Lsn;

/// A timeline, counted from 1. Decimal for people, eight hexadecimal digits in names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimelineId(NonZeroU32);

impl TimelineId {
    /// The timeline every cluster is born on.
    pub const FIRST: TimelineId = TimelineId(NonZeroU32::MIN);

    /// `None` for 0, which no server writes.
    pub fn new(id: u32) -> Option<Self> {
        NonZeroU32::new(id).map(TimelineId)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One line of a history file: the parent was left at `switch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The timeline that was left.
    pub parent: TimelineId,
    /// First position that is no longer the parent's.
    pub switch: Lsn,
    /// What the server wrote as reason.
    pub reason: String,
}

/// A parsed `.history` file: the ancestry of one timeline, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineHistory {
    /// The timeline it belongs to, from the file's name.
    pub timeline: TimelineId,
    /// Ancestors, oldest first.
    pub entries: Vec<HistoryEntry>,
}

/// Why a history file cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryProblem {
    /// Not even one ancestor.
    #[error("holds no ancestor line")]
    Empty,
    /// Larger than any server writes.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// A line of another form.
    #[error("line {0} is not `timeline<TAB>position<TAB>reason`")]
    Line(usize),
    /// An ancestor numbered like or above its descendant, or ancestors out of order.
    #[error("line {0} names timeline {1}, which cannot be an ancestor there")]
    Order(usize, u32),
    /// Switch positions that go back.
    #[error("line {0} leaves its timeline before the line above does")]
    Backwards(usize),
}

impl TimelineHistory {
    /// Largest file that is read; PostgreSQL writes about 50 bytes per promotion.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Reads the text of `timeline`'s history file as PostgreSQL does: `#` comments and blank lines are skipped.
    pub fn parse(timeline: TimelineId, text: &[u8]) -> Result<Self, HistoryProblem> {
        if text.len() > Self::BYTES_MAX {
            return Err(HistoryProblem::TooLarge(Self::BYTES_MAX));
        }
        let text = String::from_utf8_lossy(text);
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut fields = line.splitn(3, |c: char| c.is_ascii_whitespace());
            let id = fields.next().and_then(|f| f.parse::<u32>().ok()).ok_or(HistoryProblem::Line(number))?;
            let parent = TimelineId::new(id).ok_or(HistoryProblem::Line(number))?;
            let switch = fields.next().and_then(|f| f.parse::<Lsn>().ok()).ok_or(HistoryProblem::Line(number))?;
            let reason = fields.next().unwrap_or("").trim().to_owned();
            if parent >= timeline || entries.last().is_some_and(|last| last.parent >= parent) {
                return Err(HistoryProblem::Order(number, id));
            }
            if entries.last().is_some_and(|last| last.switch > switch) {
                return Err(HistoryProblem::Backwards(number));
            }
            entries.push(HistoryEntry { parent, switch, reason });
        }
        if entries.is_empty() {
            return Err(HistoryProblem::Empty);
        }
        Ok(TimelineHistory { timeline, entries })
    }

    /// The timeline this one was made from, and where.
    pub fn parent(&self) -> Option<(TimelineId, Lsn)> {
        self.entries.last().map(|entry| (entry.parent, entry.switch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tli(id: u32) -> TimelineId {
        TimelineId::new(id).unwrap()
    }

    #[test]
    fn reads_a_grandchild_with_blank_lines_and_comments() {
        let text = b"1\t0/9016440\tno recovery target specified\n\n# note\n2\t0/A000000\tafter LSN 0/A000000\n\n";
        let history = TimelineHistory::parse(tli(3), text).unwrap();
        assert_eq!(history.entries.len(), 2);
        assert_eq!(history.parent(), Some((tli(2), Lsn(0xA00_0000))));
    }

    #[test]
    fn refuses_impossible_ancestry() {
        assert_eq!(TimelineHistory::parse(tli(2), b""), Err(HistoryProblem::Empty));
        assert_eq!(TimelineHistory::parse(tli(2), b"2\t0/1\tx\n"), Err(HistoryProblem::Order(1, 2)));
        assert_eq!(TimelineHistory::parse(tli(4), b"2\t0/1\tx\n1\t0/2\tx\n"), Err(HistoryProblem::Order(2, 1)));
        assert_eq!(TimelineHistory::parse(tli(4), b"1\t0/5\tx\n2\t0/2\tx\n"), Err(HistoryProblem::Backwards(2)));
        assert_eq!(TimelineHistory::parse(tli(4), b"0\t0/5\tx\n"), Err(HistoryProblem::Line(1)));
        assert_eq!(TimelineHistory::parse(tli(4), b"1 x y"), Err(HistoryProblem::Line(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), id in 1u32..9) {
            let _ = TimelineHistory::parse(tli(id), &bytes);
        }
    }
}
