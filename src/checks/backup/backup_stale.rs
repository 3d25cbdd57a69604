//! The newest usable backup is older than the policy allows.
//!
//! **Fires** when no usable backup (full or delta) ended within `backup_max_age`. Dumps of several databases are judged
//! one database at a time.
//!
//! **Why it matters.** The older the newest backup, the more WAL a recovery has to replay, and the more of it can be
//! missing. A job that stopped silently is noticed here.
//!
//! **What to do.** Look why the backup job did not run, and take a backup.

use crate::checks::words::{minute, of, span};
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::policy::Span;

declare_rule!("BKP006", "backup-stale", Error, "backup_stale.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let most = cx.promised("backup_max_age", |policy| policy.backup_max_age.copied())?;
    let Some(most_s) = most.seconds().and_then(|seconds| i64::try_from(seconds).ok()) else { return Ok(()) };
    for subject in cx.subjects() {
        check_one(cx, subject, most, most_s, out)?;
    }
    Ok(())
}

fn check_one(cx: &CheckContext<'_>, subject: Option<&str>, most: Span, most_s: i64, out: &mut Vec<Finding>) -> Checked {
    let of_it = cx.backups().filter(|(backup, _)| backup.subject.as_deref() == subject);
    let usable: Vec<_> = of_it.filter(|(_, standing)| standing.is_usable()).map(|(backup, _)| backup).collect();
    let timed = usable.iter().filter_map(|backup| Some((backup.finished_at.copied()?, *backup)));
    let Some((ended, newest)) = timed.max_by_key(|(ended, _)| *ended) else {
        if !usable.is_empty() {
            return Err(NotRun("no usable backup says when it was taken".to_owned()));
        }
        out.push(
            Finding::new(
                &RULE,
                format!("backups{}", of(subject)),
                format!("there is no usable backup{}; one of the last {most} is promised", of(subject)),
            )
            .fact("backup_max_age_s", most_s)
            .advise("take a base backup now"),
        );
        return Ok(());
    };
    let age = cx.as_of.duration_since(ended).as_secs();
    if age > most_s {
        out.push(
            Finding::new(
                &RULE,
                newest.name.clone(),
                format!(
                    "the newest usable backup{}, {}, ended {} ago ({}); {most} are promised",
                    of(subject),
                    newest.name,
                    span(age),
                    minute(ended)
                ),
            )
            .fact("age_s", age)
            .fact("backup_max_age_s", most_s)
            .time_fact("finished_at", Some(ended))
            .advise("look why the backup job did not run, and take a backup"),
        );
    }
    Ok(())
}
