//! What-if files: objects, rules, versioning and a moment in, what happens out.

use serde_json::{Map, Value, json};

use crate::model::{StorageClass, Timestamp};
use crate::policy::Span;
use crate::policy::value::{Node, moment};

use super::{
    Action, BucketSettings, EventKind, Lock, MinimumSize, ObjectFacts, Provider, Reading, Replication, RuleRef,
    RuleSet, Simulator, Tags, Timeline, Versioning, decode_gcs, decode_s3,
};

/// Computes `expect` for a what-if file: one case, or `{"vectors": [..]}` with many. Everything else is given back as it
/// was; an `expect` that is there already is replaced (and only its order of objects kept, so that the two can be compared).
///
/// A case: `provider` (`s3`, `minio`, `gcs`), `versioning`, `rules` in the provider's own JSON, `objects`, `now`, and
/// where they matter `rules_effective`, `transition_default_minimum_object_size`, `retention_days`, `soft_delete_days`.
///
/// # Errors
/// What the file lacks or what could not be read in it, with the case's `id`.
pub fn simulate_file(file: &Value) -> Result<Value, String> {
    let mut out = file.clone();
    match out.get_mut("vectors") {
        Some(Value::Array(vectors)) => {
            for (at, vector) in vectors.iter_mut().enumerate() {
                let name = vector.get("id").and_then(Value::as_str).map_or_else(|| format!("{at}"), str::to_owned);
                simulate_one(vector).map_err(|error| format!("vector {name}: {error}"))?;
            }
        }
        Some(_) => return Err("vectors: expected a list".into()),
        None => simulate_one(&mut out)?,
    }
    Ok(out)
}

fn simulate_one(case: &mut Value) -> Result<(), String> {
    let expect = {
        let input = Input::read(case)?;
        let order = case.get("expect").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        input.expect(order)
    };
    case.as_object_mut()
        .ok_or("expected an object with objects and rules")?
        .insert("expect".into(), Value::Array(expect));
    Ok(())
}

/// An object as the file gives it, owning what [`ObjectFacts`] borrows.
struct Given {
    key: String,
    version: Option<String>,
    tags: Option<Vec<(String, String)>>,
    size: u64,
    created: Timestamp,
    class: StorageClass,
    delete_marker: bool,
    noncurrent_since: Option<Timestamp>,
    custom_time: Option<Timestamp>,
    lock: Lock,
    replication: Replication,
}

struct Input {
    provider: Provider,
    simulator: Simulator,
    now: Timestamp,
    objects: Vec<Given>,
}

impl Input {
    fn read(case: &Value) -> Result<Self, String> {
        let text = |name: &str| case.get(name).and_then(Value::as_str);
        let time = |name: &str| match case.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                read_time(value).map(Some).ok_or_else(|| format!("{name}: not a moment, as in 2026-11-20T15:00:00Z"))
            }
        };
        let provider = match text("provider") {
            Some("s3") | None => Provider::S3,
            Some("minio") => Provider::Minio,
            Some("gcs") => Provider::Gcs,
            Some(other) => return Err(format!("provider: \"{other}\" is none of s3, minio, gcs")),
        };
        let versioning = match case.get("versioning") {
            None | Some(Value::Null) => Versioning::Disabled,
            Some(Value::Bool(enabled)) => {
                if *enabled {
                    Versioning::Enabled
                } else {
                    Versioning::Disabled
                }
            }
            Some(value) => value
                .as_str()
                .and_then(Versioning::parse)
                .ok_or("versioning: write Disabled, Enabled or Suspended, or true or false")?,
        };
        let days = |name: &str| match case.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .and_then(|days| u32::try_from(days).ok())
                .map(|days| Some(Span::from_days(days)))
                .ok_or_else(|| format!("{name}: not a number of days")),
        };
        let rules = read_rules(case, provider)?;
        let bucket = BucketSettings {
            versioning,
            rules_effective: time("rules_effective")?,
            retention: days("retention_days")?,
            soft_delete: days("soft_delete_days")?,
        };
        let objects = case.get("objects").and_then(Value::as_array).ok_or("objects: expected a list")?;
        let objects: Result<Vec<Given>, String> = objects
            .iter()
            .enumerate()
            .map(|(at, object)| Given::read(object).map_err(|error| format!("objects[{at}].{error}")))
            .collect();
        let now = time("now")?.ok_or("now: the moment that state_at_now is about is missing")?;
        Ok(Input { provider, simulator: Simulator::new(rules, bucket), now, objects: objects? })
    }

    fn expect(&self, order: &[Value]) -> Vec<Value> {
        let mut sorted: Vec<&Given> = self.objects.iter().collect();
        // Newest first within a key; of two written in the same moment the later one in the file is newer.
        sorted.reverse();
        sorted.sort_by(|a, b| a.key.cmp(&b.key).then(b.created.cmp(&a.created)));
        let mut rows: Vec<(&Given, Value)> = Vec::new();
        for group in sorted.chunk_by(|a, b| a.key == b.key) {
            let facts: Vec<ObjectFacts<'_>> = group.iter().map(|given| given.facts()).collect();
            let timelines = self.simulator.timelines(&facts);
            let group = group.iter().zip(&facts).zip(timelines);
            let mut group: Vec<_> = group
                .filter(|((given, _), _)| !given.delete_marker)
                .map(|((given, facts), timeline)| (*given, self.row(given, facts, &timeline)))
                .collect();
            group.reverse();
            rows.extend(group);
        }
        let place = |given: &Given| {
            order.iter().position(|row| {
                row.get("key").and_then(Value::as_str) == Some(&given.key)
                    && row.get("version_id").and_then(Value::as_str) == given.version.as_deref()
            })
        };
        rows.sort_by_key(|(given, _)| place(given).unwrap_or(usize::MAX));
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn row(&self, given: &Given, facts: &ObjectFacts<'_>, timeline: &Timeline) -> Value {
        let events: Vec<Value> =
            timeline.events.iter().map(|event| self.event(event.at, event.kind, event.rule)).collect();
        let soft = self.simulator.bucket().soft_delete.is_some_and(|span| span > Span::ZERO);
        let text = |at: Option<Timestamp>| at.map_or(Value::Null, |at| json!(at.to_string()));
        let mut row = Map::new();
        row.insert("key".into(), json!(given.key));
        row.insert("version_id".into(), json!(given.version));
        row.insert("events".into(), Value::Array(events));
        row.insert("state_at_now".into(), json!(timeline.state(facts, soft, self.now).name()));
        row.insert("unreadable_from".into(), text(timeline.fate.ends()));
        row.insert("data_gone_from".into(), text(timeline.fate.gone_at()));
        if timeline.fate.possible {
            row.insert("possible".into(), json!(true));
        }
        Value::Object(row)
    }

    fn event(&self, at: Timestamp, kind: EventKind, rule: RuleRef) -> Value {
        let mut event = Map::new();
        event.insert("at".into(), json!(at.to_string()));
        let (action, class) = match kind {
            EventKind::Transition(class) => ("transition", Some(class)),
            EventKind::SetClass(class) => ("set_class", Some(class)),
            EventKind::DeleteMarker => ("delete_marker", None),
            EventKind::Noncurrent => ("noncurrent", None),
            EventKind::Delete => ("delete", None),
            EventKind::HardDelete => ("hard_delete", None),
        };
        event.insert("action".into(), json!(action));
        if let Some(class) = class {
            event.insert("class".into(), json!(self.class_name(class, rule)));
        }
        if self.provider != Provider::Gcs {
            event.insert("rule".into(), json!(self.simulator.rules().name(rule)));
        }
        Value::Object(event)
    }

    /// A MinIO tier has a name of its own.
    fn class_name(&self, class: StorageClass, rule: RuleRef) -> String {
        let tier = || {
            let rule = self.simulator.rules().get(rule)?;
            rule.actions.iter().find_map(|action| match action {
                Action::Transition { name, .. } | Action::NoncurrentTransition { name, .. } => Some(name.clone()),
                _ => None,
            })
        };
        match class {
            StorageClass::Other => tier().unwrap_or_else(|| class.name().to_owned()),
            class => class.name().to_owned(),
        }
    }
}

