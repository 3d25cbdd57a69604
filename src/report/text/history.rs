use std::io::{self, Write};

use super::words::{bytes, clean, minute, span};
use super::{Style, headline};
use crate::model::Timestamp;
use crate::report::data::Status;
use crate::report::history::{ArchiveHistory, HistoryReport, RestoreRow, RunRow};

/// Backups, proofs and restores shown of each archive; the JSON has all.
const ROWS_SHOWN: usize = 10;
/// Rules named in the row of a run.
const CODES_SHOWN: usize = 3;

/// Writes what the last runs saw, oldest first.
///
/// # Errors
/// Those of the writer.
pub fn render_history(history: &HistoryReport, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, archive) in history.archives.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        render_archive(archive, style, out)?;
    }
    Ok(())
}

fn render_archive(archive: &ArchiveHistory, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let server = archive.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {}", clean(endpoint)));
    writeln!(out, "{}  {}{server}", clean(&archive.name), clean(&archive.url))?;
    runs(archive, style, out)?;
    backups(archive, out)?;
    proofs(archive, out)?;
    restores(archive, style, out)?;
    for damaged in &archive.damaged {
        writeln!(out, "\n  {}", style.paint(Status::Incomplete, &clean(damaged)))?;
    }
    Ok(())
}

fn runs(archive: &ArchiveHistory, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if archive.runs.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n  {:<16}  {:<10}  {:<36}  {:>11}  {:>11}  {:>7}  findings",
        "run (UTC)", "status", "recoverable", "length", "WAL lag", "backups"
    )?;
    for run in &archive.runs {
        let status = status(&run.status);
        let word = status.map_or_else(|| clean(&run.status), |status| headline::word(status).to_owned());
        let word = format!("{word:<10}");
        let word = status.map_or(word.clone(), |status| style.paint(status, &word));
        writeln!(
            out,
            "  {}  {word}  {:<36}  {:>11}  {:>11}  {:>7}  {}",
            minute(run.as_of),
            window(run),
            length(run),
            run.wal_lag_s.map_or_else(|| "-".to_owned(), span),
            run.backups,
            findings(run)
        )?;
    }
    Ok(())
}

fn window(run: &RunRow) -> String {
    let Some(window) = &run.window else { return "nothing".to_owned() };
    let time = |time: Option<Timestamp>| time.map_or_else(|| "unknown".to_owned(), minute);
    format!("{} .. {}", time(window.from), time(window.to))
}

fn length(run: &RunRow) -> String {
    let Some(window) = &run.window else { return "-".to_owned() };
    window.seconds.map_or_else(|| "-".to_owned(), span)
}

