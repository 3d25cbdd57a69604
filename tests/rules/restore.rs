//! Rules about test restores: each on evidence that fires it and on a near miss.

use std::sync::Arc;

use jiff::SignedDuration;
use walproof::audit::{self, Content, Options, Stated};
use walproof::catalog::evidence::{
    AssertionResult, RestoreEvidence, RestoreFailure, RestoreOutcome, RestoreStep, RestoreTest, fingerprint,
};
use walproof::checks::OutcomeKind;
use walproof::policy::parse_config;
use walproof::report::data::ArchiveReport;
use walproof::run::RunContext;

use crate::described::{Described, codes, has};
use crate::two_timelines;

fn reached(backup: &str) -> RestoreTest {
    RestoreTest { outcome: RestoreOutcome::Restored, rto_s: Some(100.0), ..RestoreTest::planned(backup, "latest") }
}

fn failed(code: &str, at: RestoreStep) -> RestoreTest {
    let failure = RestoreFailure { code: code.into(), message: "it is so".into(), objects: vec!["wal_005/X".into()] };
    RestoreTest {
        outcome: RestoreOutcome::Failed,
        failed_at: Some(at),
        failure: Some(failure),
        ..RestoreTest::planned("base_000000010000000000000002", "latest")
    }
}

/// Judges an archive two days after its last upload, with tests made `ago` before that: of this run, or remembered.
async fn judged(archive: &Described, tests: Vec<RestoreTest>, ago: i64, now: bool, policy: &str) -> ArchiveReport {
    let mut target = archive.target();
    if !policy.is_empty() {
        let text = format!("version = 1\n[defaults]\n{policy}\n[[cluster]]\nname = \"t\"\narchive = \"s3://b\"\n");
        let config = parse_config(&text).unwrap();
        let cluster = config.clusters.first().cloned();
        target.stated = Stated { config: Some(Arc::new(config)), cluster, ..Stated::default() };
    }
    let as_of = archive.clock + SignedDuration::from_hours(48);
    let ctx = RunContext::new(as_of);
    let mut found = audit::catalogue(&target, &Options::default(), &ctx).await.unwrap().remove(0);
    if let Content::Known(known) = &mut found.content {
        let tests = tests.into_iter().map(|mut test| {
            test.at = Some(as_of - SignedDuration::from_hours(ago));
            if test.fingerprint.is_empty() {
                test.fingerprint = fingerprint(&known.archive, known.archive.backup(&test.backup).unwrap());
            }
            test
        });
        let mut evidence = RestoreEvidence::default();
        if now { &mut evidence.tests } else { &mut evidence.remembered }.extend(tests);
        known.restores = Some(Box::new(evidence));
    }
    audit::judge(&target, found, &ctx)
}

fn outcome(report: &ArchiveReport, code: &str) -> OutcomeKind {
    report.rules.iter().find(|rule| rule.code == code).unwrap().outcome
}

const BACKUP: &str = "base_000000010000000000000002";

#[tokio::test]
async fn a_failure_is_reported_under_the_rule_that_names_it() {
    for (code, at) in [
        ("RST001", RestoreStep::Fetch),
        ("RST001", RestoreStep::Plan),
        ("RST002", RestoreStep::Start),
        ("RST003", RestoreStep::Replay),
        ("RST004", RestoreStep::Plan),
        ("RST004", RestoreStep::Replay),
    ] {
        let report = judged(&two_timelines(), vec![failed(code, at)], 0, true, "").await;
        assert!(has(&report, code, "critical"), "{code}: {:?}", codes(&report));
        assert_eq!(report.findings.len(), 1, "{:?}", codes(&report));
        assert_eq!(report.findings[0].objects, ["wal_005/X"]);
        // Whatever lies behind the step was not looked at, and is not called fine.
        for later in ["RST005", "RST006"] {
            assert_eq!(outcome(&report, later), OutcomeKind::NotRun, "{code} {later}");
        }
        assert!(report.backups.iter().all(|backup| backup.rungs.restored.is_none()));
    }
}

#[tokio::test]
async fn a_restore_that_arrived_raises_its_backup() {
    let report = judged(&two_timelines(), vec![reached(BACKUP)], 0, true, "").await;
    assert_eq!(codes(&report), Vec::<String>::new());
    for code in ["RST001", "RST002", "RST003", "RST004"] {
        assert_eq!(outcome(&report, code), OutcomeKind::Passed, "{code}");
    }
    let backup = report.backups.iter().find(|backup| backup.name == BACKUP).unwrap();
    assert!(backup.rungs.restored.is_some() && backup.rungs.proven.is_none());
    assert_eq!(report.last_restore.as_ref().unwrap().backup, BACKUP);
    assert_eq!(report.restore_tests.len(), 1);
}

