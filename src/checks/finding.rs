use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{ObjectId, SegmentName, Timestamp};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Something is wrong.
    Error,
    /// Data is lost or will be, or a recovery that was promised cannot happen.
    Critical,
}

impl Severity {
    /// The lower-case word of reports.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

/// A known loss that somebody accepted until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Waiver {
    /// Why it is accepted.
    pub reason: String,
    /// Until when.
    pub until: Option<String>,
}

/// One thing that is wrong with an archive, with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// The rule's stable code.
    pub code: Cow<'static, str>,
    /// The rule's readable name.
    pub name: Cow<'static, str>,
    /// How much it matters here.
    pub severity: Severity,
    /// What it is about: a key relative to the archive, a backup's name, a timeline.
    pub subject: String,
    /// One sentence.
    pub message: String,
    /// The evidence, by name.
    #[serde(default)]
    pub facts: BTreeMap<String, Value>,
    /// At most [`Finding::OBJECTS_MAX`] keys; `count` is the true number.
    #[serde(default)]
    pub objects: Vec<String>,
    /// How many things it stands for.
    pub count: u64,
    /// What to do.
    pub advice: String,
    /// Accepted by the policy; no longer sets the exit code.
    #[serde(default)]
    pub waived: Option<Waiver>,
    /// Stable between runs for the same thing.
    pub fingerprint: String,
    /// Keys in this finding are percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_encoding: Option<Cow<'static, str>>,
    /// First and last segment, for waivers by range.
    #[serde(skip)]
    pub segments: Option<(SegmentName, SegmentName)>,
}

impl Finding {
    /// Most keys that one finding names.
    pub const OBJECTS_MAX: usize = 20;

    /// A finding about one thing; refine it with the methods below.
    pub fn new(rule: &'static super::Rule, subject: impl Into<String>, message: impl Into<String>) -> Self {
        let subject = subject.into();
        let fingerprint = ObjectId::digest(&[rule.code.as_bytes(), subject.as_bytes()]).to_string();
        Finding {
            code: Cow::Borrowed(rule.code),
            name: Cow::Borrowed(rule.name),
            severity: rule.severity,
            subject,
            message: message.into(),
            facts: BTreeMap::new(),
            objects: Vec::new(),
            count: 1,
            advice: String::new(),
            waived: None,
            fingerprint,
            key_encoding: None,
            segments: None,
        }
    }

    /// Another severity than the rule's default.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// One more piece of evidence.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// A moment as evidence, where it is known.
    #[must_use]
    pub fn time_fact(self, name: &str, time: Option<Timestamp>) -> Self {
        match time {
            Some(time) => self.fact(name, time.to_string()),
            None => self,
        }
    }

    /// The objects it is about; only the first few are kept.
    #[must_use]
    pub fn objects<T: ToString>(mut self, keys: impl IntoIterator<Item = T>) -> Self {
        for key in keys {
            if self.objects.len() >= Self::OBJECTS_MAX {
                break;
            }
            self.objects.push(key.to_string());
        }
        self
    }

    /// How many things it stands for.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// What to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// Says that keys are percent-encoded, if any is.
    #[must_use]
    pub fn encoded(mut self, encoded: bool) -> Self {
        if encoded {
            self.key_encoding = Some(Cow::Borrowed("percent"));
        }
        self
    }

    /// The segments it covers.
    #[must_use]
    pub fn segments(mut self, first: SegmentName, last: SegmentName) -> Self {
        self.segments = Some((first, last));
        self
    }
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Looked, and found nothing.
    Passed,
    /// Looked, and found something.
    Found,
    /// Found only what the policy accepts.
    Waived,
    /// Could not look.
    NotRun,
}

/// A rule's line in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleOutcome {
    /// The rule.
    pub code: Cow<'static, str>,
    /// What became of it.
    pub outcome: OutcomeKind,
    /// Findings.
    pub count: u64,
    /// Why it did not run.
    pub why: Option<String>,
    /// Somebody asked for it: not running makes the audit incomplete.
    pub blocking: bool,
}
