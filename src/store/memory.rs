//! A store in memory, for tests here and in other folders.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;

use super::resume::Resume;
use super::{
    BoxFuture, ListPage, ListRequest, ObjectRead, ObjectVersion, ReadOptions, Store, StoreError, StoreErrorKind,
    VersionPage,
};
use crate::model::{ObjectId, ObjectKey, ObjectRow, StorageClass, Timestamp};

/// Keys in a page unless set otherwise.
const PAGE_KEYS: u32 = 1000;

/// By key, in the order in which they were put.
type Older = BTreeMap<Vec<u8>, Vec<(ObjectVersion, Bytes)>>;

/// Objects in memory, listed and read as a bucket would. Keys may come and go while it is listed.
#[derive(Debug)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<Vec<u8>, (ObjectRow, Bytes)>>,
    /// Versions that are no longer the current ones, and deletions.
    older: Mutex<Older>,
    /// Bytes of the parts that objects were uploaded in.
    parts: Mutex<BTreeMap<Vec<u8>, u64>>,
    page_keys_max: u32,
    requests: AtomicU64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::with_page(PAGE_KEYS)
    }

    /// An empty store whose pages hold at most so many keys.
    pub fn with_page(keys_max: u32) -> Self {
        MemoryStore {
            objects: Mutex::default(),
            older: Mutex::default(),
            parts: Mutex::default(),
            page_keys_max: keys_max.max(1),
            requests: AtomicU64::new(0),
        }
    }

    /// Keeps an older version of an object, with any row; this store then keeps versions.
    pub fn put_older(&self, row: ObjectRow, body: impl Into<Bytes>) {
        let version = ObjectVersion { row, latest: false, delete_marker: false };
        let key = version.row.key.as_bytes().to_vec();
        self.older().entry(key).or_default().push((version, body.into()));
    }

    /// Says that an object was uploaded in parts of a size.
    pub fn in_parts(&self, key: impl Into<ObjectKey>, part_bytes: u64) {
        let key: ObjectKey = key.into();
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(key.as_bytes().to_vec(), part_bytes);
    }

    fn older(&self) -> MutexGuard<'_, Older> {
        self.older.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an object with an ETag made of its bytes.
    pub fn put(&self, key: impl Into<ObjectKey>, body: impl Into<Bytes>, modified: Timestamp) {
        let body = body.into();
        self.put_row(
            ObjectRow {
                key: key.into(),
                size: body.len() as u64,
                modified,
                etag: Some(ObjectId::digest(&[&body]).to_string().into()),
                version: None,
                class: StorageClass::Standard,
                checksum: None,
            },
            body,
        );
    }

    /// Stores an object with any row, which may lie about its size.
    pub fn put_row(&self, row: ObjectRow, body: impl Into<Bytes>) {
        self.objects().insert(row.key.as_bytes().to_vec(), (row, body.into()));
    }

    /// Takes an object out.
    pub fn remove(&self, key: &[u8]) {
        self.objects().remove(key);
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.objects().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, (ObjectRow, Bytes)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut resume = match (&request.token, &request.start_after) {
            (Some(token), _) => Resume::from_token(token).ok_or_else(|| {
                StoreError::new(StoreErrorKind::Protocol, format!("{token:?} is no page token of this store"))
            })?,
            (None, Some(key)) => Resume::Key(key.clone()),
            (None, None) => Resume::Start,
        };
        let keys_max = request.keys_max.unwrap_or(PAGE_KEYS).clamp(1, self.page_keys_max) as usize;
        let mut page = ListPage::default();
        let objects = self.objects();
        let from = match &resume {
            Resume::Key(key) | Resume::Folded(key) if *key > request.prefix => key.clone(),
            _ => request.prefix.clone(),
        };
        for (key, (row, _)) in objects.range::<[u8], _>((Bound::Included(from.as_slice()), Bound::Unbounded)) {
            if !key.starts_with(&request.prefix) {
                break;
            }
            if resume.passed(key) {
                continue;
            }
            if page.rows.len() + page.prefixes.len() >= keys_max {
                page.next = Some(resume.to_token());
                break;
            }
            let slash = key[request.prefix.len()..].iter().position(|byte| *byte == b'/');
            if let Some(slash) = slash.filter(|_| request.delimiter) {
                let folded = &key[..request.prefix.len() + slash + 1];
                page.prefixes.push(ObjectKey::new(folded));
                resume = Resume::Folded(folded.to_vec());
            } else {
                page.rows.push(row.clone());
                resume = Resume::Key(key.clone());
            }
        }
        Ok(page)
    }
}

impl Store for MemoryStore {
    fn provider(&self) -> &'static str {
        "memory"
    }

    fn url(&self, key: &[u8]) -> String {
        format!("memory:///{}", ObjectKey::new(key))
    }

    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.page(&request)))
    }

    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let read = || {
            let missing = || StoreError::new(StoreErrorKind::NotFound, format!("{key}: no such object"));
            let current = self.objects().get(key.as_bytes()).cloned();
            let is_wanted = |row: &ObjectRow| {
                options.version.as_deref().is_none_or(|version| row.version.as_deref() == Some(version))
            };
            let found = current.filter(|(row, _)| is_wanted(row)).or_else(|| {
                let wanted = options.version.is_some();
                let older = self.older();
                let mut versions = older.get(key.as_bytes()).into_iter().flatten().filter(|_| wanted);
                versions
                    .find(|(version, _)| is_wanted(&version.row))
                    .map(|(version, body)| (version.row.clone(), body.clone()))
            });
            let (row, body) = found.ok_or_else(missing)?;
            if !row.class.readable_at_once() {
                let message = format!("{key} lies in {}: reading is refused", row.class.name());
                return Err(StoreError::new(StoreErrorKind::ArchivedClass, message).advise("restore it first"));
            }
            let size = body.len() as u64;
            let range = options.range.unwrap_or(0..size);
            let end = range.end.min(size);
            let body = body.slice(range.start.min(end) as usize..end as usize);
            let chunks: Vec<_> = body.chunks(64 << 10).map(|chunk| Ok(body.slice_ref(chunk))).collect();
            let mut checksums: Vec<(String, String)> =
                row.etag.map(|etag| ("etag".to_owned(), etag.into())).into_iter().collect();
            let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).get(key.as_bytes()).copied();
            checksums.extend(parts.filter(|_| options.parts).map(|bytes| ("part-bytes".to_owned(), bytes.to_string())));
            Ok(ObjectRead { size: Some(size), stream: futures::stream::iter(chunks).boxed(), checksums })
        };
        Box::pin(std::future::ready(read()))
    }

    fn keeps_versions(&self) -> bool {
        !self.older().is_empty()
    }

    fn list_versions_page(&self, request: ListRequest) -> BoxFuture<'_, Result<VersionPage, StoreError>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let page = self.page(&request).map(|ListPage { rows, next, .. }| {
            let older = self.older();
            let versions = rows.into_iter().flat_map(|row| {
                let before = older.get(row.key.as_bytes()).into_iter().flatten().map(|(version, _)| version.clone());
                std::iter::once(ObjectVersion { row, latest: true, delete_marker: false })
                    .chain(before)
                    .collect::<Vec<_>>()
            });
            VersionPage { rows: versions.collect(), next }
        });
        Box::pin(std::future::ready(page))
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
