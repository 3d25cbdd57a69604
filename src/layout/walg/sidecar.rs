use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::catalog::Tablespace;
use crate::layout::ReadProblem;
use crate::model::{Lsn, Timestamp};

/// What a sentinel says, wal-g's or wal-e's: each field as found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SentinelData {
    /// Start position.
    pub start_lsn: Option<Lsn>,
    /// Stop position.
    pub finish_lsn: Option<Lsn>,
    /// The parent's start position.
    pub delta_lsn: Option<Lsn>,
    /// The parent's name.
    pub delta_from: Option<String>,
    /// The chain's full backup.
    pub delta_full: Option<String>,
    /// `server_version_num`.
    pub pg_version: Option<u32>,
    /// Of the cluster.
    pub system_identifier: Option<u64>,
    /// Sum of member sizes.
    pub uncompressed_size: Option<u64>,
    /// Uploaded bytes, read a little too early: a lower bound.
    pub compressed_size: Option<u64>,
    /// Size of the data directory.
    pub data_size: Option<u64>,
    /// Tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// What the user attached, as JSON text.
    pub user_data: Option<String>,
    /// No `files_metadata.json` was written on purpose.
    pub files_metadata_disabled: bool,
    /// 2 for sentinels that come with metadata files.
    pub version: Option<u32>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Host.
    pub hostname: Option<String>,
    /// Data directory.
    pub data_dir: Option<String>,
    /// As it was at creation.
    pub permanent: Option<bool>,
    /// wal-e: stop segment's name.
    pub stop_segment: Option<String>,
    /// wal-e: decimal offset in the stop segment.
    pub stop_offset: Option<String>,
    /// wal-e: sum of member sizes.
    pub expanded_size: Option<u64>,
    /// Old sentinels held the tars themselves.
    pub tar_sets: Option<Vec<String>>,
}

/// What `metadata.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetadataData {
    /// When it began.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub finish_time: Option<Timestamp>,
    /// Host.
    pub hostname: Option<String>,
    /// Data directory.
    pub data_dir: Option<String>,
    /// `server_version_num`.
    pub pg_version: Option<u32>,
    /// Start position.
    pub start_lsn: Option<u64>,
    /// Stop position.
    pub finish_lsn: Option<u64>,
    /// The flag that `backup-mark` rewrites.
    pub is_permanent: Option<bool>,
    /// Of the cluster.
    pub system_identifier: Option<u64>,
    /// Sum of member sizes.
    pub uncompressed_size: Option<u64>,
    /// Uploaded bytes.
    pub compressed_size: Option<u64>,
    /// What the user attached.
    pub user_data: Option<Value>,
}

/// What `files_metadata.json` says about tars; the file list is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesMetadataData {
    /// Names of the tars with members; `None` where the producer recorded none.
    pub tar_sets: Option<Vec<String>>,
    /// How many files are listed.
    pub files: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Sentinel {
    #[serde(rename = "LSN")]
    lsn: Option<u64>,
    #[serde(rename = "FinishLSN")]
    finish_lsn: Option<u64>,
    #[serde(rename = "DeltaLSN", alias = "DeltaFromLSN")]
    delta_lsn: Option<u64>,
    #[serde(rename = "DeltaFrom")]
    delta_from: Option<String>,
    #[serde(rename = "DeltaFullName")]
    delta_full: Option<String>,
    #[serde(rename = "PgVersion")]
    pg_version: Option<u32>,
    #[serde(rename = "SystemIdentifier")]
    system_identifier: Option<u64>,
    #[serde(rename = "UncompressedSize")]
    uncompressed_size: Option<i64>,
    #[serde(rename = "CompressedSize")]
    compressed_size: Option<i64>,
    #[serde(rename = "DataCatalogSize")]
    data_size: Option<i64>,
    #[serde(rename = "Spec", alias = "spec")]
    spec: Option<Value>,
    #[serde(rename = "UserData")]
    user_data: Option<Value>,
    #[serde(rename = "FilesMetadataDisabled")]
    files_metadata_disabled: bool,
    #[serde(rename = "Version")]
    version: Option<u32>,
    #[serde(rename = "StartTime")]
    started_at: Option<Timestamp>,
    #[serde(rename = "FinishTime")]
    finished_at: Option<Timestamp>,
    #[serde(rename = "Hostname")]
    hostname: Option<String>,
    #[serde(rename = "DataDir")]
    data_dir: Option<String>,
    #[serde(rename = "IsPermanent")]
    permanent: Option<bool>,
    #[serde(rename = "TarFileSets")]
    tar_sets: Option<BTreeMap<String, IgnoredAny>>,
    wal_segment_backup_stop: Option<String>,
    wal_segment_offset_backup_stop: Option<String>,
    expanded_size_bytes: Option<u64>,
}

