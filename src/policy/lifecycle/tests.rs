use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{StorageClass, Timestamp};
use crate::policy::test_data;

#[test]
fn all_vectors_pass() {
    let Some(text) = test_data::spec("lifecycle-vectors.json") else { return };
    let file: Value = serde_json::from_str(&text).unwrap();
    let computed = simulate_file(&file).unwrap();
    let pairs = file["vectors"].as_array().unwrap().iter().zip(computed["vectors"].as_array().unwrap());
    let mut count = 0;
    for (given, computed) in pairs {
        assert_eq!(given, computed, "{}", given["id"]);
        count += 1;
    }
    assert_eq!(count, 29);
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn expect(case: Value) -> Vec<(String, String, Value, Value)> {
    let out = simulate_file(&case).unwrap();
    let rows = out["expect"].as_array().unwrap().clone();
    rows.into_iter()
        .map(|row| {
            let events = row["events"].as_array().unwrap().iter();
            let events: Vec<String> = events
                .map(|event| {
                    let class = event["class"].as_str().unwrap_or("");
                    format!("{} {}{class}", event["at"].as_str().unwrap(), event["action"].as_str().unwrap())
                })
                .collect();
            let name = format!("{}:{}", row["key"].as_str().unwrap(), row["version_id"].as_str().unwrap_or("-"));
            (name, events.join(", "), row["unreadable_from"].clone(), row["data_gone_from"].clone())
        })
        .collect()
}

/// Three of the vectors, as MinIO's engine answers them.
#[test]
fn minio_differs_where_it_differs() {
    let Some(text) = test_data::spec("lifecycle-vectors.json") else { return };
    let file: Value = serde_json::from_str(&text).unwrap();
    let minio = |id: &str| {
        let vectors = file["vectors"].as_array().unwrap().iter();
        let mut vector = vectors.clone().find(|vector| vector["id"].as_str().unwrap().starts_with(id)).unwrap().clone();
        vector["provider"] = json!("minio");
        expect(vector)
    };
    // No smallest size.
    assert!(minio("s3-15").iter().all(|row| row.1 == "2026-05-09T00:00:00Z transitionGLACIER"));
    // The object's own replication status is not looked at.
    assert!(minio("s3-19").iter().all(|row| row.1 == "2026-05-09T00:00:00Z delete_marker"));
    // Same moment: expires without moving.
    assert_eq!(minio("s3-20")[0].1, "2026-06-01T00:00:00Z delete_marker");
    // A tier stays readable.
    assert_eq!(minio("s3-01")[0].2, Value::Null);
}

#[test]
fn minio_can_delete_every_version() {
    let case = json!({
        "provider": "minio", "versioning": "Enabled", "now": "2026-01-01T00:00:00Z",
        "rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""},
            "Expiration": {"Days": 10, "ExpiredObjectAllVersions": true}}],
        "objects": [
            {"key": "a", "last_modified": "2026-01-01T10:00:00Z", "version_id": "1", "size": 1},
            {"key": "a", "last_modified": "2026-01-02T10:00:00Z", "version_id": "2", "size": 1}],
    });
    assert!(expect(case.clone()).iter().all(|row| row.3 == json!("2026-01-13T00:00:00Z")));
    let mut markers = case;
    markers["rules"] = json!([{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""},
        "Expiration": {"Days": 0, "Date": "0001-01-01T00:00:00Z"}, "DelMarkerExpiration": {"Days": 3}}]);
    assert!(expect(markers.clone()).iter().all(|row| row.3 == Value::Null));
    markers["objects"]
        .as_array_mut()
        .unwrap()
        .push(json!({"key": "a", "last_modified": "2026-01-05T10:00:00Z", "version_id": "3", "delete_marker": true}));
    assert!(expect(markers).iter().all(|row| row.3 == json!("2026-01-09T00:00:00Z")));
}

