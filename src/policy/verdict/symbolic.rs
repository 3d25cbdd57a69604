//! What the rules promise for objects to come: lifetimes against the policy, without any object.

use serde_json::json;

use crate::model::StorageClass;
use crate::policy::lifecycle::{Provider, RuleRef, Versioning};
use crate::policy::plan::Setting;
use crate::policy::retention::guaranteed_window;
use crate::policy::{PlanFinding, Severity, Span};

use super::context::Context;
use super::lives::{Due, Life, Lives, Part};
use super::scope::{Role, Scope};

pub(super) fn judge(cx: &Context<'_>, at: usize, cadence: Option<Span>, has_objects: bool, out: &mut Vec<PlanFinding>) {
    let scope = &cx.scopes[at];
    let lives = &cx.lives[at];
    guaranteed(cx, scope, lives, cadence, out);
    if scope.role == Role::Archive {
        wal_first(cx, scope, lives, out);
        metadata_first(cx, scope, lives, out);
        classes(cx, scope, lives, out);
        undo_short(cx, scope, lives, out);
        lock_short(cx, scope, out);
        if !has_objects {
            tiers(cx, scope, lives, out);
        }
    }
}

/// The shortest of some parts.
pub(super) fn shortest(lives: &[Lives], side: fn(&Lives) -> &Life, part: impl Fn(Part) -> bool) -> Option<&Life> {
    lives.iter().filter(|lives| part(lives.sample.part)).map(side).min_by_key(|life| life.span())
}

fn before(lives: &Lives) -> &Life {
    &lives.before
}

fn after(lives: &Lives) -> &Life {
    &lives.after
}

fn days(span: Span) -> String {
    match span.days() {
        None => "for ever".into(),
        Some(days) => format!("{days} d"),
    }
}

fn may(possible: bool) -> &'static str {
    if possible { "may" } else { "will" }
}

/// The window that rules guarantee in the steady state, on both sides.
pub(super) fn windows(scope: &Scope, lives: &[Lives], cadence: Option<Span>) -> Option<[Span; 2]> {
    let every = scope.policy.full_backup_every.copied().or(cadence).unwrap_or(Span::ZERO);
    let side = |side: fn(&Lives) -> &Life| {
        let base = shortest(lives, side, Part::is_base)?.span();
        let wal = shortest(lives, side, Part::is_wal)?.span();
        Some(guaranteed_window(base, wal, every, Span::ZERO))
    };
    Some([side(before)?, side(after)?])
}

/// LFC020, LFC018 and, for a copy, LFC022.
fn guaranteed(cx: &Context<'_>, scope: &Scope, lives: &[Lives], cadence: Option<Span>, out: &mut Vec<PlanFinding>) {
    let Some([was, is]) = windows(scope, lives, cadence) else { return };
    let Some(promised) = scope.policy.recovery_window.copied().filter(|window| *window > Span::ZERO) else { return };
    let (Some(base), Some(wal)) = (shortest(lives, after, Part::is_base), shortest(lives, after, Part::is_wal)) else {
        return;
    };
    let deciding = if wal.span() < base.span() { wal } else { base };
    let rules: Vec<RuleRef> = deciding.ended.map(|due| due.rule).into_iter().collect();
    let every = scope.policy.full_backup_every.copied().or(cadence);
    let cadence_text = match (scope.policy.full_backup_every.copied(), cadence) {
        (Some(every), _) => format!("a full backup every {}", days(every)),
        (None, Some(every)) => format!("a full backup about every {}", days(every)),
        (None, None) => "full_backup_every not stated, so even without any distance between fulls".into(),
    };
    if is < promised && (cx.as_is || is < was) {
        let message = format!(
            "{}: the guaranteed recovery window {} be {}{}, {} promised: base backups live {}, WAL {}, {cadence_text}",
            scope.name(),
            may(deciding.possible),
            days(is),
            if cx.as_is { String::new() } else { format!(" ({} before)", days(was)) },
            days(promised),
            days(base.span()),
            days(wal.span()),
        );
        let needed = promised
            .plus(every.unwrap_or(Span::ZERO))
            .plus(scope.policy.immutability.margin.copied().unwrap_or(Span::ZERO));
        let advice = format!("let base backups and WAL live at least {}", days(needed.plus(Span::from_days(1))));
        let (code, severity) = match scope.role {
            Role::Archive => ("LFC020", Severity::Error),
            Role::Copy => ("LFC022", Severity::Warning),
        };
        let mut finding = cx.finding(code, severity, Some(scope), &rules, [message, advice]);
        finding.facts.insert("window_before_days".into(), json!(was.days()));
        finding.facts.insert("window_after_days".into(), json!(is.days()));
        finding.facts.insert("promised_days".into(), json!(promised.days()));
        finding.facts.insert("policy_line".into(), json!(scope.policy.recovery_window.line()));
        out.push(finding);
        return;
    }
    let Some(margin) = scope.policy.immutability.margin.copied().filter(|_| scope.role == Role::Archive) else {
        return;
    };
    if is < promised.plus(margin) && is < was {
        let message = format!(
            "{}: the guaranteed window {} be {}, less than the promised {} and its margin of {}: lifecycle races the backup \
             tool's own deletion",
            scope.name(),
            may(deciding.possible),
            days(is),
            days(promised),
            days(margin)
        );
        let advice = "let one engine delete, and lifecycle come later as a backstop".to_owned();
        out.push(cx.finding("LFC018", Severity::Warning, Some(scope), &rules, [message, advice]));
    }
}

