//! From what is known of an archive to its part of the report.

use crate::catalog::evidence::Evidence;
use crate::catalog::{
    Archive, BaseBackup, Chain, HistoryState, LayoutKind, Obstacle, Recovery, SidecarState, Standing, Window,
};
use crate::checks::{Finding, OutcomeKind, RuleOutcome, Severity};
use crate::model::{SegmentNo, TimelineId, Timestamp};
use crate::policy::outlook::Outlook;

use super::data::{
    ArchiveReport, BackupReport, BackupSize, GapReport, HoleReport, IncarnationReport, Listing, RecoveryReport, Report,
    Restorable, RunReport, Rungs, SCHEMA, Status, TimelineReport, Tool, WalRungs, WindowReport,
};
use super::forecast;
use super::proof;
use super::restore;

/// Most runs and gaps of one timeline in a report; counts are always true.
const RUNS_MAX: usize = 1000;

/// Everything that a report on one archive is made from.
#[derive(Debug)]
pub struct ArchiveFacts<'a> {
    /// The cluster's name.
    pub name: &'a str,
    /// Where it lies.
    pub url: &'a str,
    /// `s3`, `gcs`, ...
    pub provider: &'a str,
    /// The model.
    pub archive: &'a Archive,
    /// What can be recovered.
    pub recovery: &'a Recovery,
    /// What reading content and restoring showed.
    pub evidence: Evidence<'a>,
    /// The moment verdicts are about.
    pub as_of: Timestamp,
    /// What listing cost.
    pub listing: Listing,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// One for each rule.
    pub rules: Vec<RuleOutcome>,
    /// What was not looked at.
    pub not_checked: Vec<String>,
    /// Why the audit could not be completed, if it could not.
    pub error: Option<String>,
    /// What the bucket's rules do, where they are known.
    pub outlook: Option<&'a Outlook>,
    /// Whether a policy promises anything.
    pub promises: bool,
    /// What the tool's own deletion would do.
    pub tools: Vec<forecast::ToolReport>,
}

/// Builds the entry of one archive.
pub fn assemble(facts: ArchiveFacts<'_>) -> ArchiveReport {
    let ArchiveFacts { archive, recovery, evidence, as_of, findings, rules, .. } = facts;
    let worst = worst(&findings);
    let blocked = rules.iter().any(|rule| rule.blocking && rule.outcome == OutcomeKind::NotRun);
    let status = if facts.error.is_some() || blocked { Status::Incomplete } else { Status::from(worst) };
    let size = archive.segment_size;
    let has_wal = archive.layout != LayoutKind::Files;
    let windows: Vec<WindowReport> = recovery.windows.iter().map(|window| self::window(window, archive)).collect();
    let backups = archive
        .backups
        .iter()
        .zip(&recovery.standings)
        .enumerate()
        .map(|(at, (backup, standing))| {
            let mut report = backup_report(archive, recovery, evidence, at, backup, standing, as_of);
            if standing.is_usable() {
                (report.usable_until, report.usable_until_reason) = forecast::usable_until(facts.outlook, at);
            }
            report
        })
        .collect();
    ArchiveReport {
        name: facts.name.to_owned(),
        url: facts.url.to_owned(),
        endpoint: None,
        layout: Some(archive.layout.name().to_owned()),
        provider: facts.provider.to_owned(),
        status,
        worst_severity: worst,
        error: facts.error,
        system_identifier: archive.system_identifier().map(|id| id.to_string()),
        wal_segment_size: has_wal.then_some(size.bytes()),
        wal_segment_size_source: has_wal.then_some(archive.size_source),
        pg_major: archive.pg_major(),
        incarnations: incarnations(archive),
        listing: facts.listing,
        time_source: Some(time_source(archive, recovery).to_owned()),
        latest_backup: archive.latest.clone(),
        timelines: timelines(archive, recovery, evidence, as_of),
        backups,
        recovery_window: recovery.latest_window().map(|window| self::window(window, archive)),
        recovery_windows: windows,
        tools: facts.tools,
        lifecycle: facts.outlook.map(|outlook| forecast::lifecycle(outlook, archive, facts.promises)),
        forecast: forecast::steps(facts.outlook),
        rules,
        not_checked: facts.not_checked,
        findings,
        verify: evidence.content.map(|content| proof::block(archive, recovery, content, evidence.proofs(), as_of)),
        proven: evidence.proven.filter(|_| evidence.content.is_none()).map(|proven| proof::of(archive, proven, as_of)),
        restore_tests: evidence.restore.map(|restore| restore.tests.clone()).unwrap_or_default(),
        last_restore: restore::last(archive, evidence.restore, as_of),
        notes: notes(archive, evidence),
        answer: Vec::new(),
    }
}

