//! Objects of the recovery window lie in a single-zone class.
//!
//! **Fires**, with a policy, when parts of a usable backup or segments of a recovery window lie in a class that one zone holds
//! (S3 One Zone-IA, Express One Zone), or when a rule moves them there inside `recovery_window`. Not where
//! `storage.allowed_classes_in_window` names the class.
//!
//! **Why it matters.** A fire in one building takes the only copy: the class is meant for data that can be made again.
//!
//! **What to do.** Keep backups in a class that several zones hold, or keep a second copy elsewhere.

use std::collections::BTreeSet;

use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::model::{ObjectKey, StorageClass};

declare_rule!("LFC021", "single-zone", Warning, "single_zone.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let policy = cx.policy()?;
    let allowed = policy.storage.allowed_classes_in_window.get();
    let single = |class: StorageClass| {
        matches!(class, StorageClass::OnezoneIa | StorageClass::ExpressOnezone)
            && !allowed.is_some_and(|allowed| allowed.contains(&class))
    };
    let mut count = 0u64;
    let mut keys: Vec<ObjectKey> = Vec::new();
    let mut classes: BTreeSet<&str> = BTreeSet::new();
    let mut take = |class: StorageClass, key: &mut dyn FnMut() -> ObjectKey| {
        count += 1;
        classes.insert(class.name());
        if keys.len() < Finding::OBJECTS_MAX {
            keys.push(key());
        }
    };
    for (backup, _) in cx.backups().filter(|(_, standing)| standing.is_usable()) {
        for object in backup.objects().filter(|object| single(object.class)) {
            take(object.class, &mut || object.key.clone());
        }
    }
    let reached = cx.recovery.reached(cx.archive);
    for row in cx.archive.wal.all_rows().filter(|row| single(row.class)) {
        let needed = row
            .name()
            .number(cx.archive.segment_size)
            .is_some_and(|number| reached.get(&row.name().timeline).is_some_and(|needed| needed.contains(number.0)));
        if needed {
            take(row.class, &mut || cx.archive.segment_key(row));
        }
    }
    if count > 0 {
        let classes: Vec<&str> = classes.into_iter().collect();
        out.push(
            Finding::new(
                &RULE,
                "recovery window",
                format!(
                    "{count} objects that a recovery needs lie in {}, which a single zone holds",
                    classes.join(", ")
                ),
            )
            .count(count)
            .objects(&keys)
            .fact("classes", classes)
            .advise("keep backups in a class that several zones hold, or keep a second copy elsewhere"),
        );
    }
    // What rules will do is judged where they are known.
    if cx.outlook.is_some() { super::told(cx, &RULE, out) } else { Ok(()) }
}