/// LFC003: WAL that goes before the backups that need it.
fn wal_first(cx: &Context<'_>, scope: &Scope, lives: &[Lives], out: &mut Vec<PlanFinding>) {
    let sides =
        |side: fn(&Lives) -> &Life| Some((shortest(lives, side, Part::is_base)?, shortest(lives, side, Part::is_wal)?));
    let (Some((base, wal)), Some((old_base, old_wal))) = (sides(after), sides(before)) else { return };
    let short = |base: &Life, wal: &Life| base.span() > wal.span();
    let worse = !short(old_base, old_wal) || wal.span() < old_wal.span();
    if !short(base, wal) || !(cx.as_is || worse) {
        return;
    }
    let message = format!(
        "{}: WAL {} live {}, base backups {}: backups older than {} cannot be rolled forward any more, though they are listed \
         and billed",
        scope.name(),
        may(wal.possible),
        days(wal.span()),
        days(base.span()),
        days(wal.span()),
    );
    // The promise can still hold, and then only dead weight is kept.
    let window = scope.policy.recovery_window.copied();
    let every = scope.policy.full_backup_every.copied().unwrap_or(Span::ZERO);
    let holds = window.is_some_and(|window| wal.span() >= window.plus(every));
    let severity = if holds { Severity::Warning } else { Severity::Critical };
    let advice = "let WAL expire no earlier than base backups (the same number of days or more)".to_owned();
    let rules: Vec<RuleRef> = wal.ended.map(|due| due.rule).into_iter().collect();
    let mut finding = cx.finding("LFC003", severity, Some(scope), &rules, [message, advice]);
    finding.facts.insert("wal_days".into(), json!(wal.span().days()));
    finding.facts.insert("base_days".into(), json!(base.span().days()));
    out.push(finding);
}

/// LFC005: small files that are written once and needed long.
fn metadata_first(cx: &Context<'_>, scope: &Scope, lives: &[Lives], out: &mut Vec<PlanFinding>) {
    let one = |side: fn(&Lives) -> &Life, part: Part| shortest(lives, side, |other| other == part);
    let (Some(base), Some(old_base)) = (one(after, Part::Base), one(before, Part::Base)) else { return };
    for (part, what) in [(Part::History, "timeline history files"), (Part::Metadata, "backup metadata")] {
        let (Some(small), Some(old_small)) = (one(after, part), one(before, part)) else { continue };
        let worse = old_small.span() >= old_base.span() || small.span() < old_small.span();
        if small.span() >= base.span() || !(cx.as_is || worse) {
            continue;
        }
        let message = format!(
            "{}: {what} {} live {}, the backups that need them {}",
            scope.name(),
            may(small.possible),
            days(small.span()),
            days(base.span())
        );
        let advice = match cx.change.provider {
            Provider::Gcs => "leave them out by suffix (matchesSuffix), or let them live as long as the backups",
            _ => "leave them out by a size floor (object_size_greater_than), or let them live as long as the backups",
        };
        let rules: Vec<RuleRef> = small.ended.map(|due| due.rule).into_iter().collect();
        out.push(cx.finding("LFC005", Severity::Error, Some(scope), &rules, [message, advice.to_owned()]));
    }
}

