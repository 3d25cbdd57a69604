//! Against real servers, where the environment names them: moto checks credentials and permissions, LocalStack knows
//! storage classes. The SDK's own listing is the reference for ours.

use std::sync::Arc;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, StorageClass as SdkClass, VersioningConfiguration};
use walproof::model::{ObjectKey, ObjectRow, StorageClass, Timestamp};
use walproof::run::{Cancel, RunContext};
use walproof::store::{
    Limits, ListOptions, ListRequest, ReadOptions, S3Store, Store, StoreErrorKind, StoreOptions, list_all,
};

use crate::conformance::{body, conforms, odd_keys, open_at, plain_keys, read};

/// A server's address and two keys, or a word on why there is none.
pub fn server(name: &str) -> Option<String> {
    let url = std::env::var(format!("WALPROOF_{name}_URL")).ok();
    if url.is_none() {
        println!("SKIPPED: no {name} server (WALPROOF_{name}_URL is not set)");
    }
    url
}

pub fn keys_of(user: &str) -> (String, String) {
    let get = |what: &str| std::env::var(format!("WALPROOF_MOTO_{user}_{what}")).unwrap_or_else(|_| "test".to_owned());
    (get("KEY_ID"), get("SECRET"))
}

pub fn options(url: &str, (id, secret): (String, String)) -> StoreOptions {
    StoreOptions {
        endpoint_url: Some(url.to_owned()),
        access_key_id: Some(id.into()),
        secret_access_key: Some(secret.into()),
        ..StoreOptions::default()
    }
}

pub fn sdk(url: &str, (id, secret): (String, String)) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .force_path_style(true)
        .credentials_provider(Credentials::new(id, secret, None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.build())
}

pub fn bucket_name(test: &str) -> String {
    format!("walproof-{test}-{}", std::process::id())
}

async fn fill(client: &aws_sdk_s3::Client, bucket: &str, keys: &[Vec<u8>]) {
    client.create_bucket().bucket(bucket).send().await.unwrap();
    for key in keys {
        let name = std::str::from_utf8(key).unwrap();
        client.put_object().bucket(bucket).key(name).body(ByteStream::from(body(key))).send().await.unwrap();
    }
}

/// Few enough for a slow server, odd enough for a careless client.
fn keys() -> Vec<Vec<u8>> {
    let wal = |key: &Vec<u8>| key.starts_with(b"wal_005/") && !key.ends_with(b"7.lz4");
    let mut keys: Vec<Vec<u8>> = plain_keys().into_iter().filter(|key| !wal(key)).collect();
    // Some servers trip over these when they are put; what matters is that ours reads what is there.
    keys.extend(odd_keys().into_iter().filter(|key| !key.windows(2).any(|pair| pair == b"/.") && key != b"/lead"));
    keys.sort_unstable();
    keys
}

async fn sdk_listing(client: &aws_sdk_s3::Client, bucket: &str) -> Vec<(String, u64, Option<String>)> {
    let mut pages = client.list_objects_v2().bucket(bucket).max_keys(13).into_paginator().send();
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        rows.extend(page.unwrap().contents().iter().map(|object| {
            let etag = object.e_tag().map(|etag| etag.trim_matches('"').to_owned());
            (object.key().unwrap().to_owned(), object.size().unwrap() as u64, etag)
        }));
    }
    rows
}

