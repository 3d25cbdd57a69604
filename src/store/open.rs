//! From an address and settings to a store.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Address, Cloud, DiskStore, Limits, Retry, Store, StoreError, StoreErrorKind};
use crate::run::Cancel;

/// A setting that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    /// Gives it to whoever has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Secret(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Secret(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who reads a bucket, and through which door. What is left out comes from the cloud's own default chain:
/// environment, profile, web identity, container and instance metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// Another server than the cloud's own, e.g. `http://127.0.0.1:9000`.
    pub endpoint_url: Option<String>,
    /// S3: the region to sign for. A wrong one is an error; without one the bucket's region is found out.
    pub region: Option<String>,
    /// S3: a profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// S3: a role to assume.
    pub role_arn: Option<String>,
    /// S3: the external id that the role's trust policy asks for.
    pub external_id: Option<String>,
    /// S3: `http://server/bucket/key` instead of `http://bucket.server/key`. By default with an endpoint of one's
    /// own, and for buckets whose name holds a dot.
    pub path_style: Option<bool>,
    /// Send no credentials.
    pub anonymous: bool,
    /// S3: the reader pays for requests and traffic.
    pub requester_pays: bool,
    /// S3: the server knows the first version of the listing call only.
    pub list_objects_v1: bool,
    /// S3: keys from a configuration file, before any chain.
    pub access_key_id: Option<Secret>,
    /// S3: belongs to `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// S3: belongs to temporary keys.
    pub session_token: Option<Secret>,
    /// S3 and endpoints of one's own: a PEM file with further certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// GCS: the credentials file, before `GOOGLE_APPLICATION_CREDENTIALS`.
    pub google_application_credentials: Option<PathBuf>,
    /// GCS: read as this service account.
    pub impersonate_service_account: Option<String>,
    /// GCS: the project that pays for a requester-pays bucket.
    pub user_project: Option<String>,
    /// Azure: the storage account, before `AZURE_STORAGE_ACCOUNT_NAME`.
    pub azure_account: Option<String>,
    /// Azure: its key, before `AZURE_STORAGE_ACCOUNT_KEY`.
    pub azure_access_key: Option<Secret>,
    /// Bounds on trying again.
    pub retry: Retry,
}

/// Opens the store that an address names. Keys given to it and listed by it are whole keys in the bucket (relative
/// to the directory, on disk); [`Address::prefix`] is what the archive's keys begin with.
///
/// For a directory this looks whether it is there; a bucket is first asked by the first listing.
///
/// # Errors
/// `Config` for settings that contradict each other, `NoSuchBucket` for a directory that does not exist,
/// `Unsupported` for a cloud that this build leaves out.
pub async fn open(
    address: &Address,
    options: &StoreOptions,
    limits: Arc<Limits>,
    cancel: Cancel,
) -> Result<Arc<dyn Store>, StoreError> {
    // Without any cloud, a build has nothing to do with them.
    let _ = options;
    match address {
        #[cfg(feature = "s3")]
        Address::Bucket { cloud: Cloud::S3, bucket, .. } => {
            Ok(Arc::new(super::S3Store::open(bucket, options, limits, cancel).await?))
        }
        #[cfg(feature = "azure")]
        Address::Bucket { cloud: Cloud::Azure, bucket, .. } => {
            Ok(Arc::new(super::AzureStore::open(bucket, options, limits, cancel)?))
        }
        #[cfg(feature = "gcs")]
        Address::Bucket { cloud: Cloud::Gcs, bucket, .. } => {
            Ok(Arc::new(super::GcsStore::open(bucket, options, limits, cancel).await?))
        }
        Address::Directory(path) => Ok(Arc::new(DiskStore::open(path, limits, cancel).await?)),
        // Reached only by builds that leave a cloud out.
        #[allow(unreachable_patterns)]
        Address::Bucket { cloud, .. } => Err(left_out(*cloud)),
    }
}

fn left_out(cloud: Cloud) -> StoreError {
    let scheme = cloud.scheme();
    StoreError::new(StoreErrorKind::Unsupported, format!("this build of walproof does not read {scheme}://"))
        .advise("build it with the default features")
}
