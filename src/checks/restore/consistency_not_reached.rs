//! Recovery ended before the data was consistent.
//!
//! **Fires** when WAL between a backup's start and stop is missing or damaged: the backup is of no use, at any target.
//!
//! **Near miss.** Recovery that became consistent and then ended early is `RST004`: the backup works, but not up to the
//! moment asked for.
//!
//! **What to do.** Look for the WAL named by the finding in `pg_wal` of the server and its standbys. Take a new base
//! backup now.

use super::failures;
use crate::catalog::evidence::RestoreStep;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST003", "consistency-not-reached", Critical, "consistency_not_reached.rs");

const ADVICE: &str =
    "look for the missing WAL in pg_wal or where archive_command may have moved it; take a new base backup now";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    failures(cx, &RULE, RestoreStep::Replay, ADVICE, out)
}
