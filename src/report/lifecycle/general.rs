//! The document in the terms of every report, for the readers that know tests, plugins and comments only.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::text::about;
use super::{BucketReport, ChangeReport};
use crate::checks::{Finding, OutcomeKind, RuleOutcome, Severity};
use crate::report::data::{ArchiveReport, Report, Status};
use crate::report::{broken_archive, finish};

impl ChangeReport {
    /// One entry for each bucket; what belongs to none is an entry of the whole change.
    pub fn as_report(&self, fail_on: Severity) -> Report {
        let mut entries: Vec<ArchiveReport> =
            self.buckets.iter().map(|bucket| self.entry_of(bucket, fail_on)).collect();
        let rest: Vec<Finding> = self.of_no_bucket().cloned().collect();
        if !rest.is_empty() || entries.is_empty() {
            let mut entry =
                broken_archive(&self.source, self.input.as_deref().unwrap_or(""), "plan", None, String::new());
            entry.error = None;
            entry.answer = vec![match rest.first() {
                Some(first) => first.message.clone(),
                None => "it touches no bucket that is judged".to_owned(),
            }];
            self.fill(&mut entry, rest);
            entries.push(entry);
        }
        for entry in &mut entries {
            entry.not_checked =
                self.not_covered.iter().map(|name| format!("{name}: no cluster names this bucket")).collect();
        }
        let mut report = finish(self.started_at, self.duration_s, self.assumed_apply_time, entries);
        report.status = self.status.max(report.status);
        report
    }

    fn entry_of(&self, bucket: &BucketReport, fail_on: Severity) -> ArchiveReport {
        let url = match bucket.provider.as_str() {
            "gcs" => format!("gs://{}", bucket.bucket),
            _ => format!("s3://{}", bucket.bucket),
        };
        let mut entry = broken_archive(&bucket.bucket, &url, &bucket.provider, None, String::new());
        entry.error = bucket.undecided.clone();
        entry.answer = about(self, bucket, fail_on);
        self.fill(&mut entry, self.of_bucket(bucket).cloned().collect());
        entry
    }

    fn fill(&self, entry: &mut ArchiveReport, findings: Vec<Finding>) {
        let own = |rule: &RuleOutcome| {
            let mut rule = rule.clone();
            let mine: Vec<&Finding> = findings.iter().filter(|finding| finding.code == rule.code).collect();
            rule.count = mine.len() as u64;
            rule.outcome = match rule.outcome {
                OutcomeKind::Found | OutcomeKind::Waived if mine.is_empty() => OutcomeKind::Passed,
                OutcomeKind::Found if mine.iter().all(|finding| finding.waived.is_some()) => OutcomeKind::Waived,
                same => same,
            };
            rule
        };
        entry.rules = self.rules.iter().map(own).collect();
        entry.worst_severity = findings.iter().filter(|f| f.waived.is_none()).map(|f| f.severity).max();
        let blocked = entry.rules.iter().any(|rule| rule.blocking && rule.outcome == OutcomeKind::NotRun);
        entry.status = if blocked || entry.error.is_some() { Status::Incomplete } else { entry.worst_severity.into() };
        entry.findings = findings;
    }

    /// Findings about a bucket.
    pub(super) fn of_bucket<'a>(&'a self, bucket: &'a BucketReport) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(|finding| named(finding) == Some(&bucket.bucket))
    }

    /// Findings about none of the buckets.
    pub(super) fn of_no_bucket(&self) -> impl Iterator<Item = &Finding> {
        let known = |finding: &&Finding| self.buckets.iter().any(|bucket| named(finding) == Some(&bucket.bucket));
        self.findings.iter().filter(move |finding| !known(finding))
    }
}

fn named(finding: &Finding) -> Option<&str> {
    finding.facts.get("bucket").and_then(Value::as_str)
}

/// One object per line: the run, then buckets and findings.
pub(super) fn render_lines(report: &ChangeReport, out: &mut dyn Write) -> io::Result<()> {
    let mut run = serde_json::to_value(report)?;
    if let Value::Object(fields) = &mut run {
        fields.remove("buckets");
        fields.remove("findings");
    }
    let mut line = |kind: &str, value: Value| -> io::Result<()> {
        let mut object = json!({"type": kind});
        if let (Value::Object(fields), Value::Object(more)) = (&mut object, value) {
            fields.extend(more);
        }
        serde_json::to_writer(&mut *out, &object)?;
        out.write_all(b"\n")
    };
    line("run", run)?;
    for bucket in &report.buckets {
        line("bucket", serde_json::to_value(bucket)?)?;
    }
    for finding in &report.findings {
        line("finding", serde_json::to_value(finding)?)?;
    }
    Ok(())
}
