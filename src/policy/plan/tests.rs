use serde_json::json;

use super::*;
use crate::policy::lifecycle::{Action, MinimumSize, Rule, UnknownValue, Versioning, When};
use crate::policy::{Severity, Span, test_data};

fn plan(value: &Value) -> Plan {
    read_plan(value.to_string().as_bytes()).unwrap()
}

fn sample(name: &str) -> Option<Plan> {
    test_data::sample(name).map(|text| read_plan(text.as_bytes()).unwrap())
}

fn after(change: &BucketChange, reading: Reading) -> Vec<Rule> {
    change.decode(&change.after, reading).rules.rules
}

fn days(rule: &Rule) -> Option<u32> {
    rule.actions.iter().find_map(|action| match action {
        Action::Expire { when: When::Days(days), .. } => Some(*days),
        _ => None,
    })
}

/// A plan around resource changes.
fn terraform(changes: Value, configuration: Value) -> Value {
    json!({"format_version": "1.2", "resource_changes": changes, "configuration": {"root_module": configuration}})
}

fn resource(kind: &str, name: &str, actions: Value, before: Value, after: Value, unknown: Value) -> Value {
    json!({"address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name,
        "provider_name": "registry.example/hashicorp/aws",
        "change": {"actions": actions, "before": before, "after": after, "after_unknown": unknown}})
}

fn lifecycle(bucket: &str, rule: Value) -> Value {
    json!({"bucket": bucket, "rule": [rule], "transition_default_minimum_object_size": "all_storage_classes_128K"})
}

fn expire(prefix: &str, days: u32) -> Value {
    json!({"id": format!("{prefix}-{days}"), "status": "Enabled", "prefix": "", "filter": [{"prefix": prefix, "and": [],
        "tag": [], "object_size_greater_than": null, "object_size_less_than": null}], "transition": [],
        "expiration": [{"days": days, "date": null, "expired_object_delete_marker": false}]})
}

fn one_rule(rule: Value) -> Rule {
    let changes = json!([resource(
        "aws_s3_bucket_lifecycle_configuration",
        "a",
        json!(["create"]),
        json!(null),
        lifecycle("b", rule),
        json!({})
    )]);
    let plan = plan(&terraform(changes, json!({})));
    after(&plan.buckets[0], Reading::Worst).remove(0)
}

#[test]
fn the_whole_bucket_sample() {
    let Some(plan) = sample("plan-incident004-whole-bucket-expiry.json") else { return };
    assert_eq!(plan.buckets.len(), 1);
    let change = &plan.buckets[0];
    assert_eq!(change.bucket.as_deref(), Some("company-backups"));
    let owner = change.rules_owner.as_ref().unwrap();
    assert_eq!(owner.address, "module.backups[\"prod\"].aws_s3_bucket_lifecycle_configuration.this");
    assert_eq!(owner.action, "update");
    assert_eq!(change.after.versioning, Setting::Known(Versioning::Suspended));
    let before = change.decode(&change.before, Reading::Worst).rules;
    let ids: Vec<&str> = before.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["daily-backups", "weekly-backups", "monthly-backups", "yearly-backups"]);
    assert_eq!(before.minimum_size, MinimumSize::AllClasses128K);
    let after = after(change, Reading::Worst);
    assert_eq!((after[0].filter.any_key(), days(&after[0])), (true, Some(30)));
    assert_eq!((after[0].doubts.len(), change.problems.len(), plan.problems.len()), (0, 0, 0));
}

#[test]
fn unknown_days_are_not_absent_days() {
    let Some(plan) = sample("plan-unknown-values.json") else { return };
    let names: Vec<&str> = plan.buckets.iter().map(BucketChange::name).collect();
    assert_eq!(names, ["company-pg-backups", "aws_s3_bucket.copy"]);
    let change = &plan.buckets[0];
    let worst = change.decode(&change.after, Reading::Worst);
    assert_eq!(days(&worst.rules.rules[0]), Some(1));
    assert_eq!(
        worst.unknown,
        [UnknownValue {
            rule: "all".into(),
            what: "days of expiration".into(),
            from: "rule[0].expiration[0].days".into(),
            worst: "1".into(),
            touches_data: true
        }]
    );
    assert_eq!(days(&after(change, Reading::Best)[0]), None);
    let source = change.expressions.iter().find(|(path, _)| path == "rule[0].expiration[0].days").unwrap();
    assert_eq!(source.1, "terraform_data.days.output");

    // The bucket's name is unknown, but its resource is found through the configuration.
    let copy = &plan.buckets[1];
    assert_eq!(copy.bucket, None);
    assert_eq!(copy.rules_owner.as_ref().unwrap().address, "aws_s3_bucket_lifecycle_configuration.copy");
    let rule = &after(copy, Reading::Worst)[0];
    assert_eq!(rule.filter.larger_than, Some(1_048_576));
    assert!(matches!(rule.actions[0], Action::Expire { when: When::Date(_), .. }));
    assert!(matches!(rule.actions[1], Action::Transition { when: When::Days(0), .. }));
}

