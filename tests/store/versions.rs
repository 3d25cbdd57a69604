//! Older versions of WAL in buckets of real servers.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use walproof::audit::{self, ContentAsked, Options, Storage, Target};
use walproof::checks::OutcomeKind;
use walproof::model::SegmentNo;
use walproof::run::{Cancel, RunContext};
use walproof::store::{Address, Cloud, Limits, ListRequest, S3Store, Store};
use walproof::verify::{BackupChoice, WalChoice};

use crate::described::{Described, SIZE, plain, record_at, tli};
use crate::servers::{bucket_name, keys_of, options, sdk, server};

/// Every page size shows every version once.
async fn pages_agree(store: &dyn Store) {
    let mut all = Vec::new();
    for keys_max in [None, Some(1), Some(3)] {
        let mut request = ListRequest { prefix: b"pg/wal_005/".to_vec(), keys_max, ..ListRequest::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.list_versions_page(request.clone()).await.unwrap();
            seen.extend(page.rows.into_iter().map(|version| (version.row.key, version.row.version, version.latest)));
            match page.next {
                Some(token) => request.token = Some(token),
                None => break,
            }
        }
        seen.sort();
        all.push(seen);
    }
    assert_eq!(all[0].len(), 6 + 3, "six segments, three of them overwritten");
    assert!(all.iter().all(|seen| *seen == all[0]), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn overwritten_segments_are_found_on_servers() {
    for (name, keys) in [("MOTO", keys_of("ADMIN")), ("LOCALSTACK", ("test".to_owned(), "test".to_owned()))] {
        let Some(url) = server(name) else { continue };
        let client = sdk(&url, keys.clone());
        let bucket = bucket_name("versions");
        client.create_bucket().bucket(&bucket).send().await.unwrap();
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        client.put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled).send().await.unwrap();
        let put = async |key: String, body: Vec<u8>| {
            client.put_object().bucket(&bucket).key(key).body(ByteStream::from(body)).send().await.unwrap();
        };
        // A whole archive in memory first; then to the server, where three segments were something else before.
        let mut archive = Described::default();
        let segment = |number: u64| format!("wal_005/{}.zst", SegmentNo(number).name(tli(1), SIZE));
        let good = |number: u64| plain(number, 1, 7_300_000_000_000_000_001, 0, record_at(number - 1));
        for number in 2..=7 {
            archive.put(&segment(number), zstd::encode_all(&good(number)[..], 1).unwrap());
            if number == 2 {
                archive.backup(1, 2);
            }
        }
        let other = plain(4, 1, archive.system, 9, record_at(3));
        put(format!("pg/{}", segment(4)), zstd::encode_all(&other[..], 1).unwrap()).await;
        put(format!("pg/{}", segment(5)), zstd::encode_all(&good(5)[..], 9).unwrap()).await;
        put(format!("pg/{}", segment(6)), zstd::encode_all(&good(6)[..], 1).unwrap()).await;
        for row in archive.store.list_page(ListRequest::default()).await.unwrap().rows {
            let read = archive.store.read(&row.key, Default::default()).await.unwrap();
            let chunks: Vec<_> = futures::TryStreamExt::try_collect(read.stream).await.unwrap();
            put(format!("pg/{}", row.key), chunks.concat()).await;
        }
        let store = S3Store::open(&bucket, &options(&url, keys), Limits::new(8), Cancel::default()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        pages_agree(&*store).await;
        let address = Address::exact(Cloud::S3, &bucket, "pg");
        let target = Target { storages: vec![Storage { store, address }], ..archive.target() };
        let asked =
            ContentAsked { backups: Some(BackupChoice::None), wal: Some(WalChoice::All), ..ContentAsked::default() };
        let ctx = RunContext::new(walproof::model::Timestamp::now());
        let report = audit::audit_with(&target, &Options::default(), None, Some(&asked), &ctx).await.remove(0);
        assert_eq!(report.error, None);
        let found: Vec<_> = report.findings.iter().filter(|finding| finding.code == "WAL005").collect();
        let name = |number: u64| SegmentNo(number).name(tli(1), SIZE);
        let says: Vec<String> = found.iter().map(|f| format!("{}: {}", f.severity.name(), f.message)).collect();
        assert_eq!(
            says,
            [
                format!("error: {} was overwritten: its 2 versions hold different WAL", name(4)),
                format!("info: {} is stored more than once, in versions that hold the same WAL", name(5)),
            ]
        );
        let rule = report.rules.iter().find(|rule| rule.code == "WAL005").unwrap();
        assert_eq!(rule.outcome, OutcomeKind::Found);
    }
}
