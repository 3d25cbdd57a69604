//! CloudFormation templates (JSON, and YAML with short tags) and change sets.

use serde_json::Value;

use crate::policy::Severity;
use crate::policy::Span;
use crate::policy::config::LockMode;
use crate::policy::lifecycle::{Provider, Versioning};
use crate::policy::value::{Field, Node};

use super::model::{
    BucketChange, BucketSide, LockDefault, Plan, PlanProblem, PlanRefusal, PlanSource, ResourceRef, RulesState, Setting,
};

const BUCKET: &str = "AWS::S3::Bucket";

/// A template, read by shape: it says what will be, not what was.
pub(super) fn template(root: &Node) -> Plan {
    let mut buckets = Vec::new();
    if let Node::Map(resources) = root.get("Resources") {
        for (id, resource) in resources.iter().filter(|(_, resource)| resource.get("Type").text() == Some(BUCKET)) {
            let resource = intrinsics(resource, id);
            let properties = resource.get("Properties");
            let mut change = bucket(id, properties);
            change.after = side(properties);
            change.rules_owner = Some(ResourceRef { address: id.clone(), action: "template".into() });
            change.problems.extend(deletion_policies(id, &resource, &change));
            buckets.push(change);
        }
    }
    Plan::new(PlanSource::CloudFormation, buckets)
}

