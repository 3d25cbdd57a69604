use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SegmentNo, SegmentSize};

/// A position in the WAL: a byte offset since the cluster was born. Shown as PostgreSQL prints it, `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// Text that is not an LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN: {0:?} (expected two hexadecimal numbers like 16/B374D848)")]
pub struct ParseLsnError(pub String);

impl Lsn {
    /// The segment in which a record that *starts* here lies.
    pub fn segment(self, size: SegmentSize) -> SegmentNo {
        SegmentNo(self.0 / size.bytes())
    }

    /// The segment that an *end* position needs: one exactly on a boundary belongs to the segment before it.
    pub fn end_segment(self, size: SegmentSize) -> SegmentNo {
        SegmentNo(self.0.saturating_sub(1) / size.bytes())
    }

    /// Bytes from the start of its segment.
    pub fn offset_in(self, size: SegmentSize) -> u64 {
        self.0 % size.bytes()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseLsnError(text.chars().take(40).collect());
        let (high, low) = text.trim().split_once('/').ok_or_else(bad)?;
        let part = |s: &str| -> Result<u64, ParseLsnError> {
            if s.is_empty() || s.len() > 8 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            u64::from_str_radix(s, 16).map_err(|_| bad())
        };
        Ok(Lsn(part(high)? << 32 | part(low)?))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Lsn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lsn".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A position in WAL, as PostgreSQL writes it.",
            "type": "string",
            "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$"
        })
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A half-open stretch of WAL, `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LsnRange {
    /// First byte inside.
    pub start: Lsn,
    /// First byte behind.
    pub end: Lsn,
}

impl LsnRange {
    /// Whether nothing lies inside.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether the position lies inside.
    pub fn contains(&self, lsn: Lsn) -> bool {
        self.start <= lsn && lsn < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn boundary_positions_belong_to_the_right_segment() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let boundary = Lsn(0x500_0000);
        assert_eq!(boundary.segment(size), SegmentNo(5));
        assert_eq!(boundary.end_segment(size), SegmentNo(4));
        assert_eq!(Lsn(0x500_0001).end_segment(size), SegmentNo(5));
        assert_eq!(Lsn(0).end_segment(size), SegmentNo(0));
    }

    #[test]
    fn rejects_what_is_not_an_lsn() {
        for bad in ["", "/", "0", "0/", "/0", "0/123456789", "g/0", "0/-1", "0/+1", "0/0/0"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
        assert_eq!("16/b374d848".parse::<Lsn>().unwrap(), Lsn(0x16_B374_D848));
    }

    proptest! {
        #[test]
        fn text_round_trips(value: u64) {
            prop_assert_eq!(Lsn(value).to_string().parse::<Lsn>().unwrap(), Lsn(value));
        }
    }
}
