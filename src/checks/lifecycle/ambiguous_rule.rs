//! A rule does not mean what it looks like.
//!
//! **Fires** when a rule that concerns the archive has both a filter and a legacy prefix, two conditions in a filter that
//! takes one, a condition of zero that the provider drops, or no effect at all.
//!
//! **Why it matters.** Tools and people read such a rule differently from the store; the worst reading is judged here.
//!
//! **What to do.** Write it with one filter and at least one action.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC015", "ambiguous-rule", Error, "ambiguous_rule.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    super::told(cx, &RULE, out)
}
