//! If this change is applied, what can no longer be recovered, and from which date?
//!
//! A pure function of a plan, the objects (if any are at hand), the policy (if there is one) and the moment of applying.
//! Only what becomes worse is told: a plan that lengthens lives is clean. Where there is no before side (a template, a
//! state, raw rules) everything that falls short of the policy is told.

mod breadth;
mod context;
mod deletions;
mod lives;
mod losses;
mod objects;
mod scope;
mod standing;
mod symbolic;
mod undo;

pub(crate) use context::describe_rule;
pub use deletions::{DeletionInput, check_deletions};
pub use losses::{ObjectLoss, Summary, folders};
pub use standing::Guaranteed;
pub(crate) use standing::{Standing, judge_standing};
pub use undo::rules_to_json;

use serde::Serialize;
use serde_json::json;

use crate::model::Timestamp;

use super::config::Config;
use super::inventory::BucketObjects;
use super::lifecycle::{BucketSettings, Decoded, MinimumSize, Provider, Reading, Simulator, UnknownValue, Versioning};
use super::plan::{BucketChange, BucketSide, Plan, RulesState, Setting};
use super::{PlanFinding, PlanWaiver, Severity, Span};

use context::Context;
use lives::{Fresh, Lives};
use losses::{Ends, ScopeLosses};
use scope::{Coverage, Scope};

/// What a change does, bucket by bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanVerdict {
    /// What was read, as in `Terraform plan`.
    pub source: &'static str,
    /// The moment at which it was taken to be applied.
    pub assumed_apply_time: Timestamp,
    /// How unknown values were taken.
    pub unknown: Reading,
    /// Buckets that the configuration covers (or all, without one).
    pub buckets: Vec<BucketVerdict>,
    /// Everything that is wrong, worst first.
    pub findings: Vec<PlanFinding>,
    /// Buckets that the change touches and no cluster of the configuration names.
    pub not_covered: Vec<String>,
    /// Why the question could not be answered: the exit code is then 2.
    pub undecided: Vec<String>,
    /// What was assumed.
    pub assumptions: Vec<String>,
}

/// What a change does to one bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BucketVerdict {
    /// Its name, or the resource that will make it.
    pub bucket: String,
    /// Whose bucket.
    pub provider: Provider,
    /// Clusters whose archive or copy lies in it.
    pub clusters: Vec<String>,
    /// The resource that owns the rules.
    pub resource_address: Option<String>,
    /// What the plan does to it.
    pub action: Option<String>,
    /// Active rules after the change, described.
    pub rules_after: Vec<String>,
    /// Number of active rules before it.
    pub rules_before_count: usize,
    /// The rules before, as the provider's own tool takes them: putting them back undoes the change.
    pub undo: Option<serde_json::Value>,
    /// Versioning after the change, where it is known.
    pub versioning: Option<Versioning>,
    /// All objects have the version id `null` or none.
    pub all_versions_null: bool,
    /// Counts over its objects; `None` without any object source.
    pub summary: Option<Summary>,
    /// Objects that live shorter, by key.
    pub objects: Vec<ObjectLoss>,
    /// Days back to the oldest backup when the change is applied, without it and with it.
    pub recoverable_days: Option<[Option<u64>; 2]>,
    /// Window that the rules guarantee in the steady state, in days, without the change and with it; by cluster.
    pub guaranteed_days: Vec<(String, [Option<u64>; 2])>,
    /// Where the objects come from and how old that is.
    pub object_source: Option<String>,
    /// Why it could not be judged.
    pub undecided: Option<String>,
}

/// What [`check_plan`] is given.
#[derive(Debug, Clone, Copy)]
pub struct CheckInput<'a> {
    /// The change.
    pub plan: &'a Plan,
    /// Objects of the buckets it is about, as far as they are at hand.
    pub objects: &'a [BucketObjects],
    /// The policy; without one no promise is judged.
    pub config: Option<&'a Config>,
    /// When the change is applied.
    pub apply_at: Timestamp,
    /// How unknown values are taken.
    pub unknown: Reading,
}