async fn our_listing(store: Arc<dyn Store>) -> Vec<ObjectRow> {
    let mut rows = Vec::new();
    let ctx = RunContext::new(Timestamp::UNIX_EPOCH);
    list_all(store, b"", ListOptions::default(), &ctx, |page| rows.extend(page)).await.unwrap();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

async fn lists_like_the_sdk(url: &str, admin: (String, String), reader: (String, String), test: &str) -> Vec<Vec<u8>> {
    let client = sdk(url, admin);
    let bucket = bucket_name(test);
    // Control characters are not for the SDK: its XML parser refuses a page with one.
    let keys: Vec<Vec<u8>> = keys().into_iter().filter(|key| !key.iter().any(u8::is_ascii_control)).collect();
    fill(&client, &bucket, &keys).await;
    let store = open_at(&format!("s3://{bucket}"), &options(url, reader)).await;
    let reference = sdk_listing(&client, &bucket).await;
    let ours: Vec<_> = our_listing(Arc::clone(&store))
        .await
        .into_iter()
        .map(|row| (String::from_utf8(row.key.as_bytes().to_vec()).unwrap(), row.size, row.etag.map(String::from)))
        .collect();
    assert_eq!(ours, reference);
    assert_eq!(ours.len(), keys.len());
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_is_listed_like_the_sdk_lists_it() {
    let Some(url) = server("MOTO") else { return };
    let keys = lists_like_the_sdk(&url, keys_of("ADMIN"), keys_of("READER"), "moto").await;
    let bucket = bucket_name("moto");
    conforms(open_at(&format!("s3://{bucket}"), &options(&url, keys_of("READER"))).await, &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn localstack_is_listed_like_the_sdk_lists_it() {
    let Some(url) = server("LOCALSTACK") else { return };
    let any = || ("test".to_owned(), "test".to_owned());
    lists_like_the_sdk(&url, any(), any(), "localstack").await;
    // Pages that the SDK refuses are listed by us.
    let keys: Vec<Vec<u8>> = keys().into_iter().filter(|key| !key.contains(&1) && !key.contains(&b'\r')).collect();
    let bucket = bucket_name("control");
    fill(&sdk(&url, any()), &bucket, &keys).await;
    let rows = our_listing(open_at(&format!("s3://{bucket}"), &options(&url, any())).await).await;
    assert_eq!(rows.iter().map(|row| row.key.as_bytes()).collect::<Vec<_>>(), keys);
    // Between pages, LocalStack compares encoded keys with raw ones: only keys that look alike both ways get on.
    let alike = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./".contains(byte);
    let keys: Vec<Vec<u8>> = keys.into_iter().filter(|key| key.iter().all(alike)).collect();
    let bucket = bucket_name("alike");
    fill(&sdk(&url, any()), &bucket, &keys).await;
    conforms(open_at(&format!("s3://{bucket}"), &options(&url, any())).await, &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_refuses_what_is_not_granted_and_the_error_says_what_to_grant() {
    let Some(url) = server("MOTO") else { return };
    let client = sdk(&url, keys_of("ADMIN"));
    let bucket = bucket_name("denied");
    fill(&client, &bucket, &[b"c".to_vec()]).await;
    let list = |options: StoreOptions, bucket: String| async move {
        open_at(&format!("s3://{bucket}"), &options).await.list_page(ListRequest::default()).await
    };
    let of = |user: &str| options(&url, keys_of(user));
    assert_eq!(list(of("READER"), bucket.clone()).await.unwrap().rows.len(), 1);

    let (id, _) = keys_of("READER");
    let error = list(options(&url, (id, "wrong".into())), bucket.clone()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unauthenticated, "{error}");
    let error = list(options(&url, ("AKIAUNKNOWNUNKNOWN01".into(), "x".into())), bucket.clone()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unauthenticated, "{error}");
    let error = list(of("READER"), format!("{bucket}-absent")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSuchBucket, "{error}");

    let error = list(of("NOLIST"), bucket.clone()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().ends_with(&format!("grant s3:ListBucket on arn:aws:s3:::{bucket}")), "{error}");
    let store = open_at(&format!("s3://{bucket}"), &of("NOLIST")).await;
    assert_eq!(read(&*store, b"c", None).await.unwrap(), body(b"c"));

    let store = open_at(&format!("s3://{bucket}"), &of("NOBODY")).await;
    let error = store.read(&"c".into(), ReadOptions::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().ends_with(&format!("grant s3:GetObject on arn:aws:s3:::{bucket}/*")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn localstack_shows_classes_and_versions() {
    let Some(url) = server("LOCALSTACK") else { return };
    let any = || ("test".to_owned(), "test".to_owned());
    let client = sdk(&url, any());
    let bucket = bucket_name("classes");
    fill(&client, &bucket, &[]).await;
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    client.put_bucket_versioning().bucket(&bucket).versioning_configuration(versioning).send().await.unwrap();
    let put = |key: &str, text: &'static str, class: SdkClass| {
        client
            .put_object()
            .bucket(&bucket)
            .key(key)
            .storage_class(class)
            .body(ByteStream::from_static(text.as_bytes()))
            .send()
    };
    let first = put("a b", "one", SdkClass::Standard).await.unwrap().version_id().unwrap().to_owned();
    put("a b", "second", SdkClass::StandardIa).await.unwrap();
    put("cold", "ice", SdkClass::Glacier).await.unwrap();
    put("gone", "x", SdkClass::Standard).await.unwrap();
    client.delete_object().bucket(&bucket).key("gone").send().await.unwrap();

    let store = S3Store::open(&bucket, &options(&url, any()), Limits::new(4), Cancel::default()).await.unwrap();
    let rows = store.list_page(ListRequest::default()).await.unwrap().rows;
    let seen: Vec<_> = rows.iter().map(|row| (row.key.to_string(), row.class)).collect();
    assert_eq!(seen, [("a b".to_owned(), StorageClass::StandardIa), ("cold".to_owned(), StorageClass::Glacier)]);
    assert_eq!(
        store.read(&"cold".into(), ReadOptions::default()).await.unwrap_err().kind,
        StoreErrorKind::ArchivedClass
    );

    let listed = store.list_versions_page(ListRequest::default()).await.unwrap();
    let mut seen: Vec<_> = listed.rows.iter().map(|v| (v.row.key.to_string(), v.latest, v.delete_marker)).collect();
    // LocalStack shows the markers of a page first.
    seen.sort_by_key(|(key, latest, _)| (key.clone(), !latest));
    let want = [
        ("a b", true, false),
        ("a b", false, false),
        ("cold", true, false),
        ("gone", true, true),
        ("gone", false, false),
    ];
    assert_eq!(seen, want.map(|(key, latest, marker)| (key.to_owned(), latest, marker)));
    let old = ReadOptions { version: Some(first), ..ReadOptions::default() };
    assert_eq!(store.read(&ObjectKey::from("a b"), old).await.unwrap().size, Some(3));
}
