//! Listings as the clouds' own tools print them, and saved reports of walproof.

use serde_json::Value;

use crate::model::{StorageClass, Timestamp};
use crate::policy::lifecycle::{ObjectFacts, ObjectTable, Versioning};
use crate::policy::value::moment;

use super::{BucketObjects, catalog, read_inventory_json};

/// Reads any of the documents that hold a bucket's objects, told apart by their shape:
///
/// - `{"bucket": .., "objects": [..]}`, see [`read_inventory_json`];
/// - `aws s3api list-objects-v2` or `list-object-versions`, which do not name the bucket;
/// - `gcloud storage objects list --format=json`, with or without `--raw`;
/// - a report of `walproof audit --format json`, whose objects are put together again as far as it names them.
///
/// One document can hold several buckets. An empty name of a bucket means that the document does not say.
///
/// # Errors
/// A document of another kind, or what is missing in one of these.
pub fn read_listing(text: &str) -> Result<Vec<BucketObjects>, String> {
    let root: Value = serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
    let has = |name: &str| root.get(name).is_some();
    if has("objects") {
        return read_inventory_json(text).map(|objects| vec![objects]);
    }
    if root.get("schema").and_then(Value::as_str) == Some("walproof.report/1") {
        return catalog::from_report(&root);
    }
    if has("Contents") || has("Versions") || has("DeleteMarkers") {
        return aws(&root).map(|objects| vec![objects]);
    }
    match root.as_array() {
        Some(list) if list.iter().all(|object| object.get("name").is_some()) && !list.is_empty() => gcloud(list),
        _ => Err("neither a list of objects, an S3 Inventory manifest nor a report of walproof".into()),
    }
}

fn aws(root: &Value) -> Result<BucketObjects, String> {
    let mut table = ObjectTable::default();
    let list = |name: &str| root.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut versioned = false;
    for (kind, marker) in [("Contents", false), ("Versions", false), ("DeleteMarkers", true)] {
        for (at, object) in list(kind).iter().enumerate() {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let fault = |what: &str| format!("{kind}[{at}]: {what}");
            let key = text("Key").ok_or_else(|| fault("no Key"))?;
            let created = text("LastModified").and_then(moment).ok_or_else(|| fault("no readable LastModified"))?;
            let size = object.get("Size").and_then(Value::as_u64);
            let size = if marker { 0 } else { size.ok_or_else(|| fault("no Size"))? };
            versioned |= text("VersionId").is_some_and(|id| id != "null");
            let facts = ObjectFacts {
                class: text("StorageClass").map_or(StorageClass::Standard, StorageClass::parse),
                version: text("VersionId"),
                delete_marker: marker,
                ..ObjectFacts::new(key.as_bytes(), size, created)
            };
            if !table.push(&facts) {
                return Err(fault("more objects than one table takes"));
            }
        }
    }
    let name = root.get("Name").and_then(Value::as_str).unwrap_or("");
    let mut objects = BucketObjects::new(name, "aws s3api listing", table);
    // A version with an id tells that versioning was on; whether it still is, no listing says.
    objects.versioning = if versioned { None } else { root.get("Contents").is_none().then_some(Versioning::Suspended) };
    Ok(objects)
}

fn gcloud(list: &[Value]) -> Result<Vec<BucketObjects>, String> {
    let mut buckets: Vec<(String, ObjectTable)> = Vec::new();
    for (at, object) in list.iter().enumerate() {
        let text = |names: [&str; 2]| names.iter().find_map(|name| object.get(name).and_then(Value::as_str));
        let fault = |what: &str| format!("[{at}]: {what}");
        let time = |names: [&str; 2]| text(names).and_then(zoned);
        let key = text(["name", "name"]).ok_or_else(|| fault("no name"))?;
        let created =
            time(["timeCreated", "creation_time"]).ok_or_else(|| fault("no readable timeCreated or creation_time"))?;
        let size = match object.get("size") {
            Some(Value::String(text)) => text.parse().ok(),
            Some(number) => number.as_u64(),
            None => None,
        };
        let facts = ObjectFacts {
            class: text(["storageClass", "storage_class"]).map_or(StorageClass::Standard, StorageClass::parse),
            version: text(["generation", "generation"]),
            noncurrent_since: time(["timeDeleted", "noncurrent_time"]),
            custom_time: time(["customTime", "custom_time"]),
            ..ObjectFacts::new(key.as_bytes(), size.ok_or_else(|| fault("no size"))?, created)
        };
        let name = text(["bucket", "bucket"]).unwrap_or("");
        let slot = match buckets.iter().position(|(known, _)| known == name) {
            Some(slot) => slot,
            None => {
                buckets.push((name.to_owned(), ObjectTable::default()));
                buckets.len() - 1
            }
        };
        if !buckets[slot].1.push(&facts) {
            return Err(fault("more objects than one table takes"));
        }
    }
    Ok(buckets.into_iter().map(|(name, table)| BucketObjects::new(name, "gcloud storage listing", table)).collect())
}

/// gcloud writes `+0000` where RFC 3339 wants `+00:00` or `Z`.
fn zoned(text: &str) -> Option<Timestamp> {
    moment(text.strip_suffix("+0000").map(|head| format!("{head}Z")).as_deref().unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_print() {
        let aws = read_listing(
            r#"{"Contents": [{"Key": "pg/a", "LastModified": "2026-11-20T02:10:00+00:00", "ETag": "\"x\"", "Size": 5, "StorageClass": "GLACIER"}],
                "RequestCharged": null}"#,
        )
        .unwrap();
        assert_eq!((aws.len(), aws[0].bucket.as_str(), aws[0].versioning), (1, "", None));
        let object = aws[0].table.get(0);
        assert_eq!((object.key, object.size, object.class), (&b"pg/a"[..], 5, StorageClass::Glacier));
        let versions = read_listing(
            r#"{"Versions": [{"Key": "a", "VersionId": "v2", "IsLatest": false, "Size": 5, "LastModified": "2026-11-19T00:00:00Z"}],
                "DeleteMarkers": [{"Key": "a", "VersionId": "v3", "IsLatest": true, "LastModified": "2026-11-20T00:00:00Z"}]}"#,
        )
        .unwrap();
        assert_eq!(versions[0].table.iter().filter(|object| object.delete_marker).count(), 1);
        let gcloud = read_listing(
            r#"[{"bucket": "b", "name": "x", "size": 7, "creation_time": "2026-11-20T02:10:00+0000", "storage_class": "NEARLINE", "generation": "17"},
                {"bucket": "c", "name": "y", "size": "8", "timeCreated": "2026-11-20T02:10:00.123Z", "storageClass": "STANDARD"}]"#,
        )
        .unwrap();
        assert_eq!(gcloud.iter().map(|objects| objects.bucket.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(gcloud[1].table.get(0).size, 8);
        for (text, want) in [
            ("[]", "neither"),
            ("{}", "neither"),
            ("[{\"name\": \"x\"}]", "timeCreated"),
            ("{\"Contents\": [{\"Key\": \"x\"}]}", "Contents[0]: no readable LastModified"),
            ("nothing", "not valid JSON"),
        ] {
            assert!(read_listing(text).unwrap_err().contains(want), "{text}");
        }
    }
}
