//! The schedule of backups was broken, even if the newest is fresh.
//!
//! **Fires** when two consecutive full backups lie more than one and a half times the usual distance apart, or when the
//! next one is that long overdue. The usual distance is the policy's `full_backup_every`; without it, the median of the
//! distances in the archive (at least four). Distances behind a permanent backup do not count: what lay between was
//! thinned out on purpose.
//!
//! **Why it matters.** A job that stops and starts again without anybody's doing will stop again, and its absence
//! lengthens recovery and shortens what retention guarantees.
//!
//! **What to do.** Find out why the job did not run; let something alarm when it does not.

use crate::catalog::BaseBackup;
use crate::checks::context::NO_POLICY;
use crate::checks::words::{few, minute, of, span};
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};
use crate::model::Timestamp;

declare_rule!("BKP007", "cadence-missed", Warning, "cadence_missed.rs");

/// Fewer distances make no schedule.
const DISTANCES_MIN: usize = 4;

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let policy = cx.policy()?;
    let stated = policy.full_backup_every.copied().and_then(|every| every.seconds());
    if stated.is_none() && !policy.backup_max_age.is_set() {
        return Err(NotRun(format!("{NO_POLICY} key full_backup_every or backup_max_age")));
    }
    // Stated is how often there is a backup at all; what is seen is seen for each series of like ones (dumps may have a
    // daily and a monthly one).
    let mut series: std::collections::BTreeMap<Option<&str>, Vec<&BaseBackup>> = std::collections::BTreeMap::new();
    for backup in cx.archive.backups.iter().filter(|backup| !backup.kind.is_delta()) {
        let name = if stated.is_some() { &backup.subject } else { &backup.series };
        series.entry(name.as_deref()).or_default().push(backup);
    }
    let mut judged = 0;
    for (name, backups) in &series {
        judged += usize::from(check_one(cx, *name, backups, stated, out));
    }
    if judged == 0 && stated.is_none() {
        let count = cx.archive.backups.iter().filter(|backup| !backup.kind.is_delta()).count();
        return Err(NotRun(format!("{count} full backups make no schedule, and {NO_POLICY} key full_backup_every")));
    }
    Ok(())
}

/// Says whether there is a schedule to judge.
fn check_one(
    cx: &CheckContext<'_>,
    name: Option<&str>,
    backups: &[&BaseBackup],
    stated: Option<u64>,
    out: &mut Vec<Finding>,
) -> bool {
    // A damaged backup was taken on time, too: what is wrong with it is another rule's.
    let mut taken: Vec<(Timestamp, bool)> = backups
        .iter()
        .filter_map(|backup| {
            let ended = backup.finished_at.copied().filter(|ended| *ended <= cx.as_of)?;
            Some((ended, backup.permanent.copied() == Some(true)))
        })
        .collect();
    taken.sort();
    let distances: Vec<(Timestamp, Timestamp, i64)> = taken
        .windows(2)
        .filter(|pair| !pair[0].1)
        .map(|pair| (pair[0].0, pair[1].0, pair[1].0.duration_since(pair[0].0).as_secs()))
        .collect();
    let usual = match stated.and_then(|stated| i64::try_from(stated).ok()) {
        Some(stated) => stated,
        None => {
            let mut sorted: Vec<i64> = distances.iter().map(|(.., distance)| *distance).collect();
            sorted.sort_unstable();
            if sorted.len() < DISTANCES_MIN {
                return false;
            }
            sorted[sorted.len() / 2]
        }
    };
    let most = usual.saturating_add(usual / 2);
    let mut missed: Vec<(Timestamp, Timestamp, i64)> =
        distances.into_iter().filter(|(.., distance)| *distance > most && usual > 0).collect();
    if let Some((last, permanent)) = taken.last() {
        let since = cx.as_of.duration_since(*last).as_secs();
        if since > most && usual > 0 && !permanent {
            missed.push((*last, cx.as_of, since));
        }
    }
    let Some((from, to, distance)) = missed.iter().copied().max_by_key(|(.., distance)| *distance) else {
        return true;
    };
    let times = if missed.len() == 1 { "once".to_owned() } else { format!("{} times", missed.len()) };
    let stretches: Vec<String> =
        missed.iter().map(|(from, to, _)| format!("{} .. {}", minute(*from), minute(*to))).collect();
    out.push(
        Finding::new(
            &RULE,
            format!("full backups{}", of(name)),
            format!(
                "full backups{} come every {}, but the schedule was broken {times}; longest without one: {} ({} .. {})",
                of(name),
                span(usual),
                span(distance),
                minute(from),
                minute(to)
            ),
        )
        .count(missed.len() as u64)
        .fact("usual_s", usual)
        .fact("longest_s", distance)
        .fact("stretches", stretches.iter().take(Finding::OBJECTS_MAX).cloned().collect::<Vec<_>>())
        .advise(format!("find out why the job did not run: {}", few(&stretches))),
    );
    true
}
