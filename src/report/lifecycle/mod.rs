//! What a change of lifecycle rules would do: `walproof.lifecycle/1` and its renderings.
//!
//! JSON and text are this document's own. JUnit, Nagios and Markdown are those of every report: see [`ChangeReport::as_report`].

mod data;
mod general;
mod text;

use std::io::{self, Write};

pub use data::{BucketReport, ChangeReport, DaysReport, GuaranteedReport, SCHEMA};
pub use text::render_text;

use super::data::{Status, Tool};
use super::{Format, Style};
use crate::checks::{Finding, OutcomeKind, RuleOutcome, Severity, Waiver};
use crate::model::Timestamp;
use crate::policy::lifecycle::{Reading, Versioning};
use crate::policy::{BucketVerdict, PlanFinding, PlanVerdict};

/// What is judged before a change is applied, and whether that needs a promise.
const PLAN_RULES: &[(&str, bool)] = &[
    ("LFC001", true),
    ("LFC002", false),
    ("LFC003", false),
    ("LFC004", false),
    ("LFC005", false),
    ("LFC006", true),
    ("LFC007", false),
    ("LFC008", true),
    ("LFC010", false),
    ("LFC011", false),
    ("LFC012", false),
    ("LFC013", true),
    ("LFC014", false),
    ("LFC015", false),
    ("LFC016", false),
    ("LFC017", false),
    ("LFC018", true),
    ("LFC019", false),
    ("LFC020", true),
    ("LFC021", true),
    ("LFC022", true),
    ("RET008", false),
    ("SEC001", false),
    ("SEC002", false),
    ("SEC004", false),
];

/// The same for a list of deletions.
const DELETION_RULES: &[(&str, bool)] =
    &[("LFC001", true), ("LFC006", true), ("LFC019", false), ("LFC022", true), ("RET006", true)];

/// Everything that the document is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What was found.
    pub verdict: &'a PlanVerdict,
    /// The file that was judged.
    pub input: Option<String>,
    /// When the run began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_s: f64,
    /// A configuration was there to judge by.
    pub with_policy: bool,
    /// It was a list of deletions.
    pub deletions: bool,
    /// Rules that must be able to run.
    pub required: &'a [String],
}

impl<'a> Facts<'a> {
    /// A verdict and when it was made.
    pub fn of(verdict: &'a PlanVerdict, started_at: Timestamp) -> Self {
        Facts { verdict, input: None, started_at, duration_s: 0.0, with_policy: true, deletions: false, required: &[] }
    }
}

