//! The document that every output renders: `walproof.report/1`. Fields are only ever added.

use serde::{Deserialize, Serialize};

use crate::catalog::SizeSource;
use crate::catalog::evidence::RestoreTest;
use crate::checks::{Finding, RuleOutcome, Severity};
use crate::model::{Lsn, Timestamp};

/// The schema of [`Report`].
pub const SCHEMA: &str = "walproof.report/1";

/// One run over one or more archives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Who wrote it.
    pub tool: Tool,
    /// When the run began.
    pub started_at: Timestamp,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// The moment that verdicts are about.
    pub as_of: Timestamp,
    /// The worst of the archives.
    pub status: Status,
    /// The worst finding that is not waived.
    pub worst_severity: Option<Severity>,
    /// One entry for each archive, in the order they were named or found.
    pub archives: Vec<ArchiveReport>,
}

/// Name and version of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tool {
    /// `walproof`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// An archive, or a whole run, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing found.
    Ok,
    /// Only notes.
    Info,
    /// Warnings.
    Warning,
    /// Errors.
    Error,
    /// Data is lost or will be.
    Critical,
    /// The audit could not be completed.
    Incomplete,
}

impl From<Option<Severity>> for Status {
    fn from(worst: Option<Severity>) -> Self {
        match worst {
            None => Status::Ok,
            Some(Severity::Info) => Status::Info,
            Some(Severity::Warning) => Status::Warning,
            Some(Severity::Error) => Status::Error,
            Some(Severity::Critical) => Status::Critical,
        }
    }
}

/// Everything found about one archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ArchiveReport {
    /// The cluster's name in the configuration, or one made from the address.
    pub name: String,
    /// Where it lies.
    pub url: String,
    /// The server, where that is not the cloud's own.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// `wal-g`, `wal-e`, ...; absent where nothing was recognised.
    pub layout: Option<String>,
    /// `s3`, `gcs`, `azure`, `file`.
    pub provider: String,
    /// In one word.
    pub status: Status,
    /// The worst finding that is not waived.
    pub worst_severity: Option<Severity>,
    /// Why the audit could not be completed.
    pub error: Option<String>,
    /// Of the newest cluster that wrote here.
    pub system_identifier: Option<String>,
    /// Bytes.
    pub wal_segment_size: Option<u64>,
    /// How that was found.
    pub wal_segment_size_source: Option<SizeSource>,
    /// Of the newest cluster that wrote here.
    pub pg_major: Option<u32>,
    /// Clusters that wrote here, oldest first.
    #[serde(default)]
    pub incarnations: Vec<IncarnationReport>,
    /// What listing it cost.
    pub listing: Listing,
    /// What the wall-clock times rest on.
    pub time_source: Option<String>,
    /// The backup that the tool itself calls LATEST.
    #[serde(default)]
    pub latest_backup: Option<String>,
    /// Timelines, ascending.
    #[serde(default)]
    pub timelines: Vec<TimelineReport>,
    /// Backups, oldest first.
    #[serde(default)]
    pub backups: Vec<BackupReport>,
    /// The window that `recovery_target_timeline = latest` follows.
    pub recovery_window: Option<WindowReport>,
    /// All of them.
    #[serde(default)]
    pub recovery_windows: Vec<WindowReport>,
    /// What the bucket's rules are and what follows from them, where they are known.
    #[serde(default)]
    pub lifecycle: Option<super::forecast::LifecycleReport>,
    /// What the backup tool's own deletion would do, where it was asked.
    #[serde(default)]
    pub tools: Vec<super::forecast::ToolReport>,
    /// How the window develops under them, if nothing new is uploaded.
    #[serde(default)]
    pub forecast: Vec<ForecastPoint>,
    /// What became of each rule.
    #[serde(default)]
    pub rules: Vec<RuleOutcome>,
    /// What was not looked at, and why.
    #[serde(default)]
    pub not_checked: Vec<String>,
    /// Worst first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What content was read.
    #[serde(default)]
    pub verify: Option<serde_json::Value>,
    /// What earlier runs proved of content, where this one read none (`--state`).
    #[serde(default)]
    pub proven: Option<ProvenReport>,
    /// Restores that were tried.
    #[serde(default)]
    pub restore_tests: Vec<RestoreTest>,
    /// The last restore that was proven, by this run or an earlier one.
    #[serde(default)]
    pub last_restore: Option<LastRestore>,
    /// Remarks that are no findings.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The answer in words, where it is not about a recovery window.
    #[serde(skip)]
    pub answer: Vec<String>,
}

