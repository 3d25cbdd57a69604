//! Whose keys sign the requests.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::Region;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;

use crate::store::http::words;
use crate::store::{StoreError, StoreErrorKind, StoreOptions};

/// Keys that end sooner than this are renewed first.
const RENEW_BEFORE_END: Duration = Duration::from_secs(300);
/// The name that a trail of assumed roles shows.
const SESSION_NAME: &str = "walproof";

/// A provider of keys that asks its source again only when the keys are about to end.
#[derive(Clone)]
pub(super) struct Keys(Arc<Source>);

struct Source {
    provider: SharedCredentialsProvider,
    held: Mutex<Option<Credentials>>,
}

impl Keys {
    fn new(provider: impl ProvideCredentials + 'static) -> Self {
        Keys(Arc::new(Source { provider: SharedCredentialsProvider::new(provider), held: Mutex::new(None) }))
    }

    async fn held(&self) -> Result<Credentials, CredentialsError> {
        let mut held = self.0.held.lock().await;
        let fresh = |keys: &Credentials| keys.expiry().is_none_or(|end| end > SystemTime::now() + RENEW_BEFORE_END);
        if let Some(keys) = held.as_ref().filter(|keys| fresh(keys)) {
            return Ok(keys.clone());
        }
        let keys = self.0.provider.provide_credentials().await?;
        *held = Some(keys.clone());
        Ok(keys)
    }

    /// Keys for the next request.
    ///
    /// # Errors
    /// `Unauthenticated`, with what was tried.
    pub(super) async fn get(&self) -> Result<Credentials, StoreError> {
        self.held().await.map_err(unauthenticated)
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.held())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

fn unauthenticated(error: CredentialsError) -> StoreError {
    let unauthenticated = |message: String| StoreError::new(StoreErrorKind::Unauthenticated, message);
    let chain = chain(&error);
    match &error {
        CredentialsError::CredentialsNotLoaded(_) => unauthenticated("there are no AWS credentials".to_owned()).advise(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or run where a role is attached; \
             profile files, web identity, container and instance metadata were tried too",
        ),
        CredentialsError::ProviderTimedOut(_) => {
            unauthenticated("the source of AWS credentials does not answer".to_owned())
        }
        _ if chain.contains("expired") || chain.contains("Expired") => {
            unauthenticated(format!("the AWS login has expired: {}", words(&chain)))
                .advise("log in again, e.g. with `aws sso login`")
        }
        _ => unauthenticated(format!("cannot get AWS credentials: {}", words(&chain))),
    }
    .because(error)
}

/// All that an error and its causes say; the outermost alone is mostly "an error occurred".
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !parts.contains(&part) {
            parts.push(part);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// What the environment and the profile files say.
pub(super) struct Chain {
    /// `None`: requests are not signed.
    pub(super) keys: Option<Keys>,
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    pub(super) use_fips: bool,
    pub(super) use_dual_stack: bool,
    /// For the SDK's client.
    pub(super) sdk: aws_config::SdkConfig,
}

/// Loads the settings and finds the source of keys: given ones, then a named profile, then the default chain; a role
/// is assumed with whatever was found.
pub(super) async fn load(options: &StoreOptions, http: SharedHttpClient) -> Result<Chain, StoreError> {
    // Not the default chain for the region: it would ask the instance's metadata, which takes seconds where there is
    // none, and the bucket tells its region anyway.
    let mut profile_region = ProfileFileRegionProvider::builder();
    if let Some(profile) = &options.profile {
        profile_region = profile_region.profile_name(profile);
    }
    let region = aws_config::meta::region::RegionProviderChain::first_try(options.region.clone().map(Region::new))
        .or_else(aws_config::environment::EnvironmentVariableRegionProvider::new())
        .or_else(profile_region.build());
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(region).http_client(http);
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    let given = given_keys(options)?;
    if options.anonymous {
        loader = loader.no_credentials();
    } else if let Some(keys) = &given {
        loader = loader.credentials_provider(keys.clone());
    } else if let Some(profile) = &options.profile {
        // The default chain would let keys in the environment win over a profile that was named on purpose.
        let provider = ProfileFileCredentialsProvider::builder().profile_name(profile);
        loader = loader.credentials_provider(provider.build());
    }
    let sdk = loader.load().await;
    let mut keys = sdk.credentials_provider().map(Keys::new);
    if let (Some(role), Some(source), false) = (&options.role_arn, &keys, options.anonymous) {
        let with_region = if sdk.region().is_some() {
            sdk.clone()
        } else {
            sdk.to_builder().region(Region::from_static(super::REGION_WITHOUT_ANY)).build()
        };
        let mut assume = AssumeRoleProvider::builder(role).session_name(SESSION_NAME).configure(&with_region);
        if let Some(id) = &options.external_id {
            assume = assume.external_id(id);
        }
        keys = Some(Keys::new(assume.build_from_provider(source.clone()).await));
    }
    // The rest of the SDK's rule on endpoints is behind a trait that has no name here.
    let ignored =
        std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_ok_and(|set| set.eq_ignore_ascii_case("true"));
    let for_s3 = std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !ignored && !url.is_empty());
    Ok(Chain {
        keys: keys.filter(|_| !options.anonymous),
        region: sdk.region().map(|region| region.as_ref().to_owned()).filter(|region| !region.is_empty()),
        endpoint_url: options.endpoint_url.clone().or(for_s3).or(sdk.endpoint_url().map(str::to_owned)),
        use_fips: sdk.use_fips().unwrap_or(false),
        use_dual_stack: sdk.use_dual_stack().unwrap_or(false),
        sdk,
    })
}

fn given_keys(options: &StoreOptions) -> Result<Option<Credentials>, StoreError> {
    match (&options.access_key_id, &options.secret_access_key) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => {
            let token = options.session_token.as_ref().map(|token| token.reveal().to_owned());
            Ok(Some(Credentials::new(id.reveal(), secret.reveal(), token, None, "configuration")))
        }
        (given, _) => {
            let missing = if given.is_some() { "secret access key" } else { "access key id" };
            Err(StoreError::new(StoreErrorKind::Config, format!("the S3 credentials lack the {missing}"))
                .advise("give both or neither"))
        }
    }
}
