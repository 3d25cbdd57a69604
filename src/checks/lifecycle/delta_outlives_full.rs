//! A delta chain loses its full backup first.
//!
//! **Fires** when a delta backup that the policy promises ends early because a backup it stands on expires, though its own
//! objects live long enough. A warning where nothing is promised about it: the delta is then dead weight for some days.
//!
//! **Near miss.** A delta that expires with its full backup, or before it.
//!
//! **Why it matters.** A delta is worth as much as its oldest ancestor. Lifecycle counts each object's own age, and the full
//! backup is the oldest.
//!
//! **What to do.** Let lifecycle act only behind the promise and the length of a chain, or let the backup tool delete, which
//! knows chains.

use super::date;
use crate::checks::{CheckContext, Checked, Finding, Severity, declare_rule};
use crate::policy::outlook::{End, Need, PromiseLoss};

declare_rule!("LFC006", "delta-outlives-full", Critical, "delta_outlives_full.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let outlook = cx.outlook()?;
    let promised: Vec<&PromiseLoss> = outlook.losses.iter().filter(|loss| loss.by_ancestor).collect();
    let name = |at: usize| cx.archive.backups[at].name.as_str();
    if let Some(first) = promised.iter().min_by_key(|loss| loss.end.at) {
        out.push(
            Finding::new(
                &RULE,
                name(first.backup),
                format!(
                    "{} delta backups end before the policy allows because a backup they stand on goes first: {} on {}, {}",
                    promised.len(),
                    name(first.backup),
                    date(first.end.at),
                    outlook.reason(&first.end)
                ),
            )
            .count(promised.len() as u64)
            .objects(promised.iter().map(|loss| name(loss.backup)))
            .time_fact("at", Some(first.end.at))
            .advise("let rules act only behind the promise and a chain's length, or let the backup tool delete"),
        );
        return Ok(());
    }
    let day = jiff::SignedDuration::from_hours(24);
    let dead = |at: usize| {
        let ahead = &outlook.backups[at];
        let (end, own) = (ahead.ends.as_ref()?, ahead.own_ends.as_ref());
        let longer = own.is_none_or(|own| own.at.duration_since(end.at) >= day);
        (ahead.need == Need::Ancestor && longer && cx.recovery.standings[at].is_usable()).then_some((at, end))
    };
    let dead: Vec<(usize, &End)> = (0..outlook.backups.len()).filter_map(dead).collect();
    if let Some((at, end)) = dead.iter().min_by_key(|(_, end)| end.at) {
        out.push(
            Finding::new(
                &RULE,
                name(*at),
                format!(
                    "{} delta backups outlive a backup they stand on and are worth nothing from then on: {} on {}, {}",
                    dead.len(),
                    name(*at),
                    date(end.at),
                    outlook.reason(end)
                ),
            )
            .severity(Severity::Warning)
            .count(dead.len() as u64)
            .objects(dead.iter().map(|(at, _)| name(*at)))
            .time_fact("at", Some(end.at))
            .advise("let the backup tool delete, which knows chains"),
        );
    }
    Ok(())
}
