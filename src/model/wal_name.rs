use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Lsn, SegmentSize, TimelineId};

/// Number of a segment under a segment size: `LSN / size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentNo(pub u64);

impl SegmentNo {
    /// First position inside.
    pub fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.0.saturating_mul(size.bytes()))
    }

    /// First position behind.
    pub fn end(self, size: SegmentSize) -> Lsn {
        Lsn(self.0.saturating_add(1).saturating_mul(size.bytes()))
    }

    /// The segment behind this one.
    pub fn next(self) -> SegmentNo {
        SegmentNo(self.0.saturating_add(1))
    }

    /// The segment before this one; the first has none.
    pub fn previous(self) -> Option<SegmentNo> {
        self.0.checked_sub(1).map(SegmentNo)
    }

    /// The name of its file on a timeline.
    pub fn name(self, timeline: TimelineId, size: SegmentSize) -> SegmentName {
        SegmentName { timeline, log: (self.0 / size.per_log()) as u32, seg: (self.0 % size.per_log()) as u32 }
    }
}

/// The 24 hexadecimal digits of a segment file, without any assumption on the segment size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// First eight digits.
    pub timeline: TimelineId,
    /// Middle eight digits: the high half of the LSN.
    pub log: u32,
    /// Last eight digits.
    pub seg: u32,
}

impl SegmentName {
    /// Reads exactly 24 upper-case hexadecimal digits with a timeline other than 0.
    pub fn parse(name: &[u8]) -> Option<Self> {
        if name.len() != 24 {
            return None;
        }
        Some(SegmentName {
            timeline: TimelineId::new(hex8(&name[..8])?)?,
            log: hex8(&name[8..16])?,
            seg: hex8(&name[16..])?,
        })
    }

    /// Middle and last digits as one number that sorts like the name.
    pub fn position(self) -> u64 {
        u64::from(self.log) << 32 | u64::from(self.seg)
    }

    /// Its number under a size; `None` if no cluster with that size writes such a name.
    pub fn number(self, size: SegmentSize) -> Option<SegmentNo> {
        (u64::from(self.seg) < size.per_log())
            .then(|| SegmentNo(u64::from(self.log) * size.per_log() + u64::from(self.seg)))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.get(), self.log, self.seg)
    }
}

impl Serialize for SegmentName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SegmentName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        SegmentName::parse(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("not a segment name"))
    }
}

/// What a file of a WAL archive is, by its name with any codec extension removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalFileName {
    /// A complete segment.
    Segment(SegmentName),
    /// The unfinished last segment of a timeline; recovery never asks for it.
    Partial(SegmentName),
    /// The ancestry of a timeline.
    History(TimelineId),
    /// Written when a backup ends; `offset` is the start position within the segment.
    BackupHistory {
        /// Segment of the backup's start.
        segment: SegmentName,
        /// Offset of the start in that segment.
        offset: u32,
    },
}

impl WalFileName {
    /// Total: any bytes in, never a panic. `None` is "not a name PostgreSQL gives to a file in `pg_wal`".
    pub fn parse(name: &[u8]) -> Option<Self> {
        if let Some(segment) = SegmentName::parse(name) {
            return Some(WalFileName::Segment(segment));
        }
        if let Some(stem) = name.strip_suffix(b".partial") {
            return SegmentName::parse(stem).map(WalFileName::Partial);
        }
        if let Some(stem) = name.strip_suffix(b".history") {
            return if stem.len() == 8 { hex8(stem).and_then(TimelineId::new).map(WalFileName::History) } else { None };
        }
        let stem = name.strip_suffix(b".backup")?;
        if stem.len() != 33 || stem[24] != b'.' {
            return None;
        }
        Some(WalFileName::BackupHistory { segment: SegmentName::parse(&stem[..24])?, offset: hex8(&stem[25..])? })
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalFileName::Segment(name) => name.fmt(f),
            WalFileName::Partial(name) => write!(f, "{name}.partial"),
            WalFileName::History(timeline) => write!(f, "{:08X}.history", timeline.get()),
            WalFileName::BackupHistory { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

/// Upper-case only: PostgreSQL writes no other.
fn hex8(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    digits.iter().try_fold(0u32, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_segment_size() {
        let lsn = Lsn(0x2A_3C00_1234);
        let name = |mib: u64| {
            let size = SegmentSize::new(mib << 20).unwrap();
            lsn.segment(size).name(TimelineId::FIRST, size).to_string()
        };
        assert_eq!(name(1), "000000010000002A000003C0");
        assert_eq!(name(16), "000000010000002A0000003C");
        assert_eq!(name(64), "000000010000002A0000000F");
        assert_eq!(name(1024), "000000010000002A00000000");
    }

    #[test]
    fn refuses_look_alikes() {
        for bad in [
            "00000000000000000000000A",
            "00000001000000000000000a",
            "0000000100000000000000",
            "00000000.history",
            "1.history",
            "000000010000000000000002.28.backup",
            "000000010000000000000002.json",
        ] {
            assert_eq!(WalFileName::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn numbers_and_names_round_trip(number in 0u64..1 << 40, bit in 20u32..=30, id in 1u32..) {
            let size = SegmentSize::new(1 << bit).unwrap();
            let number = SegmentNo(number & ((1 << (64 - bit)) - 1));
            let name = number.name(TimelineId::new(id).unwrap(), size);
            prop_assume!(number.0 / size.per_log() <= u64::from(u32::MAX));
            prop_assert_eq!(name.number(size), Some(number));
            prop_assert_eq!(WalFileName::parse(name.to_string().as_bytes()), Some(WalFileName::Segment(name)));
        }

        #[test]
        fn any_bytes_are_accepted(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(name) = WalFileName::parse(&bytes) {
                prop_assert_eq!(name.to_string().into_bytes(), bytes);
            }
        }
    }
}
