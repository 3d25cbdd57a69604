//! WAL continuity.

pub mod duplicate_segment;
pub mod empty_object;
pub mod foreign_segment;
pub mod late_segment;
pub mod overwritten_segment;
pub mod partial_only;
pub mod segment_gap;
pub mod stray_object;
pub(super) mod wal_stale;
pub mod wal_without_backup;
