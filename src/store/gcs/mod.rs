//! Google Cloud Storage through its JSON API, and servers that speak it.
//!
//! Listings are our own: `object_store` lists GCS without class, generation and checksums. Bytes are read through the
//! same API, so that one token and one set of errors serve both.

mod fault;
mod list_json;
mod token;

use std::ops::Range;
use std::sync::Arc;

use super::media::{self, Line, Media, Opened, Pin, header};
use super::{
    BoxFuture, Fault, Limits, ListPage, ListRequest, ObjectRead, ReadOptions, Store, StoreError, StoreErrorKind,
    StoreOptions, VersionPage, http,
};
use crate::model::ObjectKey;
use crate::run::Cancel;
#[doc(hidden)]
pub use fault::fuzz_one as fuzz_refusal;
use fault::{Asked, Place, Refusal};
pub use list_json::{BadListing, fuzz_one};
use token::Tokens;

/// Google's own server.
const GOOGLE: &str = "https://storage.googleapis.com";
/// Largest page that the API knows.
const PAGE_KEYS_MAX: u32 = 1000;
/// Largest body of a page. A thousand objects with the longest names come to less than 8 MiB.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// A bucket of Google Cloud Storage or of a server that speaks its JSON API.
#[derive(Debug)]
pub struct GcsStore(Arc<Bucket>);

#[derive(Debug)]
struct Bucket {
    name: String,
    /// The server, without a slash at its end.
    server: String,
    endpoint: Option<String>,
    tokens: Option<Tokens>,
    /// Who pays for requests and traffic.
    user_project: Option<String>,
    line: Line,
}

impl GcsStore {
    /// Prepares requests to a bucket. Sends none, but reads the credentials file.
    ///
    /// # Errors
    /// `Config` for settings that cannot be right, `Unauthenticated` for a credentials file that is none.
    pub async fn open(
        bucket: &str,
        options: &StoreOptions,
        limits: Arc<Limits>,
        cancel: Cancel,
    ) -> Result<Self, StoreError> {
        let emulator = emulator().filter(|_| options.endpoint_url.is_none());
        let endpoint = options.endpoint_url.clone().or(emulator.clone());
        let url = http::endpoint(endpoint.as_deref().unwrap_or(GOOGLE))?;
        let server = url.as_str().trim_end_matches('/').trim_end_matches("/storage/v1").to_owned();
        let gate = format!("gcs {server} {bucket}");
        let line = Line::new(&server, &gate, options.ca_file.as_deref(), &options.retry, limits, cancel)?;
        let tokens = if options.anonymous || emulator.is_some() {
            None
        } else {
            let is_google = url.host_str().is_some_and(|host| host.ends_with(".googleapis.com"));
            Tokens::find(options, is_google, &url, &line.http)?
        };
        Ok(GcsStore(Arc::new(Bucket {
            name: bucket.to_owned(),
            endpoint: (server != GOOGLE).then(|| server.clone()),
            server,
            tokens,
            user_project: options.user_project.clone(),
            line,
        })))
    }
}

/// The server that Google's own libraries would ask instead, without credentials.
fn emulator() -> Option<String> {
    let host = std::env::var("STORAGE_EMULATOR_HOST").ok().filter(|host| !host.is_empty())?;
    Some(if host.contains("://") { host } else { format!("http://{host}") })
}

/// A key or prefix as text: requests cannot carry anything else.
fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, StoreError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("the {what} {} is not UTF-8 and cannot be asked for over HTTP", ObjectKey::new(bytes));
        StoreError::new(StoreErrorKind::Unsupported, message).because(error)
    })
}

