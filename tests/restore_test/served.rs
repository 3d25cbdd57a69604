//! Two clusters of one configuration, read from an S3 server that checks who asks. The restored servers never see the
//! credentials.

use std::path::{Path, PathBuf};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use crate::golden_support as g;
use crate::run::{is_clean, ledger_is, postgres, sql_file, work_dir};

/// All files below a directory, oldest first: LATEST is the sentinel that is stored last.
pub fn files(root: &Path) -> Vec<(String, PathBuf)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, out) } else { out.push(path) }
        }
    }
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    let key = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (key(path), path.clone())).collect()
}

/// What one of the users of the S3 server has for a name or a secret.
pub fn key(user: &str, what: &str) -> String {
    std::env::var(format!("WALPROOF_MOTO_{user}_{what}")).unwrap_or_else(|_| "test".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_through_a_server_that_checks_credentials() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let Ok(url) = std::env::var("WALPROOF_MOTO_URL") else {
        println!("SKIPPED: no MOTO server (WALPROOF_MOTO_URL is not set)");
        return;
    };
    let bucket = format!("walproof-restores-{}", std::process::id());
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&url)
        .force_path_style(true)
        .credentials_provider(Credentials::new(key("ADMIN", "KEY_ID"), key("ADMIN", "SECRET"), None, None, "test"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    let clusters = [("one", "walg-s3-pg15"), ("two", "walg-none-pg15")];
    let (work, dir) = (work_dir(), tempfile::tempdir().unwrap());
    let mut text = "version = 1\n".to_owned();
    for (name, archive) in clusters {
        for (key, path) in files(&g::root(&golden, archive)) {
            let body = ByteStream::from(g::bytes(&path).unwrap());
            client.put_object().bucket(&bucket).key(format!("{name}/{key}")).body(body).send().await.unwrap();
        }
        let expected = g::expected(&golden, archive);
        let last = expected["marks"].as_array().unwrap().last().unwrap().clone();
        let sql = ledger_is(last["ledger_rows"].as_u64().unwrap(), last["ledger_md5"].as_str().unwrap());
        let sql = sql_file(dir.path(), &format!("{name}.sql"), &sql);
        text += &format!(
            "[[cluster]]\nname = \"{name}\"\narchive = \"s3://{bucket}/{name}\"\n\
             restore_test.assertions = [{:?}]\nrestore_test.amcheck = false\nrestore_test.full_read = false\n",
            sql.to_str().unwrap()
        );
    }
    let config = dir.path().join("walproof.toml");
    std::fs::write(&config, text).unwrap();
    let run = |id: String, secret: String| {
        let mut command = g::walproof();
        command.args(["restore-test", "--format", "json", "--endpoint-url", &url, "--region", "us-east-1"]);
        command.arg("--config").arg(&config).arg("--pg-bin").arg(&bin).arg("--work-dir").arg(work.path());
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (report, output.status.code().unwrap())
    };
    let (report, code) = run(key("READER", "KEY_ID"), key("READER", "SECRET"));
    let archives = report["archives"].as_array().unwrap();
    assert_eq!(archives.len(), 2);
    for archive in archives {
        assert_eq!(archive["restore_tests"][0]["outcome"], "proven", "{archive:#}");
    }
    assert_eq!(code, 0, "{report:#}");
    is_clean(work.path()).unwrap();

    let (report, code) = run(key("READER", "KEY_ID"), "wrong".to_owned());
    assert_eq!(code, 2);
    assert_eq!(report["status"], "incomplete", "{report:#}");
}
