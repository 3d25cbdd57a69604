//! Objects that a recovery needs lie in a class that GET cannot read at once.
//!
//! **Fires** when parts or files of a backup, or segments of a recovery window, lie in an archive class (Glacier Flexible
//! Retrieval, Deep Archive, Azure archive); and, where the bucket's rules are known, when one of them moves objects there
//! inside `recovery_window` (without a policy: at any age).
//!
//! **Why it matters.** A restore stops with an error at the first such object until somebody has asked the store to
//! bring it back, which takes hours, up to two days. `restore_command` cannot wait for that.
//!
//! **What to do.** Move objects of the recovery window to a class that is read at once, and end the lifecycle rule that
//! moves them.

use crate::catalog::Obstacle;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC004", "archived-class", Error, "archived_class.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let archived = cx.obstacles(|obstacle| match obstacle {
        Obstacle::ArchivedClass(keys) => Some(keys),
        _ => None,
    });
    for (backup, keys) in archived {
        let classes: std::collections::BTreeSet<&str> = backup
            .objects()
            .filter(|object| !object.class.readable_at_once())
            .map(|object| object.class.name())
            .collect();
        let classes: Vec<&str> = classes.into_iter().collect();
        out.push(
            Finding::new(
                &RULE,
                backup.name.clone(),
                format!(
                    "{} objects of {} lie in {} and cannot be read at once",
                    keys.len(),
                    backup.name,
                    classes.join(", ")
                ),
            )
            .count(keys.len() as u64)
            .objects(keys)
            .fact("classes", classes)
            .advise("ask the store to restore them, and end the lifecycle rule that moves them"),
        );
    }
    let reached = cx.recovery.reached(archive);
    for timeline in archive.wal.timelines() {
        let mut names = Vec::new();
        let mut count = 0u64;
        let mut class = "";
        let mut ends = None;
        for row in archive.wal.rows(timeline).filter(|row| !row.class.readable_at_once()) {
            let Some(number) = row.name().number(archive.segment_size) else { continue };
            if !reached.get(&timeline).is_some_and(|needed| needed.contains(number.0)) {
                continue;
            }
            count += 1;
            class = row.class.name();
            ends = Some(ends.map_or((row.name(), row.name()), |(first, _)| (first, row.name())));
            if names.len() < Finding::OBJECTS_MAX {
                names.push(archive.segment_key(row));
            }
        }
        if let Some((first, last)) = ends {
            out.push(
                Finding::new(
                    &RULE,
                    format!("wal_005/{first}"),
                    format!("{count} segments of the recovery window on timeline {timeline} lie in {class} and cannot be read at once: {first} .. {last}"),
                )
                .count(count)
                .segments(first, last)
                .objects(names)
                .fact("class", class)
                .advise("ask the store to restore them, and end the lifecycle rule that moves them"),
            );
        }
    }
    // What rules will do is judged where they are known.
    if cx.outlook.is_some() { super::told(cx, &RULE, out) } else { Ok(()) }
}
