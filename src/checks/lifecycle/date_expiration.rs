//! A rule expires by date: after it, every new object dies at once.
//!
//! **Fires** when an expiration of S3 that covers objects of the archive names a `Date` instead of `Days`.
//!
//! **Near miss.** A class change by date; a date rule on another prefix.
//!
//! **Why it matters.** A date is no single event. Once it is over, the rule goes on acting on whatever is written later,
//! for as long as it is enabled: a backup of tonight may be gone tomorrow.
//!
//! **What to do.** Expire by days.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC014", "date-expiration", Error, "date_expiration.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    super::told(cx, &RULE, out)
}
