//! Reading object stores. There is no write and no delete here: walproof cannot harm an archive by construction.
//!
//! [`Address`] says where, [`open`] gives a [`Store`], [`Limits`] bounds what all of them ask for together.
#![allow(clippy::disallowed_methods)]

mod address;
#[cfg(feature = "azure")]
mod azure;
mod bridge;
mod disk;
mod error;
#[cfg(feature = "gcs")]
pub mod gcs;
#[cfg(feature = "http")]
mod http;
mod limits;
#[cfg(feature = "gcs")]
mod media;
mod memory;
mod open;
mod resume;
mod retry;
#[cfg(feature = "s3")]
pub mod s3;
mod shard;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::model::{ObjectKey, ObjectRow};

pub use address::{Address, Cloud};
#[cfg(feature = "azure")]
pub use azure::AzureStore;
pub use bridge::{Stopped, StreamReader};
pub use disk::DiskStore;
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "gcs")]
pub use gcs::GcsStore;
pub use limits::{Gate, Limits, Permit};
pub use memory::MemoryStore;
pub use open::{Secret, StoreOptions, open};
pub use retry::{Again, Fault, Retry, or_cancelled, with_retries};
#[cfg(feature = "s3")]
pub use s3::S3Store;
pub use shard::{ListOptions, ListStats, list_all, list_range};

/// A boxed future, so that stores are objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One page of a listing to ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin so.
    pub prefix: Vec<u8>,
    /// Only keys that sort behind this one. Ignored where `token` is given.
    pub start_after: Option<Vec<u8>>,
    /// Goes on where an earlier page ended.
    pub token: Option<String>,
    /// Fold everything behind the next `/` into [`ListPage::prefixes`].
    pub delimiter: bool,
    /// Largest page wanted; the store may answer with fewer.
    pub keys_max: Option<u32>,
}

/// One page of a listing, in the byte order of keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListPage {
    /// Objects.
    pub rows: Vec<ObjectRow>,
    /// Common prefixes, with a delimiter only.
    pub prefixes: Vec<ObjectKey>,
    /// There is more; `None` is the end.
    pub next: Option<String>,
}

/// One version of an object, or the marker of its deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// Size 0 for a delete marker.
    pub row: ObjectRow,
    /// The version that a plain read gives.
    pub latest: bool,
    /// The object was deleted here.
    pub delete_marker: bool,
}

/// One page of a listing of versions: in the byte order of keys, all versions of one key side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VersionPage {
    /// Versions and delete markers.
    pub rows: Vec<ObjectVersion>,
    /// There is more; `None` is the end.
    pub next: Option<String>,
}

/// Which bytes of which version to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only these bytes; the whole object otherwise. What lies behind the object's end is left out, so a range
    /// that begins there gives an empty stream.
    pub range: Option<Range<u64>>,
    /// A particular version or generation.
    pub version: Option<String>,
    /// The whole object is read to compare its checksum: where that is one of the parts it was uploaded in, their size is
    /// wanted, too (`part-bytes` among the checksums). May cost one request more.
    pub parts: bool,
}

/// The bytes of an object as they arrive.
pub struct ObjectRead {
    /// Size of the whole object as the store states it, where it does.
    pub size: Option<u64>,
    /// Chunks in order. A stream that ends early yields an error, never a silent end.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
    /// Checksums the store sent along, as `(algorithm, value)`, e.g. `("crc32c", base64)`, `("etag", ..)`.
    pub checksums: Vec<(String, String)>,
}

impl fmt::Debug for ObjectRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectRead")
            .field("size", &self.size)
            .field("checksums", &self.checksums)
            .finish_non_exhaustive()
    }
}

/// A place with objects in it. Read-only.
pub trait Store: fmt::Debug + Send + Sync {
    /// `s3`, `gcs`, `azure`, `file`, ...
    fn provider(&self) -> &'static str;

    /// The address of a key in this store, for people.
    fn url(&self, key: &[u8]) -> String;

    /// The server, where that is not the cloud's own: two servers may have buckets of the same name.
    fn endpoint(&self) -> Option<String> {
        None
    }

    /// One page of a listing. Retries throttling and passing faults by itself, within bounds.
    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>>;

    /// The bytes of an object, streamed.
    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>>;

    /// Whether this kind of store can keep older versions of objects, and list them.
    fn keeps_versions(&self) -> bool {
        false
    }

    /// One page of the versions of objects, where [`Store::keeps_versions`].
    fn list_versions_page(&self, request: ListRequest) -> BoxFuture<'_, Result<VersionPage, StoreError>> {
        let _ = request;
        let message = format!("versions of objects are not listed in stores of the kind {}", self.provider());
        Box::pin(std::future::ready(Err(StoreError::new(StoreErrorKind::Unsupported, message))))
    }

    /// Requests sent so far, retries included.
    fn requests(&self) -> u64;

    /// Whether `start_after` may name any key. A store that says no is listed by one lister.
    fn can_start_after(&self) -> bool {
        true
    }

    /// How many listers are of use at the same time.
    fn listers_max(&self) -> usize {
        usize::MAX
    }
}