#[test]
fn tags_in_the_versioning_sample() {
    let Some(plan) = sample("plan-versioning-suspended.json") else { return };
    let change = &plan.buckets[0];
    assert_eq!(change.before.versioning, Setting::Known(Versioning::Enabled));
    assert_eq!(change.after.versioning, Setting::Known(Versioning::Suspended));
    let rule = &after(change, Reading::Worst)[0];
    assert_eq!(rule.filter.to_string(), "prefix \"prod/main/\" and tag tier=pg");
    assert!(rule.actions.contains(&Action::NoncurrentExpire { days: 370, newer: 3 }));
}

#[test]
fn zero_days_are_unset_for_expiration_and_real_for_transition() {
    let rule = one_rule(json!({"id": "r", "status": "Enabled", "prefix": "", "filter": [],
        "expiration": [{"days": 0, "date": null, "expired_object_delete_marker": true}],
        "transition": [{"days": 0, "date": null, "storage_class": "GLACIER"}]}));
    assert_eq!(rule.actions.len(), 2);
    assert_eq!(rule.actions[0], Action::RemoveLoneMarker);
    assert!(matches!(&rule.actions[1], Action::Transition { when: When::Days(0), .. }));
    let empty = one_rule(json!({"id": "r", "status": "Enabled", "prefix": "", "filter": [],
        "expiration": [{"days": 0, "date": null, "expired_object_delete_marker": false}]}));
    assert_eq!(empty.doubts, ["it does nothing"]);
}

#[test]
fn filters_in_all_their_forms() {
    let with = |filter: Value, prefix: &str| {
        one_rule(json!({"id": "r", "status": "Enabled", "prefix": prefix, "filter": filter,
            "expiration": [{"days": 1}]}))
    };
    assert!(with(json!([]), "").filter.any_key());
    assert!(with(json!([{"prefix": ""}]), "").filter.any_key());
    assert_eq!(with(json!([]), "x/").filter.prefixes, [b"x/"]);
    let both = with(json!([{}]), "x/");
    assert!(both.filter.any_key() && both.doubts[0].contains("deprecated prefix"));
    let sizes = with(json!([{"prefix": null, "and": [], "tag": [], "object_size_greater_than": "500"}]), "");
    assert_eq!((sizes.filter.larger_than, sizes.filter.prefixes.len()), (Some(500), 0));
    let and = with(json!([{"and": [{"prefix": "p", "tags": {"a": "b"}, "object_size_greater_than": 0}]}]), "");
    assert_eq!((and.filter.larger_than, and.filter.tags.len()), (None, 1));
    let old_count = one_rule(json!({"id": "r", "status": "Enabled", "filter": [], "noncurrent_version_expiration":
        [{"noncurrent_days": 30, "newer_noncurrent_versions": ""}]}));
    assert_eq!(old_count.actions, [Action::NoncurrentExpire { days: 30, newer: 0 }]);
}

#[test]
fn actions_on_the_lifecycle_resource() {
    let kind = "aws_s3_bucket_lifecycle_configuration";
    let run = |actions: Value, before: Value, after: Value| {
        plan(&terraform(json!([resource(kind, "a", actions, before, after, json!({}))]), json!({})))
    };
    let deleted = run(json!(["delete"]), lifecycle("b", expire("", 30)), json!(null));
    assert_eq!(after(&deleted.buckets[0], Reading::Worst), []);
    let created = run(json!(["create"]), json!(null), lifecycle("b", expire("", 30)));
    assert_eq!(created.buckets[0].before.rules, RulesState::NotStated);
    let forgotten = run(json!(["forget"]), lifecycle("b", expire("", 30)), json!(null));
    assert_eq!(days(&after(&forgotten.buckets[0], Reading::Worst)[0]), Some(30));
    let moved = run(json!(["delete", "create"]), lifecycle("old", expire("", 30)), lifecycle("new", expire("", 30)));
    let names: Vec<_> = moved.buckets.iter().map(|change| change.bucket.clone().unwrap()).collect();
    assert_eq!(names, ["old", "new"]);
    assert_eq!(after(&moved.buckets[0], Reading::Worst), []);
    assert_eq!(moved.buckets[1].before.rules, RulesState::NotStated);
    let read = run(json!(["read"]), json!(null), lifecycle("b", expire("", 30)));
    assert_eq!(read.buckets, []);
}

