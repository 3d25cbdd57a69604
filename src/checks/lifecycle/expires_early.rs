//! A rule will make a backup or a stretch of the window unrecoverable before the policy allows.
//!
//! **Fires** for each rule of the bucket that ends a backup which `retention` still promises, and once for the day on which
//! `recovery_window` is no longer kept although uploads go on. A backup ends with the first of its needs: a part, a sidecar,
//! an ancestor, a segment of its own WAL. An error instead of critical where versioning keeps what is hidden.
//!
//! **Near miss.** A backup that goes the day after its promise. A window that is short today is RET001's.
//!
//! **Why it matters.** Lifecycle deletes without a word, and it leaves no trace in the audit logs where people look first.
//!
//! **What to do.** Change the rule before that day. New rules act on objects that exist already: what is overdue may go at
//! once.

use std::collections::BTreeMap;

use super::date;
use crate::checks::context::NO_POLICY;
use crate::checks::words::minute;
use crate::checks::{CheckContext, Checked, Finding, NotRun, Severity, declare_rule};
use crate::policy::Span;
use crate::policy::lifecycle::RuleRef;
use crate::policy::outlook::{EndKind, Outlook, PromiseLoss};
use crate::policy::retention::Tier;

declare_rule!("LFC001", "expires-early", Critical, "expires_early.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let policy = cx.policy()?;
    let generations = Tier::ALL.iter().any(|tier| tier.keep(&policy.retention).is_some());
    if !policy.recovery_window.is_set() && !generations {
        return Err(NotRun(format!("{NO_POLICY} key recovery_window or retention")));
    }
    let outlook = cx.outlook()?;
    let mut by_rule: BTreeMap<Option<RuleRef>, Vec<&PromiseLoss>> = BTreeMap::new();
    for loss in outlook.losses.iter().filter(|loss| !loss.by_ancestor) {
        by_rule.entry(loss.end.rule).or_default().push(loss);
    }
    for (rule, mut losses) in by_rule {
        losses.sort_by_key(|loss| (loss.end.at, loss.backup));
        out.push(backups(cx, outlook, rule, &losses));
    }
    if let Some(broken) = &outlook.window_break {
        let promised = policy.recovery_window.copied().unwrap_or(Span::ZERO);
        let left = match broken.oldest {
            Some(oldest) => format!("then nothing before {} can be recovered", minute(oldest)),
            None => "then nothing can be recovered".to_owned(),
        };
        let why = broken.end.as_ref().map(|end| format!(": {}", outlook.reason(end))).unwrap_or_default();
        let finding = Finding::new(
            &RULE,
            "recovery window",
            format!("from {} on the {promised} that are promised are no longer kept, {left}{why}", date(broken.at)),
        )
        .severity(severity(outlook, broken.end.as_ref().map_or(EndKind::Deleted, |end| end.kind)))
        .objects(broken.end.iter().map(|end| &end.object))
        .time_fact("at", Some(broken.at))
        .time_fact("oldest", broken.oldest)
        .fact("promised_s", promised.seconds());
        out.push(finding.advise("let base backups and WAL live longer, before that day"));
    }
    Ok(())
}

fn backups(cx: &CheckContext<'_>, outlook: &Outlook, rule: Option<RuleRef>, losses: &[&PromiseLoss]) -> Finding {
    let name = |loss: &PromiseLoss| cx.archive.backups[loss.backup].name.as_str();
    let subject = rule.map_or("bucket".to_owned(), |rule| format!("rule \"{}\"", outlook.bucket.rules.name(rule)));
    let first = losses[0];
    let now = losses.iter().filter(|loss| loss.end.at <= cx.as_of).count();
    let at_once = if now > 0 { format!(", {now} of them may go at once") } else { String::new() };
    let promised = match (first.promised, first.early().days()) {
        (Some(promised), Some(days)) => format!("promised until {}, {days} d more", date(promised)),
        _ => "promised for ever".to_owned(),
    };
    let worst = losses.iter().any(|loss| loss.end.kind != EndKind::Hidden);
    Finding::new(
        &RULE,
        subject,
        format!(
            "{} of {} backups end before the policy allows{at_once}: first {} on {} ({promised}): {}",
            losses.len(),
            cx.archive.backups.len(),
            name(first),
            date(first.end.at),
            outlook.reason(&first.end)
        ),
    )
    .severity(severity(outlook, if worst { EndKind::Deleted } else { EndKind::Hidden }))
    .count(losses.len() as u64)
    .objects(losses.iter().map(|loss| name(loss)))
    .time_fact("at", Some(first.end.at))
    .time_fact("promised_until", first.promised)
    .fact("at_once", now)
    .fact("first_object", first.end.object.to_string())
    .advise("change the rule before that day; what is overdue may go at once, so save copies first")
}

/// What is hidden but kept is an un-delete away.
fn severity(outlook: &Outlook, kind: EndKind) -> Severity {
    if kind == EndKind::Hidden && outlook.bucket.keeps_versions() { Severity::Error } else { Severity::Critical }
}
