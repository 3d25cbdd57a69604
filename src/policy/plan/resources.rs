//! Which resource says what about which bucket.

use crate::policy::Severity;
use crate::policy::lifecycle::{Provider, Reading, Rule, Versioning};
use crate::policy::value::{Field, Node};

use super::model::{BucketChange, BucketSide, PlanProblem, ResourceRef, RulesState, Setting};
use super::terraform::{Change, Resource, provider};
use super::{aws, cloudformation, google};

/// Where a bucket is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Name(String),
    /// Its name will be known after apply: the resource that makes it, or that refers to it.
    Resource(String),
}

/// What one resource says about one bucket.
pub(super) struct Part<'r> {
    pub slot: usize,
    pub before: Option<&'r Node>,
    pub after: Option<&'r Node>,
    pub change: Change,
}

/// Gathers resources into buckets.
pub(super) struct Buckets<'r> {
    resources: &'r [Resource],
    places: Vec<(Provider, Place)>,
    pub(super) changes: Vec<BucketChange>,
    /// Owners of rules that will be there after apply, by bucket.
    owners: Vec<Vec<String>>,
    /// KMS keys named by a bucket's encryption.
    pub(super) keys: Vec<(usize, String)>,
    /// Live rules as a bucket's own resource mirrors them: they count where no other resource states any.
    mirrors: Vec<(usize, Node, Option<Node>)>,
    pub(super) problems: Vec<PlanProblem>,
}

const BUCKETS: [&str; 4] = ["aws_s3_bucket", "google_storage_bucket", "minio_s3_bucket", "awscc_s3_bucket"];

impl<'r> Buckets<'r> {
    pub fn new(resources: &'r [Resource]) -> Self {
        let mut buckets = Buckets {
            resources,
            places: Vec::new(),
            changes: Vec::new(),
            owners: Vec::new(),
            keys: Vec::new(),
            mirrors: Vec::new(),
            problems: Vec::new(),
        };
        // The buckets themselves first: other resources lean on them.
        resources.iter().filter(|resource| BUCKETS.contains(&resource.kind.as_str())).for_each(|resource| {
            buckets.parts(resource);
        });
        buckets
    }

    pub fn add(&mut self, resource: &'r Resource) {
        match resource.kind.as_str() {
            kind if BUCKETS.contains(&kind) => self.bucket(resource),
            "aws_s3_bucket_lifecycle_configuration" | "minio_s3_bucket_lifecycle" => {
                self.rules(resource, aws::lifecycle_configuration);
            }
            "minio_ilm_policy" => self.rules(resource, aws::minio_policy),
            kind if kind.starts_with("google_storage_bucket_lifecycle") => {
                self.rules(resource, |node| google::lifecycle(node.any(&["lifecycle_rule", "rule"])));
            }
            "aws_s3_bucket_versioning" | "minio_s3_bucket_versioning" => self.versioning(resource),
            "aws_s3_bucket_object_lock_configuration" => self.lock(resource),
            "aws_s3_bucket_replication_configuration" => self.replication(resource),
            "aws_s3_bucket_intelligent_tiering_configuration" => self.tiering(resource),
            "aws_s3_bucket_public_access_block" => self.public_access(resource),
            "aws_s3_bucket_server_side_encryption_configuration" => self.encryption(resource),
            "aws_kms_key" | "google_kms_crypto_key" => self.key(resource),
            _ => {}
        }
    }

    pub fn finish(mut self) -> (Vec<BucketChange>, Vec<PlanProblem>) {
        for (slot, before, after) in self.mirrors {
            // What the live bucket had when the plan was made: better than nothing for a new lifecycle resource.
            let change = &mut self.changes[slot];
            if matches!(change.before.rules, RulesState::NotStated) {
                change.before.rules = RulesState::Stated(before);
            }
            if let (RulesState::NotStated, Some(after)) = (&change.after.rules, after) {
                change.after.rules = RulesState::Stated(after);
            }
        }
        for (slot, owners) in self.owners.iter().enumerate().filter(|(_, owners)| owners.len() > 1) {
            let change = &mut self.changes[slot];
            change.problems.push(PlanProblem {
                code: "LFC016",
                severity: Severity::Error,
                address: owners[0].clone(),
                message: format!(
                    "{} resources own the lifecycle rules of {}: {}; each apply overwrites the others",
                    owners.len(),
                    change.name(),
                    owners.join(", ")
                ),
                advice: "keep all rules of a bucket in one resource".into(),
            });
        }
        (self.changes, self.problems)
    }

