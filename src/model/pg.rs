use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A major version of PostgreSQL from 9.6 on; ordered, so that `major >= PgMajor::V11` reads well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgMajor(u8);

impl PgMajor {
    /// 9.6, the oldest that is understood.
    pub const V9_6: PgMajor = PgMajor(9);
    /// 10.
    pub const V10: PgMajor = PgMajor(10);
    /// 11.
    pub const V11: PgMajor = PgMajor(11);
    /// 12.
    pub const V12: PgMajor = PgMajor(12);
    /// 13.
    pub const V13: PgMajor = PgMajor(13);
    /// 14.
    pub const V14: PgMajor = PgMajor(14);
    /// 15.
    pub const V15: PgMajor = PgMajor(15);
    /// 16.
    pub const V16: PgMajor = PgMajor(16);
    /// 17.
    pub const V17: PgMajor = PgMajor(17);
    /// 18.
    pub const V18: PgMajor = PgMajor(18);
    /// 19, not released when this was written: recognised, its formats may still move.
    pub const V19: PgMajor = PgMajor(19);

    /// From `server_version_num`: 90624 is 9.6, 150018 is 15. `None` before 9.6 and for numbers no server reports.
    pub fn from_server_version_num(number: u64) -> Option<Self> {
        match number {
            90_600..=90_699 => Some(PgMajor::V9_6),
            100_000..=999_999 => u8::try_from(number / 10_000).ok().map(PgMajor),
            _ => None,
        }
    }

    /// The number people use; 9 stands for 9.6.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for PgMajor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 9 { f.write_str("9.6") } else { write!(f, "{}", self.0) }
    }
}

impl Serialize for PgMajor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for PgMajor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            number @ 9..=99 => Ok(PgMajor(number)),
            other => Err(serde::de::Error::custom(format!("{other} is not a major version of PostgreSQL"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_version_numbers() {
        assert_eq!(PgMajor::from_server_version_num(150_018), Some(PgMajor::V15));
        assert_eq!(PgMajor::from_server_version_num(90_624), Some(PgMajor::V9_6));
        assert_eq!(PgMajor::from_server_version_num(90_524), None);
        assert_eq!(PgMajor::from_server_version_num(15), None);
        assert_eq!(PgMajor::V9_6.to_string(), "9.6");
        assert!(PgMajor::V9_6 < PgMajor::V10);
    }
}
