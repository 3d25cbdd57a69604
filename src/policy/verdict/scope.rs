//! Which archives of the configuration lie in a bucket.

use crate::policy::config::{ArchiveAddress, ClusterConfig, Config, LayoutName, Policy, Scheme};
use crate::policy::files::FilePattern;
use crate::policy::inventory::BucketObjects;
use crate::policy::lifecycle::{Provider, RuleSet};
use crate::policy::plan::BucketChange;
use crate::policy::shape;

/// Whether a location is the archive itself or its second copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Archive,
    Copy,
}

/// One archive in one bucket.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Name of the cluster; `None` where no configuration names it.
    pub cluster: Option<String>,
    pub role: Role,
    /// What every key begins with, with its slash; empty for the whole bucket.
    pub root: String,
    pub layout: LayoutName,
    /// Whether the layout was told or found; otherwise wal-g is assumed.
    pub layout_known: bool,
    pub pattern: Option<FilePattern>,
    pub policy: Policy,
}

impl Scope {
    /// For messages.
    pub fn name(&self) -> &str {
        self.cluster.as_deref().unwrap_or("the archive")
    }
}

/// What the configuration says about a bucket.
pub(super) enum Coverage {
    /// These archives lie in it.
    Covered(Vec<Scope>),
    /// The configuration names other buckets only.
    NotCovered,
    /// Its name is known only after apply, or there is no configuration: judged without a promise.
    Unnamed(Vec<Scope>),
}

impl Coverage {
    pub fn scopes(&self) -> &[Scope] {
        match self {
            Coverage::Covered(scopes) | Coverage::Unnamed(scopes) => scopes,
            Coverage::NotCovered => &[],
        }
    }
}

pub(super) fn coverage(
    change: &BucketChange,
    objects: Option<&BucketObjects>,
    config: Option<&Config>,
    rules: [&RuleSet; 2],
) -> Coverage {
    let (Some(config), Some(bucket)) = (config, change.bucket.as_deref()) else {
        return Coverage::Unnamed(unnamed(objects));
    };
    let mut scopes = Vec::new();
    for cluster in &config.clusters {
        let policy = config.policy(cluster);
        if lies_in(&cluster.archive, change.provider, bucket) {
            add(&mut scopes, cluster, &cluster.archive, Role::Archive, &policy, objects, rules);
        }
        let copy = policy.copy.archive.get().and_then(|text| text.parse::<ArchiveAddress>().ok());
        if let Some(copy) = copy.filter(|copy| lies_in(copy, change.provider, bucket)) {
            add(&mut scopes, cluster, &copy, Role::Copy, &policy, objects, rules);
        }
    }
    if scopes.is_empty() { Coverage::NotCovered } else { Coverage::Covered(scopes) }
}

fn lies_in(address: &ArchiveAddress, provider: Provider, bucket: &str) -> bool {
    let fits = match provider {
        Provider::Gcs => address.scheme == Scheme::Gcs,
        _ => address.scheme == Scheme::S3,
    };
    fits && address.bucket == bucket
}

fn add(
    scopes: &mut Vec<Scope>,
    cluster: &ClusterConfig,
    address: &ArchiveAddress,
    role: Role,
    policy: &Policy,
    objects: Option<&BucketObjects>,
    rules: [&RuleSet; 2],
) {
    let mut push = |name: String, root: String| {
        let found = || {
            let roots = shape::roots(&objects?.table);
            roots.into_iter().find(|(known, _)| known.starts_with(&root)).map(|(_, layout)| layout)
        };
        let told = cluster.layout.or_else(found);
        scopes.push(Scope {
            cluster: Some(name),
            role,
            root,
            layout: told.unwrap_or(LayoutName::WalG),
            layout_known: told.is_some(),
            pattern: cluster.files_pattern.as_deref().and_then(|text| FilePattern::parse(text).ok()),
            policy: policy.clone(),
        });
    };
    if !address.each {
        push(cluster.name.clone(), address.key_prefix());
        return;
    }
    for name in instances(address, objects, rules) {
        let cluster = cluster.instance(&name);
        push(cluster.name, address.instance(&name).key_prefix());
    }
}

/// Archives behind `/*`: what the objects show, what rules name, and one that stands for any other.
fn instances(address: &ArchiveAddress, objects: Option<&BucketObjects>, rules: [&RuleSet; 2]) -> Vec<String> {
    const MAX: usize = 1000;
    let root = address.key_prefix();
    let mut names: Vec<String> = Vec::new();
    let mut add = |rest: &[u8]| {
        let name = rest.split(|byte| *byte == b'/').next().unwrap_or(b"");
        if let Ok(name) = std::str::from_utf8(name)
            && !name.is_empty()
            && names.len() < MAX
            && names.last().is_none_or(|last| last != name)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    };
    match objects {
        Some(objects) => (0..objects.table.len())
            .filter_map(|at| objects.table.key(at).strip_prefix(root.as_bytes()))
            .filter(|rest| rest.contains(&b'/'))
            .for_each(&mut add),
        None => {
            let prefixes = rules.iter().flat_map(|set| &set.rules).flat_map(|rule| &rule.filter.prefixes);
            prefixes.filter_map(|prefix| prefix.strip_prefix(root.as_bytes())).for_each(&mut add);
            add(b"any");
        }
    }
    names
}

/// Without a configuration: archives that the objects show, or the whole bucket.
fn unnamed(objects: Option<&BucketObjects>) -> Vec<Scope> {
    let scope = |root: String, layout: Option<LayoutName>| Scope {
        cluster: None,
        role: Role::Archive,
        root,
        layout: layout.unwrap_or(LayoutName::WalG),
        layout_known: layout.is_some(),
        pattern: None,
        policy: Policy::default(),
    };
    let found = objects.map_or_else(Vec::new, |objects| shape::roots(&objects.table));
    if found.is_empty() {
        return vec![scope(String::new(), None)];
    }
    found.into_iter().map(|(root, layout)| scope(root, Some(layout))).collect()
}
