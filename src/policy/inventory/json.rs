use serde_json::Value;

use crate::model::{StorageClass, Timestamp};
use crate::policy::lifecycle::{Lock, ObjectFacts, ObjectTable, Replication, Tags, Versioning};
use crate::policy::value::moment;

use super::BucketObjects;

/// Reads `{"bucket": .., "listed_at": .., "versioning": .., "objects": [{"key": .., "last_modified": .., "size": ..,
/// "class": ..}, ..]}`; objects may also have `version_id`, `delete_marker`, `tags`, `lock`, `replication_status`.
///
/// # Errors
/// What is missing or cannot be read, with the number of the object.
pub fn read_inventory_json(text: &str) -> Result<BucketObjects, String> {
    let root: Value = serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
    let objects = root.get("objects").and_then(Value::as_array).ok_or("no list of objects")?;
    let mut table = ObjectTable::default();
    for (at, object) in objects.iter().enumerate() {
        push(&mut table, object).map_err(|error| format!("objects[{at}]: {error}"))?;
    }
    let bucket = root.get("bucket").and_then(Value::as_str).unwrap_or("");
    let mut inventory = BucketObjects::new(bucket, "inventory", table);
    inventory.listed_at = root.get("listed_at").and_then(Value::as_str).and_then(moment);
    inventory.versioning = match root.get("versioning") {
        Some(Value::Bool(true)) => Some(Versioning::Enabled),
        Some(Value::Bool(false)) => Some(Versioning::Disabled),
        Some(Value::String(name)) => {
            Some(Versioning::parse(name).ok_or("versioning: none of Disabled, Enabled, Suspended")?)
        }
        _ => None,
    };
    Ok(inventory)
}

fn push(table: &mut ObjectTable, object: &Value) -> Result<(), &'static str> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let time = |name: &str| -> Result<Option<Timestamp>, &'static str> {
        match text(name) {
            None => Ok(None),
            Some(text) => moment(text).map(Some).ok_or("a time is not like 2026-11-20T15:00:00Z"),
        }
    };
    let key = text("key").ok_or("no key")?;
    let created = match time("last_modified")? {
        Some(time) => time,
        None => time("time_created")?.ok_or("no last_modified")?,
    };
    let tags: Option<Vec<(String, String)>> = object
        .get("tags")
        .and_then(Value::as_object)
        .map(|tags| tags.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned())).collect());
    let lock = object.get("lock");
    let retain_until = lock.and_then(|lock| lock.get("retain_until")).and_then(Value::as_str);
    let facts = ObjectFacts {
        class: text("class").map_or(StorageClass::Standard, StorageClass::parse),
        version: text("version_id").or_else(|| text("generation")),
        tags: tags.as_deref().map_or(Tags::Unknown, Tags::Known),
        delete_marker: object.get("delete_marker").and_then(Value::as_bool).unwrap_or(false),
        noncurrent_since: time("time_deleted")?,
        custom_time: time("custom_time")?,
        lock: Lock {
            retain_until: match retain_until {
                None => time("retain_until")?,
                Some(text) => Some(moment(text).ok_or("lock.retain_until is no time")?),
            },
            hold: [object.get("hold"), lock.and_then(|lock| lock.get("legal_hold"))]
                .into_iter()
                .flatten()
                .any(|flag| flag.as_bool() == Some(true)),
        },
        replication: text("replication_status").map_or(Replication::NotWaiting, Replication::parse),
        ..ObjectFacts::new(key.as_bytes(), object.get("size").and_then(Value::as_u64).ok_or("no size")?, created)
    };
    if table.push(&facts) { Ok(()) } else { Err("too many objects") }
}

#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let _ = read_inventory_json(&String::from_utf8_lossy(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_data;

    #[test]
    fn the_sample_inventory() {
        let Some(text) = test_data::sample("inventory-incident004.json") else { return };
        let inventory = read_inventory_json(&text).unwrap();
        assert_eq!((inventory.bucket.as_str(), inventory.table.len()), ("company-backups", 58));
        assert_eq!(inventory.versioning, Some(Versioning::Suspended));
        let last = inventory.table.get(57);
        assert_eq!((last.key, last.class), (&b"yearly/2026-01-01.tar.zst"[..], StorageClass::Glacier));
        for (cut, byte) in text.bytes().enumerate().step_by(37) {
            let mut bytes = text.clone().into_bytes();
            bytes[cut] = byte.wrapping_add(3);
            fuzz_one(&bytes);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, want) in [
            ("", "not valid JSON"),
            ("{}", "no list"),
            ("{\"objects\": [{\"key\": \"a\"}]}", "objects[0]: no last_modified"),
            ("{\"objects\": [], \"versioning\": \"maybe\"}", "versioning"),
            ("{\"objects\": [{\"key\": \"a\", \"last_modified\": \"x\"}]}", "a time is not like"),
        ] {
            assert!(read_inventory_json(text).unwrap_err().contains(want), "{text}");
        }
    }
}
