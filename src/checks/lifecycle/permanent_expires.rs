//! A backup that is marked permanent is covered by an expiration.
//!
//! **Fires** when a rule of the bucket ends a backup that the backup tool was told to keep for ever.
//!
//! **Why it matters.** The mark is the tool's own; lifecycle does not know it. A permanent backup expires like any other.
//!
//! **What to do.** Copy it to a prefix without an expiration, or leave it out by prefix or tag.

use super::date;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::policy::outlook::End;

declare_rule!("LFC019", "permanent-expires", Warning, "permanent_expires.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let outlook = cx.outlook()?;
    let each = cx.backups().zip(&outlook.backups);
    let mut lost: Vec<(&End, &str)> = each
        .filter(|((backup, standing), _)| backup.permanent.copied() == Some(true) && standing.is_usable())
        .filter_map(|((backup, _), ahead)| Some((ahead.ends.as_ref()?, backup.name.as_str())))
        .collect();
    lost.sort_by_key(|(end, name)| (end.at, *name));
    if let Some((end, name)) = lost.first() {
        out.push(
            Finding::new(
                &RULE,
                *name,
                format!(
                    "{} backups marked permanent expire like any other, first {name} on {}: {}",
                    lost.len(),
                    date(end.at),
                    outlook.reason(end)
                ),
            )
            .count(lost.len() as u64)
            .objects(lost.iter().map(|(_, name)| *name))
            .time_fact("at", Some(end.at))
            .advise("copy them to a prefix without an expiration, or leave them out by prefix or tag"),
        );
    }
    Ok(())
}
