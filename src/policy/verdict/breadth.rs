//! Rules judged by their own words: too broad, by date, ambiguous, without a match.

use serde_json::json;

use crate::policy::lifecycle::{Action, ObjectTable, Rule, When};
use crate::policy::{PlanFinding, Severity};

use super::context::{Context, ends_live};
use super::lives::Part;
use super::scope::Scope;

pub(super) fn judge(cx: &Context<'_>, table: Option<&ObjectTable>, out: &mut Vec<PlanFinding>) {
    for (number, rule) in cx.new_rules() {
        too_broad(cx, number, rule, out);
        by_date(cx, number, rule, out);
        ambiguous(cx, number, rule, out);
        if let Some(table) = table {
            matches_nothing(cx, number, rule, table, out);
        }
    }
    uploads_not_aborted(cx, out);
}

type Number = crate::policy::lifecycle::RuleRef;

/// Kinds of objects of each archive that a rule reaches, tags aside.
fn reached<'c>(cx: &'c Context<'_>, rule: &Rule) -> Vec<(&'c Scope, Vec<Part>)> {
    let of = |at: usize| {
        let hit = cx.lives[at].iter().map(|lives| &lives.sample);
        hit.filter(|sample| rule.filter.key_and_size(&sample.key, sample.size)).map(|sample| sample.part).collect()
    };
    let all = cx.scopes.iter().enumerate().map(|(at, scope)| (scope, of(at)));
    all.filter(|(_, parts): &(_, Vec<Part>)| !parts.is_empty()).collect()
}

fn too_broad(cx: &Context<'_>, number: Number, rule: &Rule, out: &mut Vec<PlanFinding>) {
    if !rule.actions.iter().any(ends_live) || cx.change.bucket.is_none() && cx.unnamed && !cx.as_is {
        return;
    }
    // As broad before: that rule was not made too broad by this change.
    let was = cx
        .before_rules()
        .rules
        .iter()
        .any(|old| old.enabled && old.filter == rule.filter && old.actions.iter().any(ends_live));
    if was {
        return;
    }
    let reached = reached(cx, rule);
    let mut why = Vec::new();
    if rule.filter.any_key() && rule.filter.tags.is_empty() {
        why.push("it matches every object of the bucket".to_owned());
    }
    for (scope, parts) in &reached {
        for prefix in &rule.filter.prefixes {
            let root = scope.root.as_bytes();
            if !prefix.is_empty() && prefix.len() < root.len() && root.starts_with(prefix) {
                why.push(format!(
                    "its prefix \"{}\" reaches beyond the archive \"{}\"",
                    String::from_utf8_lossy(prefix),
                    scope.root
                ));
            }
        }
        if parts.iter().any(|part| part.is_base()) && parts.iter().any(|part| part.is_wal()) {
            why.push(format!("it covers both base backups and WAL of {}", scope.name()));
        }
        let tiers: Vec<&str> = parts
            .iter()
            .filter_map(|part| match part {
                Part::File(Some(tier)) => Some(tier.name()),
                _ => None,
            })
            .collect();
        if tiers.len() > 1 {
            why.push(format!("it covers several retention classes: {}", tiers.join(", ")));
        }
    }
    let names: Vec<&str> = reached.iter().map(|(scope, _)| scope.name()).collect();
    if names.len() > 1 {
        why.push(format!("it covers {} archives: {}", names.len(), names[..names.len().min(5)].join(", ")));
    }
    if why.is_empty() || reached.is_empty() && !cx.scopes.is_empty() {
        return;
    }
    let message =
        format!("rule \"{}\" is too broad ({}): {}", cx.after_rules().name(number), cx.describe(rule), why.join("; "));
    let advice = "give each kind of data its own rule with a prefix that ends in a slash; S3 has no rule that excludes";
    let scope = reached.first().map(|(scope, _)| *scope);
    let mut finding = cx.finding("LFC002", Severity::Error, scope, &[number], [message, advice.to_owned()]);
    finding.facts.insert("reasons".into(), json!(why));
    out.push(finding);
}