#[tokio::test]
async fn without_a_test_nothing_is_judged() {
    let report = two_timelines().audit().await;
    for code in ["RST001", "RST002", "RST003", "RST004", "RST005", "RST006", "RST007", "RST008"] {
        assert_eq!(outcome(&report, code), OutcomeKind::NotRun, "{code}");
    }
    let mut skipped = RestoreTest::planned(BACKUP, "latest");
    skipped.why = Some("it has 5 bytes, max_restore_bytes is 4".into());
    let report = judged(&two_timelines(), vec![skipped], 0, true, "").await;
    let rule = report.rules.iter().find(|rule| rule.code == "RST001").unwrap();
    assert_eq!(rule.why.as_deref(), Some("it has 5 bytes, max_restore_bytes is 4"));
    assert!(report.last_restore.is_none());
}

#[tokio::test]
async fn rst005_and_rst006_name_what_does_not_hold() {
    let result = |name: &str, ok: Option<bool>, corruption: bool| AssertionResult {
        name: name.into(),
        ok,
        expected: Some(">= 10".into()),
        actual: Some("3".into()),
        why: None,
        corruption,
    };
    let mut test = reached(BACKUP);
    test.outcome = RestoreOutcome::Failed;
    test.failed_at = Some(RestoreStep::Assert);
    test.assertions = vec![
        result("orders are there", Some(false), false),
        result("index orders_pkey", Some(false), true),
        result("an index with another collation", None, true),
        result("customers are there", Some(true), false),
    ];
    let report = judged(&two_timelines(), vec![test], 0, true, "").await;
    assert_eq!(codes(&report), ["RST005 critical", "RST006 critical"]);
    assert!(report.findings[0].message.contains("expected >= 10, found 3"), "{}", report.findings[0].message);
    assert!(report.findings[1].subject.contains("orders_pkey"));
    // The server did arrive: that rung holds, the one above does not.
    let backup = report.backups.iter().find(|backup| backup.name == BACKUP).unwrap();
    assert!(backup.rungs.restored.is_some() && backup.rungs.proven.is_none());
}

#[tokio::test]
async fn rst007_compares_with_the_promise_on_a_representative_machine() {
    let over = judged(&two_timelines(), vec![reached(BACKUP)], 0, true, "rto = \"1m\"").await;
    assert!(has(&over, "RST007", "error"), "{:?}", codes(&over));
    let within = judged(&two_timelines(), vec![reached(BACKUP)], 0, true, "rto = \"2m\"").await;
    assert_eq!(outcome(&within, "RST007"), OutcomeKind::Passed);
    let mut slow = reached(BACKUP);
    slow.representative = Some(false);
    assert!(has(&judged(&two_timelines(), vec![slow], 0, true, "rto = \"1m\"").await, "RST007", "info"));
}

#[tokio::test]
async fn rst008_counts_proofs_that_still_hold() {
    let policy = "test_restore_every = \"7d\"";
    let fresh = judged(&two_timelines(), vec![reached(BACKUP)], 24, false, policy).await;
    assert_eq!(outcome(&fresh, "RST008"), OutcomeKind::Passed, "{:?}", codes(&fresh));
    assert_eq!(fresh.last_restore.as_ref().unwrap().age_s, 86_400);
    let old = judged(&two_timelines(), vec![reached(BACKUP)], 8 * 24, false, policy).await;
    assert!(has(&old, "RST008", "error"), "{:?}", codes(&old));
    // A tar was replaced since: the proof is of something else.
    let mut other = reached(BACKUP);
    other.fingerprint = "0".repeat(32);
    let changed = judged(&two_timelines(), vec![other], 24, false, policy).await;
    assert!(has(&changed, "RST008", "error") && changed.last_restore.is_none(), "{:?}", codes(&changed));
}

#[tokio::test]
async fn the_newest_remembered_test_counts() {
    let mut tests = vec![reached(BACKUP), failed("RST004", RestoreStep::Replay)];
    let report = judged(&two_timelines(), tests.clone(), 24, false, "").await;
    assert_eq!(codes(&report), Vec::<String>::new(), "a later test arrived");
    tests.reverse();
    let report = judged(&two_timelines(), tests, 24, false, "").await;
    assert!(has(&report, "RST004", "critical"), "{:?}", codes(&report));
}
