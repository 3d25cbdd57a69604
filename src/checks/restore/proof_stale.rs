//! No test restore has passed within the policy's interval.
//!
//! **Fires** when the last test restore that reached its target, and whose objects are still the same, is older than
//! `test_restore_every`, or when there is none. Tests that were not run (too large, no server) do not count.
//!
//! **Near miss.** Without a state (`--state`) nobody knows when a restore was last tested: the rule does not run.
//!
//! **What to do.** `walproof restore-test`; put it into the same cron job as the audit.

use super::evidence;
use crate::checks::words::span;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST008", "proof-stale", Error, "proof_stale.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let every = cx.promised("test_restore_every", |policy| policy.test_restore_every.copied())?;
    let evidence = evidence(cx)?;
    let last = evidence.last_proof(cx.archive).and_then(|test| Some((test, test.at?)));
    let message = match last {
        Some((_, at)) if at >= every.before(cx.as_of) => return Ok(()),
        Some((test, at)) => format!(
            "the last restore was proven {} ago ({}); every {every} is promised",
            span(cx.as_of.duration_since(at).as_secs()),
            test.backup
        ),
        None => format!("no restore was ever proven; every {every} is promised"),
    };
    out.push(
        Finding::new(&RULE, "restore test", message)
            .fact("promised_s", every.seconds())
            .time_fact("last_proof", last.map(|(_, at)| at))
            .advise("run `walproof restore-test`, and let cron run it"),
    );
    Ok(())
}
