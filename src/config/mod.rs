//! From what the user wrote to what walproof does: the configuration file, the environment, and settings that already
//! exist for wal-g and wal-e.
#![allow(clippy::disallowed_methods)]

mod file;
mod walg;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use file::{load, load_found};
#[doc(hidden)]
pub use walg::fuzz_one;
pub use walg::{WalGSettings, from_environment, from_file};

use crate::catalog::LayoutKind;
use crate::codec::crypto::KeyRing;
use crate::policy::config::{Identity, LayoutName, Scheme};
use crate::policy::{ClusterConfig, Config, Exception};
use crate::store::{Address, Cloud, StoreOptions};

/// Settings that cannot be used. Always exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// One archive, or a family of them, with everything needed to open it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The cluster's name, where the configuration gives one.
    pub name: Option<String>,
    /// The primary storage first, then wal-g's failover storages.
    pub storages: Vec<(Address, StoreOptions)>,
    /// One cluster for each folder below the address.
    pub each: bool,
    /// Forced layout.
    pub layout: Option<LayoutKind>,
    /// Keys for encrypted objects, as the tool's settings give them.
    pub keys: Arc<KeyRing>,
    /// Accepted losses.
    pub exceptions: Vec<Exception>,
    /// What the policy promises and nothing judges.
    pub not_checked: Vec<String>,
    /// The cluster's entry, where there is one.
    pub cluster: Option<ClusterConfig>,
}