/// What the end of the window that counts rests on.
fn time_source(archive: &Archive, recovery: &Recovery) -> &'static str {
    let window = recovery.latest_window().or_else(|| recovery.windows.last());
    match window.and_then(|window| window.to) {
        Some(to) if to.exact => "wal",
        _ if archive.copied => "sidecar",
        _ => "last_modified",
    }
}

/// An archive that could not be audited at all.
pub fn broken_archive(name: &str, url: &str, provider: &str, layout: Option<&str>, error: String) -> ArchiveReport {
    ArchiveReport {
        name: name.to_owned(),
        url: url.to_owned(),
        endpoint: None,
        layout: layout.map(ToOwned::to_owned),
        provider: provider.to_owned(),
        status: Status::Incomplete,
        worst_severity: None,
        error: Some(error),
        system_identifier: None,
        wal_segment_size: None,
        wal_segment_size_source: None,
        pg_major: None,
        incarnations: Vec::new(),
        listing: Listing { source: "list".to_owned(), ..Listing::default() },
        time_source: None,
        latest_backup: None,
        timelines: Vec::new(),
        backups: Vec::new(),
        recovery_window: None,
        recovery_windows: Vec::new(),
        lifecycle: None,
        tools: Vec::new(),
        forecast: Vec::new(),
        rules: Vec::new(),
        not_checked: Vec::new(),
        findings: Vec::new(),
        verify: None,
        proven: None,
        restore_tests: Vec::new(),
        last_restore: None,
        notes: Vec::new(),
        answer: Vec::new(),
    }
}

/// Puts a run together.
pub fn finish(started_at: Timestamp, duration_s: f64, as_of: Timestamp, archives: Vec<ArchiveReport>) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        tool: Tool { name: "walproof".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        started_at,
        duration_s,
        as_of,
        status: archives.iter().map(|archive| archive.status).max().unwrap_or(Status::Ok),
        worst_severity: archives.iter().filter_map(|archive| archive.worst_severity).max(),
        archives,
    }
}

fn worst(findings: &[Finding]) -> Option<Severity> {
    findings.iter().filter(|finding| finding.waived.is_none()).map(|finding| finding.severity).max()
}

fn incarnations(archive: &Archive) -> Vec<IncarnationReport> {
    let size = archive.segment_size;
    let report = |incarnation: &crate::catalog::Incarnation| {
        let bound = incarnation.end.map_or(u64::MAX, |end| end.0);
        let mut timelines = Vec::new();
        let mut first: Option<(SegmentNo, TimelineId)> = None;
        let mut last: Option<(SegmentNo, TimelineId)> = None;
        for timeline in archive.wal.timelines() {
            let present = &archive.wal.line(timeline).present;
            let Some(from) = present.first_at_or_above(incarnation.first.0).filter(|from| *from < bound) else {
                continue;
            };
            let Some(to) = present.last_below(bound) else { continue };
            timelines.push(timeline.get());
            first = Some(first.map_or((SegmentNo(from), timeline), |best| best.min((SegmentNo(from), timeline))));
            last = Some(last.map_or((SegmentNo(to), timeline), |best| best.max((SegmentNo(to), timeline))));
        }
        let name = |place: Option<(SegmentNo, TimelineId)>| {
            place.map(|(number, timeline)| number.name(timeline, size).to_string())
        };
        IncarnationReport {
            system_identifier: incarnation.system_identifier.copied().map(|id| id.to_string()),
            pg_major: incarnation.pg_major,
            timelines,
            first: name(first),
            last: name(last),
        }
    };
    archive.incarnations.iter().map(report).collect()
}