/// Makes the document.
pub fn report(facts: Facts<'_>) -> ChangeReport {
    let verdict = facts.verdict;
    let findings: Vec<Finding> = verdict.findings.iter().map(finding).collect();
    let rules = outcomes(&facts, &findings);
    let worst = findings.iter().filter(|finding| finding.waived.is_none()).map(|finding| finding.severity).max();
    let blocked = rules.iter().any(|rule| rule.blocking && rule.outcome == OutcomeKind::NotRun);
    let incomplete = blocked || !verdict.undecided.is_empty();
    ChangeReport {
        schema: SCHEMA.to_owned(),
        tool: Tool { name: "walproof".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        started_at: facts.started_at,
        duration_s: facts.duration_s,
        source: verdict.source.to_owned(),
        input: facts.input,
        assumed_apply_time: verdict.assumed_apply_time,
        unknown: if verdict.unknown == Reading::Worst { "worst" } else { "best" }.to_owned(),
        status: if incomplete { Status::Incomplete } else { Status::from(worst) },
        worst_severity: worst,
        buckets: verdict.buckets.iter().map(bucket).collect(),
        findings,
        rules,
        not_covered: verdict.not_covered.clone(),
        undecided: verdict.undecided.clone(),
        assumptions: verdict.assumptions.clone(),
    }
}

fn bucket(verdict: &BucketVerdict) -> BucketReport {
    BucketReport {
        bucket: verdict.bucket.clone(),
        provider: verdict.provider.name().to_owned(),
        clusters: verdict.clusters.clone(),
        resource_address: verdict.resource_address.clone(),
        action: verdict.action.clone(),
        rules_after: verdict.rules_after.clone(),
        rules_before: verdict.rules_before_count as u64,
        undo: verdict.undo.clone(),
        versioning: verdict.versioning.map(Versioning::name).map(str::to_owned),
        all_versions_null: verdict.all_versions_null,
        summary: verdict.summary.clone(),
        objects: verdict.objects.clone(),
        recoverable: verdict.recoverable_days.map(|[before_days, after_days]| DaysReport { before_days, after_days }),
        guaranteed: verdict
            .guaranteed_days
            .iter()
            .map(|(cluster, [before_days, after_days])| GuaranteedReport {
                cluster: cluster.clone(),
                before_days: *before_days,
                after_days: *after_days,
            })
            .collect(),
        object_source: verdict.object_source.clone(),
        undecided: verdict.undecided.clone(),
    }
}

fn severity(severity: crate::policy::Severity) -> Severity {
    match severity {
        crate::policy::Severity::Info => Severity::Info,
        crate::policy::Severity::Warning => Severity::Warning,
        crate::policy::Severity::Error => Severity::Error,
        crate::policy::Severity::Critical => Severity::Critical,
    }
}

fn finding(found: &PlanFinding) -> Finding {
    let name = crate::checks::rule(found.code).map_or("", |rule| rule.name);
    let mut facts = found.facts.clone();
    if let Some(cluster) = &found.cluster {
        facts.insert("cluster".to_owned(), cluster.as_str().into());
    }
    Finding {
        code: found.code.into(),
        name: name.into(),
        severity: severity(found.severity),
        subject: found.subject.clone(),
        message: found.message.clone(),
        facts,
        objects: found.objects.iter().take(Finding::OBJECTS_MAX).cloned().collect(),
        count: (found.objects.len() as u64).max(1),
        advice: found.advice.clone(),
        waived: found
            .waived
            .as_ref()
            .map(|waiver| Waiver { reason: waiver.reason.clone(), until: Some(waiver.until.clone()) }),
        fingerprint: found.fingerprint(),
        key_encoding: None,
        segments: None,
    }
}

/// One line for each rule that can be judged here, and for each that somebody asked for.
fn outcomes(facts: &Facts<'_>, findings: &[Finding]) -> Vec<RuleOutcome> {
    let judged = if facts.deletions { DELETION_RULES } else { PLAN_RULES };
    let blocking = |code: &str| facts.required.iter().any(|wanted| wanted.eq_ignore_ascii_case(code));
    let any_undecided = !facts.verdict.undecided.is_empty();
    let promised = facts.with_policy && facts.verdict.buckets.iter().any(|bucket| !bucket.clusters.is_empty());
    let each = |(code, needs_policy): &(&'static str, bool)| {
        let own: Vec<&Finding> = findings.iter().filter(|finding| finding.code == *code).collect();
        let (outcome, why) = if own.iter().any(|finding| finding.waived.is_none()) {
            (OutcomeKind::Found, None)
        } else if !own.is_empty() {
            (OutcomeKind::Waived, None)
        } else if facts.verdict.buckets.is_empty() {
            (OutcomeKind::NotRun, Some("no bucket of the configuration is touched".to_owned()))
        } else if any_undecided {
            (OutcomeKind::NotRun, Some("the change cannot be decoded".to_owned()))
        } else if *needs_policy && !promised {
            (OutcomeKind::NotRun, Some("no policy".to_owned()))
        } else {
            (OutcomeKind::Passed, None)
        };
        RuleOutcome { code: (*code).into(), outcome, count: own.len() as u64, why, blocking: blocking(code) }
    };
    let mut outcomes: Vec<RuleOutcome> = judged.iter().map(each).collect();
    for code in facts.required {
        if !judged.iter().any(|(known, _)| known.eq_ignore_ascii_case(code)) {
            outcomes.push(RuleOutcome {
                code: code.to_ascii_uppercase().into(),
                outcome: OutcomeKind::NotRun,
                count: 0,
                why: Some("nothing about it can be said before a change is applied".to_owned()),
                blocking: true,
            });
        }
    }
    outcomes
}

/// Writes the document in a format.
///
/// # Errors
/// Those of the writer.
pub fn render(format: Format, report: &ChangeReport, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => render_text(report, style, out),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, report)?;
            out.write_all(b"\n")
        }
        Format::Jsonl => general::render_lines(report, out),
        format => super::render(format, &report.as_report(style.fail_on), style, out),
    }
}
