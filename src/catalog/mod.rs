//! The model of one server's archive: backups, segments, timelines, and what can be recovered from them.
//!
//! Values and interval arithmetic only. Layouts fill an [`Archive`]; checks and reports read it.

mod archive;
mod backup;
pub mod evidence;
mod interval;
mod reach;
mod recovery;
mod segments;
mod standing;
mod timelines;

pub use archive::{
    Archive, FirstPage, HistoryFile, Incarnation, LayoutKind, PartialSegment, SizeSource, Strays, segment_key,
};
pub use backup::{
    BackupKind, BaseBackup, MissingPart, ObjectRef, Part, Producer, SidecarState, Tablespace, UnfinishedBackup,
};
pub use interval::IntervalSet;
pub use reach::{Moment, Near, Reach, Verdict, Way, reach};
pub use recovery::{Chain, Gap, Recovery, TimeBound, Window, WindowHole};
pub use segments::{Line, SegmentRow, SegmentSet};
pub use standing::{Obstacle, Standing, own_wal, parts_newer_than_sentinel};
pub use timelines::{FilePiece, HistoryState, Path, Piece, TimelineGraph};