fn read_rules(case: &Value, provider: Provider) -> Result<RuleSet, String> {
    let rules = Node::from_json(case.get("rules").ok_or("rules: expected a list")?);
    let decoded = match provider {
        Provider::Gcs => decode_gcs(&Node::map([("rule", rules)]), Reading::Worst),
        provider => decode_s3(&Node::map([("Rules", rules)]), provider, Reading::Worst),
    };
    if let Some(why) = decoded.undecodable {
        return Err(format!("rules: {why}"));
    }
    if let Some(unknown) = decoded.unknown.first() {
        return Err(format!("rules: {}, {}: {}", unknown.rule, unknown.what, unknown.from));
    }
    let mut rules = decoded.rules;
    if let Some(minimum) = case.get("transition_default_minimum_object_size").and_then(Value::as_str) {
        rules.minimum_size = MinimumSize::parse(minimum);
    }
    Ok(rules)
}

fn read_time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(moment)
}

impl Given {
    fn read(object: &Value) -> Result<Self, String> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let time = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read_time(value).map(Some).ok_or_else(|| format!("{name}: not a moment")),
        };
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let lock = object.get("lock");
        let retain_until = match lock.and_then(|lock| lock.get("retain_until")) {
            None | Some(Value::Null) => time("retain_until")?,
            Some(value) => Some(read_time(value).ok_or("lock.retain_until: not a moment")?),
        };
        let created = match time("last_modified")? {
            Some(time) => Some(time),
            None => time("time_created")?,
        };
        let tags = match object.get("tags") {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Object(tags)) => {
                Some(tags.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned())).collect())
            }
            // "unknown": rules with tags are tried both ways.
            Some(_) => None,
        };
        Ok(Given {
            key: text("key").ok_or("key: missing")?.to_owned(),
            version: text("version_id").or_else(|| text("generation")).map(str::to_owned),
            tags,
            size: object.get("size").and_then(Value::as_u64).unwrap_or(0),
            created: created.ok_or("last_modified: missing")?,
            class: text("class").map_or(StorageClass::Standard, StorageClass::parse),
            delete_marker: flag(object.get("delete_marker")),
            noncurrent_since: time("time_deleted")?,
            custom_time: time("custom_time")?,
            lock: Lock {
                retain_until,
                hold: flag(object.get("hold")) || flag(lock.and_then(|lock| lock.get("legal_hold"))),
            },
            replication: text("replication_status").map_or(Replication::NotWaiting, Replication::parse),
        })
    }

    fn facts(&self) -> ObjectFacts<'_> {
        ObjectFacts {
            key: self.key.as_bytes(),
            size: self.size,
            created: self.created,
            class: self.class,
            version: self.version.as_deref(),
            tags: self.tags.as_deref().map_or(Tags::Unknown, Tags::Known),
            delete_marker: self.delete_marker,
            noncurrent_since: self.noncurrent_since,
            custom_time: self.custom_time,
            lock: self.lock,
            replication: self.replication,
        }
    }
}

#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        let _ = simulate_file(&value);
    }
}