#[test]
fn two_owners_are_seen_and_both_count() {
    let kind = "aws_s3_bucket_lifecycle_configuration";
    let changes = json!([
        resource(
            kind,
            "a",
            json!(["no-op"]),
            lifecycle("b", expire("x/", 30)),
            lifecycle("b", expire("x/", 30)),
            json!({})
        ),
        resource(kind, "b", json!(["create"]), json!(null), lifecycle("b", expire("", 7)), json!({})),
    ]);
    let plan = plan(&terraform(changes, json!({})));
    assert_eq!(plan.buckets.len(), 1);
    assert_eq!(plan.buckets[0].problems[0].code, "LFC016");
    assert_eq!(after(&plan.buckets[0], Reading::Worst).len(), 2);
}

#[test]
fn rules_inside_the_bucket() {
    let rule = |days: u32| {
        json!([{"id": "r", "enabled": true, "prefix": "pg/", "tags": {}, "transition": [],
        "expiration": [{"days": days, "date": "", "expired_object_delete_marker": false}],
        "noncurrent_version_expiration": [{"days": 10}], "abort_incomplete_multipart_upload_days": 0}])
    };
    let bucket = |days: u32| {
        json!({"bucket": "b", "force_destroy": false, "lifecycle_rule": rule(days),
        "versioning": [{"enabled": true, "mfa_delete": false}]})
    };
    let changes = json!([resource("aws_s3_bucket", "b", json!(["update"]), bucket(400), bucket(30), json!({}))]);
    let configuration =
        json!({"resources": [{"type": "aws_s3_bucket", "name": "b", "expressions": {"lifecycle_rule": []}}]});
    let owned = plan(&terraform(changes, configuration));
    let rules = after(&owned.buckets[0], Reading::Worst);
    assert_eq!((days(&rules[0]), rules[0].actions.len()), (Some(30), 2));
    assert_eq!(owned.buckets[0].after.versioning, Setting::Known(Versioning::Enabled));

    // A mirror of the live bucket fills in the before side of a new resource, and only that.
    let mirror = json!([
        resource("aws_s3_bucket", "b", json!(["no-op"]), bucket(400), bucket(400), json!({})),
        resource(
            "aws_s3_bucket_lifecycle_configuration",
            "l",
            json!(["create"]),
            json!(null),
            lifecycle("b", expire("pg/", 30)),
            json!({})
        ),
    ]);
    let configuration = json!({"resources": [{"type": "aws_s3_bucket", "name": "b", "expressions": {}}]});
    let mirrored = plan(&terraform(mirror, configuration));
    let change = &mirrored.buckets[0];
    assert_eq!(days(&change.decode(&change.before, Reading::Worst).rules.rules[0]), Some(400));
    let after = after(change, Reading::Worst);
    assert_eq!((after.len(), days(&after[0])), (1, Some(30)));
    assert_eq!(change.problems, []);
}

