//! The recovery window is shorter than the policy promises.
//!
//! **Fires** when the first moment that can be recovered today is younger than `recovery_window` allows, or when nothing
//! can be recovered. Holes inside the window are RET004's.
//!
//! **Why it matters.** A mistake that is noticed late, but within the promise, cannot be taken back.
//!
//! **What to do.** An archive younger than its promise grows into it: accept that with an exception until the day it is
//! due. Otherwise something deleted too much: look at lifecycle rules and at the backup tool's own retention.

use crate::checks::words::{minute, span};
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::policy::Span;

declare_rule!("RET001", "window-short", Critical, "window_short.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let promised = cx.promised("recovery_window", |policy| policy.recovery_window.copied())?;
    if promised == Span::ZERO {
        return Ok(());
    }
    let Some(window) = cx.recovery.latest_window() else {
        out.push(
            Finding::new(
                &RULE,
                "recovery window",
                format!("nothing can be recovered along the latest timeline; a window of {promised} is promised"),
            )
            .fact("window_s", 0)
            .fact("promised_s", promised.seconds())
            .advise("take a base backup now; then see which backups are not usable, and why"),
        );
        return Ok(());
    };
    let Some(from) = window.from else {
        return Err(NotRun("no usable backup says when it became consistent".to_owned()));
    };
    let needed = promised.before(cx.as_of);
    if from <= needed {
        return Ok(());
    }
    let has = cx.as_of.duration_since(from).as_secs();
    // For ever cannot be short by a number of days; it is short until the first backup ever taken is the oldest one.
    let short = from.duration_since(needed).as_secs();
    let missing = if promised.is_forever() { String::new() } else { format!(", {} short", span(short)) };
    let mut finding = Finding::new(
        &RULE,
        "recovery window",
        format!(
            "moments can be recovered back to {} ({} ago); {promised} are promised{missing}",
            minute(from),
            span(has)
        ),
    )
    .fact("window_s", has)
    .fact("promised_s", promised.seconds())
    .time_fact("from", Some(from))
    .time_fact("needed_from", Some(needed));
    if let Some(line) = cx.policy()?.recovery_window.line() {
        finding = finding.fact("policy_line", line);
    }
    if !promised.is_forever() {
        finding = finding.fact("short_s", short);
    }
    let grown = promised.after(from).map(|at| format!(" (it has grown by {})", minute(at))).unwrap_or_default();
    out.push(finding.advise(format!(
        "if the archive is younger than its promise, accept it until it has grown{grown}; otherwise see what deleted the older backups: \
         lifecycle rules, or the backup tool's own retention"
    )));
    Ok(())
}
