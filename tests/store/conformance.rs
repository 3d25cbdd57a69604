//! What every store promises.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use walproof::model::{ObjectKey, Timestamp};
use walproof::run::{Cancel, RunContext};
use walproof::store::{
    Address, DiskStore, Limits, ListOptions, ListPage, ListRequest, MemoryStore, ReadOptions, Store, StoreErrorKind,
    StoreOptions, list_all, list_range, open,
};

use crate::support::s3::{FakeS3, Faults};

/// Keys that are legal in any store, files included.
pub fn plain_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = [
        "a!",
        "a.b",
        "a/c",
        "a/d/e",
        "a-b/x",
        "a0",
        "b/.hidden.tmp",
        "b/1",
        "c",
        "a/d.e",
        "sp ace/pl+us",
        "sp ace/100%25",
        "sp ace/a&b<c>\"d'",
        "ünï/\u{65E5}\u{672C}",
        "zz/#1#",
        "zz/?query=1&x",
        "zz/~tilde",
        "wal_005/00000002.history.lz4",
    ]
    .map(|key| key.as_bytes().to_vec())
    .to_vec();
    keys.extend((0..700u32).map(|n| format!("wal_005/00000001{:08X}{:08X}.lz4", n / 256, n % 256).into_bytes()));
    keys.sort_unstable();
    keys
}

/// Keys that buckets know and directories do not.
pub fn odd_keys() -> Vec<Vec<u8>> {
    ["a//b", "/lead", "dir/", "dir/.", "dir/../x", "dots/./y", "nl\nin", "esc\u{1b}[31m", "\u{1}", "tab\t", "cr\r\n"]
        .map(|key| key.as_bytes().to_vec())
        .to_vec()
}

pub fn body(key: &[u8]) -> Vec<u8> {
    let size = key.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 3000 + 1;
    key.iter().cycle().copied().take(size).collect()
}

fn text(key: &[u8]) -> String {
    ObjectKey::new(key).to_string()
}

async fn pages(store: &dyn Store, mut request: ListRequest) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut rows, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = store.list_page(request.clone()).await.unwrap();
        assert!(page.rows.len() + page.prefixes.len() <= request.keys_max.unwrap_or(1000) as usize);
        rows.extend(page.rows.into_iter().map(|row| row.key.as_bytes().to_vec()));
        prefixes.extend(page.prefixes.into_iter().map(|prefix| prefix.as_bytes().to_vec()));
        match page.next {
            Some(next) => {
                assert_ne!(request.token.as_ref(), Some(&next), "in circles: {request:?}");
                request.token = Some(next);
            }
            None => return (rows, prefixes),
        }
    }
}

/// What a listing should show, computed from the keys.
fn expected(
    keys: &[Vec<u8>],
    prefix: &[u8],
    after: Option<&[u8]>,
    delimiter: bool,
) -> (Vec<Vec<u8>>, BTreeSet<Vec<u8>>) {
    let (mut rows, mut prefixes) = (Vec::new(), BTreeSet::new());
    for key in keys.iter().filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after)) {
        match key[prefix.len()..].iter().position(|byte| *byte == b'/').filter(|_| delimiter) {
            Some(slash) => drop(prefixes.insert(key[..prefix.len() + slash + 1].to_vec())),
            None => rows.push(key.clone()),
        }
    }
    (rows, prefixes)
}