/// Reads a sentinel. JSON that names none of its fields is not one.
pub fn sentinel(input: &mut dyn Read) -> Result<SentinelData, ReadProblem> {
    let found: Sentinel = json(input)?;
    let size = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let data = SentinelData {
        start_lsn: found.lsn.map(Lsn),
        finish_lsn: found.finish_lsn.map(Lsn),
        delta_lsn: found.delta_lsn.map(Lsn),
        delta_from: found.delta_from.filter(|name| !name.is_empty()),
        delta_full: found.delta_full.filter(|name| !name.is_empty()),
        pg_version: found.pg_version.filter(|version| *version > 0),
        system_identifier: found.system_identifier,
        uncompressed_size: size(found.uncompressed_size),
        compressed_size: size(found.compressed_size),
        data_size: size(found.data_size).filter(|bytes| *bytes > 0),
        tablespaces: tablespaces(found.spec.as_ref()),
        user_data: found.user_data.filter(|data| !data.is_null()).map(|data| data.to_string()),
        files_metadata_disabled: found.files_metadata_disabled,
        version: found.version,
        started_at: found.started_at,
        finished_at: found.finished_at,
        hostname: found.hostname,
        data_dir: found.data_dir,
        permanent: found.permanent,
        stop_segment: found.wal_segment_backup_stop,
        stop_offset: found.wal_segment_offset_backup_stop,
        expanded_size: found.expanded_size_bytes,
        tar_sets: found.tar_sets.map(|sets| sets.into_keys().collect()),
    };
    if data.start_lsn.is_none() && data.stop_segment.is_none() && data.finish_lsn.is_none() && data.pg_version.is_none()
    {
        return Err(ReadProblem::Content("holds none of a sentinel's fields".to_owned()));
    }
    Ok(data)
}

/// Reads `metadata.json`.
pub fn metadata(input: &mut dyn Read) -> Result<MetadataData, ReadProblem> {
    let data: MetadataData = json(input)?;
    if data == MetadataData::default() {
        return Err(ReadProblem::Content("holds none of a backup summary's fields".to_owned()));
    }
    Ok(data)
}

fn tablespaces(spec: Option<&Value>) -> Vec<Tablespace> {
    let Some(Value::Object(spec)) = spec else { return Vec::new() };
    let oids = spec.get("tablespaces").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let location = |oid: &str| spec.get(oid)?.get("loc")?.as_str();
    oids.iter()
        .filter_map(Value::as_str)
        .map(|oid| Tablespace { oid: oid.to_owned(), location: location(oid).unwrap_or_default().to_owned() })
        .collect()
}

/// Reads `files_metadata.json` without keeping its file list, which may be larger than memory.
pub fn files_metadata(input: &mut dyn Read) -> Result<FilesMetadataData, ReadProblem> {
    let mut reader = serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(64 << 10, input));
    let data = FilesSeed.deserialize(&mut reader).map_err(ReadProblem::from_json)?;
    reader.end().map_err(ReadProblem::from_json)?;
    Ok(data)
}

struct FilesSeed;

