//! Storage classes and what a bucket's rules do.

pub mod ambiguous_rule;
pub mod archived_class;
pub mod date_expiration;
pub mod delta_outlives_full;
pub mod expires_early;
pub mod guaranteed_window_short;
pub mod margin_thin;
pub mod metadata_expires;
pub mod permanent_expires;
pub mod rule_matches_nothing;
pub mod rule_too_broad;
pub mod single_zone;
pub mod undo_window_short;
pub mod uploads_not_aborted;
pub mod versioning_off;
pub mod wal_expires_first;

use super::{CheckContext, Checked, Finding, Rule, Severity};
use crate::policy::{self, PlanFinding};

/// What the rules' own words and lifetimes give for a code, by the same measure as a planned change.
fn told(cx: &CheckContext<'_>, rule: &'static Rule, out: &mut Vec<Finding>) -> Checked {
    let outlook = cx.outlook()?;
    out.extend(outlook.findings.iter().filter(|found| found.code == rule.code).map(|found| finding(rule, found)));
    Ok(())
}

/// A finding about rules in the words of this report.
fn finding(rule: &'static Rule, found: &PlanFinding) -> Finding {
    let severity = match found.severity {
        policy::Severity::Info => Severity::Info,
        policy::Severity::Warning => Severity::Warning,
        policy::Severity::Error => Severity::Error,
        policy::Severity::Critical => Severity::Critical,
    };
    let mut finding = Finding::new(rule, found.subject.clone(), found.message.clone())
        .severity(severity)
        .objects(&found.objects)
        .count(found.objects.len().max(1) as u64)
        .advise(found.advice.clone());
    finding.facts.extend(found.facts.clone());
    finding
}

/// `2026-11-20`, UTC: rules count in days.
fn date(at: crate::model::Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}
