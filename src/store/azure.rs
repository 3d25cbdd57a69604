//! Azure Blob Storage through `object_store`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};

use super::http::innermost;
use super::retry::or_cancelled;
use super::{
    BoxFuture, Limits, ListPage, ListRequest, ObjectRead, ReadOptions, Store, StoreError, StoreErrorKind, StoreOptions,
};
use crate::model::{ObjectKey, ObjectRow, StorageClass, Timestamp};
use crate::run::Cancel;

/// Keys of one page: the library lists as a stream.
const PAGE_KEYS: usize = 5000;

/// A container of Azure Blob Storage.
pub struct AzureStore {
    container: String,
    inner: Arc<MicrosoftAzure>,
    limits: Arc<Limits>,
    cancel: Cancel,
    requests: AtomicU64,
}

impl fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureStore").field("container", &self.container).finish_non_exhaustive()
    }
}

impl AzureStore {
    /// Prepares requests to a container. Sends none.
    ///
    /// # Errors
    /// `Config` for settings that cannot be right, e.g. no storage account.
    pub fn open(
        container: &str,
        options: &StoreOptions,
        limits: Arc<Limits>,
        cancel: Cancel,
    ) -> Result<Self, StoreError> {
        let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
        if let Some(account) = &options.azure_account {
            builder = builder.with_account(account);
        }
        if let Some(key) = &options.azure_access_key {
            builder = builder.with_access_key(key.reveal());
        }
        if let Some(endpoint) = &options.endpoint_url {
            builder = builder.with_endpoint(endpoint.clone()).with_allow_http(endpoint.starts_with("http://"));
        }
        if options.anonymous {
            builder = builder.with_skip_signature(true);
        }
        let inner = builder.build().map_err(|error| {
            StoreError::new(StoreErrorKind::Config, format!("az://{container}: {}", innermost(&error)))
                .advise("set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or sign in with the Azure CLI")
                .because(error)
        })?;
        Ok(AzureStore {
            container: container.to_owned(),
            inner: Arc::new(inner),
            limits,
            cancel,
            requests: AtomicU64::new(0),
        })
    }

    fn path(&self, key: &[u8]) -> Result<Path, StoreError> {
        let shown = ObjectKey::new(key);
        let text = std::str::from_utf8(key).ok();
        text.and_then(|text| Path::parse(text).ok()).ok_or_else(|| {
            let message = format!("az://{}/{shown}: the Azure library does not accept this key", self.container);
            StoreError::new(StoreErrorKind::Unsupported, message)
        })
    }

    fn error(&self, doing: &str, error: object_store::Error) -> StoreError {
        use object_store::Error as E;
        let kind = match &error {
            E::NotFound { .. } if doing.starts_with("listing") => StoreErrorKind::NoSuchBucket,
            E::NotFound { .. } => StoreErrorKind::NotFound,
            E::PermissionDenied { .. } => StoreErrorKind::Denied,
            E::Unauthenticated { .. } => StoreErrorKind::Unauthenticated,
            E::InvalidPath { .. } => StoreErrorKind::Unsupported,
            _ => StoreErrorKind::Network,
        };
        let said = innermost(&error);
        let kind = if said.contains("BlobArchived") { StoreErrorKind::ArchivedClass } else { kind };
        let mut made = StoreError::new(kind, format!("{doing}: {said}")).because(error);
        if matches!(kind, StoreErrorKind::Denied | StoreErrorKind::Unauthenticated) {
            made = made.advise("grant the role Storage Blob Data Reader on the container");
        }
        made
    }

