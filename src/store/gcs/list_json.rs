//! A page of `objects.list`, read as whatever it may turn out to be.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::model::{ObjectKey, ObjectRow, StorageClass, StoreChecksum, Timestamp};
use crate::store::{ListPage, ObjectVersion, VersionPage};

/// What is asked for of each object: a third of what the server would send.
pub(super) const FIELDS: &str = "items(name,size,updated,timeCreated,etag,generation,storageClass,crc32c,md5Hash),\
                                 nextPageToken,prefixes";
/// The same of each version.
pub(super) const VERSION_FIELDS: &str = "items(name,size,updated,timeCreated,timeDeleted,etag,generation,\
                                         storageClass,crc32c,md5Hash),nextPageToken";

/// A body that is no listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadListing(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    prefixes: Vec<Name>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: Name,
    size: Option<Loose>,
    updated: Option<String>,
    time_created: Option<String>,
    /// Only for versions that are no longer the current one.
    time_deleted: Option<String>,
    etag: Option<String>,
    generation: Option<Loose>,
    storage_class: Option<String>,
    crc32c: Option<String>,
    md5_hash: Option<String>,
}

/// A name: any bytes, lone surrogates and raw control characters included.
struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Name, E> {
                Ok(Name(bytes.to_vec()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Name, A::Error> {
                Err(A::Error::custom("a list where a name should be"))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A number, which the API writes as text and some servers as a number.
struct Loose(String);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Loose;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose(number.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Reads a page.
///
/// # Errors
/// Says what is wrong, and with which object.
pub(super) fn read(body: &[u8]) -> Result<ListPage, BadListing> {
    let page: Page = serde_json::from_slice(body).map_err(|error| BadListing(error.to_string()))?;
    Ok(ListPage {
        rows: page.items.into_iter().map(row).collect::<Result<_, _>>()?,
        prefixes: page.prefixes.into_iter().map(|prefix| ObjectKey::new(prefix.0)).collect(),
        next: page.next_page_token.filter(|token| !token.is_empty()),
    })
}

/// Reads a page of versions. There are no delete markers: a deleted object is one without a current version.
///
/// # Errors
/// As [`read`].
pub(super) fn read_versions(body: &[u8]) -> Result<VersionPage, BadListing> {
    let page: Page = serde_json::from_slice(body).map_err(|error| BadListing(error.to_string()))?;
    let version = |item: Item| {
        let latest = item.time_deleted.is_none();
        Ok(ObjectVersion { row: row(item)?, latest, delete_marker: false })
    };
    Ok(VersionPage {
        rows: page.items.into_iter().map(version).collect::<Result<_, _>>()?,
        next: page.next_page_token.filter(|token| !token.is_empty()),
    })
}

fn row(item: Item) -> Result<ObjectRow, BadListing> {
    let key = ObjectKey::new(item.name.0);
    let bad = |what: &str, value: Option<&str>| {
        let value: String = value.unwrap_or("nothing").chars().take(40).collect();
        BadListing(format!("{key} has the {what} {}", ObjectKey::from(value)))
    };
    let size = item.size.as_ref().map(|size| size.0.as_str());
    let size = size.and_then(|size| size.parse().ok()).ok_or_else(|| bad("size", size))?;
    // `updated` moves with metadata and with the class; the content is as old as the object.
    let time = item.time_created.as_deref().or(item.updated.as_deref());
    let modified: Timestamp = time.and_then(|time| time.parse().ok()).ok_or_else(|| bad("time", time))?;
    let version: Option<Box<str>> = item.generation.map(|generation| generation.0.into());
    Ok(ObjectRow {
        size,
        modified,
        // The ETag changes with metadata too, say when a lifecycle rule moves the object; the generation does not.
        etag: item.etag.filter(|_| version.is_none()).map(|etag| etag.trim_matches('"').into()),
        version,
        class: class(item.storage_class.as_deref().unwrap_or_default()),
        // Composed objects have no MD5.
        checksum: item.crc32c.map(StoreChecksum::Crc32c).or(item.md5_hash.map(StoreChecksum::Md5)),
        key,
    })
}

fn class(name: &str) -> StorageClass {
    match name {
        // The older names of it.
        "" | "STANDARD" | "MULTI_REGIONAL" | "REGIONAL" => StorageClass::Standard,
        "NEARLINE" => StorageClass::Nearline,
        "COLDLINE" => StorageClass::Coldline,
        "ARCHIVE" => StorageClass::Archive,
        // Not `parse`: no class of GCS refuses to be read, whatever it is called elsewhere.
        _ => StorageClass::Other,
    }
}

/// For fuzzing: any bytes, never a panic.
#[doc(hidden)]
pub fn fuzz_one(body: &[u8]) {
    let _ = read_versions(body);
    if let Ok(page) = read(body) {
        for row in page.rows {
            let _ = (row.id(), row.key.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = r#"{"kind":"storage#objects","nextPageToken":"t","prefixes":["a/"],"items":[
        {"name":"a\u001b[0m/ü\ud83d\ude00","size":"12","timeCreated":"2026-11-20T10:00:00.123Z",
         "updated":"2026-11-21T10:00:00Z","generation":"17","etag":"x","storageClass":"NEARLINE",
         "crc32c":"AAAAAA==","md5Hash":"m","more":{"deep":[1]}},
        {"name":"b","size":7,"updated":"2026-11-20T10:00:00Z","etag":"\"e\"","storageClass":"GLACIER","md5Hash":"m"}]}"#;

    #[test]
    fn a_page_is_read_in_full() {
        let page = read(PAGE.as_bytes()).unwrap();
        assert_eq!((page.next.as_deref(), page.prefixes), (Some("t"), vec![ObjectKey::from("a/")]));
        let [a, b] = page.rows.try_into().unwrap();
        assert_eq!(a.key.as_bytes(), "a\u{1b}[0m/ü😀".as_bytes());
        assert_eq!((a.size, a.version.as_deref(), a.etag.as_deref()), (12, Some("17"), None));
        assert_eq!(a.modified, "2026-11-20T10:00:00.123Z".parse().unwrap());
        assert_eq!((a.class, a.checksum), (StorageClass::Nearline, Some(StoreChecksum::Crc32c("AAAAAA==".into()))));
        assert_eq!((b.size, b.version.as_deref(), b.etag.as_deref()), (7, None, Some("e")));
        assert_eq!((b.class, b.checksum), (StorageClass::Other, Some(StoreChecksum::Md5("m".into()))));
        assert_eq!(read(b"{}").unwrap(), ListPage::default());
    }

    #[test]
    fn versions_without_a_deletion_time_are_the_current_ones() {
        let page = r#"{"items":[
            {"name":"a","size":"1","timeCreated":"2026-11-20T10:00:00Z","timeDeleted":"2026-11-21T10:00:00Z",
             "generation":"17","crc32c":"AAAAAA=="},
            {"name":"a","size":"2","timeCreated":"2026-11-21T10:00:00Z","generation":"18"}],"nextPageToken":"n"}"#;
        let VersionPage { rows, next } = read_versions(page.as_bytes()).unwrap();
        let seen: Vec<_> =
            rows.iter().map(|v| (v.row.version.as_deref(), v.row.size, v.latest, v.delete_marker)).collect();
        assert_eq!(seen, [(Some("17"), 1, false, false), (Some("18"), 2, true, false)]);
        assert_eq!(next.as_deref(), Some("n"));
    }

    #[test]
    fn bad_pages_are_named() {
        let says = |body: &str| read(body.as_bytes()).unwrap_err().to_string();
        assert!(says("<html>").contains("expected value"));
        assert!(says(r#"{"items":[{"size":"1"}]}"#).contains("missing field `name`"));
        assert_eq!(says(r#"{"items":[{"name":"k","size":"-1"}]}"#), "k has the size -1");
        assert_eq!(says(r#"{"items":[{"name":"k","size":"1","updated":"\u001bsoon"}]}"#), "k has the time %1Bsoon");
        assert_eq!(says(r#"{"items":[{"name":"k","size":"1"}]}"#), "k has the time nothing");
        // What is passed over is walked without recursion: however deep, it only ends too early.
        assert!(says(&format!("{{\"x\":{}", "[".repeat(100_000))).contains("EOF"));
        // Half a character is no text, but it is a name.
        let page = read(br#"{"items":[{"name":"\ud800","size":"1","updated":"2026-11-20T10:00:00Z"}]}"#).unwrap();
        assert_eq!(page.rows[0].key.as_bytes(), b"\xED\xA0\x80");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(junk in proptest::collection::vec(any::<u8>(), 0..200), at in 0..PAGE.len(), len in 0..9usize) {
            fuzz_one(&junk);
            let mut page = PAGE.as_bytes().to_vec();
            let end = (at + len).min(page.len());
            page.splice(at..end, junk.iter().copied().take(len));
            fuzz_one(&page);
        }
    }
}
