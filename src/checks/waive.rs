use crate::model::Timestamp;
use crate::policy::Exception;

use super::{Finding, OutcomeKind, RuleOutcome, Waiver};

/// Marks what the policy accepts until a date. Nothing is waived silently: waived findings stay in the report.
pub fn waive(
    findings: &mut [Finding],
    rules: &mut [RuleOutcome],
    exceptions: &[Exception],
    cluster: &str,
    as_of: Timestamp,
) {
    for finding in findings.iter_mut() {
        let exception = exceptions.iter().filter(|exception| !exception.is_expired(as_of)).find(|exception| {
            exception.covers(&finding.code, cluster, &finding.subject, finding.segments, &finding.fingerprint)
        });
        if let Some(exception) = exception {
            finding.waived =
                Some(Waiver { reason: exception.reason.clone(), until: Some(exception.until.to_string()) });
        }
    }
    for rule in rules.iter_mut().filter(|rule| rule.outcome == OutcomeKind::Found) {
        if findings.iter().filter(|finding| finding.code == rule.code).all(|finding| finding.waived.is_some()) {
            rule.outcome = OutcomeKind::Waived;
        }
    }
}
