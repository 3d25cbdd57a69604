//! The whole program against an S3 server: what it answers, and how it ends when it is refused.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::s3::{FakeS3, KEY_ID, SECRET};

/// A process with an environment of its own: no credentials of the machine, no metadata service.
fn walproof(server: &FakeS3, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walproof"));
    command.env_clear().env("HOME", env!("CARGO_TARGET_TMPDIR")).env("AWS_EC2_METADATA_DISABLED", "true");
    command.args(args).args(["--endpoint-url", &server.url]).envs(env.iter().copied());
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap()
}

const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];

/// Exit code 2 and these words on the first screen.
fn fails(output: &Output, words: &[&str]) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_exit_code_two_and_one_sentence() {
    let server = FakeS3::start("eu-central-1", true).await;
    server.put(b"pg/notes.txt", "x");
    let audit = ["audit", "s3://archive/pg"];
    let run = |args: &[&str], env: &[(&str, &str)]| walproof(&server, args, env);
    fails(&run(&["audit", "s3://archive/pg", "--region", "us-west-2"], KEYS), &["eu-central-1", "set the region"]);
    fails(&run(&["audit", "s3://absent/pg"], KEYS), &["absent", "INCOMPLETE"]);
    fails(&run(&audit, &[]), &["credentials"]);
    fails(&run(&audit, &[KEYS[0], ("AWS_SECRET_ACCESS_KEY", "wrong")]), &["secret access key"]);
    fails(&run(&["audit", "s3://archive/pg", "--anonymous"], &[]), &["grant s3:ListBucket on arn:aws:s3:::archive"]);
    fails(&run(&["audit", "s3://archive/pgg"], KEYS), &["0 objects under", "did you mean", "s3://archive/pg/"]);
    fails(&run(&audit, KEYS), &["no archive below", "pg/notes.txt"]);
    fails(&run(&["list", "s3://absent/pg"], KEYS), &["absent"]);
    fails(&run(&["reach", "s3://absent/pg", "--lsn", "0/1"], KEYS), &["absent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_a_bucket_is_audited() {
    let server = FakeS3::start("us-east-1", true).await;
    let put = |key: &str, body: Vec<u8>| server.put(format!("pg/main/{key}").as_bytes(), body);
    let name = "base_000000010000000000000003";
    for part in ["part_001", "pg_control", "backup_label"] {
        put(&format!("basebackups_005/{name}/tar_partitions/{part}.tar.lz4"), vec![1; 100]);
    }
    let files = json!({"Files": {}, "TarFileSets": {"part_001.tar.lz4": [], "backup_label.tar.lz4": []}});
    put(&format!("basebackups_005/{name}/files_metadata.json"), files.to_string().into_bytes());
    let summary =
        json!({"start_lsn": 0x300_0028, "finish_lsn": 0x300_0100, "pg_version": 150_000, "is_permanent": false});
    put(&format!("basebackups_005/{name}/metadata.json"), summary.to_string().into_bytes());
    let sentinel = json!({"LSN": 0x300_0028, "FinishLSN": 0x300_0100, "PgVersion": 150_000, "Version": 2,
        "SystemIdentifier": 7_300_000_000_000_000_001u64, "CompressedSize": 200});
    put(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel.to_string().into_bytes());
    for number in [3, 4, 6] {
        put(&format!("wal_005/0000000100000000000000{number:02X}.lz4"), vec![1; 70_000]);
    }
    let args = ["audit", "s3://archive/pg/main", "--format", "json", "--now", "2100-01-01T00:00:00Z"];
    let output = walproof(&server, &args, KEYS);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let archive = &report["archives"][0];
    assert_eq!(archive["url"], "s3://archive/pg/main");
    assert_eq!(archive["findings"][0]["code"], "WAL001");
    assert_eq!(archive["findings"][0]["subject"], "wal_005/000000010000000000000005");
    assert_eq!(archive["backups"][0]["rung"], "complete");
    assert_eq!(archive["listing"]["requests"], server.requests());
}
