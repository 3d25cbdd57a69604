//! Rules back in the shape of the provider's API: how to undo a change.

use serde_json::{Map, Value, json};

use crate::model::Timestamp;
use crate::policy::lifecycle::{Action, GcsConditions, MinimumSize, Provider, Rule, RuleSet, When};

/// The rules as `aws s3api put-bucket-lifecycle-configuration --lifecycle-configuration` or
/// `gcloud storage buckets update --lifecycle-file` take them.
pub fn rules_to_json(rules: &RuleSet) -> Value {
    if rules.provider == Provider::Gcs {
        let each = rules.rules.iter().flat_map(|rule| rule.actions.iter().map(move |action| gcs(rule, action)));
        return json!({"rule": each.collect::<Vec<_>>()});
    }
    let each: Vec<Value> = rules.rules.iter().map(s3).collect();
    let mut out = Map::new();
    out.insert("Rules".into(), Value::Array(each));
    match rules.minimum_size {
        MinimumSize::AllClasses128K => {
            out.insert("TransitionDefaultMinimumObjectSize".into(), json!("all_storage_classes_128K"));
        }
        MinimumSize::VariesByClass => {
            out.insert("TransitionDefaultMinimumObjectSize".into(), json!("varies_by_storage_class"));
        }
        MinimumSize::Unknown => {}
    }
    Value::Object(out)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn s3(rule: &Rule) -> Value {
    let filter = &rule.filter;
    let prefix = filter.prefixes.first().map_or_else(String::new, |prefix| text(prefix));
    let conditions = usize::from(!prefix.is_empty())
        + filter.tags.len()
        + usize::from(filter.larger_than.is_some())
        + usize::from(filter.smaller_than.is_some());
    let mut inner = Map::new();
    if !prefix.is_empty() || conditions == 0 {
        inner.insert("Prefix".into(), json!(prefix));
    }
    if let Some(size) = filter.larger_than {
        inner.insert("ObjectSizeGreaterThan".into(), json!(size));
    }
    if let Some(size) = filter.smaller_than {
        inner.insert("ObjectSizeLessThan".into(), json!(size));
    }
    let tags: Vec<Value> = filter.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    let filter = if conditions > 1 {
        if !tags.is_empty() {
            inner.insert("Tags".into(), Value::Array(tags));
        }
        json!({"And": inner})
    } else if let Some(tag) = tags.into_iter().next() {
        json!({"Tag": tag})
    } else {
        Value::Object(inner)
    };
    let mut out = Map::new();
    if !rule.id.is_empty() {
        out.insert("ID".into(), json!(rule.id));
    }
    out.insert("Status".into(), json!(if rule.enabled { "Enabled" } else { "Disabled" }));
    out.insert("Filter".into(), filter);
    for action in &rule.actions {
        s3_action(action, &mut out);
    }
    Value::Object(out)
}

fn s3_action(action: &Action, out: &mut Map<String, Value>) {
    let mut push = |name: &str, value: Value| {
        if let Value::Array(list) = out.entry(name).or_insert_with(|| json!([])) {
            list.push(value);
        }
    };
    let timed = |when: &When| match when {
        When::Days(days) => ("Days", json!(days)),
        When::Date(date) => ("Date", json!(date.to_string())),
    };
    let (name, value) = match action {
        Action::Transition { when, name, .. } => {
            let (key, time) = timed(when);
            push("Transitions", json!({key: time, "StorageClass": name}));
            return;
        }
        Action::NoncurrentTransition { days, newer, name, .. } => {
            let mut value = json!({"NoncurrentDays": days, "StorageClass": name});
            if *newer > 0 {
                value["NewerNoncurrentVersions"] = json!(newer);
            }
            push("NoncurrentVersionTransitions", value);
            return;
        }
        Action::Expire { when, all_versions } => {
            let (key, time) = timed(when);
            let mut value = json!({key: time});
            if *all_versions {
                value["ExpiredObjectAllVersions"] = json!(true);
            }
            ("Expiration", value)
        }
        Action::RemoveLoneMarker => ("Expiration", json!({"ExpiredObjectDeleteMarker": true})),
        Action::ExpireBehindMarker { days } => ("DelMarkerExpiration", json!({"Days": days})),
        Action::NoncurrentExpire { days, newer } => {
            let mut value = json!({"NoncurrentDays": days});
            if *newer > 0 {
                value["NewerNoncurrentVersions"] = json!(newer);
            }
            ("NoncurrentVersionExpiration", value)
        }
        Action::AbortUploads { days } => ("AbortIncompleteMultipartUpload", json!({"DaysAfterInitiation": days})),
        _ => return,
    };
    out.insert(name.into(), value);
}

fn gcs(rule: &Rule, action: &Action) -> Value {
    let none = GcsConditions::default();
    let (action, when) = match action {
        Action::GcsDelete(when) => (json!({"type": "Delete"}), when),
        Action::GcsSetClass { class, when } => (json!({"type": "SetStorageClass", "storageClass": class.name()}), when),
        Action::AbortUploads { days } => {
            return json!({"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": days}});
        }
        _ => (json!({}), &none),
    };
    let mut condition = Map::new();
    let mut number = |name: &str, value: Option<u32>| {
        if let Some(value) = value {
            condition.insert(name.into(), json!(value));
        }
    };
    number("age", when.age_days);
    number("numNewerVersions", when.newer_versions);
    number("daysSinceNoncurrentTime", when.noncurrent_days);
    number("daysSinceCustomTime", when.custom_days);
    let mut date = |name: &str, value: Option<Timestamp>| {
        if let Some(value) = value {
            let day = value.to_zoned(jiff::tz::TimeZone::UTC).date();
            condition.insert(name.into(), json!(day.to_string()));
        }
    };
    date("createdBefore", when.created_before);
    date("noncurrentTimeBefore", when.noncurrent_before);
    date("customTimeBefore", when.custom_before);
    if let Some(live) = when.is_live {
        condition.insert("isLive".into(), json!(live));
    }
    let texts = |list: &[Vec<u8>]| list.iter().map(|item| text(item)).collect::<Vec<_>>();
    for (name, list) in [("matchesPrefix", &rule.filter.prefixes), ("matchesSuffix", &rule.filter.suffixes)] {
        if !list.is_empty() {
            condition.insert(name.into(), json!(texts(list)));
        }
    }
    if !when.classes.is_empty() {
        let names: Vec<&str> = when.classes.iter().map(|class| class.name()).collect();
        condition.insert("matchesStorageClass".into(), json!(names));
    }
    json!({"action": action, "condition": condition})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::lifecycle::{Reading, read_bucket_file};

    #[test]
    fn what_is_written_is_read_back() {
        for file in [
            json!({"Rules": [
                {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}},
                {"ID": "b", "Status": "Disabled", "Filter": {"Tag": {"Key": "k", "Value": "v"}},
                 "Transitions": [{"Days": 0, "StorageClass": "GLACIER"}, {"Date": "2027-01-01T00:00:00Z", "StorageClass": "DEEP_ARCHIVE"}]},
                {"ID": "c", "Status": "Enabled", "Filter": {"And": {"Prefix": "p", "Tags": [{"Key": "k", "Value": "v"}],
                 "ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 500}},
                 "NoncurrentVersionExpiration": {"NoncurrentDays": 4, "NewerNoncurrentVersions": 2},
                 "NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "STANDARD_IA"}],
                 "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}],
                "TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}),
            json!({"rule": [
                {"action": {"type": "Delete"}, "condition": {"age": 3, "isLive": false, "matchesPrefix": ["a", "b"],
                 "createdBefore": "2027-01-01", "numNewerVersions": 1}},
                {"action": {"type": "SetStorageClass", "storageClass": "COLDLINE"},
                 "condition": {"daysSinceNoncurrentTime": 3, "matchesStorageClass": ["STANDARD"]}},
                {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}}]}),
        ] {
            let rules = read_bucket_file(&file.to_string()).unwrap().decode(Reading::Worst).rules;
            let written = rules_to_json(&rules);
            let again = read_bucket_file(&written.to_string()).unwrap().decode(Reading::Worst).rules;
            assert_eq!(again, rules, "{written}");
        }
    }
}
