//! What a bucket's rules do to an archive: when each backup ends, and the window as a step function of the date.

use serde::{Deserialize, Serialize};

use crate::catalog::Archive;
use crate::model::Timestamp;
use crate::policy::Span;
use crate::policy::outlook::{End, Outlook, ToolOutlook};

use super::data::{ForecastPoint, Report, Status};

/// Steps of a forecast in a report, at most.
const STEPS_MAX: usize = 5000;

/// What is known of a bucket's rules and what follows from them for one archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LifecycleReport {
    /// Where the rules were read.
    pub source: String,
    /// Whose they are.
    pub provider: String,
    /// Versioning, where it is known.
    pub versioning: Option<String>,
    /// The rules, enabled and disabled, by name.
    pub rules: Vec<String>,
    /// The window that is guaranteed at the worst moment while backups go on, in seconds; absent: it has no end.
    pub guaranteed_window_s: Option<u64>,
    /// How that comes about, in words; absent where no distance between backups is known.
    pub guaranteed_because: Option<String>,
    /// The first thing that ends.
    pub first_end: Option<EndReport>,
    /// The first moment at which something ends that the policy promises.
    pub first_promise_broken_at: Option<Timestamp>,
    /// Whether a policy promises anything that rules could break.
    pub promises: bool,
    /// Values that had to be assumed.
    pub assumed: Vec<String>,
}

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndReport {
    /// The first moment it may be so.
    pub at: Timestamp,
    /// The backup that ends with it.
    pub backup: String,
    /// The object that goes first.
    pub object: String,
    /// The rule that takes it.
    pub rule: Option<String>,
    /// `deleted`, `hidden` or `archived`.
    pub what: String,
}

/// What one run of a backup tool's own deletion would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ToolReport {
    /// The tool's command or setting.
    pub tool: String,
    /// Why it would refuse.
    pub refused: Option<String>,
    /// Backups that would go, oldest first.
    pub deletes: Vec<String>,
    /// Backups that would stay and be worth nothing.
    pub orphans: Vec<String>,
    /// WAL before this segment would go.
    pub wal_before: Option<String>,
    /// The window that would be left, in seconds.
    pub window_left_s: Option<i64>,
    /// Backups that one more full backup would make it delete.
    pub evicted_by_one_more: Vec<String>,
    /// Promises that would not hold any more.
    pub breaks: Vec<String>,
    /// The same after one more full backup.
    pub breaks_with_one_more: Vec<String>,
}

/// A tool's deletion in the words of a report.
pub fn tool_report(tool: String, outlook: ToolOutlook, newest: Option<Timestamp>) -> ToolReport {
    ToolReport {
        tool,
        refused: outlook.refused,
        deletes: outlook.deletes,
        orphans: outlook.orphans,
        wal_before: outlook.wal_before.map(|segment| segment.to_string()),
        window_left_s: outlook.oldest_left.zip(newest).map(|(from, to)| to.duration_since(from).as_secs().max(0)),
        evicted_by_one_more: outlook.evicted_by_one_more,
        breaks: outlook.breaks,
        breaks_with_one_more: outlook.breaks_with_one_more,
    }
}

/// The part of a report that is about the bucket's rules.
pub(super) fn lifecycle(outlook: &Outlook, archive: &Archive, promises: bool) -> LifecycleReport {
    let bucket = &outlook.bucket;
    let mut assumed: Vec<String> =
        bucket.unknown.iter().map(|value| format!("{}: {} taken as {}", value.rule, value.what, value.worst)).collect();
    if bucket.versioning.is_none() {
        assumed.push("versioning: not stated, taken as not enabled".to_owned());
    }
    LifecycleReport {
        source: bucket.source.clone(),
        provider: bucket.provider().name().to_owned(),
        versioning: bucket.versioning.map(|versioning| versioning.name().to_lowercase()),
        rules: bucket.describe(),
        guaranteed_window_s: outlook.guaranteed.and_then(|guaranteed| guaranteed.window.seconds()),
        guaranteed_because: outlook.guaranteed.map(|guaranteed| {
            let life = |span: Span| if span.is_forever() { "for ever".to_owned() } else { days(span) };
            let seen = if guaranteed.stated { "" } else { "about " };
            format!(
                "base backups live {}, WAL {}, a full backup comes {seen}every {}",
                life(guaranteed.base),
                life(guaranteed.wal),
                days(guaranteed.every)
            )
        }),
        first_end: outlook.first_end().map(|(at, end)| end_report(outlook, &archive.backups[at].name, end)),
        first_promise_broken_at: outlook.first_broken(),
        promises,
        assumed,
    }
}

fn end_report(outlook: &Outlook, backup: &str, end: &End) -> EndReport {
    EndReport {
        at: end.at,
        backup: backup.to_owned(),
        object: end.object.to_string(),
        rule: end.rule.map(|rule| outlook.bucket.rules.name(rule)),
        what: match serde_json::to_value(end.kind) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        },
    }
}

/// Whole days where it is that, else days with a decimal.
pub(super) fn days(span: Span) -> String {
    match span.seconds() {
        None => "for ever".to_owned(),
        Some(seconds) if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        Some(seconds) => format!("{:.1} d", seconds as f64 / 86_400.0),
    }
}

/// When a backup's end comes, and why.
pub(super) fn usable_until(outlook: Option<&Outlook>, at: usize) -> (Option<Timestamp>, Option<String>) {
    let end = outlook.and_then(|outlook| Some((outlook, outlook.backups.get(at)?.usable_until.as_ref()?)));
    end.map_or((None, None), |(outlook, end)| (Some(end.at), Some(outlook.reason(end))))
}

/// The window from step to step.
pub(super) fn steps(outlook: Option<&Outlook>) -> Vec<ForecastPoint> {
    let steps = outlook.map_or(&[][..], |outlook| &outlook.steps);
    steps
        .iter()
        .take(STEPS_MAX)
        .map(|step| ForecastPoint {
            at: step.at,
            window_s: step.window.seconds().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(i64::MAX),
            backups: step.backups as u64,
            oldest: step.oldest,
        })
        .collect()
}

/// Leaves of a report what is about the bucket's rules: a forecast judges nothing else.
pub fn only_lifecycle(report: &mut Report) {
    let about = |code: &str| code.starts_with("LFC");
    for archive in &mut report.archives {
        archive.findings.retain(|finding| about(&finding.code));
        archive.rules.retain(|rule| about(&rule.code));
        let worst = archive.findings.iter().filter(|finding| finding.waived.is_none()).map(|f| f.severity).max();
        archive.worst_severity = worst;
        if archive.status != Status::Incomplete {
            archive.status = Status::from(worst);
        }
    }
    report.status = report.archives.iter().map(|archive| archive.status).max().unwrap_or(Status::Ok);
    report.worst_severity = report.archives.iter().filter_map(|archive| archive.worst_severity).max();
}
