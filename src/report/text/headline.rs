use super::words::{clean, moment, span};
use crate::catalog::LayoutKind;
use crate::catalog::evidence::RestoreOutcome;
use crate::checks::Severity;
use crate::report::data::{ArchiveReport, Restorable, Status, WindowReport};

/// The verdict in one word.
pub(in crate::report) fn word(status: Status) -> &'static str {
    match status {
        Status::Ok | Status::Info => "OK",
        Status::Warning => "WARNING",
        Status::Error => "ERROR",
        Status::Critical => "CRITICAL",
        Status::Incomplete => "INCOMPLETE",
    }
}

/// The answer: what can be recovered, at which rung, and what cannot.
pub(in crate::report) fn of(archive: &ArchiveReport) -> Vec<String> {
    if !archive.answer.is_empty() {
        return archive.answer.iter().map(|line| clean(line)).collect();
    }
    let mut lines = Vec::new();
    if let Some(error) = &archive.error {
        lines.push(clean(error));
        if archive.layout.is_none() || archive.backups.is_empty() {
            return lines;
        }
    }
    // Whatever the listing says: a restore that was tried and failed is the answer.
    let failed = archive.restore_tests.iter().filter(|test| test.outcome == RestoreOutcome::Failed);
    lines.extend(
        failed.map(|test| format!("the test restore of {} to {} failed", clean(&test.backup), clean(&test.target))),
    );
    if archive.layout.as_deref() == Some(LayoutKind::Files.name()) {
        dumps(archive, &mut lines);
        return lines;
    }
    let window =
        archive.recovery_window.as_ref().or_else(|| archive.recovery_windows.iter().max_by_key(|window| window.to_lsn));
    let Some(window) = window else {
        let no_backup = archive.findings.iter().find(|finding| finding.code == "BKP012");
        let why = no_backup.map_or("no backup is usable", |finding| finding.message.as_str());
        lines.push(format!("nothing can be recovered: {}", clean(why)));
        return lines;
    };
    let stretch = format!("any moment {}", range(window));
    let about = match window.seconds {
        Some(seconds) => format!("  ({}, timeline {})", span(seconds), window.timeline),
        None => format!("  (timeline {})", window.timeline),
    };
    let blocked = furthest_blocked(archive, window);
    if window.holes.is_empty() && blocked.is_none() {
        lines.push(format!("nothing is missing for {stretch}{about}"));
    } else {
        for hole in &window.holes {
            let length = hole.from.zip(hole.to).map(|(from, to)| span(to.duration_since(from).as_secs()));
            let length = length.unwrap_or_else(|| "a stretch".to_owned());
            let when = match (hole.from, hole.to) {
                (Some(from), Some(to)) => format!("{} .. {} UTC", moment(from), moment(to)),
                _ => format!("LSN {} .. {}", hole.from_lsn, hole.to_lsn),
            };
            lines.push(format!("{length} cannot be recovered: {when} (LSN {} .. {})", hole.from_lsn, hole.to_lsn));
        }
        if let Some(segment) = blocked {
            lines.push(format!("nothing behind segment {segment} can be recovered, although later WAL exists"));
        }
        lines.push(format!("nothing is missing for the other moments {}{about}", range(window)));
    }
    if archive.recovery_window.is_none() {
        lines.push("recovery_target_timeline = 'latest' works from no usable backup: name the timeline".to_owned());
    }
    let unusable = archive.backups.iter().filter(|backup| backup.restorable == Restorable::No).count();
    if unusable > 0 {
        lines.push(format!("{unusable} of {} backups cannot be restored", archive.backups.len()));
    }
    let unknown = archive.backups.iter().filter(|backup| backup.restorable == Restorable::Unknown).count();
    if unknown > 0 {
        lines.push(format!(
            "of {unknown} of {} backups the listing cannot tell whether every part is there",
            archive.backups.len()
        ));
    }
    lines.push(rungs(archive));
    lines
}

/// Dumps and tarballs: each gives back its own moment and no other.
fn dumps(archive: &ArchiveReport, lines: &mut Vec<String>) {
    let usable: Vec<_> = archive.backups.iter().filter(|backup| backup.restorable != Restorable::No).collect();
    let times = || usable.iter().filter_map(|backup| backup.finished_at);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) => lines.push(format!(
            "{} of {} backups are there, each for its own moment only (no WAL): {} .. {} UTC",
            usable.len(),
            archive.backups.len(),
            moment(first),
            moment(last)
        )),
        _ => lines.push("nothing can be restored: no backup is usable".to_owned()),
    }
    lines.push(rungs(archive));
}

/// What was proven beyond the listing.
fn rungs(archive: &ArchiveReport) -> String {
    let content = content(archive);
    let restored = archive.last_restore.as_ref().map_or_else(
        || "no restore proven".to_owned(),
        |last| {
            let rto = last.rto_s.map(|seconds| format!(", RTO {}", span(seconds as i64))).unwrap_or_default();
            format!("last restore proven {} ago, {}{rto}", span(last.age_s), clean(&last.backup))
        },
    );
    let errors = archive.findings.iter().filter(|f| f.waived.is_none() && f.severity >= Severity::Error).count();
    let listed = match (errors, archive.verify.is_some()) {
        (0, false) => "judged by listing and metadata",
        (0, true) => "judged by listing, metadata and the content that was read",
        _ => "see the findings below",
    };
    format!("{content} · {restored} · {listed}")
}

/// The proven share of the bytes; never rounded up to all of them.
fn content(archive: &ArchiveReport) -> String {
    let number = |name: &str| archive.verify.as_ref()?.get(name)?.as_f64();
    let remembered = archive.proven.as_ref();
    let fraction = number("proven_fraction").or_else(|| remembered.map(|proven| proven.proven_fraction));
    let Some(fraction) = fraction.filter(|fraction| *fraction > 0.0) else {
        return "content not proven".to_owned();
    };
    let percent = 100.0 * fraction;
    let percent = if percent < 1.0 { "less than 1 %".to_owned() } else { format!("{:.0} %", percent.floor()) };
    let age = remembered.and_then(|proven| proven.oldest_proof_age_s).map(|age| age as f64);
    match number("oldest_proof_age_s").or(age) {
        Some(age) if age >= 3600.0 => format!("content proven {percent} (oldest proof {})", span(age as i64)),
        _ => format!("content proven {percent}"),
    }
}

fn range(window: &WindowReport) -> String {
    match (window.from, window.to) {
        (Some(from), Some(to)) => format!("{} .. {} UTC", moment(from), moment(to)),
        (Some(from), None) => format!("from {} UTC to LSN {}", moment(from), window.to_lsn),
        _ => format!("LSN {} .. {}", window.from_lsn, window.to_lsn),
    }
}

/// The segment at which even the best chain of a window stops, where later WAL exists.
fn furthest_blocked<'a>(archive: &'a ArchiveReport, window: &WindowReport) -> Option<&'a str> {
    let ways =
        archive.backups.iter().filter(|backup| backup.restorable != Restorable::No).flat_map(|backup| &backup.recovery);
    let own = ways.filter(|way| way.timeline == window.timeline && way.to_lsn == window.to_lsn);
    own.filter_map(|way| way.blocked_at.as_deref()).next()
}
