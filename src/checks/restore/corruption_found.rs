//! amcheck, a full read or page checks failed on the restored cluster.
//!
//! **Fires** when a restored relation cannot be read to its end, or amcheck finds a heap or an index that contradicts
//! itself. The damage is in the backup: a server starts happily on it, and nobody notices until the page is needed.
//!
//! **Near miss.** An index whose collation version differs on this machine looks wrong and may not be; one that needs a missing
//! extension cannot be judged. Both are reported as not run.
//!
//! **What to do.** Run amcheck on the live server: if it is damaged there, too, mend it there first. If not, the backup was damaged
//! on its way; take a new one and look at `walproof verify --backup`.

use super::{facts, judged};
use crate::catalog::evidence::RestoreStep;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST006", "corruption-found", Critical, "corruption_found.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for test in judged(cx, RestoreStep::Assert)? {
        for look in test.assertions.iter().filter(|one| one.ok == Some(false) && one.corruption) {
            let why = look.why.as_deref().or(look.actual.as_deref()).unwrap_or("it is damaged");
            out.push(
                facts(
                    Finding::new(
                        &RULE,
                        format!("{}: {}", test.backup, look.name),
                        format!("{} of the restored {}: {why}", look.name, test.backup),
                    ),
                    test,
                )
                .fact("look", look.name.clone())
                .advise("run amcheck on the live server; if it is well there, take a new base backup now"),
            );
        }
    }
    Ok(())
}