/// A keep-count is met by the version that expires today's rule: the older one is then no longer protected.
#[test]
fn the_current_version_counts_as_newer_once_it_is_hidden() {
    let case = json!({
        "provider": "s3", "versioning": "Enabled", "now": "2026-01-01T00:00:00Z",
        "rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 10},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 1}}],
        "objects": [
            {"key": "a", "last_modified": "2026-01-01T10:00:00Z", "version_id": "1", "size": 1},
            {"key": "a", "last_modified": "2026-01-02T10:00:00Z", "version_id": "2", "size": 1}],
    });
    let rows = expect(case);
    assert_eq!((rows[0].0.as_str(), &rows[0].3), ("a:1", &json!("2026-01-13T00:00:00Z")));
    assert_eq!((rows[1].1.as_str(), &rows[1].3), ("2026-01-13T00:00:00Z delete_marker", &Value::Null));
}

#[test]
fn unknown_tags_keep_the_earlier_loss() {
    let case = json!({
        "provider": "s3", "versioning": "Disabled", "now": "2026-01-01T00:00:00Z",
        "rules": [
            {"ID": "t", "Status": "Enabled", "Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": {"Days": 5}},
            {"ID": "r", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 50}}],
        "objects": [{"key": "a", "last_modified": "2026-01-01T10:00:00Z", "size": 1, "tags": "unknown"},
            {"key": "b", "last_modified": "2026-01-01T10:00:00Z", "size": 1}],
    });
    let out = simulate_file(&case).unwrap();
    assert_eq!(out["expect"][0]["data_gone_from"], "2026-01-07T00:00:00Z");
    assert_eq!(out["expect"][0]["possible"], true);
    assert_eq!(out["expect"][1]["data_gone_from"], "2026-02-21T00:00:00Z");
    assert_eq!(out["expect"][1].get("possible"), None);
}

/// A saved file does not say which smallest size holds: both are tried.
#[test]
fn an_unknown_smallest_size_keeps_the_earlier_loss() {
    let case = |size: u64| {
        json!({
            "provider": "s3", "now": "2026-01-01T00:00:00Z",
            "rules": [{"ID": "r", "Status": "Enabled", "Filter": {}, "Transitions": [{"Days": 5, "StorageClass": "GLACIER"}]}],
            "objects": [{"key": "a", "last_modified": "2026-01-01T10:00:00Z", "size": size}],
        })
    };
    let small = simulate_file(&case(1000)).unwrap();
    assert_eq!(small["expect"][0]["unreadable_from"], "2026-01-07T00:00:00Z");
    assert_eq!(small["expect"][0]["possible"], true);
    let large = simulate_file(&case(1 << 20)).unwrap();
    assert_eq!(large["expect"][0].get("possible"), None);
}