impl PlanVerdict {
    /// `fail` with a finding of at least this severity that nobody waived, `undecided`, or `pass`.
    pub fn status(&self, fail_on: Severity) -> &'static str {
        match self.exit_code(fail_on) {
            0 => "pass",
            1 => "fail",
            _ => "undecided",
        }
    }

    /// 2 when the question could not be answered, 1 with a finding of at least this severity that nobody waived, else 0.
    pub fn exit_code(&self, fail_on: Severity) -> u8 {
        if !self.undecided.is_empty() {
            return 2;
        }
        u8::from(self.findings.iter().any(|finding| finding.severity >= fail_on && finding.waived.is_none()))
    }
}

/// One bucket under one reading.
struct Judged {
    findings: Vec<PlanFinding>,
    verdict: BucketVerdict,
    unknown: Vec<UnknownValue>,
    undecided: Option<String>,
    covered: bool,
    assumptions: Vec<String>,
}

impl Judged {
    fn new(cx: &Context<'_>, versioning: Option<Versioning>) -> Self {
        Judged {
            findings: Vec::new(),
            verdict: bucket_verdict(cx, versioning),
            unknown: Vec::new(),
            undecided: None,
            covered: true,
            assumptions: Vec::new(),
        }
    }
}

/// Judges a change.
pub fn check_plan(input: CheckInput<'_>) -> PlanVerdict {
    let mut verdict = PlanVerdict {
        source: input.plan.source.name(),
        assumed_apply_time: input.apply_at,
        unknown: input.unknown,
        buckets: Vec::new(),
        findings: Vec::new(),
        not_covered: Vec::new(),
        undecided: Vec::new(),
        assumptions: Vec::new(),
    };
    for change in &input.plan.buckets {
        let mut judged = judge_bucket(&input, change, input.unknown);
        if !judged.covered {
            if touched(&input, change) {
                verdict.not_covered.push(change.name().to_owned());
            }
            continue;
        }
        let mut findings = std::mem::take(&mut judged.findings);
        if !judged.unknown.is_empty() || judged.undecided.is_some() {
            let other = match input.unknown {
                Reading::Worst => Reading::Best,
                _ => Reading::Worst,
            };
            let other = judge_bucket(&input, change, other);
            findings.push(unknown_values(
                &input,
                change,
                &judged.unknown,
                &judged.undecided,
                &judged.verdict,
                &other.verdict,
                &findings,
            ));
        }
        if let Some(why) = judged.undecided {
            verdict.undecided.push(format!("{}: {why}", change.name()));
            judged.verdict.undecided = Some(why);
        }
        verdict.findings.extend(findings);
        verdict.assumptions.extend(judged.assumptions);
        verdict.buckets.push(judged.verdict);
    }
    if !verdict.buckets.is_empty() {
        verdict.findings.extend(input.plan.problems.iter().map(|problem| problem_finding(problem, None, None)));
    }
    if let Some(partial) = &input.plan.partial {
        verdict.findings.push(partial_finding(partial));
    }
    finish(&input, &mut verdict);
    verdict
}

/// Whether a plan does anything to a bucket.
fn touched(input: &CheckInput<'_>, change: &BucketChange) -> bool {
    !input.plan.has_before() || change.before != change.after || !change.problems.is_empty()
}

fn finish(input: &CheckInput<'_>, verdict: &mut PlanVerdict) {
    verdict.assumptions.push(match (input.plan.before_given, input.plan.has_before()) {
        (true, _) => "before: as given beside the plan".into(),
        (_, true) => "before: as the plan itself says (its prior state), not read from the live bucket".into(),
        _ => "before: no rules (the input says only what will be)".into(),
    });
    verdict.assumptions.push(format!("applied at {}", input.apply_at));
    verdict.assumptions.dedup();
    finish_findings(input.config, input.apply_at, verdict);
    redact(&input.plan.sensitive, verdict);
}

