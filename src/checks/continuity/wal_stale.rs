//! The end of the gapless WAL chain is older than the policy allows.
//!
//! **Fires** when the last segment that recovery can reach was stored longer ago than `rpo`. The end of the gapless
//! chain counts, not the newest file: WAL behind a hole is of no use. With `activity = "idle-ok"` silence may be
//! idleness; the archive is then judged only against the live server's position (`--live-lsn` and `--live-timeline`, or
//! `live_status`, a file that a monitor writes).
//!
//! **Near miss.** An idle server whose position lies within the segment behind the last archived one: whether anything
//! in it is older than `rpo` depends on `archive_timeout`, so the rule does not run.
//!
//! **What to do.** Look at `pg_stat_archiver` and the server's log: `archive_command` fails, hangs or was changed.

use crate::checks::words::{minute, span};
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::policy::config::Activity;

declare_rule!("WAL002", "wal-stale", Error, "wal_stale.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let rpo = cx.promised("rpo", |policy| policy.rpo.copied())?;
    let Some(rpo_s) = rpo.seconds().and_then(|seconds| i64::try_from(seconds).ok()) else { return Ok(()) };
    let Some(window) = cx.recovery.latest_window().or_else(|| cx.recovery.windows.iter().max_by_key(|w| w.to_lsn))
    else {
        out.push(
            Finding::new(
                &RULE,
                "wal_005/",
                format!("no archived WAL can be reached from a usable backup, {rpo} are promised"),
            )
            .fact("rpo_s", rpo_s)
            .advise("take a base backup now"),
        );
        return Ok(());
    };
    // Everything up to the upload of the last segment is in the archive.
    let stored = window.to.map(|to| to.at_most);
    let lag = stored.map(|stored| cx.as_of.duration_since(stored).as_secs());
    let idle = cx.policy()?.activity.copied() == Some(Activity::IdleOk);
    let size = cx.archive.segment_size;
    if let Some(live) = cx.promises.live {
        let other = live.timeline != window.timeline;
        let behind = live.lsn.0.saturating_sub(window.to_lsn.0);
        if !other && behind == 0 {
            return Ok(());
        }
        if !other && behind < size.bytes() && (idle || lag.is_none()) && lag.is_none_or(|lag| lag > rpo_s) {
            return Err(NotRun(format!(
                "the server is {behind} bytes into a segment that is not archived yet; without archive_timeout its age is unknown"
            )));
        }
        if lag.is_none_or(|lag| lag > rpo_s) {
            let what = if other {
                format!("the server is on timeline {}, the archive ends on timeline {}", live.timeline, window.timeline)
            } else {
                format!("the server is at {}, {behind} bytes ahead of the archive", live.lsn)
            };
            out.push(finding(cx, window, lag, &format!("{what}; {rpo} are promised")).fact("rpo_s", rpo_s));
        }
        return Ok(());
    }
    if idle {
        return Err(NotRun(
            "activity is idle-ok and nobody says where the live server is (--live-lsn, live_status)".to_owned(),
        ));
    }
    let Some(lag) = lag else {
        return Err(NotRun("the bucket was copied: upload times do not say how old WAL is".to_owned()));
    };
    if lag > rpo_s {
        let at = stored.map(minute).unwrap_or_default();
        let text = format!("the last WAL that can be reached was stored {} ago ({at}); {rpo} are promised", span(lag));
        out.push(finding(cx, window, Some(lag), &text).fact("rpo_s", rpo_s));
    }
    Ok(())
}

fn finding(cx: &CheckContext<'_>, window: &crate::catalog::Window, lag: Option<i64>, text: &str) -> Finding {
    let mut finding = Finding::new(&RULE, format!("timeline {}", window.timeline), text.to_owned())
        .fact("timeline", window.timeline.get())
        .fact("to_lsn", window.to_lsn.to_string())
        .time_fact("stored_at", window.to.map(|to| to.at_most))
        .advise("look at pg_stat_archiver and the server's log: archive_command fails, hangs or was changed");
    if let Some(lag) = lag {
        finding = finding.fact("age_s", lag);
    }
    if let Some(live) = cx.promises.live {
        finding = finding.fact("live_lsn", live.lsn.to_string()).fact("live_timeline", live.timeline.get());
    }
    finding
}
