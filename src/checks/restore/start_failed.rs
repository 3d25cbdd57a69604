//! PostgreSQL did not start on the restored files.
//!
//! **Fires** when every byte was restored, and the server of the right major version ended before it replayed the first
//! record: `pg_control` or `backup_label` is missing or wrong, or the checkpoint record they name is not in the archive.
//!
//! **Near miss.** A server that lacks a library of the source's (a custom WAL resource manager), memory or a locale: that is the
//! test machine's fault, the restore was not run and the exit code is 2.
//!
//! **What to do.** The finding holds the server's last words. Restore the backup before (`--fallback`), and look at how
//! the backup was taken.

use super::failures;
use crate::catalog::evidence::RestoreStep;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST002", "start-failed", Critical, "start_failed.rs");

const ADVICE: &str = "look at the server's own words above; `walproof restore-test --fallback` tries the backup before";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    failures(cx, &RULE, RestoreStep::Start, ADVICE, out)
}
