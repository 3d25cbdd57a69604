//! From the attributes of the AWS and MinIO providers to the shape of S3's API.

use crate::policy::Span;
use crate::policy::config::LockMode;
use crate::policy::lifecycle::Versioning;
use crate::policy::value::{Field, Node};

use super::model::{LockDefault, Setting};

/// `aws_s3_bucket_lifecycle_configuration` (and `minio_s3_bucket_lifecycle`).
pub(super) fn lifecycle_configuration(attributes: &Node) -> Node {
    Node::map([
        ("Rules", each(attributes.any(&["rule", "rules"]), rule)),
        ("TransitionDefaultMinimumObjectSize", attributes.get("transition_default_minimum_object_size").clone()),
    ])
}

/// `lifecycle_rule` inside `aws_s3_bucket`: the style of provider 3 and before.
pub(super) fn legacy_rules(list: &Node) -> Node {
    Node::map([("Rules", each(list, legacy_rule))])
}

/// Elements of a list of blocks; what is unknown as a whole stays so.
fn each(list: &Node, read: fn(&Node) -> Node) -> Node {
    match list {
        Node::Unknown(_) => list.clone(),
        list => Node::List(
            list.items()
                .iter()
                .map(|item| if matches!(item, Node::Map(_)) { read(item) } else { item.clone() })
                .collect(),
        ),
    }
}

/// A single block: absent when the list is empty, an empty map when the block is there but empty.
fn single(list: &Node) -> Node {
    match list {
        Node::List(items) => match items.first() {
            None => Node::Absent,
            Some(Node::Absent) => Node::map([]),
            Some(item) => item.clone(),
        },
        other => other.clone(),
    }
}

/// Blocks of a set cannot be paired with their unknown members by position: one unknown makes all unknown.
fn set(list: &Node, read: fn(&Node) -> Node) -> Node {
    match list.unknown_within() {
        Some(why) => Node::Unknown(why.to_owned()),
        None => each(list, read),
    }
}

fn rule(rule: &Node) -> Node {
    Node::map([
        ("ID", rule.get("id").clone()),
        ("Status", rule.get("status").clone()),
        ("Prefix", rule.get("prefix").clone()),
        ("Filter", filter(&single(rule.get("filter")))),
        ("Expiration", expiration(&single(rule.get("expiration")))),
        ("Transitions", set(rule.any(&["transition", "transitions"]), transition)),
        ("NoncurrentVersionExpiration", noncurrent_expiration(&single(rule.get("noncurrent_version_expiration")))),
        (
            "NoncurrentVersionTransitions",
            set(rule.any(&["noncurrent_version_transition", "noncurrent_version_transitions"]), noncurrent_transition),
        ),
        ("AbortIncompleteMultipartUpload", abort(&single(rule.get("abort_incomplete_multipart_upload")))),
    ])
}

fn filter(block: &Node) -> Node {
    if block.is_absent() || block.is_unknown() {
        return block.clone();
    }
    let and = single(block.get("and"));
    let and = match &and {
        Node::Map(_) => Node::map([
            ("Prefix", and.get("prefix").clone()),
            ("Tags", tags(and.get("tags"))),
            ("ObjectSizeGreaterThan", and.get("object_size_greater_than").without_zero()),
            ("ObjectSizeLessThan", and.get("object_size_less_than").without_zero()),
        ]),
        other => other.clone(),
    };
    // An unknown "and" could hold any condition or none.
    if let Node::Unknown(why) = &and {
        return Node::Unknown(why.clone());
    }
    let tag = single(block.get("tag"));
    let tag = match &tag {
        Node::Map(_) => Node::map([("Key", tag.get("key").clone()), ("Value", tag.get("value").clone())]),
        other => other.clone(),
    };
    Node::map([
        ("Prefix", block.get("prefix").clone()),
        ("Tag", tag),
        ("And", and),
        ("ObjectSizeGreaterThan", block.get("object_size_greater_than").without_zero()),
        ("ObjectSizeLessThan", block.get("object_size_less_than").without_zero()),
    ])
}

