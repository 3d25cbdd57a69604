//! `--rules`: what is known of buckets' lifecycle rules, from files.

use anyhow::Context;
use clap::Args;

use super::input;
use super::session::Session;
use crate::config::Place;
use crate::policy::lifecycle::{Provider, Versioning};
use crate::policy::outlook::BucketRules;
use crate::policy::plan::Plan;
use crate::store::{Address, Cloud};

/// Where a bucket's rules are told.
#[derive(Debug, Clone, Default, Args)]
pub struct RulesArgs {
    /// The bucket's lifecycle rules, as the cloud's own tool prints them (aws s3api get-bucket-lifecycle-configuration
    /// and get-bucket-versioning, gcloud storage buckets describe --format=json, mc ilm rule export), or a Terraform
    /// state or plan (repeatable)
    #[arg(long = "rules", value_name = "[BUCKET=]FILE", alias = "before")]
    pub files: Vec<String>,
}

impl RulesArgs {
    /// Reads all files.
    pub(super) fn read(&self) -> anyhow::Result<Vec<BucketRules>> {
        let mut found: Vec<BucketRules> = Vec::new();
        let mut versioned: Vec<(Option<String>, Versioning)> = Vec::new();
        for text in &self.files {
            let (bucket, path) = match text.split_once('=') {
                // A file may have an equals sign in its name.
                Some((bucket, path)) if !bucket.contains('/') && !std::path::Path::new(text).exists() => {
                    (Some(bucket), path)
                }
                _ => (None, text.as_str()),
            };
            let path = std::path::Path::new(path);
            let name = input::name(path);
            let bytes = input::read(path)?;
            if let Some(versioning) = BucketRules::read_versioning(&bytes) {
                versioned.push((bucket.map(str::to_owned), versioning));
                continue;
            }
            let read = BucketRules::read(&name, &bytes).map_err(|why| anyhow::anyhow!("{why}"));
            let read = read.with_context(|| format!("--rules {name}"))?;
            found.extend(read.into_iter().map(|rules| match bucket {
                Some(bucket) => rules.named(bucket),
                None => rules,
            }));
        }
        for (bucket, versioning) in versioned {
            let mut fits = found.iter_mut().filter(|rules| bucket.is_none() || rules.bucket == bucket);
            let Some(rules) = fits.next() else {
                anyhow::bail!("--rules: a file says only whether versioning is on; name the one with the rules, too");
            };
            anyhow::ensure!(fits.next().is_none(), "--rules: versioning of which bucket? write BUCKET=FILE");
            *rules = rules.clone().with_versioning(versioning);
        }
        Ok(found)
    }
}

impl RulesArgs {
    /// All files as one plan that says what is, for comparison with one that says what will be.
    pub(super) fn as_it_is(&self) -> anyhow::Result<Option<Plan>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let found = self.read()?;
        let unnamed = found.iter().filter(|rules| rules.bucket.is_none()).count();
        anyhow::ensure!(unnamed <= 1, NOT_SAID);
        Ok(Some(BucketRules::into_plan(found)))
    }
}

/// Of a file that could be about any of several buckets.
pub(super) const NOT_SAID: &str = "--rules: a file does not say which bucket it is about; write --rules BUCKET=FILE";

impl Session {
    /// The rules of a place's bucket, if any file says them.
    pub(super) fn bucket_rules(&self, place: &Place) -> anyhow::Result<Option<BucketRules>> {
        let (address, _) = &place.storages[0];
        let (bucket, cloud) = match address {
            Address::Bucket { bucket, cloud, .. } => (bucket, *cloud),
            Address::Directory(_) => {
                // A copy on disk: there can be only one bucket that it stands for.
                let [only] = self.buckets.as_slice() else { return Ok(None) };
                return Ok(Some(only.clone()));
            }
        };
        let named = self.buckets.iter().find(|rules| rules.bucket.as_deref() == Some(bucket));
        let unnamed = || self.buckets.iter().find(|rules| rules.bucket.is_none());
        let Some(rules) = named.or_else(unnamed) else { return Ok(None) };
        let fits = match cloud {
            Cloud::Gcs => rules.provider() == Provider::Gcs,
            Cloud::S3 => rules.provider() != Provider::Gcs,
            Cloud::Azure => false,
        };
        anyhow::ensure!(fits, "--rules {}: these are not rules for {address}", rules.source);
        Ok(Some(rules.clone().named(bucket)))
    }

    /// A file that does not name its bucket can be about one only.
    pub(super) fn check_rules(&self, places: &[Place]) -> anyhow::Result<()> {
        let unnamed = self.buckets.iter().filter(|rules| rules.bucket.is_none()).count();
        let buckets: std::collections::BTreeSet<String> = places
            .iter()
            .filter_map(|place| match &place.storages[0].0 {
                Address::Bucket { bucket, cloud, .. } => Some(format!("{cloud:?} {bucket}")),
                Address::Directory(_) => None,
            })
            .collect();
        if unnamed > 1 || unnamed == 1 && buckets.len() > 1 {
            anyhow::bail!(NOT_SAID);
        }
        Ok(())
    }
}
