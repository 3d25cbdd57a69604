use serde::Serialize;

use crate::model::Timestamp;
use crate::policy::config::LockMode;
use crate::policy::lifecycle::{Decoded, Provider, Reading, Versioning, decode_gcs, decode_s3};
use crate::policy::value::Node;
use crate::policy::{Severity, Span};

/// A planned change of buckets, from whatever tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What kind of file it was.
    pub source: PlanSource,
    /// When the plan was made, where the file says so.
    pub made_at: Option<Timestamp>,
    /// The buckets it is about.
    pub buckets: Vec<BucketChange>,
    /// What is wrong with it beyond any single bucket: encryption keys.
    pub problems: Vec<PlanProblem>,
    /// Why it covers only a part of the configuration, if it does.
    pub partial: Option<String>,
    /// Texts that the tool marked as sensitive: never shown.
    pub sensitive: Vec<String>,
    /// The before side comes from elsewhere: see [`Plan::with_before`].
    pub before_given: bool,
}

impl Plan {
    pub(crate) fn new(source: PlanSource, buckets: Vec<BucketChange>) -> Self {
        Plan {
            source,
            made_at: None,
            buckets,
            problems: Vec::new(),
            partial: None,
            sensitive: Vec::new(),
            before_given: false,
        }
    }

    /// Whether it is known what was before.
    pub fn has_before(&self) -> bool {
        self.before_given || self.source.has_before()
    }

    /// Takes the before side of each bucket from another file or from the live bucket: what that one says will be, is
    /// what this one changes. Buckets are paired by name; a file about one unnamed bucket fits the only bucket here.
    #[must_use]
    pub fn with_before(mut self, before: &Plan) -> Self {
        let only = self.buckets.len() == 1;
        for change in &mut self.buckets {
            let named = before.buckets.iter().find(|other| other.bucket.is_some() && other.bucket == change.bucket);
            let unnamed = before.buckets.first().filter(|other| {
                only && before.buckets.len() == 1 && (other.bucket.is_none() || change.bucket.is_none())
            });
            if let Some(other) = named.or(unnamed) {
                change.before = other.after.clone();
            }
        }
        self.before_given = true;
        self
    }

    /// Names the bucket of a file that holds rules only.
    pub fn name_bucket(&mut self, name: &str) {
        for change in self.buckets.iter_mut().filter(|_| self.source == PlanSource::Rules) {
            change.bucket.get_or_insert_with(|| name.to_owned());
        }
    }
}

/// Kinds of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PlanSource {
    /// `terraform show -json plan.bin`
    TerraformPlan,
    /// `terraform show -json`: what is, without a change.
    TerraformState,
    /// A CloudFormation template: what will be, without what was.
    CloudFormation,
    /// A CloudFormation change set.
    ChangeSet,
    /// `pulumi preview --json`
    Pulumi,
    /// A bucket's rules alone, as a provider's own tool prints them.
    Rules,
}

impl PlanSource {
    /// Whether it says what was before.
    pub fn has_before(self) -> bool {
        matches!(self, PlanSource::TerraformPlan | PlanSource::ChangeSet | PlanSource::Pulumi)
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            PlanSource::TerraformPlan => "Terraform plan",
            PlanSource::TerraformState => "Terraform state",
            PlanSource::CloudFormation => "CloudFormation template",
            PlanSource::ChangeSet => "CloudFormation change set",
            PlanSource::Pulumi => "Pulumi preview",
            PlanSource::Rules => "lifecycle rules",
        }
    }
}

/// Why a file is not read as a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}{}", .run.as_ref().map_or(String::new(), |run| format!("; run: {run}")))]
pub struct PlanRefusal {
    /// What is wrong.
    pub message: String,
    /// The command that makes the right file.
    pub run: Option<String>,
}

impl PlanRefusal {
    pub(crate) fn new(message: impl Into<String>, run: Option<&str>) -> Self {
        PlanRefusal { message: message.into(), run: run.map(str::to_owned) }
    }
}