#[test]
fn whole_blocks_may_be_unknown() {
    let kind = "aws_s3_bucket_lifecycle_configuration";
    let run = |unknown: Value, rule: Value| {
        let plan = plan(&terraform(
            json!([resource(
                kind,
                "a",
                json!(["update"]),
                lifecycle("b", expire("", 30)),
                json!({"bucket": "b", "rule": rule}),
                unknown
            )]),
            json!({}),
        ));
        let change = plan.buckets.into_iter().next().unwrap();
        (change.decode(&change.after, Reading::Worst), change.decode(&change.after, Reading::Best))
    };
    let (all, best) = run(json!({"rule": true}), json!(null));
    assert!(all.undecodable.is_some() && best.undecodable.is_some());
    let (one, _) = run(json!({"rule": [true]}), json!([null]));
    assert!(one.undecodable.unwrap().contains("unknown as a whole"));
    // One unknown member makes a whole set unknown.
    let (worst, best) = run(
        json!({"rule": [{"transition": [{}, {"days": true}]}]}),
        json!([{"id": "r", "status": "Enabled", "filter": [], "transition": [
            {"days": 30, "storage_class": "STANDARD_IA"}, {"storage_class": "GLACIER"}]}]),
    );
    assert!(matches!(
        &worst.rules.rules[0].actions[0],
        Action::Transition { class: crate::model::StorageClass::DeepArchive, when: When::Days(0), .. }
    ));
    assert_eq!(best.rules.rules[0].actions, []);
    let (worst, best) = run(
        json!({"rule": [{"status": true, "filter": [{"prefix": true}], "expiration": true}]}),
        json!([{"id": "r"}]),
    );
    let rule = &worst.rules.rules[0];
    assert!(rule.enabled && rule.filter.any_key() && days(rule) == Some(1));
    assert!(!best.rules.rules[0].enabled);
    assert_eq!(worst.unknown.len(), 3);
}

#[test]
fn the_bucket_itself() {
    let bucket = |force: bool| json!({"bucket": "b", "force_destroy": force});
    let codes = |actions: Value, before: Value, after: Value| {
        let changes = json!([resource("aws_s3_bucket", "b", actions, before, after, json!({}))]);
        let plan = plan(&terraform(changes, json!({})));
        plan.buckets.iter().flat_map(|change| &change.problems).map(|p| (p.code, p.message.clone())).collect::<Vec<_>>()
    };
    let deleted = codes(json!(["delete"]), bucket(true), json!(null));
    assert!(deleted[0].0 == "LFC017" && deleted[0].1.contains("with everything in it"));
    let replaced = codes(json!(["delete", "create"]), bucket(false), json!({"bucket": "c"}));
    assert!(replaced[0].1.contains("deletes bucket b: the apply fails unless"), "{replaced:?}");
    assert_eq!(codes(json!(["update"]), bucket(false), bucket(true))[0].0, "LFC017");
    assert_eq!(codes(json!(["no-op"]), bucket(true), bucket(true)), []);
}

#[test]
fn guards_that_are_taken_away() {
    let codes = |kind: &str, before: Value, after: Value| {
        let actions = if after.is_null() { json!(["delete"]) } else { json!(["update"]) };
        let plan = plan(&terraform(json!([resource(kind, "x", actions, before, after, json!({}))]), json!({})));
        let all = plan.buckets.iter().flat_map(|change| &change.problems).chain(&plan.problems);
        all.map(|problem| (problem.code, problem.severity)).collect::<Vec<_>>()
    };
    let lock = |days: u32, mode: &str| json!({"bucket": "b", "rule": [{"default_retention": [{"mode": mode, "days": days, "years": null}]}]});
    let kind = "aws_s3_bucket_object_lock_configuration";
    assert_eq!(codes(kind, lock(35, "COMPLIANCE"), lock(35, "GOVERNANCE")), [("LFC013", Severity::Error)]);
    assert_eq!(codes(kind, lock(35, "COMPLIANCE"), lock(7, "COMPLIANCE")), [("LFC013", Severity::Error)]);
    assert_eq!(codes(kind, lock(35, "COMPLIANCE"), json!(null)), [("LFC013", Severity::Error)]);
    assert_eq!(codes(kind, lock(35, "GOVERNANCE"), lock(36, "COMPLIANCE")), []);
    let replication = |status: &str| json!({"bucket": "b", "rule": [{"status": status}]});
    let kind = "aws_s3_bucket_replication_configuration";
    assert_eq!(codes(kind, replication("Enabled"), replication("Disabled")), [("RET008", Severity::Error)]);
    assert_eq!(codes(kind, replication("Enabled"), json!(null)), [("RET008", Severity::Error)]);
    let access = |on: bool| {
        json!({"bucket": "b", "block_public_acls": on, "block_public_policy": true,
        "ignore_public_acls": true, "restrict_public_buckets": true})
    };
    let kind = "aws_s3_bucket_public_access_block";
    assert_eq!(codes(kind, access(true), access(false)), [("SEC001", Severity::Critical)]);
    assert_eq!(codes(kind, access(false), access(true)), []);
    let encryption = |algorithm: &str| {
        json!({"bucket": "b", "rule": [{"apply_server_side_encryption_by_default":
        [{"sse_algorithm": algorithm, "kms_master_key_id": "arn:aws:kms:eu:1:key/k"}]}]})
    };
    let kind = "aws_s3_bucket_server_side_encryption_configuration";
    assert_eq!(codes(kind, encryption("aws:kms"), encryption("AES256")), [("SEC002", Severity::Error)]);
    assert_eq!(codes("aws_kms_key", json!({"key_id": "k"}), json!(null)), [("SEC004", Severity::Warning)]);
    let linked = plan(&terraform(
        json!([
            resource(
                "aws_s3_bucket_server_side_encryption_configuration",
                "e",
                json!(["no-op"]),
                encryption("aws:kms"),
                encryption("aws:kms"),
                json!({})
            ),
            resource(
                "aws_kms_key",
                "k",
                json!(["delete"]),
                json!({"key_id": "k", "deletion_window_in_days": 7}),
                json!(null),
                json!({})
            )
        ]),
        json!({}),
    ));
    let problem = &linked.buckets[0].problems[0];
    assert_eq!((problem.code, problem.severity), ("SEC004", Severity::Critical));
    assert!(problem.message.contains("7 d after apply"));
}

