//! What a bucket's rules do to an archive: rules on an archive that fires them and on a near miss, and a year of audits
//! whose dates can be defended by hand.
#![allow(clippy::disallowed_methods)]
#![cfg(feature = "cli")]

mod described;
mod golden_support;

use std::sync::Arc;

use described::{Described, codes, has};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use walproof::audit::{self, Options, Stated};
use walproof::checks::OutcomeKind;
use walproof::policy::lifecycle::Versioning;
use walproof::policy::outlook::BucketRules;
use walproof::policy::parse_config;
use walproof::report::data::ArchiveReport;
use walproof::run::RunContext;

/// Eight weekly full backups, on Sundays from 2026-11-01 to 2026-12-20, with two segments behind each.
fn weekly() -> Described {
    weekly_until(Timestamp::MAX)
}

/// The same as far as it had been uploaded at a moment.
fn weekly_until(now: Timestamp) -> Described {
    let mut archive = Described::default();
    for week in 0..8 {
        let clock = at("2026-11-01T00:00:00Z") + SignedDuration::from_hours(24 * 7 * week);
        if clock > now {
            break;
        }
        archive.clock = clock;
        let first = 2 + week as u64 * 3;
        archive.wal(1, first, first);
        archive.backup(1, first);
        archive.wal(1, first + 1, first + 2);
    }
    archive
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn expire(id: &str, prefix: &str, days: u32) -> Value {
    json!({"ID": id, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": days}})
}

fn abort() -> Value {
    json!({"ID": "abort", "Status": "Enabled", "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}})
}

/// Base backups and WAL live equally long, history files for ever.
fn equal(days: u32) -> Vec<Value> {
    let wal = json!({"ID": "wal", "Status": "Enabled", "Expiration": {"Days": days},
        "Filter": {"And": {"Prefix": "wal_005/", "ObjectSizeGreaterThan": 200}}});
    vec![expire("base", "basebackups_005/", days), wal, abort()]
}

fn rules(rules: &[Value]) -> BucketRules {
    let text = json!({"Rules": rules}).to_string();
    let read = BucketRules::read("rules.json", text.as_bytes()).unwrap().remove(0);
    read.named("b").with_versioning(Versioning::Enabled)
}

async fn audit_with(archive: &Described, as_of: Timestamp, keys: &str, bucket: BucketRules) -> ArchiveReport {
    let mut target = archive.target();
    target.stated = Stated { bucket: Some(Arc::new(bucket)), ..Stated::default() };
    if !keys.is_empty() {
        let text = format!("version = 1\n[[cluster]]\nname = \"t\"\narchive = \"s3://b\"\n{keys}\n");
        let config = parse_config(&text).unwrap_or_else(|errors| panic!("{keys}: {errors:?}"));
        target.stated.cluster = config.clusters.first().cloned();
        target.stated.config = Some(Arc::new(config));
        if target.stated.cluster.as_ref().is_some_and(|cluster| cluster.files_pattern.is_some()) {
            target.layout = Some(walproof::catalog::LayoutKind::Files);
        }
    }
    audit::audit(&target, &Options::default(), &RunContext::new(as_of)).await.remove(0)
}

/// Two hours behind the last upload.
async fn findings(archive: &Described, keys: &str, bucket: BucketRules) -> ArchiveReport {
    audit_with(archive, archive.clock + SignedDuration::from_hours(2), keys, bucket).await
}

fn outcome(report: &ArchiveReport, code: &str) -> (OutcomeKind, String) {
    let rule = report.rules.iter().find(|rule| rule.code == code).unwrap();
    (rule.outcome, rule.why.clone().unwrap_or_default())
}

fn steps(report: &ArchiveReport) -> Vec<String> {
    let step = |point: &walproof::report::data::ForecastPoint| {
        let oldest = point.oldest.map_or("nothing".to_owned(), |oldest| oldest.strftime("%m-%d").to_string());
        format!("{} {} {oldest}", point.at.strftime("%Y-%m-%dT%H:%M"), point.backups)
    };
    report.forecast.iter().map(step).collect()
}

#[tokio::test]
async fn without_rules_nothing_is_said_about_them() {
    let report = weekly().audit().await;
    for code in ["LFC002", "LFC003", "LFC005", "LFC006", "LFC007", "LFC010", "LFC011", "LFC014", "LFC015", "LFC019"] {
        let expected = "the bucket's rules are not known (--rules FILE)";
        assert_eq!(outcome(&report, code), (OutcomeKind::NotRun, expected.to_owned()), "{code}");
    }
    for code in ["LFC001", "LFC008", "LFC018", "LFC020", "LFC021"] {
        assert_eq!(outcome(&report, code), (OutcomeKind::NotRun, "no policy".to_owned()), "{code}");
    }
    assert!(report.forecast.is_empty() && report.lifecycle.is_none());
    assert!(report.backups.iter().all(|backup| backup.usable_until.is_none()));
}

#[tokio::test]
async fn each_backup_ends_with_the_first_of_its_needs() {
    let report = findings(&weekly(), "", rules(&equal(60))).await;
    assert_eq!(codes(&report), Vec::<String>::new());
    // Uploaded 2026-11-01 00:01 and 00:02: 60 days later is 2026-12-31 00:01, and S3 acts on the midnight behind it.
    let first = &report.backups[0];
    assert_eq!(first.usable_until, Some(at("2027-01-01T00:00:00Z")));
    let reason = first.usable_until_reason.as_deref().unwrap();
    assert!(reason.ends_with("is hidden by rule \"base\""), "{reason}");
    assert_eq!(report.backups[7].usable_until, Some(at("2027-02-19T00:00:00Z")));
    // One step for each backup and each week, nothing between them.
    assert_eq!(steps(&report)[..2], ["2026-12-20T02:10 8 11-01", "2027-01-01T00:00 7 11-08"]);
    assert_eq!(steps(&report)[8], "2027-02-19T00:00 0 nothing");
    let lifecycle = report.lifecycle.unwrap();
    // 60 days less seven, less the minute that a backup takes.
    assert_eq!(lifecycle.guaranteed_window_s, Some(53 * 86_400 - 60));
    assert_eq!(lifecycle.first_end.unwrap().backup, first.name);
}

#[tokio::test]
async fn lfc001_and_lfc020_judge_the_window() {
    let archive = weekly();
    // The oldest backup is 49 days old. 45 days are kept while objects live for 60: 60 - 7 = 53.
    let report = findings(&archive, "recovery_window = \"45d\"\nfull_backup_every = \"7d\"", rules(&equal(60))).await;
    assert_eq!(codes(&report), Vec::<String>::new());
    // 48 days from now on: with 50 days of life only 43 are guaranteed, and the first backup goes tomorrow.
    let report = findings(&archive, "recovery_window = \"48d\"\nfull_backup_every = \"7d\"", rules(&equal(50))).await;
    assert!(has(&report, "LFC001", "error"), "hidden behind markers, versions stay: {:?}", codes(&report));
    assert!(has(&report, "LFC020", "error"), "{:?}", codes(&report));
    let early = report.findings.iter().find(|finding| finding.code == "LFC001").unwrap();
    assert_eq!(early.subject, "recovery window");
    assert_eq!(early.facts["at"], "2026-12-22T00:00:00Z");
    assert_eq!(report.lifecycle.unwrap().first_promise_broken_at, Some(at("2026-12-22T00:00:00Z")));
    // The same without versioning is final.
    let mut bucket = rules(&equal(50));
    bucket = bucket.with_versioning(Versioning::Disabled);
    let report = findings(&archive, "recovery_window = \"48d\"", bucket).await;
    assert!(has(&report, "LFC001", "critical") && has(&report, "LFC007", "warning"), "{:?}", codes(&report));
}

#[tokio::test]
async fn lfc001_judges_generations() {
    let archive = weekly();
    let keys = "retention.monthly = \"1y\"";
    let report = findings(&archive, keys, rules(&equal(400))).await;
    assert_eq!(codes(&report), Vec::<String>::new());
    let report = findings(&archive, keys, rules(&equal(90))).await;
    let early = report.findings.iter().find(|finding| finding.code == "LFC001").unwrap();
    // One of November and one of December; the longest-lived of a month carries its promise.
    assert_eq!((early.count, early.subject.as_str()), (2, "rule \"base\""), "{}", early.message);
    assert!(early.message.contains("2027-02-28") || early.facts["at"] == "2027-02-28T00:00:00Z", "{}", early.message);
}

#[tokio::test]
async fn lfc002_lfc003_lfc005_and_lfc010_judge_the_words_of_rules() {
    let archive = weekly();
    let of = async |list: &[Value]| codes(&findings(&archive, "", rules(list)).await);
    assert_eq!(of(&equal(90)).await, Vec::<String>::new());
    let broad = of(&[expire("all", "", 90), abort()]).await;
    assert_eq!(broad, ["LFC002 error"]);
    // WAL that goes first; a history file would, too.
    let short = of(&[expire("base", "basebackups_005/", 90), expire("wal", "wal_005/", 30), abort()]).await;
    assert_eq!(short, ["LFC003 critical", "LFC005 error"]);
    // A prefix that no key has; a disabled rule does nothing and is judged for nothing.
    let mut off = expire("off", "", 1);
    off["Status"] = json!("Disabled");
    let mut list = equal(90);
    list.extend([expire("typo", "wal_005/000000FF", 1), expire("elsewhere", "logs/2026", 1), off]);
    let report = findings(&archive, "", rules(&list)).await;
    let typos: Vec<&str> = report.findings.iter().filter(|f| f.code == "LFC010").map(|f| f.subject.as_str()).collect();
    assert_eq!(typos, ["rule \"elsewhere\"", "rule \"typo\""], "the archive is the whole bucket: {:?}", codes(&report));
}

#[tokio::test]
async fn lfc004_and_lfc021_forecast_classes() {
    let archive = weekly();
    let moves = |class: &str, days: u32| {
        json!({"ID": "cold", "Status": "Enabled", "Filter": {"And": {"Prefix": "wal_005/", "ObjectSizeGreaterThan": 200}},
            "Transitions": [{"Days": days, "StorageClass": class}]})
    };
    let mut list = equal(400);
    list.push(moves("GLACIER", 100));
    let report = findings(&archive, "recovery_window = \"45d\"", rules(&list)).await;
    assert_eq!(codes(&report), Vec::<String>::new(), "behind the window it may be cold");
    // The own WAL of each backup cannot be read at once from then on.
    assert_eq!(report.backups[0].usable_until, Some(at("2027-02-10T00:00:00Z")));
    assert!(report.backups[0].usable_until_reason.as_deref().unwrap().contains("is archived by rule \"cold\""));
    *list.last_mut().unwrap() = moves("GLACIER", 40);
    let report = findings(&archive, "recovery_window = \"45d\"", rules(&list)).await;
    assert!(has(&report, "LFC004", "error"), "{:?}", codes(&report));
    *list.last_mut().unwrap() = moves("ONEZONE_IA", 40);
    let report = findings(&archive, "recovery_window = \"45d\"", rules(&list)).await;
    assert_eq!(codes(&report), ["LFC021 warning"]);
    let allowed = "recovery_window = \"30d\"\nstorage.allowed_classes_in_window = [\"STANDARD\"]";
    assert_eq!(codes(&findings(&archive, allowed, rules(&list)).await), Vec::<String>::new());
}

#[tokio::test]
async fn lfc006_and_lfc019_know_chains_and_marks() {
    let mut archive = weekly();
    let parent = format!("base_{}", walproof::model::SegmentNo(23).name(described::tli(1), described::SIZE));
    archive.wait(24 * 5).wal(1, 26, 26);
    // A delta five days behind its full backup.
    let delta = archive.backup_with(1, 26, &|sentinel| {
        sentinel["DeltaFrom"] = json!(parent);
        sentinel["DeltaFullName"] = json!(parent);
        sentinel["DeltaLSN"] = json!((23u64 << 24) + 0x28);
        sentinel["DeltaCount"] = json!(1);
    });
    let report = findings(&archive, "", rules(&equal(30))).await;
    let dead: Vec<_> = report.findings.iter().filter(|finding| finding.code == "LFC006").collect();
    assert_eq!(dead.len(), 1, "{:?}", codes(&report));
    assert_eq!((dead[0].subject.as_str(), dead[0].severity.name()), (delta.as_str(), "warning"));
    // Promised for 30 days: its full backup takes it five days early.
    let report = findings(&archive, "retention.daily = \"28d\"", rules(&equal(30))).await;
    assert!(has(&report, "LFC006", "critical"), "{:?}", codes(&report));
    // A mark that lifecycle does not know.
    let mut archive = weekly();
    archive.wal(1, 26, 26);
    let kept = archive.backup_with(1, 26, &|sentinel| sentinel["IsPermanent"] = json!(true));
    let report = findings(&archive, "", rules(&equal(90))).await;
    assert_eq!(codes(&report), ["LFC019 warning"]);
    assert_eq!(report.findings[0].subject, kept);
    assert_eq!(codes(&findings(&archive, "", rules(&[abort()])).await), Vec::<String>::new());
}

#[tokio::test]
async fn lfc007_lfc008_and_lfc011_judge_what_can_be_taken_back() {
    let archive = weekly();
    let with = |days: Option<u32>| {
        let mut list = equal(90);
        list.extend(days.map(|days| {
            json!({"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""},
                "NoncurrentVersionExpiration": {"NoncurrentDays": days}})
        }));
        rules(&list)
    };
    let undo = "undo_window = \"7d\"";
    assert_eq!(codes(&findings(&archive, undo, with(None)).await), Vec::<String>::new());
    assert_eq!(codes(&findings(&archive, undo, with(Some(8))).await), Vec::<String>::new());
    assert_eq!(codes(&findings(&archive, undo, with(Some(3))).await), ["LFC008 warning"]);
    let suspended = with(None).with_versioning(Versioning::Suspended);
    assert_eq!(codes(&findings(&archive, "", suspended.clone()).await), ["LFC007 warning"]);
    let any = "storage.versioning = \"any\"";
    assert_eq!(codes(&findings(&archive, any, suspended).await), Vec::<String>::new());
    let mut list = equal(90);
    list.pop();
    assert_eq!(codes(&findings(&archive, "", rules(&list)).await), ["LFC011 info"]);
    // A file that does not say is not taken for one that says no.
    let text = json!({"Rules": equal(90)}).to_string();
    let silent = BucketRules::read("rules.json", text.as_bytes()).unwrap().remove(0);
    let report = findings(&archive, "", silent).await;
    assert_eq!(outcome(&report, "LFC007").0, OutcomeKind::NotRun);
}

#[tokio::test]
async fn lfc014_lfc015_and_lfc018_judge_dates_doubts_and_margins() {
    let archive = weekly();
    let mut list = equal(90);
    list.push(json!({"ID": "date", "Status": "Enabled", "Filter": {"Prefix": "basebackups_005/"},
        "Expiration": {"Date": "2030-01-01T00:00:00Z"}}));
    assert!(has(&findings(&archive, "", rules(&list)).await, "LFC014", "error"));
    list[3] = json!({"ID": "two", "Status": "Enabled", "Filter": {"Prefix": "basebackups_005/"}, "Prefix": "x",
        "Expiration": {"Days": 500}});
    assert!(has(&findings(&archive, "", rules(&list)).await, "LFC015", "error"));
    let keys = |margin: u32| {
        format!("recovery_window = \"45d\"\nfull_backup_every = \"7d\"\nimmutability.margin = \"{margin}d\"")
    };
    // 60 - 7 = 53 days are guaranteed: eight more than promised.
    assert_eq!(codes(&findings(&archive, &keys(8), rules(&equal(60))).await), Vec::<String>::new());
    assert_eq!(codes(&findings(&archive, &keys(9), rules(&equal(60))).await), ["LFC018 warning"]);
}

#[tokio::test]
async fn history_files_that_go_before_an_older_backup_are_named() {
    let mut archive = weekly();
    archive.history(2, "1\t0/1A000100\tno recovery target specified\n");
    archive.wal_with_page(2, 26, 26, 1).wal(2, 27, 28);
    // Only small objects of wal_005/ go, and soon.
    let small = json!({"ID": "small", "Status": "Enabled", "Expiration": {"Days": 10},
        "Filter": {"And": {"Prefix": "wal_005/", "ObjectSizeLessThan": 100}}});
    let report = findings(&archive, "", rules(&[small, abort()])).await;
    let found = report.findings.iter().find(|f| f.code == "LFC005" && f.subject == "wal_005/00000002.history").unwrap();
    assert_eq!(found.count, 8, "{:?}", codes(&report));
    assert_eq!(found.facts["at"], "2026-12-31T00:00:00Z");
    // From that day on nothing reaches timeline 2, though every backup is there.
    assert_eq!(steps(&report), ["2026-12-20T02:14 8 11-01", "2026-12-31T00:00 8 nothing"]);
}

/// Four policies under four sets of rules, judged on days through a year: only those codes that judge the future.
#[tokio::test]
async fn a_year_of_audits() {
    let judged = async |now: &str, keys: &str, list: &[Value]| {
        let archive = weekly_until(at(now));
        let report = audit_with(&archive, at(now), keys, rules(list)).await;
        let first = report.backups.iter().filter_map(|backup| backup.usable_until).min();
        let codes: Vec<String> = codes(&report).into_iter().filter(|code| code.starts_with("LFC")).collect();
        let usable = report.forecast.first().map_or(0, |step| step.backups);
        let first = first.map_or("never".to_owned(), |first| first.strftime("%Y-%m-%d").to_string());
        format!(
            "{usable} left, first ends {first}, {}",
            if codes.is_empty() { "-".to_owned() } else { codes.join(" ") }
        )
    };
    // 1. Nothing promised, 90 days for all: backup k of 2026-11-01 + 7k days may go on the midnight 91 days later,
    //    2027-01-31 + 7k. (Uploaded some minutes behind midnight; S3 rounds up.)
    let ninety = equal(90);
    assert_eq!(judged("2027-01-30T12:00:00Z", "", &ninety).await, "8 left, first ends 2027-01-31, -");
    // On that day it may be gone at any moment, whether or not the listing still shows it.
    assert_eq!(judged("2027-01-31T00:00:00Z", "", &ninety).await, "7 left, first ends 2027-01-31, -");
    assert_eq!(judged("2027-02-20T00:00:00Z", "", &ninety).await, "5 left, first ends 2027-02-20, -");
    // The last was taken on 2026-12-20: 91 days later is 2027-03-21.
    assert_eq!(judged("2027-03-20T23:59:59Z", "", &ninety).await, "1 left, first ends 2027-03-20, -");
    assert_eq!(judged("2027-03-21T00:00:00Z", "", &ninety).await, "0 left, first ends 2027-03-21, -");
    assert_eq!(judged("2027-10-31T00:00:00Z", "", &ninety).await, "0 left, first ends 2027-10-31, -");

    // 2. A window of 30 days and weekly fulls: 37 days of life guarantee exactly 30, 36 do not.
    let window = "recovery_window = \"30d\"\nfull_backup_every = \"7d\"";
    // 11-01 and 37 days is 12-08, and the midnight behind it; six backups have been taken. On 12-09 the next is 30 days
    // and almost a day old.
    let fits = judged("2026-12-08T12:00:00Z", window, &equal(37)).await;
    assert_eq!(fits, "6 left, first ends 2026-12-09, -");
    // A day less: on 12-08, 00:00, the next is of 11-08, 00:07, seven minutes too young.
    let short = judged("2026-12-07T12:00:00Z", window, &equal(36)).await;
    assert_eq!(short, "6 left, first ends 2026-12-08, LFC001 error LFC020 error");
    // 30 days: the backup of 11-01 goes on 12-02, and the next is 24 days old.
    let broken = judged("2026-12-01T12:00:00Z", window, &equal(30)).await;
    assert_eq!(broken, "5 left, first ends 2026-12-02, LFC001 error LFC020 error");

    // 3. One backup of each month for a year, while a rule for all of them says 90 days: from the first day on.
    let monthly = "retention.monthly = \"1y\"";
    assert_eq!(judged("2026-12-21T00:00:00Z", monthly, &ninety).await, "8 left, first ends 2027-01-31, LFC001 error");
    // 365 days are enough: what was taken on 11-29 is promised for as long, and goes on the midnight behind that.
    assert_eq!(judged("2027-10-31T00:00:00Z", monthly, &equal(365)).await, "8 left, first ends 2027-11-02, -");

    // 4. Rules that were made for another year: a date that is over takes everything at once.
    let date = json!({"ID": "date", "Status": "Enabled", "Filter": {"Prefix": "basebackups_005/"},
        "Expiration": {"Date": "2027-06-01T00:00:00Z"}});
    let dated = [date, abort()];
    let daily = "retention.weekly = \"30d\"";
    // On 2026-12-21 every promise of 30 days (the last until 2027-01-19) ends long before June.
    assert_eq!(judged("2026-12-21T00:00:00Z", daily, &dated).await, "8 left, first ends 2027-06-01, LFC014 error");
    assert_eq!(judged("2027-06-02T00:00:00Z", daily, &dated).await, "0 left, first ends 2027-06-02, LFC014 error");
    // And no rules at all: nothing ever ends.
    assert_eq!(judged("2027-10-31T00:00:00Z", monthly, &[abort()]).await, "8 left, first ends never, -");
}

#[tokio::test]
async fn dumps_have_the_promise_that_their_key_names() {
    let mut archive = Described::default();
    for day in 1..=20 {
        archive.clock = at(&format!("2026-11-{day:02}T03:10:00Z"));
        archive.put(&format!("daily/2026-11-{day:02}.tar.zst"), vec![1; 1000]);
    }
    archive.put("yearly/2026-11-20.tar.zst", vec![1; 1000]);
    let keys = "layout = \"files\"\nfiles.pattern = \"{tier}/{date}.tar.zst\"\nretention.daily = \"30d\"\n\
                retention.yearly = \"forever\"";
    let fits = [expire("daily", "daily/", 30), abort()];
    assert_eq!(codes(&findings(&archive, keys, rules(&fits)).await), Vec::<String>::new());
    // One rule for everything overrides the promise without an end.
    let report = findings(&archive, keys, rules(&[expire("all", "", 30), abort()])).await;
    let early = report.findings.iter().find(|finding| finding.code == "LFC001").unwrap();
    assert_eq!((early.count, early.objects.as_slice()), (1, &["yearly/2026-11-20.tar.zst".to_owned()][..]));
    assert!(has(&report, "LFC002", "error"), "{:?}", codes(&report));
}

#[tokio::test]
async fn an_extra_backup_by_hand_evicts_an_old_one() {
    let archive = weekly();
    let mut target = archive.target();
    let text = "version = 1\n[[cluster]]\nname = \"t\"\narchive = \"s3://b\"\nrecovery_window = \"45d\"\nmin_full_backups = 4\n";
    let config = parse_config(text).unwrap();
    target.stated.cluster = config.clusters.first().cloned();
    target.stated.config = Some(Arc::new(config));
    let tools = ["wal-g delete retain FULL 8", "wal-g delete retain FULL 3", "barman RECOVERY WINDOW OF 45 DAYS"];
    target.stated.engines = tools.iter().map(|tool| tool.parse().unwrap()).collect();
    let as_of = at("2026-12-20T12:00:00Z");
    let report = audit::audit(&target, &Options::default(), &RunContext::new(as_of)).await.remove(0);
    let [eight, three, window] = &report.tools[..] else { panic!("{:?}", report.tools) };
    // Eight are there: nothing goes today, one more takes the oldest, and with it the 45 days (the next is 42 days old).
    assert!(eight.deletes.is_empty() && eight.breaks.is_empty(), "{eight:?}");
    assert_eq!(eight.evicted_by_one_more, [report.backups[0].name.clone()]);
    assert_eq!(eight.breaks_with_one_more, ["recovery_window is 45d, 42 d would be left"]);
    assert_eq!((three.deletes.len(), three.breaks.len()), (5, 2), "{three:?}");
    assert_eq!(three.breaks, ["recovery_window is 45d, 14 d would be left", "min_full_backups is 4, 3 would be left"]);
    assert!(window.deletes.is_empty() && window.evicted_by_one_more.is_empty(), "{window:?}");
}

/// The command on a real archive on disk, as somebody types it.
#[test]
fn forecast_of_a_golden_archive() {
    use golden_support as g;
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-lz4-pg15");
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, value: Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let lifecycle = file("rules.json", json!({"Rules": equal(30)}));
    let versioning = file("versioning.json", json!({"Status": "Suspended"}));
    let run = |args: &[&str]| {
        let output = g::walproof()
            .args(["lifecycle", "forecast", "--now", &g::two_days_later(&root)])
            .arg(&root)
            .args(args)
            .output();
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, error) = run(&[]);
    assert!(code == 2 && error.contains("--rules FILE"), "{code} {error}");
    let (code, text, _) = run(&["--rules", &lifecycle, "--rules", &versioning]);
    assert_eq!(code, 0, "{text}");
    for part in ["first to end: base_", "usable until", "if nothing new is uploaded", "versioning suspended", "LFC007"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text, _) = run(&["--rules", &lifecycle, "--format", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let archive = &report["archives"][0];
    assert_eq!(
        (code, archive["lifecycle"]["source"].as_str().unwrap().ends_with("rules.json (lifecycle rules)")),
        (0, true)
    );
    // Every usable backup ends, and the forecast ends with none.
    let backups = archive["backups"].as_array().unwrap();
    let usable = backups.iter().filter(|backup| backup["restorable"] != "no").count();
    assert!(usable > 0 && backups.iter().filter(|backup| backup["usable_until"].is_string()).count() == usable);
    let steps = archive["forecast"].as_array().unwrap();
    assert_eq!((&steps[0]["backups"], &steps[steps.len() - 1]["backups"]), (&json!(usable), &json!(0)));
    let (code, text, _) = run(&["--rules", &lifecycle, "--format", "markdown"]);
    assert!(code == 0 && text.contains("backups with their ends") && text.contains("first to end"), "{text}");
    let (code, text, error) = run(&["--rules", &lifecycle, "--tool", "wal-g delete retain FULL 1"]);
    assert!(code == 0 && text.contains("wal-g delete retain FULL 1, if it ran now"), "{code} {text} {error}");
    let (code, _, error) = run(&["--tool", "rm"]);
    assert!(code == 2 && error.contains("wal-g delete retain"), "{error}");
}

/// A forecast is what an audit of that day will find: objects are taken away as their day comes, and the archive that is
/// left is audited by itself.
#[tokio::test]
async fn a_forecast_agrees_with_audits_of_the_days_to_come() {
    let failover = || {
        let mut archive = weekly();
        archive.history(2, "1\t0/1A000100\tno recovery target specified\n");
        archive.wal_with_page(2, 26, 26, 1).wal(2, 27, 28);
        archive.backup(2, 28);
        archive.wal(2, 29, 30);
        archive
    };
    let chain = || {
        let mut archive = weekly();
        let parent = format!("base_{}", walproof::model::SegmentNo(23).name(described::tli(1), described::SIZE));
        archive.wait(24 * 5).wal(1, 26, 26);
        archive.backup_with(1, 26, &|sentinel| {
            sentinel["DeltaFrom"] = json!(parent);
            sentinel["DeltaFullName"] = json!(parent);
            sentinel["DeltaLSN"] = json!((23u64 << 24) + 0x28);
            sentinel["DeltaCount"] = json!(1);
        });
        archive
    };
    let sized = |id: &str, bound: &str, size: u64, days: u32| {
        json!({"ID": id, "Status": "Enabled", "Expiration": {"Days": days},
            "Filter": {"And": {"Prefix": "wal_005/", bound: size}}})
    };
    let cases: Vec<(&str, Described, Vec<Value>)> = vec![
        ("all alike", weekly(), vec![expire("all", "", 60)]),
        ("WAL first", weekly(), vec![expire("base", "basebackups_005/", 90), expire("wal", "wal_005/", 70)]),
        (
            "a hole in the middle",
            weekly(),
            vec![expire("x", "wal_005/00000001000000000000000D", 50), expire("y", "", 80)],
        ),
        ("own WAL of one", weekly(), vec![expire("x", "wal_005/000000010000000000000008", 50)]),
        ("one part", weekly(), vec![expire("x", "basebackups_005/base_00000001000000000000000B/tar", 50)]),
        ("one sentinel", weekly(), vec![expire("x", "basebackups_005/base_00000001000000000000000E_backup", 50)]),
        ("failover", failover(), vec![expire("all", "", 60)]),
        (
            "failover, history first",
            failover(),
            vec![sized("small", "ObjectSizeLessThan", 100, 10), expire("all", "", 70)],
        ),
        (
            "failover, WAL first",
            failover(),
            vec![sized("wal", "ObjectSizeGreaterThan", 100, 55), expire("all", "", 70)],
        ),
        (
            "a chain",
            chain(),
            vec![expire("x", "basebackups_005/base_000000010000000000000017", 20), expire("y", "", 60)],
        ),
    ];
    for (name, archive, list) in cases {
        let text = json!({"Rules": list}).to_string();
        let bucket = BucketRules::read("rules.json", text.as_bytes()).unwrap().remove(0);
        let as_of = archive.clock + SignedDuration::from_hours(2);
        let simulator = walproof::policy::lifecycle::Simulator::new(
            bucket.rules.clone(),
            walproof::policy::lifecycle::BucketSettings { rules_effective: Some(as_of), ..Default::default() },
        );
        let report = audit_with(&archive, as_of, "", bucket).await;
        let newest = report.recovery_window.as_ref().unwrap().to_lsn;
        assert!(report.forecast.len() > 1, "{name}");
        let store: Arc<dyn walproof::store::Store> = archive.store.clone();
        let page = store.list_page(walproof::store::ListRequest::default()).await.unwrap();
        let ends = page.rows.iter().filter_map(|row| {
            let object = walproof::policy::lifecycle::ObjectFacts::new(row.key.as_bytes(), row.size, row.modified);
            Some((row.key.clone(), simulator.fate(&object).ended()?.at))
        });
        let ends: Vec<_> = ends.collect();
        for step in &report.forecast {
            ends.iter().filter(|(_, end)| *end <= step.at).for_each(|(key, _)| archive.store.remove(key.as_bytes()));
            let then = archive.audit_at(step.at).await;
            let usable = then.backups.iter().filter(|b| b.restorable != walproof::report::data::Restorable::No).count();
            // Without its history `latest` stops before a timeline; from a backup on it, its end is reached all the same.
            let whole = then.recovery_windows.iter().find(|window| window.to_lsn == newest);
            let oldest = whole.and_then(|window| window.holes.last().map_or(window.from, |hole| hole.to));
            assert_eq!((step.backups, step.oldest), (usable as u64, oldest), "{name}, {}", step.at);
        }
    }
}

/// A sentinel may claim any position; nothing is counted up to it.
#[tokio::test]
async fn a_sentinel_that_claims_the_end_of_the_world_costs_nothing() {
    let mut archive = weekly();
    archive.wal(1, 26, 26);
    let name = archive.backup_with(1, 26, &|sentinel| sentinel["FinishLSN"] = json!(u64::MAX - 1));
    let report = findings(&archive, "recovery_window = \"40d\"", rules(&equal(90))).await;
    assert!(report.findings.iter().any(|f| f.code == "BKP005" && f.subject == name), "{:?}", codes(&report));
    let claimed = report.backups.iter().find(|backup| backup.name == name).unwrap();
    assert_eq!(claimed.usable_until, None, "what cannot be restored has no end to tell");
}

/// A real archive, all of whose objects were stored on 2026-11-20 at 23:13 UTC, moved through a year: four policies, four
/// sets of rules. N days behind that is the midnight after 2026-11-20 + N.
#[test]
fn a_golden_archive_through_a_year() {
    use golden_support as g;
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-zstd-pg17-timelines");
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let versioning = write("versioning.json", json!({"Status": "Enabled"}).to_string());
    let judge = |policy: &str, list: &[Value], now: &str| {
        let rules = write("rules.json", json!({"Rules": list}).to_string());
        let cluster = format!("version = 1\n[[cluster]]\nname = \"t\"\narchive = \"{}\"\n{policy}\n", root.display());
        let config = write("walproof.toml", cluster);
        let args =
            ["audit", "t", "--config", &config, "--now", now, "--rules", &rules, "--rules", &versioning, "-f", "json"];
        let output = g::walproof().args(args).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let archive = &report["archives"][0];
        let ends = archive["backups"].as_array().unwrap().iter().filter_map(|backup| backup["usable_until"].as_str());
        let found = archive["findings"].as_array().unwrap().iter().filter_map(|finding| finding["code"].as_str());
        let codes: Vec<&str> = found.filter(|code| code.starts_with("LFC")).collect();
        format!(
            "{} left, first ends {}, {}",
            archive["forecast"][0]["backups"],
            ends.min().map_or("never", |end| &end[..10]),
            if codes.is_empty() { "-".to_owned() } else { codes.join(" ") }
        )
    };

    // Nothing promised, 30 days for base backups and WAL, history files left out by their size.
    let month = equal(30);
    assert_eq!(judge("", &month, "2026-11-22T00:00:00Z"), "2 left, first ends 2026-12-21, -");
    assert_eq!(judge("", &month, "2026-12-20T23:59:59Z"), "2 left, first ends 2026-12-21, -");
    assert_eq!(judge("", &month, "2026-12-21T00:00:00Z"), "0 left, first ends 2026-12-21, -");
    assert_eq!(judge("", &month, "2027-11-20T00:00:00Z"), "0 left, first ends 2027-11-20, -");

    // 30 days of window, 60 days of life (2026-11-20 + 60 is 2027-01-19): as long as the day on which the only backups go
    // lies more than 30 days ahead, others may still come in time. From 2026-12-21 on nothing can fill the day it breaks.
    let window = "recovery_window = \"30d\"";
    assert_eq!(judge(window, &equal(60), "2026-12-20T00:00:00Z"), "2 left, first ends 2027-01-20, -");
    assert_eq!(judge(window, &equal(60), "2026-12-22T00:00:00Z"), "2 left, first ends 2027-01-20, LFC001");
    // Promised without an end in sight: 29 days cannot guarantee 30, whatever the distance between backups.
    assert_eq!(judge(window, &equal(29), "2026-11-21T12:00:00Z"), "2 left, first ends 2026-12-20, LFC001 LFC020");

    // One backup of the month for a year, under 60 days and under 366: 2026-11-20 + 366 is 2027-11-21.
    let monthly = "retention.monthly = \"1y\"";
    assert_eq!(judge(monthly, &equal(60), "2026-11-22T00:00:00Z"), "2 left, first ends 2027-01-20, LFC001");
    assert_eq!(judge(monthly, &equal(366), "2026-11-22T00:00:00Z"), "2 left, first ends 2027-11-22, -");
    // A year later the promise is over, and what is overdue breaks none.
    assert_eq!(judge(monthly, &equal(60), "2027-11-21T00:00:00Z"), "0 left, first ends 2027-11-21, -");

    // Cold after 90 days, undone for three: GET is refused from 2027-02-19 on (2026-11-20 + 90 is 2027-02-18).
    let mut cold = vec![abort()];
    for prefix in ["wal_005/", "basebackups_005/"] {
        cold.push(json!({"ID": prefix, "Status": "Enabled", "Filter": {"And": {"Prefix": prefix, "ObjectSizeGreaterThan": 200}},
            "Transitions": [{"Days": 90, "StorageClass": "DEEP_ARCHIVE"}]}));
    }
    cold.push(json!({"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3}}));
    let undo = "recovery_window = \"80d\"\nundo_window = \"7d\"";
    assert_eq!(judge(undo, &cold, "2026-11-22T00:00:00Z"), "2 left, first ends 2027-02-19, LFC008");
    assert_eq!(judge(undo, &cold, "2027-02-19T00:00:00Z"), "0 left, first ends 2027-02-19, LFC008");
    let longer = "recovery_window = \"100d\"\nundo_window = \"3d\"";
    assert_eq!(judge(longer, &cold, "2026-11-22T00:00:00Z"), "2 left, first ends 2027-02-19, LFC004 LFC004");
}