    async fn page(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let doing = format!("listing az://{}", self.container);
        let text = String::from_utf8_lossy(&request.prefix).into_owned();
        // The library lists whole folders: what it gives beyond the prefix is left out.
        let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = if folder.is_empty() { None } else { Some(self.path(folder.as_bytes())?) };
        self.requests.fetch_add(1, Ordering::Relaxed);
        if request.delimiter {
            let listed = or_cancelled(&self.cancel, self.inner.list_with_delimiter(folder.as_ref())).await?;
            let listed = listed.map_err(|error| self.error(&doing, error))?;
            let prefixes = listed.common_prefixes.iter().map(|path| ObjectKey::from(format!("{path}/")));
            return Ok(ListPage {
                rows: listed
                    .objects
                    .into_iter()
                    .map(row)
                    .filter(|row| row.key.as_bytes().starts_with(&request.prefix))
                    .collect(),
                prefixes: prefixes.filter(|key| key.as_bytes().starts_with(&request.prefix)).collect(),
                next: None,
            });
        }
        let after = request.token.clone().map(String::into_bytes).or(request.start_after.clone());
        let mut stream = match &after {
            Some(after) => self.inner.list_with_offset(folder.as_ref(), &self.path(after)?),
            None => self.inner.list(folder.as_ref()),
        };
        let mut page = ListPage::default();
        loop {
            let next = or_cancelled(&self.cancel, stream.next()).await?;
            let Some(meta) = next.transpose().map_err(|error| self.error(&doing, error))? else { break };
            let row = row(meta);
            if page.rows.len() >= PAGE_KEYS {
                let last = page.rows.last().map(|row| String::from_utf8_lossy(row.key.as_bytes()).into_owned());
                page.next = last;
                break;
            }
            let behind = after.as_deref().is_none_or(|after| row.key.as_bytes() > after);
            if behind && row.key.as_bytes().starts_with(&request.prefix) {
                page.rows.push(row);
            }
        }
        Ok(page)
    }

    async fn open_read(&self, key: &ObjectKey, options: ReadOptions) -> Result<ObjectRead, StoreError> {
        let doing = format!("reading az://{}/{key}", self.container);
        let path = self.path(key.as_bytes())?;
        let get = GetOptions {
            range: options.range.clone().map(GetRange::Bounded),
            version: options.version,
            ..GetOptions::default()
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = or_cancelled(&self.cancel, self.inner.get_opts(&path, get)).await?;
        let result = result.map_err(|error| self.error(&doing, error))?;
        let size = result.meta.size;
        let (limits, cancel) = (Arc::clone(&self.limits), self.cancel.clone());
        let stream = result.into_stream().map_err(move |error| {
            StoreError::new(StoreErrorKind::Cut, format!("{doing}: {}", innermost(&error))).because(error)
        });
        let paced = stream.and_then(move |chunk: Bytes| {
            let (limits, cancel) = (Arc::clone(&limits), cancel.clone());
            async move {
                limits.pace(chunk.len(), &cancel).await?;
                Ok(chunk)
            }
        });
        Ok(ObjectRead { size: Some(size), stream: paced.boxed(), checksums: Vec::new() })
    }
}

fn row(meta: ObjectMeta) -> ObjectRow {
    let modified = Timestamp::from_nanosecond(
        i128::from(meta.last_modified.timestamp()) * 1_000_000_000
            + i128::from(meta.last_modified.timestamp_subsec_nanos()),
    );
    ObjectRow {
        key: ObjectKey::from(meta.location.to_string()),
        size: meta.size,
        modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
        etag: meta.e_tag.map(|etag| etag.trim_matches('"').into()),
        version: meta.version.map(Into::into),
        // The library's listing drops the access tier.
        class: StorageClass::Standard,
        checksum: None,
    }
}

impl Store for AzureStore {
    fn provider(&self) -> &'static str {
        "azure"
    }

    fn url(&self, key: &[u8]) -> String {
        format!("az://{}/{}", self.container, ObjectKey::new(key))
    }

    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        Box::pin(self.page(request))
    }

    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>> {
        Box::pin(self.open_read(key, options))
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The service has no start key: the library would list from the beginning and throw away.
    fn can_start_after(&self) -> bool {
        false
    }
}
