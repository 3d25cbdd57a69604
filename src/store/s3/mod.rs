//! Amazon S3 and what speaks its protocol.
//!
//! Credentials, region, settings and reads come from the SDK. Listings are signed with `aws-sigv4`, sent by our own
//! client and read by [`list_xml`]: the SDK's list decoder takes seconds of CPU per million keys, drops nothing of
//! use but refuses a whole page for one odd key.

mod door;
mod fault;
mod keys;
mod list;
mod list_text;
pub mod list_xml;
mod read;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_smithy_http_client::{proxy, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{
    BoxFuture, Gate, Limits, ListPage, ListRequest, ObjectRead, ReadOptions, Retry, Store, StoreError, StoreErrorKind,
    StoreOptions, VersionPage, http,
};
use crate::model::ObjectKey;
use crate::run::Cancel;
use door::Door;
#[doc(hidden)]
pub use fault::fuzz_one as fuzz_refusal;
use fault::{Place, Refusal};
use keys::{Chain, Keys};

/// Where to ask first when nobody says where the bucket lives.
const REGION_WITHOUT_ANY: &str = "us-east-1";
/// Moves from region to region before one gives up.
const MOVES_MAX: usize = 3;

/// A bucket of Amazon S3 or of a server that speaks its protocol.
#[derive(Debug)]
pub struct S3Store(Arc<Bucket>);

/// What all requests to a bucket share.
#[derive(Debug)]
struct Bucket {
    name: String,
    http: reqwest::Client,
    chain: SdkSettings,
    endpoint: Option<reqwest::Url>,
    /// Follow a bucket to its region: nobody named one.
    may_move: bool,
    door: RwLock<Arc<Door>>,
    retry: Retry,
    requester_pays: bool,
    list_v1: bool,
    limits: Arc<Limits>,
    gate: Arc<Gate>,
    cancel: Cancel,
    requests: AtomicU64,
}

/// What a door to another region is built from.
#[derive(Debug)]
struct SdkSettings {
    keys: Option<Keys>,
    sdk: aws_config::SdkConfig,
    path_style: Option<bool>,
    use_fips: bool,
    use_dual_stack: bool,
}

impl S3Store {
    /// Prepares requests to a bucket. Sends none, but may run a credentials process or read profile files.
    ///
    /// # Errors
    /// `Config` for settings that cannot be right.
    pub async fn open(
        bucket: &str,
        options: &StoreOptions,
        limits: Arc<Limits>,
        cancel: Cancel,
    ) -> Result<Self, StoreError> {
        let Chain { keys, region, endpoint_url, use_fips, use_dual_stack, sdk } =
            keys::load(options, sdk_http(options.endpoint_url.as_deref(), options.ca_file.as_deref(), &limits)?)
                .await?;
        let endpoint = endpoint_url.as_deref().map(http::endpoint).transpose()?;
        let settings = SdkSettings { keys, sdk, path_style: options.path_style, use_fips, use_dual_stack };
        let region = region.unwrap_or_else(|| REGION_WITHOUT_ANY.to_owned());
        let door = Door::new(bucket, &region, endpoint.as_ref(), &settings, &options.retry)?;
        let gate_name = format!("s3 {} {bucket}", endpoint.as_ref().map_or("", |url| url.as_str()));
        Ok(S3Store(Arc::new(Bucket {
            name: bucket.to_owned(),
            http: http::client(&limits, endpoint_url.as_deref(), options.ca_file.as_deref())?,
            chain: settings,
            endpoint,
            may_move: options.region.is_none(),
            door: RwLock::new(Arc::new(door)),
            retry: options.retry.clone(),
            requester_pays: options.requester_pays,
            list_v1: options.list_objects_v1,
            gate: limits.gate(&gate_name),
            limits,
            cancel,
            requests: AtomicU64::new(0),
        })))
    }

    /// The name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.0.name
    }

    /// The region that requests are signed for; follows the bucket once its first answer came.
    pub fn region(&self) -> String {
        self.0.door().region.clone()
    }

    /// The SDK's client for that region, for questions about the bucket's settings. It does not retry by itself.
    pub fn sdk(&self) -> aws_sdk_s3::Client {
        self.0.door().sdk.clone()
    }
}

impl Bucket {
    fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn place<'a>(&'a self, door: &'a Door) -> Place<'a> {
        Place { bucket: &self.name, region: &door.region, endpoint: self.endpoint.as_ref().map(reqwest::Url::as_str) }
    }

    /// Follows the bucket to the region that a refusal names, if nobody named one. The request is then sent again.
    fn follow(&self, refusal: &Refusal, door: &Door) -> Result<bool, StoreError> {
        let Some(region) = refusal.elsewhere(&door.region).filter(|_| self.may_move) else { return Ok(false) };
        tracing::info!(bucket = self.name, region, "the bucket lives in another region");
        let moved = Door::new(&self.name, region, self.endpoint.as_ref(), &self.chain, &self.retry)?;
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(moved);
        // The request that found out was counted by its attempt; the one that follows is one more.
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }
}

/// A key or prefix as text: requests to S3 cannot carry anything else.
fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, StoreError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("the {what} {} is not UTF-8 and cannot be asked for over S3", ObjectKey::new(bytes));
        StoreError::new(StoreErrorKind::Unsupported, message).because(error)
    })
}

/// The SDK's HTTP client with the same pool, proxies and certificates as ours.
fn sdk_http(endpoint: Option<&str>, ca: Option<&Path>, limits: &Limits) -> Result<SharedHttpClient, StoreError> {
    let bad = |error: Box<dyn std::error::Error + Send + Sync>| {
        StoreError::new(StoreErrorKind::Config, "cannot set up a connection with TLS").because(error)
    };
    let mut trust = tls::TrustStore::default();
    if let Some(ca) = ca {
        let pem = std::fs::read(ca).map_err(|error| {
            let message = format!("cannot read the CA certificates in {}: {error}", ca.display());
            StoreError::new(StoreErrorKind::Config, message).because(error)
        })?;
        trust.add_pem_certificate(pem);
    }
    let tls_context = tls::TlsContext::builder().with_trust_store(trust).build().map_err(|error| bad(error.into()))?;
    let connections = limits.connections();
    let direct = endpoint.is_some_and(http::is_loopback);
    Ok(aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, _| {
        let proxy = if direct { proxy::ProxyConfig::disabled() } else { proxy::ProxyConfig::from_env() };
        let mut connector = aws_smithy_http_client::Connector::builder()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .tls_context(tls_context.clone())
            .proxy_config(proxy)
            .pool_max_idle_per_host(connections);
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.build()
    }))
}

impl Store for S3Store {
    fn provider(&self) -> &'static str {
        "s3"
    }

    fn url(&self, key: &[u8]) -> String {
        format!("s3://{}/{}", self.0.name, ObjectKey::new(key))
    }

    fn endpoint(&self) -> Option<String> {
        self.0.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned())
    }

    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        Box::pin(self.0.list_page(request))
    }

    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>> {
        Box::pin(read::open(Arc::clone(&self.0), key.clone(), options))
    }

    fn keeps_versions(&self) -> bool {
        true
    }

    fn list_versions_page(&self, request: ListRequest) -> BoxFuture<'_, Result<VersionPage, StoreError>> {
        Box::pin(self.0.versions_page(request))
    }

    fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }
}
