//! Seeds that need no archive.

use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::corpus::{Corpus, packed};
use super::targets::codec_kind;

const SEGMENT: &str = "00000001000000000000000E";

const SENTINEL: &str = r#"{"LSN":234881240,"FinishLSN":234881456,"SystemIdentifier":7710395111527005548,
 "PgVersion":150018,"UncompressedSize":27000000,"CompressedSize":4000000,"DataCatalogSize":0,
 "Spec":{"base_prefix":"/d","tablespaces":["16400"],"16400":{"loc":"/mnt/ts","link":"pg_tblspc/16400"}},
 "UserData":{"a":[1,"x"]},"IsPermanent":true,"Version":2,"StartTime":"2026-11-20T23:11:11.819042Z"}"#;
const FILES_METADATA: &str = r#"{"Files":{"/base/5/1":{"IsSkipped":false,"IsIncremented":true,"MTime":"2026-11-20T23:11:11Z",
 "CorruptBlocks":{"CorruptBlocksCount":1,"SomeCorruptBlocks":[3]},"UpdatesCount":2}},
 "TarFileSets":{"part_001.tar.lz4":["/base/5/1"]},"DatabasesByNames":{"a":{"oid":5,"tables":{"t":1}}}}"#;
const HISTORY: &str = "1\t0/9016440\tno recovery target specified\n\n# note\n2\t0/A000000\tafter LSN 0/A000000\n";
const LABEL: &str = "START WAL LOCATION: 0/E0000D8 (file 00000001000000000000000E)\nCHECKPOINT LOCATION: 0/E000110\n\
 BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-20 23:11:11 UTC\nLABEL: x\nSTART TIMELINE: 1\n\
 STOP WAL LOCATION: 0/E0001B0 (file 00000001000000000000000E)\n";
const MANIFEST: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 2, "System-Identifier": 7710395111527005548,
"Files": [
{ "Path": "base/5/1", "Size": 8192, "Last-Modified": "2026-11-20 23:11:11 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "01020304" },
{ "Encoded-Path": "ff00", "Size": 0, "Last-Modified": "2026-11-20 23:11:11 GMT" } ],
"WAL-Ranges": [ { "Timeline": 1, "Start-LSN": "0/E0000D8", "End-LSN": "0/E0001B0" } ],
"Manifest-Checksum": "0000000000000000000000000000000000000000000000000000000000000000"}
"#;
const CONFIG: &str = r#"version = 1
[defaults]
recovery_window = "35d"
rpo = "5m"
[state]
url = "s3://state/walproof"
[[cluster]]
name = "main"
archive = "s3://bucket/pg/main"
[cluster.restore_test]
every = "7d"
[[cluster]]
name = "dumps-*"
archive = "gs://b/d/*"
layout = "files"
files.pattern = "{tier}/{date}.tar.zst"
[[exception]]
cluster = "main"
rule = "WAL001"
until = 2026-12-31
reason = "known"
"#;
const LIFECYCLE_XML: &str = r#"<?xml version="1.0"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<!-- c --><Rule><ID>r</ID><Status>Enabled</Status><Filter><And><Prefix>pg/&amp;</Prefix><Tag><Key>k</Key><Value>v</Value></Tag>
<ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></And></Filter><Transition><Days>3</Days><StorageClass>GLACIER</StorageClass></Transition>
<Expiration><Days>30</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>"#;
const LIFECYCLE_GCS: &str = r#"{"lifecycle":{"rule":[{"action":{"type":"Delete"},"condition":{"age":30,"matchesPrefix":["pg/"],
 "isLive":false,"createdBefore":"2026-01-01","numNewerVersions":2}}]}}"#;
const TEMPLATE: &str = "Parameters:\n  Days: {Type: Number, Default: 9}\nResources:\n  B:\n    Type: AWS::S3::Bucket\n    Properties:\n\
 \x20     BucketName: x\n      LifecycleConfiguration:\n        Rules:\n          - {Id: a, Status: Enabled, Prefix: p/, ExpirationInDays: !Ref Days}\n";
