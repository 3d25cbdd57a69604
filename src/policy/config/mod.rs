//! `walproof.toml`: one file that states what must stay recoverable.
//!
//! Outcomes, not mechanisms: `recovery_window = "365d"`, not "expiration of at least 372 days". A missing key means
//! "not checked", a misspelt one is an error that names the right one.

mod address;
mod assertion;
mod contradictions;
mod exception;
mod expect;
mod key;
mod promises;
#[cfg(feature = "config")]
mod reader;
#[cfg(feature = "config")]
mod toml_file;

pub use address::{ArchiveAddress, Scheme};
pub use assertion::{Assertion, AssertionCheck, CHECKSUM_QUERY, CHECKSUM_TABLE};
pub use contradictions::Contradiction;
pub use exception::{Exception, ExceptionScope, exception_block};
pub use expect::{Comparison, Expect};
pub use key::{Explain, Key, KeyRow, Origin};
pub use promises::{
    Activity, CopyPolicy, Deletions, Encryption, Identity, Immutability, LockMode, Policy, PublicAccess, ReplayLimit,
    RestoreTarget, RestoreTestPolicy, Retention, StoragePolicy, VerifyPolicy, VersioningPolicy,
};

use serde::Serialize;

/// Something wrong with the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("line {line}: {message}{}", .suggestion.as_ref().map_or(String::new(), |near| format!("; did you mean {near}?")))]
pub struct ConfigError {
    /// Line in the file, from 1.
    pub line: u32,
    /// What is wrong, with the key.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Config {
    /// Format of the file; 1.
    pub version: u32,
    /// `[defaults]`: what every cluster promises unless it says otherwise.
    pub defaults: Policy,
    /// Credentials and endpoint from `[defaults]`, unless a cluster says otherwise.
    pub default_identity: Identity,
    /// `[[cluster]]`, in the order of the file.
    pub clusters: Vec<ClusterConfig>,
    /// `[[exception]]`, in the order of the file.
    pub exceptions: Vec<Exception>,
    /// `[state]`: where walproof remembers its runs.
    pub state: StateConfig,
    /// Names of tables under `[notifications]`. This version sends none.
    pub notifications: Vec<String>,
}

/// One `[[cluster]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterConfig {
    /// How reports and exceptions call it.
    pub name: String,
    /// Where its archive is.
    pub archive: ArchiveAddress,
    /// The tool that writes it; detected where absent.
    pub layout: Option<LayoutName>,
    /// For layout `files`: what the keys below the archive look like.
    pub files_pattern: Option<String>,
    /// Credentials and endpoint, the defaults' filled in.
    pub identity: Identity,
    /// Its own promises, without the defaults'.
    pub promises: Policy,
    /// Line in the file.
    pub line: u32,
}

/// Tools whose archives can be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LayoutName {
    /// wal-g.
    WalG,
    /// WAL-E.
    WalE,
    /// barman-cloud.
    BarmanCloud,
    /// pgBackRest.
    #[serde(rename = "pgbackrest")]
    PgBackRest,
    /// Each object is one backup: dumps and tarballs.
    Files,
}

impl LayoutName {
    const NAMES: &'static [(&'static str, LayoutName)] = &[
        ("wal-g", LayoutName::WalG),
        ("wal-e", LayoutName::WalE),
        ("barman-cloud", LayoutName::BarmanCloud),
        ("pgbackrest", LayoutName::PgBackRest),
        ("files", LayoutName::Files),
    ];

    /// Its name as files and flags write it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, layout)| *layout == self).map_or("", |(name, _)| name)
    }

    /// The layout of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, layout)| *layout)
    }
}

/// `[state]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StateConfig {
    /// A directory or a bucket prefix.
    pub url: Option<String>,
    /// Who writes there, the defaults' filled in.
    pub identity: Identity,
}

impl Config {
    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Option<&ClusterConfig> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The effective policy of a cluster: its own keys over the defaults.
    pub fn policy(&self, cluster: &ClusterConfig) -> Policy {
        cluster.promises.clone().or(self.defaults.clone())
    }

    /// Policy keys and settings that this version reads but does nothing with.
    pub fn not_used(&self) -> Vec<String> {
        self.notifications.iter().map(|name| format!("notifications.{name}: not sent by this version")).collect()
    }
}

impl ClusterConfig {
    /// The cluster that one match of an archive ending in `/*` makes: `*` in the name becomes the match, a name without
    /// `*` gets it appended.
    #[must_use]
    pub fn instance(&self, found: &str) -> Self {
        let name =
            if self.name.contains('*') { self.name.replace('*', found) } else { format!("{}/{found}", self.name) };
        ClusterConfig { name, archive: self.archive.instance(found), ..self.clone() }
    }

    /// The dotted keys of the cluster and of its defaults, for `policy explain`.
    pub fn explain(&self, config: &Config) -> Vec<KeyRow> {
        let mut rows = config.policy(self).rows("");
        rows.extend(self.identity.rows(""));
        rows
    }
}

/// Where a key that was put in the wrong table belongs.
#[cfg(feature = "config")]
pub(crate) fn elsewhere(key: &str) -> Option<String> {
    let rows = Policy::default().rows("");
    let row = rows.iter().find(|row| row.key == key || row.key.rsplit('.').next() == Some(key))?;
    Some(match row.key.rsplit_once('.') {
        Some((table, _)) => format!("[defaults.{table}], or in a [[cluster]] as {}", row.key),
        None => "[defaults] or a [[cluster]]".to_owned(),
    })
}

#[cfg(feature = "config")]
pub use parse::parse_config;

