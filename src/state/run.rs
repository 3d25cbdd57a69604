//! What is remembered of one audit of one archive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Lsn, Timestamp};

/// Most backups in one summary, the newest ones; the count is always true.
pub const BACKUPS_MAX: usize = 1000;

/// The outcome of one audit of one archive: what trends, drift and `walproof history` need, not the whole report.
/// Words such as the status are those of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// `ok`, `info`, .. `critical`, `incomplete`.
    pub status: String,
    /// The worst finding that is not waived.
    pub worst_severity: Option<String>,
    /// Why the audit could not be completed.
    pub error: Option<String>,
    /// When the run began by the clock; `as_of` may be another moment.
    pub started_at: Timestamp,
    /// How long the whole run took, in seconds.
    pub duration_s: f64,
    /// `wal-g`, `wal-e`, ...
    pub layout: Option<String>,
    /// Of the newest cluster that wrote to the archive.
    pub system_identifier: Option<String>,
    /// The window that `recovery_target_timeline = latest` follows.
    pub window: Option<Window>,
    /// The newest segment on the timeline of the window, or of the archive where there is none.
    pub newest_wal: Option<NewestWal>,
    /// Backups in the archive.
    pub backups_total: u64,
    /// The newest [`BACKUPS_MAX`] of them, oldest first.
    pub backups: Vec<BackupEntry>,
    /// How often each rule found something, waived findings not counted.
    pub findings: BTreeMap<String, u64>,
    /// Findings that an exception covers.
    pub waived: u64,
    /// Rules whose input could not be read.
    pub rules_not_run: Vec<String>,
    /// What listing found and cost.
    pub listing: ListingCost,
}

/// A recovery window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Where the way leads.
    pub timeline: u32,
    /// First reachable position.
    pub from_lsn: Lsn,
    /// First position behind the last reachable one.
    pub to_lsn: Lsn,
    /// When it begins.
    pub from: Option<Timestamp>,
    /// When it ends.
    pub to: Option<Timestamp>,
    /// `to` is a bound from upload times.
    pub to_estimated: bool,
    /// From `from` to `to`.
    pub seconds: Option<i64>,
    /// Stretches between that cannot be reached.
    pub holes: u64,
}

/// The end of the archived WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestWal {
    /// Its name.
    pub segment: String,
    /// When it was stored.
    pub stored_at: Option<Timestamp>,
}

/// One base backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupEntry {
    /// Its name.
    pub name: String,
    /// `full` or `delta`.
    pub kind: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Both known: how long it took, in seconds.
    pub duration_s: Option<f64>,
    /// Stored bytes.
    pub stored: u64,
    /// Sum of the files in it.
    pub uncompressed: Option<u64>,
    /// The highest rung with none missing below.
    pub rung: Option<String>,
    /// `yes`, `no` or `unknown`.
    pub restorable: String,
}

/// What listing an archive found and cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListingCost {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of those, bytes of WAL segments.
    pub wal_bytes: u64,
    /// Of those, WAL segments.
    pub wal_segments: u64,
    /// Requests of every kind, retries included.
    pub requests: u64,
    /// Seconds.
    pub duration_s: f64,
}