impl Bucket {
    fn place(&self) -> Place<'_> {
        Place { bucket: &self.name, endpoint: self.endpoint.as_deref(), anonymous: self.tokens.is_none() }
    }

    fn objects(&self) -> String {
        format!("{}/storage/v1/b/{}/o", self.server, http::encoded(self.name.as_bytes()))
    }

    async fn list_page(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let mut page = self.page(&request, None, list_json::read).await?;
        // The API starts at a key, not behind it.
        if let Some(key) = request.start_after.filter(|_| request.token.is_none()) {
            page.rows.retain(|row| row.key.as_bytes() != key);
        }
        Ok(page)
    }

    async fn versions_page(&self, request: ListRequest) -> Result<VersionPage, StoreError> {
        let mut page = self.page(&request, Some(list_json::VERSION_FIELDS), list_json::read_versions).await?;
        if let Some(key) = request.start_after.filter(|_| request.token.is_none()) {
            page.rows.retain(|version| version.row.key.as_bytes() != key);
        }
        Ok(page)
    }

    /// One page of either listing; `versions` names the fields of versions.
    async fn page<T>(
        &self,
        request: &ListRequest,
        versions: Option<&str>,
        read: fn(&[u8]) -> Result<T, BadListing>,
    ) -> Result<T, StoreError> {
        let keys_max = request.keys_max.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX).to_string();
        let fields = versions.unwrap_or(list_json::FIELDS);
        let mut pairs: Vec<(&str, &[u8])> = vec![("maxResults", keys_max.as_bytes()), ("fields", fields.as_bytes())];
        if versions.is_some() {
            pairs.push(("versions", b"true"));
        }
        if !request.prefix.is_empty() {
            pairs.push(("prefix", text(&request.prefix, "prefix")?.as_bytes()));
        }
        if request.delimiter {
            pairs.push(("delimiter", b"/"));
        }
        let start_after = request.start_after.as_deref().filter(|_| request.token.is_none());
        if let Some(key) = start_after {
            pairs.push(("startOffset", text(key, "key")?.as_bytes()));
        }
        if let Some(token) = &request.token {
            pairs.push(("pageToken", token.as_bytes()));
        }
        let url = self.url_with(&self.objects(), pairs)?;
        let url = &url;
        self.line.attempts(|| async move { self.list_once(url.clone(), read).await }).await
    }

    fn url_with<'a>(&'a self, path: &str, mut pairs: Vec<(&'a str, &'a [u8])>) -> Result<reqwest::Url, StoreError> {
        if let Some(project) = &self.user_project {
            pairs.push(("userProject", project.as_bytes()));
        }
        let url = format!("{path}?{}", http::query(&pairs));
        reqwest::Url::parse(&url).map_err(|error| {
            StoreError::new(StoreErrorKind::Config, format!("{} is no address", http::words(path))).because(error)
        })
    }

    async fn list_once<T>(&self, url: reqwest::Url, read: fn(&[u8]) -> Result<T, BadListing>) -> Result<T, Fault> {
        let silence_max = self.line.retry.silence_max;
        let mut response = self.send(url, None).await?;
        if response.status().as_u16() != 200 {
            return Err(self.refusal(&mut response).await.judge(Asked::List, self.place()));
        }
        let bad = |why: String| {
            let message = format!("cannot read the listing of gs://{}/: {why}", self.name);
            StoreError::new(StoreErrorKind::Protocol, message)
        };
        let mut body = Vec::new();
        while let Some(chunk) = http::chunk(&mut response, silence_max).await? {
            if body.len() + chunk.len() > PAGE_BYTES_MAX {
                return Err(bad(format!("one page holds more than {} MiB", PAGE_BYTES_MAX >> 20)).into());
            }
            body.extend_from_slice(&chunk);
        }
        let page = read(&body).map_err(|error| {
            let error = bad(http::words(&error.to_string()));
            match &self.endpoint {
                Some(endpoint) => error.advise(format!("check that {endpoint} speaks the JSON API of GCS")),
                None => error,
            }
        })?;
        Ok(page)
    }

    async fn send(&self, url: reqwest::Url, range: Option<&Range<u64>>) -> Result<reqwest::Response, Fault> {
        let mut request = self.line.http.get(url);
        if let Some(tokens) = &self.tokens {
            request = request.bearer_auth(tokens.get(&self.line).await?);
        }
        if let Some(project) = &self.user_project {
            request = request.header("x-goog-user-project", project);
        }
        if let Some(range) = range {
            request = request.header("range", format!("bytes={}-{}", range.start, range.end - 1));
        }
        // Without it, objects stored as gzip would be unpacked on their way, and match no size or checksum.
        request = request.header("accept-encoding", "gzip");
        let request = request.build().map_err(|error| {
            StoreError::new(StoreErrorKind::Config, "the request cannot be sent").because(error.without_url())
        })?;
        http::send(&self.line.http, request, self.line.retry.silence_max).await
    }

    async fn refusal(&self, response: &mut reqwest::Response) -> Refusal {
        let retry_after = http::retry_after_of(header(response.headers(), "retry-after"));
        let status = response.status().as_u16();
        Refusal::read(status, &http::error_body(response, self.line.retry.silence_max).await, retry_after)
    }

    async fn get_once(
        &self,
        url: reqwest::Url,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<Option<Opened>, Fault> {
        let mut response = self.send(url, range.as_ref()).await?;
        match response.status().as_u16() {
            200 | 206 => {}
            416 => return Ok(None),
            _ => return Err(self.refusal(&mut response).await.judge(Asked::Get(key), self.place())),
        }
        let mut opened = Opened::new(response, range, key)?;
        let named = |name| header(opened.headers(), name).map(|value| value.trim_matches('"').to_owned());
        let generation = named("x-goog-generation");
        // The ETag changes with metadata too: only where there is nothing better.
        let etag = named("etag").filter(|_| generation.is_none());
        let hashes = opened.headers().get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
        let mut checksums: Vec<(String, String)> = hashes
            .flat_map(|value| value.split(','))
            .filter_map(|hash| hash.trim().split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        checksums.extend(generation.clone().map(|generation| ("version".to_owned(), generation)));
        checksums.extend(etag.clone().map(|etag| ("etag".to_owned(), etag)));
        opened.checksums = checksums;
        opened.pin = Pin { version: generation, etag };
        Ok(Some(opened))
    }
}

impl Media for Bucket {
    fn line(&self) -> &Line {
        &self.line
    }

    fn url(&self, key: &[u8]) -> String {
        format!("gs://{}/{}", self.name, ObjectKey::new(key))
    }

    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        range: Option<Range<u64>>,
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<Option<Opened>, StoreError>> {
        Box::pin(async move {
            let name = text(key.as_bytes(), "key")?;
            // As a part of a path, these would mean a folder.
            if matches!(name, "." | "..") {
                let message = format!("the key {name} cannot be asked for over HTTP");
                return Err(StoreError::new(StoreErrorKind::Unsupported, message));
            }
            let path = format!("{}/{}", self.objects(), http::encoded(name.as_bytes()));
            let mut pairs: Vec<(&str, &[u8])> = vec![("alt", b"media")];
            if let Some(generation) = &pin.version {
                pairs.push(("generation", generation.as_bytes()));
            }
            let url = self.url_with(&path, pairs)?;
            let (url, range) = (&url, &range);
            self.line.attempts(|| async move { self.get_once(url.clone(), key, range.clone()).await }).await
        })
    }
}

impl Store for GcsStore {
    fn provider(&self) -> &'static str {
        "gcs"
    }

    fn url(&self, key: &[u8]) -> String {
        Media::url(&*self.0, key)
    }

    fn endpoint(&self) -> Option<String> {
        self.0.endpoint.clone()
    }

    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        Box::pin(self.0.list_page(request))
    }

    fn keeps_versions(&self) -> bool {
        true
    }

    fn list_versions_page(&self, request: ListRequest) -> BoxFuture<'_, Result<VersionPage, StoreError>> {
        Box::pin(self.0.versions_page(request))
    }

    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>> {
        Box::pin(media::open(Arc::clone(&self.0), key.clone(), options))
    }

    fn requests(&self) -> u64 {
        self.0.line.requests()
    }
}
