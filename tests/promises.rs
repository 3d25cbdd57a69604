//! Rules that judge a promise: on an archive that breaks it, on a near miss, and not run without one.
#![allow(clippy::disallowed_methods)]
#![cfg(feature = "cli")]

mod described;

use std::sync::Arc;

use described::{Described, codes, has};
use jiff::{SignedDuration, Timestamp};
use walproof::audit::{self, Options, Stated};
use walproof::checks::{LivePosition, OutcomeKind};
use walproof::policy::parse_config;
use walproof::report::data::ArchiveReport;
use walproof::run::RunContext;

/// Four weekly full backups with two segments behind each.
fn weekly() -> Described {
    let mut archive = Described::default();
    for week in 0..4 {
        let first = 2 + week * 3;
        archive.wal(1, first, first);
        archive.backup(1, first);
        archive.wal(1, first + 1, first + 2).wait(24 * 7);
    }
    archive.clock -= SignedDuration::from_hours(24 * 7);
    archive
}

async fn audit_with(archive: &Described, as_of: Timestamp, keys: &str, change: impl Fn(&mut Stated)) -> ArchiveReport {
    let text = format!("version = 1\n[[cluster]]\nname = \"t\"\narchive = \"s3://b\"\n{keys}\n");
    let config = parse_config(&text).unwrap_or_else(|errors| panic!("{keys}: {errors:?}"));
    let mut target = archive.target();
    target.stated =
        Stated { cluster: config.clusters.first().cloned(), config: Some(Arc::new(config)), ..Stated::default() };
    change(&mut target.stated);
    let mut found = audit::audit(&target, &Options::default(), &RunContext::new(as_of)).await;
    found.remove(0)
}

async fn codes_with(archive: &Described, as_of: Timestamp, keys: &str) -> Vec<String> {
    codes(&audit_with(archive, as_of, keys, |_| ()).await)
}