/// A change set with property values.
///
/// # Errors
/// When it was described without property values.
pub(super) fn change_set(root: &Value) -> Result<Plan, PlanRefusal> {
    let mut buckets = Vec::new();
    let changes = root.get("Changes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of_buckets = changes
        .iter()
        .filter_map(|change| change.get("ResourceChange"))
        .filter(|change| change.get("ResourceType").and_then(Value::as_str) == Some(BUCKET));
    for change in of_buckets {
        let text = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or("");
        let context = |name: &str| -> Option<Node> {
            let parsed: Value = serde_json::from_str(change.get(name)?.as_str()?).ok()?;
            Some(intrinsics(&Node::from_json(&parsed), text("LogicalResourceId")))
        };
        let (before, after) = (context("BeforeContext"), context("AfterContext"));
        if before.is_none() && after.is_none() {
            return Err(PlanRefusal::new(
                "the change set was described without property values",
                Some("aws cloudformation describe-change-set --include-property-values --change-set-name NAME"),
            ));
        }
        buckets.extend(changed(text("LogicalResourceId"), text("Action"), text("Replacement"), before, after, change));
    }
    Ok(Plan::new(PlanSource::ChangeSet, buckets))
}

fn changed(
    id: &str,
    action: &str,
    replacement: &str,
    before: Option<Node>,
    after: Option<Node>,
    change: &Value,
) -> Option<BucketChange> {
    let properties = |side: &Option<Node>| side.as_ref().map(|side| side.get("Properties").clone());
    let (before, after) = (properties(&before), properties(&after));
    let named = after.as_ref().filter(|_| action != "Remove").or(before.as_ref())?;
    let mut bucket = bucket(id, named);
    if let Some(physical) = change.get("PhysicalResourceId").and_then(Value::as_str)
        && bucket.bucket.is_none()
    {
        bucket.bucket = Some(physical.to_owned());
    }
    bucket.before = before.as_ref().map(side).unwrap_or_default();
    bucket.after = after.as_ref().map(side).unwrap_or_default();
    bucket.rules_owner = Some(ResourceRef { address: id.to_owned(), action: action.to_ascii_lowercase() });
    let goes = match (action, replacement) {
        ("Remove", _) => Some("deletes"),
        (_, "True" | "Conditional") => Some("replaces"),
        _ => None,
    };
    if let Some(verb) = goes {
        let message = format!("the change set {verb} bucket {}", bucket.name());
        bucket.problems.push(PlanProblem {
            code: "LFC017",
            severity: Severity::Critical,
            address: id.to_owned(),
            message,
            advice: "set DeletionPolicy and UpdateReplacePolicy to Retain before anything else".into(),
        });
    }
    Some(bucket)
}

fn bucket(id: &str, properties: &Node) -> BucketChange {
    let name = properties.get("BucketName").text().map(str::to_owned);
    BucketChange::new(Provider::S3, name, id.to_owned())
}

fn side(properties: &Node) -> BucketSide {
    BucketSide { rules: RulesState::Stated(rules(properties.get("LifecycleConfiguration"))), ..settings(properties) }
}

/// Everything but the rules.
pub(super) fn settings(properties: &Node) -> BucketSide {
    let versioning = match properties.get("VersioningConfiguration").get("Status").as_text() {
        Field::Known(status) => Versioning::parse(&status).map_or(Setting::NotStated, Setting::Known),
        Field::Unknown(why) => Setting::Unknown(why),
        Field::Absent if properties.get("VersioningConfiguration").is_unknown() => {
            Setting::Unknown("VersioningConfiguration".into())
        }
        // A template without the block never enables versioning, but may suspend what it enabled before.
        Field::Absent => Setting::NotStated,
    };
    let retention = properties.get("ObjectLockConfiguration").get("Rule").get("DefaultRetention");
    let count = |name: &str| match retention.get(name).as_count() {
        Field::Known(count) => u32::try_from(count).unwrap_or(u32::MAX),
        _ => 0,
    };
    let days = count("Days").max(count("Years").saturating_mul(365));
    let lock = match retention.unknown_within() {
        Some(why) => Setting::Unknown(why.to_owned()),
        None if days == 0 => Setting::NotStated,
        None => {
            let compliance = retention.get("Mode").text() == Some("COMPLIANCE");
            let mode = if compliance { LockMode::Compliance } else { LockMode::Governance };
            Setting::Known(Some(LockDefault { mode, span: Span::from_days(days) }))
        }
    };
    let tiers = properties.get("IntelligentTieringConfigurations");
    BucketSide { versioning, lock, archive_tiers: !tiers.items().is_empty(), ..BucketSide::default() }
}

/// Flat rules as the API's nested ones: all members that are present are conditions together.
pub(super) fn rules(configuration: &Node) -> Node {
    if let Node::Unknown(_) = configuration {
        return Node::map([("Rules", configuration.clone())]);
    }
    let rules = match configuration.get("Rules") {
        Node::Unknown(why) => Node::Unknown(why.clone()),
        list => Node::List(
            list.items()
                .iter()
                .map(|item| if matches!(item, Node::Map(_)) { rule(item) } else { item.clone() })
                .collect(),
        ),
    };
    Node::map([
        ("Rules", rules),
        (
            "TransitionDefaultMinimumObjectSize",
            match configuration.get("TransitionDefaultMinimumObjectSize") {
                Node::Absent => "all_storage_classes_128K".into(),
                stated => stated.clone(),
            },
        ),
    ])
}

fn rule(rule: &Node) -> Node {
    let transition = |node: &Node, days: &str, date: &str| {
        Node::map([
            ("Days", node.get(days).clone()),
            ("NoncurrentDays", node.get(days).clone()),
            ("Date", node.get(date).clone()),
            ("NewerNoncurrentVersions", node.get("NewerNoncurrentVersions").clone()),
            ("StorageClass", node.get("StorageClass").clone()),
        ])
    };
    let transitions = |one: &str, many: &str, days: &str| {
        let (one, many) = (rule.get(one), rule.get(many));
        if let Some(why) = one.unknown_within().filter(|_| one.is_unknown()).or(match many {
            Node::Unknown(why) => Some(why.as_str()),
            _ => None,
        }) {
            return Node::Unknown(why.to_owned());
        }
        Node::List(
            one.items().iter().chain(many.items()).map(|node| transition(node, days, "TransitionDate")).collect(),
        )
    };
    let noncurrent = match rule.get("NoncurrentVersionExpiration") {
        Node::Absent => match rule.get("NoncurrentVersionExpirationInDays") {
            Node::Absent => Node::Absent,
            days => Node::map([("NoncurrentDays", days.clone())]),
        },
        block => block.clone(),
    };
    Node::map([
        ("ID", rule.get("Id").clone()),
        ("Status", rule.get("Status").clone()),
        (
            "Filter",
            Node::map([(
                "And",
                Node::map([
                    ("Prefix", rule.get("Prefix").clone()),
                    ("Tags", rule.get("TagFilters").clone()),
                    ("ObjectSizeGreaterThan", rule.get("ObjectSizeGreaterThan").clone()),
                    ("ObjectSizeLessThan", rule.get("ObjectSizeLessThan").clone()),
                ]),
            )]),
        ),
        (
            "Expiration",
            Node::map([
                ("Days", rule.get("ExpirationInDays").clone()),
                ("Date", rule.get("ExpirationDate").clone()),
                ("ExpiredObjectDeleteMarker", rule.get("ExpiredObjectDeleteMarker").clone()),
            ]),
        ),
        ("Transitions", transitions("Transition", "Transitions", "TransitionInDays")),
        ("NoncurrentVersionExpiration", noncurrent),
        (
            "NoncurrentVersionTransitions",
            transitions("NoncurrentVersionTransition", "NoncurrentVersionTransitions", "TransitionInDays"),
        ),
        ("AbortIncompleteMultipartUpload", rule.get("AbortIncompleteMultipartUpload").clone()),
    ])
}

/// A stack that is deleted, or a bucket that is renamed, takes the bucket along unless both policies say Retain.
fn deletion_policies(id: &str, resource: &Node, change: &BucketChange) -> Option<PlanProblem> {
    let retains = |name: &str| matches!(resource.get(name).text(), Some("Retain" | "RetainExceptOnCreate"));
    let missing: Vec<&str> =
        ["DeletionPolicy", "UpdateReplacePolicy"].into_iter().filter(|name| !retains(name)).collect();
    (!missing.is_empty()).then(|| PlanProblem {
        code: "LFC017",
        severity: Severity::Error,
        address: id.to_owned(),
        message: format!(
            "bucket {} can be deleted with its stack or replaced: {} not Retain",
            change.name(),
            missing.join(" and ") + if missing.len() == 1 { " is" } else { " are" }
        ),
        advice: "set DeletionPolicy: Retain and UpdateReplacePolicy: Retain on the bucket".into(),
    })
}

/// Values that functions of the template compute are known only when it is deployed.
fn intrinsics(node: &Node, path: &str) -> Node {
    match node {
        Node::Map(entries) => {
            if let Some((name, value)) = entries.iter().next().filter(|_| entries.len() == 1)
                && (name == "Ref" || name.starts_with("Fn::"))
            {
                let of = value.text().map_or(String::new(), |text| format!(" {text}"));
                return Node::Unknown(format!("{path}, {name}{of}"));
            }
            Node::Map(
                entries
                    .iter()
                    .map(|(name, value)| (name.clone(), intrinsics(value, &format!("{path}.{name}"))))
                    .collect(),
            )
        }
        Node::List(items) => Node::List(
            items.iter().enumerate().map(|(at, value)| intrinsics(value, &format!("{path}[{at}]"))).collect(),
        ),
        other => other.clone(),
    }
}

/// `expiration_in_days` → `ExpirationInDays`, throughout: how the Cloud Control provider writes the same resource.
pub(super) fn pascal(node: &Node) -> Node {
    match node {
        Node::Map(entries) => Node::Map(
            entries
                .iter()
                .map(|(name, value)| {
                    let words = name.split('_').map(|word| {
                        let mut chars = word.chars();
                        chars
                            .next()
                            .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + chars.as_str())
                    });
                    (words.collect::<String>(), pascal(value))
                })
                .collect(),
        ),
        Node::List(items) => Node::List(items.iter().map(pascal).collect()),
        other => other.clone(),
    }
}

