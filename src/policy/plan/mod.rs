//! Plans: what buckets will look like when a change is applied.
//!
//! Nothing is fetched and nothing is run: a plan is a JSON (or YAML, or XML) text that a tool has printed. What cannot be
//! read for certain is refused with the command that makes a readable one, or kept as unknown; it is never taken as absent.

mod aws;
mod cloudformation;
mod google;
mod guards;
mod model;
mod overlay;
mod pulumi;
mod resources;
mod terraform;

pub use model::{
    BucketChange, BucketSide, LockDefault, Plan, PlanProblem, PlanRefusal, PlanSource, ResourceRef, RulesState, Setting,
};

use serde_json::Value;

use crate::policy::lifecycle::{self, Reading};
use crate::policy::value::Node;

/// Reads any of the formats, told apart by their shape.
///
/// # Errors
/// Files that are something else, only a part, or of a version that is not known: with the command to run instead.
pub fn read_plan(bytes: &[u8]) -> Result<Plan, PlanRefusal> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"tfplan") {
        return Err(PlanRefusal::new(
            "this is a saved plan in Terraform's own binary format",
            Some("terraform show -json plan.bin > plan.json"),
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| PlanRefusal::new("the file is not text", Some("terraform show -json plan.bin > plan.json")))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(PlanRefusal::new("the file is empty", Some("terraform show -json plan.bin > plan.json")));
    }
    if text.starts_with('<') {
        return rules_file(text);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(root) => from_json(&root, text),
        Err(error) if text.starts_with(['{', '[']) => Err(not_one_document(text, &error)),
        Err(_) if text.contains("NoSuchLifecycleConfiguration") => rules_file(text),
        Err(_) => from_yaml(text),
    }
}

fn from_json(root: &Value, text: &str) -> Result<Plan, PlanRefusal> {
    let has = |name: &str| root.get(name).is_some();
    if root.get("type").and_then(Value::as_str) == Some("version") || root.get("@level").is_some() {
        return Err(streaming());
    }
    if has("format_version") && (has("resource_changes") || has("values") || has("planned_values")) {
        return terraform::read(root);
    }
    if has("format_version") {
        return Err(PlanRefusal::new(
            "the file has a format_version but neither resource_changes nor values",
            Some("terraform show -json plan.bin > plan.json"),
        ));
    }
    if has("Resources") {
        return Ok(cloudformation::template(&Node::from_json(root)));
    }
    if has("Changes") {
        return cloudformation::change_set(root);
    }
    if has("TemplateBody") {
        return template_body(root);
    }
    if has("steps") && (has("changeSummary") || has("config")) {
        return pulumi::preview(root);
    }
    if has("terraform_version") && has("serial") {
        return Err(PlanRefusal::new(
            "this is a Terraform state file, not a plan",
            Some("terraform plan -out=plan.bin && terraform show -json plan.bin > plan.json"),
        ));
    }
    rules_file(text)
}

fn streaming() -> PlanRefusal {
    PlanRefusal::new(
        "this is the log of terraform plan -json, which carries no attribute values",
        Some("terraform plan -out=plan.bin && terraform show -json plan.bin > plan.json"),
    )
}

/// Several JSON documents one behind the other, or one that is cut off.
fn not_one_document(text: &str, error: &serde_json::Error) -> PlanRefusal {
    let first: Option<Value> = serde_json::Deserializer::from_str(text).into_iter().next().and_then(Result::ok);
    match first {
        Some(first)
            if first.get("@level").is_some() || first.get("type").and_then(Value::as_str) == Some("version") =>
        {
            streaming()
        }
        _ => PlanRefusal::new(
            format!("the file is not valid JSON: {error}"),
            Some("terraform show -json plan.bin > plan.json (it may have been cut off)"),
        ),
    }
}

/// `aws cloudformation get-template` wraps the template; YAML ones as text.
fn template_body(root: &Value) -> Result<Plan, PlanRefusal> {
    match root.get("TemplateBody") {
        Some(Value::String(text)) => read_plan(text.as_bytes()),
        Some(body) => Ok(cloudformation::template(&Node::from_json(body))),
        None => Err(PlanRefusal::new("the template is empty", None)),
    }
}

#[cfg(feature = "config")]
fn from_yaml(text: &str) -> Result<Plan, PlanRefusal> {
    match cloudformation::from_yaml(text) {
        Ok(root) if !root.get("Resources").is_absent() => Ok(cloudformation::template(&root)),
        _ if text.starts_with("Terraform ") || text.contains("Plan: ") && text.contains(" to add") => {
            Err(PlanRefusal::new(
                "this is what terraform plan prints for people",
                Some("terraform plan -out=plan.bin && terraform show -json plan.bin > plan.json"),
            ))
        }
        _ => Err(unknown_file()),
    }
}

#[cfg(not(feature = "config"))]
fn from_yaml(_text: &str) -> Result<Plan, PlanRefusal> {
    Err(unknown_file())
}

fn unknown_file() -> PlanRefusal {
    PlanRefusal::new(
        "neither a plan, a template nor lifecycle rules",
        Some(
            "terraform show -json plan.bin, aws s3api get-bucket-lifecycle-configuration, or \
             gcloud storage buckets describe --raw --format=json",
        ),
    )
}

/// Raw rules of one bucket.
fn rules_file(text: &str) -> Result<Plan, PlanRefusal> {
    let Ok(file) = lifecycle::read_bucket_file(text) else { return Err(unknown_file()) };
    let mut change = BucketChange::new(file.provider, file.bucket.clone(), "the bucket".into());
    change.after = BucketSide {
        versioning: file.versioning.map_or(Setting::NotStated, Setting::Known),
        retention: file.retention.map_or(Setting::NotStated, Setting::Known),
        soft_delete: file.soft_delete.map_or(Setting::NotStated, Setting::Known),
        rules: RulesState::Stated(file.into_rules()),
        ..BucketSide::default()
    };
    Ok(Plan::new(PlanSource::Rules, vec![change]))
}

#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    if let Ok(plan) = read_plan(bytes) {
        for bucket in &plan.buckets {
            for side in [&bucket.before, &bucket.after] {
                let _ = (bucket.decode(side, Reading::Worst), bucket.decode(side, Reading::Best));
            }
        }
    }
}

#[cfg(test)]
mod tests;
