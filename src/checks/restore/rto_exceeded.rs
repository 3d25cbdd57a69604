//! The measured time to recover exceeds the policy's `rto`.
//!
//! **Fires** when a test restore took longer, from the first byte fetched until the server answered at its target, than
//! `rto` allows. Where the configuration calls the test machine not representative (`restore_test.representative =
//! false`), it is a note.
//!
//! **Near miss.** Assertions, amcheck and full reads do not count: nobody waits for them in a real recovery.
//!
//! **What to do.** The steps of the test say where the time goes. More frequent base backups shorten the replay; more
//! connections, a nearer bucket or a faster codec shorten the fetch.

use super::{facts, judged};
use crate::catalog::evidence::RestoreStep;
use crate::checks::words::span;
use crate::checks::{CheckContext, Checked, Finding, NotRun, Severity, declare_rule};

declare_rule!("RST007", "rto-exceeded", Error, "rto_exceeded.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let rto = cx.promised("rto", |policy| policy.rto.copied())?;
    let tests = judged(cx, RestoreStep::Assert)?;
    let Some(most) = rto.seconds() else { return Ok(()) };
    if tests.iter().all(|test| test.rto_s.is_none()) {
        return Err(NotRun("no test restore was measured to its end".to_owned()));
    }
    for test in tests {
        let Some(took) = test.rto_s.filter(|took| *took > most as f64) else { continue };
        let severity = if test.representative == Some(false) { Severity::Info } else { Severity::Error };
        let mut finding = Finding::new(
            &RULE,
            test.backup.clone(),
            format!("recovering {} took {}; {rto} are promised", test.backup, span(took as i64)),
        )
        .severity(severity)
        .fact("rto_s", took)
        .fact("promised_s", most);
        for step in &test.steps {
            finding = finding.fact(&format!("{}_s", step.name.name()), step.duration_s);
        }
        out.push(facts(finding, test).advise("the step that takes longest is the one to shorten"));
    }
    Ok(())
}
