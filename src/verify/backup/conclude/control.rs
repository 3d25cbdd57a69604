//! `pg_control`, `backup_label` and `tablespace_map` against the sentinel and each other.

use std::collections::BTreeSet;

use super::{Judge, Kind, is_apart};
use crate::catalog::Producer;
use crate::model::{Lsn, SegmentSize};
use crate::verify::backup::part::PartSeen;
use crate::wal::{BackupLabel, ControlFile, ControlState};

pub(super) fn judge(judge: &mut Judge<'_>) {
    control(judge);
    label(judge);
    tablespaces(judge);
}

/// The part that ought to hold a file was read, and whole.
fn was_read(judge: &Judge<'_>, apart: &str) -> bool {
    let whole = |part: &PartSeen| !judge.is_cut(part);
    let all = judge.complete && judge.parts.iter().all(whole);
    let of_its_own = judge.parts.iter().any(|part| part.name.starts_with(apart) && whole(part));
    all || of_its_own
}

fn control(judge: &mut Judge<'_>) {
    let mut found = false;
    for part in judge.parts {
        match &part.control {
            None => {
                if part.name.starts_with("pg_control.tar") && !judge.is_cut(part) {
                    found = true;
                    judge.simple(Kind::ControlInvalid, Some(&part.name), "holds no global/pg_control");
                }
            }
            Some(Err(problem)) => {
                found = true;
                judge.simple(Kind::ControlInvalid, Some(&part.name), format!("global/pg_control {problem}"));
            }
            Some(Ok(control)) => {
                found = true;
                for (message, expected, found) in contradictions(judge, control) {
                    let message = format!("global/pg_control {message}");
                    judge.contradiction(Kind::ControlInvalid, Some(&part.name), message, expected, found);
                }
            }
        }
    }
    if !found && was_read(judge, "pg_control.tar") {
        judge.simple(Kind::ControlInvalid, None, "global/pg_control is in no part");
    }
}

/// What a control file says that the sentinel does not: message, expected, found.
fn contradictions(judge: &Judge<'_>, control: &ControlFile) -> Vec<(String, String, String)> {
    let backup = judge.backup;
    let mut out = Vec::new();
    let mut differs = |what: &str, expected: String, found: String| {
        out.push((format!("has {what} {found}, the sentinel says {expected}"), expected, found));
    };
    if let Some(expected) = backup.system_identifier.copied().filter(|expected| *expected != control.system_id) {
        differs("system identifier", expected.to_string(), control.system_id.to_string());
    }
    let major = control.major.map(|major| match u32::from(major.number()) {
        9 => 906,
        number => number,
    });
    if let (Some(expected), Some(found)) = (backup.pg_major(), major)
        && expected != found
    {
        differs("version", expected.to_string(), found.to_string());
    }
    let start = backup.start_lsn.copied();
    if let Some(start) = start {
        let fits = SegmentSize::new(u64::from(control.wal_segment_bytes)).is_ok_and(|size| {
            let number = backup.name_segment.number(size);
            number == Some(start.segment(size)) || number == Some(start.end_segment(size))
        });
        if !fits {
            let name = format!("{} for a start at {start}", backup.name_segment);
            differs("a WAL segment size of", name, control.wal_segment_bytes.to_string());
        }
    }
    // An offline copy has no start and end: its checkpoint is older than nothing.
    if is_running(control) {
        if let Some(start) = start.filter(|start| control.redo < *start) {
            differs("a redo point of", format!("a start at {start}"), control.redo.to_string());
        }
        if let Some(finish) = backup.finish_lsn.copied().filter(|finish| control.checkpoint > *finish) {
            differs("a checkpoint at", format!("an end at {finish}"), control.checkpoint.to_string());
        }
    }
    out
}

fn is_running(control: &ControlFile) -> bool {
    matches!(
        control.state,
        ControlState::InProduction | ControlState::InArchiveRecovery | ControlState::InCrashRecovery
    )
}

fn label(judge: &mut Judge<'_>) {
    // The one in its own tar is unpacked last and wins.
    let of = |apart: bool| {
        let part = judge.parts.iter().find(|part| part.label.is_some() && is_apart(&part.name) == apart)?;
        Some((part.name.as_str(), part.label.as_ref()?))
    };
    let Some((part, label)) = of(true).or_else(|| of(false)) else {
        let stopped = judge.control().is_some_and(|(_, control)| !is_running(control));
        if was_read(judge, "backup_label.tar") && !stopped {
            let message = "backup_label is in no part: a server would start from the wrong checkpoint";
            judge.simple(Kind::LabelInvalid, None, message);
        }
        return;
    };
    match label {
        Err(problem) => judge.simple(Kind::LabelInvalid, Some(part), format!("backup_label {problem}")),
        Ok(label) => label_contradictions(judge, part, label),
    }
}

fn label_contradictions(judge: &mut Judge<'_>, part: &str, label: &BackupLabel) {
    if let Some(start) = judge.backup.start_lsn.copied().filter(|start| *start != label.start) {
        let message = format!("backup_label starts at {}, the sentinel says {start}", label.start);
        judge.contradiction(Kind::LabelInvalid, Some(part), message, start, label.start);
    }
    let expected = judge.backup.timeline();
    if let Some(found) = label.start_timeline.filter(|found| *found != expected && !label.is_from_standby()) {
        let message = format!("backup_label is of timeline {}, the backup's name of {}", found.get(), expected.get());
        judge.contradiction(Kind::LabelInvalid, Some(part), message, expected.get(), found.get());
    }
    if let Some(from) = label.incremental_from.filter(|from| *from != Lsn(0)) {
        let message = format!("backup_label is of an incremental backup from {from}: no server starts on it");
        judge.simple(Kind::LabelInvalid, Some(part), message);
    }
}

fn tablespaces(judge: &mut Judge<'_>) {
    let of = |apart: bool| {
        let part = judge.parts.iter().find(|part| part.tablespaces.is_some() && is_apart(&part.name) == apart)?;
        Some((part.name.as_str(), part.tablespaces.as_ref()?))
    };
    let Some((part, map)) = of(true).or_else(|| of(false)) else { return };
    match map {
        Err(line) => {
            judge.simple(Kind::LabelInvalid, Some(part), format!("tablespace_map is malformed at line {line}"))
        }
        Ok(map) => {
            let found: BTreeSet<String> = map.iter().map(|entry| entry.oid.to_string()).collect();
            let expected: BTreeSet<String> = judge.backup.tablespaces.iter().map(|space| space.oid.clone()).collect();
            // Tablespaces inside the data directory are in no specification.
            if judge.backup.producer == Producer::WalG && !expected.is_empty() && !expected.is_subset(&found) {
                let list = |set: &BTreeSet<String>| set.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
                let message = format!(
                    "tablespace_map names the tablespaces {}, the sentinel {}",
                    if found.is_empty() { "none".to_owned() } else { list(&found) },
                    list(&expected)
                );
                judge.contradiction(Kind::LabelInvalid, Some(part), message, list(&expected), list(&found));
            }
        }
    }
}
