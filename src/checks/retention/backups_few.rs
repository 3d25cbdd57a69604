//! There are fewer usable full backups than the policy asks for.
//!
//! **Fires** when fewer than `min_full_backups` full backups are usable. Deltas do not count: they stand on a full one.
//! Dumps of several databases are counted one database at a time.
//!
//! **Why it matters.** When the only full backup turns out to be damaged, there is nothing else.
//!
//! **What to do.** Take a full backup, and keep more of them.

use crate::checks::words::of;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RET002", "backups-few", Error, "backups_few.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let least = cx.promised("min_full_backups", |policy| policy.min_full_backups.copied())?;
    for subject in cx.subjects() {
        check_one(cx, subject, least, out);
    }
    Ok(())
}

fn check_one(cx: &CheckContext<'_>, subject: Option<&str>, least: u32, out: &mut Vec<Finding>) {
    let fulls: Vec<_> =
        cx.backups().filter(|(backup, _)| !backup.kind.is_delta() && backup.subject.as_deref() == subject).collect();
    let usable = fulls.iter().filter(|(_, standing)| standing.is_usable()).count();
    if usable >= least as usize {
        return;
    }
    let broken: Vec<&str> =
        fulls.iter().filter(|(_, standing)| !standing.is_usable()).map(|(backup, _)| backup.name.as_str()).collect();
    let lost = if broken.is_empty() { String::new() } else { format!("; {} more cannot be restored", broken.len()) };
    out.push(
        Finding::new(
            &RULE,
            format!("full backups{}", of(subject)),
            format!("{usable} full backups{} are usable, {least} are promised{lost}", of(subject)),
        )
        .fact("usable", usable)
        .fact("min_full_backups", least)
        .objects(broken)
        .advise("take a full backup, and see what deletes them too early"),
    );
}