/// Something a plan does that needs no object to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanProblem {
    /// Code of the rule.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The resource that does it.
    pub address: String,
    /// What it does.
    pub message: String,
    /// What to do instead.
    pub advice: String,
}

/// A value of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Setting<T> {
    /// The plan does not manage it.
    #[default]
    NotStated,
    /// As stated.
    Known(T),
    /// Known only after it is applied.
    Unknown(String),
}

impl<T> Setting<T> {
    /// The value, if the plan states it.
    pub fn known(&self) -> Option<&T> {
        match self {
            Setting::Known(value) => Some(value),
            _ => None,
        }
    }

    /// This one unless the plan does not state it.
    #[must_use]
    pub fn or(self, other: Setting<T>) -> Setting<T> {
        if matches!(self, Setting::NotStated) { other } else { self }
    }
}

/// Default retention of object lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LockDefault {
    /// Mode; GCS retention policies count as governance until they are locked.
    pub mode: LockMode,
    /// Length.
    pub span: Span,
}

/// Lifecycle rules of one side of a change.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RulesState {
    /// The plan does not say: the bucket may have rules made elsewhere.
    #[default]
    NotStated,
    /// In the shape of the provider's API.
    Stated(Node),
}

/// One side of a change: a bucket as it was or will be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BucketSide {
    /// Lifecycle rules.
    pub rules: RulesState,
    /// Versioning.
    pub versioning: Setting<Versioning>,
    /// Default object lock; `None` where it is stated that there is none.
    pub lock: Setting<Option<LockDefault>>,
    /// GCS retention policy.
    pub retention: Setting<Span>,
    /// GCS soft delete.
    pub soft_delete: Setting<Span>,
    /// Whether the bucket can be destroyed with its content.
    pub force_destroy: Setting<bool>,
    /// Intelligent tiering with tiers that need a restore.
    pub archive_tiers: bool,
}

/// A resource of the plan that is about a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceRef {
    /// As the tool writes it; never taken apart.
    pub address: String,
    /// `update`, `create`, `no-op` and so on.
    pub action: String,
}

/// What a plan does to one bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketChange {
    /// Whose bucket.
    pub provider: Provider,
    /// Its name; `None` while it is known only after the plan is applied.
    pub bucket: Option<String>,
    /// The bucket's resource, for buckets without a known name.
    pub label: String,
    /// The resource that owns the lifecycle rules, if the plan has one.
    pub rules_owner: Option<ResourceRef>,
    /// The resource that owns versioning, if the plan has one.
    pub versioning_owner: Option<ResourceRef>,
    /// As it was.
    pub before: BucketSide,
    /// As it will be.
    pub after: BucketSide,
    /// Expressions behind unknown values, by a part of their path: `days` from `terraform_data.days.output`.
    pub expressions: Vec<(String, String)>,
    /// Problems that need no objects.
    pub problems: Vec<PlanProblem>,
    /// Something in the rules is marked as sensitive: they are judged but not shown.
    pub rules_sensitive: bool,
}

impl BucketChange {
    pub(crate) fn new(provider: Provider, bucket: Option<String>, label: String) -> Self {
        BucketChange {
            provider,
            bucket,
            label,
            rules_owner: None,
            versioning_owner: None,
            before: BucketSide::default(),
            after: BucketSide::default(),
            expressions: Vec::new(),
            problems: Vec::new(),
            rules_sensitive: false,
        }
    }

    /// Its name, or the resource that will make it.
    pub fn name(&self) -> &str {
        self.bucket.as_deref().unwrap_or(&self.label)
    }

    /// The rules of one side under a reading; rules that are not stated are none.
    pub fn decode(&self, side: &BucketSide, reading: Reading) -> Decoded {
        let none = Node::map([]);
        let rules = match &side.rules {
            RulesState::NotStated => &none,
            RulesState::Stated(rules) => rules,
        };
        match self.provider {
            Provider::Gcs => decode_gcs(rules, reading),
            provider => decode_s3(rules, provider, reading),
        }
    }
}