/// Flags that beat the file and the environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--endpoint-url`.
    pub endpoint_url: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--path-style`.
    pub path_style: Option<bool>,
    /// `--anonymous`.
    pub anonymous: bool,
    /// `--request-payer`.
    pub requester_pays: bool,
    /// `--layout`.
    pub layout: Option<LayoutKind>,
    /// `--walg-config`.
    pub walg_config: Option<PathBuf>,
}

/// Finds what to audit: addresses or cluster names from the command line, else all clusters of the configuration, else
/// what wal-g's own settings name.
///
/// # Errors
/// A name that is neither, settings that contradict each other, or nothing to audit at all.
pub fn places(
    names: &[String],
    config: Option<&Config>,
    flags: &Overrides,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Place>, ConfigError> {
    let inherited = match &flags.walg_config {
        Some(path) => Some(from_file(path)?),
        None => from_environment(env)?,
    };
    if !names.is_empty() {
        return names.iter().map(|name| named(name, config, flags, inherited.as_ref())).collect();
    }
    if let Some(config) = config.filter(|config| !config.clusters.is_empty()) {
        return config.clusters.iter().map(|cluster| of_cluster(config, cluster, flags)).collect();
    }
    if let Some(settings) = inherited.filter(|settings| settings.has_prefix()) {
        let mut place = settings.place()?;
        apply(&mut place, flags);
        return Ok(vec![place]);
    }
    Err(ConfigError(
        "nothing to audit: name an archive (s3://bucket/prefix, gs://bucket/prefix, a directory), or a [[cluster]] of \
         walproof.toml, or set WALG_S3_PREFIX, WALG_GS_PREFIX or WALG_FILE_PREFIX as for wal-g"
            .to_owned(),
    ))
}

/// Where runs are remembered: what the flag says, else `[state] url`. Flags that choose a server and credentials count
/// for the state, too.
///
/// # Errors
/// An address that cannot be one.
pub fn state_place(
    flag: Option<&str>,
    config: Option<&Config>,
    flags: &Overrides,
) -> Result<Option<(Address, StoreOptions)>, ConfigError> {
    let Some(url) = flag.or(config.and_then(|config| config.state.url.as_deref())) else { return Ok(None) };
    let refuse = |error: &dyn std::fmt::Display| ConfigError(format!("the state: {error}"));
    let address = Address::parse(url).map_err(|error| refuse(&error))?;
    let identity = config.map(|config| config.state.identity.clone()).unwrap_or_default();
    let mut storage = (address, options(&identity));
    if let Some(path) = identity.walg_config.get() {
        from_file(&PathBuf::from(path))?.add_credentials(&mut storage);
    }
    override_options(&mut storage.1, flags);
    // Nobody else pays for it, and nobody writes without a name.
    storage.1.requester_pays = false;
    storage.1.anonymous = false;
    Ok(Some(storage))
}

/// The archives that the configuration names, whether or not this run looks at them.
pub fn configured_archives(config: &Config) -> Vec<Address> {
    config.clusters.iter().map(address).collect()
}

fn named(
    name: &str,
    config: Option<&Config>,
    flags: &Overrides,
    inherited: Option<&WalGSettings>,
) -> Result<Place, ConfigError> {
    if let Some((config, cluster)) = config.and_then(|config| Some((config, config.cluster(name)?))) {
        return of_cluster(config, cluster, flags);
    }
    let (text, each) = name.strip_suffix("/*").map_or((name, false), |parent| (parent, true));
    let address = Address::parse(text).map_err(|error| ConfigError(error.to_string()))?;
    if let (Address::Directory(path), Some(config)) = (&address, config)
        && !path.exists()
    {
        let known: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        if !known.is_empty() && !name.contains('/') {
            return Err(ConfigError(format!(
                "{name} is neither a directory nor a cluster of the configuration ({})",
                known.join(", ")
            )));
        }
    }
    let mut place = Place {
        name: None,
        storages: vec![(address, StoreOptions::default())],
        each,
        layout: None,
        keys: Arc::new(KeyRing::new()),
        exceptions: Vec::new(),
        not_checked: vec!["retention: no policy".to_owned()],
        cluster: None,
    };
    // The user's own wal-g settings hold the credentials and keys for the archive they name on the command line, too.
    if let Some(settings) = inherited {
        place.keys = Arc::new(settings.keys()?);
        settings.add_credentials(&mut place.storages[0]);
    }
    apply(&mut place, flags);
    Ok(place)
}

fn of_cluster(config: &Config, cluster: &ClusterConfig, flags: &Overrides) -> Result<Place, ConfigError> {
    let identity = cluster.identity.clone().or(config.default_identity.clone());
    let mut options = options(&identity);
    let mut keys = KeyRing::new();
    if let Some(path) = identity.walg_config.get() {
        let settings = from_file(&PathBuf::from(path))?;
        keys = settings.keys()?;
        let mut storage = (address(cluster), options);
        settings.add_credentials(&mut storage);
        options = storage.1;
    }
    let judged: Vec<&str> = crate::checks::audited().map(|rule| rule.code).collect();
    let policy = config.policy(cluster);
    let mut not_checked =
        if policy.promises_nothing() { vec!["retention: no policy".to_owned()] } else { policy.not_checked(&judged) };
    not_checked.extend(config.not_used());
    let mut place = Place {
        name: Some(cluster.name.clone()),
        storages: vec![(address(cluster), options)],
        each: cluster.archive.each,
        layout: cluster.layout.map(layout),
        keys: Arc::new(keys),
        exceptions: config.exceptions.clone(),
        not_checked,
        cluster: Some(cluster.clone()),
    };
    apply(&mut place, flags);
    Ok(place)
}

fn address(cluster: &ClusterConfig) -> Address {
    let archive = &cluster.archive;
    let cloud = match archive.scheme {
        Scheme::S3 => Cloud::S3,
        Scheme::Gcs => Cloud::Gcs,
        Scheme::Azure => Cloud::Azure,
        Scheme::File => return Address::Directory(PathBuf::from(&archive.prefix)),
    };
    Address::exact(cloud, archive.bucket.clone(), archive.key_prefix())
}

fn layout(name: LayoutName) -> LayoutKind {
    match name {
        LayoutName::WalG => LayoutKind::WalG,
        LayoutName::WalE => LayoutKind::WalE,
        LayoutName::BarmanCloud => LayoutKind::Barman,
        LayoutName::PgBackRest => LayoutKind::Pgbackrest,
        LayoutName::Files => LayoutKind::Files,
    }
}

fn options(identity: &Identity) -> StoreOptions {
    StoreOptions {
        endpoint_url: identity.endpoint_url.get().cloned(),
        region: identity.region.get().cloned(),
        profile: identity.profile.get().cloned(),
        role_arn: identity.role_arn.get().cloned(),
        external_id: identity.external_id.get().cloned(),
        path_style: identity.path_style.copied(),
        anonymous: identity.anonymous.copied().unwrap_or(false),
        requester_pays: identity.requester_pays.copied().unwrap_or(false),
        impersonate_service_account: identity.impersonate_service_account.get().cloned(),
        ..StoreOptions::default()
    }
}

fn apply(place: &mut Place, flags: &Overrides) {
    place.layout = flags.layout.or(place.layout);
    for (_, options) in &mut place.storages {
        override_options(options, flags);
    }
}

fn override_options(options: &mut StoreOptions, flags: &Overrides) {
    options.endpoint_url = flags.endpoint_url.clone().or(options.endpoint_url.take());
    options.region = flags.region.clone().or(options.region.take());
    options.profile = flags.profile.clone().or(options.profile.take());
    options.path_style = flags.path_style.or(options.path_style);
    options.anonymous |= flags.anonymous;
    options.requester_pays |= flags.requester_pays;
}
