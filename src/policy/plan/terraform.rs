//! Terraform and OpenTofu: `terraform show -json`, of a plan or of the state.

use serde_json::Value;

use crate::policy::lifecycle::Provider;
use crate::policy::value::Node;

use super::model::{Plan, PlanRefusal, PlanSource};
use super::overlay::{overlay, sensitive};
use super::resources::Buckets;

/// What a plan does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    NoOp,
    Create,
    Update,
    Delete,
    Replace,
    Forget,
}

impl Change {
    fn read(actions: &Value) -> Option<Change> {
        let actions: Vec<&str> = actions.as_array()?.iter().filter_map(Value::as_str).collect();
        match actions.as_slice() {
            ["no-op"] => Some(Change::NoOp),
            ["create"] => Some(Change::Create),
            ["update"] => Some(Change::Update),
            ["delete"] => Some(Change::Delete),
            ["delete", "create"] | ["create", "delete"] => Some(Change::Replace),
            ["forget"] | ["create", "forget"] => Some(Change::Forget),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Change::NoOp => "no-op",
            Change::Create => "create",
            Change::Update => "update",
            Change::Delete => "delete",
            Change::Replace => "replace",
            Change::Forget => "forget",
        }
    }
}

/// One resource, both sides.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub address: String,
    pub module: String,
    pub kind: String,
    pub name: String,
    pub index: Option<String>,
    pub change: Change,
    /// `Absent` where there is no such side.
    pub before: Node,
    pub after: Node,
    /// Something in the after side is marked as sensitive.
    pub sensitive: bool,
    /// Where each attribute's value comes from: `rule[0].id` from `var.id`.
    pub expressions: Vec<(String, String)>,
    /// Attributes that the configuration sets; `None`: there is no configuration to look at.
    pub configured: Option<Vec<String>>,
}

/// The values of a state, or a plan's.
pub(super) fn read(root: &Value) -> Result<Plan, PlanRefusal> {
    let version = root.get("format_version").and_then(Value::as_str).unwrap_or("");
    let major = version.split('.').next().unwrap_or("");
    let is_state = root.get("resource_changes").is_none() && root.get("values").is_some();
    // State files count their format apart from plans: 1.0 and, from older releases, 0.x.
    if major != "1" && !(is_state && matches!(version, "0.1" | "0.2")) {
        return Err(PlanRefusal::new(
            format!(
                "format_version \"{}\" of this plan is not known (only 1.x is)",
                crate::policy::span::printable(version)
            ),
            Some("terraform show -json plan.bin, with Terraform 1.x or OpenTofu"),
        ));
    }
    if root.get("errored").and_then(Value::as_bool) == Some(true) {
        return Err(PlanRefusal::new(
            "the plan ended with errors and covers only a part",
            Some("terraform plan -out=plan.bin (until it succeeds), then terraform show -json plan.bin"),
        ));
    }
    if is_state {
        return Ok(state(root));
    }
    let Some(changes) = root.get("resource_changes").and_then(Value::as_array) else {
        // A plan that changes nothing in an empty configuration has no list at all.
        return match root.get("planned_values").or_else(|| root.get("configuration")) {
            Some(_) => Ok(plan(root, &[])),
            None => Err(PlanRefusal::new(
                "the file has a format_version but no resource_changes",
                Some("terraform show -json plan.bin"),
            )),
        };
    };
    Ok(plan(root, changes))
}

fn plan(root: &Value, changes: &[Value]) -> Plan {
    let mut texts = Vec::new();
    let configuration = Configuration::read(root.get("configuration"));
    let resources: Vec<Resource> =
        changes.iter().filter_map(|change| resource(change, &configuration, &mut texts)).collect();
    let drift: Vec<Resource> = root
        .get("resource_drift")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(|change| resource(change, &configuration, &mut texts))
        .collect();
    let mut buckets = Buckets::new(&resources);
    resources.iter().for_each(|resource| buckets.add(resource));
    drift.iter().for_each(|resource| buckets.drifted(resource));
    let (buckets, problems) = buckets.finish();
    Plan {
        made_at: root.get("timestamp").and_then(Value::as_str).and_then(crate::policy::value::moment),
        problems,
        partial: partial(root),
        sensitive: texts,
        ..Plan::new(PlanSource::TerraformPlan, buckets)
    }
}

fn partial(root: &Value) -> Option<String> {
    let deferred = root.get("deferred_changes").and_then(Value::as_array).filter(|changes| !changes.is_empty());
    if let Some(deferred) = deferred {
        let names: Vec<&str> = deferred
            .iter()
            .filter_map(|change| change.pointer("/resource_change/address").and_then(Value::as_str))
            .take(5)
            .collect();
        return Some(format!("{} resources are deferred to a later plan: {}", deferred.len(), names.join(", ")));
    }
    (root.get("complete").and_then(Value::as_bool) == Some(false))
        .then(|| "the plan says that it is not complete (made with -target, or with deferred changes)".to_owned())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn index(value: Option<&Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(format!("{key:?}")),
        Some(other) => Some(other.to_string()),
    }
}

