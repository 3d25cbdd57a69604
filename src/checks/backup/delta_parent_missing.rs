//! A delta backup stands on a backup that is missing or cannot be restored.
//!
//! **Fires** when the parent of a delta, or any ancestor up to the full backup, has no sentinel, lacks objects, is
//! unreadable, or is another backup than the delta was made from.
//!
//! **Why it matters.** A delta holds only the pages that changed. Without its full backup it is worth nothing, and the
//! tools go on listing it.
//!
//! **What to do.** Bring the ancestor back, or take a new full backup now.

use crate::catalog::Obstacle;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP004", "delta-parent-missing", Critical, "delta_parent_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let faults = cx.obstacles(|obstacle| match obstacle {
        Obstacle::Ancestor { name, why } => Some((name, why)),
        _ => None,
    });
    for (backup, (name, why)) in faults {
        out.push(
            Finding::new(&RULE, backup.name.clone(), format!("{} stands on {name}: {why}", backup.name))
                .objects([
                    format!("basebackups_005/{name}_backup_stop_sentinel.json"),
                    format!("basebackups_005/{name}/"),
                ])
                .fact("ancestor", name.as_str())
                .fact("parent", backup.kind.parent().unwrap_or_default())
                .advise(format!(
                    "bring {name} back from a noncurrent version or a second copy, or take a new full backup now"
                )),
        );
    }
    Ok(())
}
