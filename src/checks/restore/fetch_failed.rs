//! A backup could not be fetched or unpacked.
//!
//! **Fires** when a test restore failed on the backup's own objects: a tar is missing, damaged or does not hold what the
//! backup's file list promises, or an ancestor of a delta is at fault. What the listing shows is foreseen, and nothing is
//! fetched then.
//!
//! **Near miss.** A store that does not answer, a full disk or a missing key say nothing about the backup: the restore
//! was not run, and the exit code is 2.
//!
//! **What to do.** Take a new base backup now. `walproof verify --backup NAME` reads the rest of it and tells what else
//! is damaged; `walproof restore-test --fallback` tries the backup before.

use super::failures;
use crate::catalog::evidence::RestoreStep;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST001", "fetch-failed", Critical, "fetch_failed.rs");

const ADVICE: &str = "take a new base backup now; `walproof verify --backup` says what else is damaged";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    failures(cx, &RULE, RestoreStep::Fetch, ADVICE, out)
}
