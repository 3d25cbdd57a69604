//! The answer of `walproof reach`.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::proof;
use super::text::{bytes, clean, moment, span};
use crate::catalog::evidence::{ContentEvidence, RestoreRates};
use crate::catalog::{Archive, Moment, Near, Reach, Recovery, Verdict};
use crate::model::{Lsn, SegmentSize, Timestamp};

/// `walproof.reach/1`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReachReport {
    /// `walproof.reach/1`.
    pub schema: String,
    /// Name of the archive.
    pub archive: String,
    /// Where it lies.
    pub url: String,
    /// The position asked for.
    pub lsn: Option<Lsn>,
    /// The time asked for.
    pub time: Option<Timestamp>,
    /// `reachable`, `unreachable` or `unknown`.
    pub verdict: String,
    /// The backup to start from.
    pub backup: Option<String>,
    /// What to name as `recovery_target_timeline`.
    pub target_timeline: Option<u32>,
    /// Timelines whose files are read, in order.
    pub timelines: Vec<u32>,
    /// First segment that is read.
    pub first_segment: Option<String>,
    /// Last segment that is read.
    pub last_segment: Option<String>,
    /// Stored bytes of the backup and its ancestors.
    pub backup_bytes: u64,
    /// Stored bytes of the WAL.
    pub wal_bytes: u64,
    /// What `verify` proved of the way; absent where nobody remembers (`--state`).
    #[serde(default)]
    pub content: Option<ReachContent>,
    /// About how long it takes, in seconds, once restores were measured.
    pub estimated_s: Option<f64>,
    /// Test restores that the estimate rests on.
    #[serde(default)]
    pub measured_tests: u64,
    /// The last reachable moment before.
    pub before: Option<NearReport>,
    /// The first reachable moment behind.
    pub after: Option<NearReport>,
    /// What could not be told, and why.
    pub reasons: Vec<String>,
}

/// How far the content of a way was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReachContent {
    /// Segments on the way.
    pub segments: u64,
    /// Of these, read and found to hold.
    pub segments_proven: u64,
    /// The backup with its ancestors: `valid`, `intact` (every byte decodes) or `not_read` (or not all of it).
    pub backup: String,
    /// When the oldest of these proofs was made.
    pub oldest_proof: Option<Timestamp>,
}

/// A reachable moment next to one that is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NearReport {
    /// Its position.
    pub lsn: Lsn,
    /// Its time.
    pub time: Option<Timestamp>,
    /// The backup to start from.
    pub backup: String,
    /// What to name as `recovery_target_timeline`.
    pub timeline: u32,
}

/// Puts the answer into words.
pub fn reach_report(
    name: &str,
    url: &str,
    archive: &Archive,
    recovery: &Recovery,
    asked: Moment,
    answer: &Reach,
    proofs: Option<&ContentEvidence>,
) -> ReachReport {
    let size = archive.segment_size;
    let near = |near: &Near| NearReport {
        lsn: near.lsn,
        time: near.time,
        backup: archive.backups[near.backup].name.clone(),
        timeline: near.timeline.get(),
    };
    let way = answer.way.as_ref();
    let mut reasons: Vec<String> = way.map(|way| recovery.standings[way.backup].doubts.clone()).unwrap_or_default();
    if answer.verdict == Verdict::Unknown {
        reasons.push(if archive.copied {
            "the bucket was copied: upload times do not tell which time a segment holds".to_owned()
        } else {
            "the moment lies in the last segment, whose end is only known to lie between two upload times".to_owned()
        });
    }
    if !answer.also.is_empty() && answer.verdict != Verdict::Unreachable {
        let others: Vec<String> = answer.also.iter().map(ToString::to_string).collect();
        reasons.push(format!(
            "it can also be reached on the way to timeline {}; histories differ from the fork on, so name the one you mean with --timeline",
            others.join(", ")
        ));
    }
    reasons.extend(proofs.iter().flat_map(|proofs| proofs.notes.iter().cloned()));
    let first_owner = way.and_then(|way| way.timelines.first().copied());
    let last_owner = way.and_then(|way| way.timelines.last().copied());
    ReachReport {
        schema: "walproof.reach/1".to_owned(),
        archive: name.to_owned(),
        url: url.to_owned(),
        lsn: match asked {
            Moment::Lsn(lsn) => Some(lsn),
            Moment::Time(_) => None,
        },
        time: match asked {
            Moment::Time(time) => Some(time),
            Moment::Lsn(_) => None,
        },
        verdict: match answer.verdict {
            Verdict::Reachable => "reachable",
            Verdict::Unreachable => "unreachable",
            Verdict::Unknown => "unknown",
        }
        .to_owned(),
        backup: way.map(|way| archive.backups[way.backup].name.clone()),
        target_timeline: way.map(|way| way.target.get()),
        timelines: way.map(|way| way.timelines.iter().map(|timeline| timeline.get()).collect()).unwrap_or_default(),
        first_segment: way.zip(first_owner).map(|(way, owner)| way.segments.0.name(owner, size).to_string()),
        last_segment: way.zip(last_owner).map(|(way, owner)| way.segments.1.name(owner, size).to_string()),
        backup_bytes: way.map_or(0, |way| way.backup_bytes),
        wal_bytes: way.map_or(0, |way| way.wal_bytes),
        content: way.zip(proofs).map(|(way, proofs)| proof::way(archive, way, proofs)),
        estimated_s: None,
        measured_tests: 0,
        before: answer.before.as_ref().map(near),
        after: answer.after.as_ref().map(near),
        reasons,
    }
}

