//! When backups and days of the recovery window end: the answer first, then drawn, then one by one.

use std::io::{self, Write};

use super::words::{clean, date, minute};
use super::{Style, findings, span, title, words};
use crate::model::Timestamp;
use crate::report::data::{ArchiveReport, BackupReport, ForecastPoint, Report, Restorable, Status};
use crate::report::forecast::{LifecycleReport, ToolReport};

/// Steps and backups that the text shows; the JSON has them all.
const SHOWN: usize = 40;
/// Columns of the longest bar.
const BAR: usize = 40;

/// Writes what the rules of each archive's bucket do to it.
///
/// # Errors
/// Those of the writer.
pub fn render_forecast(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, archive) in report.archives.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        one(archive, report, style, out)?;
    }
    Ok(())
}

fn one(archive: &ArchiveReport, report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", title(archive))?;
    writeln!(out)?;
    if let Some(error) = &archive.error {
        writeln!(out, "  {}", style.paint(Status::Incomplete, &clean(error)))?;
        return Ok(());
    }
    for line in answer(archive, report.as_of) {
        let lines = if style.terminal { words::wrap(&line, style.width.saturating_sub(4)) } else { vec![line] };
        for line in lines {
            writeln!(out, "  {line}")?;
        }
    }
    if let Some(lifecycle) = archive.lifecycle.as_ref().filter(|_| !style.quiet) {
        steps(archive, report.as_of, style, out)?;
        backups(archive, report.as_of, style, out)?;
        rules(lifecycle, out)?;
    }
    for tool in &archive.tools {
        self::tool(tool, style, out)?;
    }
    findings(archive, report, style, out)
}

/// When does the first promised thing end? In one or two sentences.
pub(in crate::report) fn answer(archive: &ArchiveReport, as_of: Timestamp) -> Vec<String> {
    let Some(lifecycle) = &archive.lifecycle else { return Vec::new() };
    let mut lines = Vec::new();
    let first = lifecycle.first_end.as_ref().map(|first| {
        let rule = first.rule.as_ref().map(|rule| format!(" by rule \"{}\"", clean(rule))).unwrap_or_default();
        format!("{} ends {} ({}{rule})", clean(&first.backup), when(first.at, as_of), clean(&first.object))
    });
    match (lifecycle.first_promise_broken_at, first, lifecycle.promises) {
        (Some(broken), first, _) => {
            lines.push(format!("something that is promised ends {}", when(broken, as_of)));
            lines.extend(first.map(|first| format!("first to end: {first}")));
        }
        (None, Some(first), true) => {
            lines.push(format!("nothing promised ends before its time; first to end: {first}"))
        }
        (None, Some(first), false) => lines.push(format!("first to end: {first}; no policy promises anything")),
        (None, None, _) => lines.push("nothing ends under these rules".to_owned()),
    }
    if let Some(because) = &lifecycle.guaranteed_because {
        lines.push(match lifecycle.guaranteed_window_s {
            Some(seconds) => {
                format!("guaranteed window: {} ({because})", span(i64::try_from(seconds).unwrap_or(i64::MAX)))
            }
            None => format!("the window is not limited by rules ({because})"),
        });
    }
    lines
}

fn when(at: Timestamp, as_of: Timestamp) -> String {
    let seconds = at.duration_since(as_of).as_secs();
    if seconds <= 0 { "now, at any moment".to_owned() } else { format!("on {}, in {}", minute(at), span(seconds)) }
}

fn steps(archive: &ArchiveReport, as_of: Timestamp, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let steps = &archive.forecast;
    if steps.is_empty() {
        return Ok(());
    }
    let full = if style.unicode { '█' } else { '#' };
    let most = steps.iter().map(|step| step.window_s).max().unwrap_or(0).max(1);
    writeln!(out, "\n  if nothing new is uploaded")?;
    writeln!(out, "  {:<16}  {:<BAR$}  {:>12}  backups  reaches back to", "from", "window", "")?;
    let total = steps.len();
    for (at, step) in steps.iter().enumerate() {
        if total > SHOWN && at == SHOWN / 2 {
            writeln!(out, "  ... {} more, all in the JSON", total - SHOWN)?;
        }
        if total > SHOWN && (SHOWN / 2..total - SHOWN / 2).contains(&at) {
            continue;
        }
        let columns = (step.window_s as f64 / most as f64 * BAR as f64).round() as usize;
        let bar: String = std::iter::repeat_n(full, columns.min(BAR)).collect();
        writeln!(
            out,
            "  {:<16}  {bar:<BAR$}  {:>12}  {:>7}  {}",
            if step.at == as_of { "now".to_owned() } else { minute(step.at) },
            span(step.window_s),
            step.backups,
            back_to(step)
        )?;
    }
    Ok(())
}

