use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;

/// How a server writes a listing.
#[derive(Debug, Clone, Copy)]
struct Style {
    url: bool,
    /// The echo of the encoding comes last, as MinIO sends it.
    echo_last: bool,
    numeric: bool,
    pretty: bool,
    namespace: bool,
}

fn xml_text(bytes: &[u8], style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            b'&' if style.numeric => out.extend(b"&#38;"),
            b'&' => out.extend(b"&amp;"),
            b'<' if style.numeric => out.extend(b"&#x3C;"),
            b'<' => out.extend(b"&lt;"),
            b'"' => out.extend(b"&quot;"),
            0..=0x1F if style.numeric => out.extend(format!("&#x{byte:x};").bytes()),
            byte => out.push(*byte),
        }
    }
    out
}

fn key_text(key: &ObjectKey, style: Style) -> Vec<u8> {
    if !style.url {
        return xml_text(key.as_bytes(), style);
    }
    let mut text = String::new();
    for byte in key.as_bytes() {
        match byte {
            b' ' => text.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'*' => text.push(char::from(*byte)),
            byte => write!(text, "%{byte:02X}").unwrap(),
        }
    }
    text.into_bytes()
}

fn render(rows: &[ObjectRow], prefixes: &[ObjectKey], token: Option<&str>, style: Style) -> Vec<u8> {
    let ns = if style.namespace { "s3:" } else { "" };
    let newline = if style.pretty { "\n  " } else { "" };
    let echo = format!("<{ns}EncodingType>url</{ns}EncodingType>");
    let mut out = Vec::from(&b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"[..]);
    out.extend(
        format!(
            "<{ns}ListBucketResult xmlns{}=\"http://s3.amazonaws.com/doc/2006-03-01/\" odd='>'>",
            if style.namespace { ":s3" } else { "" }
        )
        .bytes(),
    );
    out.extend(format!("{newline}<{ns}Name>b</{ns}Name><{ns}Prefix/><!-- <Key> -->").bytes());
    if style.url && !style.echo_last {
        out.extend(echo.bytes());
    }
    for row in rows {
        out.extend(format!("{newline}<{ns}Contents>{newline}<{ns}Key>").bytes());
        out.extend(key_text(&row.key, style));
        out.extend(format!("</{ns}Key>{newline}<{ns}LastModified>{:.3}</{ns}LastModified>", row.modified).bytes());
        if let Some(etag) = &row.etag {
            out.extend(format!("<{ns}ETag>&quot;{etag}&quot;</{ns}ETag>").bytes());
        }
        out.extend(format!("<{ns}Size>{}</{ns}Size>", row.size).bytes());
        out.extend(format!("<{ns}Owner><{ns}ID>x</{ns}ID><{ns}Key>no</{ns}Key></{ns}Owner>").bytes());
        out.extend(format!("<{ns}StorageClass>{}</{ns}StorageClass></{ns}Contents>", row.class.name()).bytes());
    }
    for prefix in prefixes {
        out.extend(format!("<{ns}CommonPrefixes><{ns}Prefix>").bytes());
        out.extend(key_text(prefix, style));
        out.extend(format!("</{ns}Prefix></{ns}CommonPrefixes>").bytes());
    }
    out.extend(format!("<{ns}IsTruncated>{}</{ns}IsTruncated>", token.is_some()).bytes());
    if let Some(token) = token {
        out.extend(format!("<{ns}NextContinuationToken>").bytes());
        out.extend(xml_text(token.as_bytes(), style));
        out.extend(format!("</{ns}NextContinuationToken>").bytes());
    }
    if style.url && style.echo_last {
        out.extend(echo.bytes());
    }
    out.extend(format!("{newline}</{ns}ListBucketResult>\n").bytes());
    out
}

fn read(body: &[u8], chunk: usize) -> Result<Listed, ListXmlError> {
    let mut reader = ListXml::new();
    for chunk in body.chunks(chunk.max(1)) {
        reader.feed(chunk)?;
    }
    reader.finish()
}

fn any_key() -> impl Strategy<Value = ObjectKey> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..40).prop_map(ObjectKey::new),
        "[ -~\u{80}-\u{2000}]{1,40}".prop_map(ObjectKey::from),
        "wal_005/0000000[0-9A-F]{17}\\.lz4".prop_map(ObjectKey::from),
    ]
}

prop_compose! {
    fn any_row()(key in any_key(), size in any::<u64>(), second in 0i64..4_000_000_000, ms in 0i32..1000,
                 etag in proptest::option::of("[0-9a-f]{32}(-[0-9]+)?"), glacier in any::<bool>()) -> ObjectRow {
        let class = if glacier { StorageClass::Glacier } else { StorageClass::Standard };
        let modified = Timestamp::new(second, ms * 1_000_000).unwrap();
        ObjectRow { key, size, modified, etag: etag.map(Into::into), version: None, class, checksum: None }
    }
}

fn any_style() -> impl Strategy<Value = Style> {
    any::<[bool; 5]>().prop_map(|[url, echo_last, numeric, pretty, namespace]| Style {
        url,
        echo_last,
        numeric,
        pretty,
        namespace,
    })
}

