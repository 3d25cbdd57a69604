//! The window that the rules guarantee falls short of the promise, although today's may not.
//!
//! **Fires** when lifetime minus the distance between full backups is less than `recovery_window`. The lifetime is that of
//! what is written from now on; the distance is `full_backup_every`, else the median of what is seen.
//!
//! **Why it matters.** Just before the next full backup is there, the one before the oldest may have gone for a moment:
//! "expire after 30 days" with weekly fulls guarantees 23 days, not 30. It is noticed on the day it is needed.
//!
//! **What to do.** Let base backups and WAL live at least window, distance and a margin long.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC020", "guaranteed-window-short", Error, "guaranteed_window_short.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    cx.promised("recovery_window", |policy| policy.recovery_window.copied())?;
    super::told(cx, &RULE, out)
}
