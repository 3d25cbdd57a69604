//! INT010: the store's own checksums against the bytes that come.

use std::collections::BTreeSet;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use walproof::codec::checksum::{ChecksumKind, ChecksumReader};

use super::made::{Made, name, segment};
use super::run::{Run, at};
use crate::support::s3::{Extra, FakeS3, Faults};

/// Checksum in base64, and in hexadecimal.
fn sum(kind: ChecksumKind, bytes: &[u8]) -> (String, String) {
    let (mut reader, handle) = ChecksumReader::new(bytes, &[kind]);
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    let sum = &handle.finish().checksums[0];
    (sum.base64(), sum.hex())
}

const KINDS: [(ChecksumKind, &str); 5] = [
    (ChecksumKind::Crc32c, "x-amz-checksum-crc32c"),
    (ChecksumKind::Crc64Nvme, "x-amz-checksum-crc64nvme"),
    (ChecksumKind::Crc32, "x-amz-checksum-crc32"),
    (ChecksumKind::Sha256, "x-amz-checksum-sha256"),
    (ChecksumKind::Sha1, "x-amz-checksum-sha1"),
];

/// Known values, so that the tests below do not compare a mistake with itself.
#[test]
fn the_sums_are_the_stores_own() {
    let expected = [
        "4waSgw==",
        "rosUhgp5mIg=",
        "y/Q5Jg==",
        "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        "98O8HYCOBHMq32eZZczDTKeuNEE=",
    ];
    for ((kind, _), expected) in KINDS.into_iter().zip(expected) {
        assert_eq!(sum(kind, b"123456789").0, expected, "{kind:?}");
    }
    assert_eq!(sum(ChecksumKind::Md5, b"123456789").1, "25f9e794323b453885f5181f1b624d0b");
}

fn wal(number: u64) -> String {
    format!("pg/wal_005/{}.zst", name(number))
}

/// Segments 2 to 21 and a backup, and the body of a segment that decodes to the very same WAL from other bytes.
async fn server() -> (FakeS3, Made) {
    let server = FakeS3::start("us-east-1", true).await;
    server.set(Faults { no_sums: true, ..Faults::default() });
    let made = Made::default().packed(2, 21).backup(3, 1000);
    made.upload(&server);
    (server, made)
}

fn stored(made: &Made, number: u64) -> Vec<u8> {
    made.body(&format!("wal_005/{}.zst", name(number)))
}