proptest! {
    #[test]
    fn any_keys_come_through_any_spelling_and_any_chunking(
        rows in proptest::collection::vec(any_row(), 0..12),
        prefixes in proptest::collection::vec(any_key(), 0..4),
        token in proptest::option::of("[ -~]{1,30}"),
        style in any_style(),
        chunk in 1usize..200,
    ) {
        let body = render(&rows, &prefixes, token.as_deref(), style);
        let want = Listed { rows, prefixes, truncated: token.is_some(), next_token: token, ..Listed::default() };
        prop_assert_eq!(&read(&body, body.len()).unwrap(), &want);
        prop_assert_eq!(&read(&body, chunk).unwrap(), &want);
        // Cut anywhere before the last tag ends, it is never taken for complete.
        let cut = body.len() * (chunk - 1) / 200;
        prop_assert!(read(&body[..cut], 64).is_err());
    }

    #[test]
    fn mutated_pages_never_panic(
        rows in proptest::collection::vec(any_row(), 0..4), style in any_style(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..12),
    ) {
        let mut body = render(&rows, &[], Some("next"), style);
        for (at, byte, how) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => { body.remove(at); }
                _ => body.truncate(at.max(1)),
            }
        }
        fuzz_one(&body);
    }

    #[test]
    fn soup_of_tags_never_panics(parts in proptest::collection::vec(prop::sample::select(vec![
        "<ListBucketResult>", "</ListBucketResult>", "<Contents>", "</Contents>", "<Key>", "</Key>", "<Key/>", "a", "&lt;",
        "<![CDATA[", "]]>", "<!--", "-->", "<?x", "?>", "<Size>1</Size>", "<LastModified>2020-01-01T00:00:00Z</LastModified>",
        "<", ">", "\"", "'", "</", "/>", "<Error>", "<Code>", "\u{0}", "<EncodingType>url</EncodingType>", "%2F", "<a b='>'>",
    ]), 0..60)) {
        fuzz_one(parts.concat().as_bytes());
    }
}

#[test]
fn a_page_of_s3() {
    let body = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated><Contents><Key>a+b</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>434234</Size><StorageClass>DEEP_ARCHIVE</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents></ListBucketResult>"#;
    let listed = read(body, 5).unwrap();
    let row = &listed.rows[0];
    assert_eq!(row.key, "a+b".into(), "without the encoding a plus is a plus");
    assert_eq!((row.size, row.class), (434_234, StorageClass::DeepArchive));
    assert_eq!(row.etag.as_deref(), Some("fba9dede5f27731c9771645a39863328"));
    assert_eq!(row.checksum, Some(StoreChecksum::S3Algorithm("CRC64NVME".into())));
    assert_eq!(listed.next_token.as_deref(), Some("1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM="));
}

#[test]
fn a_page_of_versions() {
    let body = br#"<ListVersionsResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextKeyMarker>a%20b</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker><Version><Key>a%20b</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"e"</ETag><Size>7</Size></Version><DeleteMarker><Key>a%20b</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest><LastModified>2026-01-02T00:00:00Z</LastModified></DeleteMarker></ListVersionsResult>"#;
    let listed = read(body, 3).unwrap();
    assert_eq!(listed.next_marker.as_deref(), Some(&b"a b"[..]));
    assert_eq!(listed.next_version_marker.as_deref(), Some("v1"));
    let seen: Vec<_> = listed
        .versions
        .iter()
        .map(|v| (v.row.version.as_deref().unwrap(), v.row.size, v.latest, v.delete_marker))
        .collect();
    assert_eq!(seen, [("v2", 7, false, false), ("v3", 0, true, true)]);
    assert_eq!(listed.versions[1].row.key, "a b".into());
}

#[test]
fn errors_and_other_documents() {
    let fault = read(b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong &amp; bad</Message><Region>eu-central-1</Region></Error>", 9).unwrap().fault.unwrap();
    assert_eq!((fault.code.as_str(), fault.message.as_str()), ("AuthorizationHeaderMalformed", "wrong & bad"));
    assert_eq!(fault.region.as_deref(), Some("eu-central-1"));
    assert_eq!(read(b"<html><body/></html>", 4), Err(ListXmlError::NotAListing("html".into())));
    assert_eq!(read(b"", 1), Err(ListXmlError::Cut(0)));
    let bad = |row: &str| {
        read(format!("<ListBucketResult><Contents>{row}</Contents></ListBucketResult>").as_bytes(), 64)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(bad("<Key>k</Key><Size>-1</Size>"), "the listing shows k with a size that is no number");
    assert_eq!(
        bad("<Key>k</Key><Size>1</Size><LastModified>x</LastModified>"),
        "the listing shows k with a time that is none"
    );
    assert_eq!(
        bad("<Key>k</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"),
        "the listing shows k without a size"
    );
}

#[test]
fn hostile_sizes_are_refused() {
    let long = format!("<ListBucketResult><Name>{}", "x".repeat(1 << 20));
    assert!(matches!(read(long.as_bytes(), 4096), Err(ListXmlError::TooLarge(_))));
    let deep = format!("<ListBucketResult>{}", "<a>".repeat(1000));
    assert!(matches!(read(deep.as_bytes(), 4096), Err(ListXmlError::TooLarge(_))));
    let prefixes = format!("<ListBucketResult>{}", "<CommonPrefixes><Prefix/></CommonPrefixes>".repeat(200_000));
    assert!(matches!(read(prefixes.as_bytes(), 1 << 16), Err(ListXmlError::TooLarge(_))));
}
