//! The document `walproof.lifecycle/1`. Fields are only ever added.

use serde::{Deserialize, Serialize};

use crate::checks::{Finding, RuleOutcome, Severity};
use crate::model::Timestamp;
use crate::policy::verdict::{ObjectLoss, Summary};
use crate::report::data::{Status, Tool};

/// The schema of [`ChangeReport`].
pub const SCHEMA: &str = "walproof.lifecycle/1";

/// What a change of lifecycle rules, or a deletion, would do before it is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChangeReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Who wrote it.
    pub tool: Tool,
    /// When the run began.
    pub started_at: Timestamp,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// What was judged, as in `Terraform plan` or `deletion list`.
    pub source: String,
    /// The file it was read from.
    pub input: Option<String>,
    /// The moment at which it was taken to be applied.
    pub assumed_apply_time: Timestamp,
    /// How unknown values were taken: `worst` or `best`.
    pub unknown: String,
    /// `incomplete` where the question could not be answered.
    pub status: Status,
    /// The worst finding that is not waived.
    pub worst_severity: Option<Severity>,
    /// One entry for each bucket that the configuration covers (or all, without one).
    pub buckets: Vec<BucketReport>,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// What became of each rule that can be judged before a change is applied.
    pub rules: Vec<RuleOutcome>,
    /// Buckets that the change touches and no cluster of the configuration names.
    pub not_covered: Vec<String>,
    /// Why the question could not be answered.
    pub undecided: Vec<String>,
    /// What was assumed.
    pub assumptions: Vec<String>,
}

/// What a change does to one bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BucketReport {
    /// Its name, or the resource that will make it.
    pub bucket: String,
    /// `s3`, `gcs` or `minio`.
    pub provider: String,
    /// Clusters whose archive or copy lies in it.
    pub clusters: Vec<String>,
    /// The resource that owns the rules, as the tool writes it.
    pub resource_address: Option<String>,
    /// What the plan does to that resource.
    pub action: Option<String>,
    /// Active rules after the change, described.
    pub rules_after: Vec<String>,
    /// Number of active rules before it.
    pub rules_before: u64,
    /// The rules before, as the provider's own tool takes them: putting them back undoes the change.
    pub undo: Option<serde_json::Value>,
    /// `Disabled`, `Enabled` or `Suspended` after the change, where it is known.
    pub versioning: Option<String>,
    /// All objects have the version id `null` or none.
    pub all_versions_null: bool,
    /// Counts over its objects; absent without any object source.
    pub summary: Option<Summary>,
    /// Objects that live shorter, by key.
    pub objects: Vec<ObjectLoss>,
    /// How far back backups reach when the change is applied; absent without backups.
    pub recoverable: Option<DaysReport>,
    /// The window that the rules guarantee in the steady state, by cluster.
    pub guaranteed: Vec<GuaranteedReport>,
    /// Where the objects come from and how old that is.
    pub object_source: Option<String>,
    /// Why it could not be judged.
    pub undecided: Option<String>,
}

/// Days back to the oldest backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DaysReport {
    /// Without the change; absent: no backup.
    pub before_days: Option<u64>,
    /// With it; absent: no backup.
    pub after_days: Option<u64>,
}

/// A window that rules guarantee when backups go on as they did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuaranteedReport {
    /// Whose.
    pub cluster: String,
    /// Without the change; absent: it has no end.
    pub before_days: Option<u64>,
    /// With it; absent: it has no end.
    pub after_days: Option<u64>,
}
