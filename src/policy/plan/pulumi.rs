//! Pulumi: `pulumi preview --json`. Its resources are those of the Terraform providers in other spelling.

use serde_json::Value;

use crate::policy::value::Node;

use super::model::{Plan, PlanRefusal, PlanSource};
use super::resources::Buckets;
use super::terraform::{Change, Resource};

/// How a preview writes a value that is known only after the update.
const UNKNOWN: &str = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
/// The key that marks an encrypted value, and its value for secrets.
const SIGNATURE: &str = "4dabf18193072939515e22adb298388d";

/// # Errors
/// A preview that says itself that it may be damaged.
pub(super) fn preview(root: &Value) -> Result<Plan, PlanRefusal> {
    if root.get("maybeCorrupt").and_then(Value::as_bool) == Some(true) {
        return Err(PlanRefusal::new("the preview says that it may be corrupt", Some("pulumi preview --json")));
    }
    let steps = root.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let resources: Vec<Resource> = steps.iter().filter_map(resource).collect();
    let mut buckets = Buckets::new(&resources);
    resources.iter().for_each(|resource| buckets.add(resource));
    let (buckets, problems) = buckets.finish();
    Ok(Plan { problems, ..Plan::new(PlanSource::Pulumi, buckets) })
}

/// The Terraform type behind a Pulumi type.
fn kind(of: &str) -> Option<&'static str> {
    let name = of.split(':').nth(1)?;
    let provider = of.split(':').next()?;
    Some(match (provider, name.trim_end_matches("V2")) {
        ("aws", "s3/bucket") => "aws_s3_bucket",
        ("aws", "s3/bucketLifecycleConfiguration") => "aws_s3_bucket_lifecycle_configuration",
        ("aws", "s3/bucketVersioning") => "aws_s3_bucket_versioning",
        ("aws", "s3/bucketObjectLockConfiguration") => "aws_s3_bucket_object_lock_configuration",
        ("aws", "s3/bucketReplicationConfig") => "aws_s3_bucket_replication_configuration",
        ("aws", "s3/bucketIntelligentTieringConfiguration") => "aws_s3_bucket_intelligent_tiering_configuration",
        ("aws", "s3/bucketPublicAccessBlock") => "aws_s3_bucket_public_access_block",
        ("aws", "s3/bucketServerSideEncryptionConfiguration") => "aws_s3_bucket_server_side_encryption_configuration",
        ("aws", "kms/key") => "aws_kms_key",
        ("gcp", "storage/bucket") => "google_storage_bucket",
        ("gcp", "kms/cryptoKey") => "google_kms_crypto_key",
        _ => return None,
    })
}

fn resource(step: &Value) -> Option<Resource> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let change = match step.get("op")?.as_str()? {
        "same" | "import" => Change::NoOp,
        "create" => Change::Create,
        "update" => Change::Update,
        "delete" => Change::Delete,
        "replace" => Change::Replace,
        // The halves of a replacement are listed beside it; reads and refreshes change nothing.
        _ => return None,
    };
    let (old, new) = (step.get("oldState"), step.get("newState"));
    let kind = kind(&text(new.or(old)?, "type"))?;
    let side = |state: Option<&Value>, names: [&str; 2]| {
        let values = names.iter().find_map(|name| state?.get(name).filter(|values| values.is_object()));
        values.map_or(Node::Absent, |values| snake(values, ""))
    };
    Some(Resource {
        address: text(step, "urn"),
        module: String::new(),
        kind: kind.to_owned(),
        name: text(step, "urn"),
        index: None,
        change,
        before: side(old, ["outputs", "inputs"]),
        after: if change == Change::Delete { Node::Absent } else { side(new, ["inputs", "outputs"]) },
        sensitive: false,
        expressions: Vec::new(),
        configured: None,
    })
}

