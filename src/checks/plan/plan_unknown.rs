//! A plan leaves values of lifecycle rules unknown until it is applied.
//!
//! **Fires** in `walproof lifecycle check` when days, dates, prefixes, filters, statuses or whole rules depend on something
//! that the tool knows only later, when a bucket's versioning does, or when the plan covers only a part of the
//! configuration. The worst case is judged (`--unknown best` takes the best one) and both outcomes are in the facts. It is
//! an error where such a value could end data and nothing else failed: an unknown is never a pass.
//!
//! **Why it matters.** An unknown number of days is missing from the plan's JSON. Who reads that as "no expiration" calls
//! the most dangerous plan harmless.
//!
//! **What to do.** Use values that are known when the plan is made (variables, locals), or plan again once they are.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC012", "plan-unknown", Warning, "plan_unknown.rs");

fn check(_: &CheckContext<'_>, _: &mut Vec<Finding>) -> Checked {
    Err(super::only_before_it_is_applied())
}
