//! What test restores proved: the last ones of this run, and those an earlier run remembered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::{Archive, BaseBackup};
use crate::model::{Lsn, ObjectId, SegmentNo, Timestamp};

/// How a test restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    /// The target was reached and everything that was asserted holds.
    Proven,
    /// The target was reached; nothing, or not everything, was asserted.
    Restored,
    /// It failed, and the archive is why.
    Failed,
    /// It was not tried, or ended for a reason that says nothing about the archive.
    NotRun,
}

impl RestoreOutcome {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            RestoreOutcome::Proven => "proven",
            RestoreOutcome::Restored => "restored",
            RestoreOutcome::Failed => "failed",
            RestoreOutcome::NotRun => "not_run",
        }
    }
}

/// A part of a test restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RestoreStep {
    /// Choosing backup, timeline and target; nothing was read for it but the listing.
    Plan,
    /// Fetching and unpacking.
    Fetch,
    /// Writing files, where that was measured apart from fetching.
    Unpack,
    /// From the first start of the server to its first replayed record.
    Start,
    /// Replaying WAL to the target.
    Replay,
    /// Queries, amcheck, reading everything.
    Assert,
}

impl RestoreStep {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            RestoreStep::Plan => "plan",
            RestoreStep::Fetch => "fetch",
            RestoreStep::Unpack => "unpack",
            RestoreStep::Start => "start",
            RestoreStep::Replay => "replay",
            RestoreStep::Assert => "assert",
        }
    }
}

/// What a part of a test restore took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepTime {
    /// Which.
    pub name: RestoreStep,
    /// Seconds.
    pub duration_s: f64,
    /// Bytes: stored ones for `fetch`, files for `unpack`, WAL for `replay`.
    #[serde(default)]
    pub bytes: u64,
}

/// Why a restore failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoreFailure {
    /// The rule that reports it.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Objects or segments at fault, where known.
    #[serde(default)]
    pub objects: Vec<String>,
}

/// One assertion, or one of walproof's own looks at the restored data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AssertionResult {
    /// As the configuration or the file calls it.
    pub name: String,
    /// Whether it holds; absent if it could not be judged.
    pub ok: Option<bool>,
    /// What was expected.
    #[serde(default)]
    pub expected: Option<String>,
    /// What was found.
    #[serde(default)]
    pub actual: Option<String>,
    /// Why it could not be judged, or what failed.
    #[serde(default)]
    pub why: Option<String>,
    /// It is about damage to the data (amcheck, full reads), not about a statement of the user's.
    #[serde(default)]
    pub corruption: bool,
}

/// One test restore: an entry of a report's `restore_tests`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoreTest {
    /// The backup.
    pub backup: String,
    /// `immediate`, `latest`, `lsn=0/3000028`, ...
    pub target: String,
    /// The timeline that was named as `recovery_target_timeline`.
    #[serde(default)]
    pub timeline: Option<u32>,
    /// How it ended.
    pub outcome: RestoreOutcome,
    /// The step in which it failed.
    pub failed_at: Option<RestoreStep>,
    /// Why.
    #[serde(default)]
    pub failure: Option<RestoreFailure>,
    /// Why it says nothing about the archive.
    #[serde(default)]
    pub why: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The server that was used.
    pub pg_version: Option<String>,
    /// Durations and bytes.
    #[serde(default)]
    pub steps: Vec<StepTime>,
    /// From the first byte fetched to a server that answers.
    pub rto_s: Option<f64>,
    /// Where replay had to arrive: the end of the last whole record, or the target.
    pub expected_lsn: Option<Lsn>,
    /// Where it arrived.
    pub reached_lsn: Option<Lsn>,
    /// On which timeline.
    #[serde(default)]
    pub reached_timeline: Option<u32>,
    /// The last commit that was replayed.
    pub reached_time: Option<Timestamp>,
    /// What was asserted.
    #[serde(default)]
    pub assertions: Vec<AssertionResult>,
    /// Rows of tables that were counted, for comparison with the next test.
    #[serde(default)]
    pub row_counts: BTreeMap<String, u64>,
    /// Digest of the objects that it rests on: another one means that the proof no longer holds.
    #[serde(default)]
    pub fingerprint: String,
    /// The seed of random picks, targets and samples.
    #[serde(default)]
    pub seed: u64,
    /// Whether this machine is like the one a real recovery would use, where the configuration says so.
    #[serde(default)]
    pub representative: Option<bool>,
    /// What recovering from this backup instead of a newer one would have cost.
    #[serde(default)]
    pub loss: Option<String>,
}