fn timelines(archive: &Archive, recovery: &Recovery, evidence: Evidence<'_>, as_of: Timestamp) -> Vec<TimelineReport> {
    let size = archive.segment_size;
    let report = |timeline: TimelineId, state: &HistoryState| {
        let line = archive.wal.line(timeline);
        let name = |number: u64| SegmentNo(number).name(timeline, size).to_string();
        let parent = match state {
            HistoryState::Known(history) => history.parent(),
            _ => None,
        };
        let gaps = recovery.gaps.iter().filter(|gap| gap.timeline == timeline).take(RUNS_MAX);
        let run = |(first, end): (u64, u64)| {
            let mut report = RunReport {
                first: name(first),
                last: name(end - 1),
                segments: end - first,
                rungs: WalRungs { listed: Some(as_of), intact: None, valid: None },
                proven_fraction: 0.0,
                oldest_proof: None,
            };
            if let Some(content) = evidence.proofs() {
                proof::run(&mut report, content, timeline, first, end);
            }
            report
        };
        let all = line.present.intervals();
        let mut runs: Vec<RunReport> = line.present.iter().take(RUNS_MAX / 2).map(run).collect();
        let rest = (all - runs.len()).min(RUNS_MAX / 2);
        let mut newest: Vec<RunReport> = line.present.iter().rev().take(rest).map(run).collect();
        newest.reverse();
        runs.extend(newest);
        TimelineReport {
            id: timeline.get(),
            parent: parent.map(|(parent, _)| parent.get()),
            forked_at: parent.map(|(_, switch)| switch),
            segments: line.present.count(),
            bytes: line.bytes,
            first: line.present.first().map(name),
            last: line.present.last().map(name),
            last_stored_at: line
                .present
                .last()
                .filter(|_| !archive.copied)
                .and_then(|last| archive.wal.modified(timeline, SegmentNo(last))),
            gaps: gaps
                .map(|gap| GapReport {
                    first: name(gap.first.0),
                    last: name(gap.end.0 - 1),
                    segments: gap.end.0 - gap.first.0,
                })
                .collect(),
            runs,
            runs_total: all as u64,
        }
    };
    archive.timelines.iter().map(|(timeline, state)| report(timeline, state)).collect()
}

fn backup_report(
    archive: &Archive,
    recovery: &Recovery,
    evidence: Evidence<'_>,
    at: usize,
    backup: &BaseBackup,
    standing: &Standing,
    as_of: Timestamp,
) -> BackupReport {
    let mut reasons: Vec<String> =
        standing.obstacles.iter().map(|obstacle| format!("{} {obstacle}", code(obstacle))).collect();
    reasons.extend(standing.doubts.iter().cloned());
    // A dump has no sentinel: that it is listed is all there is to see.
    let listed =
        (matches!(backup.sentinel, SidecarState::Read(_)) || archive.layout == LayoutKind::Files).then_some(as_of);
    let mut rungs = Rungs { listed, complete: listed.filter(|_| standing.is_complete()), ..Rungs::default() };
    restore::add_rungs(&mut rungs, archive, backup, evidence.restore);
    let mut report = BackupReport {
        name: backup.name.clone(),
        kind: if backup.kind.is_delta() { "delta" } else { "full" }.to_owned(),
        parent: backup.kind.parent().map(ToOwned::to_owned),
        permanent: backup.permanent.copied(),
        timeline: backup.timeline().get(),
        start_lsn: backup.start_lsn.copied(),
        finish_lsn: backup.finish_lsn.copied(),
        started_at: backup.started_at.copied(),
        finished_at: backup.finished_at.copied(),
        pg_version: backup.pg_version.copied(),
        system_identifier: backup.system_identifier.copied().map(|id| id.to_string()),
        hostname: backup.hostname.clone(),
        user_data: backup.user_data.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        size: BackupSize {
            stored: backup.stored_bytes,
            uncompressed: backup.uncompressed_size.copied(),
            compressed: backup.compressed_size,
        },
        rung: None,
        rungs,
        proven_fraction: 0.0,
        oldest_proof: None,
        restorable: match (standing.is_usable(), standing.doubts.is_empty()) {
            (false, _) => Restorable::No,
            (true, true) => Restorable::Yes,
            (true, false) => Restorable::Unknown,
        },
        reasons,
        recovery: if standing.is_usable() {
            recovery.chains_of(at).map(|chain| self::recovery(archive, chain)).collect()
        } else {
            Vec::new()
        },
        usable_until: None,
        usable_until_reason: None,
    };
    if let Some(content) = evidence.proofs() {
        proof::backup(&mut report, archive, content, backup);
    }
    report.rung = report.rungs.highest();
    report
}

