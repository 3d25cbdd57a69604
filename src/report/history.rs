//! The answer of `walproof history`: what the last runs saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Lsn, Timestamp};

/// `walproof.history/1`. Everything is oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// `walproof.history/1`.
    pub schema: String,
    /// Where runs are remembered.
    pub state: String,
    /// Runs as of later moments are left out.
    pub as_of: Timestamp,
    /// By name and address.
    pub archives: Vec<ArchiveHistory>,
}

/// What is remembered of one archive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveHistory {
    /// The cluster's name at its last run.
    pub name: String,
    /// Where it lies.
    pub url: String,
    /// The server, where that is not the cloud's own.
    pub endpoint: Option<String>,
    /// Its last runs.
    pub runs: Vec<RunRow>,
    /// Backups that these runs saw.
    pub backups: Vec<BackupRow>,
    /// Proofs of content.
    pub proofs: Vec<ProofRow>,
    /// Test restores.
    pub restores: Vec<RestoreRow>,
    /// Records that cannot be read.
    pub damaged: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Tells runs apart.
    pub run_id: String,
    /// The moment its verdicts are about.
    pub as_of: Timestamp,
    /// `ok`, `info`, .. `critical`, `incomplete`.
    pub status: String,
    /// The worst finding that was not waived.
    pub worst_severity: Option<String>,
    /// Why it could not be completed.
    pub error: Option<String>,
    /// The window that `recovery_target_timeline = latest` followed.
    pub window: Option<WindowRow>,
    /// The newest segment.
    pub newest_segment: Option<String>,
    /// When that was stored.
    pub newest_segment_at: Option<Timestamp>,
    /// How long before the moment of the run that was, in seconds.
    pub wal_lag_s: Option<i64>,
    /// Backups in the archive.
    pub backups: u64,
    /// How often each rule found something, waived findings not counted.
    pub findings: BTreeMap<String, u64>,
    /// Findings that an exception covered.
    pub waived: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests of every kind.
    pub requests: u64,
    /// How long the whole run took, in seconds.
    pub duration_s: f64,
}

/// A recovery window as a run saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRow {
    /// Where the way led.
    pub timeline: u32,
    /// First reachable position.
    pub from_lsn: Lsn,
    /// First position behind the last reachable one.
    pub to_lsn: Lsn,
    /// When it began.
    pub from: Option<Timestamp>,
    /// When it ended.
    pub to: Option<Timestamp>,
    /// `to` is a bound from upload times.
    pub to_estimated: bool,
    /// Its length.
    pub seconds: Option<i64>,
    /// Stretches between that could not be reached.
    pub holes: u64,
}

/// A backup that at least one of the runs saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupRow {
    /// Its name.
    pub name: String,
    /// `full` or `delta`.
    pub kind: String,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long it took, in seconds.
    pub duration_s: Option<f64>,
    /// Stored bytes.
    pub stored: u64,
    /// Sum of the files in it.
    pub uncompressed: Option<u64>,
    /// The highest rung with none missing below, at the last run that saw it.
    pub rung: Option<String>,
    /// The last of the runs that saw it.
    pub last_seen: Timestamp,
    /// The last of the runs did not see it any more.
    pub gone: bool,
}

/// What one run proved of content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProofRow {
    /// Tells runs apart.
    pub run_id: String,
    /// When.
    pub as_of: Timestamp,
    /// Segments read.
    pub wal_segments: u64,
    /// Their bytes.
    pub wal_bytes: u64,
    /// Files of backups read.
    pub backup_files: u64,
    /// Their bytes.
    pub backup_bytes: u64,
    /// Seconds.
    pub duration_s: f64,
}

/// One test restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreRow {
    /// Tells runs apart.
    pub run_id: String,
    /// When.
    pub as_of: Timestamp,
    /// What was restored.
    pub backup: String,
    /// To where.
    pub target: String,
    /// `proven`, `restored`, `failed` or `not_run`.
    pub outcome: String,
    /// The step that failed.
    pub failed_at: Option<String>,
    /// Seconds from nothing to a usable server.
    pub rto_s: Option<f64>,
    /// Bytes fetched.
    pub bytes: u64,
}
