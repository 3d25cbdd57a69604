//! The recovery window has a hole: moments inside it cannot be reached.
//!
//! **Fires** when moments that `recovery_window` promises lie between two that can be recovered, but cannot be recovered
//! themselves: WAL is missing there, and the next backup came later. With a policy, that is so even where a tool removed
//! the WAL on purpose around permanent backups.
//!
//! **Near miss.** A hole that is older than the promised window.
//!
//! **What to do.** Look for the missing segments. What is gone leaves the window as time passes: accept it until then.

use crate::checks::words::{minute, span};
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::policy::Span;

declare_rule!("RET004", "window-hole", Error, "window_hole.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let promised = cx.promised("recovery_window", |policy| policy.recovery_window.copied())?;
    let Some(window) = cx.recovery.latest_window().filter(|_| promised != Span::ZERO) else { return Ok(()) };
    let needed = promised.before(cx.as_of);
    for hole in &window.holes {
        // Without a time nothing says that it is older than the promise.
        if hole.to.is_some_and(|to| to <= needed) {
            continue;
        }
        let when = match (hole.from, hole.to) {
            (Some(from), Some(to)) => {
                format!("{} .. {} ({})", minute(from), minute(to), span(to.duration_since(from).as_secs()))
            }
            _ => format!("LSN {} .. {}", hole.from_lsn, hole.to_lsn),
        };
        let mut finding = Finding::new(
            &RULE,
            format!("LSN {} .. {}", hole.from_lsn, hole.to_lsn),
            format!("no moment of {when} can be recovered, though {promised} are promised"),
        )
        .fact("from_lsn", hole.from_lsn.to_string())
        .fact("to_lsn", hole.to_lsn.to_string())
        .fact("promised_s", promised.seconds())
        .time_fact("from", hole.from)
        .time_fact("to", hole.to);
        if let Some(until) = hole.to.and_then(|to| promised.after(to)) {
            finding = finding.time_fact("leaves_window_at", Some(until));
        }
        out.push(finding.advise("look for the missing segments (WAL001 names them); if they are gone, accept it until it has left the window"));
    }
    Ok(())
}
