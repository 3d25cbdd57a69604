//! There are fewer usable full backups than the policy asks for.
//!
//! **Fires** when fewer than `min_full_backups` full backups are usable. Deltas do not count: they stand on a full one.
//!
//! **Why it matters.** When the only full backup turns out to be damaged, there is nothing else.
//!
//! **What to do.** Take a full backup, and keep more of them.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RET002", "backups-few", Error, "backups_few.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let least = cx.promised("min_full_backups", |policy| policy.min_full_backups.copied())?;
    let fulls: Vec<_> = cx.backups().filter(|(backup, _)| !backup.kind.is_delta()).collect();
    let usable = fulls.iter().filter(|(_, standing)| standing.is_usable()).count();
    if usable >= least as usize {
        return Ok(());
    }
    let broken: Vec<&str> =
        fulls.iter().filter(|(_, standing)| !standing.is_usable()).map(|(backup, _)| backup.name.as_str()).collect();
    let lost = if broken.is_empty() { String::new() } else { format!("; {} more cannot be restored", broken.len()) };
    out.push(
        Finding::new(&RULE, "full backups", format!("{usable} full backups are usable, {least} are promised{lost}"))
            .fact("usable", usable)
            .fact("min_full_backups", least)
            .objects(broken)
            .advise("take a full backup, and see what deletes them too early"),
    );
    Ok(())
}
