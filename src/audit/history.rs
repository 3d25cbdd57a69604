//! From records to what `walproof history` shows.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde::Deserialize;

use crate::model::Timestamp;
use crate::report::HistoryReport;
use crate::report::history::{ArchiveHistory, BackupRow, ProofRow, RestoreRow, RunRow, WindowRow};
use crate::state::{Head, Kind, RecordName, RunSummary, State, StateError};

/// Archives that are looked at together.
const ARCHIVES_AT_ONCE: usize = 8;
/// Newest records tried for an archive's name and address, in case some are damaged.
const HEADS_MAX: usize = 4;

/// What the state remembers as of a moment: the last runs of each archive that `wanted` takes by its name and address,
/// by name. At most `last` records of a kind are read for each.
///
/// # Errors
/// The state cannot be read, or holds records of a later version. Damaged records are named in the answer.
pub async fn history(
    state: &State,
    wanted: impl Fn(&Head) -> bool,
    until: Timestamp,
    last: usize,
) -> Result<HistoryReport, StateError> {
    let wanted = &wanted;
    let folders = state.folders().await?;
    let mut reading = futures::stream::iter(folders)
        .map(|folder| async move { one(state, &folder, wanted, until, last).await })
        .buffer_unordered(ARCHIVES_AT_ONCE);
    let mut archives = Vec::new();
    while let Some(archive) = reading.next().await {
        archives.extend(archive?);
    }
    archives.sort_by(|a, b| (&a.name, &a.url, &a.endpoint).cmp(&(&b.name, &b.url, &b.endpoint)));
    Ok(HistoryReport { schema: "walproof.history/1".to_owned(), state: state.url(), as_of: until, archives })
}

async fn one(
    state: &State,
    folder: &str,
    wanted: &impl Fn(&Head) -> bool,
    until: Timestamp,
    last: usize,
) -> Result<Option<ArchiveHistory>, StateError> {
    let Some(head) = newest_head(state, folder, until).await? else { return Ok(None) };
    if !wanted(&head) {
        return Ok(None);
    }
    let mut history = ArchiveHistory {
        name: head.cluster,
        url: head.archive.url,
        endpoint: head.archive.endpoint,
        ..ArchiveHistory::default()
    };
    let mut backups: BTreeMap<String, BackupRow> = BTreeMap::new();
    for (head, run) in bodies::<RunSummary>(state, folder, Kind::Run, until, last, &mut history.damaged).await? {
        for row in backups.values_mut() {
            row.gone = true;
        }
        for backup in &run.backups {
            let row = backup_row(&head, backup);
            backups.insert(row.name.clone(), row);
        }
        history.runs.push(run_row(&head, run));
    }
    history.backups = backups.into_values().collect();
    history.backups.sort_by(|a, b| (a.finished_at, &a.name).cmp(&(b.finished_at, &b.name)));
    for (head, proofs) in bodies::<Proofs>(state, folder, Kind::Proofs, until, last, &mut history.damaged).await? {
        history.proofs.push(proof_row(&head, &proofs.summary));
    }
    for (head, restore) in bodies::<Restore>(state, folder, Kind::Restore, until, last, &mut history.damaged).await? {
        history.restores.push(restore_row(&head, restore));
    }
    Ok(Some(history))
}

/// The head of the newest record that can be read, whatever its kind.
async fn newest_head(state: &State, folder: &str, until: Timestamp) -> Result<Option<Head>, StateError> {
    for kind in [Kind::Run, Kind::Restore, Kind::Proofs] {
        for name in state.newest(folder, kind, until, HEADS_MAX).await? {
            match state.read(&name).await {
                Ok(record) => return Ok(Some(record.head)),
                Err(error) if error.is_about_one_record() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// Bodies of the newest records, oldest first; what cannot be read goes to `damaged`.
async fn bodies<T: serde::de::DeserializeOwned>(
    state: &State,
    folder: &str,
    kind: Kind,
    until: Timestamp,
    last: usize,
    damaged: &mut Vec<String>,
) -> Result<Vec<(Head, T)>, StateError> {
    let mut names: Vec<RecordName> = state.newest(folder, kind, until, last).await?;
    names.reverse();
    let mut bodies = Vec::new();
    // One at a time: a record of proofs may be large, and only its totals are kept.
    for name in names {
        let body = match state.read(&name).await {
            Ok(record) => record.body().map(|body| (record.head, body)),
            Err(error) => Err(error),
        };
        match body {
            Ok(body) => bodies.push(body),
            Err(error) if error.is_about_one_record() => damaged.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(bodies)
}

fn run_row(head: &Head, run: RunSummary) -> RunRow {
    let newest_at = run.newest_wal.as_ref().and_then(|wal| wal.stored_at);
    RunRow {
        run_id: head.run_id.to_string(),
        as_of: head.as_of,
        status: run.status,
        worst_severity: run.worst_severity,
        error: run.error,
        window: run.window.map(|window| WindowRow {
            timeline: window.timeline,
            from_lsn: window.from_lsn,
            to_lsn: window.to_lsn,
            from: window.from,
            to: window.to,
            to_estimated: window.to_estimated,
            seconds: window.seconds,
            holes: window.holes,
        }),
        newest_segment: run.newest_wal.map(|wal| wal.segment),
        newest_segment_at: newest_at,
        wal_lag_s: newest_at.map(|at| head.as_of.duration_since(at).as_secs()),
        backups: run.backups_total,
        findings: run.findings,
        waived: run.waived,
        objects: run.listing.objects,
        bytes: run.listing.bytes,
        requests: run.listing.requests,
        duration_s: run.duration_s,
    }
}

fn backup_row(head: &Head, backup: &crate::state::BackupEntry) -> BackupRow {
    BackupRow {
        name: backup.name.clone(),
        kind: backup.kind.clone(),
        finished_at: backup.finished_at,
        duration_s: backup.duration_s,
        stored: backup.stored,
        uncompressed: backup.uncompressed,
        rung: backup.rung.clone(),
        last_seen: head.as_of,
        gone: false,
    }
}

/// The part of a record of proofs that is the same for every version of its content.
#[derive(Deserialize)]
struct Proofs {
    #[serde(default)]
    summary: ProofTotals,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProofTotals {
    wal_segments: u64,
    wal_bytes: u64,
    backup_files: u64,
    backup_bytes: u64,
    duration_s: f64,
}

fn proof_row(head: &Head, totals: &ProofTotals) -> ProofRow {
    ProofRow {
        run_id: head.run_id.to_string(),
        as_of: head.as_of,
        wal_segments: totals.wal_segments,
        wal_bytes: totals.wal_bytes,
        backup_files: totals.backup_files,
        backup_bytes: totals.backup_bytes,
        duration_s: totals.duration_s,
    }
}

/// What a history shows of a test restore, in the words of a report's `restore_tests`.
#[derive(Deserialize)]
struct Restore {
    backup: String,
    #[serde(default)]
    target: String,
    outcome: String,
    #[serde(default)]
    failed_at: Option<String>,
    #[serde(default)]
    rto_s: Option<f64>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    name: String,
    #[serde(default)]
    bytes: u64,
}

fn restore_row(head: &Head, restore: Restore) -> RestoreRow {
    let fetched = restore.steps.iter().filter(|step| step.name == "fetch");
    RestoreRow {
        run_id: head.run_id.to_string(),
        as_of: head.as_of,
        bytes: fetched.map(|step| step.bytes).fold(0, u64::saturating_add),
        backup: restore.backup,
        target: restore.target,
        outcome: restore.outcome,
        failed_at: restore.failed_at,
        rto_s: restore.rto_s,
    }
}
