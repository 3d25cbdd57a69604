//! Record headers, and the walk through a record's own headers to its main data.

use super::le;
use crate::model::{Lsn, PgMajor};

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 24;
/// The header bytes that the CRC covers, after the body: all before `xl_crc`.
pub(crate) const CRC_AT: usize = 20;
/// No server writes longer records: memory chunks end at 1 GiB.
pub const RECORD_BYTES_MAX: u32 = 1 << 30;

/// Resource manager of checkpoints, switches, restore points.
pub const RM_XLOG: u8 = 0;
/// Resource manager of commits and aborts.
pub const RM_XACT: u8 = 1;

pub(crate) const XLOG_CHECKPOINT_SHUTDOWN: u8 = 0x00;
pub(crate) const XLOG_CHECKPOINT_ONLINE: u8 = 0x10;
pub(crate) const XLOG_SWITCH: u8 = 0x40;
pub(crate) const XLOG_BACKUP_END: u8 = 0x50;
pub(crate) const XLOG_RESTORE_POINT: u8 = 0x70;
pub(crate) const XLOG_END_OF_RECOVERY: u8 = 0x90;
pub(crate) const XLOG_OVERWRITE_CONTRECORD: u8 = 0xD0;

/// `XLogRecord`, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the whole record, this header included.
    pub total_bytes: u32,
    /// Transaction, 0 for none.
    pub xid: u32,
    /// Start of the record before.
    pub prev: Lsn,
    /// Flags; the high four bits belong to the resource manager.
    pub info: u8,
    /// Resource manager.
    pub rmid: u8,
    /// CRC-32C over the body, then over the header without this field.
    pub crc: u32,
}

impl RecordHeader {
    /// Reads the first 24 bytes; `None` if there are fewer.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER_BYTES] = bytes.first_chunk()?;
        Some(RecordHeader {
            total_bytes: le::u32_at(bytes, 0)?,
            xid: le::u32_at(bytes, 4)?,
            prev: Lsn(le::u64_at(bytes, 8)?),
            info: bytes[16],
            rmid: bytes[17],
            crc: le::u32_at(bytes, CRC_AT)?,
        })
    }

    /// Whether this record ends the segment's data.
    pub fn is_switch(&self) -> bool {
        self.rmid == RM_XLOG && self.info & 0xF0 == XLOG_SWITCH
    }

    /// Whether this record replaces one that a crash cut off.
    pub fn is_overwrite_contrecord(&self) -> bool {
        self.rmid == RM_XLOG && self.info & 0xF0 == XLOG_OVERWRITE_CONTRECORD
    }
}

/// A record whose CRC was right.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Position of its first byte.
    pub lsn: Lsn,
    /// First position behind it, aligned; for a switch the end of its segment.
    pub end: Lsn,
    /// Its header.
    pub header: RecordHeader,
    /// What follows the header: all of it for a record within one page, else at least the first
    /// [`HEAD_BYTES_MAX`](super::HEAD_BYTES_MAX) bytes less the header.
    pub body: &'a [u8],
    /// The version whose formats apply.
    pub major: PgMajor,
}

/// The main data of a record, perhaps cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainData<'a> {
    /// What is at hand: all of it, or the beginning.
    pub bytes: &'a [u8],
    /// Its whole length in bytes, as stored.
    pub len: u32,
}

const BLOCK_ID_MAX: u8 = 32;
const BLOCK_ID_TOPLEVEL_XID: u8 = 252;
const BLOCK_ID_ORIGIN: u8 = 253;
const BLOCK_ID_DATA_LONG: u8 = 254;
const BLOCK_ID_DATA_SHORT: u8 = 255;
const BLOCK_HAS_IMAGE: u8 = 0x10;
const BLOCK_SAME_REL: u8 = 0x80;
const IMAGE_HAS_HOLE: u8 = 0x01;

