use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::Timestamp;
use crate::policy::lifecycle::{Action, Rule, RuleRef, RuleSet, Simulator, When};
use crate::policy::plan::BucketChange;
use crate::policy::{PlanFinding, Severity};

use super::lives::Lives;
use super::scope::Scope;

/// Everything known about one bucket under one reading.
pub(super) struct Context<'a> {
    pub change: &'a BucketChange,
    pub before: &'a Simulator,
    pub after: &'a Simulator,
    pub apply_at: Timestamp,
    /// There is no before side: everything counts, not only what becomes worse.
    pub as_is: bool,
    pub scopes: &'a [Scope],
    /// For each scope, the lives of fresh objects.
    pub lives: Vec<Vec<Lives>>,
    /// The configuration does not name this bucket, or there is none.
    pub unnamed: bool,
    /// What it is that is judged, where no rule can be named: `this change`.
    pub cause: &'static str,
}

impl Context<'_> {
    /// The resource that decides about rules.
    pub fn address(&self) -> String {
        self.change.rules_owner.as_ref().map_or_else(|| self.change.label.clone(), |owner| owner.address.clone())
    }

    pub fn before_rules(&self) -> &RuleSet {
        self.before.rules()
    }

    pub fn after_rules(&self) -> &RuleSet {
        self.after.rules()
    }

    /// Active rules of the after side that the before side did not have in the same words.
    pub fn new_rules(&self) -> impl Iterator<Item = (RuleRef, &Rule)> {
        let before = &self.before_rules().rules;
        let numbered = self.after_rules().rules.iter().zip(0u32..);
        numbered
            .filter(|(rule, _)| rule.enabled)
            .filter(move |(rule, _)| {
                !before.iter().any(|old| {
                    old.enabled && old.filter == rule.filter && old.actions == rule.actions && old.doubts == rule.doubts
                })
            })
            .map(|(rule, number)| (RuleRef(number), rule))
    }

    /// A finding with the facts that each of them has.
    pub fn finding(
        &self,
        code: &'static str,
        severity: Severity,
        scope: Option<&Scope>,
        rules: &[RuleRef],
        [message, advice]: [String; 2],
    ) -> PlanFinding {
        let names: Vec<String> = rules.iter().map(|rule| self.after_rules().name(*rule)).collect();
        let address = self.address();
        let subject = match names.as_slice() {
            [] => address.clone(),
            [one] => format!("{address} rule \"{one}\""),
            many => format!("{address} rules {}", many.join(", ")),
        };
        let mut facts: BTreeMap<String, Value> = BTreeMap::new();
        facts.insert("resource_address".into(), json!(address));
        facts.insert("bucket".into(), json!(self.change.name()));
        facts.insert("rule_ids".into(), json!(names));
        PlanFinding {
            code,
            severity,
            subject,
            message,
            facts,
            objects: Vec::new(),
            advice,
            cluster: scope.and_then(|scope| scope.cluster.clone()),
            waived: None,
        }
    }

    /// What a rule matches and does, for people; nothing of it where the plan calls it sensitive.
    pub fn describe(&self, rule: &Rule) -> String {
        if self.change.rules_sensitive {
            return "(marked as sensitive)".into();
        }
        describe_rule(rule)
    }
}

/// What a rule matches and does, for people.
pub(crate) fn describe_rule(rule: &Rule) -> String {
    let actions: Vec<String> = rule.actions.iter().map(describe_action).collect();
    let actions = if actions.is_empty() { "nothing".to_owned() } else { actions.join(", ") };
    format!("{}, {actions}", rule.filter)
}

fn describe_action(action: &Action) -> String {
    let timed = |when: &When| match when {
        When::Days(days) => format!("after {days} d"),
        When::Date(date) => format!("from {} on", date.to_zoned(jiff::tz::TimeZone::UTC).date()),
    };
    match action {
        Action::Expire { when, .. } => format!("expires {}", timed(when)),
        Action::RemoveLoneMarker => "removes lone delete markers".into(),
        Action::ExpireBehindMarker { days } => format!("deletes all versions {days} d after a delete marker"),
        Action::Transition { when, name, .. } => format!("moves to {name} {}", timed(when)),
        Action::NoncurrentExpire { days, newer: 0 } => format!("deletes noncurrent versions after {days} d"),
        Action::NoncurrentExpire { days, newer } => {
            format!("deletes noncurrent versions after {days} d, keeping {newer}")
        }
        Action::NoncurrentTransition { days, name, .. } => {
            format!("moves noncurrent versions to {name} after {days} d")
        }
        Action::AbortUploads { days } => format!("aborts uploads after {days} d"),
        Action::GcsDelete(when) => match when.age_days {
            Some(days) => format!("deletes at age {days} d"),
            None => "deletes".into(),
        },
        Action::GcsSetClass { class, when } => match when.age_days {
            Some(days) => format!("moves to {} at age {days} d", class.name()),
            None => format!("moves to {}", class.name()),
        },
    }
}

/// Whether an action can end what is live; noncurrent clean-up cannot.
pub(super) fn ends_live(action: &Action) -> bool {
    match action {
        Action::Expire { .. } => true,
        Action::GcsDelete(when) => {
            when.is_live != Some(false)
                && when.newer_versions.unwrap_or(0) == 0
                && when.noncurrent_days.is_none()
                && when.noncurrent_before.is_none()
        }
        _ => false,
    }
}
