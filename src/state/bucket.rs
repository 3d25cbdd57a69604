//! State in a prefix of a bucket. Reading is the store's; only writing is here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures::TryStreamExt;

use super::error::shown;
use super::store::Wanted;
use super::{Put, StateError, StateStore};
use crate::model::ObjectKey;
use crate::store::{BoxFuture, ListRequest, ReadOptions, Store, StoreError, StoreErrorKind};

/// Writes objects that are not there yet, and does nothing else to a bucket.
pub(super) trait Writer: fmt::Debug + Send + Sync {
    /// Writes an object whole or not at all, unless there is one of that key.
    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<Put, StoreError>>;
}

/// State in a prefix of a bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    store: Arc<dyn Store>,
    writer: Box<dyn Writer>,
    /// Empty, or ends in `/`.
    prefix: String,
}

impl Bucket {
    pub(super) fn new(store: Arc<dyn Store>, writer: Box<dyn Writer>, prefix: &str) -> Self {
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        Bucket { store, writer, prefix: format!("{prefix}{slash}") }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn folder(&self, folder: &str) -> String {
        format!("{}{folder}/", self.prefix)
    }

    async fn list_all(&self, folder: &str, wanted: Wanted<'_>) -> Result<Vec<String>, StoreError> {
        let prefix = self.folder(folder);
        // `start_after` leaves its own key out: begin at something just before.
        let from = wanted.from.and_then(|from| from.char_indices().next_back().map(|(end, _)| &from[..end]));
        let mut request = ListRequest {
            prefix: prefix.clone().into_bytes(),
            start_after: from
                .filter(|_| self.store.can_start_after())
                .map(|from| format!("{prefix}{from}").into_bytes()),
            ..ListRequest::default()
        };
        let mut names = VecDeque::new();
        loop {
            let page = self.store.list_page(request.clone()).await?;
            for row in page.rows {
                let name = row.key.as_plain_str().and_then(|key| key.strip_prefix(&prefix));
                let Some(name) = name.filter(|name| !name.is_empty() && !name.contains('/')) else { continue };
                if wanted.before.is_some_and(|before| name >= before) {
                    return Ok(names.into());
                }
                if wanted.covers(name) && wanted.last > 0 {
                    if names.len() == wanted.last {
                        names.pop_front();
                    }
                    names.push_back(name.to_owned());
                }
            }
            match page.next {
                Some(token) => request = ListRequest { token: Some(token), start_after: None, ..request },
                None => return Ok(names.into()),
            }
        }
    }

    async fn list_folders(&self, folder: &str, first: usize) -> Result<Vec<String>, StoreError> {
        let prefix = self.folder(folder);
        let mut request =
            ListRequest { prefix: prefix.clone().into_bytes(), delimiter: true, ..ListRequest::default() };
        let mut folders = Vec::new();
        loop {
            let page = self.store.list_page(request.clone()).await?;
            for key in page.prefixes {
                let name = key.as_plain_str().and_then(|key| key.strip_prefix(&prefix)?.strip_suffix('/'));
                if folders.len() >= first {
                    return Ok(folders);
                }
                folders.extend(name.map(ToOwned::to_owned));
            }
            match page.next {
                Some(token) => request.token = Some(token),
                None => return Ok(folders),
            }
        }
    }

    /// `Err(None)`: it is larger.
    async fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Option<StoreError>> {
        let key = ObjectKey::from(self.key(key));
        let read = match self.store.read(&key, ReadOptions::default()).await {
            Ok(read) => read,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Some(error)),
        };
        if read.size.is_some_and(|size| size > bytes_max) {
            return Err(None);
        }
        let mut stream = read.stream;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.try_next().await.map_err(Some)? {
            if bytes.len() as u64 + chunk.len() as u64 > bytes_max {
                return Err(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }
}

impl StateStore for Bucket {
    fn url(&self, key: &str) -> String {
        let url = self.store.url(self.key(key).as_bytes());
        if key.is_empty() { url.trim_end_matches('/').to_owned() } else { url }
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<Put, StateError>> {
        Box::pin(async move {
            let key = self.key(key);
            self.writer.put_if_absent(&key, bytes).await.map_err(|error| StateError::store("writing the state", error))
        })
    }

    fn list<'a>(&'a self, folder: &'a str, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        Box::pin(async move {
            self.list_all(folder, wanted).await.map_err(|error| StateError::store("looking into the state", error))
        })
    }

    fn folders<'a>(&'a self, folder: &'a str, first: usize) -> BoxFuture<'a, Result<Vec<String>, StateError>> {
        Box::pin(async move {
            self.list_folders(folder, first).await.map_err(|error| StateError::store("looking into the state", error))
        })
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        Box::pin(async move {
            self.read(key, bytes_max).await.map_err(|error| match error {
                Some(error) => StateError::store("reading the state", error),
                None => StateError::TooLarge { key: shown(key), bytes_max },
            })
        })
    }
}