#[cfg(feature = "config")]
mod parse {
    use super::reader::{Errors, FromItem, Item, Place, Table, one_of};
    use super::{
        ArchiveAddress, ClusterConfig, Config, ConfigError, Exception, Identity, LayoutName, Origin, Policy,
        StateConfig, toml_file,
    };

    impl FromItem for LayoutName {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            one_of(item, place, LayoutName::NAMES)
        }
    }

    impl FromItem for ArchiveAddress {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            let line = item.line;
            let text = String::from_item(item, place)?;
            match text.parse() {
                Ok(address) => Some(address),
                Err(error) => place.refuse(line, error.to_string(), None),
            }
        }
    }

    /// Reads a `walproof.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with the file, by line: syntax, unknown keys (with the key that was probably meant),
    /// values that are not of their key's type, clusters and exceptions that lack a required key.
    pub fn parse_config(text: &str) -> Result<Config, Vec<ConfigError>> {
        let errors = Errors::default();
        let entries = toml_file::read(text, &errors);
        let config = read(Table::new("", 1, entries, &errors));
        let errors = errors.into_inner();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    fn read(mut file: Table<'_>) -> Config {
        let version = file.take::<u32>("version");
        if let Some((number, line)) = version
            && number != 1
        {
            file.errors.push(line, format!("version: {number} is not known to this version; write version = 1"), None);
        }
        let mut config = Config { version: 1, ..Config::default() };
        if let Some(mut defaults) = file.take_table("defaults") {
            let origin = |line| Origin::Defaults { line };
            config.defaults = Policy::read(&mut defaults, &origin);
            config.default_identity = Identity::read(&mut defaults, &origin);
            defaults.finish();
        }
        for mut table in file.take_tables("cluster") {
            let cluster = cluster(&mut table, &config.default_identity);
            table.finish();
            config.clusters.extend(cluster);
        }
        for mut table in file.take_tables("exception") {
            let exception = Exception::read(&mut table);
            table.finish();
            config.exceptions.extend(exception);
        }
        if let Some(mut state) = file.take_table("state") {
            let url = state.take("url").map(|(url, _)| url);
            let identity = Identity::read(&mut state, &|line| Origin::State { line });
            config.state = StateConfig { url, identity };
            state.finish();
        }
        if let Some(notifications) = file.take_item("notifications") {
            // Whatever a later version will understand: named in reports as not used.
            config.notifications = match notifications.value {
                super::reader::Value::Table(entries) => entries.into_iter().map(|(name, _)| name).collect(),
                _ => vec!["(list)".to_owned()],
            };
        }
        config.state.identity = config.state.identity.or(config.default_identity.clone());
        references(&config, &file);
        file.finish();
        config
    }

    fn cluster(table: &mut Table<'_>, defaults: &Identity) -> Option<ClusterConfig> {
        let line = table.line;
        let name = table.need::<String>("name");
        let archive = table.need::<ArchiveAddress>("archive");
        let layout = table.take::<LayoutName>("layout").map(|(layout, _)| layout);
        let label = name.as_ref().map_or_else(|| format!("at line {line}"), |(name, _)| name.clone());
        let origin = |line| Origin::Cluster { name: label.clone(), line };
        let files_pattern = table.take_table("files").and_then(|mut files| {
            let pattern = files.take::<String>("pattern");
            if let Some((text, line)) = &pattern
                && let Err(error) = crate::policy::files::FilePattern::parse(text)
            {
                files.errors.push(*line, format!("cluster.files.pattern: {error}"), None);
            }
            files.finish();
            pattern.map(|(text, _)| text)
        });
        if layout == Some(LayoutName::Files) && files_pattern.is_none() {
            table.errors.push(
                line,
                format!("cluster {label}: layout \"files\" needs files.pattern, as in \"{{tier}}/{{date}}.tar.zst\""),
                None,
            );
        }
        let promises = Policy::read(table, &origin);
        let identity = Identity::read(table, &origin).or(defaults.clone());
        let (name, name_line) = name?;
        if name.trim().is_empty() {
            table.errors.push(name_line, "cluster.name: a cluster needs a name", None);
        }
        Some(ClusterConfig { name, archive: archive?.0, layout, files_pattern, identity, promises, line })
    }

    /// Names that have to be unique or to exist.
    fn references(config: &Config, file: &Table<'_>) {
        for (at, cluster) in config.clusters.iter().enumerate() {
            if let Some(first) = config.clusters[..at].iter().find(|first| first.name == cluster.name) {
                let message = format!("cluster {}: the name was used before, at line {}", cluster.name, first.line);
                file.errors.push(cluster.line, message, None);
            }
        }
        let names: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        for exception in &config.exceptions {
            let known = config.clusters.iter().any(|cluster| {
                // Clusters of an address that ends in /* get their names when the bucket is listed.
                cluster.name == exception.cluster
                    || cluster.archive.each
                        && (exception.cluster.starts_with(cluster.name.split('*').next().unwrap_or("")))
            });
            if !known {
                let near = super::reader::nearest(&exception.cluster, &names).map(str::to_owned);
                let message = format!(
                    "exception.cluster: no cluster is called \"{}\"",
                    crate::policy::span::printable(&exception.cluster)
                );
                file.errors.push(exception.line, message, near);
            }
        }
    }
}

/// Reads any bytes as a configuration, and explains what was understood.
#[cfg(feature = "config")]
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    match parse_config(&String::from_utf8_lossy(bytes)) {
        Ok(config) => {
            let _ = (config.contradictions(), config.not_used());
            for cluster in &config.clusters {
                let _ = (cluster.explain(&config), cluster.instance("a/b").name);
            }
        }
        Err(errors) => assert!(errors.iter().all(|error| !error.to_string().is_empty())),
    }
}

#[cfg(all(test, feature = "config"))]
mod tests;