/// Waivers, and the order of findings.
fn finish_findings(config: Option<&Config>, as_of: Timestamp, verdict: &mut PlanVerdict) {
    if let Some(config) = config {
        for finding in &mut verdict.findings {
            finding.waived = waiver(config, finding, as_of);
        }
    }
    verdict
        .findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then(a.code.cmp(b.code)).then(a.subject.cmp(&b.subject)));
}

fn waiver(config: &Config, finding: &PlanFinding, as_of: Timestamp) -> Option<PlanWaiver> {
    let cluster = finding.cluster.as_deref()?;
    let fingerprint = finding.fingerprint();
    let mut valid = config.exceptions.iter().filter(|exception| !exception.is_expired(as_of));
    let exception =
        valid.find(|exception| exception.covers(finding.code, cluster, &finding.subject, None, &fingerprint))?;
    Some(PlanWaiver { reason: exception.reason.clone(), until: exception.until.to_string() })
}

/// Texts that the plan calls sensitive are never shown.
fn redact(sensitive: &[String], verdict: &mut PlanVerdict) {
    if sensitive.is_empty() {
        return;
    }
    let hide = |text: &mut String| {
        for secret in sensitive {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), "(sensitive)");
            }
        }
    };
    for finding in &mut verdict.findings {
        hide(&mut finding.message);
        hide(&mut finding.subject);
        for value in finding.facts.values_mut() {
            let mut text = value.to_string();
            if sensitive.iter().any(|secret| text.contains(secret.as_str())) {
                hide(&mut text);
                *value = serde_json::from_str(&text).unwrap_or(serde_json::Value::Null);
            }
        }
    }
    for bucket in &mut verdict.buckets {
        bucket.rules_after.iter_mut().for_each(hide);
        bucket.objects.iter_mut().filter_map(|loss| loss.rule.as_mut()).for_each(hide);
        // Rules with hidden parts cannot be given back whole.
        if bucket.undo.as_ref().is_some_and(|undo| {
            let text = undo.to_string();
            sensitive.iter().any(|secret| text.contains(secret.as_str()))
        }) {
            bucket.undo = None;
        }
    }
}

fn problem_finding(
    problem: &super::plan::PlanProblem,
    change: Option<&BucketChange>,
    scope: Option<&Scope>,
) -> PlanFinding {
    let mut facts = std::collections::BTreeMap::new();
    facts.insert("resource_address".to_owned(), json!(problem.address));
    if let Some(change) = change {
        facts.insert("bucket".to_owned(), json!(change.name()));
    }
    PlanFinding {
        code: problem.code,
        severity: problem.severity,
        subject: problem.address.clone(),
        message: problem.message.clone(),
        facts,
        objects: Vec::new(),
        advice: problem.advice.clone(),
        cluster: scope.and_then(|scope| scope.cluster.clone()),
        waived: None,
    }
}

fn partial_finding(why: &str) -> PlanFinding {
    PlanFinding {
        code: "LFC012",
        severity: Severity::Warning,
        subject: "the plan".into(),
        message: format!("the plan covers only a part of the configuration: {why}"),
        facts: std::collections::BTreeMap::new(),
        objects: Vec::new(),
        advice: "judge a complete plan: terraform plan without -target".into(),
        cluster: None,
        waived: None,
    }
}

/// Rules of one side with what the bucket adds to them.
fn simulator(
    change: &BucketChange,
    decoded: &Decoded,
    versioning: Versioning,
    side: &BucketSide,
    from: Option<Timestamp>,
) -> Simulator {
    let mut rules = decoded.rules.clone();
    if change.provider == Provider::S3 && side.rules == RulesState::NotStated {
        rules.minimum_size = MinimumSize::AllClasses128K;
    }
    let bucket = BucketSettings {
        versioning,
        rules_effective: from,
        retention: side.retention.known().copied().filter(|span| *span > Span::ZERO),
        soft_delete: side.soft_delete.known().copied().filter(|span| *span > Span::ZERO),
    };
    Simulator::new(rules, bucket)
}