/// The rule that reports an obstacle.
fn code(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::SentinelUnreadable(_) => "BKP003",
        Obstacle::PartsMissing(_) | Obstacle::TooSmall { .. } => "BKP002",
        Obstacle::Ancestor { .. } => "BKP004",
        Obstacle::WalMissing { .. } | Obstacle::WalOverwritten => "BKP005",
        Obstacle::Foreign { .. } => "BKP009",
        Obstacle::Overwritten(_) => "BKP013",
        Obstacle::ArchivedClass(_) => "LFC004",
        Obstacle::Damaged { rule, .. } => rule,
        // Which rule it was, only reading it again tells.
        Obstacle::DamagedBefore { .. } => "INT001",
    }
}

fn recovery(archive: &Archive, chain: &Chain) -> RecoveryReport {
    let size = archive.segment_size;
    RecoveryReport {
        timeline: chain.timeline.get(),
        from_lsn: chain.from_lsn,
        to_lsn: chain.to_lsn,
        to_segment: chain.last.1.name(chain.last.0, size).to_string(),
        lsn_exact: chain.lsn_exact,
        from: chain.from,
        to: chain.to.map(|to| to.at_least),
        to_estimated: chain.to.is_some_and(|to| !to.exact),
        to_at_most: chain.to.map(|to| to.at_most),
        blocked_at: chain.blocked_at.map(|(timeline, number)| number.name(timeline, size).to_string()),
    }
}

fn window(window: &Window, _archive: &Archive) -> WindowReport {
    let to = window.to.map(|to| to.at_least);
    WindowReport {
        timeline: window.timeline.get(),
        from_lsn: window.from_lsn,
        to_lsn: window.to_lsn,
        from: window.from,
        to,
        to_estimated: window.to.is_some_and(|to| !to.exact),
        seconds: window.from.zip(to).map(|(from, to)| to.duration_since(from).as_secs()),
        holes: window
            .holes
            .iter()
            .map(|hole| HoleReport { from_lsn: hole.from_lsn, to_lsn: hole.to_lsn, from: hole.from, to: hole.to })
            .collect(),
    }
}

fn notes(archive: &Archive, evidence: Evidence<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let newest = archive.backups.iter().filter(|backup| backup.start_lsn.is_known()).max_by_key(|backup| {
        let number = backup.start_segment(archive.segment_size);
        (archive.incarnations.iter().rposition(|i| number.is_some_and(|n| i.contains(n))), backup.start_lsn.copied())
    });
    if let (Some(latest), Some(newest)) = (&archive.latest, newest)
        && *latest != newest.name
        && archive
            .timelines
            .path(newest.timeline())
            .piece(archive.backup(latest).map_or(newest.timeline(), BaseBackup::timeline))
            .is_some()
    {
        notes.push(format!(
            "LATEST is {latest}, whose sentinel was stored last, but {} starts at a later position",
            newest.name
        ));
    }
    if archive.copied {
        notes
            .push("the bucket was copied: upload times differ from the backups' own times and are not used".to_owned());
    }
    if archive.layout == LayoutKind::Files && archive.strays.count > 0 {
        let sample = archive.strays.sample.first().map(|key| format!(", e.g. {key}")).unwrap_or_default();
        notes.push(format!(
            "{} objects do not match files.pattern and were not looked at{sample}",
            archive.strays.count
        ));
    }
    // What a run has read itself it reports itself.
    let told = evidence.content.or(evidence.proven);
    notes.extend(told.iter().flat_map(|content| content.notes.iter().cloned()));
    if let Some(key) = &archive.key_missing {
        notes.push(format!("objects are encrypted and no key was given ({key}): what they hold is unknown"));
    }
    notes
}
