//! What is kept of an audit once its report is written.

use std::collections::BTreeMap;

use crate::checks::OutcomeKind;
use crate::model::Timestamp;
use crate::report::data::{ArchiveReport, BackupReport, Report, Restorable, TimelineReport};
use crate::state::{
    ArchiveId, BACKUPS_MAX, BackupEntry, Head, Kind, ListingCost, NewestWal, RunId, RunSummary, State, StateError,
    Window,
};

/// Longest error that is kept.
const ERROR_CHARS_MAX: usize = 1000;

/// Which archive a report is about, for the state.
pub fn archive_id(archive: &ArchiveReport) -> ArchiveId {
    ArchiveId::new(&archive.url, archive.endpoint.as_deref())
}

/// Writes a record of each archive's audit. All are tried, whatever becomes of one.
///
/// # Errors
/// The first record that could not be written.
pub async fn remember(state: &State, run_id: RunId, report: &Report) -> Result<(), StateError> {
    let mut first = Ok(());
    for archive in &report.archives {
        let head = Head::new(run_id, archive.name.clone(), archive_id(archive), report.as_of, Kind::Run);
        let written = state.write(&head, &summary(report, archive)).await;
        if let (Err(error), true) = (written, first.is_ok()) {
            first = Err(error);
        }
    }
    first
}

/// The summary of one archive's audit.
pub fn summary(report: &Report, archive: &ArchiveReport) -> RunSummary {
    let window = archive.recovery_window.as_ref().map(|window| Window {
        timeline: window.timeline,
        from_lsn: window.from_lsn,
        to_lsn: window.to_lsn,
        from: window.from,
        to: window.to,
        to_estimated: window.to_estimated,
        seconds: window.seconds,
        holes: window.holes.len() as u64,
    });
    let mut findings: BTreeMap<String, u64> = BTreeMap::new();
    for finding in archive.findings.iter().filter(|finding| finding.waived.is_none()) {
        let count = findings.entry(finding.code.to_string()).or_default();
        *count = count.saturating_add(finding.count);
    }
    let not_run = archive.rules.iter().filter(|rule| rule.outcome == OutcomeKind::NotRun);
    let newest = archive.backups.len().saturating_sub(BACKUPS_MAX);
    RunSummary {
        status: word(&archive.status),
        worst_severity: archive.worst_severity.map(|severity| severity.name().to_owned()),
        error: archive.error.as_ref().map(|error| error.chars().take(ERROR_CHARS_MAX).collect()),
        started_at: report.started_at,
        duration_s: report.duration_s,
        layout: archive.layout.clone(),
        system_identifier: archive.system_identifier.clone(),
        newest_wal: newest_wal(archive, window.as_ref().map(|window| window.timeline)),
        window,
        backups_total: archive.backups.len() as u64,
        backups: archive.backups[newest..].iter().map(backup).collect(),
        findings,
        waived: archive.findings.iter().filter(|finding| finding.waived.is_some()).count() as u64,
        rules_not_run: not_run.map(|rule| rule.code.to_string()).collect(),
        listing: ListingCost {
            objects: archive.listing.objects,
            bytes: archive.listing.bytes,
            wal_bytes: archive.timelines.iter().map(|line| line.bytes).sum(),
            wal_segments: archive.timelines.iter().map(|line| line.segments).sum(),
            requests: archive.listing.requests,
            duration_s: archive.listing.duration_s,
        },
    }
}

/// The end of the WAL that is being written: on the timeline of the window, else on the youngest one with segments.
fn newest_wal(archive: &ArchiveReport, timeline: Option<u32>) -> Option<NewestWal> {
    let wal = |line: &TimelineReport| {
        let segment = line.last.clone()?;
        Some(NewestWal { segment, stored_at: line.last_stored_at })
    };
    let of_window = archive.timelines.iter().find(|line| Some(line.id) == timeline);
    of_window.and_then(wal).or_else(|| archive.timelines.iter().rev().find_map(wal))
}

fn backup(backup: &BackupReport) -> BackupEntry {
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    BackupEntry {
        name: backup.name.clone(),
        kind: backup.kind.clone(),
        started_at: backup.started_at,
        finished_at: backup.finished_at,
        duration_s: backup.started_at.zip(backup.finished_at).map(|(from, to)| seconds(from, to)),
        stored: backup.size.stored,
        uncompressed: backup.size.uncompressed,
        rung: backup.rung.map(|rung| rung.name().to_owned()),
        restorable: match backup.restorable {
            Restorable::Yes => "yes",
            Restorable::No => "no",
            Restorable::Unknown => "unknown",
        }
        .to_owned(),
    }
}

/// The word that reports use.
fn word(status: &crate::report::data::Status) -> String {
    match serde_json::to_value(status) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