/// A map of tags as a list of pairs.
fn tags(map: &Node) -> Node {
    match map {
        Node::Map(tags) => Node::List(
            tags.iter()
                .map(|(key, value)| Node::map([("Key", key.as_str().into()), ("Value", value.clone())]))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn expiration(block: &Node) -> Node {
    match block {
        Node::Map(_) => Node::map([
            // Zero is how the provider writes "unset" beside a date or a marker.
            ("Days", block.get("days").without_zero()),
            ("Date", block.get("date").clone()),
            ("ExpiredObjectDeleteMarker", block.get("expired_object_delete_marker").clone()),
        ]),
        other => other.clone(),
    }
}

fn transition(block: &Node) -> Node {
    let date = block.get("date");
    let dated = !date.is_absent() && date.text() != Some("");
    Node::map([
        // Zero days are real here: at once. Unless a date is set.
        ("Days", if dated { Node::Absent } else { block.get("days").clone() }),
        ("Date", date.clone()),
        ("StorageClass", block.any(&["storage_class", "tier"]).clone()),
    ])
}

fn noncurrent_expiration(block: &Node) -> Node {
    match block {
        Node::Map(_) => Node::map([
            ("NoncurrentDays", block.any(&["noncurrent_days", "days"]).without_zero()),
            ("NewerNoncurrentVersions", block.get("newer_noncurrent_versions").clone()),
        ]),
        other => other.clone(),
    }
}

fn noncurrent_transition(block: &Node) -> Node {
    Node::map([
        ("NoncurrentDays", block.any(&["noncurrent_days", "days"]).clone()),
        ("NewerNoncurrentVersions", block.get("newer_noncurrent_versions").clone()),
        ("StorageClass", block.get("storage_class").clone()),
    ])
}

fn abort(block: &Node) -> Node {
    match block {
        Node::Map(_) => Node::map([("DaysAfterInitiation", block.get("days_after_initiation").clone())]),
        other => other.clone(),
    }
}

fn legacy_rule(rule: &Node) -> Node {
    let status = match rule.get("enabled") {
        Node::Bool(true) => "Enabled".into(),
        Node::Bool(false) => "Disabled".into(),
        other => other.clone(),
    };
    let tags = match rule.get("tags") {
        Node::Map(map) if map.is_empty() => Node::Absent,
        map => tags(map),
    };
    let filter = if tags.is_absent() {
        Node::Absent
    } else {
        Node::map([("And", Node::map([("Prefix", rule.get("prefix").clone()), ("Tags", tags)]))])
    };
    let prefix = if filter.is_absent() { rule.get("prefix").clone() } else { Node::Absent };
    Node::map([
        ("ID", rule.get("id").clone()),
        ("Status", status),
        ("Prefix", prefix),
        ("Filter", filter),
        ("Expiration", expiration(&single(rule.get("expiration")))),
        ("Transitions", set(rule.get("transition"), transition)),
        ("NoncurrentVersionExpiration", noncurrent_expiration(&single(rule.get("noncurrent_version_expiration")))),
        ("NoncurrentVersionTransitions", set(rule.get("noncurrent_version_transition"), noncurrent_transition)),
        (
            "AbortIncompleteMultipartUpload",
            match rule.get("abort_incomplete_multipart_upload_days").without_zero() {
                Node::Absent => Node::Absent,
                days => Node::map([("DaysAfterInitiation", days)]),
            },
        ),
    ])
}

/// `minio_ilm_policy`: durations as text, the prefix as a plain string.
pub(super) fn minio_policy(attributes: &Node) -> Node {
    Node::map([("Rules", each(attributes.get("rule"), minio_rule))])
}

fn minio_rule(rule: &Node) -> Node {
    let tags = match rule.get("tags") {
        Node::Map(map) if map.is_empty() => Node::Absent,
        map => tags(map),
    };
    let prefix = rule.get("filter").clone();
    let filter = if tags.is_absent() && prefix.is_absent() {
        Node::Absent
    } else {
        Node::map([("And", Node::map([("Prefix", prefix), ("Tags", tags)]))])
    };
    let noncurrent = |names: &[&str]| -> Node {
        match rule.any(names) {
            // Older releases: a bare number of days.
            days @ (Node::Int(_) | Node::Text(_)) => match days_of(days).without_zero() {
                Node::Absent => Node::Absent,
                days => Node::map([("NoncurrentDays", days)]),
            },
            list => match single(list) {
                Node::Map(block) => {
                    let block = Node::Map(block);
                    Node::map([
                        ("NoncurrentDays", days_of(block.get("days")).without_zero()),
                        (
                            "NewerNoncurrentVersions",
                            block.any(&["newer_versions", "newer_noncurrent_versions"]).clone(),
                        ),
                        ("StorageClass", block.get("storage_class").clone()),
                    ])
                }
                other => other,
            },
        }
    };
    let transition = match single(rule.get("transition")) {
        Node::Map(block) => {
            let block = Node::Map(block);
            Node::List(vec![Node::map([
                ("Days", days_of(block.get("days"))),
                ("Date", block.get("date").clone()),
                ("StorageClass", block.get("storage_class").clone()),
            ])])
        }
        other => other,
    };
    let status = match rule.get("status") {
        Node::Absent => "Enabled".into(),
        status => status.clone(),
    };
    Node::map([
        ("ID", rule.get("id").clone()),
        ("Status", status),
        ("Filter", filter),
        ("Expiration", minio_expiration(rule.get("expiration"))),
        ("Transitions", transition),
        (
            "NoncurrentVersionExpiration",
            noncurrent(&["noncurrentversionexpiration", "noncurrent_expiration", "noncurrent_version_expiration"]),
        ),
        (
            "NoncurrentVersionTransitions",
            match noncurrent(&["noncurrent_transition", "noncurrent_version_transition"]) {
                Node::Absent => Node::Absent,
                block => Node::List(vec![block]),
            },
        ),
    ])
}

/// `7d`, a date, or `DeleteMarker`.
fn minio_expiration(value: &Node) -> Node {
    match value {
        Node::Text(text) if text.is_empty() => Node::Absent,
        Node::Text(text) if text.eq_ignore_ascii_case("deletemarker") => {
            Node::map([("ExpiredObjectDeleteMarker", Node::Bool(true))])
        }
        Node::Text(text) if text.contains('-') => Node::map([("Date", value.clone())]),
        Node::Absent => Node::Absent,
        Node::Unknown(_) => value.clone(),
        other => Node::map([("Days", days_of(other).without_zero())]),
    }
}

/// `30d`, `30` or a number.
fn days_of(value: &Node) -> Node {
    match value {
        Node::Text(text) => match text.trim().strip_suffix(['d', 'D']) {
            Some(number) => Node::Text(number.to_owned()),
            None => value.clone(),
        },
        other => other.clone(),
    }
}

/// `aws_s3_bucket_versioning` and its MinIO twin.
pub(super) fn versioning(attributes: &Node) -> Setting<Versioning> {
    let status = single(attributes.any(&["versioning_configuration", "versioning"])).get("status").clone();
    match status.as_text() {
        Field::Known(status) => match Versioning::parse(&status) {
            Some(versioning) => Setting::Known(versioning),
            None => {
                Setting::Unknown(format!("\"{}\" is no state of versioning", crate::policy::span::printable(&status)))
            }
        },
        Field::Unknown(why) => Setting::Unknown(why),
        Field::Absent => Setting::NotStated,
    }
}

/// `versioning` inside `aws_s3_bucket`. Once enabled it never returns to "never enabled".
pub(super) fn legacy_versioning(attributes: &Node, was_enabled: bool) -> Setting<Versioning> {
    match single(attributes.get("versioning")).get("enabled").as_bool() {
        Field::Known(true) => Setting::Known(Versioning::Enabled),
        Field::Known(false) if was_enabled => Setting::Known(Versioning::Suspended),
        Field::Known(false) => Setting::Known(Versioning::Disabled),
        Field::Unknown(why) => Setting::Unknown(why),
        Field::Absent => Setting::NotStated,
    }
}

/// `aws_s3_bucket_object_lock_configuration`, or `object_lock_configuration` inside a bucket.
pub(super) fn lock(attributes: &Node) -> Setting<Option<LockDefault>> {
    if let Some(why) = attributes.get("rule").unknown_within() {
        return Setting::Unknown(why.to_owned());
    }
    let retention = single(single(attributes.get("rule")).get("default_retention"));
    if !matches!(retention, Node::Map(_)) {
        return Setting::Known(None);
    }
    let mode = match retention.get("mode").text() {
        Some(mode) if mode.eq_ignore_ascii_case("compliance") => LockMode::Compliance,
        _ => LockMode::Governance,
    };
    let count = |name: &str| match retention.get(name).as_count() {
        Field::Known(count) => u32::try_from(count).unwrap_or(u32::MAX),
        _ => 0,
    };
    let days = count("days").max(count("years").saturating_mul(365));
    Setting::Known((days > 0).then_some(LockDefault { mode, span: Span::from_days(days) }))
}

/// `aws_s3_bucket_intelligent_tiering_configuration`: whether a tier needs a restore.
pub(super) fn has_archive_tiers(attributes: &Node) -> bool {
    let disabled = attributes.get("status").text() == Some("Disabled");
    !disabled && (attributes.get("tiering").is_unknown() || !attributes.get("tiering").items().is_empty())
}
