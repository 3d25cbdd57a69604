//! The words of the domain: positions, names, sizes, objects.
//!
//! Plain values without behaviour that could fail at a distance: nothing here reads a clock, a file
//! or the environment, and every parser accepts any input.

mod codec_kind;
mod known;
mod lsn;
mod object;
mod pg;
mod segment_size;
mod timeline;
mod wal_name;

pub use codec_kind::CodecKind;
pub use known::Known;
pub use lsn::{Lsn, LsnRange, ParseLsnError};
pub use object::{ObjectId, ObjectKey, ObjectRow, StorageClass, StoreChecksum};
pub use pg::PgMajor;
pub use segment_size::{SegmentSize, SegmentSizeError};
pub use timeline::{HistoryEntry, HistoryProblem, TimelineHistory, TimelineId};
pub use wal_name::{SegmentName, SegmentNo, WalFileName};

/// A moment, always UTC.
pub type Timestamp = jiff::Timestamp;

/// Reads any bytes as each name, position and history file; what is understood is written the same way again.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    if let Some(name) = WalFileName::parse(bytes) {
        assert_eq!(name.to_string().as_bytes(), bytes);
    }
    if let Ok(lsn) = String::from_utf8_lossy(bytes).parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
        for size in SegmentSize::all() {
            let _ = (lsn.segment(size).name(TimelineId::FIRST, size), lsn.end_segment(size), lsn.offset_in(size));
        }
    }
    if let Some(timeline) = TimelineId::new(1000) {
        let _ = TimelineHistory::parse(timeline, bytes);
    }
    let _ = CodecKind::split(bytes);
    let key = ObjectKey::new(bytes);
    let _ = (key.to_string(), key.as_plain_str().is_some());
}
