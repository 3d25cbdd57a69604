//! The headers of WAL pages.

use super::le;
use crate::model::{Lsn, PgMajor, SegmentSize, SegmentSizeError};

/// Bytes of the header of every page but a segment's first.
pub const SHORT_HEADER_BYTES: usize = 24;
/// Bytes of the header of a segment's first page.
pub const LONG_HEADER_BYTES: usize = 40;
/// `XLOG_BLCKSZ` of nearly every build.
pub const BLOCK_BYTES_DEFAULT: u32 = 8192;

/// The page starts with the rest of a record.
pub const FIRST_IS_CONTRECORD: u16 = 0x0001;
/// The header is the long one.
pub const LONG_HEADER: u16 = 0x0002;
/// Nobody needs the full-page images of this page; 19 no longer has it.
pub const BKP_REMOVABLE: u16 = 0x0004;
/// The record that spilled into this page was abandoned; in 19 this flag has the value 4.
pub const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;

const MAGICS: [(u16, PgMajor); 11] = [
    (0xD093, PgMajor::V9_6),
    (0xD097, PgMajor::V10),
    (0xD098, PgMajor::V11),
    (0xD101, PgMajor::V12),
    (0xD106, PgMajor::V13),
    (0xD10D, PgMajor::V14),
    (0xD110, PgMajor::V15),
    (0xD113, PgMajor::V16),
    (0xD116, PgMajor::V17),
    (0xD118, PgMajor::V18),
    (0xD121, PgMajor::V19),
];

/// The major version that writes pages with this `xlp_magic`.
pub fn major_of_magic(magic: u16) -> Option<PgMajor> {
    MAGICS.iter().find(|(known, _)| *known == magic).map(|(_, major)| *major)
}

/// The `xlp_magic` of a major version.
pub fn magic_of_major(major: PgMajor) -> Option<u16> {
    MAGICS.iter().find(|(_, known)| *known == major).map(|(magic, _)| *magic)
}

/// The fields every WAL page begins with, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortHeader {
    /// `xlp_magic`: names the major version.
    pub magic: u16,
    /// `xlp_info`: flags.
    pub info: u16,
    /// `xlp_tli`: timeline of the page, 0 never occurs.
    pub timeline: u32,
    /// `xlp_pageaddr`: position of the page's first byte.
    pub address: Lsn,
    /// `xlp_rem_len`: bytes of a record begun before that are still to come, from this page on.
    pub rem_len: u32,
    /// Always zero.
    pub padding: u32,
}

impl ShortHeader {
    /// Reads the first 24 bytes; `None` if there are fewer.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SHORT_HEADER_BYTES] = bytes.first_chunk()?;
        Some(ShortHeader {
            magic: le::u16_at(bytes, 0)?,
            info: le::u16_at(bytes, 2)?,
            timeline: le::u32_at(bytes, 4)?,
            address: Lsn(le::u64_at(bytes, 8)?),
            rem_len: le::u32_at(bytes, 16)?,
            padding: le::u32_at(bytes, 20)?,
        })
    }

    /// The major version that writes this magic.
    pub fn major(&self) -> Option<PgMajor> {
        major_of_magic(self.magic)
    }
}

/// The header of a segment's first page, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    /// The fields every page has.
    pub short: ShortHeader,
    /// `xlp_sysid`: the cluster that wrote this segment.
    pub system_id: u64,
    /// `xlp_seg_size` in bytes.
    pub segment_bytes: u32,
    /// `xlp_xlog_blcksz` in bytes.
    pub block_bytes: u32,
}