const PLAN: &str = r#"{"format_version":"1.2","terraform_version":"1.9","resource_changes":[{"address":"aws_s3_bucket_lifecycle_configuration.b",
 "type":"aws_s3_bucket_lifecycle_configuration","name":"b","provider_name":"registry.terraform.io/hashicorp/aws","change":{"actions":["update"],
 "before":{"bucket":"b","rule":[]},"after":{"bucket":"b","rule":[{"id":"r","status":"Enabled","filter":[{"prefix":"pg/"}],"expiration":[{"days":30}]}]},
 "after_unknown":{"rule":[{"expiration":[{"days":true}]}]}}}]}"#;
const WHAT_IF: &str = r#"{"vectors":[{"id":"a","provider":"s3","versioning":"Enabled","rules":[{"ID":"r","Status":"Enabled","Filter":{"Prefix":""},
 "Expiration":{"Days":30}}],"objects":[{"key":"a","last_modified":"2026-10-01T12:00:00Z","size":400000}],"now":"2026-11-20T15:00:00Z"}]}"#;
const INVENTORY: &str = r#"{"bucket":"b","versioning":"Suspended","objects":[{"key":"a/b","size":12,"created":"2026-10-01T12:00:00Z",
 "storage_class":"GLACIER","version_id":"v","is_delete_marker":false}]}"#;
const INVENTORY_MANIFEST: &str = r#"{"sourceBucket":"b","creationTimestamp":"1795186800000","fileFormat":"CSV",
 "fileSchema":"Bucket, Key, Size, LastModifiedDate","files":[{"key":"inv/1.csv.gz","size":100,"MD5checksum":"aa"}]}"#;
const NAMES: &str = "/base/5/1\n../x\n/\n.\na/../b\n//a//b/./c/\npg_tblspc/16400/PG_15\n\u{1}..\n.../a\n..a/b..\n";
const DELETES: &str = "INFO: 2026/11/20 Objects in folder:\nwill be deleted: basebackups_005/base_00000001000000000000000E\n# x\npg/main/wal_005/a\n";
const WALG_JSON: &str = r#"{"WALG_S3_PREFIX":"s3://b/p","AWS_REGION":"eu-west-1","WALG_LIBSODIUM_KEY":"0123456789012345678901234567890x",
 "WALG_FAILOVER_STORAGES":{"two":{"WALG_FILE_PREFIX":"/srv"}},"AWS_S3_FORCE_PATH_STYLE":true}"#;
const WALG_YAML: &str = "WALG_S3_PREFIX: s3://b/p\nWALG_STORAGE_PREFIX: sub\na: &a [1, 2]\nb: [*a, *a, *a]\n";
const S3_PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
<Prefix/><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t=</NextContinuationToken>
<Contents><Key>pg/wal%205&#x41;&lt;</Key><LastModified>2026-11-20T10:00:00.000Z</LastModified><ETag>&quot;e-2&quot;</ETag><Size>12</Size><StorageClass>GLACIER</StorageClass>
<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm></Contents><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>"#;
const S3_VERSIONS: &str = r#"<ListVersionsResult><Version><Key>a</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><LastModified>2026-11-20T10:00:00Z</LastModified>
<Size>1</Size></Version><DeleteMarker><Key>b</Key><VersionId>null</VersionId><IsLatest>true</IsLatest><LastModified>2026-11-20T10:00:00Z</LastModified></DeleteMarker></ListVersionsResult>"#;
const S3_REFUSAL: &str = "<Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::1:assumed-role/x is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu:1:key/2</Message><Region>eu-west-1</Region></Error>";
const GCS_PAGE: &str = r#"{"kind":"storage#objects","nextPageToken":"t","prefixes":["a/"],"items":[{"name":"a\u001b[0m/ü\ud83d\ude00","size":"12",
 "timeCreated":"2026-11-20T10:00:00.123Z","updated":"2026-11-21T10:00:00Z","generation":"17","etag":"x","storageClass":"NEARLINE","crc32c":"AAAAAA==","md5Hash":"m","more":{"deep":[1]}}]}"#;