/// Whether a rule can be about backups at all.
fn concerns(cx: &Context<'_>, rule: &Rule) -> bool {
    cx.unnamed || rule.filter.any_key() || !reached(cx, rule).is_empty()
}

fn by_date(cx: &Context<'_>, number: Number, rule: &Rule, out: &mut Vec<PlanFinding>) {
    let date = rule.actions.iter().find_map(|action| match action {
        Action::Expire { when: When::Date(date), .. } => Some(*date),
        _ => None,
    });
    let Some(date) = date.filter(|_| concerns(cx, rule)) else { return };
    let day = date.to_zoned(jiff::tz::TimeZone::UTC).date();
    let message = format!(
        "rule \"{}\" expires by date: from {day} on every object it matches may be gone at once, also those written later",
        cx.after_rules().name(number)
    );
    let advice = "expire by days; a date is no single event, it keeps acting".to_owned();
    let scope = reached(cx, rule).first().map(|(scope, _)| *scope);
    let mut finding = cx.finding("LFC014", Severity::Error, scope, &[number], [message, advice]);
    finding.facts.insert("date".into(), json!(date.to_string()));
    out.push(finding);
}

fn ambiguous(cx: &Context<'_>, number: Number, rule: &Rule, out: &mut Vec<PlanFinding>) {
    if rule.doubts.is_empty() || !concerns(cx, rule) {
        return;
    }
    let message =
        format!("rule \"{}\" is not what it looks like: {}", cx.after_rules().name(number), rule.doubts.join("; "));
    let advice = "write it with one filter and at least one action; the worst reading was judged".to_owned();
    let scope = reached(cx, rule).first().map(|(scope, _)| *scope);
    out.push(cx.finding("LFC015", Severity::Error, scope, &[number], [message, advice]));
}

fn matches_nothing(cx: &Context<'_>, number: Number, rule: &Rule, table: &ObjectTable, out: &mut Vec<PlanFinding>) {
    let named = !rule.filter.prefixes.is_empty() || !rule.filter.suffixes.is_empty();
    let was = cx.before_rules().rules.iter().any(|old| old.enabled && old.filter == rule.filter);
    if !named || was || table.is_empty() || !rule.actions.iter().any(Action::touches_data) {
        return;
    }
    // Sizes and tags aside: a rule for large objects may wait for its first one, a prefix that no key has is a typo.
    let filter = crate::policy::lifecycle::Filter {
        prefixes: rule.filter.prefixes.clone(),
        suffixes: rule.filter.suffixes.clone(),
        ..Default::default()
    };
    if (0..table.len()).any(|at| filter.key_and_size(table.key(at), 0)) {
        return;
    }
    let message = format!(
        "rule \"{}\" matches no object ({}): probably a typo",
        cx.after_rules().name(number),
        cx.describe(rule)
    );
    let advice = "compare the prefix with the keys: no leading slash, no wildcard, case matters".to_owned();
    out.push(cx.finding("LFC010", Severity::Warning, cx.scopes.first(), &[number], [message, advice]));
}

fn uploads_not_aborted(cx: &Context<'_>, out: &mut Vec<PlanFinding>) {
    let aborts = |rules: &[Rule]| {
        rules
            .iter()
            .any(|rule| rule.enabled && rule.actions.iter().any(|action| matches!(action, Action::AbortUploads { .. })))
    };
    // Without a before side an audit of the bucket says so; a plan is asked only what it changes.
    if !cx.as_is && aborts(&cx.before_rules().rules) && !aborts(&cx.after_rules().rules) {
        let message =
            "incomplete uploads are no longer aborted: they are billed and never seen in a listing".to_owned();
        let advice = "keep a rule with abort_incomplete_multipart_upload of 7 days".to_owned();
        out.push(cx.finding("LFC011", Severity::Info, cx.scopes.first(), &[], [message, advice]));
    }
}