/// Versioning of both sides as it is judged, and the after side's as it is known.
fn versioning(
    change: &BucketChange,
    objects: Option<&BucketObjects>,
    reading: Reading,
) -> ([Versioning; 2], Option<Versioning>) {
    let listed = objects.and_then(|objects| objects.versioning);
    let before = match &change.before.versioning {
        Setting::Known(versioning) => Some(*versioning),
        _ => listed,
    };
    let (after, known) = match &change.after.versioning {
        Setting::Known(versioning) => (Some(*versioning), Some(*versioning)),
        Setting::Unknown(_) if reading == Reading::Best => (Some(Versioning::Enabled), None),
        Setting::Unknown(_) if before == Some(Versioning::Enabled) => (Some(Versioning::Suspended), None),
        Setting::Unknown(_) => (before, None),
        // What the plan does not manage stays as it is.
        Setting::NotStated => (before, before),
    };
    // Where nobody says, nothing is assumed to be kept.
    ([before.or(after).unwrap_or(Versioning::Disabled), after.unwrap_or(Versioning::Disabled)], known)
}

fn judge_bucket(input: &CheckInput<'_>, change: &BucketChange, reading: Reading) -> Judged {
    let objects = change.bucket.as_deref().and_then(|name| input.objects.iter().find(|found| found.bucket == name));
    // The before side is what it is; only a plan's after side can be unknown.
    let decoded = [change.decode(&change.before, Reading::Best), change.decode(&change.after, reading)];
    let coverage = scope::coverage(change, objects, input.config, [&decoded[0].rules, &decoded[1].rules]);
    let ([was, is], known) = versioning(change, objects, reading);
    let before = simulator(change, &decoded[0], was, &change.before, None);
    let after = simulator(change, &decoded[1], is, &change.after, Some(input.apply_at));
    let scopes = coverage.scopes();
    let mut cx = Context {
        change,
        before: &before,
        after: &after,
        apply_at: input.apply_at,
        as_is: !input.plan.has_before(),
        scopes,
        lives: Vec::new(),
        unnamed: matches!(coverage, Coverage::Unnamed(_)),
        cause: "this change",
    };
    cx.lives = scopes.iter().map(|scope| scope_lives(&cx, scope)).collect();
    let mut judged = Judged {
        unknown: decoded[1].unknown.clone(),
        undecided: decoded[1].undecodable.clone(),
        covered: !matches!(coverage, Coverage::NotCovered),
        ..Judged::new(&cx, known)
    };
    if decoded[0].undecodable.is_some() {
        judged.verdict.undo = None;
    }
    if let Setting::Unknown(why) = &change.after.versioning {
        judged.unknown.push(UnknownValue {
            rule: "versioning".into(),
            what: "status".into(),
            from: why.clone(),
            worst: is.name().into(),
            touches_data: true,
        });
    }
    assumptions(&cx, objects, &mut judged.assumptions);
    if !judged.covered || judged.undecided.is_some() {
        judged.findings.extend(change.problems.iter().map(|p| problem_finding(p, Some(change), scopes.first())));
        return judged;
    }
    let losses = objects.map(|objects| object_losses(&cx, objects, &mut judged));
    for (at, scope) in scopes.iter().enumerate() {
        let scope_losses = losses.as_ref().map(|losses| &losses[at]);
        let cadence = scope_losses.and_then(|losses| losses.cadence);
        if let Some(losses) = scope_losses {
            objects::judge(&cx, scope, losses, &mut judged.findings);
        }
        symbolic::judge(&cx, at, cadence, losses.is_some(), &mut judged.findings);
        if let Some(days) = symbolic::windows(scope, &cx.lives[at], cadence) {
            judged.verdict.guaranteed_days.push((scope.name().to_owned(), days.map(Span::days)));
        }
    }
    breadth::judge(&cx, objects.map(|objects| &objects.table), &mut judged.findings);
    let loses = match &judged.verdict.summary {
        Some(summary) => summary.objects_with_shorter_life > 0,
        None => judged.findings.iter().any(|finding| matches!(finding.code, "LFC001" | "LFC020")),
    };
    symbolic::versioning(&cx, known, loses, &mut judged.findings);
    judged.findings.extend(change.problems.iter().map(|p| problem_finding(p, Some(change), scopes.first())));
    judged
}