/// The last restore that reached its target, and whose objects have not changed since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LastRestore {
    /// Which backup.
    pub backup: String,
    /// When.
    pub at: Timestamp,
    /// How long before the audit's moment, in seconds.
    pub age_s: i64,
    /// Seconds from the first byte to a server that answered.
    pub rto_s: Option<f64>,
    /// The user's own assertions passed on it.
    pub proven: bool,
}

/// A cluster that wrote to the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncarnationReport {
    /// Its identifier.
    pub system_identifier: Option<String>,
    /// PostgreSQL's major version.
    pub pg_major: Option<u32>,
    /// Timelines on which it wrote.
    pub timelines: Vec<u32>,
    /// Its first segment here.
    pub first: Option<String>,
    /// Its last.
    pub last: Option<String>,
}

/// What listing an archive cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listing {
    /// Objects of this archive.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests of every kind, retries included.
    pub requests: u64,
    /// Seconds.
    pub duration_s: f64,
    /// `list` or `inventory`.
    pub source: String,
    /// Objects that came or went while the audit ran.
    pub changed_during_audit: u64,
}

/// One timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TimelineReport {
    /// Its number.
    pub id: u32,
    /// The timeline it was made from.
    pub parent: Option<u32>,
    /// Where.
    pub forked_at: Option<Lsn>,
    /// Segments that exist.
    pub segments: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// First segment.
    pub first: Option<String>,
    /// Last segment.
    pub last: Option<String>,
    /// When the last segment was stored; absent where the bucket was copied.
    #[serde(default)]
    pub last_stored_at: Option<Timestamp>,
    /// Stretches of missing segments.
    pub gaps: Vec<GapReport>,
    /// Stretches of existing ones; the oldest and newest where there are very many.
    pub runs: Vec<RunReport>,
    /// How many stretches there are.
    #[serde(default)]
    pub runs_total: u64,
}

/// A stretch of missing segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GapReport {
    /// First missing segment.
    pub first: String,
    /// Last missing segment.
    pub last: String,
    /// How many.
    pub segments: u64,
}

/// What earlier runs proved of objects that have not changed since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProvenReport {
    /// Share of the archive's bytes whose content is proven.
    pub proven_fraction: f64,
    /// When the oldest of these proofs was made.
    pub oldest_proof: Option<Timestamp>,
    /// The same as an age, in seconds.
    pub oldest_proof_age_s: Option<i64>,
}

/// A stretch of existing segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunReport {
    /// First segment.
    pub first: String,
    /// Last segment.
    pub last: String,
    /// How many.
    pub segments: u64,
    /// When each rung was reached.
    pub rungs: WalRungs,
    /// Share of its segments whose content was proven.
    pub proven_fraction: f64,
    /// The oldest of these proofs.
    #[serde(default)]
    pub oldest_proof: Option<Timestamp>,
}

/// Rungs of a run of WAL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WalRungs {
    /// The objects exist.
    pub listed: Option<Timestamp>,
    /// Every byte decodes.
    pub intact: Option<Timestamp>,
    /// Pages, records and their chain hold.
    pub valid: Option<Timestamp>,
}

/// The ladder of proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// The sentinel exists and parses.
    Listed,
    /// Every object it needs is there.
    Complete,
    /// Every byte decodes.
    Intact,
    /// Records, pages and manifests hold.
    Valid,
    /// A server started from it.
    Restored,
    /// The user's assertions passed.
    Proven,
}

impl Rung {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Listed => "listed",
            Rung::Complete => "complete",
            Rung::Intact => "intact",
            Rung::Valid => "valid",
            Rung::Restored => "restored",
            Rung::Proven => "proven",
        }
    }
}

/// When a backup reached each rung.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rungs {
    /// See [`Rung::Listed`].
    pub listed: Option<Timestamp>,
    /// See [`Rung::Complete`].
    pub complete: Option<Timestamp>,
    /// See [`Rung::Intact`].
    pub intact: Option<Timestamp>,
    /// See [`Rung::Valid`].
    pub valid: Option<Timestamp>,
    /// See [`Rung::Restored`].
    pub restored: Option<Timestamp>,
    /// See [`Rung::Proven`].
    pub proven: Option<Timestamp>,
}