    /// The attribute that names the bucket.
    fn attribute(kind: &str) -> &'static str {
        match kind {
            "google_storage_bucket" => "name",
            "awscc_s3_bucket" => "bucket_name",
            _ => "bucket",
        }
    }

    fn named(resource: &Resource, side: &Node) -> Option<String> {
        let name = side.get(Self::attribute(&resource.kind)).text().or_else(|| side.get("bucket").text())?;
        // Some modules hand the ARN on.
        let name = name.strip_prefix("arn:aws:s3:::").unwrap_or(name);
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// The place of the after side: its name, or what it refers to.
    fn place_after(&self, resource: &Resource) -> Place {
        if let Some(name) = Self::named(resource, &resource.after) {
            return Place::Name(name);
        }
        // A bucket keeps its name when it is updated, whatever else is unknown.
        if resource.change != Change::Replace
            && let Some(name) = Self::named(resource, &resource.before)
        {
            return Place::Name(name);
        }
        if BUCKETS.contains(&resource.kind.as_str()) {
            return Place::Resource(resource.address.clone());
        }
        let attribute = Self::attribute(&resource.kind);
        let reference = resource.expressions.iter().find(|(path, _)| path == attribute).map(|(_, to)| to.as_str());
        match reference.and_then(|reference| self.referred(resource, reference)) {
            Some(bucket) => self.place_after(bucket),
            None => Place::Resource(resource.address.clone()),
        }
    }

    /// The bucket resource in the same module instance that an expression like `aws_s3_bucket.x[0].id` means.
    fn referred(&self, from: &Resource, reference: &str) -> Option<&'r Resource> {
        let mut parts = reference.split('.');
        let kind = parts.next()?;
        let name = parts.next()?.split('[').next()?;
        let mut found = self
            .resources
            .iter()
            .filter(|other| other.module == from.module && other.kind == kind && other.name == name)
            .filter(|other| BUCKETS.contains(&other.kind.as_str()));
        let first = found.next()?;
        let same = self.resources.iter().find(|other| {
            other.module == from.module && other.kind == kind && other.name == name && other.index == from.index
        });
        Some(same.unwrap_or(first))
    }

    fn slot(&mut self, provider: Provider, place: Place) -> usize {
        // MinIO's provider and AWS's can both manage one bucket name, on different servers.
        if let Some(slot) = self.places.iter().position(|known| *known == (provider, place.clone())) {
            return slot;
        }
        let (name, label) = match &place {
            Place::Name(name) => (Some(name.clone()), name.clone()),
            Place::Resource(address) => (None, address.clone()),
        };
        self.places.push((provider, place));
        self.changes.push(BucketChange::new(provider, name, label));
        self.owners.push(Vec::new());
        self.changes.len() - 1
    }

    /// The sides of a resource by bucket: a replaced resource may leave one bucket and go to another.
    pub(super) fn parts(&mut self, resource: &'r Resource) -> Vec<Part<'r>> {
        let provider = provider(&resource.kind);
        let had = !resource.before.is_absent();
        let will = !resource.after.is_absent();
        let old = Self::named(resource, &resource.before).map(Place::Name);
        if !will {
            let Some(old) = old.filter(|_| had) else { return Vec::new() };
            let slot = self.slot(provider, old);
            // Forgotten resources stay as they are; only nobody manages them any more.
            let after = (resource.change == Change::Forget).then_some(&resource.before);
            return vec![Part { slot, before: Some(&resource.before), after, change: resource.change }];
        }
        let new = self.place_after(resource);
        match old.filter(|old| *old != new) {
            Some(old) if had => {
                let (old, new) = (self.slot(provider, old), self.slot(provider, new));
                vec![
                    Part { slot: old, before: Some(&resource.before), after: None, change: Change::Delete },
                    Part { slot: new, before: None, after: Some(&resource.after), change: Change::Create },
                ]
            }
            _ => {
                let slot = self.slot(provider, new);
                let before = had.then_some(&resource.before);
                vec![Part { slot, before, after: Some(&resource.after), change: resource.change }]
            }
        }
    }

    pub(super) fn problem(
        &mut self,
        slot: usize,
        code: &'static str,
        severity: Severity,
        resource: &Resource,
        text: [String; 2],
    ) {
        let [message, advice] = text;
        let address = resource.address.clone();
        self.changes[slot].problems.push(PlanProblem { code, severity, address, message, advice });
    }

    fn rules(&mut self, resource: &'r Resource, read: impl Fn(&Node) -> Node) {
        for part in self.parts(resource) {
            let change = &mut self.changes[part.slot];
            if let Some(before) = part.before {
                state(&mut change.before, read(before));
            }
            match part.after {
                Some(after) => {
                    state(&mut change.after, read(after));
                    if part.change != Change::Forget {
                        self.owners[part.slot].push(resource.address.clone());
                    }
                }
                // The provider takes all rules off the bucket.
                None => state(&mut change.after, Node::map([])),
            }
            change.rules_owner =
                Some(ResourceRef { address: resource.address.clone(), action: part.change.name().to_owned() });
            change.rules_sensitive |= resource.sensitive;
            change.expressions.extend(resource.expressions.iter().cloned());
        }
    }

    fn versioning(&mut self, resource: &'r Resource) {
        for part in self.parts(resource) {
            let change = &mut self.changes[part.slot];
            if let Some(before) = part.before {
                change.before.versioning = aws::versioning(before);
            }
            change.after.versioning = match part.after {
                Some(after) => aws::versioning(after),
                // Taking the resource away suspends; it never returns to "never enabled".
                None if change.before.versioning == Setting::Known(Versioning::Disabled) => {
                    Setting::Known(Versioning::Disabled)
                }
                None => Setting::Known(Versioning::Suspended),
            };
            change.versioning_owner =
                Some(ResourceRef { address: resource.address.clone(), action: part.change.name().to_owned() });
        }
    }

    fn tiering(&mut self, resource: &'r Resource) {
        for part in self.parts(resource) {
            let change = &mut self.changes[part.slot];
            change.before.archive_tiers |= part.before.is_some_and(aws::has_archive_tiers);
            change.after.archive_tiers |= part.after.is_some_and(aws::has_archive_tiers);
        }
    }

    fn bucket(&mut self, resource: &'r Resource) {
        for part in self.parts(resource) {
            let was_enabled = part.before.is_some_and(|before| {
                matches!(self.settings(resource, before, false).versioning, Setting::Known(Versioning::Enabled))
            });
            if let Some(before) = part.before {
                let side = self.settings(resource, before, false);
                merge(&mut self.changes[part.slot].before, side);
            }
            if let Some(after) = part.after {
                let mut side = self.settings(resource, after, was_enabled);
                if let (Setting::NotStated, Provider::Gcs) = (&side.soft_delete, self.changes[part.slot].provider) {
                    side.soft_delete = self.changes[part.slot].before.soft_delete.clone();
                }
                merge(&mut self.changes[part.slot].after, side);
            }
            self.inline_rules(resource, &part);
            self.destroyed(resource, &part);
            if resource.kind == "google_storage_bucket" {
                self.google_guards(resource, &part);
            }
        }
    }

    /// What a bucket's own resource says of versioning, locks and destruction.
    fn settings(&self, resource: &Resource, node: &Node, was_enabled: bool) -> BucketSide {
        let flag = |name: &str| match node.get(name).as_bool() {
            Field::Known(value) => Setting::Known(value),
            Field::Unknown(why) => Setting::Unknown(why),
            Field::Absent => Setting::NotStated,
        };
        let mut side = BucketSide { force_destroy: flag("force_destroy"), ..BucketSide::default() };
        match resource.kind.as_str() {
            "google_storage_bucket" => {
                side.versioning = google::versioning(node).or(Setting::Known(Versioning::Disabled));
                side.retention = google::retention(node);
                side.soft_delete = google::soft_delete(node);
            }
            "awscc_s3_bucket" => side = cloudformation::settings(&cloudformation::pascal(node)),
            _ => {
                // With newer providers these only mirror what other resources do; unknown mirrors say nothing.
                let configured = |name: &str| {
                    resource.configured.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
                };
                side.versioning = match aws::legacy_versioning(node, was_enabled) {
                    Setting::Unknown(_) if !configured("versioning") => Setting::NotStated,
                    found => found,
                };
                if let Node::Map(_) = node.get("object_lock_configuration").block() {
                    side.lock = aws::lock(node.get("object_lock_configuration").block());
                }
            }
        }
        side
    }

    /// Rules written inside the bucket's own resource, or mirrored there from the live bucket.
    fn inline_rules(&mut self, resource: &'r Resource, part: &Part<'r>) {
        let (attribute, read): (&str, fn(&Node) -> Node) = match resource.kind.as_str() {
            "google_storage_bucket" => ("lifecycle_rule", google::lifecycle),
            "awscc_s3_bucket" => {
                ("lifecycle_configuration", |node| cloudformation::rules(&cloudformation::pascal(node)))
            }
            "aws_s3_bucket" => ("lifecycle_rule", aws::legacy_rules),
            _ => return,
        };
        let side = |node: Option<&'r Node>| node.map_or(&Node::Absent, |node| node.get(attribute));
        let (before, after) = (side(part.before), side(part.after));
        let empty = |node: &Node| node.is_absent() || matches!(node, Node::List(items) if items.is_empty());
        let change = &mut self.changes[part.slot];
        // Google's and awscc's buckets always own their rules; an AWS bucket does if its configuration has such blocks
        // (without a configuration to look at: if the plan changes them).
        let owns = resource.kind != "aws_s3_bucket"
            || match &resource.configured {
                Some(names) => names.iter().any(|name| name == attribute),
                None => !after.is_unknown() && before != after && !(empty(before) && empty(after)),
            };
        if !owns {
            if !empty(before) {
                let after = part.after.filter(|_| !after.is_unknown()).map(|_| read(after));
                self.mirrors.push((part.slot, read(before), after));
            }
            return;
        }
        if part.before.is_some() {
            state(&mut change.before, read(before));
        }
        if part.after.is_some() {
            state(&mut change.after, read(after));
            if !empty(after) {
                self.owners[part.slot].push(resource.address.clone());
            }
            let change = &mut self.changes[part.slot];
            change.rules_owner =
                Some(ResourceRef { address: resource.address.clone(), action: part.change.name().to_owned() });
            change.expressions.extend(resource.expressions.iter().cloned());
            change.rules_sensitive |= resource.sensitive;
        }
    }

    /// What a refresh found to differ from the state: rules changed by hand.
    pub fn drifted(&mut self, resource: &Resource) {
        let read: fn(&Node) -> Node = match resource.kind.as_str() {
            "aws_s3_bucket_lifecycle_configuration" | "minio_s3_bucket_lifecycle" => aws::lifecycle_configuration,
            "minio_ilm_policy" => aws::minio_policy,
            "google_storage_bucket" => |node| google::lifecycle(node.get("lifecycle_rule")),
            _ => return,
        };
        let Some(name) = Self::named(resource, &resource.before) else { return };
        let provider = provider(&resource.kind);
        let slot = self.slot(provider, Place::Name(name.clone()));
        let change = &self.changes[slot];
        let effect = |node: &Node| {
            let side = BucketSide { rules: RulesState::Stated(node.clone()), ..BucketSide::default() };
            effects(&change.decode(&side, Reading::Worst).rules.rules)
        };
        if effect(&read(&resource.before)) != effect(&read(&resource.after)) {
            let message = format!(
                "the live lifecycle rules of {name} differ from the last applied ones: they were changed outside the plan's \
                 configuration"
            );
            let advice = "find out who changed them before applying: the plan overwrites that change".to_owned();
            self.problem(slot, "LFC009", Severity::Error, resource, [message, advice]);
        }
    }
}