fn back_to(step: &ForecastPoint) -> String {
    match step.oldest {
        Some(oldest) => minute(oldest),
        None if step.backups == 0 => "nothing".to_owned(),
        None => "the backups' own moments".to_owned(),
    }
}

fn backups(archive: &ArchiveReport, as_of: Timestamp, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let usable: Vec<&BackupReport> =
        archive.backups.iter().filter(|backup| backup.restorable != Restorable::No).collect();
    if usable.is_empty() {
        return Ok(());
    }
    let width = usable.iter().map(|backup| clean(&backup.name).chars().count()).max().unwrap_or(6).max(6);
    writeln!(out, "\n  {:<width$}  kind   {:<16}  {:<16}  ends with", "backup", "taken", "usable until")?;
    let total = usable.len();
    for (at, backup) in usable.iter().enumerate() {
        if total > SHOWN && at == SHOWN / 2 {
            writeln!(out, "  ... {} more, all in the JSON", total - SHOWN)?;
        }
        if total > SHOWN && (SHOWN / 2..total - SHOWN / 2).contains(&at) {
            continue;
        }
        let until = match backup.usable_until {
            None => "no end".to_owned(),
            Some(at) if at <= as_of => "now".to_owned(),
            Some(at) => minute(at),
        };
        let line = format!(
            "  {:<width$}  {:<5}  {:<16}  {:<16}  {}",
            clean(&backup.name),
            backup.kind,
            backup.finished_at.map_or_else(|| "unknown".to_owned(), minute),
            until,
            clean(backup.usable_until_reason.as_deref().unwrap_or(""))
        );
        let line = line.trim_end();
        if backup.usable_until.is_some_and(|until| until <= as_of) {
            writeln!(out, "{}", style.paint(Status::Critical, line))?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn rules(lifecycle: &LifecycleReport, out: &mut dyn Write) -> io::Result<()> {
    let versioning = lifecycle.versioning.as_deref().unwrap_or("not stated");
    writeln!(out, "\n  rules of {} ({}, versioning {versioning})", clean(&lifecycle.source), lifecycle.provider)?;
    for rule in lifecycle.rules.iter().take(SHOWN) {
        writeln!(out, "    {}", clean(rule))?;
    }
    if lifecycle.rules.len() > SHOWN {
        writeln!(out, "    ... {} more", lifecycle.rules.len() - SHOWN)?;
    }
    if lifecycle.rules.is_empty() {
        writeln!(out, "    none")?;
    }
    for line in &lifecycle.assumed {
        writeln!(out, "    assumed: {}", clean(line))?;
    }
    Ok(())
}

fn tool(tool: &ToolReport, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n  {}, if it ran now", clean(&tool.tool))?;
    if let Some(refused) = &tool.refused {
        return writeln!(out, "    refuses: {}", clean(refused));
    }
    let names = |names: &[String]| {
        let shown: Vec<String> = names.iter().take(5).map(|name| clean(name)).collect();
        let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
        format!("{}{more}", shown.join(", "))
    };
    if tool.deletes.is_empty() {
        writeln!(out, "    deletes no backup")?;
    } else {
        writeln!(out, "    deletes {}: {}", tool.deletes.len(), names(&tool.deletes))?;
    }
    if let Some(segment) = tool.wal_before.as_ref() {
        writeln!(out, "    deletes WAL before {segment}")?;
    }
    if !tool.orphans.is_empty() {
        writeln!(out, "    leaves without an ancestor: {}", names(&tool.orphans))?;
    }
    if let Some(left) = tool.window_left_s {
        writeln!(out, "    leaves a window of {}", span(left))?;
    }
    if !tool.evicted_by_one_more.is_empty() {
        writeln!(out, "    one more backup, taken by hand, makes it delete {}", names(&tool.evicted_by_one_more))?;
    }
    for line in &tool.breaks {
        writeln!(out, "    {}", style.paint(Status::Critical, &format!("breaks a promise: {}", clean(line))))?;
    }
    for line in &tool.breaks_with_one_more {
        let line = format!("one more backup breaks a promise: {}", clean(line));
        writeln!(out, "    {}", style.paint(Status::Warning, &line))?;
    }
    Ok(())
}

/// The end of a backup for the table of an audit.
pub(in crate::report) fn until(backup: &BackupReport, as_of: Timestamp) -> String {
    match backup.usable_until {
        None => "no end".to_owned(),
        Some(at) if at <= as_of => "now".to_owned(),
        Some(at) => date(at),
    }
}