fn scope_lives(cx: &Context<'_>, scope: &Scope) -> Vec<Lives> {
    let fresh = [Fresh::new(&cx.change.before, cx.before), Fresh::new(&cx.change.after, cx.after)];
    let each = |sample: lives::Sample| {
        let before = lives::life(cx.before, fresh[0], &sample, cx.apply_at);
        let after = lives::life(cx.after, fresh[1], &sample, cx.apply_at);
        Lives {
            undo_before: lives::undo(cx.before, fresh[0], &sample, &before, cx.apply_at),
            undo_after: lives::undo(cx.after, fresh[1], &sample, &after, cx.apply_at),
            sample,
            before,
            after,
        }
    };
    let rules = [cx.before_rules(), cx.after_rules()];
    lives::samples(scope, rules, cx.apply_at).into_iter().map(each).collect()
}

fn object_losses(cx: &Context<'_>, objects: &BucketObjects, judged: &mut Judged) -> Vec<ScopeLosses> {
    let ends = Ends::new(&objects.table, cx.before, cx.after);
    losses_with(cx, objects, &ends, judged)
}

fn losses_with(cx: &Context<'_>, objects: &BucketObjects, ends: &Ends, judged: &mut Judged) -> Vec<ScopeLosses> {
    let (mut summary, listed) = losses::summary(&objects.table, ends, cx.after, cx.apply_at);
    let each =
        |scope: &Scope| losses::scope_losses(scope, &objects.table, objects.backups.as_deref(), ends, cx.apply_at);
    let all: Vec<ScopeLosses> = cx.scopes.iter().map(each).collect();
    let oldest = |side: usize| all.iter().filter_map(|losses| losses.oldest[side]).min();
    (summary.oldest_backup_before, summary.oldest_backup_after_apply) = (oldest(0), oldest(1));
    let days = |side: usize| oldest(side).and_then(|oldest| Span::between(oldest, cx.apply_at).days());
    if summary.oldest_backup_before.is_some() {
        judged.verdict.recoverable_days = Some([days(0), days(1)]);
    }
    judged.verdict.all_versions_null =
        objects.table.iter().all(|object| object.version.is_none_or(|version| version == "null"));
    let age = objects.listed_at.map_or("at an unknown time".to_owned(), |at| format!("at {at}"));
    judged.verdict.object_source = Some(format!("{}, listed {age}", objects.source));
    judged.verdict.summary = Some(summary);
    judged.verdict.objects = listed;
    all
}

fn bucket_verdict(cx: &Context<'_>, versioning: Option<Versioning>) -> BucketVerdict {
    let owner = cx.change.rules_owner.as_ref();
    let numbered = cx.after_rules().rules.iter().enumerate().filter(|(_, rule)| rule.enabled);
    let described = numbered.map(|(at, rule)| {
        let name = if rule.id.is_empty() { format!("rule {}", at + 1) } else { format!("rule \"{}\"", rule.id) };
        format!("{name}: {}", cx.describe(rule))
    });
    let stated = cx.change.before.rules != RulesState::NotStated;
    BucketVerdict {
        bucket: cx.change.name().to_owned(),
        provider: cx.change.provider,
        clusters: cx.scopes.iter().filter_map(|scope| scope.cluster.clone()).collect(),
        resource_address: owner.map(|owner| owner.address.clone()),
        action: owner.map(|owner| owner.action.clone()),
        rules_after: described.collect(),
        rules_before_count: cx.before_rules().rules.iter().filter(|rule| rule.enabled).count(),
        undo: stated.then(|| rules_to_json(cx.before_rules())),
        versioning,
        all_versions_null: false,
        summary: None,
        objects: Vec::new(),
        recoverable_days: None,
        guaranteed_days: Vec::new(),
        object_source: None,
        undecided: None,
    }
}