fn findings(run: &RunRow) -> String {
    let mut words: Vec<String> = run
        .findings
        .iter()
        .take(CODES_SHOWN)
        .map(|(code, count)| if *count == 1 { clean(code) } else { format!("{} x{count}", clean(code)) })
        .collect();
    if run.findings.len() > CODES_SHOWN {
        words.push(format!("{} more", run.findings.len() - CODES_SHOWN));
    }
    match run.window.as_ref().map_or(0, |window| window.holes) {
        0 => {}
        1 => words.push("with a hole".to_owned()),
        holes => words.push(format!("with {holes} holes")),
    }
    if let Some(error) = &run.error {
        words.push(clean(error));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn backups(archive: &ArchiveHistory, out: &mut dyn Write) -> io::Result<()> {
    let Some(shown) = last(&archive.backups) else { return Ok(()) };
    let name_width = shown.iter().map(|backup| clean(&backup.name).chars().count()).max().unwrap_or(0).max(6);
    writeln!(
        out,
        "\n  {:<name_width$}  kind   taken             {:>13}  {:>9}  {:>9}  rung",
        "backup", "took", "stored", "unpacked"
    )?;
    for backup in shown {
        let gone = if backup.gone { format!(", gone after {}", minute(backup.last_seen)) } else { String::new() };
        writeln!(
            out,
            "  {:<name_width$}  {:<5}  {:<16}  {:>13}  {:>9}  {:>9}  {}{gone}",
            clean(&backup.name),
            clean(&backup.kind),
            backup.finished_at.map_or_else(|| "unknown".to_owned(), minute),
            backup.duration_s.map_or_else(|| "-".to_owned(), seconds),
            bytes(backup.stored),
            backup.uncompressed.map_or_else(|| "-".to_owned(), bytes),
            backup.rung.as_deref().map_or_else(|| "none".to_owned(), clean),
        )?;
    }
    more(archive.backups.len(), shown.len(), out)
}

fn proofs(archive: &ArchiveHistory, out: &mut dyn Write) -> io::Result<()> {
    let Some(shown) = last(&archive.proofs) else { return Ok(()) };
    writeln!(
        out,
        "\n  {:<16}  {:>12}  {:>9}  {:>12}  {:>9}  {:>13}",
        "proven", "segments", "WAL", "backup files", "backups", "took"
    )?;
    for proof in shown {
        writeln!(
            out,
            "  {}  {:>12}  {:>9}  {:>12}  {:>9}  {:>13}",
            minute(proof.as_of),
            proof.wal_segments,
            bytes(proof.wal_bytes),
            proof.backup_files,
            bytes(proof.backup_bytes),
            seconds(proof.duration_s)
        )?;
    }
    more(archive.proofs.len(), shown.len(), out)
}

fn restores(archive: &ArchiveHistory, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let Some(shown) = last(&archive.restores) else { return Ok(()) };
    let name_width = shown.iter().map(|restore| clean(&restore.backup).chars().count()).max().unwrap_or(0).max(6);
    writeln!(
        out,
        "\n  {:<16}  {:<name_width$}  {:<10}  {:>13}  {:>9}  target",
        "test restore", "backup", "outcome", "RTO", "fetched"
    )?;
    for restore in shown {
        let outcome = format!("{:<10}", clean(&restore.outcome));
        let outcome = if restore.outcome == "failed" { style.paint(Status::Critical, &outcome) } else { outcome };
        writeln!(
            out,
            "  {}  {:<name_width$}  {outcome}  {:>13}  {:>9}  {}{}",
            minute(restore.as_of),
            clean(&restore.backup),
            restore.rto_s.map_or_else(|| "-".to_owned(), seconds),
            bytes(restore.bytes),
            clean(&restore.target),
            failed_at(restore)
        )?;
    }
    more(archive.restores.len(), shown.len(), out)
}

fn failed_at(restore: &RestoreRow) -> String {
    restore.failed_at.as_ref().map_or_else(String::new, |step| format!(", failed at {}", clean(step)))
}

/// The newest rows, if there are any.
fn last<T>(rows: &[T]) -> Option<&[T]> {
    (!rows.is_empty()).then(|| &rows[rows.len().saturating_sub(ROWS_SHOWN)..])
}

fn more(total: usize, shown: usize, out: &mut dyn Write) -> io::Result<()> {
    if total > shown { writeln!(out, "  and {} before, all in the JSON", total - shown) } else { Ok(()) }
}

fn seconds(value: f64) -> String {
    if value < 10.0 { format!("{:.1} s", value.max(0.0)) } else { span(value.round() as i64) }
}

fn status(word: &str) -> Option<Status> {
    serde_json::from_value(word.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::{BackupRow, ProofRow, WindowRow};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run(day: u32) -> RunRow {
        RunRow {
            run_id: "0000000000000001".into(),
            as_of: at(&format!("2026-11-{day}T23:10:00Z")),
            status: "ok".into(),
            worst_severity: None,
            error: None,
            window: Some(WindowRow {
                timeline: 1,
                from_lsn: crate::model::Lsn(0),
                to_lsn: crate::model::Lsn(0x100_0000),
                from: Some(at("2026-10-21T02:14:07Z")),
                to: Some(at(&format!("2026-11-{day}T23:09:00Z"))),
                to_estimated: true,
                seconds: Some(2_667_300),
                holes: 0,
            }),
            newest_segment: None,
            newest_segment_at: None,
            wal_lag_s: Some(31),
            backups: 12,
            findings: Default::default(),
            waived: 0,
            objects: 1,
            bytes: 2,
            requests: 3,
            duration_s: 1.4,
        }
    }

    fn backup(name: &str, gone: bool) -> BackupRow {
        BackupRow {
            name: name.into(),
            kind: "full".into(),
            finished_at: Some(at("2026-11-13T02:12:00Z")),
            duration_s: Some(720.0),
            stored: 230_854_492_160,
            uncompressed: None,
            rung: Some("complete".into()),
            last_seen: at("2026-11-19T23:10:00Z"),
            gone,
        }
    }

    fn text(archives: Vec<ArchiveHistory>) -> String {
        let history = HistoryReport {
            schema: "walproof.history/1".into(),
            state: "file:///s".into(),
            as_of: at("2026-11-21T00:00:00Z"),
            archives,
        };
        let mut out = Vec::new();
        render_history(&history, &Style::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn runs_backups_proofs_and_restores_are_tables() {
        let mut bad = run(20);
        bad.status = "critical".into();
        bad.findings = [("BKP002".into(), 1), ("WAL001".into(), 3), ("WAL009".into(), 1), ("WAL010".into(), 9)].into();
        bad.window.as_mut().unwrap().holes = 1;
        let mut failed = run(21);
        failed.status = "incomplete".into();
        failed.window = None;
        failed.wal_lag_s = None;
        failed.error = Some("listing s3://b/: \u{1b}[2Jno".into());
        let archive = ArchiveHistory {
            name: "main".into(),
            url: "s3://b/pg/main".into(),
            endpoint: Some("http://minio:9000".into()),
            runs: vec![run(19), bad, failed],
            backups: vec![
                backup("base_00000003000000A10000004C", true),
                backup("base_00000003000000B2000000F1", false),
            ],
            proofs: vec![ProofRow {
                run_id: "1".into(),
                as_of: at("2026-11-19T23:10:00Z"),
                wal_segments: 12,
                wal_bytes: 201_326_592,
                backup_files: 3,
                backup_bytes: 1 << 30,
                duration_s: 4.5,
            }],
            restores: vec![RestoreRow {
                run_id: "1".into(),
                as_of: at("2026-11-19T23:10:00Z"),
                backup: "base_00000003000000A10000004C".into(),
                target: "latest".into(),
                outcome: "failed".into(),
                failed_at: Some("replay".into()),
                rto_s: None,
                bytes: 1 << 40,
            }],
            damaged: vec!["the state record x is damaged: because".into()],
        };
        let expected = "\
main  s3://b/pg/main at http://minio:9000

  run (UTC)         status      recoverable                                length      WAL lag  backups  findings
  2026-11-19 23:10  OK          2026-10-21 02:14 .. 2026-11-19 23:09    30 d 20 h         31 s       12  -
  2026-11-20 23:10  CRITICAL    2026-10-21 02:14 .. 2026-11-20 23:09    30 d 20 h         31 s       12  BKP002, WAL001 x3, WAL009, 1 more, with a hole
  2026-11-21 23:10  INCOMPLETE  nothing                                         -            -       12  listing s3://b/: \\u{1b}[2Jno

  backup                         kind   taken                      took     stored   unpacked  rung
  base_00000003000000A10000004C  full   2026-11-13 02:12     12 min 0 s    215 GiB          -  complete, gone after 2026-11-19 23:10
  base_00000003000000B2000000F1  full   2026-11-13 02:12     12 min 0 s    215 GiB          -  complete

  proven                segments        WAL  backup files    backups           took
  2026-11-19 23:10            12    192 MiB             3      1 GiB          4.5 s

  test restore      backup                         outcome               RTO    fetched  target
  2026-11-19 23:10  base_00000003000000A10000004C  failed                  -      1 TiB  latest, failed at replay

  the state record x is damaged: because
";
        assert_eq!(text(vec![archive]), expected);
    }

    #[test]
    fn long_histories_show_the_newest() {
        let archive = ArchiveHistory {
            name: "main".into(),
            backups: (0..12).map(|number| backup(&format!("base_{number}"), false)).collect(),
            ..ArchiveHistory::default()
        };
        let text = text(vec![archive]);
        assert!(!text.contains("base_1 ") && text.contains("base_2 ") && text.contains("base_11"), "{text}");
        assert!(text.ends_with("  and 2 before, all in the JSON\n"), "{text}");
    }
}