/// LFC004 and LFC021: classes inside the window.
fn classes(cx: &Context<'_>, scope: &Scope, lives: &[Lives], out: &mut Vec<PlanFinding>) {
    let window = scope.policy.recovery_window.copied();
    // Without a promise any move to a class that has to be restored is inside whatever window there is.
    let inside = |due: &Due| window.is_none_or(|window| due.span() < window);
    let allowed = scope.policy.storage.allowed_classes_in_window.get();
    let mut told: Vec<(RuleRef, StorageClass)> = Vec::new();
    for Lives { sample, before, after, .. } in lives {
        if matches!(sample.part, Part::File(_)) {
            continue;
        }
        for (due, class) in after.moves.iter().filter(|(due, _)| inside(due)) {
            let was = before.moves.iter().any(|(old, known)| known == class && old.days <= due.days);
            if was && !cx.as_is || told.contains(&(due.rule, *class)) {
                continue;
            }
            let refused = !class.readable_at_once();
            let unwanted = allowed.is_some_and(|allowed| !allowed.contains(class));
            let (code, severity, what) = match (refused, *class, unwanted) {
                (true, ..) => {
                    ("LFC004", Severity::Error, "GET is refused until a restore was asked for, object by object")
                }
                (_, StorageClass::OnezoneIa | StorageClass::ExpressOnezone, _) => {
                    ("LFC021", Severity::Warning, "the class lies in a single zone")
                }
                (_, _, true) => {
                    ("LFC004", Severity::Warning, "storage.allowed_classes_in_window does not name the class")
                }
                _ => continue,
            };
            told.push((due.rule, *class));
            let message = format!(
                "{}: rule \"{}\" moves objects of the window to {} after {} d: {what}",
                scope.name(),
                cx.after_rules().name(due.rule),
                class.name(),
                due.days
            );
            let advice =
                "keep the window in a class that is read at once (STANDARD, STANDARD_IA, GLACIER_IR)".to_owned();
            let mut finding = cx.finding(code, severity, Some(scope), &[due.rule], [message, advice]);
            finding.facts.insert("class".into(), json!(class.name()));
            finding.facts.insert("after_days".into(), json!(due.days));
            out.push(finding);
        }
    }
    if cx.change.after.archive_tiers && !cx.change.before.archive_tiers && told.is_empty() {
        let message = format!(
            "{}: intelligent tiering gets archive tiers: objects that nobody reads for months may need a restore request",
            scope.name()
        );
        let advice = "leave the archive tiers of intelligent tiering off for backups".to_owned();
        out.push(cx.finding("LFC004", Severity::Warning, Some(scope), &[], [message, advice]));
    }
}

/// LFC008: how long a wrong deletion can be taken back.
fn undo_short(cx: &Context<'_>, scope: &Scope, lives: &[Lives], out: &mut Vec<PlanFinding>) {
    let Some(promised) = scope.policy.undo_window.copied() else { return };
    // A bucket without versioning is LFC007's business, unless soft delete was to cover it.
    let covered = cx.after.bucket().versioning == Versioning::Enabled
        || !matches!(cx.change.after.soft_delete, Setting::NotStated);
    let shortest = lives.iter().min_by_key(|lives| lives.undo_after);
    let Some(lives) = shortest.filter(|lives| covered && lives.undo_after < promised) else { return };
    if !(cx.as_is || lives.undo_after < lives.undo_before) {
        return;
    }
    let message = format!(
        "{}: a deletion can be taken back for {} only, {} promised",
        scope.name(),
        days(lives.undo_after),
        days(promised)
    );
    let advice =
        format!("keep noncurrent versions at least {} d, without a keep-count", promised.days().unwrap_or(0) + 1);
    out.push(cx.finding("LFC008", Severity::Warning, Some(scope), &[], [message, advice]));
}

/// LFC013: a default lock that this change sets below the promise. A weaker one than before is a problem of the plan itself.
fn lock_short(cx: &Context<'_>, scope: &Scope, out: &mut Vec<PlanFinding>) {
    let Some(promised) = scope.policy.immutability.min_lock.copied().filter(|lock| *lock > Span::ZERO) else { return };
    let (Setting::Known(after), before) = (&cx.change.after.lock, &cx.change.before.lock) else { return };
    let told = cx.change.problems.iter().any(|problem| problem.code == "LFC013");
    if told || before == &cx.change.after.lock {
        return;
    }
    let mode = scope.policy.immutability.mode.copied();
    let enough = after.is_some_and(|lock| lock.span >= promised && mode.is_none_or(|mode| lock.mode >= mode));
    if !enough {
        let has =
            after.map_or("no default lock".to_owned(), |lock| format!("{} {}", lock.mode.name(), days(lock.span)));
        let message = format!("{}: {has}, {} promised", scope.name(), days(promised));
        let advice = "set the default retention to at least immutability.min_lock, in its mode".to_owned();
        out.push(cx.finding("LFC013", Severity::Error, Some(scope), &[], [message, advice]));
    }
}

