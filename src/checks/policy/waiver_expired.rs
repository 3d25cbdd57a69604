//! An exception of the policy is past its end date.
//!
//! **Fires** when the configuration holds an `[[exception]]` for this cluster whose `until` is over.
//!
//! **Why it matters.** What it accepted counts again; and an exception that nobody removed was perhaps not looked at.
//!
//! **What to do.** Fix what it was about, or renew it with a reason.

use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

declare_rule!("POL002", "waiver-expired", Warning, "waiver_expired.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let Some(exceptions) = cx.promises.exceptions else { return Err(NotRun("no configuration".to_owned())) };
    let own = exceptions.iter().filter(|exception| Some(exception.cluster.as_str()) == cx.promises.cluster);
    for exception in own.filter(|exception| exception.is_expired(cx.as_of)) {
        out.push(
            Finding::new(
                &RULE,
                format!("exception at line {}", exception.line),
                format!("the exception for {} ended on {}: {}", exception.rule, exception.until, exception.reason),
            )
            .fact("rule", exception.rule.as_str())
            .fact("until", exception.until.to_string())
            .fact("line", exception.line)
            .advise("fix what it was about, or renew it with a reason"),
        );
    }
    Ok(())
}