/// `noncurrentVersionExpiration` → `noncurrent_version_expiration`, lists by their singular name; keys of tags stay.
fn snake(value: &Value, path: &str) -> Node {
    match value {
        Value::String(text) if text == UNKNOWN => Node::Unknown(path.to_owned()),
        Value::Object(entries) if entries.contains_key(SIGNATURE) => Node::Unknown(format!("{path} (a secret)")),
        Value::Object(entries) => {
            let keep = path.ends_with("tags");
            let named = entries.iter().filter(|(name, _)| !name.starts_with("__"));
            Node::Map(
                named
                    .map(|(name, value)| {
                        let name = if keep { name.clone() } else { snake_name(name) };
                        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                        (name, snake(value, &path))
                    })
                    .collect(),
            )
        }
        Value::Array(items) => {
            Node::List(items.iter().enumerate().map(|(at, value)| snake(value, &format!("{path}[{at}]"))).collect())
        }
        other => Node::from_json(other),
    }
}

fn snake_name(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    const SINGULAR: [&str; 5] =
        ["lifecycle_rules", "rules", "transitions", "noncurrent_version_transitions", "tierings"];
    if SINGULAR.contains(&out.as_str()) {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::lifecycle::{Action, Reading, Versioning, When};
    use crate::policy::plan::{Setting, read_plan};

    #[test]
    fn a_preview() {
        let rules = |days: Value| {
            json!({"bucket": "b", "rules": [{"id": "r", "status": "Enabled",
            "filter": {"and": {"prefix": "wal/", "tags": {"teamName": "x"}}}, "expiration": {"days": days},
            "transitions": [{"days": 3, "storageClass": "GLACIER"}],
            "noncurrentVersionExpiration": {"noncurrentDays": 9}}], "__defaults": []})
        };
        let kind = "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2";
        let root = json!({"config": {}, "changeSummary": {"update": 1}, "steps": [
            {"op": "update", "urn": "urn:x", "oldState": {"type": kind, "outputs": rules(json!(90))},
             "newState": {"type": kind, "inputs": rules(json!(UNKNOWN))}},
            {"op": "update", "urn": "urn:v",
             "oldState": {"type": "aws:s3/bucketVersioningV2:BucketVersioningV2", "outputs": {"bucket": "b",
                "versioningConfiguration": {"status": "Enabled"}}},
             "newState": {"type": "aws:s3/bucketVersioningV2:BucketVersioningV2", "inputs": {"bucket": "b",
                "versioningConfiguration": {"status": "Suspended"}}}},
            {"op": "create", "urn": "urn:g", "newState": {"type": "gcp:storage/bucket:Bucket", "inputs": {"name": "g",
                "lifecycleRules": [{"action": {"type": "Delete"}, "condition": {"age": 5, "withState": "LIVE"}}]}}},
            {"op": "read", "urn": "urn:r", "newState": {"type": kind, "inputs": rules(json!(1))}}]});
        let plan = read_plan(root.to_string().as_bytes()).unwrap();
        assert_eq!((plan.source, plan.buckets.len()), (PlanSource::Pulumi, 2));
        let named = |name: &str| plan.buckets.iter().find(|change| change.name() == name).unwrap();
        let (change, google) = (named("b"), named("g"));
        let before = change.decode(&change.before, Reading::Worst);
        let rule = &before.rules.rules[0];
        assert_eq!(rule.filter.to_string(), "prefix \"wal/\" and tag teamName=x");
        assert_eq!(rule.actions[0], Action::Expire { when: When::Days(90), all_versions: false });
        assert_eq!(rule.actions.len(), 3);
        let after = change.decode(&change.after, Reading::Worst);
        assert_eq!(after.unknown[0].from, "rule[0].expiration.days");
        assert_eq!(change.after.versioning, Setting::Known(Versioning::Suspended));
        let rules = google.decode(&google.after, Reading::Worst).rules.rules;
        assert!(matches!(&rules[0].actions[0], Action::GcsDelete(when) if when.age_days == Some(5)));
        let corrupt = json!({"config": {}, "steps": [], "changeSummary": {}, "maybeCorrupt": true});
        assert!(read_plan(corrupt.to_string().as_bytes()).is_err());
    }
}