#[test]
fn versioning_never_returns_to_never() {
    let status = |status: &str| json!({"bucket": "b", "versioning_configuration": [{"status": status}]});
    let run = |actions: Value, before: Value, after: Value| {
        let changes = json!([resource("aws_s3_bucket_versioning", "v", actions, before, after, json!({}))]);
        plan(&terraform(changes, json!({}))).buckets.remove(0).after.versioning
    };
    assert_eq!(run(json!(["delete"]), status("Enabled"), json!(null)), Setting::Known(Versioning::Suspended));
    assert_eq!(run(json!(["update"]), status("Enabled"), status("Suspended")), Setting::Known(Versioning::Suspended));
    assert_eq!(run(json!(["create"]), json!(null), status("Enabled")), Setting::Known(Versioning::Enabled));
}

#[test]
fn google_buckets() {
    let rule =
        |condition: Value| json!({"action": [{"type": "Delete", "storage_class": ""}], "condition": [condition]});
    let bucket = |rules: Value, soft: Value| {
        json!({"name": "g", "lifecycle_rule": rules, "force_destroy": false,
        "versioning": [{"enabled": true}], "soft_delete_policy": soft,
        "retention_policy": [{"retention_period": "86400", "is_locked": false}]})
    };
    let run = |before: Value, after: Value| {
        let changes = json!([resource("google_storage_bucket", "g", json!(["update"]), before, after, json!({}))]);
        plan(&terraform(changes, json!({}))).buckets.remove(0)
    };
    let soft = json!([{"retention_duration_seconds": 604_800}]);
    let change = run(
        bucket(json!([]), soft),
        bucket(
            json!([rule(
                json!({"age": 30, "with_state": "ARCHIVED", "created_before": "", "matches_prefix": ["wal/"],
            "matches_suffix": [], "num_newer_versions": 0, "send_num_newer_versions_if_zero": false})
            )]),
            json!([]),
        ),
    );
    let rules = after(&change, Reading::Worst);
    assert_eq!(rules[0].filter.prefixes, [b"wal/"]);
    let Action::GcsDelete(when) = &rules[0].actions[0] else { panic!() };
    assert_eq!((when.age_days, when.is_live, when.newer_versions), (Some(30), Some(false), None));
    // Taking the block out changes nothing on the server.
    assert_eq!(change.after.soft_delete, Setting::Known(Span::from_days(7)));
    assert_eq!(change.after.retention, Setting::Known(Span::from_days(1)));
    assert_eq!(change.after.versioning, Setting::Known(Versioning::Enabled));

    let zero = |extra: Value| {
        let mut condition = json!({"age": 0, "with_state": "ANY", "matches_prefix": []});
        condition.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        after(&run(bucket(json!([]), json!([])), bucket(json!([rule(condition)]), json!([]))), Reading::Worst).remove(0)
    };
    assert!(zero(json!({"send_age_if_zero": false})).doubts[0].contains("no condition is left"));
    assert_eq!(zero(json!({"send_age_if_zero": true})).doubts, [""; 0]);
    assert_eq!(zero(json!({"no_age": false})).doubts, [""; 0]);
    assert!(!zero(json!({"no_age": true})).doubts.is_empty());
    assert_eq!(zero(json!({"send_age_if_zero": false, "days_since_noncurrent_time": 5})).doubts, [""; 0]);
}