/// Rules by what they do: without names, in any order.
fn effects(rules: &[Rule]) -> Vec<String> {
    let mut all: Vec<String> =
        rules.iter().filter(|rule| rule.enabled).map(|rule| format!("{:?} {:?}", rule.filter, rule.actions)).collect();
    all.sort();
    all
}

/// States the rules of a side. Where two resources do, both sets count: either may be the last to be applied.
fn state(side: &mut BucketSide, rules: Node) {
    let key = if rules.get("rule").is_absent() { "Rules" } else { "rule" };
    side.rules = match std::mem::take(&mut side.rules) {
        RulesState::Stated(earlier) if !earlier.get(key).items().is_empty() => {
            let (a, b) = (earlier.get(key), rules.get(key));
            let all = match (a, b) {
                (Node::Unknown(_), _) => a.clone(),
                (_, Node::Unknown(_)) => b.clone(),
                _ => Node::List(a.items().iter().chain(b.items()).cloned().collect()),
            };
            let minimum = rules.get("TransitionDefaultMinimumObjectSize").clone();
            RulesState::Stated(Node::map([(key, all), ("TransitionDefaultMinimumObjectSize", minimum)]))
        }
        _ => RulesState::Stated(rules),
    };
}

/// Fills in what other resources have not stated.
fn merge(side: &mut BucketSide, found: BucketSide) {
    let taken = std::mem::take(side);
    *side = BucketSide {
        rules: taken.rules,
        versioning: taken.versioning.or(found.versioning),
        lock: taken.lock.or(found.lock),
        retention: taken.retention.or(found.retention),
        soft_delete: taken.soft_delete.or(found.soft_delete),
        force_destroy: taken.force_destroy.or(found.force_destroy),
        archive_tiers: taken.archive_tiers || found.archive_tiers,
    };
}