/// YAML with `!Ref` and the like.
///
/// # Errors
/// Why it is no YAML.
#[cfg(feature = "config")]
pub(super) fn from_yaml(text: &str) -> Result<Node, String> {
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    Ok(yaml(&value))
}

#[cfg(feature = "config")]
fn yaml(value: &serde_yaml_ng::Value) -> Node {
    use serde_yaml_ng::Value as Yaml;
    match value {
        Yaml::Null => Node::Absent,
        Yaml::Bool(value) => Node::Bool(*value),
        Yaml::Number(number) => match number.as_i64() {
            Some(number) => Node::Int(number),
            None => Node::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Yaml::String(text) => Node::Text(text.clone()),
        Yaml::Sequence(items) => Node::List(items.iter().map(yaml).collect()),
        Yaml::Mapping(entries) => Node::Map(
            entries
                .iter()
                .filter_map(|(name, value)| {
                    let name = match name {
                        Yaml::String(name) => name.clone(),
                        Yaml::Number(number) => number.to_string(),
                        Yaml::Bool(value) => value.to_string(),
                        _ => return None,
                    };
                    Some((name, yaml(value)))
                })
                .collect(),
        ),
        // Every short tag is a function: its value is known when the template is deployed.
        Yaml::Tagged(tagged) => {
            let of = tagged.value.as_str().map_or(String::new(), |text| format!(" {text}"));
            Node::Unknown(format!("{}{of}", tagged.tag))
        }
    }
}
