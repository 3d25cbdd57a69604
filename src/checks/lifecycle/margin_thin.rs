//! Lifecycle fires so soon behind the promise that it races the backup tool's own deletion.
//!
//! **Fires** when the guaranteed window is at least `recovery_window`, but less than that and `immutability.margin`.
//!
//! **Near miss.** A guaranteed window that already falls short of the promise is LFC020's.
//!
//! **Why it matters.** Two engines that delete do not know each other: lifecycle may take parts of a backup that the tool
//! still counts among those it keeps, and then the tool deletes a living one.
//!
//! **What to do.** Let one engine delete, and lifecycle come later, as a backstop.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC018", "margin-thin", Warning, "margin_thin.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    cx.promised("immutability.margin", |policy| policy.immutability.margin.copied())?;
    super::told(cx, &RULE, out)
}
