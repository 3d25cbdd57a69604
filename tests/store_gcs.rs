//! Google Cloud Storage, against a server of its JSON API inside the test.
#![allow(clippy::disallowed_methods)]
#![cfg(all(feature = "cli", feature = "gcs", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

mod golden_support;
mod support_gcs;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use golden_support as g;
use serde_json::{Value, json};
use support_gcs::{BUCKET, Server, base64};
use walproof::model::{ObjectKey, StorageClass, StoreChecksum};
use walproof::run::{Cancel, RunContext};
use walproof::store::{
    Address, Limits, ListOptions, ListRequest, ReadOptions, Retry, Store, StoreError, StoreErrorKind, StoreOptions,
    list_all, open,
};

const WHEN: &str = "2026-11-20T10:00:00.5Z";

fn options(url: &str) -> StoreOptions {
    let retry = Retry { attempts_max: 4, wait_first: Duration::from_millis(1), ..Retry::default() };
    StoreOptions { endpoint_url: Some(url.to_owned()), retry, ..StoreOptions::default() }
}

async fn opened(bucket: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    let address = Address::parse(&format!("gs://{bucket}/p")).unwrap();
    open(&address, options, Limits::new(16), Cancel::default()).await
}

async fn store(server: Server) -> (Arc<dyn Store>, Arc<Server>) {
    let (url, server) = server.serve().await;
    (opened(BUCKET, &options(&url)).await.unwrap(), server)
}

