//! Findings about objects and backups that are there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::Timestamp;
use crate::policy::lifecycle::RuleRef;
use crate::policy::{PlanFinding, Severity, Span};

use super::context::Context;
use super::losses::{BackupLoss, ScopeLosses};
use super::scope::{Role, Scope};

pub(super) fn date(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

pub(super) fn judge(cx: &Context<'_>, scope: &Scope, losses: &ScopeLosses, out: &mut Vec<PlanFinding>) {
    let mut by_rule: BTreeMap<Option<RuleRef>, Vec<&BackupLoss>> = BTreeMap::new();
    for loss in losses.backups.iter().filter(|loss| !loss.by_ancestor) {
        by_rule.entry(loss.rule).or_default().push(loss);
    }
    for (rule, lost) in by_rule {
        out.push(expires_early(cx, scope, losses, rule, &lost));
    }
    let chained: Vec<&BackupLoss> = losses.backups.iter().filter(|loss| loss.by_ancestor).collect();
    if !chained.is_empty() {
        out.push(chain(cx, scope, &chained));
    }
    window(cx, scope, losses, out);
    permanent(cx, scope, losses, out);
}

/// LFC001 for the backups that one rule takes; LFC022 where they are copies.
fn expires_early(
    cx: &Context<'_>,
    scope: &Scope,
    losses: &ScopeLosses,
    rule: Option<RuleRef>,
    lost: &[&BackupLoss],
) -> PlanFinding {
    let rules: Vec<RuleRef> = rule.into_iter().collect();
    let at_apply = lost.iter().filter(|loss| loss.after <= cx.apply_at).count();
    let first = lost.iter().map(|loss| loss.after).min().unwrap_or(cx.apply_at);
    let early = |loss: &&&BackupLoss| match loss.promised {
        None => Span::FOREVER,
        Some(promised) => Span::between(loss.after, promised),
    };
    let worst = lost.iter().max_by_key(|loss| (early(loss), loss.taken));
    let gone = lost.iter().any(|loss| loss.gone);
    let state = if gone { "unrecoverable" } else { "hidden behind delete markers" };
    let by = match rule {
        Some(rule) => format!("rule \"{}\"", cx.after_rules().name(rule)),
        None => cx.cause.to_owned(),
    };
    let now = match at_apply {
        0 => format!("from {} on", date(first)),
        count if count == lost.len() => format!("as soon as it is applied ({})", cx.apply_at),
        count => format!("{count} of them as soon as it is applied ({})", cx.apply_at),
    };
    let example = worst.map_or(String::new(), |loss| {
        let promised = match (loss.promised, early(&loss).days()) {
            (Some(promised), Some(days)) => format!("promised until {}, {days} d more", date(promised)),
            _ => "promised for ever".to_owned(),
        };
        let without = loss.before.map_or("never".to_owned(), |before| format!("on {}", date(before)));
        format!("; {} may go on {} (without the change {without}), {promised}", loss.name, date(loss.after))
    });
    let message = format!(
        "{}: by {by} {} of {} backups may be {state} before the policy allows, {now}{example}",
        scope.name(),
        lost.len(),
        losses.units
    );
    let advice = format!(
        "do not apply it; if it has been, put the old rules back at once (they are in the report): some objects may still be \
         there. Policy: {}",
        promise(scope)
    );
    let (code, severity) = match (scope.role, gone) {
        (Role::Copy, _) => ("LFC022", Severity::Warning),
        (_, true) => ("LFC001", Severity::Critical),
        // Still there as old versions: an un-delete away.
        (_, false) => ("LFC001", Severity::Error),
    };
    let mut finding = cx.finding(code, severity, Some(scope), &rules, [message, advice]);
    let mut fact = |name: &str, value: Value| finding.facts.insert(name.to_owned(), value);
    fact("objects_count", json!(lost.len()));
    fact("policy", json!(promise(scope)));
    fact("eligible_at_apply", json!(at_apply));
    fact("first_loss_at", json!(first.to_string()));
    fact("possible", json!(lost.iter().all(|loss| loss.possible)));
    fact("first_object_to_go", json!(worst.map(|loss| &loss.object)));
    let window = |side: usize| losses.oldest[side].and_then(|oldest| Span::between(oldest, cx.apply_at).days());
    fact("window_before_days", json!(window(0)));
    fact("window_after_days", json!(window(1)));
    finding.objects = lost.iter().map(|loss| loss.name.clone()).collect();
    finding
}

/// What the policy promises, with the lines of the file.
pub(super) fn promise(scope: &Scope) -> String {
    let retention = &scope.policy.retention;
    let keys = [
        ("recovery_window", &scope.policy.recovery_window),
        ("retention.daily", &retention.daily),
        ("retention.weekly", &retention.weekly),
        ("retention.monthly", &retention.monthly),
        ("retention.yearly", &retention.yearly),
    ];
    let stated: Vec<String> = keys
        .into_iter()
        .filter_map(|(name, key)| {
            let span = key.copied().filter(|span| *span > Span::ZERO)?;
            let line = key.line().map_or(String::new(), |line| format!(" (line {line})"));
            Some(format!("{name} {span}{line}"))
        })
        .collect();
    if stated.is_empty() { "none".into() } else { stated.join(", ") }
}

/// LFC006: deltas that would live, but what they stand on goes.
fn chain(cx: &Context<'_>, scope: &Scope, lost: &[&BackupLoss]) -> PlanFinding {
    let mut rules: Vec<RuleRef> = lost.iter().filter_map(|loss| loss.rule).collect();
    rules.sort();
    rules.dedup();
    let first = lost.iter().map(|loss| loss.after).min().unwrap_or(cx.apply_at);
    let message = format!(
        "{}: {} delta backups lose the full backup they stand on before the policy allows, the first on {}",
        scope.name(),
        lost.len(),
        date(first)
    );
    let advice = "let full backups live at least one full_backup_every longer than their deltas".to_owned();
    let mut finding = cx.finding("LFC006", Severity::Critical, Some(scope), &rules, [message, advice]);
    finding.facts.insert("objects_count".into(), json!(lost.len()));
    finding.facts.insert("first_loss_at".into(), json!(first.to_string()));
    finding.objects = lost.iter().map(|loss| loss.name.clone()).collect();
    finding
}

/// LFC001 for the recovery window itself.
fn window(cx: &Context<'_>, scope: &Scope, losses: &ScopeLosses, out: &mut Vec<PlanFinding>) {
    let (Some(after), Some(promised)) = (losses.window_after, scope.policy.recovery_window.copied()) else { return };
    if losses.window_before.is_some_and(|before| before.at <= after.at) && !cx.as_is {
        return;
    }
    let left = match after.oldest {
        Some(oldest) => format!("the oldest moment that can then be recovered is {oldest}"),
        None => "nothing can be recovered then".to_owned(),
    };
    let message = format!(
        "{}: from {} on the recovery window may be shorter than the promised {promised}: {left}",
        scope.name(),
        after.at,
    );
    let advice = format!("do not apply it. Policy: {}", promise(scope));
    let (code, severity) = match scope.role {
        Role::Archive => ("LFC001", Severity::Critical),
        Role::Copy => ("LFC022", Severity::Warning),
    };
    let mut finding = cx.finding(code, severity, Some(scope), &[], [message, advice]);
    let days = |oldest: Option<Timestamp>| oldest.map_or(Some(0), |oldest| Span::between(oldest, cx.apply_at).days());
    finding.facts.insert("policy".into(), json!(promise(scope)));
    finding.facts.insert("first_loss_at".into(), json!(after.at.to_string()));
    finding.facts.insert("window_before_days".into(), json!(days(losses.oldest[0])));
    finding.facts.insert("window_after_days".into(), json!(days(after.oldest)));
    out.push(finding);
}

/// LFC019: lifecycle does not know of permanent marks.
fn permanent(cx: &Context<'_>, scope: &Scope, losses: &ScopeLosses, out: &mut Vec<PlanFinding>) {
    if losses.permanent.is_empty() {
        return;
    }
    let mut rules: Vec<RuleRef> = losses.permanent.iter().filter_map(|(_, _, rule)| *rule).collect();
    rules.sort();
    rules.dedup();
    let first = losses.permanent.iter().map(|(_, at, _)| *at).min().unwrap_or(cx.apply_at);
    let message = format!(
        "{}: {} backups marked permanent expire like any other, the first on {}",
        scope.name(),
        losses.permanent.len(),
        date(first)
    );
    let advice = "leave them out by prefix or tag, or copy them to a prefix without an expiration".to_owned();
    let mut finding = cx.finding("LFC019", Severity::Warning, Some(scope), &rules, [message, advice]);
    finding.facts.insert("first_loss_at".into(), json!(first.to_string()));
    finding.objects = losses.permanent.iter().map(|(name, ..)| name.clone()).collect();
    out.push(finding);
}
