//! Test restores. What could not be tried is not judged.

pub mod assertion_failed;
pub mod consistency_not_reached;
pub mod corruption_found;
pub mod fetch_failed;
pub(super) mod proof_stale;
pub(super) mod rto_exceeded;
pub mod start_failed;
pub mod target_not_reached;

use crate::catalog::evidence::{RestoreEvidence, RestoreOutcome, RestoreStep, RestoreTest};
use crate::checks::{CheckContext, Checked, Finding, NotRun, Rule};

/// Why rules about restores do not run without one.
const NOT_TESTED: &str = "no restore was tested (restore-test)";

fn evidence<'a>(cx: &CheckContext<'a>) -> Result<&'a RestoreEvidence, NotRun> {
    cx.evidence.restore.ok_or_else(|| NotRun(NOT_TESTED.to_owned()))
}

/// Tests that came past a step, or failed in it; or why none did.
fn judged<'a>(cx: &CheckContext<'a>, step: RestoreStep) -> Result<Vec<&'a RestoreTest>, NotRun> {
    let tests = evidence(cx)?.judged();
    if tests.is_empty() {
        return Err(NotRun(NOT_TESTED.to_owned()));
    }
    let came =
        |test: &&RestoreTest| test.outcome != RestoreOutcome::NotRun && test.failed_at.is_none_or(|at| at >= step);
    let reached: Vec<&RestoreTest> = tests.iter().filter(came).collect();
    if !reached.is_empty() {
        return Ok(reached);
    }
    let not_run = tests.iter().find_map(|test| test.why.clone());
    let failed = tests.iter().find_map(|test| test.failed_at);
    Err(NotRun(match (not_run, failed) {
        (Some(why), _) => why,
        (None, Some(at)) => format!("the test restore failed before, at step {}", at.name()),
        (None, None) => NOT_TESTED.to_owned(),
    }))
}

/// One finding for each test that failed for this rule's reason. A restore that was refused before it began fails
/// under the rule that foresaw it.
fn failures(
    cx: &CheckContext<'_>,
    rule: &'static Rule,
    step: RestoreStep,
    advice: &str,
    out: &mut Vec<Finding>,
) -> Checked {
    let before = out.len();
    for test in evidence(cx)?.judged() {
        let Some(failure) = test.failure.as_ref().filter(|failure| failure.code == rule.code) else { continue };
        out.push(
            facts(Finding::new(rule, test.backup.clone(), failure.message.clone()), test)
                .objects(failure.objects.iter())
                .advise(advice),
        );
    }
    if out.len() == before {
        judged(cx, step)?;
    }
    Ok(())
}

/// What every finding about a test restore says of it.
fn facts(finding: Finding, test: &RestoreTest) -> Finding {
    let mut finding = finding.fact("target", test.target.clone()).time_fact("tested_at", test.at);
    if let Some(at) = test.failed_at {
        finding = finding.fact("failed_at", at.name());
    }
    if let Some(timeline) = test.timeline {
        finding = finding.fact("timeline", timeline);
    }
    for (name, lsn) in [("expected_lsn", test.expected_lsn), ("reached_lsn", test.reached_lsn)] {
        if let Some(lsn) = lsn {
            finding = finding.fact(name, lsn.to_string());
        }
    }
    finding.time_fact("reached_time", test.reached_time)
}