async fn read(store: &dyn Store, key: &str, options: ReadOptions) -> Result<Vec<u8>, StoreError> {
    let mut read = store.read(&key.into(), options).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = read.stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn listings_are_the_truth_whatever_the_pages() {
    let odd = ["p/\u{1}ctl", "p/\u{1b}[31m", "p/a b%+&=#?", "p/a//b", "p/ünï/😀", "p/../x", "p/q\"\\"];
    for (page_max, listers) in [(0, 1), (7, 1), (7, 16), (100, 16)] {
        let server = Server { page_max, ..Server::default() };
        for number in 0..300 {
            server.put(&format!("p/wal_005/{:08X}{:08X}{:08X}.lz4", 1, number / 256, number % 256), "x", WHEN);
        }
        for key in odd {
            server.put(key, key.to_owned(), WHEN);
        }
        server.put("other/key", "", WHEN);
        let truth: BTreeSet<Vec<u8>> = server
            .objects
            .lock()
            .unwrap()
            .keys()
            .filter(|key| key.starts_with("p/"))
            .map(|key| key.clone().into_bytes())
            .collect();
        let (store, server) = store(server).await;
        let ctx = RunContext::new(WHEN.parse().unwrap());
        let mut seen = Vec::new();
        let options = ListOptions { listers, ..ListOptions::default() };
        let stats = list_all(Arc::clone(&store), b"p/", options, &ctx, |rows| {
            seen.extend(rows.into_iter().map(|row| row.key.as_bytes().to_vec()));
        })
        .await
        .unwrap();
        assert_eq!(seen.len(), truth.len(), "{page_max} {listers}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), truth);
        assert_eq!(stats.requests, server.log.lock().unwrap().len() as u64);
        for key in odd {
            assert_eq!(read(&*store, key, ReadOptions::default()).await.unwrap(), key.as_bytes());
        }
    }
}

#[tokio::test]
async fn rows_offsets_and_folders() {
    let server = Server { page_max: 2, ..Server::default() };
    for key in ["p/a", "p/b", "p/c/1", "p/c/2", "p/d"] {
        server.put(key, "body", WHEN);
    }
    server.objects.lock().unwrap().get_mut("p/b").unwrap().class = "COLDLINE";
    server.objects.lock().unwrap().get_mut("p/d").unwrap().class = "GLACIER";
    let (store, _) = store(server).await;
    let all = |delimiter, start_after: Option<&str>| {
        let store = Arc::clone(&store);
        let start_after = start_after.map(|key| key.as_bytes().to_vec());
        async move {
            let mut request = ListRequest { prefix: b"p/".to_vec(), delimiter, start_after, ..ListRequest::default() };
            let (mut rows, mut folders) = (Vec::new(), Vec::new());
            loop {
                let page = store.list_page(request.clone()).await.unwrap();
                assert!(page.rows.len() + page.prefixes.len() <= 2);
                rows.extend(page.rows);
                folders.extend(page.prefixes);
                request.token = page.next;
                if request.token.is_none() {
                    return (rows, folders);
                }
            }
        }
    };
    let names =
        |rows: &[walproof::model::ObjectRow]| -> Vec<String> { rows.iter().map(|row| row.key.to_string()).collect() };
    let (rows, folders) = all(true, None).await;
    assert_eq!(
        (names(&rows), folders),
        (vec!["p/a".into(), "p/b".into(), "p/d".into()], vec![ObjectKey::from("p/c/")])
    );
    assert_eq!(names(&all(false, Some("p/b")).await.0), ["p/c/1", "p/c/2", "p/d"]);
    assert_eq!(names(&all(false, Some("p/bb")).await.0), ["p/c/1", "p/c/2", "p/d"]);
    assert_eq!(names(&all(false, Some("p/d")).await.0), [""; 0]);
    let classes: Vec<StorageClass> = rows.iter().map(|row| row.class).collect();
    assert_eq!(classes, [StorageClass::Standard, StorageClass::Coldline, StorageClass::Other]);
    let row = &rows[0];
    assert_eq!((row.size, row.modified, row.version.as_deref()), (4, WHEN.parse().unwrap(), Some("17")));
    assert_eq!(row.checksum, Some(StoreChecksum::Crc32c(base64(&crc32c::crc32c(b"body").to_be_bytes()))));
    assert_eq!(store.url(b"p/a"), "gs://b/p/a");
}

#[tokio::test]
async fn reads_go_on_where_they_broke() {
    let body: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let server = Server::default();
    server.put("p/k", body.clone(), WHEN);
    server.put("p/empty", "", WHEN);
    server.cuts.lock().unwrap().extend([70_000, 0, 60_000]);
    let (store, server) = store(server).await;
    let mut whole = store.read(&"p/k".into(), ReadOptions::default()).await.unwrap();
    assert_eq!(whole.size, Some(200_000));
    assert!(whole.checksums.contains(&("crc32c".into(), base64(&crc32c::crc32c(&body).to_be_bytes()))));
    assert!(whole.checksums.contains(&("md5".into(), "bWQ1".into())));
    assert!(whole.checksums.contains(&("version".into(), "17".into())));
    let mut bytes = Vec::new();
    while let Some(chunk) = whole.stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    assert!(bytes == body);
    assert_eq!(server.log.lock().unwrap().iter().filter(|(url, _)| url.contains("generation=17")).count(), 3);
    let range = |range| ReadOptions { range: Some(range), ..ReadOptions::default() };
    assert_eq!(read(&*store, "p/k", range(5..9)).await.unwrap(), body[5..9]);
    assert_eq!(read(&*store, "p/k", range(199_990..300_000)).await.unwrap(), body[199_990..]);
    for (key, part) in [("p/k", range(200_000..200_001)), ("p/k", range(5..5)), ("p/empty", range(0..9))] {
        assert_eq!(read(&*store, key, part).await.unwrap(), b"", "{key}");
    }
    assert_eq!(read(&*store, "p/empty", ReadOptions::default()).await.unwrap(), b"");
    let missing = read(&*store, "p/none", ReadOptions::default()).await.unwrap_err();
    assert_eq!(
        (missing.kind, missing.to_string()),
        (StoreErrorKind::NotFound, "cannot read gs://b/p/none: there is no such object".into())
    );
    let older = ReadOptions { version: Some("16".into()), ..ReadOptions::default() };
    assert_eq!(read(&*store, "p/k", older).await.unwrap_err().kind, StoreErrorKind::NotFound);
}

#[tokio::test]
async fn an_object_replaced_meanwhile_is_never_stitched_together() {
    let server = Server { replace_when_cut: true, ..Server::default() };
    server.put("p/k", vec![7; 100_000], WHEN);
    server.cuts.lock().unwrap().push_back(50_000);
    let (store, _) = store(server).await;
    let error = read(&*store, "p/k", ReadOptions::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Cut);
    assert!(error.message.ends_with("it was replaced or deleted while it was read"), "{error}");
}

#[tokio::test]
async fn throttling_passes_and_refusals_say_what_to_grant() {
    let server = Server::default();
    server.put("p/k", "x", WHEN);
    server.faults.lock().unwrap().extend([(429, "rateLimitExceeded", ""), (503, "backendError", ""), (500, "", "")]);
    let (store, server) = store(server).await;
    let list = || store.list_page(ListRequest::default());
    assert_eq!(list().await.unwrap().rows.len(), 1);
    assert_eq!(store.requests(), 4);
    server.faults.lock().unwrap().extend([(429, "rateLimitExceeded", "Slow\u{1b}"); 4]);
    let error = list().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Throttled);
    assert!(error.to_string().contains("(4 attempts)") && !error.to_string().contains('\u{1b}'), "{error}");
    server.faults.lock().unwrap().extend([(403, "forbidden", "x@y does not have access"); 2]);
    let error = list().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().contains("grant storage.objects.list on gs://b (roles/storage.objectViewer"), "{error}");
    let error = read(&*store, "p/k", ReadOptions::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().contains("grant storage.objects.get on gs://b"), "{error}");
    let url = store.endpoint().unwrap();
    let error = opened("missing", &options(&url)).await.unwrap().list_page(ListRequest::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSuchBucket);
    assert!(error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn logins_and_other_accounts() {
    let server = Server { token: Some("as-account"), ..Server::default() };
    server.put("p/k", "x", WHEN);
    let (url, server) = server.serve().await;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = |account: &str| {
        let login = json!({"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r/1",
            "token_uri": format!("{url}/token")});
        let iam = format!("{url}/v1/projects/-/serviceAccounts/{account}%40p:generateAccessToken");
        let all = json!({"type": "impersonated_service_account", "source_credentials": login, "delegates": [],
            "service_account_impersonation_url": iam});
        let path = dir.path().join(account);
        std::fs::write(&path, all.to_string()).unwrap();
        StoreOptions { google_application_credentials: Some(path), user_project: Some("payer".into()), ..options(&url) }
    };
    let store = opened(BUCKET, &file("good")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.list_page(ListRequest::default()).await.unwrap().rows.len(), 1);
    }
    let log = server.log.lock().unwrap().clone();
    assert_eq!(log.len(), 4, "tokens are kept: {log:?}");
    assert!(log[3].0.contains("userProject=payer"), "{log:?}");
    let error = opened(BUCKET, &file("bad")).await.unwrap().list_page(ListRequest::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().contains("roles/iam.serviceAccountTokenCreator holds it) on bad@p"), "{error}");
    // Nobody named credentials for this server: none are sent.
    let error = opened(BUCKET, &options(&url)).await.unwrap().list_page(ListRequest::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unauthenticated);
    assert!(error.to_string().ends_with("give credentials: none were sent"), "{error}");
}

#[test]
fn an_archive_in_a_bucket_is_audited_like_one_on_disk() {
    let Some(golden) = g::golden() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for name in ["walg-composers-pg15", "walg-zstd-pg17-timelines"] {
        let root = g::root(&golden, name);
        let server = Server { page_max: 10, ..Server::default() };
        put_tree(&server, &root, "pg/main");
        let (url, _server) = runtime.block_on(server.serve());
        let now = g::two_days_later(&root);
        let audit = |more: &[&str]| {
            let mut command = g::walproof();
            command.args(["audit", "--format", "json", "--now", &now]).args(more);
            let (mut report, code) = g::report(&command.output().unwrap());
            for field in ["url", "name", "provider", "endpoint", "listing", "rules", "not_checked"] {
                report.as_object_mut().unwrap().remove(field);
            }
            (report, code)
        };
        let from_disk = audit(&[root.to_str().unwrap()]);
        let from_bucket = audit(&["--endpoint-url", &url, "gs://b/pg/main"]);
        assert_eq!(from_bucket.1, from_disk.1, "{name}");
        assert_eq!(without_ids(from_bucket.0), without_ids(from_disk.0), "{name}");
    }
}

/// Fingerprints and the like hold the address.
fn without_ids(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !matches!(name.as_str(), "fingerprint"));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

fn put_tree(server: &Server, dir: &Path, prefix: &str) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            put_tree(server, &entry.path(), &key);
        } else {
            let modified = jiff::Timestamp::try_from(entry.metadata().unwrap().modified().unwrap()).unwrap();
            server.put(&key, g::bytes(&entry.path()).unwrap(), &modified.to_string());
        }
    }
}