#[test]
fn minio_and_cloud_control() {
    let policy = json!({"bucket": "m", "rule": [
        {"id": "a", "expiration": "7d", "filter": "tmp/", "tags": {}, "status": "Enabled"},
        {"id": "b", "expiration": "2027-01-01", "filter": null, "noncurrent_expiration": [{"days": "5d", "newer_versions": 2}]},
        {"id": "c", "expiration": "DeleteMarker", "filter": "", "transition": [{"days": "30d", "storage_class": "COLD"}]}]});
    let changes = json!([resource("minio_ilm_policy", "m", json!(["create"]), json!(null), policy, json!({}))]);
    let change = plan(&terraform(changes, json!({}))).buckets.remove(0);
    let rules = after(&change, Reading::Worst);
    assert_eq!((days(&rules[0]), rules[0].filter.prefixes.clone()), (Some(7), vec![b"tmp/".to_vec()]));
    assert!(rules[1].filter.any_key() && rules[1].actions.contains(&Action::NoncurrentExpire { days: 5, newer: 2 }));
    assert!(rules[2].actions.iter().any(|action| matches!(action, Action::Transition { name, .. } if name == "COLD")));

    let bucket = json!({"bucket_name": "cc", "versioning_configuration": {"status": "Enabled"},
        "lifecycle_configuration": {"rules": [{"id": "r", "status": "Enabled", "prefix": "wal/", "expiration_in_days": 9,
            "tag_filters": [{"key": "a", "value": "b"}]}]}});
    let changes = json!([resource("awscc_s3_bucket", "c", json!(["create"]), json!(null), bucket, json!({}))]);
    let change = plan(&terraform(changes, json!({}))).buckets.remove(0);
    assert_eq!(
        (change.bucket.as_deref(), &change.after.versioning),
        (Some("cc"), &Setting::Known(Versioning::Enabled))
    );
    let rules = after(&change, Reading::Worst);
    assert_eq!((days(&rules[0]), rules[0].filter.to_string().as_str()), (Some(9), "prefix \"wal/\" and tag a=b"));
}

const TEMPLATE: &str = "
AWSTemplateFormatVersion: '2010-09-09'
Parameters:
  Days: {Type: Number, Default: 30}
Resources:
  Backups:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    Properties:
      BucketName: company-pg-backups
      VersioningConfiguration: {Status: Suspended}
      LifecycleConfiguration:
        Rules:
          - Id: all
            Status: Enabled
            Prefix: prod/
            ExpirationInDays: !Ref Days
            Transition: {StorageClass: GLACIER, TransitionInDays: 5}
            NoncurrentVersionExpirationInDays: 3
          - Id: uploads
            Status: Enabled
            ObjectSizeGreaterThan: '500'
            AbortIncompleteMultipartUpload: {DaysAfterInitiation: 7}
  Other: {Type: 'AWS::SNS::Topic'}
";

#[cfg(feature = "config")]
#[test]
fn cloudformation_templates() {
    let plan = read_plan(TEMPLATE.as_bytes()).unwrap();
    assert_eq!((plan.source, plan.buckets.len()), (PlanSource::CloudFormation, 1));
    let change = &plan.buckets[0];
    assert_eq!(
        (change.bucket.as_deref(), &change.after.versioning),
        (Some("company-pg-backups"), &Setting::Known(Versioning::Suspended))
    );
    let worst = change.decode(&change.after, Reading::Worst);
    assert_eq!(worst.unknown[0].what, "days of expiration");
    assert!(worst.unknown[0].from.contains("Ref Days"), "{:?}", worst.unknown);
    assert_eq!(worst.rules.rules[0].actions.len(), 3);
    assert_eq!(worst.rules.rules[1].filter.larger_than, Some(500));
    assert_eq!(change.problems[0].code, "LFC017");
    assert!(change.problems[0].message.ends_with("UpdateReplacePolicy is not Retain"));

    // The same as JSON, and as get-template wraps it.
    let wrapped = json!({"TemplateBody": TEMPLATE}).to_string();
    assert_eq!(read_plan(wrapped.as_bytes()).unwrap(), plan);
    let json = json!({"Resources": {"B": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Fn::Sub": "x-${A}"},
        "LifecycleConfiguration": {"Fn::If": ["A", {"Rules": []}, {"Ref": "AWS::NoValue"}]}}}}});
    let change = self::plan(&json).buckets.remove(0);
    assert_eq!(change.bucket, None);
    assert!(change.decode(&change.after, Reading::Best).undecodable.is_some());
}

