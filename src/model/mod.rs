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