impl RestoreTest {
    /// One of which nothing is known yet but what is to be done.
    pub fn planned(backup: &str, target: &str) -> Self {
        RestoreTest {
            backup: backup.to_owned(),
            target: target.to_owned(),
            timeline: None,
            outcome: RestoreOutcome::NotRun,
            failed_at: None,
            failure: None,
            why: None,
            at: None,
            pg_version: None,
            steps: Vec::new(),
            rto_s: None,
            expected_lsn: None,
            reached_lsn: None,
            reached_timeline: None,
            reached_time: None,
            assertions: Vec::new(),
            row_counts: BTreeMap::new(),
            fingerprint: String::new(),
            seed: 0,
            representative: None,
            loss: None,
        }
    }

    /// A server reached the target, whatever the assertions said.
    pub fn reached_target(&self) -> bool {
        matches!(self.outcome, RestoreOutcome::Proven | RestoreOutcome::Restored)
            || self.failed_at == Some(RestoreStep::Assert)
    }

    /// What one step took.
    pub fn step(&self, name: RestoreStep) -> Option<&StepTime> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// Test restores of one archive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RestoreEvidence {
    /// Of this run, in the order in which they were made.
    pub tests: Vec<RestoreTest>,
    /// Of earlier runs, newest first.
    pub remembered: Vec<RestoreTest>,
}

impl RestoreEvidence {
    /// The tests that verdicts are about: this run's, else the newest of earlier runs that says anything.
    pub fn judged(&self) -> &[RestoreTest] {
        if !self.tests.is_empty() {
            return &self.tests;
        }
        let newest = self.remembered.iter().position(|test| test.outcome != RestoreOutcome::NotRun);
        newest.map_or(&[], |at| &self.remembered[at..=at])
    }

    /// All, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &RestoreTest> {
        self.tests.iter().rev().chain(&self.remembered)
    }

    /// The newest test that reached its target and still holds: none of the objects it rests on has changed.
    pub fn last_proof(&self, archive: &Archive) -> Option<&RestoreTest> {
        self.newest_first().find(|test| test.reached_target() && still_holds(archive, test))
    }

    /// The newest such test of one backup.
    pub fn proof_of<'a>(&'a self, archive: &Archive, backup: &BaseBackup) -> Option<&'a RestoreTest> {
        self.proofs_of(archive, backup).next()
    }

    /// All such tests of one backup, newest first.
    pub fn proofs_of<'a>(&'a self, archive: &Archive, backup: &BaseBackup) -> impl Iterator<Item = &'a RestoreTest> {
        // Worked out only where there is a test to compare it with.
        let named = self.newest_first().any(|test| test.backup == backup.name);
        let fingerprint = if named { fingerprint(archive, backup) } else { String::new() };
        let name = backup.name.clone();
        self.newest_first()
            .filter(move |test| test.backup == name && test.reached_target() && test.fingerprint == fingerprint)
    }
}

/// How fast restores were on the machines that tested them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestoreRates {
    /// Stored bytes fetched and unpacked in a second.
    pub fetch_bytes_s: f64,
    /// Bytes of WAL replayed in a second, in the plain.
    pub replay_bytes_s: f64,
    /// Seconds that a server takes to start.
    pub start_s: f64,
    /// Tests that were measured.
    pub tests: usize,
    /// When the last of them was.
    pub newest: Option<Timestamp>,
}

impl RestoreRates {
    /// About how long it takes to restore so many stored bytes and to replay so much WAL, in seconds.
    pub fn estimate(&self, stored_bytes: u64, wal_bytes: u64) -> f64 {
        stored_bytes as f64 / self.fetch_bytes_s + self.start_s + wal_bytes as f64 / self.replay_bytes_s
    }
}