#[test]
fn bad_files_are_explained() {
    for (case, want) in [
        (json!({}), "rules: expected a list"),
        (json!({"rules": [], "objects": []}), "now: the moment"),
        (json!({"rules": [], "objects": [{}], "now": "2026-01-01T00:00:00Z"}), "objects[0].key: missing"),
        (json!({"rules": [3], "objects": [], "now": "2026-01-01"}), "rules: rule 1 is not a block"),
        (json!({"rules": [], "objects": [], "now": "2026-01-01", "provider": "s4"}), "provider: \"s4\""),
        (json!({"vectors": [{"id": "x"}]}), "vector x: rules"),
        (json!({"rules": [{"Expiration": {"Days": "ten"}}], "objects": [], "now": "2026-01-01"}), "is no count"),
    ] {
        let error = simulate_file(&case).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn raw_files_of_all_providers_are_read() {
    let s3 = read_bucket_file(
        r#"{"Rules": [{"ID": "r", "Filter": {"And": {"Prefix": "wal/", "Tags": [{"Key": "a", "Value": "b"}],
            "ObjectSizeGreaterThan": 5}}, "Status": "Enabled", "Expiration": {"Date": "2027-01-01T00:00:00+00:00"},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}],
            "TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}"#,
    )
    .unwrap();
    let xml = read_bucket_file(
        "<?xml version=\"1.0\"?><LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>r</ID>\
         <Filter><And><Prefix>wal/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag>\
         <ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status>\
         <Expiration><Date>2027-01-01T00:00:00.000Z</Date></Expiration><AbortIncompleteMultipartUpload>\
         <DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
    )
    .unwrap();
    let rules = s3.decode(Reading::Worst).rules;
    assert_eq!(rules.rules, xml.decode(Reading::Worst).rules.rules);
    assert_eq!(rules.minimum_size, MinimumSize::VariesByClass);
    let rule = &rules.rules[0];
    assert_eq!(rule.filter.to_string(), "prefix \"wal/\" and tag a=b and more than 5 bytes");
    assert_eq!(
        rule.actions,
        [
            Action::Expire { when: When::Date(at("2027-01-01T00:00:00Z")), all_versions: false },
            Action::AbortUploads { days: 7 }
        ]
    );

    let minio = read_bucket_file(
        r#"{"Rules": [{"ID": "m", "Status": "Enabled", "Prefix": "", "Filter": {"Prefix": "tmp/", "And": {}, "Tag": {}},
            "Expiration": {"Days": 3, "Date": "0001-01-01T00:00:00Z"}, "Transition": {}, "NoncurrentVersionExpiration": {},
            "AbortIncompleteMultipartUpload": {}}]}"#,
    )
    .unwrap();
    assert_eq!(minio.provider, Provider::Minio);
    let rule = &minio.decode(Reading::Worst).rules.rules[0];
    assert_eq!(rule.actions, [Action::Expire { when: When::Days(3), all_versions: false }]);
    assert_eq!((rule.filter.to_string().as_str(), rule.doubts.as_slice()), ("prefix \"tmp/\"", &[][..]));

    let gcs = read_bucket_file(
        r#"{"kind": "storage#bucket", "name": "b", "versioning": {"enabled": true}, "softDeletePolicy":
            {"retentionDurationSeconds": "604800"}, "retentionPolicy": {"retentionPeriod": "60"}, "lifecycle": {"rule": [
            {"action": {"type": "Delete"}, "condition": {"age": 30, "isLive": false, "matchesPrefix": ["wal/"]}}]}}"#,
    )
    .unwrap();
    assert_eq!((gcs.versioning, gcs.bucket.as_deref()), (Some(Versioning::Enabled), Some("b")));
    assert_eq!(gcs.soft_delete.unwrap().days(), Some(7));
    let gcs_xml = read_bucket_file(
        "<LifecycleConfiguration><Rule><Action><Delete/></Action><Condition><Age>30</Age><IsLive>false</IsLive>\
         <MatchesPrefix>wal/</MatchesPrefix></Condition></Rule></LifecycleConfiguration>",
    )
    .unwrap();
    assert_eq!(gcs.decode(Reading::Worst).rules, gcs_xml.decode(Reading::Worst).rules);
    let gsutil = read_bucket_file(r#"{"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}"#).unwrap();
    assert_eq!(gsutil.decode(Reading::Worst).rules.rules.len(), 1);

    let none =
        read_bucket_file("<?xml version=\"1.0\"?><Error><Code>NoSuchLifecycleConfiguration</Code></Error>").unwrap();
    assert_eq!(none.decode(Reading::Worst).rules.rules, []);
    for bad in ["", "x", "{}", "[]", "<a/>", "{\"Rule\": 1}"] {
        assert!(read_bucket_file(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_rule_that_is_not_what_it_looks_like_is_said() {
    let file = read_bucket_file(
        r#"{"Rules": [
            {"ID": "both", "Status": "Enabled", "Filter": {}, "Prefix": "tmp/", "Expiration": {"Days": 1}},
            {"ID": "nothing", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 0}},
            {"ID": "typo", "Status": "Enabled", "Filter": {"prefix": "tmp/"}, "Expiration": {"Days": 1}}]}"#,
    )
    .unwrap();
    let rules = file.decode(Reading::Worst).rules.rules;
    assert!(rules[0].doubts[0].contains("deprecated prefix \"tmp/\"") && rules[0].filter.any_key());
    assert_eq!(rules[1].doubts, ["it does nothing"]);
    assert!(rules[2].doubts[0].contains("\"prefix\", which is not known") && rules[2].filter.any_key());
    let gcs = read_bucket_file(r#"{"rule": [{"action": {"type": "Delete"}, "condition": {}}]}"#).unwrap();
    assert!(gcs.decode(Reading::Worst).rules.rules[0].doubts[0].contains("no condition is left"));
}

// Properties.

fn filter() -> impl Strategy<Value = Filter> {
    let prefix = prop_oneof![Just(""), Just("a"), Just("a/b"), Just("c")];
    let tags = prop_oneof![3 => Just(vec![]), 1 => Just(vec![("k".to_owned(), "v".to_owned())])];
    (prefix, tags, proptest::option::of(0u64..300_000)).prop_map(|(prefix, tags, larger_than)| Filter {
        prefixes: vec![prefix.as_bytes().to_vec()],
        tags,
        larger_than: larger_than.filter(|bound| bound % 3 == 0),
        ..Filter::default()
    })
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => (1u32..60).prop_map(When::Days),
        1 => (0i64..80).prop_map(|day| When::Date(Timestamp::from_second(1_767_225_600 + day * 86_400).unwrap())),
    ]
}

fn s3_action() -> impl Strategy<Value = Action> {
    let class = prop_oneof![
        Just(StorageClass::StandardIa),
        Just(StorageClass::IntelligentTiering),
        Just(StorageClass::GlacierIr),
        Just(StorageClass::Glacier),
        Just(StorageClass::DeepArchive),
    ];
    let name = |class: StorageClass| class.name().to_owned();
    prop_oneof![
        (when(), any::<bool>()).prop_map(|(when, all_versions)| Action::Expire { when, all_versions }),
        (0u32..30).prop_map(|days| Action::ExpireBehindMarker { days }),
        (1u32..40, 0u32..4).prop_map(|(days, newer)| Action::NoncurrentExpire { days, newer }),
        (when(), class.clone()).prop_map(move |(when, class)| Action::Transition { when, class, name: name(class) }),
        (0u32..40, 0u32..3, class).prop_map(move |(days, newer, class)| Action::NoncurrentTransition {
            days,
            newer,
            class,
            name: name(class)
        }),
    ]
}

fn gcs_action() -> impl Strategy<Value = Action> {
    let days = || proptest::option::of(0u32..60);
    (days(), days(), proptest::option::of(any::<bool>()), proptest::option::of(0u32..3)).prop_map(
        |(age_days, noncurrent_days, is_live, newer_versions)| {
            Action::GcsDelete(GcsConditions {
                age_days,
                noncurrent_days,
                is_live,
                newer_versions,
                ..GcsConditions::default()
            })
        },
    )
}

fn rule_set(provider: Provider) -> impl Strategy<Value = RuleSet> {
    let action = if provider == Provider::Gcs { gcs_action().boxed() } else { s3_action().boxed() };
    let rule = (filter(), proptest::collection::vec(action, 1..3), any::<bool>());
    proptest::collection::vec(rule, 0..6).prop_map(move |rules| RuleSet {
        provider,
        minimum_size: MinimumSize::AllClasses128K,
        rules: rules
            .into_iter()
            .enumerate()
            .map(|(at, (filter, actions, enabled))| Rule {
                id: format!("r{at}"),
                enabled: enabled || at % 2 == 0,
                filter,
                actions,
                doubts: Vec::new(),
            })
            .collect(),
    })
}

#[derive(Debug, Clone)]
struct Version {
    created: i64,
    size: u64,
    marker: bool,
    lock: Option<i64>,
    waiting: bool,
    tagged: bool,
    null: bool,
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    let version = (0i64..60 * 86_400, 0u64..400_000, 0u8..6, proptest::option::of(0i64..200), any::<[bool; 3]>());
    proptest::collection::vec(version, 1..5).prop_map(|versions| {
        versions
            .into_iter()
            .map(|(second, size, marker, lock, [waiting, tagged, null])| Version {
                created: 1_767_225_600 + second,
                size,
                marker: marker == 0,
                lock,
                waiting: waiting && tagged,
                tagged,
                null,
            })
            .collect()
    })
}

fn provider() -> impl Strategy<Value = Provider> {
    prop_oneof![Just(Provider::S3), Just(Provider::Minio), Just(Provider::Gcs)]
}

fn settings() -> impl Strategy<Value = BucketSettings> {
    let versioning = prop_oneof![Just(Versioning::Disabled), Just(Versioning::Enabled), Just(Versioning::Suspended)];
    (versioning, proptest::option::of(0i64..90)).prop_map(|(versioning, day)| BucketSettings {
        versioning,
        rules_effective: day.map(|day| Timestamp::from_second(1_767_225_600 + day * 86_400 + 3_600).unwrap()),
        ..BucketSettings::default()
    })
}

/// A provider, its rules, one more action, and a bucket.
fn world() -> impl Strategy<Value = (RuleSet, Rule, BucketSettings)> {
    provider().prop_flat_map(|provider| {
        let ends = if provider == Provider::Gcs {
            gcs_action().boxed()
        } else {
            s3_action().prop_filter("ends data", Action::ends_data).boxed()
        };
        let extra = (filter(), ends).prop_map(|(filter, action)| Rule {
            id: "extra".into(),
            enabled: true,
            filter,
            actions: vec![action],
            doubts: Vec::new(),
        });
        (rule_set(provider), extra, settings())
    })
}

fn with_facts<T>(versions: &[Version], check: impl FnOnce(&[ObjectFacts<'_>]) -> T) -> T {
    let tags = [("k".to_owned(), "v".to_owned())];
    let mut facts: Vec<ObjectFacts<'_>> = versions
        .iter()
        .map(|version| ObjectFacts {
            version: Some(if version.null { "null" } else { "v1" }),
            tags: Tags::Known(if version.tagged { &tags } else { &[] }),
            delete_marker: version.marker,
            lock: Lock {
                retain_until: version.lock.map(|day| Timestamp::from_second(1_767_225_600 + day * 86_400).unwrap()),
                hold: false,
            },
            replication: if version.waiting { Replication::Waiting } else { Replication::NotWaiting },
            ..ObjectFacts::new(b"a/b/c", version.size, Timestamp::from_second(version.created).unwrap())
        })
        .collect();
    facts.sort_by_key(|fact| std::cmp::Reverse(fact.created));
    check(&facts)
}

fn no_later(after: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    after.unwrap_or(Timestamp::MAX) <= before.unwrap_or(Timestamp::MAX)
}

fn shorter(action: &Action) -> Option<Action> {
    let mut action = action.clone();
    match &mut action {
        Action::Expire { when: When::Days(days), .. } if *days > 1 => *days -= 1,
        Action::ExpireBehindMarker { days } | Action::NoncurrentExpire { days, .. } if *days > 1 => *days -= 1,
        Action::GcsDelete(when) => {
            let days = when.age_days.as_mut().or(when.noncurrent_days.as_mut())?;
            *days = days.checked_sub(1)?;
        }
        _ => return None,
    }
    Some(action)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn one_more_expiration_never_lengthens_a_life((rules, extra, bucket) in world(), versions in versions()) {
        let mut more = rules.clone();
        more.rules.push(extra);
        with_facts(&versions, |facts| {
            let before = Simulator::new(rules, bucket.clone()).fates(facts);
            let after = Simulator::new(more, bucket).fates(facts);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(no_later(after.ends(), before.ends()), "{before:?} {after:?}");
                prop_assert!(no_later(after.gone_at(), before.gone_at()), "{before:?} {after:?}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn fewer_days_never_lengthen_a_life((mut rules, extra, bucket) in world(), versions in versions()) {
        rules.rules.push(extra);
        let mut fewer = rules.clone();
        for action in fewer.rules.iter_mut().flat_map(|rule| &mut rule.actions) {
            if let Some(shorter) = shorter(action) {
                *action = shorter;
            }
        }
        with_facts(&versions, |facts| {
            let before = Simulator::new(rules, bucket.clone()).fates(facts);
            let after = Simulator::new(fewer, bucket).fates(facts);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(no_later(after.ends(), before.ends()), "{before:?} {after:?}");
                prop_assert!(no_later(after.gone_at(), before.gone_at()), "{before:?} {after:?}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_order_of_rules_changes_nothing((mut rules, extra, bucket) in world(), versions in versions(), turn in 0usize..6) {
        rules.rules.push(extra);
        let mut turned = rules.clone();
        let by = turn % turned.rules.len();
        turned.rules.rotate_left(by);
        turned.rules.reverse();
        let names = |rules: &RuleSet, bucket: &BucketSettings, facts: &[ObjectFacts<'_>]| -> Vec<_> {
            let simulator = Simulator::new(rules.clone(), bucket.clone());
            let named = |timeline: Timeline| -> Vec<_> {
                timeline.events.iter().map(|event| (event.at, event.kind, rules.name(event.rule))).collect()
            };
            simulator.timelines(facts).into_iter().map(named).collect()
        };
        with_facts(&versions, |facts| {
            prop_assert_eq!(names(&rules, &bucket, facts), names(&turned, &bucket, facts));
            Ok(())
        })?;
    }

    #[test]
    fn a_locked_version_never_goes_before_its_date((mut rules, extra, bucket) in world(), versions in versions()) {
        rules.rules.push(extra);
        with_facts(&versions, |facts| {
            let fates = Simulator::new(rules.clone(), bucket.clone()).fates(facts);
            for (fact, fate) in facts.iter().zip(&fates) {
                if let (Some(until), Some(gone)) = (fact.lock.retain_until, fate.gone_at()) {
                    prop_assert!(gone >= until);
                }
            }
            let mut held = facts.to_vec();
            held.iter_mut().for_each(|fact| fact.lock.hold = true);
            let fates = Simulator::new(rules, bucket).fates(&held);
            prop_assert!(fates.iter().all(|fate| fate.gone.is_none()));
            Ok(())
        })?;
    }

    #[test]
    fn a_timeline_tells_what_its_fate_says((rules, _, bucket) in world(), versions in versions()) {
        with_facts(&versions, |facts| {
            let simulator = Simulator::new(rules, bucket.clone());
            let timelines = simulator.timelines(facts);
            prop_assert_eq!(timelines.iter().map(|t| t.fate).collect::<Vec<_>>(), simulator.fates(facts));
            for (timeline, fact) in timelines.iter().zip(facts) {
                prop_assert!(timeline.events.is_sorted_by_key(|event| event.at), "{timeline:?}");
                let gone = timeline.events.iter().find(|event| event.kind == EventKind::Delete);
                prop_assert_eq!(gone.map(|event| event.at), timeline.fate.gone_at());
                if !fact.delete_marker && let Some(gone) = timeline.fate.gone_at() {
                    prop_assert_eq!(timeline.state(fact, false, gone), State::Gone);
                }
                if let Some(effective) = bucket.rules_effective {
                    prop_assert!(timeline.events.iter().all(|event| event.at >= effective));
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        super::formats::fuzz_one(&bytes);
        super::file::fuzz_one(&bytes);
    }
}

/// Vectors with bytes changed: never a panic, whatever comes out.
#[test]
fn damaged_vectors_are_answered() {
    let Some(text) = test_data::spec("lifecycle-vectors.json") else { return };
    let mut seed = 1u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for _ in 0..300 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + next() % 4 {
            let place = next() % bytes.len();
            bytes[place] = b"0123456789\"-:{}[]TZnulltrue,"[next() % 28];
        }
        super::file::fuzz_one(&bytes);
        super::formats::fuzz_one(&bytes);
    }
}