const GCS_REFUSAL: &str = r#"{"error":{"code":403,"message":"sa@x does not have storage.objects.list access","errors":[{"reason":"forbidden","message":"m"}],"status":"PERMISSION_DENIED"}}"#;

pub fn add(corpus: &mut Corpus) {
    for (target, text) in [
        ("sidecar", SENTINEL),
        ("sidecar", FILES_METADATA),
        ("files_list", FILES_METADATA),
        ("layout_read", SENTINEL),
        ("layout_read", FILES_METADATA),
        ("layout_read", HISTORY),
        ("layout_read", LABEL),
        ("layout_read", "PostgreSQL 14.24 on x86_64"),
        ("model", HISTORY),
        ("model", SEGMENT),
        ("model", "00000002.history"),
        ("model", "00000001000000000000000E.000000D8.backup"),
        ("model", "0/E0000D8"),
        ("wal_files", LABEL),
        ("wal_files", MANIFEST),
        ("wal_files", "16400 /mnt/t\\\ns\n"),
        ("layout_keys", "wal_005/00000001000000000000000E.lz4"),
        (
            "layout_keys",
            "basebackups_005/base_00000001000000000000000E_D_000000010000000000000005/tar_partitions/part_001.tar.lz4",
        ),
        ("layout_keys", "basebackups_005/base_00000001000000000000000E_00000040_backup_stop_sentinel.json"),
        ("layout_detect", "a/b/wal_005/00000001000000000000000E.lz4"),
        ("layout_detect", "base/20261120T234104/data.tar.gz"),
        ("layout_files", "{tier}/{name}-{date}.tar.zstdaily/app-2026-11-20T10:00:00.tar.zst"),
        ("policy_files", "{tier}/{name}-{date}.tar.zstdaily/app-2026-11-20T10:00:00.tar.zst"),
        ("policy_config", CONFIG),
        ("policy_plan", PLAN),
        ("policy_plan", TEMPLATE),
        ("policy_plan", LIFECYCLE_XML),
        ("policy_plan", LIFECYCLE_GCS),
        ("policy_deletes", DELETES),
        ("inventory_json", INVENTORY),
        ("inventory_files", INVENTORY_MANIFEST),
        ("lifecycle_bucket_file", LIFECYCLE_XML),
        ("lifecycle_bucket_file", LIFECYCLE_GCS),
        ("lifecycle_what_if", WHAT_IF),
        ("walg_settings", WALG_JSON),
        ("walg_settings", WALG_YAML),
        ("walg_settings", "WALG_GS_PREFIX = \"gs://b/p\"\n"),
        ("s3_listing", S3_PAGE),
        ("s3_listing", S3_VERSIONS),
        ("s3_listing", S3_REFUSAL),
        ("s3_refusal", S3_REFUSAL),
        ("gcs_listing", GCS_PAGE),
        ("gcs_refusal", GCS_REFUSAL),
        ("gcs_refusal", "<html><title>502 Bad Gateway</title></html>"),
    ] {
        corpus.add(target, text);
    }
    let text = format!("{HISTORY}{MANIFEST}").repeat(40);
    for choice in 0..10 {
        if let Some(bytes) = packed(codec_kind(choice), text.as_bytes()) {
            let chosen = [&[choice], &bytes[..]].concat();
            corpus.add("codec", chosen.clone());
            corpus.add("codec_open", chosen);
        }
    }
    corpus.add("tar", tarball());
    corpus.add("restore_paths", tarball());
    corpus.add("restore_paths", FILES_METADATA);
    corpus.add("restore_paths", NAMES);
    corpus.add("restore_paths", [FILES_METADATA.as_bytes(), b"\0", FILES_METADATA.as_bytes()].concat());
    corpus.add("dump", custom_dump());
    corpus.add("dump", PLAIN_DUMP.as_bytes().to_vec());
    for seed in [tarball(), FILES_METADATA.into(), MANIFEST.into(), LABEL.into()] {
        corpus.add("backup_part", seed);
    }
    corpus.add("wal", wal_page());
    corpus.add("page", vec![0; 8192 * 2]);
    let rows = "\"b\",\"k%20\",\"12\",\"2026-11-01T02:10:00.000Z\"\n".repeat(3);
    corpus.add("inventory_files", packed(walproof::model::CodecKind::Gzip, rows.as_bytes()).unwrap());
    corpus.add("inventory_files", parquet());
    let backup = "basebackups_005/base_00000001000000000000000E";
    let object = |key: String, content: &[u8]| (key, content.to_vec());
    let mut objects = vec![
        object(format!("{backup}_backup_stop_sentinel.json"), SENTINEL.as_bytes()),
        object(format!("{backup}/files_metadata.json"), FILES_METADATA.as_bytes()),
        object(format!("{backup}/tar_partitions/part_001.tar.lz4"), &[0]),
        object("wal_005/00000003.history".to_owned(), HISTORY.as_bytes()),
        object("wal_005/00000001000000000000000E.000000D8.backup".to_owned(), LABEL.as_bytes()),
        object("stray \u{1b}[31m".to_owned(), &[0]),
    ];
    for number in [14, 15, 16, 18] {
        objects.push(object(format!("wal_005/0000000100000000000000{number:02X}.lz4"), &[0]));
    }
    corpus.add("audit", frames(&objects));
    for with_manifest in [true, false] {
        corpus.add("audit_content", frames(&backups(with_manifest)));
    }
}