impl Rungs {
    /// The highest rung with none missing below it.
    pub fn highest(&self) -> Option<Rung> {
        let ladder = [
            (self.listed, Rung::Listed),
            (self.complete, Rung::Complete),
            (self.intact, Rung::Intact),
            (self.valid, Rung::Valid),
            (self.restored, Rung::Restored),
            (self.proven, Rung::Proven),
        ];
        ladder.into_iter().take_while(|(reached, _)| reached.is_some()).last().map(|(_, rung)| rung)
    }
}

/// Whether an obstacle to restoring is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Restorable {
    /// None is known at this rung.
    Yes,
    /// One is.
    No,
    /// Something could not be told.
    Unknown,
}

/// One base backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackupReport {
    /// Its name.
    pub name: String,
    /// `full` or `delta`.
    pub kind: String,
    /// Of a delta.
    pub parent: Option<String>,
    /// Protected from the tool's own deletion.
    pub permanent: Option<bool>,
    /// The timeline it was taken on.
    pub timeline: u32,
    /// Where WAL is needed from.
    pub start_lsn: Option<Lsn>,
    /// From where on it is consistent.
    pub finish_lsn: Option<Lsn>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// `server_version_num`.
    #[serde(default)]
    pub pg_version: Option<u32>,
    /// Of the cluster it was taken from.
    #[serde(default)]
    pub system_identifier: Option<String>,
    /// Host it was taken on.
    #[serde(default)]
    pub hostname: Option<String>,
    /// What the user attached.
    #[serde(default)]
    pub user_data: Option<serde_json::Value>,
    /// Bytes.
    pub size: BackupSize,
    /// The highest rung with none missing below.
    pub rung: Option<Rung>,
    /// When each was reached.
    pub rungs: Rungs,
    /// Share of its stored bytes whose content was proven.
    #[serde(default)]
    pub proven_fraction: f64,
    /// The oldest of these proofs.
    #[serde(default)]
    pub oldest_proof: Option<Timestamp>,
    /// Whether an obstacle is known.
    pub restorable: Restorable,
    /// Obstacles and doubts.
    pub reasons: Vec<String>,
    /// How far it reaches, one entry for each end.
    pub recovery: Vec<RecoveryReport>,
    /// When a bucket rule or the tool's retention ends it.
    pub usable_until: Option<Timestamp>,
    /// The object and rule that decide.
    pub usable_until_reason: Option<String>,
}

/// Sizes of a backup in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackupSize {
    /// As listed.
    pub stored: u64,
    /// Sum of the files in its tars.
    pub uncompressed: Option<u64>,
    /// As the tool counted its uploads.
    #[serde(default)]
    pub compressed: Option<u64>,
}

/// How far a backup reaches on the way to one timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecoveryReport {
    /// Where the way leads.
    pub timeline: u32,
    /// First reachable position.
    pub from_lsn: Lsn,
    /// First position behind the last reachable one.
    pub to_lsn: Lsn,
    /// Last segment of the chain.
    pub to_segment: String,
    /// The last WAL record was read: `to_lsn` is not only a segment's end.
    pub lsn_exact: bool,
    /// When the backup is consistent.
    pub from: Option<Timestamp>,
    /// The end, surely reached.
    pub to: Option<Timestamp>,
    /// `to` is a bound from upload times.
    pub to_estimated: bool,
    /// The end, surely not passed.
    #[serde(default)]
    pub to_at_most: Option<Timestamp>,
    /// The first missing segment, where later ones exist.
    #[serde(default)]
    pub blocked_at: Option<String>,
}

/// A recovery window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WindowReport {
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
    /// What lies between and cannot be reached.
    pub holes: Vec<HoleReport>,
}

/// A hole in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HoleReport {
    /// First position that cannot be reached.
    pub from_lsn: Lsn,
    /// First one that can again.
    pub to_lsn: Lsn,
    /// When it begins.
    pub from: Option<Timestamp>,
    /// When it ends.
    pub to: Option<Timestamp>,
}

/// The window at a moment to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForecastPoint {
    /// From then on.
    pub at: Timestamp,
    /// Length of the window in seconds.
    pub window_s: i64,
    /// Usable backups.
    pub backups: u64,
    /// The oldest moment from which on every later one can then be recovered.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
}
