//! Objects of one archive in the plain, wherever they lie: found in its storages, decrypted, decoded, and what went
//! wrong told apart by whose fault it is.
#![allow(clippy::disallowed_methods)]

mod problem;

use std::io::Read;
use std::sync::Arc;

pub use problem::{Fault, Problem};

use crate::catalog::ObjectRef;
use crate::codec::crypto::KeyRing;
use crate::codec::{self, Limits, Opened};
use crate::model::{CodecKind, ObjectKey};
use crate::run::Cancel;
use crate::store::{Address, ReadOptions, Store, StreamReader};

/// One of the places that hold an archive. wal-g may spread one over several.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The open store.
    pub store: Arc<dyn Store>,
    /// Where the archive begins in it.
    pub address: Address,
}

/// Where the objects of one archive lie, and the keys that open them.
#[derive(Debug, Clone)]
pub struct Source {
    /// The primary storage first.
    pub storages: Vec<Storage>,
    /// Where the archive begins below the storages' addresses; empty or ending in `/`.
    pub root: ObjectKey,
    /// Keys for encrypted objects.
    pub keys: Arc<KeyRing>,
}

/// An object whose bytes are on their way.
pub struct Stored {
    /// The bytes as stored. To be read on a blocking thread only.
    pub reader: StreamReader,
    /// Size of the whole object as the store states it.
    pub size: Option<u64>,
    /// Checksums the store sent along, as `(algorithm, value)`.
    pub checksums: Vec<(String, String)>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("size", &self.size).field("checksums", &self.checksums).finish_non_exhaustive()
    }
}

impl Source {
    /// The full key of an object in its store.
    pub fn full_key(&self, storage: u8, key: &ObjectKey) -> Option<(&Storage, ObjectKey)> {
        let storage = self.storages.get(usize::from(storage))?;
        let bytes = [storage.address.prefix().as_bytes(), self.root.as_bytes(), key.as_bytes()].concat();
        Some((storage, ObjectKey::new(bytes)))
    }

    /// Asks a storage for an object by its key relative to the archive.
    ///
    /// # Errors
    /// [`Problem::Gone`], [`Problem::Refused`] for what no retry mends, [`Problem::Store`] for a failing store.
    pub async fn get(
        &self,
        storage: u8,
        key: &ObjectKey,
        options: ReadOptions,
        cancel: &Cancel,
    ) -> Result<Stored, Problem> {
        let Some((storage, full)) = self.full_key(storage, key) else {
            return Err(Problem::Refused("its storage is not configured".to_owned()));
        };
        let read = storage.store.read(&full, options).await.map_err(Problem::of_store)?;
        let reader = StreamReader::new(read.stream, tokio::runtime::Handle::current(), cancel.clone());
        Ok(Stored { reader, size: read.size, checksums: read.checksums })
    }

    /// Asks for a whole object with whatever its checksum can be compared by.
    pub fn whole(&self) -> ReadOptions {
        ReadOptions { parts: true, ..ReadOptions::default() }
    }

    /// Asks for an object of the listing.
    ///
    /// # Errors
    /// As [`Source::get`].
    pub async fn get_object(&self, object: &ObjectRef, cancel: &Cancel) -> Result<Stored, Problem> {
        self.get(object.storage, &object.key, ReadOptions::default(), cancel).await
    }

    /// Takes encryption and compression off. On a blocking thread, since the first bytes are read here.
    ///
    /// # Errors
    /// A missing key, or what the reader below says. Damage shows here or when the result is read:
    /// see [`Problem::of_io`].
    pub fn open<'a>(
        &self,
        codec: CodecKind,
        reader: Box<dyn Read + Send + 'a>,
        limits: &Limits,
    ) -> Result<Opened<'a>, Problem> {
        codec::open(codec, &self.keys, reader, limits).map_err(|error| Problem::of_io(&error.into()))
    }
}