impl LongHeader {
    /// Reads the first 40 bytes of a segment; `None` if there are fewer. Values are not judged: see
    /// [`LongHeader::problem`].
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LONG_HEADER_BYTES] = bytes.first_chunk()?;
        Some(LongHeader {
            short: ShortHeader::parse(bytes)?,
            system_id: le::u64_at(bytes, 24)?,
            segment_bytes: le::u32_at(bytes, 32)?,
            block_bytes: le::u32_at(bytes, 36)?,
        })
    }

    /// The major version that wrote the segment.
    pub fn major(&self) -> Option<PgMajor> {
        self.short.major()
    }

    /// The segment size, if it is one.
    pub fn segment_size(&self) -> Result<SegmentSize, SegmentSizeError> {
        SegmentSize::new(u64::from(self.segment_bytes))
    }

    /// The page size, if it is one that PostgreSQL can be built with.
    pub fn block_size(&self) -> Option<u32> {
        block_size_is_legal(self.block_bytes).then_some(self.block_bytes)
    }

    /// Why these bytes are not the beginning of a WAL segment, whatever its name; `None` if they may be.
    pub fn problem(&self) -> Option<HeaderProblem> {
        if self.major().is_none() {
            return Some(HeaderProblem::Magic(self.short.magic));
        }
        if self.short.info & LONG_HEADER == 0 {
            return Some(HeaderProblem::NotLong(self.short.info));
        }
        let Ok(size) = self.segment_size() else {
            return Some(HeaderProblem::SegmentSize(self.segment_bytes));
        };
        if self.block_size().is_none() {
            return Some(HeaderProblem::BlockSize(self.block_bytes));
        }
        if self.short.address.offset_in(size) != 0 {
            return Some(HeaderProblem::Address(self.short.address));
        }
        None
    }
}

/// Whether PostgreSQL can be built with this `XLOG_BLCKSZ`.
pub(crate) fn block_size_is_legal(bytes: u32) -> bool {
    bytes.is_power_of_two() && (1 << 10..=1 << 16).contains(&bytes)
}

/// Why the first bytes of a file are not those of a WAL segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// No version writes this.
    #[error("page magic {0:#06X} belongs to no known PostgreSQL version")]
    Magic(u16),
    /// A segment's first page always has the long header.
    #[error("page flags {0:#06X} lack the long header of a segment's first page")]
    NotLong(u16),
    /// Not a segment size.
    #[error("segment size {0} in the header is no WAL segment size")]
    SegmentSize(u32),
    /// Not a page size.
    #[error("page size {0} in the header is no WAL page size")]
    BlockSize(u32),
    /// The page does not lie at a segment's beginning.
    #[error("page address {0} in the header is not the beginning of a segment")]
    Address(Lsn),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn long() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(0xD110u16.to_le_bytes());
        bytes.extend(0x0006u16.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(0x500_0000u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(7_300_000_000_000_000_001u64.to_le_bytes());
        bytes.extend((16u32 << 20).to_le_bytes());
        bytes.extend(8192u32.to_le_bytes());
        bytes
    }

    #[test]
    fn reads_a_segments_first_bytes() {
        let header = LongHeader::parse(&long()).unwrap();
        assert_eq!(header.major(), Some(PgMajor::V15));
        assert_eq!(header.short.address, Lsn(0x500_0000));
        assert_eq!(header.system_id, 7_300_000_000_000_000_001);
        assert_eq!(header.segment_size(), Ok(SegmentSize::DEFAULT));
        assert_eq!(header.block_size(), Some(8192));
        assert_eq!(header.problem(), None);
        assert_eq!(LongHeader::parse(&long()[..39]), None);
    }

    #[test]
    fn says_what_is_wrong() {
        let problem_with = |at: usize, byte: u8| {
            let mut bytes = long();
            bytes[at] = byte;
            LongHeader::parse(&bytes).unwrap().problem().unwrap()
        };
        assert_eq!(problem_with(0, 0), HeaderProblem::Magic(0xD100));
        assert_eq!(problem_with(2, 4), HeaderProblem::NotLong(4));
        assert_eq!(problem_with(32, 1), HeaderProblem::SegmentSize(0x0100_0001));
        assert_eq!(problem_with(36, 1), HeaderProblem::BlockSize(8193));
        assert_eq!(problem_with(8, 1), HeaderProblem::Address(Lsn(0x500_0001)));
    }

    #[test]
    fn every_magic_round_trips() {
        for (magic, major) in MAGICS {
            assert_eq!(major_of_magic(magic), Some(major));
            assert_eq!(magic_of_major(major), Some(magic));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(header) = LongHeader::parse(&bytes) {
                let _ = header.problem();
            }
        }
    }
}
