//! `wal-fetch` where an archive lies in several places, and what finding a segment costs.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::golden_support as g;
use crate::support::s3::{FakeS3, KEY_ID, SECRET};
use crate::wal::Server;

const UNTOUCHED: &[u8] = b"untouched";

/// wal-g writes to a failover storage while the first one does not answer: both are one archive.
#[test]
fn a_segment_of_a_failover_storage_is_found() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let copy = g::Copy::of(&g::root(&golden, "walg-lz4-pg15"));
    let (first, second) = (copy.path(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    fs::create_dir(second.path().join("wal_005")).unwrap();
    let place = |root: &Path, name: &str| root.join("wal_005").join(format!("{name}.lz4"));
    let (moved, damaged) = ("000000010000000000000005", "000000010000000000000006");
    fs::rename(place(&first, moved), place(second.path(), moved)).unwrap();
    fs::copy(place(&first, damaged), place(second.path(), damaged)).unwrap();
    fs::write(place(&first, damaged), "broken").unwrap();
    let settings = second.path().join("walg.json");
    let write = |other: Value| {
        let storages = serde_json::json!({"other": other});
        let text = serde_json::json!({"WALG_FILE_PREFIX": first, "WALG_FAILOVER_STORAGES": storages});
        fs::write(&settings, text.to_string()).unwrap();
    };
    let fetch = |name: &str, more: &[&str]| {
        fs::write(server.dest(), UNTOUCHED).unwrap();
        let mut command = g::walproof();
        command.args(["wal-fetch", "--walg-config"]).arg(&settings).args(more).arg(name).arg("pg_wal/RECOVERYXLOG");
        let output = command.current_dir(server.path()).output().unwrap();
        server.told(&output)
    };
    write(serde_json::json!({"WALG_FILE_PREFIX": second.path()}));
    // In the first, in the second only, and whole in the second only.
    for name in ["000000010000000000000004", moved, damaged] {
        let (code, text) = fetch(name, &[]);
        assert_eq!(code, 0, "{name}: {text}");
        assert_eq!(fs::metadata(server.dest()).unwrap().len(), 16 << 20, "{name}");
    }
    assert_eq!(fetch("0000000100000000000000FE", &[]), (1, String::new()));
    // Broken in both.
    fs::write(place(second.path(), damaged), "broken").unwrap();
    assert_eq!(fetch(damaged, &[]).0, 126);
    // What the first lacks may lie in the one that does not answer: that is no "not there".
    write(serde_json::json!({
        "WALG_S3_PREFIX": "s3://archive/pg", "AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET,
    }));
    assert_eq!(fetch("000000010000000000000004", &[]).0, 0);
    let (code, text) = fetch(moved, &[]);
    assert!(code == 127 && text.contains("127.0.0.1:9"), "{code} {text}");
}

/// The codec seen last is asked for at once, and a missing segment does not cost a question for each codec.
#[tokio::test(flavor = "multi_thread")]
async fn finding_a_segment_costs_few_requests() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let bucket = FakeS3::start("us-east-1", true).await;
    for (archive, extension) in [("walg-lz4-pg15", "lz4"), ("walg-none-pg15", "none")] {
        let wal = g::root(&golden, archive).join("wal_005");
        for number in [2, 3] {
            let file = format!("00000001000000000000000{number}");
            let file = if extension == "none" { file } else { format!("{file}.{extension}") };
            bucket.put(format!("{extension}/wal_005/{file}").as_bytes(), fs::read(wal.join(file)).unwrap());
        }
    }
    let fetch = |prefix: &str, name: &str, more: &[&str]| {
        fs::write(server.dest(), UNTOUCHED).unwrap();
        let archive = format!("s3://archive/{prefix}");
        let mut command = server.command(&archive, name, &["--endpoint-url", &bucket.url, "--region", "us-east-1"]);
        command.args(more).env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let before = bucket.requests();
        let (code, text) = server.told(&command.output().unwrap());
        assert!(code <= 1, "{text}");
        (code, bucket.requests() - before)
    };
    // Somebody fetches ahead already, so that nobody else does, and the requests are this command's own.
    let folder = server.path().join("pg_wal/.walproof-prefetch");
    fs::create_dir(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    for (prefix, other) in [("lz4", "none"), ("none", "lz4")] {
        let _ = fs::remove_file(folder.join("codec"));
        let (two, three, missing) =
            ("000000010000000000000002", "000000010000000000000003", "0000000100000000000000FE");
        // A listing, and the object.
        assert_eq!(fetch(prefix, two, &["--prefetch", "4"]), (0, 2), "{prefix}");
        assert_eq!(fs::read_to_string(folder.join("codec")).unwrap(), prefix);
        // The object alone.
        assert_eq!(fetch(prefix, three, &["--prefetch", "4"]), (0, 1), "{prefix}");
        // The object, a listing for all codecs, another for whether there is an archive.
        assert_eq!(fetch(prefix, missing, &["--prefetch", "4"]), (1, 3), "{prefix}");
        assert_eq!(fetch(prefix, missing, &[]), (1, 2), "{prefix}");
        // The archive has changed its codec: one question too many, once.
        fs::write(folder.join("codec"), other).unwrap();
        assert_eq!(fetch(prefix, two, &["--prefetch", "4"]), (0, 3), "{prefix}");
        assert_eq!(fetch(prefix, two, &["--prefetch", "4"]), (0, 1), "{prefix}");
    }
}