impl ReachReport {
    /// About how long it takes, from what test restores measured.
    pub fn estimate(&mut self, answer: &Reach, size: SegmentSize, rates: &RestoreRates) {
        let Some(way) = &answer.way else { return };
        let segments = way.segments.1.0.saturating_sub(way.segments.0.0).saturating_add(1);
        let wal_bytes = segments.saturating_mul(size.bytes());
        self.estimated_s = Some(rates.estimate(way.backup_bytes, wal_bytes));
        self.measured_tests = rates.tests as u64;
    }
}

/// What the answer rests on.
fn judged(content: Option<&ReachContent>) -> String {
    let listed = "nothing is missing on the way (judged by listing and metadata";
    let Some(content) = content else { return format!("{listed})") };
    let oldest = content.oldest_proof.map(|at| format!(", oldest proof {} UTC", moment(at))).unwrap_or_default();
    let backup = match content.backup.as_str() {
        "valid" => "the backup was read and holds",
        "intact" => "every byte of the backup decodes",
        _ => "the backup was not read to its end",
    };
    match (content.segments_proven, content.segments) {
        (proven, all) if proven == all && content.backup == "valid" => {
            format!("backup and WAL were read to the last byte and hold{oldest}")
        }
        (0, _) if content.backup == "not_read" => format!("{listed}; none of the content was read)"),
        (proven, all) => {
            format!("{listed}; {backup}, {proven} of {all} segments were read and hold{oldest})")
        }
    }
}

/// The answer for people.
///
/// # Errors
/// Those of the writer.
pub fn render_reach(report: &ReachReport, out: &mut dyn Write) -> io::Result<()> {
    let asked = match (report.lsn, report.time) {
        (Some(lsn), _) => format!("LSN {lsn}"),
        (None, Some(time)) => format!("{} UTC", moment(time)),
        (None, None) => "the moment".to_owned(),
    };
    match report.verdict.as_str() {
        "reachable" => writeln!(out, "{asked} can be reached: {}", judged(report.content.as_ref()))?,
        "unknown" => writeln!(out, "{asked}: it cannot be told whether it can be reached")?,
        _ => writeln!(out, "{asked} cannot be reached")?,
    }
    if let (Some(backup), Some(timeline)) = (&report.backup, report.target_timeline) {
        let timelines: Vec<String> = report.timelines.iter().map(ToString::to_string).collect();
        writeln!(out, "  from     {}", clean(backup))?;
        writeln!(out, "  along    timeline {}   (recovery_target_timeline = '{timeline}')", timelines.join(" -> "))?;
        if let (Some(first), Some(last)) = (&report.first_segment, &report.last_segment) {
            writeln!(out, "  WAL      {first} .. {last}")?;
        }
        writeln!(out, "  reading  {} of backup and {} of WAL", bytes(report.backup_bytes), bytes(report.wal_bytes))?;
    }
    if let Some(seconds) = report.estimated_s {
        let tests = report.measured_tests;
        let plural = if tests == 1 { "test restore" } else { "test restores" };
        writeln!(out, "  taking   about {} (measured by {tests} {plural})", span(seconds.ceil() as i64))?;
    }
    let near = |near: &NearReport| {
        let time = near.time.map(|time| format!("{} UTC, ", moment(time))).unwrap_or_default();
        format!("{time}LSN {} on timeline {} from {}", near.lsn, near.timeline, clean(&near.backup))
    };
    if let Some(before) = &report.before {
        writeln!(out, "  last moment before:  {}", near(before))?;
    }
    if let Some(after) = &report.after {
        writeln!(out, "  first moment after:  {}", near(after))?;
    }
    if report.verdict == "unreachable" && report.before.is_none() && report.after.is_none() {
        writeln!(out, "  no moment can be reached: see walproof audit")?;
    }
    for reason in &report.reasons {
        writeln!(out, "  note: {}", clean(reason))?;
    }
    Ok(())
}
