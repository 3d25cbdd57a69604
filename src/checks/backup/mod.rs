//! Base backups.

pub(super) mod backup_stale;
pub mod backup_unfinished;
pub mod backup_wal_missing;
pub(super) mod cadence_missed;
pub mod delta_parent_missing;
pub mod foreign_backup;
pub mod metadata_missing;
pub mod no_backup;
pub mod part_missing;
pub mod parts_newer_than_sentinel;
pub mod permanent_chain;
pub mod sentinel_unreadable;
pub(super) mod size_anomaly;
