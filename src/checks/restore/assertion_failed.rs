//! A SQL assertion, row count or checksum differs from what was expected.
//!
//! **Fires** when the restored server answers a statement of the configuration's `restore_test.assertions` or of a
//! `--assert` file with something else than was expected, or when the command of `--then` fails. One finding for each.
//!
//! **Why it matters.** A server that starts proves nothing: databases can be missing, tables can be empty, and recovery
//! can end early. Only a question about the data itself tells.
//!
//! **Near miss.** An assertion that could not be judged (an extension or a library that this machine lacks) is reported as
//! not run, and the backup stays below the rung `proven`.
//!
//! **What to do.** Compare with the live server: is the backup wrong, or the expectation? `--keep DIR` leaves the restored
//! files to look at.

use super::{facts, judged};
use crate::catalog::evidence::RestoreStep;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("RST005", "assertion-failed", Critical, "assertion_failed.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for test in judged(cx, RestoreStep::Assert)? {
        for assertion in test.assertions.iter().filter(|one| one.ok == Some(false) && !one.corruption) {
            let said = match (&assertion.expected, &assertion.actual, &assertion.why) {
                (Some(expected), Some(actual), _) => format!("expected {expected}, found {actual}"),
                (_, _, Some(why)) => why.clone(),
                (Some(expected), None, None) => format!("expected {expected}, found nothing"),
                _ => "it does not hold".to_owned(),
            };
            let subject = format!("{}: {}", test.backup, assertion.name);
            out.push(
                facts(
                    Finding::new(&RULE, subject, format!("{} on the restored {}: {said}", assertion.name, test.backup)),
                    test,
                )
                .fact("assertion", assertion.name.clone())
                .fact("expected", assertion.expected.clone())
                .fact("actual", assertion.actual.clone())
                .advise("compare with the live server; `--keep DIR` leaves the restored files to look at"),
            );
        }
    }
    Ok(())
}
