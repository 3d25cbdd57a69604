use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::ObjectId;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will hurt one day.
    Warning,
    /// A promise does not hold.
    Error,
    /// Data is lost or will be, or a promised recovery cannot happen.
    Critical,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

/// Something that a planned change would do, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanFinding {
    /// Code of the rule, as in `LFC001`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a resource address and a rule, or a bucket.
    pub subject: String,
    /// One sentence.
    pub message: String,
    /// Numbers and names behind it; `resource_address`, `bucket` and `rule_ids` wherever there are such.
    pub facts: BTreeMap<String, serde_json::Value>,
    /// Keys, all of them.
    pub objects: Vec<String>,
    /// What to do.
    pub advice: String,
    /// The cluster whose promise it is about, for waivers.
    pub cluster: Option<String>,
    /// The exception of the configuration that waives it, if one does.
    pub waived: Option<PlanWaiver>,
}

/// An exception that accepts a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanWaiver {
    /// Why it is accepted.
    pub reason: String,
    /// Its last day.
    pub until: String,
}

impl PlanFinding {
    /// Stable between runs for the same thing.
    pub fn fingerprint(&self) -> String {
        let cluster = self.cluster.as_deref().unwrap_or_default();
        ObjectId::digest(&[self.code.as_bytes(), self.subject.as_bytes(), cluster.as_bytes()]).to_string()
    }
}