impl<'de> DeserializeSeed<'de> for FilesSeed {
    type Value = FilesMetadataData;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FilesSeed {
    type Value = FilesMetadataData;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Files and TarFileSets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut data = FilesMetadataData::default();
        let mut known = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "TarFileSets" => {
                    known = true;
                    let names: Option<Keys> = map.next_value()?;
                    data.tar_sets = names.map(|keys| keys.names).filter(|names| !names.is_empty());
                }
                "Files" => {
                    known = true;
                    let files: Option<Count> = map.next_value()?;
                    data.files = files.map_or(0, |count| count.0);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if known { Ok(data) } else { Err(serde::de::Error::custom("neither Files nor TarFileSets")) }
    }
}

/// The keys of a map, bounded: a producer writes one tar per gigabyte.
struct Keys {
    names: Vec<String>,
}

const TARS_MAX: usize = 1_000_000;

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tar names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if names.len() >= TARS_MAX {
                        return Err(serde::de::Error::custom("more than a million tars"));
                    }
                    names.push(name);
                }
                Ok(Keys { names })
            }
        }
        deserializer.deserialize_map(KeysVisitor)
    }
}

/// How many entries a map has.
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl<'de> Visitor<'de> for CountVisitor {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of files")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_map(CountVisitor)
    }
}

/// Reads one JSON document and nothing behind it.
fn json<T: for<'de> Deserialize<'de>>(input: &mut dyn Read) -> Result<T, ReadProblem> {
    serde_json::from_reader(std::io::BufReader::new(input)).map_err(ReadProblem::from_json)
}

/// Reads any bytes without panic.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let _ = sentinel(&mut &bytes[..]);
    let _ = metadata(&mut &bytes[..]);
    let _ = files_metadata(&mut &bytes[..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positions_are_integers_beyond_a_float() {
        let text =
            br#"{"LSN":234881240,"FinishLSN":234881456,"SystemIdentifier":7710395111527005548,"PgVersion":150018,
            "Spec":{"base_prefix":"/d","tablespaces":["16400"],"16400":{"loc":"/mnt/ts","link":"pg_tblspc/16400"}},
            "UserData":"weekly","Version":2,"Unheard":[1,{"of":2}],"StartTime":"2026-11-20T23:11:11.819042Z"}"#;
        let data = sentinel(&mut &text[..]).unwrap();
        assert_eq!(data.system_identifier, Some(7_710_395_111_527_005_548));
        assert_eq!(data.start_lsn, Some(Lsn(0xE00_00D8)));
        assert_eq!(data.tablespaces[0].location, "/mnt/ts");
        assert_eq!(data.user_data.as_deref(), Some("\"weekly\""));
    }

    #[test]
    fn what_is_not_a_sentinel_is_content_not_an_io_error() {
        for text in ["", "{", "[]", "{}", "null", "{\"LSN\":\"0/0\"}", "{\"LSN\":1} x", "{\"LSN\":-1,\"PgVersion\":1}"]
        {
            assert!(matches!(sentinel(&mut text.as_bytes()), Err(ReadProblem::Content(_))), "{text}");
        }
    }

    #[test]
    fn file_sets_are_kept_and_files_only_counted() {
        let text = br#"{"Files":{"/a":{"MTime":"x"},"/b":{}},"TarFileSets":{"part_001.tar.lz4":["/a"],"backup_label.tar.lz4":[]},"DatabasesByNames":{}}"#;
        let data = files_metadata(&mut &text[..]).unwrap();
        assert_eq!(data.files, 2);
        assert_eq!(data.tar_sets.unwrap(), ["part_001.tar.lz4", "backup_label.tar.lz4"]);
        let streamed = br#"{"Files":{"a":{}},"TarFileSets":null}"#;
        assert_eq!(files_metadata(&mut &streamed[..]).unwrap().tar_sets, None);
        assert!(files_metadata(&mut &b"{}"[..]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_one(&bytes);
        }
    }
}
