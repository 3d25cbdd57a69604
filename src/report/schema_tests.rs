//! The schemas under `docs/schema` are made from the types that write the documents.
//!
//! `WALPROOF_UPDATE_SCHEMA=1 cargo test --lib schema` writes them anew. Documents are a contract: what a committed schema
//! promises stays, so that a field which would vanish is refused even then.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::lifecycle::ChangeReport;
use super::{ReachReport, Report};

fn schema<T: JsonSchema>(name: &str, about: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    schema["title"] = json!(name);
    schema["description"] = json!(about);
    schema
}

fn documents() -> Vec<(&'static str, Value)> {
    let report = |command: &str| {
        let about = format!("What `walproof {command} --format json` writes. Fields are only ever added.");
        schema::<Report>("walproof.report/1", &about)
    };
    vec![
        ("audit.json", report("audit")),
        ("list.json", report("list")),
        (
            "reach.json",
            schema::<ReachReport>(
                "walproof.reach/1",
                "What `walproof reach --format json` writes. Fields are only ever added.",
            ),
        ),
        (
            "lifecycle.json",
            schema::<ChangeReport>(
                "walproof.lifecycle/1",
                "What `walproof lifecycle check --format json` writes. Fields are only ever added.",
            ),
        ),
    ]
}

/// Members of the objects of a schema, by where they stand.
fn members(at: &str, schema: &Value, out: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        out.extend(properties.keys().map(|name| format!("{at}.{name}")));
    }
    if let Some(defs) = schema.get("$defs").and_then(Value::as_object) {
        for (name, inner) in defs {
            members(name, inner, out);
        }
    }
}

#[test]
fn the_committed_schemas_are_current_and_lose_nothing() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/schema");
    let update = std::env::var_os("WALPROOF_UPDATE_SCHEMA").is_some_and(|value| value == "1");
    for (name, generated) in documents() {
        let path = folder.join(name);
        let committed = std::fs::read_to_string(&path).ok();
        if let Some(old) = committed.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            let (mut was, mut is) = (Vec::new(), Vec::new());
            members("", &old, &mut was);
            members("", &generated, &mut is);
            let lost: Vec<&String> = was.iter().filter(|member| !is.contains(member)).collect();
            assert!(lost.is_empty(), "{name}: fields are only ever added, but these would vanish: {lost:?}");
        }
        let text = format!("{}\n", serde_json::to_string_pretty(&generated).unwrap());
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, text).unwrap();
            continue;
        }
        assert!(
            committed.as_deref() == Some(text.as_str()),
            "docs/schema/{name} is not current; run WALPROOF_UPDATE_SCHEMA=1 cargo test --lib schema"
        );
    }
}
