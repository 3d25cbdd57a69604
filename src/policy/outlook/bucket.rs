//! What is known of a bucket's rules, from files that its owner has.

use serde::Serialize;

use crate::policy::Span;
use crate::policy::lifecycle::{BucketSettings, Provider, Reading, RuleRef, RuleSet, UnknownValue, Versioning};
use crate::policy::plan::{BucketChange, BucketSide, Plan, PlanSource, RulesState, Setting, read_plan};

/// The lifecycle rules of one bucket as they are, with what decides what a deletion means.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketRules {
    /// Where this was read, for reports.
    pub source: String,
    /// Name of the bucket, where the file says it.
    pub bucket: Option<String>,
    /// The rules; where something in them is not known, the worst that it can be.
    pub rules: RuleSet,
    /// Versioning, where the file says it.
    pub versioning: Option<Versioning>,
    /// Values that had to be assumed.
    pub unknown: Vec<UnknownValue>,
    /// The bucket as the verdicts on changes see it: nothing before, all this after.
    pub(crate) change: BucketChange,
}

impl BucketRules {
    /// Reads what the clouds' own tools print (S3 and GCS, JSON and XML), a Terraform plan or state, a CloudFormation
    /// template, a Pulumi preview: every bucket in it whose rules it states. Of a plan, the side before it is applied.
    ///
    /// # Errors
    /// Why nothing can be read from it, with the command that prints the right file.
    pub fn read(source: &str, bytes: &[u8]) -> Result<Vec<BucketRules>, String> {
        let plan = read_plan(bytes).map_err(|refusal| refusal.to_string())?;
        let mut found = Vec::new();
        for change in &plan.buckets {
            if let Some(rules) = of_change(source, &plan, change)? {
                found.push(rules);
            }
        }
        if found.is_empty() {
            return Err(format!("the {} says nothing about the lifecycle rules of a bucket", plan.source.name()));
        }
        Ok(found)
    }

    /// What `aws s3api get-bucket-versioning` prints, if the text is that.
    pub fn read_versioning(bytes: &[u8]) -> Option<Versioning> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let members = value.as_object()?;
        if members.keys().any(|name| !matches!(name.as_str(), "Status" | "MFADelete" | "MfaDelete")) {
            return None;
        }
        Versioning::parse(members.get("Status")?.as_str()?)
    }

    /// The bucket with versioning as another file says.
    #[must_use]
    pub fn with_versioning(mut self, versioning: Versioning) -> Self {
        self.versioning = Some(versioning);
        self.change.after.versioning = Setting::Known(versioning);
        self
    }

    /// Several buckets as they are, as a plan without a change.
    pub fn into_plan(found: Vec<BucketRules>) -> Plan {
        Plan::new(PlanSource::Rules, found.into_iter().map(|rules| rules.change).collect())
    }

    /// Whose rules these are.
    pub fn provider(&self) -> Provider {
        self.rules.provider
    }

    /// Whether old versions are kept for certain.
    pub fn keeps_versions(&self) -> bool {
        self.versioning == Some(Versioning::Enabled)
    }

    /// How long deleted objects can be taken back, where the file says it (GCS).
    pub fn soft_delete(&self) -> Option<Span> {
        self.change.after.soft_delete.known().copied()
    }

    /// The same rules for a bucket whose name the file does not say.
    #[must_use]
    pub fn named(mut self, bucket: &str) -> Self {
        self.bucket.get_or_insert_with(|| bucket.to_owned());
        self.change.bucket.get_or_insert_with(|| bucket.to_owned());
        self
    }

    /// The rules in words, by name; what a file calls sensitive is not shown.
    pub fn describe(&self) -> Vec<String> {
        let numbered = self.rules.rules.iter().zip(0u32..);
        numbered
            .map(|(rule, number)| {
                let what = match self.change.rules_sensitive {
                    true => "(marked as sensitive)".to_owned(),
                    false => crate::policy::verdict::describe_rule(rule),
                };
                let off = if rule.enabled { "" } else { " (disabled)" };
                format!("{}{off}: {what}", self.rules.name(RuleRef(number)))
            })
            .collect()
    }

    /// Settings for a simulation; what is not known is taken as not kept.
    pub(crate) fn settings(&self, from: Option<crate::model::Timestamp>) -> BucketSettings {
        let after = &self.change.after;
        let some = |setting: &Setting<Span>| setting.known().copied().filter(|span| *span > Span::ZERO);
        BucketSettings {
            versioning: self.versioning.unwrap_or(Versioning::Disabled),
            rules_effective: from,
            retention: some(&after.retention),
            soft_delete: some(&after.soft_delete),
        }
    }
}

fn of_change(source: &str, plan: &Plan, change: &BucketChange) -> Result<Option<BucketRules>, String> {
    let mut change = change.clone();
    if plan.source.has_before() {
        // Problems are about the change, not about what is.
        change.problems.clear();
        change.after = std::mem::take(&mut change.before);
    }
    change.before = BucketSide::default();
    if change.after.rules == RulesState::NotStated {
        return Ok(None);
    }
    let decoded = change.decode(&change.after, Reading::Worst);
    if let Some(why) = decoded.undecodable {
        return Err(format!("{}: {why}", change.name()));
    }
    Ok(Some(BucketRules {
        source: format!("{source} ({})", plan.source.name()),
        bucket: change.bucket.clone(),
        rules: decoded.rules,
        versioning: change.after.versioning.known().copied(),
        unknown: decoded.unknown,
        change,
    }))
}

/// How an object stops being of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// Its bytes go.
    Deleted,
    /// It is hidden behind a delete marker or a newer version.
    Hidden,
    /// It moves to a class that GET refuses.
    Archived,
}

impl EndKind {
    /// What happens to it, in one word.
    pub fn verb(self) -> &'static str {
        match self {
            EndKind::Deleted => "expires",
            EndKind::Hidden => "is hidden",
            EndKind::Archived => "is archived",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_clouds_own_tools_print() {
        let text =
            br#"{"Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}]}"#;
        let [rules] = &BucketRules::read("rules.json", text).unwrap()[..] else { panic!("one bucket") };
        assert_eq!((rules.rules.rules.len(), rules.versioning, rules.bucket.as_deref()), (1, None, None));
        assert_eq!(rules.source, "rules.json (lifecycle rules)");
        assert!(rules.clone().with_versioning(Versioning::Enabled).keeps_versions());
        let gcs =
            br#"{"name": "b", "kind": "storage#bucket", "versioning": {"enabled": true}, "lifecycle": {"rule": []}}"#;
        let [rules] = &BucketRules::read("x", gcs).unwrap()[..] else { panic!("one bucket") };
        assert_eq!(
            (rules.bucket.as_deref(), rules.keeps_versions(), rules.provider()),
            (Some("b"), true, Provider::Gcs)
        );
        assert_eq!(BucketRules::read_versioning(br#"{"Status": "Suspended"}"#), Some(Versioning::Suspended));
        assert_eq!(BucketRules::read_versioning(text), None);
        assert!(BucketRules::read("x", b"hello").is_err());
    }
}