/// A full backup and a delta on top of it, with what is in their tars.
fn backups(with_manifest: bool) -> Vec<(String, Vec<u8>)> {
    let full = "basebackups_005/base_00000001000000000000000E";
    let delta = "basebackups_005/base_00000001000000000000000F_D_00000001000000000000000E";
    let mut control = vec![0; 8192];
    control[0..8].copy_from_slice(&7_710_395_111_527_005_548_u64.to_le_bytes());
    for (at, word) in [
        (8, 1300),
        (12, 202_209_061),
        (16, 6),
        (48, 1),
        (216, 8192),
        (220, 131_072),
        (224, 8192),
        (228, 16 << 20),
        (252, 1),
    ] {
        control[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    control[32..40].copy_from_slice(&0xE00_0110_u64.to_le_bytes());
    control[40..48].copy_from_slice(&0xE00_00D8_u64.to_le_bytes());
    let crc = crc32c::crc32c(&control[..288]);
    control[288..292].copy_from_slice(&crc.to_le_bytes());
    let mut page = vec![0; 8192];
    page[8..10].copy_from_slice(&0x1234_u16.to_le_bytes());
    page[12..20].copy_from_slice(&[24, 0, 0, 32, 0, 32, 4, 32]);
    let increment =
        [&b"wi1\x55"[..], &8192_u64.to_le_bytes(), &1_u32.to_le_bytes(), &0_u32.to_le_bytes(), &page].concat();
    let sentinel = SENTINEL.to_owned();
    let child = SENTINEL.replace("{\"LSN\":234881240,\"FinishLSN\":234881456", r#"{"LSN":251658280,"FinishLSN":251658500,
        "DeltaLSN":234881240,"DeltaFrom":"base_00000001000000000000000E","DeltaFullName":"base_00000001000000000000000E","DeltaCount":1"#);
    assert_ne!(child, sentinel);
    let whole = FILES_METADATA.replace("\"IsIncremented\":true", "\"IsIncremented\":false").replace(".lz4", "");
    let skipped = r#"{"Files":{"/base/5/1":{"IsIncremented":true},"/base/5/2":{"IsSkipped":true}},"TarFileSets":{"part_001.tar":["/base/5/1"]}}"#;
    let manifest = ("backup_manifest", MANIFEST.as_bytes());
    let mut members =
        vec![("base/5/1", &page[..]), ("tablespace_map", b"16400 /mnt/ts\n"), ("base/5/1_fsm", &page[..])];
    members.extend(with_manifest.then_some(manifest));
    let mut objects = Vec::new();
    for (backup, sentinel, files, members) in
        [(full, sentinel, whole, members), (delta, child, skipped.to_owned(), vec![("base/5/1", &increment[..])])]
    {
        objects.push((format!("{backup}_backup_stop_sentinel.json"), sentinel.into_bytes()));
        objects.push((format!("{backup}/files_metadata.json"), files.into_bytes()));
        objects.push((format!("{backup}/tar_partitions/part_001.tar"), tar_of(&members)));
        let control = tar_of(&[("global/pg_control", &control)]);
        objects.push((format!("{backup}/tar_partitions/pg_control.tar"), control));
        objects
            .push((format!("{backup}/tar_partitions/backup_label.tar"), tar_of(&[("backup_label", LABEL.as_bytes())])));
    }
    objects
}

fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Objects as the target `audit` takes them.
pub fn frames(objects: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, content) in objects {
        out.push(u8::try_from(key.len()).unwrap());
        out.extend(key.as_bytes());
        out.extend(u16::try_from(content.len()).unwrap().to_le_bytes());
        out.extend(content);
    }
    out
}

const PLAIN_DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.18\n\n\
 SET client_encoding = 'UTF8';\n\n--\n-- PostgreSQL database dump complete\n--\n";

/// One table with one chunk of data, as `pg_dump -Fc` of PostgreSQL 15 writes it.
fn custom_dump() -> Vec<u8> {
    let int = |value: i32| [&[u8::from(value < 0)][..], &value.unsigned_abs().to_le_bytes()].concat();
    let text = |text: &str| [int(text.len() as i32), text.as_bytes().to_vec()].concat();
    let mut out = b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec();
    (0..8).for_each(|_| out.extend(int(1)));
    ["shop", "15.18", "15.18"].iter().for_each(|one| out.extend(text(one)));
    [int(1), int(7), int(1)].into_iter().for_each(|one| out.extend(one));
    ["1259", "16384", "t", "TABLE DATA"].iter().for_each(|one| out.extend(text(one)));
    out.extend(int(3));
    ["", "", "COPY t FROM stdin;", "public", "", "heap", "app", "false", "5"]
        .iter()
        .for_each(|one| out.extend(text(one)));
    out.extend(int(-1));
    out.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    out.extend([int(7), text("rows"), int(0)].concat());
    out
}

fn tarball() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [("base/5/1", &[7; 700][..]), ("backup_label", LABEL.as_bytes())] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, content).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    tar.append_data(&mut header, "long/".repeat(60), &b"x"[..]).unwrap();
    tar.into_inner().unwrap()
}