/// LFC001 without objects: a generation that will not live as long as promised.
fn tiers(cx: &Context<'_>, scope: &Scope, lives: &[Lives], out: &mut Vec<PlanFinding>) {
    for lives in lives {
        let Part::File(tier) = lives.sample.part else { continue };
        let window = scope.policy.recovery_window.copied().filter(|window| *window > Span::ZERO);
        let keep = match tier {
            Some(tier) => tier.keep(&scope.policy.retention),
            None => window,
        };
        let Some(keep) = keep else { continue };
        let (was, is) = (lives.before.span(), lives.after.span());
        if is >= keep || !(cx.as_is || is < was) {
            continue;
        }
        let name = tier.map_or("backups", |tier| tier.name());
        let message = format!(
            "{}: {name} backups {} live {} ({} before), {} promised",
            scope.name(),
            may(lives.after.possible),
            days(is),
            days(was),
            days(keep)
        );
        let advice = format!("let them live at least {}, or leave {name} backups out of the rule", days(keep));
        let rules: Vec<RuleRef> = lives.after.ended.map(|due| due.rule).into_iter().collect();
        let mut finding = cx.finding("LFC001", Severity::Critical, Some(scope), &rules, [message, advice]);
        finding.facts.insert("window_before_days".into(), json!(was.days()));
        finding.facts.insert("window_after_days".into(), json!(is.days()));
        finding.facts.insert("promised_days".into(), json!(keep.days()));
        out.push(finding);
    }
}

/// LFC007: what a deletion means once the change is there. `loses` says that objects live shorter.
pub(super) fn versioning(cx: &Context<'_>, stated: Option<Versioning>, loses: bool, out: &mut Vec<PlanFinding>) {
    let scope = cx.scopes.first();
    let was = cx.before.bucket().versioning;
    let changed = was == Versioning::Enabled && stated.is_some_and(|is| is != Versioning::Enabled) && !cx.as_is;
    let mut finals = cx.lives.iter().flatten().filter(|lives| {
        // Before it was hidden and its bytes stayed; now they go.
        lives.after.gone_span() < lives.before.gone_span() && lives.after.span() >= lives.before.span()
    });
    let address = cx.change.versioning_owner.as_ref().map(|owner| owner.address.clone());
    let mut push = |severity: Severity, rules: &[RuleRef], message: String| {
        let advice = "keep versioning enabled and let noncurrent versions live for the undo window".to_owned();
        let mut finding = cx.finding("LFC007", severity, scope, rules, [message, advice]);
        if let Some(address) = &address {
            finding.facts.insert("resource_address".into(), json!(address));
            if rules.is_empty() {
                finding.subject.clone_from(address);
            }
        }
        finding.facts.insert("versioning".into(), json!(stated.map(Versioning::name)));
        out.push(finding);
    };
    let name = stated.map_or("not enabled", Versioning::name);
    if let (true, Some(lives)) = (changed, finals.next()) {
        let rules: Vec<RuleRef> = lives.after.gone.map(|due| due.rule).into_iter().collect();
        let kept = lives.before.gone_span();
        let message = format!(
            "versioning of {} becomes {name}: objects written from then on are deleted for good after {}, where they were \
             hidden and kept {} before{}",
            cx.change.name(),
            days(lives.after.gone_span()),
            days(kept),
            if lives.after.possible { " (those with the tags that the rule asks for)" } else { "" }
        );
        push(Severity::Error, &rules, message);
    } else if changed {
        let message = format!(
            "versioning of {} becomes {name}: from then on every overwrite and deletion is final",
            cx.change.name()
        );
        push(Severity::Warning, &[], message);
    } else if loses && stated.is_some_and(|is| is != Versioning::Enabled) {
        let message =
            format!("versioning of {} is {name}: what this change deletes is gone for good", cx.change.name());
        push(Severity::Warning, &[], message);
    }
}
