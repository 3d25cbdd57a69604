//! What can be wrong inside one segment.

use std::fmt;

use crate::model::{Lsn, TimelineId};

/// A kind of damage in a segment. `expected` and `found` of a [`Defect`] hold the two values named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DefectKind {
    /// `xlp_magic`: that of the segment's version (0: any known one), the one on the page.
    PageMagic,
    /// `xlp_pageaddr`: where the page lies, where it says it lies. A recycled or swapped file looks so.
    PageAddress,
    /// `xlp_tli`: the timeline the page must be of (its ancestry or its neighbour says), the one it names.
    PageTimeline,
    /// `xlp_info`: the flags that fit the page's place, the flags it has.
    PageFlags,
    /// The header's padding: 0, what is there.
    PagePadding,
    /// `xlp_rem_len`: bytes of the record begun before that are still missing, bytes the page announces.
    RemainingLength,
    /// `xl_tot_len`: the least legal length, the one stored.
    RecordLength,
    /// `xl_crc`: computed, stored.
    RecordCrc,
    /// Padding behind a record: 0, what is there.
    RecordPadding,
    /// `xl_prev`: the record before, the one named.
    PrevLink,
    /// A page says that it begins with the replacement of a cut-off record: that record, the one replaced (0: none).
    Overwrite,
    /// Data ends before the segment does and no switch record says so: bytes that should follow, 0.
    EndOfData,
    /// Behind the switch record, where 11 and later write zeros only: 0, the byte found. Recovery never reads it.
    TailNotZero,
    /// Decoded bytes: one segment, fewer.
    ShortSegment,
    /// Decoded bytes: one segment, more.
    LongSegment,
    /// `xlp_sysid`: the cluster's, the one stored.
    SystemId,
    /// `xlp_seg_size`: the archive's, the one stored.
    SegmentSize,
    /// `xlp_xlog_blcksz`: the usual one, the one stored.
    BlockSize,
}

impl DefectKind {
    /// Whether recovery would not notice: it never reads the place.
    pub fn is_harmless(self) -> bool {
        matches!(self, DefectKind::TailNotZero)
    }

    /// Whether it is about a page's header.
    pub fn is_of_page(self) -> bool {
        matches!(
            self,
            DefectKind::PageMagic
                | DefectKind::PageAddress
                | DefectKind::PageTimeline
                | DefectKind::PageFlags
                | DefectKind::PagePadding
                | DefectKind::RemainingLength
                | DefectKind::Overwrite
                | DefectKind::BlockSize
        )
    }

    /// Whether the bytes are another's: another cluster or another segment size.
    pub fn is_foreign(self) -> bool {
        matches!(self, DefectKind::SystemId | DefectKind::SegmentSize)
    }
}

/// One thing wrong in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Defect {
    /// What is wrong.
    pub kind: DefectKind,
    /// Position of the page or record that is wrong.
    pub lsn: Lsn,
    /// The same as an offset from the start of the segment, in bytes.
    pub offset: u64,
    /// See [`DefectKind`].
    pub expected: u64,
    /// See [`DefectKind`].
    pub found: u64,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Defect { kind, lsn, offset, expected, found } = *self;
        match kind {
            DefectKind::PageMagic if expected == 0 => {
                write!(f, "page at {lsn} has magic {found:#06X}, which no known version writes")?
            }
            DefectKind::PageMagic => write!(f, "page at {lsn} has magic {found:#06X} instead of {expected:#06X}")?,
            DefectKind::PageAddress => write!(f, "page at {lsn} says that it lies at {}", Lsn(found))?,
            DefectKind::PageTimeline => write!(f, "page at {lsn} is of timeline {found} instead of {expected}")?,
            DefectKind::PageFlags => write!(f, "page at {lsn} has flags {found:#06X}, expected {expected:#06X}")?,
            DefectKind::PagePadding => write!(f, "page at {lsn} has {found:#X} where zeros belong")?,
            DefectKind::RemainingLength => {
                write!(f, "page at {lsn} continues a record with {found} bytes, {expected} are missing")?
            }
            DefectKind::RecordLength => write!(f, "record at {lsn} has the impossible length {found}")?,
            DefectKind::RecordCrc => write!(f, "record at {lsn} has CRC {found:08X}, its bytes give {expected:08X}")?,
            DefectKind::RecordPadding => write!(f, "record at {lsn} is followed by {found:#X} where zeros belong")?,
            DefectKind::PrevLink => {
                write!(f, "record at {lsn} follows {} by its own account, {} by position", Lsn(found), Lsn(expected))?
            }
            DefectKind::Overwrite => {
                let (expected, found) = (Lsn(expected), Lsn(found));
                write!(f, "page at {lsn} should replace the cut-off record at {expected} but replaces {found}")?
            }
            DefectKind::EndOfData => write!(f, "data ends at {lsn}, {expected} bytes before the segment does")?,
            DefectKind::TailNotZero => write!(f, "byte {found:#04X} at {lsn} behind the switch record is not zero")?,
            DefectKind::ShortSegment | DefectKind::LongSegment => {
                return write!(f, "{found} bytes instead of {expected}");
            }
            DefectKind::SystemId => return write!(f, "written by system {found} instead of {expected}"),
            DefectKind::SegmentSize => return write!(f, "header says segments of {found} bytes instead of {expected}"),
            DefectKind::BlockSize => return write!(f, "header says pages of {found} bytes"),
        }
        write!(f, " (offset {offset})")
    }
}