impl<'a> Record<'a> {
    /// Walks the block and data headers to the main data, which lies at the record's end. `None` if there is
    /// none, if the headers contradict the length, or if it begins behind what is at hand.
    pub fn main_data(&self) -> Option<MainData<'a>> {
        let body_bytes = (self.header.total_bytes as usize).checked_sub(RECORD_HEADER_BYTES)?;
        let mut at = 0usize;
        let mut blocks = 0usize;
        loop {
            let id = *self.body.get(at)?;
            let main_bytes = match id {
                BLOCK_ID_DATA_SHORT => {
                    let len = u32::from(*self.body.get(at + 1)?);
                    at += 2;
                    len
                }
                BLOCK_ID_DATA_LONG => {
                    let len = le::u32_at(self.body, at + 1)?;
                    at += 5;
                    len
                }
                BLOCK_ID_ORIGIN => {
                    at += 3;
                    continue;
                }
                BLOCK_ID_TOPLEVEL_XID => {
                    at += 5;
                    continue;
                }
                0..=BLOCK_ID_MAX => {
                    let (header_bytes, data_bytes) = self.block_header(at)?;
                    at += header_bytes;
                    blocks += data_bytes;
                    continue;
                }
                _ => return None,
            };
            // The data header is the last; then come the blocks' data and, at the very end, the main data.
            let start = body_bytes.checked_sub(main_bytes as usize)?;
            if start != at.checked_add(blocks)? {
                return None;
            }
            let bytes = self.body.get(start..)?;
            return Some(MainData { bytes: &bytes[..bytes.len().min(main_bytes as usize)], len: main_bytes });
        }
    }

    /// Bytes of the block reference at `at`, and of the data it announces.
    fn block_header(&self, at: usize) -> Option<(usize, usize)> {
        let fork_flags = *self.body.get(at + 1)?;
        let mut data_bytes = usize::from(le::u16_at(self.body, at + 2)?);
        let mut bytes = 4;
        if fork_flags & BLOCK_HAS_IMAGE != 0 {
            data_bytes += usize::from(le::u16_at(self.body, at + 4)?);
            let image = *self.body.get(at + 8)?;
            bytes += 5;
            let compressed = if self.major >= PgMajor::V15 { 0x04 | 0x08 | 0x10 } else { 0x02 };
            if image & compressed != 0 && image & IMAGE_HAS_HOLE != 0 {
                bytes += 2;
            }
        }
        if fork_flags & BLOCK_SAME_REL == 0 {
            bytes += 12;
        }
        Some((bytes + 4, data_bytes))
    }
}

/// Rounds up to the alignment of records.
#[inline]
pub(crate) fn align8(bytes: u64) -> u64 {
    bytes.saturating_add(7) & !7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(body: &[u8], major: PgMajor) -> Record<'_> {
        let header = RecordHeader {
            total_bytes: (RECORD_HEADER_BYTES + body.len()) as u32,
            xid: 0,
            prev: Lsn(0),
            info: 0,
            rmid: 0,
            crc: 0,
        };
        Record { lsn: Lsn(0), end: Lsn(0), header, body, major }
    }

    #[test]
    fn finds_main_data_behind_origin_and_toplevel_xid() {
        let body = [253, 1, 0, 252, 9, 0, 0, 0, 255, 3, b'a', b'b', b'c'];
        assert_eq!(record(&body, PgMajor::V15).main_data(), Some(MainData { bytes: b"abc", len: 3 }));
    }

    #[test]
    fn finds_main_data_behind_a_compressed_image() {
        let mut body = vec![0, BLOCK_HAS_IMAGE, 2, 0];
        body.extend([3, 0, 0, 0, IMAGE_HAS_HOLE | 0x04, 0, 0]); // image of 3 bytes, hole length follows
        body.extend([0; 12 + 4]);
        body.extend([1, BLOCK_SAME_REL, 1, 0, 0, 0, 0, 0]); // second block of the same relation, 1 byte of data
        body.extend([254, 4, 0, 0, 0]);
        body.extend(*b"dd");
        body.extend(*b"iii");
        body.extend(*b"e");
        body.extend(*b"main");
        let fifteen = record(&body, PgMajor::V15);
        assert_eq!(fifteen.main_data(), Some(MainData { bytes: b"main", len: 4 }));
        // Up to 14 the bit 0x04 means something else, so the headers would not add up.
        assert_eq!(record(&body, PgMajor::V14).main_data(), None);
    }

    #[test]
    fn cut_main_data_is_what_is_at_hand() {
        let mut whole = vec![254, 100, 0, 0, 0];
        whole.extend([7; 100]);
        let mut cut = record(&whole, PgMajor::V15);
        cut.body = &whole[..15];
        assert_eq!(cut.main_data(), Some(MainData { bytes: &[7; 10], len: 100 }));
    }

    proptest! {
        #[test]
        fn any_body_is_walked_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300), total: u32) {
            let mut record = record(&body, PgMajor::V15);
            record.header.total_bytes = total;
            let _ = record.main_data();
        }
    }
}