fn damaged(run: &Run) -> BTreeSet<String> {
    let findings = run.archive["findings"].as_array().unwrap().iter();
    let findings = findings.filter(|finding| finding["code"] == "INT010");
    findings.map(|finding| format!("pg/{}", finding["subject"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_were_stored_are_found_although_they_decode() {
    let (server, made) = server().await;
    let mut bad = BTreeSet::new();
    for (at, (kind, header)) in KINDS.into_iter().enumerate() {
        let number = 5 + 2 * at as u64;
        let (good, before) = (stored(&made, number), stored(&made, number + 1));
        server.mark(wal(number).as_bytes(), Extra { headers: vec![(header, sum(kind, &good).0)], ..Extra::default() });
        // The same segment from another run of the compressor: nothing but the store's checksum tells.
        let plain = zstd::decode_all(&before[..]).unwrap();
        let other = zstd::encode_all(&plain[..], 9).unwrap();
        assert_ne!(other, before);
        server.put(wal(number + 1).as_bytes(), other);
        server.mark(
            wal(number + 1).as_bytes(),
            Extra { headers: vec![(header, sum(kind, &before).0)], ..Extra::default() },
        );
        bad.insert(wal(number + 1));
    }
    let run = Run::of(&mut at(&server, "verify"));
    assert_eq!(damaged(&run), bad);
    assert_eq!((run.code, run.codes()), (1, BTreeSet::from(["INT010".to_owned()])));
    assert_eq!(run.number("store_checksums"), 10);
    let finding = run.finding("INT010").unwrap();
    let message = finding["message"].as_str().unwrap();
    assert!(finding["facts"]["expected"].is_string() && finding["facts"]["found"].is_string(), "{finding:#}");
    assert!(message.contains("the store holds the"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_backup_is_compared_too() {
    let (server, made) = server().await;
    for (key, body) in made.objects.iter().filter(|(key, _)| key.contains("tar_partitions")) {
        let good = sum(ChecksumKind::Crc64Nvme, body).0;
        let header = if key.contains("part_002") { "AAAAAAAAAAA=".to_owned() } else { good };
        let extra = Extra { headers: vec![("x-amz-checksum-crc64nvme", header)], ..Extra::default() };
        server.mark(format!("pg/{key}").as_bytes(), extra);
    }
    let run = Run::of(&mut at(&server, "verify"));
    let damaged = damaged(&run);
    assert!(damaged.len() == 1 && damaged.first().unwrap().contains("part_002.tar"), "{damaged:?}");
    assert_eq!(run.number("store_checksums"), 4);
    assert!(run.archive["backups"][0]["rungs"]["intact"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn etags_are_md5_sums_only_where_they_can_be() {
    let (server, made) = server().await;
    let etag = |number, etag: String, headers: Vec<(&'static str, String)>| {
        server.mark(wal(number).as_bytes(), Extra { etag: Some(etag), headers, ..Extra::default() });
    };
    let encrypted = |kind: &str| vec![("x-amz-server-side-encryption", kind.to_owned())];
    for (key, body) in &made.objects {
        let etag = sum(ChecksumKind::Md5, body).1;
        server.mark(format!("pg/{key}").as_bytes(), Extra { etag: Some(etag), ..Extra::default() });
    }
    let wrong = "0123456789abcdef0123456789abcdef".to_owned();
    // None of these is an MD5 of the bytes, and none claims to be.
    etag(5, format!("{wrong}-3"), vec![]);
    etag(6, wrong.clone(), encrypted("aws:kms"));
    etag(7, wrong.clone(), encrypted("aws:kms:dsse"));
    etag(8, wrong.clone(), vec![("x-amz-server-side-encryption-customer-algorithm", "AES256".to_owned())]);
    etag(9, "not-hex-at-all-and-not-32-letters".to_owned(), vec![]);
    let run = Run::of(&mut at(&server, "verify")).clean();
    assert!(run.number("store_checksums") >= 15, "{}", run.archive["verify"]);
    // These do.
    etag(10, wrong.clone(), vec![]);
    etag(11, wrong.clone(), encrypted("AES256"));
    let run = Run::of(&mut at(&server, "verify"));
    assert_eq!(damaged(&run), BTreeSet::from([wal(10), wal(11)]));
    // A right checksum of another kind outweighs an ETag that nobody promised to be an MD5.
    let good = sum(ChecksumKind::Sha256, &stored(&made, 10)).0;
    etag(10, wrong, vec![("x-amz-checksum-sha256", good)]);
    assert_eq!(damaged(&Run::of(&mut at(&server, "verify"))), BTreeSet::from([wal(11)]));
}

/// A real server (moto): what it sends along is compared, and what it holds was changed behind its back.
#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_a_real_server() {
    let Ok(url) = std::env::var("WALPROOF_MOTO_URL") else {
        println!("SKIPPED: no MOTO server (WALPROOF_MOTO_URL is not set)");
        return;
    };
    let key = |what: &str| std::env::var(format!("WALPROOF_MOTO_ADMIN_{what}")).unwrap_or_else(|_| "test".to_owned());
    let (id, secret) = (key("KEY_ID"), key("SECRET"));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&url)
        .force_path_style(true)
        .credentials_provider(Credentials::new(id.clone(), secret.clone(), None, None, "test"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let bucket = format!("walproof-sums-{}", std::process::id());
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    let made = Made::default().packed(2, 12).backup(3, 1000);
    for (key, body) in &made.objects {
        let put = client.put_object().bucket(&bucket).key(format!("pg/{key}")).body(ByteStream::from(body.clone()));
        // The SDK works these out itself.
        let put = match key.as_str() {
            key if key.contains(&name(4)) => put.checksum_algorithm(ChecksumAlgorithm::Crc32C),
            key if key.contains(&name(5)) => put.checksum_algorithm(ChecksumAlgorithm::Sha256),
            key if key.contains(&name(6)) => put.checksum_algorithm(ChecksumAlgorithm::Sha1),
            key if key.contains(&name(7)) => put.checksum_algorithm(ChecksumAlgorithm::Crc32),
            key if key.contains(&name(8)) => put.server_side_encryption(ServerSideEncryption::AwsKms),
            _ => put,
        };
        put.send().await.unwrap();
    }
    // In two parts: its ETag is no MD5 of anything that is read.
    let whole = segment(9);
    let big = format!("pg/wal_005/{}", name(9));
    client.delete_object().bucket(&bucket).key(format!("{big}.zst")).send().await.unwrap();
    let upload = client.create_multipart_upload().bucket(&bucket).key(&big).send().await.unwrap();
    let upload = upload.upload_id().unwrap().to_owned();
    let part = client.upload_part().bucket(&bucket).key(&big).upload_id(&upload).part_number(1);
    let sent = part.body(ByteStream::from(whole)).send().await.unwrap();
    let part = CompletedPart::builder().part_number(1).set_e_tag(sent.e_tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(&bucket).key(&big).upload_id(&upload);
    // The server does it; its answer has a root that the SDK does not know.
    let _ = complete.multipart_upload(parts).send().await;
    let head = client.head_object().bucket(&bucket).key(&big).send().await.unwrap();
    assert!(head.e_tag().unwrap().contains("-1"), "{head:?}");

    let verify = || {
        let mut walproof = crate::golden_support::walproof();
        walproof.env("AWS_ACCESS_KEY_ID", &id).env("AWS_SECRET_ACCESS_KEY", &secret);
        walproof.env("AWS_EC2_METADATA_DISABLED", "true").args(["verify", &format!("s3://{bucket}/pg")]);
        walproof.args(["--endpoint-url", &url, "--now", "2100-01-01T00:00:00Z", "--format", "json"]);
        let run = Run::of(&mut walproof);
        assert_eq!(run.archive["error"], serde_json::Value::Null, "{}", run.stderr);
        run
    };
    let run = verify();
    assert_eq!(damaged(&run), BTreeSet::new());
    // MD5 ETags of twelve objects that are neither encrypted by a key service nor in parts, and other sums.
    assert!(run.number("store_checksums") >= 12, "{}", run.archive["verify"]);

    // Bytes that are not those of the checksum that is sent along with them.
    let before = stored(&made, 10);
    let other = zstd::encode_all(&segment(10)[..], 9).unwrap();
    assert_ne!(other, before);
    let put = client.put_object().bucket(&bucket).key(wal(10)).body(ByteStream::from(other));
    let promised = sum(ChecksumKind::Crc32c, &before).0;
    let put = put.checksum_algorithm(ChecksumAlgorithm::Crc32C).checksum_crc32_c(promised.clone());
    if let Err(error) = put.send().await {
        println!("SKIPPED: a real server with a wrong checksum ({})", error.into_service_error());
        return;
    }
    let get = client.get_object().bucket(&bucket).key(wal(10)).checksum_mode(ChecksumMode::Enabled);
    if get.send().await.unwrap().checksum_crc32_c() != Some(&promised) {
        println!("SKIPPED: a real server with a wrong checksum (it does not send it along)");
        return;
    }
    assert_eq!(damaged(&verify()), BTreeSet::from([wal(10)]));
}