impl RestoreEvidence {
    /// The medians of all tests that were measured to their end; `None` if none fetched and replayed anything.
    pub fn rates(&self) -> Option<RestoreRates> {
        let rate = |test: &RestoreTest, name| {
            let step = test.step(name).filter(|step| step.bytes > 0 && step.duration_s > 0.0)?;
            Some(step.bytes as f64 / step.duration_s)
        };
        let measured: Vec<(f64, f64, f64, Option<Timestamp>)> = self
            .newest_first()
            .filter(|test| test.rto_s.is_some())
            .filter_map(|test| {
                let start = test.step(RestoreStep::Start).map_or(0.0, |step| step.duration_s);
                Some((rate(test, RestoreStep::Fetch)?, rate(test, RestoreStep::Replay)?, start, test.at))
            })
            .collect();
        Some(RestoreRates {
            fetch_bytes_s: median(measured.iter().map(|one| one.0))?,
            replay_bytes_s: median(measured.iter().map(|one| one.1))?,
            start_s: median(measured.iter().map(|one| one.2))?,
            tests: measured.len(),
            newest: measured.first().and_then(|one| one.3),
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn still_holds(archive: &Archive, test: &RestoreTest) -> bool {
    archive.backup(&test.backup).is_some_and(|backup| fingerprint(archive, backup) == test.fingerprint)
}

/// A digest of everything that a proof for a backup rests on: its objects, its ancestors', and the WAL that makes it
/// consistent.
pub fn fingerprint(archive: &Archive, backup: &BaseBackup) -> String {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut link = Some(backup);
    for _ in 0..=archive.backups.len() {
        let Some(one) = link else { break };
        // Not its metadata.json: marking a backup as permanent changes that and nothing else.
        let sidecars = [&one.sentinel, &one.files_metadata].into_iter().filter_map(|sidecar| sidecar.object());
        for object in one.parts.iter().map(|part| &part.object).chain(sidecars) {
            parts.push(object.key.as_bytes().to_vec());
            parts.push(object.id.0.to_le_bytes().to_vec());
        }
        link = one.kind.parent().and_then(|parent| archive.backup(parent));
    }
    let size = archive.segment_size;
    if let (Some(start), Some(stop)) = (backup.start_segment(size), backup.stop_segment(size)) {
        for number in (start.0..=stop.0).take(WAL_SEGMENTS_MAX) {
            for row in archive.wal.at_number(backup.timeline(), SegmentNo(number)) {
                parts.push(row.name().to_string().into_bytes());
                parts.push(row.id().0.to_le_bytes().to_vec());
            }
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    ObjectId::digest(&parts).to_string()
}

/// Segments between a backup's start and stop that count; nobody takes longer.
const WAL_SEGMENTS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_come_from_what_was_measured() {
        let test = |fetch_s: f64, replay_s: f64| RestoreTest {
            outcome: RestoreOutcome::Restored,
            rto_s: Some(fetch_s + replay_s),
            steps: vec![
                StepTime { name: RestoreStep::Fetch, duration_s: fetch_s, bytes: 1000 },
                StepTime { name: RestoreStep::Start, duration_s: 2.0, bytes: 0 },
                StepTime { name: RestoreStep::Replay, duration_s: replay_s, bytes: 500 },
            ],
            ..RestoreTest::planned("b", "latest")
        };
        let mut evidence = RestoreEvidence { tests: vec![test(10.0, 5.0)], remembered: Vec::new() };
        let rates = evidence.rates().unwrap();
        assert_eq!(rates.estimate(2000, 1000), 20.0 + 2.0 + 10.0);
        // One slow run does not decide, and one that was never measured to its end does not count.
        evidence.remembered = vec![test(1000.0, 500.0), test(10.0, 5.0)];
        evidence.remembered.push(RestoreTest { rto_s: None, ..test(1.0, 1.0) });
        assert_eq!(evidence.rates().unwrap().estimate(2000, 1000), 32.0);
        assert_eq!(evidence.rates().unwrap().tests, 3);
        assert!(RestoreEvidence::default().rates().is_none());
    }
}
