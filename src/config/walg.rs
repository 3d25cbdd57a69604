//! Settings that exist for wal-g and wal-e already: the same names in the environment or in wal-g's own file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{ConfigError, Place};
use crate::codec::crypto::{KeyError, KeyRing, KeyTransform};
use crate::store::{Address, Cloud, Secret, StoreOptions};

/// wal-g's settings, names in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalGSettings {
    values: BTreeMap<String, String>,
    /// Failover storages by name, each with settings of its own.
    failover: BTreeMap<String, BTreeMap<String, String>>,
    /// Where they come from, for messages.
    from: String,
}

/// Names that mean something here; everything else in an environment is none of our business.
const PREFIXES: [&str; 7] = ["WALG_", "WALE_", "AWS_", "GOOGLE_", "GCS_", "S3_", "YC_"];

/// The environment over the file that `WALG_CONFIG_PATH` or the home directory holds. `None` where neither says
/// anything of wal-g.
///
/// # Errors
/// The file cannot be read.
pub fn from_environment(env: &BTreeMap<String, String>) -> Result<Option<WalGSettings>, ConfigError> {
    let file = match env.get("WALG_CONFIG_PATH") {
        Some(path) => Some(PathBuf::from(path)),
        None => env.get("HOME").and_then(|home| {
            let names =
                ["json", "yaml", "yml", "toml"].map(|extension| Path::new(home).join(format!(".walg.{extension}")));
            names.into_iter().find(|path| path.is_file())
        }),
    };
    let mut settings = match &file {
        Some(path) => from_file(path)?,
        None => WalGSettings { from: "the environment".to_owned(), ..WalGSettings::default() },
    };
    let own = env.iter().filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    settings.values.extend(own.map(|(name, value)| (name.to_uppercase(), value.clone())));
    let tool = settings.values.keys().any(|name| name.starts_with("WALG_") || name.starts_with("WALE_"));
    Ok((tool || file.is_some()).then_some(settings))
}

/// Reads wal-g's configuration file: JSON, YAML or TOML with flat keys in any case.
///
/// # Errors
/// The file cannot be read or is none of these.
pub fn from_file(path: &Path) -> Result<WalGSettings, ConfigError> {
    let from = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{from}: {error}")))?;
    from_text(&text, path.extension().and_then(|extension| extension.to_str()).unwrap_or("json"), from)
}

fn from_text(text: &str, extension: &str, from: String) -> Result<WalGSettings, ConfigError> {
    let bad = |why: String| ConfigError(format!("{from}: {why}"));
    let value: Value = match extension {
        "yaml" | "yml" => serde_yaml_ng::from_str(text).map_err(|error| bad(error.to_string()))?,
        "toml" => toml::from_str(text).map_err(|error| bad(error.to_string()))?,
        _ => serde_json::from_str(text).map_err(|error| bad(error.to_string()))?,
    };
    let Value::Object(fields) = value else { return Err(bad("is not a map of settings".to_owned())) };
    let mut settings = WalGSettings { from: from.clone(), ..WalGSettings::default() };
    for (name, value) in fields {
        let name = name.to_uppercase();
        match value {
            Value::Object(storages) if name == "WALG_FAILOVER_STORAGES" => {
                for (storage, own) in storages {
                    let Value::Object(own) = own else {
                        return Err(bad(format!("failover storage {storage} is not a map")));
                    };
                    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_uppercase(), plain(&value)?)));
                    settings.failover.insert(storage, own.collect());
                }
            }
            value => {
                if let Some(value) = plain(&value) {
                    settings.values.insert(name, value);
                }
            }
        }
    }
    Ok(settings)
}

/// Reads any bytes as wal-g's configuration in each format, and takes storages and inline keys from it.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for extension in ["json", "yaml", "toml"] {
        if let Ok(mut settings) = from_text(&text, extension, "settings".to_owned()) {
            // Paths would lead outside.
            settings.values.retain(|name, _| !name.ends_with("_KEY_PATH"));
            let _ = settings.place();
        }
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A storage setting is read as NAME, WALG_NAME, WALE_NAME.
fn lookup<'a>(values: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let names = [name.to_owned(), format!("WALG_{name}"), format!("WALE_{name}")];
    names.iter().find_map(|name| values.get(name)).map(String::as_str).filter(|value| !value.is_empty())
}

