//! What the configuration states about an archive that was found.

use std::sync::Arc;

use crate::catalog::{Archive, Recovery};
use crate::checks::{LivePosition, Promises};
use crate::model::Timestamp;
use crate::policy::config::ArchiveAddress;
use crate::policy::files::FilePattern;
use crate::policy::outlook::{BucketRules, Outlook, OutlookInput, tool_outlook};
use crate::policy::retention::Engine;
use crate::policy::{ClusterConfig, Config, Policy};
use crate::report::forecast::{ToolReport, tool_report};

/// What the configuration states about the archives below an address.
#[derive(Debug, Clone, Default)]
pub struct Stated {
    /// The whole file, where there is one.
    pub config: Option<Arc<Config>>,
    /// The cluster that the address was taken from.
    pub cluster: Option<ClusterConfig>,
    /// Where the live server is.
    pub live: Option<LivePosition>,
    /// For layout `files`, where no cluster declares it: what the keys below the address look like.
    pub files_pattern: Option<String>,
    /// The lifecycle rules of its bucket, where somebody says them.
    pub bucket: Option<Arc<BucketRules>>,
    /// Deletions of the backup tool's own to simulate.
    pub engines: Vec<Engine>,
}

/// What it states about one of them.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    config: Option<Arc<Config>>,
    cluster: Option<ClusterConfig>,
    policy: Option<Policy>,
    unnamed: Option<String>,
    live: Option<LivePosition>,
    bucket: Option<Arc<BucketRules>>,
    pattern: Option<FilePattern>,
    engines: Vec<Engine>,
}

impl Stated {
    /// The policy of an archive's cluster, where there is one.
    pub fn policy(&self, url: &str) -> Option<Policy> {
        self.of(url).policy
    }

    /// The cluster of an archive: the one it was opened as, else the one whose address it has.
    pub(super) fn of(&self, url: &str) -> Judged {
        let config = self.config.as_deref();
        let address: Option<ArchiveAddress> = url.parse().ok();
        let named = |cluster: &&ClusterConfig| address.as_ref().is_some_and(|address| is_at(&cluster.archive, address));
        let cluster = self.cluster.clone().or_else(|| {
            let found = config?.clusters.iter().find(named)?;
            let last = address.as_ref()?.prefix.rsplit('/').next().unwrap_or_default();
            Some(if found.archive.each { found.instance(last) } else { found.clone() })
        });
        let policy = config.zip(cluster.as_ref()).map(|(config, cluster)| config.policy(cluster));
        let unnamed = match (&cluster, config, &address) {
            (None, Some(config), Some(address)) => {
                let beside = |other: &&ClusterConfig| {
                    other.archive.scheme == address.scheme && other.archive.bucket == address.bucket
                };
                config
                    .clusters
                    .iter()
                    .filter(|_| !address.bucket.is_empty())
                    .find(beside)
                    .map(|other| other.name.clone())
            }
            _ => None,
        };
        let pattern =
            self.files_pattern.as_ref().or(cluster.as_ref().and_then(|cluster| cluster.files_pattern.as_ref()));
        let pattern = pattern.and_then(|text| FilePattern::parse(text).ok());
        let bucket = self.bucket.clone();
        Judged {
            config: self.config.clone(),
            cluster,
            policy,
            unnamed,
            live: self.live,
            bucket,
            pattern,
            engines: self.engines.clone(),
        }
    }
}

/// Whether a cluster's address is this archive's.
fn is_at(cluster: &ArchiveAddress, found: &ArchiveAddress) -> bool {
    let below = || found.prefix.strip_prefix(&cluster.key_prefix()).is_some_and(|rest| !rest.contains('/'));
    cluster.scheme == found.scheme
        && cluster.bucket == found.bucket
        && if cluster.each { below() } else { cluster.prefix == found.prefix }
}

impl Judged {
    pub fn promises(&self) -> Promises<'_> {
        Promises {
            policy: self.policy.as_ref().filter(|policy| !policy.promises_nothing()),
            cluster: self.cluster.as_ref().map(|cluster| cluster.name.as_str()),
            exceptions: self.config.as_ref().map(|config| config.exceptions.as_slice()),
            unnamed: self.unnamed.as_deref(),
            live: self.live,
        }
    }

    /// Its settings, also where nothing is promised.
    pub fn settings(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// What its bucket's rules do to an archive that begins at `root` in its bucket.
    pub fn outlook(&self, archive: &Archive, recovery: &Recovery, root: &[u8], as_of: Timestamp) -> Option<Outlook> {
        let promises = self.promises();
        Some(Outlook::of(OutlookInput {
            archive,
            recovery,
            bucket: self.bucket.as_deref()?,
            root,
            as_of,
            policy: promises.policy,
            cluster: promises.cluster,
            pattern: self.pattern.as_ref(),
            config: self.config.as_deref(),
        }))
    }

    /// What each of the tool's own deletions would do.
    pub fn tools(&self, archive: &Archive, recovery: &Recovery, as_of: Timestamp) -> Vec<ToolReport> {
        let newest = recovery.latest_window().and_then(|window| Some(window.to?.at_least));
        let policy = self.promises().policy;
        let one = |engine: &Engine| {
            tool_report(engine.to_string(), tool_outlook(archive, recovery, policy, engine, as_of), newest)
        };
        self.engines.iter().map(one).collect()
    }

    /// The keys that no rule judged which ran.
    pub fn not_checked(&self, ran: &[&str]) -> Option<Vec<String>> {
        let policy = self.promises().policy?;
        let mut lines = policy.not_checked(ran);
        lines.extend(self.config.iter().flat_map(|config| config.not_used()));
        Some(lines)
    }

    /// The name that exceptions use.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_ref().map(|cluster| cluster.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated() -> Stated {
        let text = "version = 1\n[defaults]\nrpo = \"15m\"\n[[cluster]]\nname = \"main\"\narchive = \"s3://b/prod/main\"\n\
                    [[cluster]]\nname = \"all/*\"\narchive = \"s3://b/pg/*\"\n";
        Stated { config: Some(Arc::new(crate::policy::parse_config(text).unwrap())), ..Stated::default() }
    }

    #[test]
    fn an_address_finds_its_cluster() {
        let stated = stated();
        assert_eq!(stated.of("s3://b/prod/main").cluster(), Some("main"));
        assert_eq!(stated.of("s3://b/pg/x").cluster(), Some("all/x"));
        assert!(stated.of("s3://b/prod/main").promises().policy.is_some());
        let other = stated.of("s3://b/prod/maintenance");
        assert_eq!((other.cluster(), other.promises().unnamed), (None, Some("main")));
        assert_eq!(stated.of("s3://c/prod/main").promises().unnamed, None);
        assert_eq!(stated.of("/srv/archive").promises().unnamed, None);
        assert!(Stated::default().of("s3://b/prod/main").promises().exceptions.is_none());
    }
}
