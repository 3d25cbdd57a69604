//! A backup of another cluster lies in this archive.
//!
//! **Fires** when a backup's system identifier is neither that of the WAL around it nor of any cluster that wrote here.
//!
//! **Why it matters.** PostgreSQL refuses the archive's WAL for it ("WAL file is from different database system"): the
//! backup cannot become consistent, and where it is the newest one, a restore of LATEST fails.
//!
//! **What to do.** Find the cluster that pushes into this prefix and give it one of its own. Take a backup of the right
//! cluster now.

use crate::catalog::Obstacle;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP009", "foreign-backup", Critical, "foreign_backup.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let foreign = cx.obstacles(|obstacle| match obstacle {
        Obstacle::Foreign { own, archive } => Some((*own, *archive)),
        _ => None,
    });
    for (backup, (own, archive)) in foreign {
        out.push(
            Finding::new(
                &RULE,
                backup.name.clone(),
                format!("{} belongs to system {own}, the archive to {archive}", backup.name),
            )
            .objects(backup.sentinel.object().map(|object| &object.key))
            .fact("system_identifier", own.to_string())
            .fact("archive_system_identifier", archive.to_string())
            .fact("hostname", backup.hostname.clone())
            .advise("give the other cluster a prefix of its own, and take a base backup of the right one now"),
        );
    }
    Ok(())
}