impl WalGSettings {
    fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.values, name)
    }

    /// Whether an archive is named.
    pub fn has_prefix(&self) -> bool {
        ["S3_PREFIX", "FILE_PREFIX", "GS_PREFIX", "AZ_PREFIX", "OSS_PREFIX", "SWIFT_PREFIX", "SSH_PREFIX"]
            .iter()
            .any(|name| self.get(name).is_some())
    }

    /// The archive that these settings name, with its failover storages.
    ///
    /// # Errors
    /// The storage is one that walproof does not read, or the prefix is not an address.
    pub fn place(&self) -> Result<Place, ConfigError> {
        let mut storages = vec![self.storage(&self.values)?];
        for (name, own) in &self.failover {
            let storage =
                self.storage(own).map_err(|error| ConfigError(format!("failover storage {name}: {error}")))?;
            storages.push(storage);
        }
        Ok(Place {
            name: None,
            storages,
            each: false,
            layout: None,
            keys: Arc::new(self.keys()?),
            exceptions: Vec::new(),
            not_checked: vec!["retention: no policy".to_owned()],
            cluster: None,
        })
    }

    fn storage(&self, values: &BTreeMap<String, String>) -> Result<(Address, StoreOptions), ConfigError> {
        let bad = |error: crate::store::StoreError| ConfigError(format!("{}: {error}", self.from));
        // wal-g's own order where several are set.
        let address = if lookup(values, "OSS_PREFIX").is_some() {
            return Err(ConfigError(format!("{}: WALG_OSS_PREFIX: walproof does not read OSS buckets", self.from)));
        } else if let Some(prefix) = lookup(values, "S3_PREFIX") {
            exact(Cloud::S3, prefix, "s3://").map_err(bad)?
        } else if let Some(prefix) = lookup(values, "FILE_PREFIX") {
            let path =
                prefix.strip_prefix("file://localhost").or_else(|| prefix.strip_prefix("file://")).unwrap_or(prefix);
            Address::Directory(PathBuf::from(path))
        } else if let Some(prefix) = lookup(values, "GS_PREFIX") {
            exact(Cloud::Gcs, prefix, "gs://").map_err(bad)?
        } else {
            let other = ["AZ_PREFIX", "SWIFT_PREFIX", "SSH_PREFIX", "WABS_PREFIX"]
                .into_iter()
                .find(|name| lookup(values, name).is_some());
            let other = other.unwrap_or("a storage prefix");
            return Err(ConfigError(format!(
                "{}: {other}: walproof reads S3, GCS and directories from wal-g's settings",
                self.from
            )));
        };
        let address = match lookup(values, "STORAGE_PREFIX").or_else(|| self.get("STORAGE_PREFIX")) {
            Some(folder) => address.join(folder),
            None => address,
        };
        Ok((address, options(values)))
    }

    /// Keys for encrypted objects.
    ///
    /// # Errors
    /// A key file cannot be read, or a key is not one.
    pub fn keys(&self) -> Result<KeyRing, ConfigError> {
        let read = |path: &str| std::fs::read(path).map_err(|error| ConfigError(format!("{path}: {error}")));
        let bad = |what: &str, error: KeyError| ConfigError(format!("{}: {what}: {error}", self.from));
        let mut ring = KeyRing::new();
        let transform = KeyTransform::from_name(self.get("LIBSODIUM_KEY_TRANSFORM").unwrap_or("none"))
            .map_err(|error| bad("WALG_LIBSODIUM_KEY_TRANSFORM", error))?;
        // Key files are trimmed, inline keys are not: as wal-g does it.
        if let Some(key) = self.get("LIBSODIUM_KEY") {
            ring.set_libsodium_inline(key.as_bytes(), transform).map_err(|error| bad("WALG_LIBSODIUM_KEY", error))?;
        } else if let Some(path) = self.get("LIBSODIUM_KEY_PATH") {
            ring.set_libsodium_file(&read(path)?, transform).map_err(|error| bad(path, error))?;
        }
        let passphrase = self.get("PGP_KEY_PASSPHRASE");
        if let Some(key) = self.get("PGP_KEY") {
            ring.add_pgp(key.as_bytes(), passphrase).map_err(|error| bad("WALG_PGP_KEY", error))?;
        } else if let Some(path) = self.get("PGP_KEY_PATH") {
            ring.add_pgp(&read(path)?, passphrase).map_err(|error| bad(path, error))?;
        }
        Ok(ring)
    }

    /// Gives a storage named on the command line the credentials that these settings hold.
    pub fn add_credentials(&self, storage: &mut (Address, StoreOptions)) {
        let own = options(&self.values);
        let given = &mut storage.1;
        given.endpoint_url = given.endpoint_url.take().or(own.endpoint_url);
        given.region = given.region.take().or(own.region);
        given.path_style = given.path_style.or(own.path_style);
        if given.profile.is_none() && given.role_arn.is_none() {
            given.role_arn = own.role_arn;
            given.access_key_id = given.access_key_id.take().or(own.access_key_id);
            given.secret_access_key = given.secret_access_key.take().or(own.secret_access_key);
            given.session_token = given.session_token.take().or(own.session_token);
        }
        given.ca_file = given.ca_file.take().or(own.ca_file);
        given.google_application_credentials =
            given.google_application_credentials.take().or(own.google_application_credentials);
    }
}