/// The first page of a segment of PostgreSQL 15 with two records.
fn wal_page() -> Vec<u8> {
    let mut page = Vec::new();
    page.extend([0x10, 0xD1, 2, 0, 1, 0, 0, 0]);
    page.extend((14_u64 << 24).to_le_bytes());
    page.extend([0; 8]);
    page.extend(7_710_395_111_527_005_548_u64.to_le_bytes());
    page.extend((16_u32 << 20).to_le_bytes());
    page.extend(8192_u32.to_le_bytes());
    for (body, rmid) in [(&[255_u8, 8, 1, 2, 3, 4, 5, 6, 7, 8][..], 1), (&[255, 2, 0, 0][..], 0)] {
        page.extend((24 + body.len() as u32).to_le_bytes());
        page.extend([0; 12]);
        page.extend([0, rmid, 0, 0, 0, 0, 0, 0]);
        page.extend(body);
        page.resize(page.len().next_multiple_of(8), 0);
    }
    page.resize(8192, 0);
    super::mutate::mend_wal(&mut page);
    page
}

fn parquet() -> Vec<u8> {
    let schema =
        "message s { required binary key (STRING); required int64 last_modified_date (TIMESTAMP(MILLIS,true)); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let keys = ["k1", "k2"].map(|key| ByteArray::from(key.as_bytes().to_vec()));
    column.typed::<ByteArrayType>().write_batch(&keys, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1_795_186_800_000, 1_795_186_800_001], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}
