use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Lsn, SegmentName};

/// Size of a WAL segment in bytes: a power of two from 1 MiB to 1 GiB. Found in the archive, never assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u32);

/// A number that no PostgreSQL accepts as a segment size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a WAL segment size (a power of two from 1 MiB to 1 GiB)")]
pub struct SegmentSizeError(pub u64);

impl SegmentSize {
    /// The size PostgreSQL uses unless told otherwise.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);

    /// Checks the number.
    pub fn new(bytes: u64) -> Result<Self, SegmentSizeError> {
        if bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes) {
            Ok(SegmentSize(bytes as u32))
        } else {
            Err(SegmentSizeError(bytes))
        }
    }

    /// All sizes there are, ascending.
    pub fn all() -> impl Iterator<Item = SegmentSize> {
        (20..=30).map(|bit| SegmentSize(1 << bit))
    }

    /// Bytes in one segment.
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// Segments that share the middle eight digits of their names.
    pub fn per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }

    /// The sizes under which a position lies in the segment of this name.
    pub fn fitting(name: SegmentName, lsn: Lsn) -> impl Iterator<Item = SegmentSize> {
        SegmentSize::all().filter(move |size| {
            u64::from(name.log) == lsn.0 >> 32 && u64::from(name.seg) == (lsn.0 & 0xFFFF_FFFF) / size.bytes()
        })
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = SegmentSizeError;
    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        SegmentSize::new(bytes)
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> u64 {
        size.bytes()
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}
