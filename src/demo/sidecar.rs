//! The JSON files of a backup, with the fields of wal-g 3 in its order.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Timestamp;

/// What the tool calls the form of its times (it writes RFC 3339 all the same).
const DATE_FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%fZ";

/// What sentinel and metadata have in common.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub started: Timestamp,
    pub finished: Timestamp,
    pub hostname: String,
    pub data_dir: String,
    pub pg_version_num: u32,
    pub start_lsn: u64,
    pub finish_lsn: u64,
    pub system_identifier: u64,
    pub uncompressed_bytes: u64,
    pub compressed_bytes: u64,
    pub catalog_bytes: u64,
}

/// `NAME_backup_stop_sentinel.json`: its presence completes a backup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sentinel<'a> {
    #[serde(rename = "LSN")]
    lsn: u64,
    pg_version: u32,
    #[serde(rename = "FinishLSN")]
    finish_lsn: u64,
    system_identifier: u64,
    uncompressed_size: u64,
    compressed_size: u64,
    data_catalog_size: u64,
    chkp_num: Option<u32>,
    version: u32,
    start_time: String,
    finish_time: String,
    date_fmt: &'a str,
    hostname: &'a str,
    data_dir: &'a str,
    is_permanent: bool,
}

impl<'a> Sentinel<'a> {
    pub fn new(facts: &'a Facts) -> Self {
        Sentinel {
            lsn: facts.start_lsn,
            pg_version: facts.pg_version_num,
            finish_lsn: facts.finish_lsn,
            system_identifier: facts.system_identifier,
            uncompressed_size: facts.uncompressed_bytes,
            compressed_size: facts.compressed_bytes,
            data_catalog_size: facts.catalog_bytes,
            chkp_num: None,
            version: 2,
            start_time: micros(facts.started),
            finish_time: micros(facts.finished),
            date_fmt: DATE_FORMAT,
            hostname: &facts.hostname,
            data_dir: &facts.data_dir,
            is_permanent: false,
        }
    }
}

/// `NAME/metadata.json`
#[derive(Debug, Serialize)]
pub(super) struct Metadata<'a> {
    start_time: String,
    finish_time: String,
    date_fmt: &'a str,
    hostname: &'a str,
    data_dir: &'a str,
    pg_version: u32,
    start_lsn: u64,
    finish_lsn: u64,
    is_permanent: bool,
    system_identifier: u64,
    uncompressed_size: u64,
    compressed_size: u64,
}

impl<'a> Metadata<'a> {
    pub fn new(facts: &'a Facts) -> Self {
        Metadata {
            start_time: micros(facts.started),
            finish_time: micros(facts.finished),
            date_fmt: DATE_FORMAT,
            hostname: &facts.hostname,
            data_dir: &facts.data_dir,
            pg_version: facts.pg_version_num,
            start_lsn: facts.start_lsn,
            finish_lsn: facts.finish_lsn,
            is_permanent: false,
            system_identifier: facts.system_identifier,
            uncompressed_size: facts.uncompressed_bytes,
            compressed_size: facts.compressed_bytes,
        }
    }
}

/// `NAME/files_metadata.json`
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FilesMetadata {
    /// Every file and directory, but not `pg_control` and the label.
    pub files: BTreeMap<String, FileDescription>,
    /// Which member is in which tar; `pg_control.tar` is not named.
    pub tar_file_sets: BTreeMap<String, Vec<String>>,
    pub databases_by_names: BTreeMap<String, Database>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FileDescription {
    pub is_incremented: bool,
    pub is_skipped: bool,
    pub m_time: String,
    pub updates_count: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Database {
    pub oid: u32,
    /// Keys are `schema.relation`.
    pub tables_new: BTreeMap<String, Relation>,
}

#[derive(Debug, Serialize)]
pub(super) struct Relation {
    pub oid: u32,
    pub relfilenode: u32,
}

/// RFC 3339 in UTC with microseconds, as the tool writes its own times.
fn micros(at: Timestamp) -> String {
    let rounded = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
    rounded.to_string()
}

/// RFC 3339 in UTC with nanoseconds, as the tool writes file times.
pub(super) fn nanos(at: std::time::SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_order_are_those_of_the_original_tool() {
        let facts = Facts {
            started: "2026-11-20T23:13:17.566610999Z".parse().unwrap(),
            finished: "2026-11-20T23:13:18.81295Z".parse().unwrap(),
            hostname: "pgdemo1".into(),
            data_dir: "/srv/pg/standby".into(),
            pg_version_num: 170010,
            start_lsn: 201326632,
            finish_lsn: 201326880,
            system_identifier: 7710395662824885360,
            uncompressed_bytes: 23743102,
            compressed_bytes: 1786106,
            catalog_bytes: 23853623,
        };
        assert_eq!(
            serde_json::to_string(&Sentinel::new(&facts)).unwrap(),
            concat!(
                r#"{"LSN":201326632,"PgVersion":170010,"FinishLSN":201326880,"SystemIdentifier":7710395662824885360,"#,
                r#""UncompressedSize":23743102,"CompressedSize":1786106,"DataCatalogSize":23853623,"ChkpNum":null,"#,
                r#""Version":2,"StartTime":"2026-11-20T23:13:17.56661Z","FinishTime":"2026-11-20T23:13:18.81295Z","#,
                r#""DateFmt":"%Y-%m-%dT%H:%M:%S.%fZ","Hostname":"pgdemo1","DataDir":"/srv/pg/standby","#,
                r#""IsPermanent":false}"#
            )
        );
        assert_eq!(
            serde_json::to_string(&Metadata::new(&facts)).unwrap(),
            concat!(
                r#"{"start_time":"2026-11-20T23:13:17.56661Z","finish_time":"2026-11-20T23:13:18.81295Z","#,
                r#""date_fmt":"%Y-%m-%dT%H:%M:%S.%fZ","hostname":"pgdemo1","data_dir":"/srv/pg/standby","#,
                r#""pg_version":170010,"start_lsn":201326632,"finish_lsn":201326880,"is_permanent":false,"#,
                r#""system_identifier":7710395662824885360,"uncompressed_size":23743102,"compressed_size":1786106}"#
            )
        );
        let description = FileDescription {
            is_incremented: false,
            is_skipped: false,
            m_time: nanos(std::time::UNIX_EPOCH),
            updates_count: 0,
        };
        assert_eq!(
            serde_json::to_string(&description).unwrap(),
            r#"{"IsIncremented":false,"IsSkipped":false,"MTime":"1970-01-01T00:00:00Z","UpdatesCount":0}"#
        );
    }
}
