//! What an S3 server can do wrong, and what walproof says to it.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use walproof::model::{ObjectKey, StorageClass, Timestamp};
use walproof::run::{Cancel, RunContext};
use walproof::store::{
    Address, Limits, ListOptions, ListRequest, ReadOptions, StoreError, StoreErrorKind, StoreOptions, list_all, open,
};

use crate::conformance::{body, open_at, options, plain_keys, read};
use crate::support::s3::{FakeS3, Faults};

async fn server(region: &str) -> FakeS3 {
    let server = FakeS3::start(region, true).await;
    for key in plain_keys() {
        server.put(&key, body(&key));
    }
    server
}

async fn list_error(url: &str, bucket: &str, options: &StoreOptions) -> StoreError {
    let _ = url;
    open_at(&format!("s3://{bucket}"), options).await.list_page(ListRequest::default()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_is_found_or_a_wrong_one_is_named() {
    let server = server("eu-central-1").await;
    let store = open_at("s3://archive", &options(&server.url)).await;
    assert_eq!(read(&*store, b"c", None).await.unwrap(), body(b"c"));
    assert_eq!(store.list_page(ListRequest::default()).await.unwrap().rows.len(), plain_keys().len());
    // One request to find out, one to read, one to list.
    assert_eq!((store.requests(), server.requests()), (3, 3));

    let wrong = StoreOptions { region: Some("us-west-2".into()), ..options(&server.url) };
    let error = list_error(&server.url, "archive", &wrong).await;
    assert_eq!(error.kind, StoreErrorKind::WrongRegion);
    assert_eq!(
        error.to_string(),
        "cannot list s3://archive/: the bucket lives in eu-central-1, not in us-west-2; set the region to eu-central-1, or leave it out: it is then found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_parts_is_asked_for_only_where_it_is_wanted() {
    let server = FakeS3::start("eu-central-1", true).await;
    server.put(b"tar", vec![7; 2500]);
    let store = open_at("s3://archive", &options(&server.url)).await;
    let key = ObjectKey::new(&b"tar"[..]);
    let ask = async |parts: bool, range: Option<std::ops::Range<u64>>| {
        let before = server.requests();
        let read = store.read(&key, ReadOptions { parts, range, ..ReadOptions::default() }).await.unwrap();
        let named = |name: &str| read.checksums.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        (named("part-bytes"), named("crc32c-composite"), server.requests() - before)
    };
    ask(true, None).await;
    assert_eq!(ask(true, None).await, (None, None, 1), "uploaded in one piece");
    server.set(Faults { part_bytes: 1000, ..Faults::default() });
    let sum = || Some("AAAAAA==-3".to_owned());
    assert_eq!(ask(true, None).await, (Some("1000".to_owned()), sum(), 2));
    assert_eq!(ask(false, None).await, (None, sum(), 1));
    assert_eq!(ask(true, Some(0..10)).await, (None, sum(), 1), "a range has no checksum");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let server = server("us-east-1").await;
    let good = options(&server.url);
    let kind = |options: StoreOptions, bucket: &'static str| {
        let url = server.url.clone();
        async move { list_error(&url, bucket, &options).await }
    };
    let error = kind(good.clone(), "absent").await;
    assert_eq!(error.kind, StoreErrorKind::NoSuchBucket);
    assert!(error.to_string().contains("the server asked is http://127.0.0.1"), "{error}");
    let error = kind(StoreOptions { secret_access_key: Some("wrong".into()), ..good.clone() }, "archive").await;
    assert_eq!(error.kind, StoreErrorKind::Unauthenticated);
    assert!(error.to_string().contains("the secret access key is not the right one"), "{error}");
    assert!(!format!("{error:?}").contains("wrong\""), "secrets stay out of errors");
    let error = kind(StoreOptions { access_key_id: Some("AKIDOTHER".into()), ..good.clone() }, "archive").await;
    assert_eq!(error.kind, StoreErrorKind::Unauthenticated);
    let error = kind(StoreOptions { anonymous: true, ..good.clone() }, "archive").await;
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().ends_with("grant s3:ListBucket on arn:aws:s3:::archive"), "{error}");

    let key = ObjectKey::from("c");
    for (refuse, kind, tail) in [
        ((403, "AccessDenied", "no"), StoreErrorKind::Denied, "grant s3:GetObject on arn:aws:s3:::archive/*"),
        (
            (
                403,
                "AccessDenied",
                "not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-1:1:key/2 because",
            ),
            StoreErrorKind::KmsDenied,
            "grant kms:Decrypt on arn:aws:kms:eu-west-1:1:key/2",
        ),
        ((400, "ExpiredToken", "expired"), StoreErrorKind::Unauthenticated, "e.g. with `aws sso login`"),
        ((403, "InvalidObjectState", "glacier"), StoreErrorKind::ArchivedClass, "(aws s3api restore-object)"),
        ((403, "RequestTimeTooSkewed", "late"), StoreErrorKind::Unauthenticated, "requests are signed with the time"),
    ] {
        server.set(Faults { refuse: Some(refuse), ..Faults::default() });
        let before = server.requests();
        let store = open_at("s3://archive", &good).await;
        let error = store.read(&key, ReadOptions::default()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().ends_with(tail), "{error}");
        assert_eq!(server.requests() - before, 1, "a final answer is not asked for again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_passes_ends_after_bounded_retries() {
    let server = server("us-east-1").await;
    let store = open_at("s3://archive", &options(&server.url)).await;
    for (refuse, kind) in [
        ((503, "SlowDown", "slow"), StoreErrorKind::Throttled),
        ((500, "InternalError", "oh"), StoreErrorKind::Network),
    ] {
        server.set(Faults { refuse: Some(refuse), ..Faults::default() });
        let before = store.requests();
        let error = store.list_page(ListRequest::default()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(store.requests() - before, 10);
        assert_eq!(store.read(&"c".into(), ReadOptions::default()).await.unwrap_err().kind, kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_reported_soon() {
    let gone = options("http://127.0.0.1:9");
    let store = open_at("s3://archive", &gone).await;
    for error in [
        store.list_page(ListRequest::default()).await.unwrap_err(),
        store.read(&"c".into(), ReadOptions::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Network);
        assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
        assert!(error.to_string().contains("(4 attempts)"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_goes_on_where_it_broke() {
    let server = server("us-east-1").await;
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    server.put(b"big", big.clone());
    server.set(Faults { cut_every: 2, ..Faults::default() });
    let store = open_at("s3://archive", &options(&server.url)).await;
    for range in [None, Some(1000..2_999_000)] {
        for _ in 0..3 {
            let want = range.clone().map_or(&big[..], |range| &big[range.start as usize..range.end as usize]);
            assert!(read(&*store, b"big", range.clone()).await.unwrap() == want, "{range:?}");
        }
    }
    // Cut each time: in the end it is an error, never a short object.
    server.set(Faults { cut_every: 1, ..Faults::default() });
    assert_eq!(read(&*store, b"big", None).await, Err(StoreErrorKind::Cut));
    // Changed in between: likewise.
    server.set(Faults { cut_every: 1, change_on_read: true, ..Faults::default() });
    assert_eq!(read(&*store, b"big", None).await, Err(StoreErrorKind::Cut));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_come_and_go_never_hide_others() {
    let server = server("us-east-1").await;
    let flicker: Vec<Vec<u8>> = (0..700u32)
        .step_by(3)
        .map(|n| format!("wal_005/00000001{:08X}{:08X}.zst", n / 256, n % 256).into_bytes())
        .collect();
    server.set(Faults { page_keys: 10, flicker, empty_every: 9, throttle_every: 17, ..Faults::default() });
    let store = open_at("s3://archive", &options(&server.url)).await;
    let ctx = RunContext::new(Timestamp::UNIX_EPOCH);
    for _ in 0..5 {
        let mut seen = Vec::new();
        list_all(Arc::clone(&store), b"", ListOptions::default(), &ctx, |rows| seen.extend(rows)).await.unwrap();
        let mut seen: Vec<_> = seen.into_iter().map(|row| row.key.as_bytes().to_vec()).collect();
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "a key came twice");
        seen.retain(|key| !key.ends_with(b".zst"));
        assert_eq!(seen, plain_keys());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_classes_are_as_listed_and_reading_tells_the_truth() {
    let server = server("us-east-1").await;
    server.set(Faults { lie_size: true, class: "GLACIER", ..Faults::default() });
    let store = open_at("s3://archive", &options(&server.url)).await;
    let page = store.list_page(ListRequest { prefix: b"c".to_vec(), ..ListRequest::default() }).await.unwrap();
    assert_eq!((page.rows[0].size as usize, page.rows[0].class), (body(b"c").len() + 7, StorageClass::Glacier));
    assert_eq!(read(&*store, b"c", None).await, Err(StoreErrorKind::ArchivedClass));
    server.set(Faults { lie_size: true, ..Faults::default() });
    let read = store.read(&"c".into(), ReadOptions::default()).await.unwrap();
    assert_eq!(read.size, Some(body(b"c").len() as u64));
    assert_eq!(read.checksums[0].0, "etag");
    // A checksum that does not match is told, not judged: here.
    assert!(read.checksums.contains(&("crc32c".into(), "AAAAAA==".into())));
    assert_eq!(read.stream.try_collect::<Vec<_>>().await.unwrap().concat(), body(b"c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_text_are_listed_but_cannot_be_asked_for() {
    let server = FakeS3::start("us-east-1", true).await;
    for key in [&b"a"[..], b"a\xff", b"a\xff\xfe", b"b"] {
        server.put(key, "x");
    }
    server.set(Faults { page_keys: 1, ..Faults::default() });
    let store = open_at("s3://archive", &options(&server.url)).await;
    let ctx = RunContext::new(Timestamp::UNIX_EPOCH);
    let mut seen = 0;
    list_all(Arc::clone(&store), b"", ListOptions::default(), &ctx, |rows| seen += rows.len()).await.unwrap();
    assert_eq!(seen, 4);
    assert_eq!(read(&*store, b"a\xff", None).await, Err(StoreErrorKind::Unsupported));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_to_read_two_objects_at_once() {
    let server = server("us-east-1").await;
    server.put(b"big", vec![7; 4_000_000]);
    let address = Address::parse("s3://archive").unwrap();
    let store = open(&address, &options(&server.url), Limits::new(1), Cancel::default()).await.unwrap();
    let mut first = store.read(&"big".into(), ReadOptions::default()).await.unwrap().stream;
    let begin = first.next().await.unwrap().unwrap();
    assert_eq!(read(&*store, b"c", None).await.unwrap(), body(b"c"));
    let rest: Vec<_> = first.try_collect().await.unwrap();
    assert_eq!(begin.len() + rest.concat().len(), 4_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_lists_and_reads() {
    let server = server("us-east-1").await;
    let cancel = Cancel::default();
    let address = Address::parse("s3://archive").unwrap();
    let store = open(&address, &options(&server.url), Limits::new(4), cancel.clone()).await.unwrap();
    server.put(b"big", vec![7; 4_000_000]);
    let mut stream = store.read(&"big".into(), ReadOptions::default()).await.unwrap().stream;
    stream.next().await.unwrap().unwrap();
    cancel.set();
    assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap_err().kind, StoreErrorKind::Cancelled);
    assert_eq!(store.list_page(ListRequest::default()).await.unwrap_err().kind, StoreErrorKind::Cancelled);
}