fn resource(value: &Value, configuration: &Configuration<'_>, texts: &mut Vec<String>) -> Option<Resource> {
    if value.get("mode").and_then(Value::as_str) == Some("data") {
        return None;
    }
    let change = value.get("change")?;
    let null = Value::Null;
    let before = change.get("before").unwrap_or(&null);
    let after = change.get("after").unwrap_or(&null);
    let unknown = change.get("after_unknown").unwrap_or(&null);
    let kind = Change::read(change.get("actions")?)?;
    let gone = matches!(kind, Change::Delete | Change::Forget);
    let marks = change.get("after_sensitive").unwrap_or(&null);
    let mut hidden = sensitive(after, marks, texts);
    hidden |= sensitive(before, change.get("before_sensitive").unwrap_or(&null), texts);
    let module = text(value, "module_address").to_owned();
    let found = configuration.find(&module, text(value, "type"), text(value, "name"));
    Some(Resource {
        address: text(value, "address").to_owned(),
        module,
        kind: text(value, "type").to_owned(),
        name: text(value, "name").to_owned(),
        index: index(value.get("index")),
        change: kind,
        before: Node::from_json(before),
        after: if gone { Node::Absent } else { overlay(after, unknown, "") },
        sensitive: hidden,
        expressions: found.map(expressions).unwrap_or_default(),
        configured: found.map(|found| {
            let set = found.get("expressions").and_then(Value::as_object);
            set.map_or_else(Vec::new, |set| set.keys().cloned().collect())
        }),
    })
}

fn state(root: &Value) -> Plan {
    let mut resources = Vec::new();
    if let Some(module) = root.pointer("/values/root_module") {
        state_module(module, 0, &mut resources);
    }
    let mut buckets = Buckets::new(&resources);
    resources.iter().for_each(|resource| buckets.add(resource));
    let (buckets, problems) = buckets.finish();
    Plan { problems, ..Plan::new(PlanSource::TerraformState, buckets) }
}

fn state_module(module: &Value, depth: usize, resources: &mut Vec<Resource>) {
    let list = |name: &str| module.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for value in list("resources").iter().filter(|value| text(value, "mode") != "data") {
        resources.push(Resource {
            address: text(value, "address").to_owned(),
            module: text(module, "address").to_owned(),
            kind: text(value, "type").to_owned(),
            name: text(value, "name").to_owned(),
            index: index(value.get("index")),
            change: Change::NoOp,
            before: Node::Absent,
            after: value.get("values").map_or(Node::Absent, Node::from_json),
            sensitive: false,
            expressions: Vec::new(),
            configured: None,
        });
    }
    if depth < 64 {
        list("child_modules").iter().for_each(|child| state_module(child, depth + 1, resources));
    }
}

/// The configuration part of a plan: expressions by module, type and name.
struct Configuration<'v> {
    resources: Vec<(String, &'v Value)>,
}

impl<'v> Configuration<'v> {
    fn read(configuration: Option<&'v Value>) -> Self {
        let mut found = Configuration { resources: Vec::new() };
        if let Some(root) = configuration.and_then(|configuration| configuration.get("root_module")) {
            found.module(root, "", 0);
        }
        found
    }

    fn module(&mut self, module: &'v Value, path: &str, depth: usize) {
        let resources = module.get("resources").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        self.resources.extend(resources.iter().map(|resource| (path.to_owned(), resource)));
        let calls = module.get("module_calls").and_then(Value::as_object).filter(|_| depth < 64);
        for (name, call) in calls.into_iter().flatten() {
            let path = if path.is_empty() { format!("module.{name}") } else { format!("{path}.module.{name}") };
            if let Some(inner) = call.get("module") {
                self.module(inner, &path, depth + 1);
            }
        }
    }

    fn find(&self, module: &str, kind: &str, name: &str) -> Option<&'v Value> {
        let path = without_keys(module);
        let fits = |resource: &Value| text(resource, "type") == kind && text(resource, "name") == name;
        self.resources.iter().find(|(at, resource)| *at == path && fits(resource)).map(|(_, resource)| *resource)
    }
}

/// `module.a["x.y"].module.b[0]` → `module.a.module.b`: the configuration knows modules, not their instances.
fn without_keys(address: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut inside = false;
    let mut escaped = false;
    for c in address.chars() {
        match c {
            '\\' if quoted && !escaped => {
                escaped = true;
                continue;
            }
            '"' if inside && !escaped => quoted = !quoted,
            '[' if !quoted => inside = true,
            ']' if !quoted => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
        escaped = false;
    }
    out
}

/// Paths of attributes with the first thing they refer to.
fn expressions(resource: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Some(expressions) = resource.get("expressions") {
        walk(expressions, "", 0, &mut found);
    }
    found
}

fn walk(value: &Value, path: &str, depth: usize, found: &mut Vec<(String, String)>) {
    let reference = value.get("references").and_then(Value::as_array).and_then(|list| list.first());
    if let Some(reference) = reference.and_then(Value::as_str) {
        found.push((path.to_owned(), reference.to_owned()));
        return;
    }
    match value {
        _ if depth > 32 => {}
        Value::Object(entries) => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(value, &path, depth + 1, found);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                walk(value, &format!("{path}[{at}]"), depth + 1, found);
            }
        }
        _ => {}
    }
}

/// Whose rules a resource type's are.
pub(super) fn provider(kind: &str) -> Provider {
    match kind {
        kind if kind.starts_with("google_") => Provider::Gcs,
        kind if kind.starts_with("minio_") => Provider::Minio,
        _ => Provider::S3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_keys_may_hold_anything() {
        assert_eq!(without_keys("module.a[\"x.y\"].module.b[0]"), "module.a.module.b");
        assert_eq!(without_keys("module.a[\"]\\\"[\"].module.b"), "module.a.module.b");
        assert_eq!(without_keys(""), "");
    }
}