pub async fn read(
    store: &dyn Store,
    key: &[u8],
    range: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>, StoreErrorKind> {
    let key = ObjectKey::new(key);
    let read = store.read(&key, ReadOptions { range, ..ReadOptions::default() }).await.map_err(|error| error.kind)?;
    let chunks: Vec<_> = read.stream.try_collect().await.map_err(|error| error.kind)?;
    Ok(chunks.concat())
}

/// The suite. `keys` is everything in the store, each with [`body`].
pub async fn conforms(store: Arc<dyn Store>, keys: &[Vec<u8>]) {
    let list = |prefix: &[u8], after: Option<&[u8]>, delimiter, keys_max| ListRequest {
        prefix: prefix.to_vec(),
        start_after: after.map(<[u8]>::to_vec),
        delimiter,
        keys_max,
        token: None,
    };
    // Everything, in order, with true sizes, however long the pages.
    for keys_max in [None, Some(1), Some(2), Some(7), Some(1_000_000)] {
        if keys_max == Some(1) && keys.len() > 200 {
            continue;
        }
        assert_eq!(pages(&*store, list(b"", None, false, keys_max)).await.0, keys, "{keys_max:?}");
    }
    let mut request = list(b"", None, false, None);
    loop {
        let ListPage { rows, next, .. } = store.list_page(request.clone()).await.unwrap();
        for row in rows {
            assert_eq!(row.size as usize, body(row.key.as_bytes()).len(), "{}", row.key);
            assert!(row.modified > Timestamp::UNIX_EPOCH);
        }
        let Some(next) = next else { break };
        request.token = Some(next);
    }
    // Prefixes, whole folders or not, with and without a delimiter.
    for prefix in ["", "a", "a/", "a/d", "sp ace/", "wal_005/0000000100000001", "nothing/", "ünï/", "zz/?", "dir/"] {
        for delimiter in [false, true] {
            for keys_max in [None, Some(3)] {
                let want = expected(keys, prefix.as_bytes(), None, delimiter);
                let (rows, prefixes) = pages(&*store, list(prefix.as_bytes(), None, delimiter, keys_max)).await;
                assert_eq!(
                    (rows, prefixes),
                    (want.0, want.1.into_iter().collect()),
                    "{prefix} {delimiter} {keys_max:?}"
                );
            }
        }
    }
    // Any place to begin.
    if store.can_start_after() {
        let between = ["\u{1}", "a", "a/", "a/d/zzz", "wal_005/00000001000000010000007", "zzz"]
            .map(|key| key.as_bytes().to_vec());
        for start in
            keys.iter().step_by(1 + keys.len() / 20).chain(&between).filter(|key| std::str::from_utf8(key).is_ok())
        {
            let want = expected(keys, b"", Some(start), false).0;
            assert_eq!(pages(&*store, list(b"", Some(start), false, Some(100))).await.0, want, "{}", text(start));
            let want = expected(keys, b"wal_005/", Some(start), false).0;
            assert_eq!(pages(&*store, list(b"wal_005/", Some(start), false, None)).await.0, want, "{}", text(start));
        }
    }
    // Bytes, whole and in part.
    for key in keys.iter().filter(|key| std::str::from_utf8(key).is_ok()).step_by(1 + keys.len() / 40) {
        let content = body(key);
        let size = content.len() as u64;
        assert_eq!(read(&*store, key, None).await.unwrap(), content, "{}", text(key));
        for range in
            [0..1, 0..size, 1..size, size / 2..size + 100, size - 1..u64::MAX, 0..0, size..size + 1, size + 5..size + 9]
        {
            let want = &content[range.start.min(size) as usize..range.end.min(size) as usize];
            assert_eq!(read(&*store, key, Some(range.clone())).await.unwrap(), want, "{} {range:?}", text(key));
        }
    }
    let whole = ObjectKey::new(keys[0].as_slice());
    assert_eq!(store.read(&whole, ReadOptions::default()).await.unwrap().size, Some(body(&keys[0]).len() as u64));
    for missing in ["missing", "a", "a/d/", "wal_005/0000000100000000000000000"] {
        if !keys.contains(&missing.as_bytes().to_vec()) {
            assert_eq!(read(&*store, missing.as_bytes(), None).await, Err(StoreErrorKind::NotFound), "{missing}");
        }
    }
    // Everything once more, by many listers, and a part of it.
    let ctx = RunContext::new(Timestamp::UNIX_EPOCH);
    for listers in [1, 8] {
        let mut seen = Vec::new();
        let options = ListOptions { listers, cuts: vec!["a/d".into(), "wal_005/0000000100000001".into()] };
        let stats = list_all(Arc::clone(&store), b"", options, &ctx, |rows| seen.extend(rows)).await.unwrap();
        let mut seen: Vec<Vec<u8>> = seen.into_iter().map(|row| row.key.as_bytes().to_vec()).collect();
        seen.sort_unstable();
        assert_eq!(seen, keys);
        assert!(stats.requests >= stats.pages && stats.objects == keys.len() as u64);
    }
    let (low, high) = (&keys[2], &keys[keys.len() - 2]);
    let count = list_range(&*store, b"", Some(low), Some(high), |_| {}).await.unwrap();
    assert_eq!(count as usize, keys.len() - 5);
    assert!(store.requests() > 0 && !store.provider().is_empty());
    assert!(store.url(b"a/c\x1b").ends_with("a/c%1B"));
}

pub fn options(url: &str) -> StoreOptions {
    let mut options = StoreOptions { endpoint_url: Some(url.to_owned()), ..StoreOptions::default() };
    options.access_key_id = Some(crate::support::s3::KEY_ID.into());
    options.secret_access_key = Some(crate::support::s3::SECRET.into());
    options.retry.wait_first = std::time::Duration::from_millis(2);
    options.retry.wait_max = std::time::Duration::from_millis(20);
    options
}

pub async fn open_at(address: &str, options: &StoreOptions) -> Arc<dyn Store> {
    open(&Address::parse(address).unwrap(), options, Limits::new(16), Cancel::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    let mut keys = [plain_keys(), odd_keys(), vec![b"not\xffutf8".to_vec(), b"\xfe".to_vec()]].concat();
    keys.sort_unstable();
    let store = MemoryStore::new();
    for key in &keys {
        store.put(ObjectKey::new(key.as_slice()), body(key), "2026-11-20T10:00:00Z".parse().unwrap());
    }
    conforms(Arc::new(store), &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_conforms() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let mut keys =
        [plain_keys(), ["nl\nin", "esc\u{1b}[31m", "\u{1}"].map(|key| key.as_bytes().to_vec()).to_vec()].concat();
    keys.extend([b"not\xffutf8/x".to_vec(), b"\xfe".to_vec()]);
    keys.sort_unstable();
    for key in &keys {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(key));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body(key)).unwrap();
    }
    std::os::unix::fs::symlink("/etc", dir.path().join("wal_005/outside")).unwrap();
    let address = format!("file://localhost{}/", dir.path().display());
    conforms(open_at(&address, &StoreOptions::default()).await, &keys).await;
    let store = DiskStore::open(dir.path(), Limits::new(4), Cancel::default()).await.unwrap();
    assert_eq!(read(&store, b"\xfe", None).await.unwrap(), body(b"\xfe"));
}

#[tokio::test]
async fn a_wrong_directory_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = DiskStore::open(&file, Limits::new(1), Cancel::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Config);
    assert!(error.to_string().ends_with("file is a file, not a directory; name the directory that holds the archive"));
    let error = DiskStore::open("bucket/prefix", Limits::new(1), Cancel::default()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSuchBucket);
    assert_eq!(
        error.to_string(),
        "the directory bucket/prefix does not exist; a bucket is written s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_conforms_and_its_signatures_are_right() {
    let mut keys = [plain_keys(), odd_keys()].concat();
    keys.sort_unstable();
    let server = FakeS3::start("eu-west-3", true).await;
    for key in &keys {
        server.put(key, body(key));
    }
    for faults in [
        Faults::default(),
        Faults { page_keys: 5, raw_keys: true, ..Faults::default() },
        Faults { no_ranges: true, ..Faults::default() },
        Faults { page_keys: 40, throttle_every: 11, fail_every: 13, cut_every: 7, empty_every: 5, ..Faults::default() },
    ] {
        server.set(faults);
        conforms(open_at("s3://archive/any", &options(&server.url)).await, &keys).await;
    }
    server.set(Faults::default());
    let store = open_at("s3://archive", &options(&server.url)).await;
    for key in odd_keys() {
        assert_eq!(read(&*store, &key, None).await.unwrap(), body(&key), "{}", text(&key));
    }
    let few: Vec<Vec<u8>> = keys.iter().filter(|key| !key.starts_with(b"wal_005/000000010000000")).cloned().collect();
    let server = FakeS3::start("eu-west-3", true).await;
    for key in &few {
        server.put(key, body(key));
    }
    server.set(Faults { page_keys: 1, empty_every: 4, ..Faults::default() });
    conforms(open_at("s3://archive", &options(&server.url)).await, &few).await;
    server.set(Faults { page_keys: 2, ..Faults::default() });
    let old = StoreOptions { list_objects_v1: true, ..options(&server.url) };
    conforms(open_at("s3://archive", &old).await, &few).await;
}