#[test]
fn cloudformation_change_sets() {
    let context = |days: u32| {
        json!({"Properties": {"BucketName": "b", "LifecycleConfiguration": {"Rules": [
        {"Id": "r", "Status": "Enabled", "ExpirationInDays": days}]}}})
        .to_string()
    };
    let set = |action: &str, before: Value, after: Value| {
        json!({"Changes": [{"Type": "Resource", "ResourceChange": {
        "Action": action, "LogicalResourceId": "B", "ResourceType": "AWS::S3::Bucket", "Replacement": "False",
        "BeforeContext": before, "AfterContext": after}}]})
    };
    let change = plan(&set("Modify", json!(context(400)), json!(context(30)))).buckets.remove(0);
    assert_eq!(days(&change.decode(&change.before, Reading::Worst).rules.rules[0]), Some(400));
    assert_eq!(days(&after(&change, Reading::Worst)[0]), Some(30));
    let removed = plan(&set("Remove", json!(context(400)), json!(null))).buckets.remove(0);
    assert_eq!(removed.problems[0].code, "LFC017");
    let refused = read_plan(set("Modify", json!(null), json!(null)).to_string().as_bytes()).unwrap_err();
    assert!(refused.run.unwrap().contains("--include-property-values"));
}

#[test]
fn what_is_no_plan_is_refused_with_the_right_command() {
    let refusal = |text: &str| read_plan(text.as_bytes()).unwrap_err();
    let show = "terraform show -json";
    for (text, message, run) in [
        (
            "{\"@level\":\"info\",\"type\":\"version\",\"terraform\":\"1.9\"}\n{\"@level\":\"info\"}\n",
            "log of terraform",
            show,
        ),
        ("{\"@level\":\"info\",\"type\":\"version\",\"terraform\":\"1.9\"}", "log of terraform", show),
        ("PK\x03\x04abc", "binary", show),
        ("{\"format_version\":\"2.0\",\"resource_changes\":[]}", "\"2.0\" of this plan is not known", show),
        (
            "{\"format_version\":\"1.2\",\"resource_changes\":[],\"errored\":true}",
            "covers only a part",
            "terraform plan",
        ),
        ("{\"format_version\":\"1.2\"}", "neither resource_changes", show),
        ("{\"version\":4,\"serial\":3,\"terraform_version\":\"1.9\",\"resources\":[]}", "state file", "terraform plan"),
        ("{\"format_version\":\"1.2\",\"resource_changes\":[", "cut off", show),
        ("", "empty", show),
        ("hello", "neither a plan", show),
        ("{\"a\":1}", "neither a plan", show),
        ("<html></html>", "neither a plan", show),
    ] {
        let refusal = refusal(text);
        assert!(refusal.to_string().contains(message), "{refusal}");
        assert!(refusal.to_string().contains(run), "{refusal}");
    }
    #[cfg(feature = "config")]
    assert!(
        refusal("Terraform will perform the following actions:\n  ~ x\nPlan: 0 to add")
            .to_string()
            .contains("for people")
    );
    assert!(read_plan(&[0xFF, 0xFE, 0]).is_err());
}

#[test]
fn partial_plans_say_so() {
    let mut value = terraform(json!([]), json!({}));
    assert_eq!(plan(&value).partial, None);
    value["complete"] = json!(false);
    assert!(plan(&value).partial.unwrap().contains("-target"));
    value["deferred_changes"] = json!([{"reason": "x", "resource_change": {"address": "aws_s3_bucket.b"}}]);
    assert!(plan(&value).partial.unwrap().contains("aws_s3_bucket.b"));
}

