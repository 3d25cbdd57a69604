//! From the attributes of the Google provider to the shape of the GCS API.

use crate::policy::Span;
use crate::policy::lifecycle::Versioning;
use crate::policy::value::{Field, Node};

use super::model::Setting;

/// `lifecycle_rule` of `google_storage_bucket`.
pub(super) fn lifecycle(list: &Node) -> Node {
    let rules = match list {
        Node::Unknown(_) => list.clone(),
        list => Node::List(
            list.items()
                .iter()
                .map(|item| if matches!(item, Node::Map(_)) { rule(item) } else { item.clone() })
                .collect(),
        ),
    };
    Node::map([("rule", rules)])
}

fn rule(rule: &Node) -> Node {
    let action = rule.get("action").block();
    let action = match action {
        Node::Map(_) => Node::map([
            ("type", action.get("type").clone()),
            (
                "storageClass",
                if action.get("storage_class").text() == Some("") {
                    Node::Absent
                } else {
                    action.get("storage_class").clone()
                },
            ),
        ]),
        other => other.clone(),
    };
    let condition = match rule.get("condition").block() {
        condition @ Node::Map(_) => self::condition(condition),
        other => other.clone(),
    };
    Node::map([("action", action), ("condition", condition)])
}

fn condition(block: &Node) -> Node {
    // Zero means "not set" unless a switch beside it says that it is meant.
    let count = |name: &str, switch: &str| -> Node {
        let node = block.get(name);
        if !matches!(node.without_zero(), Node::Absent) {
            return node.clone();
        }
        match (block.get(switch), block.get("no_age")) {
            (Node::Bool(true), _) => node.clone(),
            (Node::Unknown(why), _) => Node::Unknown(why.clone()),
            // Providers before the switches sent a zero age unless told not to.
            (Node::Absent, Node::Bool(false)) if name == "age" && !node.is_absent() => node.clone(),
            _ => Node::Absent,
        }
    };
    let text = |name: &str| if block.get(name).text() == Some("") { Node::Absent } else { block.get(name).clone() };
    let list = |name: &str| match block.get(name) {
        Node::List(items) if items.is_empty() => Node::Absent,
        other => other.clone(),
    };
    let live = match block.get("with_state") {
        Node::Text(state) if state == "LIVE" => Node::Bool(true),
        Node::Text(state) if state == "ARCHIVED" => Node::Bool(false),
        Node::Unknown(why) => Node::Unknown(why.clone()),
        _ => Node::Absent,
    };
    Node::map([
        ("age", count("age", "send_age_if_zero")),
        ("createdBefore", text("created_before")),
        ("isLive", live),
        ("numNewerVersions", count("num_newer_versions", "send_num_newer_versions_if_zero")),
        ("daysSinceNoncurrentTime", count("days_since_noncurrent_time", "send_days_since_noncurrent_time_if_zero")),
        ("noncurrentTimeBefore", text("noncurrent_time_before")),
        ("daysSinceCustomTime", count("days_since_custom_time", "send_days_since_custom_time_if_zero")),
        ("customTimeBefore", text("custom_time_before")),
        ("matchesStorageClass", list("matches_storage_class")),
        ("matchesPrefix", list("matches_prefix")),
        ("matchesSuffix", list("matches_suffix")),
    ])
}

/// `versioning[0].enabled`.
pub(super) fn versioning(attributes: &Node) -> Setting<Versioning> {
    match attributes.get("versioning").block().get("enabled").as_bool() {
        Field::Known(true) => Setting::Known(Versioning::Enabled),
        Field::Known(false) => Setting::Known(Versioning::Disabled),
        Field::Unknown(why) => Setting::Unknown(why),
        Field::Absent => Setting::NotStated,
    }
}

/// `retention_policy[0].retention_period`, in seconds, a number or text; its absence states that there is none.
pub(super) fn retention(attributes: &Node) -> Setting<Span> {
    match attributes.get("retention_policy").block().get("retention_period").as_count() {
        Field::Known(seconds) => Setting::Known(Span::from_seconds(seconds)),
        Field::Unknown(why) => Setting::Unknown(why),
        Field::Absent => Setting::Known(Span::ZERO),
    }
}

/// `soft_delete_policy[0].retention_duration_seconds`. Taking the block out changes nothing on the server.
pub(super) fn soft_delete(attributes: &Node) -> Setting<Span> {
    match attributes.get("soft_delete_policy").block().get("retention_duration_seconds").as_count() {
        Field::Known(seconds) => Setting::Known(Span::from_seconds(seconds)),
        Field::Unknown(why) => Setting::Unknown(why),
        Field::Absent => Setting::NotStated,
    }
}
