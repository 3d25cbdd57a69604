use std::io::{self, Write};

use super::words::{bytes, clean, count, moment};
use super::{Style, backups, draw, title};
use crate::catalog::LayoutKind;
use crate::report::data::Report;

/// Writes backups, WAL runs, timelines and windows without judging them.
///
/// # Errors
/// Those of the writer.
pub fn render_list(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, archive) in report.archives.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", title(archive))?;
        if let Some(error) = &archive.error {
            writeln!(out, "\n  {}", clean(error))?;
        }
        if archive.layout.is_none() || archive.timelines.is_empty() && archive.backups.is_empty() {
            continue;
        }
        if style.terminal {
            writeln!(out)?;
            for line in draw::timelines(archive, style) {
                writeln!(out, "  {line}")?;
            }
        }
        if !archive.backups.is_empty() {
            writeln!(out)?;
            backups(archive, report.as_of, style, out)?;
        }
        if archive.layout.as_deref() == Some(LayoutKind::Files.name()) {
            continue;
        }
        writeln!(out)?;
        writeln!(out, "  timeline  parent  forked at    {:>9}  {:>9}  segments", "segments", "stored")?;
        for line in &archive.timelines {
            let parent = line.parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string());
            let fork = line.forked_at.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
            writeln!(
                out,
                "  {:<8}  {parent:<6}  {fork:<11}  {:>9}  {:>9}  {}",
                line.id,
                count(line.segments),
                bytes(line.bytes),
                runs(line)
            )?;
            for gap in line.gaps.iter().take(10) {
                writeln!(out, "            missing {}: {}", count(gap.segments), range(&gap.first, &gap.last))?;
            }
            if line.gaps.len() > 10 {
                writeln!(out, "            ... {} more stretches are missing", line.gaps.len() - 10)?;
            }
        }
        writeln!(out)?;
        writeln!(out, "  recoverable")?;
        if archive.recovery_windows.is_empty() {
            writeln!(out, "  nothing")?;
        }
        for window in &archive.recovery_windows {
            let time = |time: Option<crate::model::Timestamp>| time.map_or_else(|| "unknown".to_owned(), moment);
            writeln!(
                out,
                "  timeline {}: {} .. {} UTC  (LSN {} .. {})",
                window.timeline,
                time(window.from),
                time(window.to),
                window.from_lsn,
                window.to_lsn
            )?;
            for hole in &window.holes {
                writeln!(
                    out,
                    "    but not {} .. {} UTC  (LSN {} .. {})",
                    time(hole.from),
                    time(hole.to),
                    hole.from_lsn,
                    hole.to_lsn
                )?;
            }
        }
    }
    Ok(())
}

fn runs(line: &crate::report::data::TimelineReport) -> String {
    match (line.runs.first(), line.runs.last()) {
        (Some(first), Some(last)) => range(&first.first, &last.last),
        _ => "none".to_owned(),
    }
}

fn range(first: &str, last: &str) -> String {
    if first == last { first.to_owned() } else { format!("{first} .. {last}") }
}
