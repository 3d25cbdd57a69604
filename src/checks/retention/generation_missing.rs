//! A day, week, month or year has no usable backup although the policy promises one.
//!
//! **Fires** when a calendar slot (in UTC; weeks begin on Monday) that `retention.daily`, `.weekly`, `.monthly` or
//! `.yearly` still promises holds no usable backup. Slots that are not over, and those before the first backup of the
//! archive, promise nothing. One finding for each generation, and for each database where dumps of several lie there.
//!
//! **Why it matters.** Long-term copies are what is left when a mistake is noticed after the recovery window.
//!
//! **What to do.** See what deleted them, or why none was taken. What is gone cannot be made again: accept the loss
//! with an exception once it is understood.

use crate::checks::context::NO_POLICY;
use crate::checks::words::{few, of};
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::policy::config::Retention;
use crate::policy::retention::{RestorePoint, Tier, missing_slots};

declare_rule!("RET003", "generation-missing", Error, "generation_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let retention = &cx.policy()?.retention;
    if Tier::ALL.iter().all(|tier| tier.keep(retention).is_none()) {
        return Err(NotRun(format!("{NO_POLICY} key retention")));
    }
    for subject in cx.subjects() {
        check_one(cx, subject, retention, out);
    }
    Ok(())
}

fn check_one(cx: &CheckContext<'_>, subject: Option<&str>, retention: &Retention, out: &mut Vec<Finding>) {
    let points: Vec<RestorePoint> = cx
        .backups()
        .filter(|(backup, standing)| standing.is_usable() && backup.subject.as_deref() == subject)
        .filter_map(|(backup, _)| Some(RestorePoint { taken: backup.finished_at.copied()?, usable_until: None }))
        .collect();
    // A backup that is damaged proves that the archive was there.
    let of_it = cx.archive.backups.iter().filter(|backup| backup.subject.as_deref() == subject);
    let began = of_it.filter_map(|backup| backup.finished_at.copied()).min();
    for tier in Tier::ALL {
        let Some(keep) = tier.keep(retention) else { continue };
        let missing = missing_slots(tier, keep, &points, began, cx.as_of);
        if missing.is_empty() {
            continue;
        }
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        out.push(
            Finding::new(
                &RULE,
                format!("retention.{}{}", tier.name(), of(subject)),
                format!(
                    "{} {} without a usable backup{}, which {} ({keep}) promises: {}",
                    names.len(),
                    if names.len() == 1 { "slot is" } else { "slots are" },
                    of(subject),
                    format_args!("retention.{}", tier.name()),
                    few(&names)
                ),
            )
            .count(names.len() as u64)
            .fact("slots", names.iter().take(100).cloned().collect::<Vec<_>>())
            .fact("keep_s", keep.seconds())
            .advise(
                "see what deleted them, or why none was taken; accept the loss with an exception once it is understood",
            ),
        );
    }
}
