//! What wal-e does differently: positions live in names and decimal offsets, and no file lists the tars.

use crate::layout::walg::keys::BackupName;
use crate::layout::walg::sidecar::SentinelData;
use crate::model::{Known, Lsn, SegmentName, SegmentSize};

/// Start position from a name: segment number times size plus the *decimal* offset.
pub fn start_lsn(name: &BackupName<'_>, size: SegmentSize) -> Known<Lsn> {
    let offset = name.offset.and_then(|digits| digits.parse::<u64>().ok()).filter(|offset| *offset < size.bytes());
    match (name.segment.number(size), offset) {
        (Some(number), Some(offset)) => Known::Value(Lsn(number.start(size).0.saturating_add(offset))),
        _ => Known::unknown("the name's offset is not a position in its segment"),
    }
}

/// Stop position from the sentinel. An end exactly on a boundary is named as offset 0 of the segment before it.
pub fn stop_lsn(data: &SentinelData, size: SegmentSize) -> Known<Lsn> {
    let segment = data.stop_segment.as_deref().and_then(|name| SegmentName::parse(name.as_bytes()));
    let Some(number) = segment.and_then(|name| name.number(size)) else {
        return Known::unknown("the sentinel names no stop segment");
    };
    let offset = data.stop_offset.as_deref().and_then(|digits| digits.parse::<u64>().ok());
    match offset {
        Some(0) => Known::Value(number.end(size)),
        Some(offset) if offset <= size.bytes() => Known::Value(Lsn(number.start(size).0.saturating_add(offset))),
        _ => Known::unknown("the sentinel's stop offset is not a position in a segment"),
    }
}

/// `server_version_num` from the text of `SELECT version()`: `PostgreSQL 14.24 on ...` is 140024.
pub fn version_number(text: &str) -> Option<u32> {
    let version = text.strip_prefix("PostgreSQL ")?.split_whitespace().next()?;
    let mut numbers = version.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let major = numbers.next()??;
    let minor = numbers.next().flatten().unwrap_or(0);
    let patch = numbers.next().flatten().unwrap_or(0);
    let number = if major >= 10 {
        major.checked_mul(10_000)?.checked_add(minor)?
    } else {
        major.checked_mul(10_000)?.checked_add(minor.checked_mul(100)?)?.checked_add(patch)?
    };
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_decimal() {
        let name = BackupName::parse(b"base_000000010000000000000002_00000040").unwrap();
        assert_eq!(start_lsn(&name, SegmentSize::DEFAULT), Known::Value(Lsn(0x200_0028)));
        let data = SentinelData {
            stop_segment: Some("000000010000000000000002".into()),
            stop_offset: Some("00000256".into()),
            ..Default::default()
        };
        assert_eq!(stop_lsn(&data, SegmentSize::DEFAULT), Known::Value(Lsn(0x200_0100)));
    }

    #[test]
    fn versions_before_and_after_ten() {
        assert_eq!(version_number("PostgreSQL 14.24 on x86_64"), Some(140_024));
        assert_eq!(version_number("PostgreSQL 9.6.24, compiled"), Some(90_624));
        assert_eq!(version_number("PostgreSQL 16beta1"), Some(160_000));
        assert_eq!(version_number("MySQL"), None);
        assert_eq!(version_number("PostgreSQL 99999999999"), None);
    }
}