/// The first defects and the number of all.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct DefectList {
    kept: Vec<Defect>,
    count: u64,
}

impl DefectList {
    /// Defects that are kept; the rest is counted.
    pub const KEPT_MAX: usize = 64;

    pub(crate) fn push(&mut self, defect: Defect) {
        self.count = self.count.saturating_add(1);
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(defect);
        }
    }

    pub(crate) fn truncate(&mut self, count: u64) {
        self.count = self.count.min(count);
        self.kept.truncate(usize::try_from(self.count).unwrap_or(usize::MAX));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first ones, in the order in which they were met.
    pub fn iter(&self) -> std::slice::Iter<'_, Defect> {
        self.kept.iter()
    }
}

impl<'a> IntoIterator for &'a DefectList {
    type Item = &'a Defect;
    type IntoIter = std::slice::Iter<'a, Defect>;
    fn into_iter(self) -> Self::IntoIter {
        self.kept.iter()
    }
}

/// Which timeline owns which positions, as seen from one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestry {
    ancestors: Vec<(TimelineId, Lsn)>,
    own: TimelineId,
}

impl Ancestry {
    /// From a history file.
    pub fn of(history: &crate::model::TimelineHistory) -> Self {
        let ancestors = history.entries.iter().map(|entry| (entry.parent, entry.switch)).collect();
        Ancestry { ancestors, own: history.timeline }
    }

    /// Of a timeline without ancestors.
    pub fn none(own: TimelineId) -> Self {
        Ancestry { ancestors: Vec::new(), own }
    }

    /// The timeline whose ancestry this is.
    pub fn timeline(&self) -> TimelineId {
        self.own
    }

    /// The timeline that wrote the byte at this position; for a page: the one that wrote its header.
    pub fn owner(&self, lsn: Lsn) -> TimelineId {
        self.ancestors.iter().find(|(_, end)| lsn < *end).map_or(self.own, |(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimelineHistory;

    #[test]
    fn ancestry_names_the_owner_of_each_position() {
        let id = |n| TimelineId::new(n).unwrap();
        let history = TimelineHistory::parse(id(5), b"1\t0/100\tx\n3\t0/200\ty\n").unwrap();
        let ancestry = Ancestry::of(&history);
        let owners: Vec<u32> = [0, 0xFF, 0x100, 0x1FF, 0x200].map(|at| ancestry.owner(Lsn(at)).get()).into();
        assert_eq!(owners, [1, 1, 3, 3, 5]);
    }

    #[test]
    fn the_list_counts_what_it_does_not_keep() {
        let mut list = DefectList::default();
        for offset in 0..100 {
            list.push(Defect { kind: DefectKind::RecordCrc, lsn: Lsn(offset), offset, expected: 1, found: 2 });
        }
        assert_eq!((list.count(), list.iter().count()), (100, DefectList::KEPT_MAX));
        list.truncate(3);
        assert_eq!((list.count(), list.iter().count()), (3, 3));
    }
}