#[test]
fn rules_changed_by_hand_are_drift() {
    let kind = "aws_s3_bucket_lifecycle_configuration";
    let mut value = terraform(json!([]), json!({}));
    let drift = |after: Value| {
        json!([resource(kind, "a", json!(["update"]), lifecycle("b", expire("", 30)), after, json!({}))])
    };
    value["resource_drift"] = drift(lifecycle("b", expire("", 7)));
    let found = plan(&value).buckets.remove(0);
    assert_eq!(found.problems[0].code, "LFC009");
    // Another order or name is no drift.
    let mut renamed = expire("", 30);
    renamed["id"] = json!("other");
    value["resource_drift"] = drift(lifecycle("b", renamed));
    assert_eq!(plan(&value).buckets[0].problems, []);
}

#[test]
fn a_state_is_what_is() {
    let value = json!({"format_version": "1.0", "values": {"root_module": {"child_modules": [{"address": "module.m",
        "resources": [
            {"address": "module.m.aws_s3_bucket_lifecycle_configuration.x", "mode": "managed",
             "type": "aws_s3_bucket_lifecycle_configuration", "name": "x", "values": lifecycle("b", expire("", 9))},
            {"address": "module.m.data.aws_s3_bucket.y", "mode": "data", "type": "aws_s3_bucket", "name": "y",
             "values": {"bucket": "z"}}]}]}}});
    let plan = plan(&value);
    assert_eq!((plan.source, plan.buckets.len()), (PlanSource::TerraformState, 1));
    assert_eq!(days(&after(&plan.buckets[0], Reading::Worst)[0]), Some(9));
    assert_eq!(plan.buckets[0].before.rules, RulesState::NotStated);
}

#[test]
fn sensitive_values_are_remembered() {
    let mut change = resource(
        "aws_s3_bucket_lifecycle_configuration",
        "a",
        json!(["create"]),
        json!(null),
        lifecycle("b", expire("secret-prefix/", 30)),
        json!({}),
    );
    change["change"]["after_sensitive"] = json!({"rule": [{"filter": [{"prefix": true}]}]});
    let plan = plan(&terraform(json!([change]), json!({})));
    assert_eq!(plan.sensitive, ["secret-prefix/"]);
    assert!(plan.buckets[0].rules_sensitive);
}

#[test]
fn instances_of_a_module_stay_apart() {
    let kind = "aws_s3_bucket_lifecycle_configuration";
    let instance = |key: &str, days: u32| {
        let mut change = resource(
            kind,
            "this",
            json!(["create"]),
            json!(null),
            lifecycle("x", expire("", days)),
            json!({"bucket": true}),
        );
        change["change"]["after"]["bucket"] = json!(null);
        change["module_address"] = json!(format!("module.m[\"{key}\"]"));
        change["address"] = json!(format!("module.m[\"{key}\"].{kind}.this"));
        let mut bucket = resource(
            "aws_s3_bucket",
            "this",
            json!(["no-op"]),
            json!({"bucket": key}),
            json!({"bucket": key}),
            json!({}),
        );
        bucket["module_address"] = change["module_address"].clone();
        [bucket, change]
    };
    let changes: Vec<Value> = [instance("a", 1), instance("b", 2)].concat();
    let configuration = json!({"module_calls": {"m": {"module": {"resources": [{"type": kind, "name": "this",
        "expressions": {"bucket": {"references": ["aws_s3_bucket.this.id", "aws_s3_bucket.this"]}}}]}}}});
    let plan = plan(&terraform(json!(changes), configuration));
    let found: Vec<_> =
        plan.buckets.iter().map(|change| (change.name(), days(&after(change, Reading::Worst)[0]))).collect();
    assert_eq!(found, [("a", Some(1)), ("b", Some(2))]);
}

/// Samples with bytes changed: never a panic, whatever comes out.
#[test]
fn damaged_plans_are_answered() {
    let mut seed = 7u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let samples = ["plan-unknown-values.json", "plan-versioning-suspended.json"];
    let texts: Vec<String> = samples.into_iter().filter_map(test_data::sample).chain([TEMPLATE.to_owned()]).collect();
    for round in 0..400 {
        let mut bytes = texts[round % texts.len()].clone().into_bytes();
        for _ in 0..1 + next() % 5 {
            let place = next() % bytes.len();
            match next() % 3 {
                0 => bytes[place] = b"0123456789\"-:{}[]truefalsn,!&*"[next() % 30],
                1 => drop(bytes.remove(place)),
                _ => bytes.truncate(place.max(1)),
            }
        }
        fuzz_one(&bytes);
    }
}