fn assumptions(cx: &Context<'_>, objects: Option<&BucketObjects>, out: &mut Vec<String>) {
    let name = cx.change.name();
    if cx.change.rules_owner.as_ref().is_some_and(|owner| owner.action == "create")
        && cx.change.before.rules == RulesState::NotStated
    {
        out.push(format!("{name}: no rules before (the resource is new; the bucket may have rules made elsewhere)"));
    }
    if objects.is_none() {
        out.push(format!("{name}: no objects at hand, judged by rules and policy alone"));
    }
    if cx.change.after.versioning == Setting::NotStated && objects.is_none_or(|objects| objects.versioning.is_none()) {
        out.push(format!("{name}: versioning not known, taken as not enabled"));
    }
    for scope in cx.scopes.iter().filter(|scope| !scope.layout_known && scope.cluster.is_some()) {
        out.push(format!("{}: layout not declared, taken as wal-g", scope.name()));
    }
}

/// LFC012 with both outcomes.
fn unknown_values(
    input: &CheckInput<'_>,
    change: &BucketChange,
    unknown: &[UnknownValue],
    undecided: &Option<String>,
    chosen: &BucketVerdict,
    other: &BucketVerdict,
    findings: &[PlanFinding],
) -> PlanFinding {
    let source = |from: &str| {
        let expression = change.expressions.iter().find(|(path, _)| path == from);
        expression.map_or_else(|| from.to_owned(), |(path, to)| format!("{path}, from {to}"))
    };
    let each: Vec<String> = unknown
        .iter()
        .map(|value| {
            format!("rule \"{}\": {} ({}), at worst {}", value.rule, value.what, source(&value.from), value.worst)
        })
        .chain(undecided.clone())
        .collect();
    let outcome = |verdict: &BucketVerdict| {
        let lost = verdict.summary.as_ref().map(|summary| summary.objects_with_shorter_life);
        json!({"objects_with_shorter_life": lost, "guaranteed_days": verdict.guaranteed_days,
            "recoverable_days": verdict.recoverable_days})
    };
    let (worst, best) = if input.unknown == Reading::Worst { (chosen, other) } else { (other, chosen) };
    // A value that could end data must not pass silently, whoever else does not complain.
    let decides = unknown.iter().any(|value| value.touches_data) || undecided.is_some();
    let told = findings.iter().any(|finding| finding.severity >= Severity::Error);
    let severity = match input.unknown {
        Reading::Worst if decides && !told => Severity::Error,
        _ => Severity::Warning,
    };
    let taken = if input.unknown == Reading::Worst {
        "the worst case was judged"
    } else {
        "the best case was judged, as asked"
    };
    let message = format!(
        "{}: {} known only after the change is applied: {}; {taken}",
        change.name(),
        if each.len() == 1 { "a value is" } else { "values are" },
        each[..each.len().min(5)].join("; ")
    );
    let mut facts = std::collections::BTreeMap::new();
    let address = change.rules_owner.as_ref().map_or(change.label.as_str(), |owner| owner.address.as_str());
    facts.insert("resource_address".to_owned(), json!(address));
    facts.insert("bucket".to_owned(), json!(change.name()));
    facts.insert("unknown".to_owned(), json!(unknown));
    facts.insert("worst_case".to_owned(), outcome(worst));
    facts.insert("best_case".to_owned(), outcome(best));
    PlanFinding {
        code: "LFC012",
        severity,
        subject: address.to_owned(),
        message,
        facts,
        objects: Vec::new(),
        advice: "use values that are known when the plan is made (variables, locals), or plan again once they are"
            .into(),
        cluster: chosen.clusters.first().cloned(),
        waived: None,
    }
}

#[cfg(all(test, feature = "config"))]
mod tests;
