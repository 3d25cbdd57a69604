use serde_json::{Value, json};

use super::*;
use crate::policy::inventory::read_inventory_json;
use crate::policy::parse_config;
use crate::policy::plan::read_plan;
use crate::policy::test_data;

const APPLY: &str = "2026-11-20T15:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sample_policy() -> Option<Config> {
    test_data::sample("policy-example.toml").map(|text| parse_config(&text).unwrap())
}

fn sample_plan(name: &str) -> Option<Plan> {
    test_data::sample(name).map(|text| read_plan(text.as_bytes()).unwrap())
}

fn check(plan: &Plan, objects: &[BucketObjects], config: Option<&Config>) -> PlanVerdict {
    check_plan(CheckInput { plan, objects, config, apply_at: at(APPLY), unknown: Reading::Worst })
}

/// The verdict in words.
fn lines(verdict: &PlanVerdict) -> Vec<String> {
    use crate::report::{Style, lifecycle};
    let report = lifecycle::report(lifecycle::Facts::of(verdict, at(APPLY)));
    let mut out = Vec::new();
    lifecycle::render_text(&report, &Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn codes(verdict: &PlanVerdict) -> Vec<&'static str> {
    let mut codes: Vec<&'static str> = verdict.findings.iter().map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// A wal-g archive with a full backup every seven days and WAL every six hours.
fn archive(bucket: &str, root: &str, days: i64, version: &str) -> BucketObjects {
    let begin = at(APPLY).as_second() - days * 86_400;
    let mut objects = Vec::new();
    let mut push = |key: String, second: i64| {
        objects.push(json!({"key": key, "size": 2_000_000, "version_id": version,
            "last_modified": Timestamp::from_second(second).unwrap().to_string()}));
    };
    for step in 0..days * 4 {
        let second = begin + step * 21_600;
        push(format!("{root}wal_005/0000000100000000{:08X}.lz4", 16 + step), second);
        if step % 28 == 0 {
            let backup = format!("{root}basebackups_005/base_0000000100000000{:08X}", 16 + step);
            push(format!("{backup}/tar_partitions/part_001.tar.lz4"), second + 60);
            push(format!("{backup}_backup_stop_sentinel.json"), second + 120);
        }
    }
    let text = json!({"bucket": bucket, "listed_at": APPLY, "objects": objects}).to_string();
    read_inventory_json(&text).unwrap()
}

#[test]
fn the_incident_is_caught_with_its_numbers() {
    let (Some(plan), Some(config), Some(inventory), Some(expected)) = (
        sample_plan("plan-incident004-whole-bucket-expiry.json"),
        sample_policy(),
        test_data::sample("inventory-incident004.json"),
        test_data::sample("audit-incident004-expected.json"),
    ) else {
        return;
    };
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let objects = [read_inventory_json(&inventory).unwrap()];
    let verdict = check(&plan, &objects, Some(&config));
    assert_eq!(verdict.status(Severity::Error), expected["verdict"]);
    assert_eq!(verdict.exit_code(Severity::Error), 1);
    assert_eq!(json!(verdict.assumed_apply_time), expected["assumed_apply_time"]);
    let bucket = &verdict.buckets[0];
    let summary = serde_json::to_value(&bucket.summary).unwrap();
    for (name, value) in expected["summary"].as_object().unwrap() {
        assert_eq!(&summary[name], value, "{name}");
    }
    let dates: Vec<Value> = bucket
        .objects
        .iter()
        .map(|loss| json!({"key": loss.key, "gone_before": loss.gone_before, "gone_after": loss.gone_after}))
        .collect();
    assert_eq!(json!(dates), expected["objects"]);
    for code in expected["findings"].as_array().unwrap() {
        assert!(codes(&verdict).contains(&code.as_str().unwrap()), "{code}");
    }
    assert_eq!(codes(&verdict), ["LFC001", "LFC002", "LFC007"]);
    let loss = verdict.findings.iter().find(|finding| finding.code == "LFC001").unwrap();
    assert_eq!(loss.severity, Severity::Critical);
    assert_eq!(loss.facts["resource_address"], "module.backups[\"prod\"].aws_s3_bucket_lifecycle_configuration.this");
    assert_eq!(loss.facts["rule_ids"], json!(["cost-cleanup"]));
    assert_eq!((&loss.facts["window_before_days"], &loss.facts["window_after_days"]), (&json!(1054), &json!(29)));
    assert_eq!(loss.facts["first_loss_at"], "2026-11-20T15:00:00Z");
    assert_eq!(loss.objects.len(), 28);
    let undo = bucket.undo.as_ref().unwrap();
    assert_eq!(undo["Rules"].as_array().unwrap().len(), 4);
    assert_eq!(undo["Rules"][3]["Transitions"][0]["StorageClass"], "GLACIER");
}

#[test]
fn the_incident_in_words() {
    let (Some(plan), Some(config), Some(inventory)) = (
        sample_plan("plan-incident004-whole-bucket-expiry.json"),
        sample_policy(),
        test_data::sample("inventory-incident004.json"),
    ) else {
        return;
    };
    let verdict = check(&plan, &[read_inventory_json(&inventory).unwrap()], Some(&config));
    insta::assert_snapshot!(lines(&verdict).join("\n"), @r#"
    FAIL  company-backups: this change shortens recoverability from 1054 d to 29 d
      module.backups["prod"].aws_s3_bucket_lifecycle_configuration.this (update)
      rule "cost-cleanup": every object, expires after 30 d; replaces 4 rules
      28 of 58 objects live shorter; 23 may be unrecoverable as soon as it is applied (2026-11-20T15:00:00Z):
        monthly/ 11 of 12   2025-12-01.tar.zst .. 2026-10-01.tar.zst
        weekly/  9 of 13   2026-08-23.tar.zst .. 2026-10-18.tar.zst
        yearly/  3 of 3   2024-01-01.tar.zst .. 2026-01-01.tar.zst   kept for ever until now
      5 more later: weekly/2026-10-25.tar.zst on 2026-11-25, monthly/2026-11-01.tar.zst on 2026-12-02, weekly/2026-11-01.tar.zst on 2026-12-02, ..
      versioning is Suspended and all objects have version id null: deletions are final
      policy: retention.daily 30d (line 14), retention.weekly 90d (line 15), retention.monthly 365d (line 16), retention.yearly forever (line 17) -> may be violated from 2026-11-20T15:00:00Z
      to undo, put the old rules back at once, some objects may still be there:
        aws s3api put-bucket-lifecycle-configuration --bucket company-backups --lifecycle-configuration file://undo.json (undo.json: .buckets[].undo of --format json)
      critical LFC001: company: by rule "cost-cleanup" 28 of 58 backups may be unrecoverable before the policy allows, 23 of them as soon as it is applied (2026-11-20T15:00:00Z); yearly/2026-01-01.tar.zst may go on 2026-11-20 (without the change never), promised for ever
      error LFC002: rule "cost-cleanup" is too broad (every object, expires after 30 d): it matches every object of the bucket; it covers several retention classes: daily, weekly, monthly, yearly
      warning LFC007: versioning of company-backups is Suspended: what this change deletes is gone for good
      LFC001 LFC002 LFC007
    assumed: before: as the plan itself says (its prior state), not read from the live bucket; applied at 2026-11-20T15:00:00Z
    "#);
}

#[test]
fn the_incident_without_any_object() {
    let (Some(plan), Some(config)) = (sample_plan("plan-incident004-whole-bucket-expiry.json"), sample_policy()) else {
        return;
    };
    let verdict = check(&plan, &[], Some(&config));
    assert_eq!(codes(&verdict), ["LFC001", "LFC002", "LFC007"]);
    let early: Vec<&str> = verdict.findings.iter().filter(|f| f.code == "LFC001").map(|f| f.message.as_str()).collect();
    assert_eq!(
        early,
        [
            "company: weekly backups will live 30 d (90 d before), 90 d promised",
            "company: monthly backups will live 30 d (365 d before), 365 d promised",
            "company: yearly backups will live 30 d (for ever before), for ever promised",
        ]
    );
    // Without a policy no promise can be broken, but a rule over everything is still too broad.
    assert_eq!(codes(&check(&plan, &[], None)), ["LFC002"]);
}

#[test]
fn a_safe_change_is_clean() {
    let (Some(plan), Some(config)) = (sample_plan("plan-safe-change.json"), sample_policy()) else { return };
    let objects = [archive("company-pg-backups", "prod/main/", 420, "null")];
    for objects in [&[][..], &objects[..]] {
        let verdict = check(&plan, objects, Some(&config));
        assert_eq!(verdict.findings, []);
        assert_eq!((verdict.exit_code(Severity::Info), verdict.not_covered.len()), (0, 0));
        assert!(lines(&verdict)[0].starts_with("OK  company-pg-backups"));
    }
}

#[test]
fn a_prefix_typo() {
    let (Some(plan), Some(config)) = (sample_plan("plan-prefix-typo.json"), sample_policy()) else { return };
    let bare = check(&plan, &[], Some(&config));
    assert_eq!(codes(&bare), ["LFC002", "LFC020"]);
    let window = bare.findings.iter().find(|finding| finding.code == "LFC020").unwrap();
    assert_eq!((&window.facts["window_before_days"], &window.facts["window_after_days"]), (&json!(393), &json!(0)));
    assert_eq!(window.facts["rule_ids"], json!(["maintenance-dumps"]));
    assert_eq!(bare.exit_code(Severity::Error), 1);

    let objects = [archive("company-pg-backups", "prod/main/", 420, "null")];
    let verdict = check(&plan, &objects, Some(&config));
    assert_eq!(codes(&verdict), ["LFC001", "LFC002", "LFC020"]);
    let lost = verdict.findings.iter().find(|f| f.code == "LFC001" && f.message.contains("recovery window")).unwrap();
    assert_eq!(lost.facts["first_loss_at"], "2026-11-20T15:00:00Z");
    assert_eq!(lost.severity, Severity::Critical);
}

#[test]
fn versioning_suspended() {
    let (Some(plan), Some(config)) = (sample_plan("plan-versioning-suspended.json"), sample_policy()) else { return };
    let objects = [archive("company-pg-backups", "prod/main/", 60, "v1")];
    for objects in [&[][..], &objects[..]] {
        let verdict = check(&plan, objects, Some(&config));
        assert_eq!(codes(&verdict), ["LFC007"]);
        assert_eq!(verdict.findings[0].severity, Severity::Error);
        assert_eq!(verdict.findings[0].facts["resource_address"], "aws_s3_bucket_versioning.backups");
        assert!(verdict.findings[0].message.contains("those with the tags"), "{}", verdict.findings[0].message);
    }
}

#[test]
fn unknown_values_are_judged_at_their_worst() {
    let (Some(plan), Some(config)) = (sample_plan("plan-unknown-values.json"), sample_policy()) else { return };
    let verdict = check(&plan, &[], Some(&config));
    for code in ["LFC012", "LFC014", "LFC004"] {
        assert!(codes(&verdict).contains(&code), "{code}");
    }
    assert_eq!(verdict.exit_code(Severity::Error), 1);
    let unknown = verdict.findings.iter().find(|finding| finding.code == "LFC012").unwrap();
    assert!(unknown.message.contains("from terraform_data.days.output"), "{}", unknown.message);
    assert_eq!(unknown.facts["worst_case"]["guaranteed_days"], json!([["prod/main", [393, 0]]]));
    assert_eq!(unknown.facts["best_case"]["guaranteed_days"], json!([["prod/main", [393, null]]]));
    // The best case is never taken silently.
    let best = check_plan(CheckInput {
        plan: &plan,
        objects: &[],
        config: Some(&config),
        apply_at: at(APPLY),
        unknown: Reading::Best,
    });
    assert!(codes(&best).contains(&"LFC012") && !codes(&best).contains(&"LFC020"));
    // Without a policy it still does not pass.
    assert_ne!(check(&plan, &[], None).exit_code(Severity::Error), 0);
}

// Rules as the provider's own tools print them, before and after.

fn s3_rules(rules: Value) -> Plan {
    read_plan(json!({"Rules": rules}).to_string().as_bytes()).unwrap()
}

fn rule(id: &str, filter: Value, rest: Value) -> Value {
    let mut rule = json!({"ID": id, "Status": "Enabled", "Filter": filter});
    rule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    rule
}

fn expires(prefix: &str, days: u32) -> Value {
    rule(&format!("{prefix}{days}"), json!({"Prefix": prefix}), json!({"Expiration": {"Days": days}}))
}

fn change(bucket: &str, before: Value, after: Value) -> Plan {
    let mut plan = s3_rules(after).with_before(&s3_rules(before));
    plan.name_bucket(bucket);
    plan
}

fn config(text: &str) -> Config {
    parse_config(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

const MAIN: &str = "[[cluster]]\nname = \"main\"\narchive = \"s3://b/pg/main\"\nlayout = \"wal-g\"\n\
                    recovery_window = \"30d\"\nfull_backup_every = \"7d\"\nundo_window = \"7d\"\n\
                    immutability.margin = \"7d\"\nimmutability.min_lock = \"30d\"\n\
                    storage.allowed_classes_in_window = [\"STANDARD\", \"STANDARD_IA\"]\n";

fn base(days: u32) -> Value {
    expires("pg/main/basebackups_005/", days)
}

fn wal(days: u32) -> Value {
    expires("pg/main/wal_005/", days)
}

fn found(before: Value, after: Value) -> Vec<&'static str> {
    codes(&check(&change("b", before, after), &[], Some(&config(MAIN))))
}

#[test]
fn each_way_to_make_rules_worse_has_its_code() {
    let good = || json!([base(50), wal(50)]);
    assert_eq!(found(good(), good()), [""; 0]);
    assert_eq!(found(good(), json!([base(60), wal(70)])), [""; 0]);
    assert_eq!(found(good(), json!([])), [""; 0]);
    // Shorter, but still what was promised and its margin.
    assert_eq!(found(good(), json!([base(45), wal(45)])), [""; 0]);
    assert_eq!(found(good(), json!([base(43), wal(43)])), ["LFC018"]);
    assert_eq!(found(good(), json!([base(36), wal(36)])), ["LFC020"]);
    // WAL first: dead weight while the window holds, lost backups when it does not.
    assert_eq!(found(good(), json!([base(60), wal(50)])), ["LFC003", "LFC005"]);
    assert_eq!(found(good(), json!([base(50), wal(20)])), ["LFC003", "LFC005", "LFC020"]);
    let floor = rule(
        "floor",
        json!({"And": {"Prefix": "pg/main/wal_005/", "ObjectSizeGreaterThan": 4096}}),
        json!({"Expiration": {"Days": 50}}),
    );
    assert_eq!(found(json!([]), json!([base(50), floor])), [""; 0]);
    let small = rule("small", json!({"ObjectSizeLessThan": 4096}), json!({"Expiration": {"Days": 10}}));
    assert_eq!(found(good(), json!([base(50), wal(50), small])), ["LFC002", "LFC005", "LFC020"]);
    // Sibling prefix, prefix above, both kinds in one rule.
    for prefix in ["pg/main", "pg/", "", "pg/main/"] {
        assert_eq!(found(good(), json!([expires(prefix, 50)])), ["LFC002"], "{prefix}");
    }
    assert_eq!(found(good(), json!([base(50), wal(50), expires("logs/", 1)])), [""; 0]);
    let dated = rule("d", json!({"Prefix": "pg/main/wal_005/"}), json!({"Expiration": {"Date": "2027-01-01"}}));
    assert_eq!(found(good(), json!([base(50), dated])), ["LFC003", "LFC005", "LFC014", "LFC020"]);
    let elsewhere = rule("d", json!({"Prefix": "logs/"}), json!({"Expiration": {"Date": "2027-01-01"}}));
    assert_eq!(found(good(), json!([base(50), wal(50), elsewhere])), [""; 0]);
    let both = rule("x", json!({}), json!({"Prefix": "pg/main/wal_005/", "Expiration": {"Days": 50}}));
    assert_eq!(found(good(), json!([base(50), both])), ["LFC002", "LFC015"]);
    let nothing = rule("x", json!({"Prefix": "pg/main/wal_005/"}), json!({"Expiration": {"Days": 0}}));
    assert_eq!(found(good(), json!([base(50), wal(50), nothing])), ["LFC015"]);
    let abort = rule("u", json!({}), json!({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}));
    assert_eq!(found(json!([base(50), wal(50), abort.clone()]), good()), ["LFC011"]);
    assert_eq!(found(good(), json!([base(50), wal(50), abort])), [""; 0]);
}

#[test]
fn classes_inside_the_window() {
    let good = || json!([base(50), wal(50)]);
    let moves = |days: u32, class: &str| {
        let move_ = rule(
            "m",
            json!({"Prefix": "pg/main/wal_005/"}),
            json!({"Transitions": [{"Days": days, "StorageClass": class}]}),
        );
        found(good(), json!([base(50), wal(50), move_]))
    };
    assert_eq!(moves(10, "GLACIER"), ["LFC004"]);
    assert_eq!(moves(30, "GLACIER"), [""; 0]);
    assert_eq!(moves(10, "ONEZONE_IA"), ["LFC021"]);
    assert_eq!(moves(10, "STANDARD_IA"), [""; 0]);
    assert_eq!(moves(10, "GLACIER_IR"), ["LFC004"]);
}

#[test]
fn a_rule_with_tags_is_judged_as_possible() {
    let tagged = rule(
        "t",
        json!({"And": {"Prefix": "pg/main/", "Tags": [{"Key": "k", "Value": "v"}]}}),
        json!({"Expiration": {"Days": 3}}),
    );
    let verdict =
        check(&change("b", json!([base(50), wal(50)]), json!([base(50), wal(50), tagged])), &[], Some(&config(MAIN)));
    let window = verdict.findings.iter().find(|finding| finding.code == "LFC020").unwrap();
    assert!(window.message.contains("may be 0 d"), "{}", window.message);
}

#[test]
fn the_undo_window() {
    let noncurrent = |days: u32, newer: u32| {
        rule(
            "n",
            json!({}),
            json!({"NoncurrentVersionExpiration": {"NoncurrentDays": days, "NewerNoncurrentVersions": newer}}),
        )
    };
    let verdict = |before: Value, after: Value| {
        let mut plan = change("b", before, after);
        plan.buckets[0].before.versioning = Setting::Known(Versioning::Enabled);
        plan.buckets[0].after.versioning = Setting::Known(Versioning::Enabled);
        codes(&check(&plan, &[], Some(&config(MAIN))))
    };
    assert_eq!(verdict(json!([]), json!([noncurrent(3, 0)])), ["LFC008"]);
    assert_eq!(verdict(json!([]), json!([noncurrent(7, 0)])), [""; 0]);
    assert_eq!(verdict(json!([noncurrent(2, 0)]), json!([noncurrent(3, 0)])), [""; 0]);
    // Written once, a version has no newer noncurrent one and never goes.
    assert_eq!(verdict(json!([]), json!([noncurrent(3, 1)])), [""; 0]);
}

#[test]
fn prefixes_that_match_nothing() {
    let objects = [archive("b", "pg/main/", 60, "null")];
    let plan = change("b", json!([base(90), wal(90)]), json!([base(90), wal(90), expires("/pg/main/tmp/", 1)]));
    let verdict = check(&plan, &objects, Some(&config(MAIN)));
    assert_eq!(codes(&verdict), ["LFC010"]);
    assert_eq!(verdict.exit_code(Severity::Error), 0);
}

#[test]
fn a_window_breaks_on_its_day() {
    // Sixty days of archive, thirty promised, fulls every seven days. Rules of 33 days: on the day of the change the
    // backup that reaches back 30 days is at most 37 days old.
    let objects = [archive("b", "pg/main/", 60, "null")];
    let plan = change("b", json!([base(90), wal(90)]), json!([base(33), wal(33)]));
    let verdict = check(&plan, &objects, Some(&config(MAIN)));
    assert_eq!(codes(&verdict), ["LFC001", "LFC020"]);
    let broken = verdict.findings.iter().find(|finding| finding.code == "LFC001").unwrap();
    // Fulls of 2026-10-12, 10-19 and so on at 15:00. On the 20th of November a window of 30 d begins on 10-21: the full
    // of 10-19 is enough, and lives 33 d, rounded up to midnight: until the 22nd. From then on the one of 10-26 is the
    // oldest, and the window begins on 10-23.
    assert_eq!(broken.facts["first_loss_at"], "2026-11-22T00:00:00Z");
    assert!(broken.message.contains("can then be recovered is 2026-10-26T15:02:00Z"), "{}", broken.message);
    let kept = change("b", json!([base(90), wal(90)]), json!([base(38), wal(38)]));
    assert_eq!(codes(&check(&kept, &objects, Some(&config(MAIN)))), ["LFC018"]);
}

#[test]
fn generations_in_a_walg_archive() {
    let policy = format!("{MAIN}retention.monthly = \"365d\"\n");
    let objects = [archive("b", "pg/main/", 100, "null")];
    let plan = change("b", json!([]), json!([base(50), wal(50)]));
    let verdict = check(&plan, &objects, Some(&config(&policy)));
    // One backup carries each month: August (its last week), September, October, November.
    let early = verdict.findings.iter().find(|finding| finding.code == "LFC001").unwrap();
    assert_eq!(early.objects.len(), 4, "{:?}", early.objects);
    assert_eq!(early.facts["rule_ids"], json!(["pg/main/basebackups_005/50"]));
}

#[test]
fn deltas_and_permanent_backups_of_a_catalog() {
    use crate::policy::shape::BackupUnit;
    let mut objects = archive("b", "pg/main/", 60, "null");
    let unit = |name: &str, taken: &str, objects: Vec<u32>| BackupUnit {
        name: name.into(),
        taken: at(taken),
        tier: None,
        full: true,
        parent: None,
        permanent: false,
        objects,
        start: None,
        stop: None,
    };
    let mut delta = unit("delta", "2026-11-15T00:00:00Z", vec![17]);
    (delta.full, delta.parent) = (false, Some(0));
    let mut kept = unit("kept", "2026-10-01T00:00:00Z", vec![2, 3]);
    kept.permanent = true;
    objects.backups = Some(vec![unit("full", "2026-09-21T00:00:00Z", vec![0, 1]), kept, delta]);
    let policy = MAIN.replace("recovery_window = \"30d\"\n", "retention.daily = \"20d\"\n");
    let plan = change("b", json!([]), json!([base(70), wal(90)]));
    let verdict = check(&plan, &[objects], Some(&config(&policy)));
    assert_eq!(codes(&verdict), ["LFC006", "LFC019"]);
    let chain = verdict.findings.iter().find(|finding| finding.code == "LFC006").unwrap();
    assert_eq!(chain.objects, ["delta"]);
    assert_eq!(verdict.findings.iter().find(|finding| finding.code == "LFC019").unwrap().objects, ["kept"]);
}

#[test]
fn a_copy_has_its_own_rules() {
    let policy = format!("{MAIN}copy.archive = \"s3://copy/pg/main\"\n");
    let plan = change("copy", json!([]), json!([base(20), wal(20)]));
    let verdict = check(&plan, &[], Some(&config(&policy)));
    assert_eq!(codes(&verdict), ["LFC022"]);
    let objects = [archive("copy", "pg/main/", 60, "null")];
    assert_eq!(codes(&check(&plan, &objects, Some(&config(&policy)))), ["LFC022"]);
}

#[test]
fn several_archives_in_one_bucket() {
    let policy = "[defaults]\nrecovery_window = \"30d\"\nfull_backup_every = \"7d\"\nlayout_hint = 1\n";
    assert!(parse_config(policy).is_err());
    let policy = "[defaults]\nrecovery_window = \"30d\"\nfull_backup_every = \"7d\"\n[[cluster]]\nname = \"*\"\n\
                  archive = \"s3://b/pg/*\"\nlayout = \"wal-g\"\n";
    let plan = change("b", json!([]), json!([expires("pg/a/", 10), expires("pg/b/basebackups_005/", 60)]));
    let verdict = check(&plan, &[], Some(&config(policy)));
    assert_eq!(verdict.buckets[0].clusters, ["a", "b", "any"]);
    assert_eq!(codes(&verdict), ["LFC002", "LFC020"]);
    let objects = [archive("b", "pg/a/", 40, "null")];
    let verdict = check(&plan, &objects, Some(&config(policy)));
    assert_eq!(verdict.buckets[0].clusters, ["a"]);
}

#[test]
fn buckets_of_others_are_named_not_judged() {
    let verdict = check(&change("logs", json!([]), json!([expires("", 1)])), &[], Some(&config(MAIN)));
    assert_eq!((verdict.findings.len(), verdict.not_covered.as_slice()), (0, &["logs".to_owned()][..]));
    assert!(lines(&verdict)[0].starts_with("NOTE  logs"));
}

#[test]
fn exceptions_waive_until_their_day() {
    let waived = |until: &str| {
        let policy = format!(
            "{MAIN}[[exception]]\nrule = \"LFC002\"\ncluster = \"main\"\nreason = \"meant\"\nuntil = {until}\n"
        );
        let plan = change("b", json!([]), json!([expires("pg/main/", 50)]));
        let verdict = check(&plan, &[], Some(&config(&policy)));
        (verdict.findings[0].waived.clone(), verdict.exit_code(Severity::Error))
    };
    assert_eq!(
        waived("2027-01-01"),
        (Some(crate::policy::PlanWaiver { reason: "meant".into(), until: "2027-01-01".into() }), 0)
    );
    assert_eq!(waived("2026-11-19"), (None, 1));
}

#[test]
fn rules_alone_are_judged_as_they_are() {
    let mut plan = s3_rules(json!([base(20), wal(20)]));
    plan.name_bucket("b");
    assert_eq!(codes(&check(&plan, &[], Some(&config(MAIN)))), ["LFC020"]);
    let mut good = s3_rules(json!([base(50), wal(50)]));
    good.name_bucket("b");
    assert_eq!(codes(&check(&good, &[], Some(&config(MAIN)))), [""; 0]);
}

#[test]
fn google_rules_end_both_generations() {
    let policy = MAIN.replace("s3://", "gs://");
    let gcs = |age: u32, extra: Value| {
        let mut condition = json!({"age": age, "matchesPrefix": ["pg/main/wal_005/"]});
        condition.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let text = json!({"kind": "storage#bucket", "name": "b", "versioning": {"enabled": true},
            "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": condition}]}});
        read_plan(text.to_string().as_bytes()).unwrap()
    };
    let none = read_plan(
        json!({"kind": "storage#bucket", "name": "b", "versioning": {"enabled": true},
        "lifecycle": {"rule": []}})
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let judge = |plan: Plan| codes(&check(&plan.with_before(&none), &[], Some(&config(&policy))));
    assert_eq!(judge(gcs(20, json!({}))), ["LFC003", "LFC005", "LFC008", "LFC020"]);
    // History files can be left out by suffix, noncurrent ones by state.
    assert_eq!(judge(gcs(20, json!({"matchesSuffix": [".lz4"], "isLive": true}))), ["LFC003", "LFC005", "LFC020"]);
    assert_eq!(judge(gcs(20, json!({"isLive": false}))), ["LFC008"]);
    assert_eq!(judge(gcs(50, json!({"isLive": false, "daysSinceNoncurrentTime": 8}))), [""; 0]);
}

/// A plan in which one thing at a time is unknown: never exit 0.
#[test]
fn no_unknown_value_passes() {
    let Some(config) = sample_policy() else { return };
    let kind = "aws_s3_bucket_lifecycle_configuration";
    let full = json!({"bucket": "company-pg-backups", "rule": [{"id": "r", "status": "Enabled", "prefix": "",
        "filter": [{"prefix": "prod/main/wal_005/", "and": [], "tag": [], "object_size_greater_than": 500}],
        "expiration": [{"days": 400, "date": null}], "transition": [{"days": 390, "storage_class": "GLACIER"}],
        "noncurrent_version_expiration": [{"noncurrent_days": 30, "newer_noncurrent_versions": 2}]}]});
    let cases = [
        json!({"rule": true}),
        json!({"rule": [true]}),
        json!({"rule": [{"expiration": [{"days": true}]}]}),
        json!({"rule": [{"expiration": [{"date": true}]}]}),
        json!({"rule": [{"expiration": true}]}),
        json!({"rule": [{"filter": true}]}),
        json!({"rule": [{"filter": [{"prefix": true}]}]}),
        json!({"rule": [{"filter": [{"object_size_greater_than": true}]}]}),
        json!({"rule": [{"status": true}]}),
        json!({"rule": [{"transition": true}]}),
        json!({"rule": [{"transition": [{"days": true}]}]}),
        json!({"rule": [{"transition": [{"storage_class": true}]}]}),
        json!({"rule": [{"noncurrent_version_expiration": true}]}),
        json!({"rule": [{"noncurrent_version_expiration": [{"noncurrent_days": true}]}]}),
        json!({"rule": [{"noncurrent_version_expiration": [{"newer_noncurrent_versions": true}]}]}),
    ];
    for unknown in cases {
        let plan = json!({"format_version": "1.2", "resource_changes": [{"address": "x", "type": kind, "name": "x",
            "mode": "managed", "change": {"actions": ["update"], "before": full, "after": full, "after_unknown": unknown}}]});
        let plan = read_plan(plan.to_string().as_bytes()).unwrap();
        for config in [Some(&config), None] {
            let verdict = check(&plan, &[], config);
            assert_ne!(verdict.exit_code(Severity::Error), 0, "{unknown}");
            assert!(codes(&verdict).contains(&"LFC012"), "{unknown}");
        }
    }
    let versioning = json!({"format_version": "1.2", "resource_changes": [{"address": "v", "name": "v", "mode": "managed",
        "type": "aws_s3_bucket_versioning", "change": {"actions": ["update"],
        "before": {"bucket": "company-pg-backups", "versioning_configuration": [{"status": "Enabled"}]},
        "after": {"bucket": "company-pg-backups", "versioning_configuration": [{}]},
        "after_unknown": {"versioning_configuration": [{"status": true}]}}}]});
    let plan = read_plan(versioning.to_string().as_bytes()).unwrap();
    assert_ne!(check(&plan, &[], Some(&config)).exit_code(Severity::Error), 0);
}

#[test]
fn what_cannot_be_decoded_is_not_answered() {
    let template = json!({"Resources": {"B": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain", "Properties": {"BucketName": "b", "LifecycleConfiguration": {"Ref": "Rules"}}}}});
    let plan = read_plan(template.to_string().as_bytes()).unwrap();
    let verdict = check(&plan, &[], Some(&config(MAIN)));
    assert_eq!((verdict.exit_code(Severity::Critical), verdict.status(Severity::Critical)), (2, "undecided"));
    assert!(verdict.undecided[0].contains("Ref Rules"), "{:?}", verdict.undecided);
}

#[test]
fn sensitive_texts_are_not_shown() {
    let rules = |days: u32| {
        json!({"bucket": "b", "rule": [{"id": "hush-hush", "status": "Enabled",
        "filter": [{"prefix": "pg/main/secret-name"}], "expiration": [{"days": days}]}]})
    };
    let plan = json!({"format_version": "1.2", "resource_changes": [{"address": "x", "name": "x", "mode": "managed",
        "type": "aws_s3_bucket_lifecycle_configuration", "change": {"actions": ["update"], "before": rules(90),
        "after": rules(3), "after_unknown": {}, "after_sensitive": {"rule": [{"id": true, "filter": [{"prefix": true}]}]}}}]});
    let plan = read_plan(plan.to_string().as_bytes()).unwrap();
    let policy = MAIN.replace("s3://b/pg/main", "s3://b/pg/main/secret-name");
    let verdict = check(&plan, &[], Some(&config(&policy)));
    assert_eq!(codes(&verdict), ["LFC020"]);
    let all = format!(
        "{}\n{}",
        lines(&verdict).join(
            "
"
        ),
        serde_json::to_string(&verdict.buckets).unwrap()
    );
    assert!(!all.contains("hush-hush") && !all.contains("secret-name") && all.contains("(sensitive)"), "{all}");
}

#[test]
fn a_bucket_that_goes_is_the_largest_finding() {
    let plan = json!({"format_version": "1.2", "resource_changes": [{"address": "aws_s3_bucket.b", "name": "b",
        "mode": "managed", "type": "aws_s3_bucket", "change": {"actions": ["delete"],
        "before": {"bucket": "b", "force_destroy": true}, "after": null, "after_unknown": {}}}]});
    let plan = read_plan(plan.to_string().as_bytes()).unwrap();
    let verdict = check(&plan, &[], Some(&config(MAIN)));
    assert_eq!((verdict.findings[0].code, verdict.findings[0].severity), ("LFC017", Severity::Critical));
    // The same for a bucket that no cluster names: listed, not judged.
    let other = MAIN.replace("s3://b/", "s3://c/");
    assert_eq!(check(&plan, &[], Some(&config(&other))).not_covered, ["b"]);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> impl Strategy<Value = Vec<(usize, u32)>> {
        proptest::collection::vec((0usize..5, 1u32..120), 0..4)
    }

    fn json_rules(rules: &[(usize, u32)], more: u32) -> Value {
        const PREFIXES: [&str; 5] = ["", "pg/main/", "pg/main/basebackups_005/", "pg/main/wal_005/", "logs/"];
        let each = rules.iter().enumerate().map(|(at, (prefix, days))| {
            let mut rule = expires(PREFIXES[*prefix], days + more);
            rule["ID"] = json!(format!("r{at}"));
            rule
        });
        Value::Array(each.collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_only_improves_is_clean(rules in rules(), more in 0u32..50) {
            let objects = [archive("b", "pg/main/", 60, "null")];
            let config = config(MAIN);
            let plan = change("b", json_rules(&rules, 0), json_rules(&rules, more));
            for objects in [&[][..], &objects[..]] {
                let verdict = check(&plan, objects, Some(&config));
                prop_assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
            }
            // Taking rules away shortens nothing either.
            let fewer = change("b", json_rules(&rules, 0), json_rules(&rules[..rules.len() / 2], 0));
            let verdict = check(&fewer, &objects, Some(&config));
            prop_assert!(verdict.findings.iter().all(|f| f.code == "LFC003" || f.code == "LFC005"), "{:?}", verdict.findings);
        }

        #[test]
        fn a_broken_promise_is_always_told(rules in rules(), days in 1u32..30) {
            let config = config(MAIN);
            let mut worse = rules.clone();
            worse.push((1, days));
            let before: Vec<_> = rules.iter().copied().map(|(prefix, days)| (prefix, days + 60)).collect();
            let plan = change("b", json_rules(&before, 0), json_rules(&worse, 0));
            prop_assert_eq!(check(&plan, &[], Some(&config)).exit_code(Severity::Error), 1);
        }
    }
}
