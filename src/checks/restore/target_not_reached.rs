//! Recovery could not reach the requested target.
//!
//! **Fires** when replay ended before its target, or before the end of the archive where everything was asked for.
//! PostgreSQL takes damaged or missing WAL for the end of the archive: it promotes there and serves half the rows without
//! an error line. So the end of replay is read from the server and compared with the last record that the archive holds.
//! Targets that cannot work (a timeline that the backup does not descend into, a hole on the way, a moment outside of the
//! window) are refused before anything is fetched.
//!
//! **Near miss.** A backup on an abandoned timeline whose own timeline is named (`--timeline`) reaches its end.
//!
//! **What to do.** The finding names the segment at which replay ended. Look for it in `pg_wal` of the server and its
//! standbys or where `archive_command` may have moved it. If it is gone, take a new base backup now: nothing behind the
//! hole can be recovered from an older one.

use super::failures;
use crate::catalog::evidence::RestoreStep;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST004", "target-not-reached", Critical, "target_not_reached.rs");

const ADVICE: &str =
    "look for the segment in pg_wal or where archive_command may have moved it; take a new base backup now";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    failures(cx, &RULE, RestoreStep::Replay, ADVICE, out)
}