fn why(report: &ArchiveReport, code: &str) -> (OutcomeKind, String) {
    let rule = report.rules.iter().find(|rule| rule.code == code).unwrap();
    (rule.outcome, rule.why.clone().unwrap_or_default())
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

#[tokio::test]
async fn without_a_policy_no_promise_is_judged() {
    let report = weekly().audit().await;
    assert_eq!(codes(&report), Vec::<String>::new());
    for code in ["WAL002", "BKP006", "BKP007", "BKP008", "RET001", "RET002", "RET003", "RET004", "RET005"] {
        assert_eq!(why(&report, code), (OutcomeKind::NotRun, "no policy".to_owned()), "{code}");
    }
    assert_eq!(why(&report, "POL001"), (OutcomeKind::NotRun, "no configuration".to_owned()));
    // A policy without the key promises nothing about it, and the report says so.
    let archive = weekly();
    let report = audit_with(&archive, archive.clock + hours(1), "rpo = \"2h\"", |_| ()).await;
    assert_eq!(why(&report, "RET001").1, "no policy key recovery_window");
    assert!(report.not_checked.iter().any(|line| line.starts_with("recovery_window")), "{:?}", report.not_checked);
    assert!(!report.not_checked.iter().any(|line| line.starts_with("rpo")), "{:?}", report.not_checked);
}

#[tokio::test]
async fn wal002_silence_of_a_busy_server_is_a_fault() {
    let mut archive = weekly();
    let end = archive.clock;
    assert_eq!(codes_with(&archive, end + hours(2), "rpo = \"2h\"").await, Vec::<String>::new());
    assert_eq!(codes_with(&archive, end + hours(3), "rpo = \"2h\"").await, ["WAL002 error"]);
    // Newer WAL behind a hole does not help.
    archive.wait(3).wal(1, 16, 16);
    assert!(codes_with(&archive, archive.clock, "rpo = \"2h\"").await.contains(&"WAL002 error".to_owned()));
}

#[tokio::test]
async fn wal002_an_idle_server_is_judged_by_its_position() {
    let archive = weekly();
    let idle = "rpo = \"1h\"\nactivity = \"idle-ok\"";
    let at = archive.clock + hours(48);
    let report = audit_with(&archive, at, idle, |_| ()).await;
    assert_eq!(why(&report, "WAL002").0, OutcomeKind::NotRun);
    let live = |lsn: &str, timeline: u32| {
        let live = LivePosition { lsn: lsn.parse().unwrap(), timeline: described::tli(timeline) };
        move |stated: &mut Stated| stated.live = Some(live)
    };
    // The archive ends with segment 13, at 0/E000000.
    let report = audit_with(&archive, at, idle, live("0/E000000", 1)).await;
    assert_eq!(why(&report, "WAL002").0, OutcomeKind::Passed);
    let report = audit_with(&archive, at, idle, live("0/E000100", 1)).await;
    assert_eq!(why(&report, "WAL002").0, OutcomeKind::NotRun);
    for position in [live("0/F000100", 1), live("0/E000000", 2)] {
        let report = audit_with(&archive, at, idle, position).await;
        assert!(has(&report, "WAL002", "error"), "{:?}", codes(&report));
    }
}

#[tokio::test]
async fn bkp006_and_bkp007_see_a_job_that_stopped() {
    let mut archive = weekly();
    let newest = archive.clock;
    let every = "full_backup_every = \"7d\"\nbackup_max_age = \"8d\"";
    assert_eq!(codes_with(&archive, newest + hours(8 * 24 - 1), every).await, Vec::<String>::new());
    assert_eq!(codes_with(&archive, newest + hours(9 * 24), every).await, ["BKP006 error"]);
    assert_eq!(codes_with(&archive, newest + hours(11 * 24), every).await, ["BKP006 error", "BKP007 warning"]);
    // Back after three weeks: the newest is fresh, the schedule was broken.
    archive.wait(21 * 24).wal(1, 14, 14);
    archive.backup(1, 14);
    assert_eq!(codes_with(&archive, archive.clock + hours(1), every).await, ["BKP007 warning"]);
}

#[tokio::test]
async fn bkp008_a_backup_of_another_size() {
    let mut archive = weekly();
    archive.wal(1, 14, 14);
    archive.backup_with(1, 14, &|sentinel| sentinel["UncompressedSize"] = 499.into());
    let at = archive.clock + hours(1);
    assert_eq!(codes_with(&archive, at, "backup_size_change = \"50%\"").await, ["BKP008 warning"]);
    assert_eq!(codes_with(&archive, at, "backup_size_change = \"51%\"").await, Vec::<String>::new());
}

#[tokio::test]
async fn ret001_ret002_and_ret004_judge_the_window() {
    let mut archive = weekly();
    let at = archive.clock + hours(1);
    assert_eq!(codes_with(&archive, at, "recovery_window = \"20d\"").await, Vec::<String>::new());
    assert_eq!(codes_with(&archive, at, "recovery_window = \"22d\"").await, ["RET001 critical"]);
    assert_eq!(codes_with(&archive, at, "recovery_window = \"0d\"").await, Vec::<String>::new());
    assert_eq!(codes_with(&archive, at, "min_full_backups = 4").await, Vec::<String>::new());
    assert_eq!(codes_with(&archive, at, "min_full_backups = 5").await, ["RET002 error"]);
    // A hole in the second week: promised for three weeks, not for one.
    archive.remove_wal(1, 6, 6);
    assert!(codes_with(&archive, at, "recovery_window = \"20d\"").await.contains(&"RET004 error".to_owned()));
    assert!(!codes_with(&archive, at, "recovery_window = \"6d\"").await.contains(&"RET004 error".to_owned()));
}

#[tokio::test]
async fn ret005_and_late_after_use_the_policy() {
    let mut archive = weekly();
    let at = archive.clock + hours(1);
    assert_eq!(codes_with(&archive, at, "max_age = \"30d\"").await, Vec::<String>::new());
    assert_eq!(codes_with(&archive, at, "max_age = \"10d\"").await, ["RET005 info", "RET005 info"]);
    // One segment ten hours after its neighbours, in an archive with forty others.
    archive.wal(1, 14, 50);
    archive.remove_wal(1, 20, 20).wait(10).wal(1, 20, 20);
    let at = archive.clock + hours(1);
    assert_eq!(codes_with(&archive, at, "late_after = \"9h\"").await, ["WAL010 warning"]);
    assert_eq!(codes_with(&archive, at, "late_after = \"11h\"").await, Vec::<String>::new());
}

#[tokio::test]
async fn pol001_and_pol002() {
    let archive = weekly();
    let at = archive.clock + hours(1);
    let exception = |until: &str| {
        format!(
            "recovery_window = \"22d\"\n[[exception]]\nrule = \"RET001\"\ncluster = \"t\"\nreason = \"young\"\nuntil = {until}"
        )
    };
    let report = audit_with(&archive, at, &exception("2027-01-01"), |_| ()).await;
    assert!(report.findings.iter().all(|finding| finding.waived.is_some()), "{:?}", codes(&report));
    assert_eq!(why(&report, "RET001").0, OutcomeKind::Waived);
    assert_eq!(codes_with(&archive, at, &exception("2026-11-20")).await, ["RET001 critical", "POL002 warning"]);
    // The configuration names something else in this bucket.
    let report = audit_with(&archive, at, "", |stated| {
        let text = "version = 1\n[[cluster]]\nname = \"other\"\narchive = \"s3://b/elsewhere\"\n";
        stated.config = Some(Arc::new(parse_config(text).unwrap()));
        stated.cluster = None;
    })
    .await;
    assert_eq!(codes(&report), ["POL001 warning"]);
}

#[tokio::test]
async fn ret003_a_generation_without_a_backup() {
    // Sundays 2026-11-01, -08, -15 and -22.
    let mut archive = weekly();
    let at: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    assert_eq!(codes_with(&archive, at, "retention.weekly = \"90d\"").await, Vec::<String>::new());
    let report = audit_with(&archive, at, "retention.daily = \"3d\"", |_| ()).await;
    assert_eq!(codes(&report), ["RET003 error"]);
    // The 22nd has one; the 24th is not over, the 21st began more than three days ago.
    assert_eq!(report.findings[0].facts["slots"], serde_json::json!(["2026-11-23"]));
    // The second backup loses its own WAL: its week is empty.
    archive.remove_wal(1, 5, 5);
    let report = audit_with(&archive, at, "retention.weekly = \"90d\"", |_| ()).await;
    let finding = report.findings.iter().find(|finding| finding.code == "RET003").unwrap();
    assert_eq!(finding.facts["slots"], serde_json::json!(["2026-W45"]));
}

/// Dumps of two databases every night for three weeks, and one of each kept for the month.
fn dumps() -> Described {
    let mut archive = Described::default();
    for day in 1..=21 {
        archive.clock = format!("2026-11-{day:02}T03:10:00Z").parse().unwrap();
        for name in ["orders", "users"] {
            archive.put(&format!("daily/{name}-2026-11-{day:02}.dump.zst"), vec![1; 1000 + day]);
        }
    }
    archive.put("monthly/orders-2026-11-01.dump.zst", vec![1; 1000]).put("daily/", "").put("wal_005/notes.txt", "x");
    archive
}

async fn audit_dumps(archive: &Described, keys: &str) -> ArchiveReport {
    let keys = format!("layout = \"files\"\nfiles.pattern = \"{{tier}}/{{name}}-{{date}}.dump.zst\"\n{keys}");
    let text = format!("version = 1\n[[cluster]]\nname = \"t\"\narchive = \"s3://b\"\n{keys}\n");
    let config = parse_config(&text).unwrap_or_else(|errors| panic!("{keys}: {errors:?}"));
    let mut target = archive.target();
    target.layout = Some(walproof::catalog::LayoutKind::Files);
    target.stated =
        Stated { cluster: config.clusters.first().cloned(), config: Some(Arc::new(config)), ..Stated::default() };
    audit::audit(&target, &Options::default(), &RunContext::new(archive.clock + hours(2))).await.remove(0)
}

#[tokio::test]
async fn dumps_are_backups_without_wal() {
    let report =
        audit_dumps(&dumps(), "backup_max_age = \"26h\"\nbackup_size_change = \"50%\"\nmin_full_backups = 7").await;
    assert_eq!(codes(&report), Vec::<String>::new());
    assert_eq!((report.layout.as_deref(), report.backups.len()), (Some("files"), 43));
    assert!(report.backups.iter().all(|backup| backup.rung.unwrap().name() == "complete"));
    for rule in &report.rules {
        let wal = rule.code.starts_with("WAL") || rule.code.starts_with("TLI") || rule.code == "RET001";
        assert!(!wal || rule.outcome == OutcomeKind::NotRun, "{}", rule.code);
    }
    assert!(report.notes[0].contains("2 objects do not match files.pattern"), "{:?}", report.notes);
    let mut text = Vec::new();
    let whole = walproof::report::finish(report.backups[0].finished_at.unwrap(), 0.0, dumps().clock, vec![report]);
    walproof::report::render(walproof::report::Format::Text, &whole, &Default::default(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("43 of 43 backups are there, each for its own moment only (no WAL)"), "{text}");
}

#[tokio::test]
async fn dumps_of_one_database_do_not_stand_in_for_another() {
    let mut archive = dumps();
    // What gzip or zstd make of nothing when pg_dump fails before them.
    archive.put("daily/users-2026-11-21.dump.zst", vec![1; 13]);
    archive.remove("daily/users-2026-11-10.dump.zst");
    let keys = "backup_max_age = \"26h\"\nretention.daily = \"14d\"\nretention.monthly = \"1y\"";
    let report = audit_dumps(&archive, keys).await;
    assert_eq!(codes(&report), ["BKP002 critical", "BKP006 error", "RET003 error", "BKP007 warning"]);
    assert!(report.findings[1].message.contains("newest usable backup of users"), "{}", report.findings[1].message);
    assert_eq!(report.findings[2].subject, "retention.daily of users");
    assert_eq!(report.findings[2].facts["slots"], serde_json::json!(["2026-11-10"]));
    // Each series that is seen has a schedule of its own: the monthly one has had no time to show one.
    assert_eq!(report.findings[3].subject, "full backups of users daily");
    assert_eq!(report.findings[3].count, 1);
}

#[tokio::test]
async fn files_without_a_match_or_a_pattern_are_refused() {
    let mut target = dumps().target();
    target.layout = Some(walproof::catalog::LayoutKind::Files);
    let audit = async |target: &audit::Target| {
        audit::audit(target, &Options::default(), &RunContext::new(dumps().clock)).await.remove(0).error.unwrap()
    };
    assert!(audit(&target).await.contains("needs files.pattern"));
    target.stated.files_pattern = Some("{tire}".to_owned());
    assert!(audit(&target).await.contains("{tire}"));
    target.stated.files_pattern = Some("weekly/*".to_owned());
    assert!(audit(&target).await.contains("no object below"));
}