/// A prefix exactly as wal-g and wal-e take it: without leading slashes, with one at its end.
fn exact(cloud: Cloud, prefix: &str, scheme: &str) -> Result<Address, crate::store::StoreError> {
    let rest = prefix.strip_prefix(scheme).ok_or_else(|| {
        Address::parse(prefix).err().unwrap_or_else(|| {
            crate::store::StoreError::new(
                crate::store::StoreErrorKind::Config,
                format!("{prefix} does not begin with {scheme}"),
            )
        })
    })?;
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = if path.is_empty() { String::new() } else { format!("{path}/") };
    Ok(Address::exact(cloud, bucket, path))
}

fn options(values: &BTreeMap<String, String>) -> StoreOptions {
    let text = |name: &str| lookup(values, name).map(ToOwned::to_owned);
    let flag = |name: &str| lookup(values, name).map(|value| matches!(value, "true" | "1" | "TRUE" | "True"));
    // wal-e writes `http+path://host:port`.
    let wale = values.get("WALE_S3_ENDPOINT").and_then(|endpoint| {
        let (scheme, rest) = endpoint.split_once("://")?;
        let (protocol, style) = scheme.split_once('+')?;
        Some((format!("{protocol}://{rest}"), style == "path"))
    });
    StoreOptions {
        endpoint_url: text("AWS_ENDPOINT")
            .or_else(|| text("AWS_ENDPOINT_URL"))
            .or(wale.as_ref().map(|(url, _)| url.clone()))
            .map(|url| if url.contains("://") { url } else { format!("https://{url}") }),
        region: text("AWS_REGION"),
        role_arn: text("AWS_ROLE_ARN"),
        path_style: flag("AWS_S3_FORCE_PATH_STYLE").or(wale.map(|(_, path)| path)),
        list_objects_v1: flag("S3_USE_LIST_OBJECTS_V1").unwrap_or(false),
        access_key_id: text("AWS_ACCESS_KEY_ID").map(Secret::from),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY").map(Secret::from),
        session_token: text("AWS_SESSION_TOKEN").or_else(|| text("AWS_SECURITY_TOKEN")).map(Secret::from),
        ca_file: text("S3_CA_CERT_FILE").map(PathBuf::from),
        google_application_credentials: text("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
        ..StoreOptions::default()
    }
}
