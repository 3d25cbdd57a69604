//! For people: the answer first, then what it rests on, then what to do.

mod draw;
pub(super) mod forecast;
pub(super) mod headline;
mod history;
mod list;
mod restore;
mod words;

use std::io::{self, Write};

pub use forecast::render_forecast;
pub use history::render_history;
pub use list::render_list;
pub(in crate::report) use words::date;
pub use words::{bytes, clean, count, moment, span};

use super::data::{ArchiveReport, BackupReport, Report, Restorable, Status};
use crate::catalog::LayoutKind;
use crate::checks::{Finding, Severity};
use crate::model::Timestamp;
use crate::policy::config::exception_block;

/// How the output may look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours; they only ever mark severity.
    pub color: bool,
    /// Box-drawing characters.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
    /// A person watches: draw timelines, wrap lines. Piped output is plain.
    pub terminal: bool,
    /// Show notes of severity info too.
    pub verbose: bool,
    /// Only the answer and what is wrong.
    pub quiet: bool,
    /// From this severity on a finding fails the run.
    pub fail_on: Severity,
}

impl Default for Style {
    fn default() -> Self {
        Style {
            color: false,
            unicode: false,
            width: 100,
            terminal: false,
            verbose: false,
            quiet: false,
            fail_on: Severity::Error,
        }
    }
}

impl Style {
    pub(in crate::report) fn paint(&self, status: Status, text: &str) -> String {
        let code = match status {
            Status::Ok | Status::Info => "32",
            Status::Warning => "33",
            Status::Error => "31",
            Status::Critical | Status::Incomplete => "1;31",
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(in crate::report) fn dim(&self, text: &str) -> String {
        if self.color { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Findings of one archive that the text shows before it points to the JSON.
const FINDINGS_SHOWN: usize = 50;
/// Backups of one archive that the text shows: the oldest and the newest.
const BACKUPS_SHOWN: usize = 40;

/// Writes a report.
pub(super) fn render(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, archive) in report.archives.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        render_archive(archive, report, style, out)?;
    }
    if report.archives.len() > 1 {
        writeln!(out)?;
        writeln!(out, "{} archives:", report.archives.len())?;
        for archive in &report.archives {
            let word = headline::word(archive.status);
            writeln!(out, "  {}  {}", style.paint(archive.status, &format!("{word:<10}")), clean(&archive.name))?;
        }
    }
    Ok(())
}

fn render_archive(archive: &ArchiveReport, report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", title(archive))?;
    writeln!(out)?;
    let mut answer = headline::of(archive);
    answer.extend(forecast::answer(archive, report.as_of));
    let word = headline::word(archive.status);
    let indent = " ".repeat(word.len() + 5);
    for (at, line) in answer.iter().enumerate() {
        let lines = if style.terminal {
            words::wrap(line, style.width.saturating_sub(indent.len()))
        } else {
            vec![line.clone()]
        };
        for (part, line) in lines.iter().enumerate() {
            if at == 0 && part == 0 {
                writeln!(out, "  {}   {line}", style.paint(archive.status, word))?;
            } else {
                writeln!(out, "{indent}{line}")?;
            }
        }
    }
    if archive.layout.is_some() && !style.quiet && !archive.backups.is_empty() {
        if style.terminal {
            let drawing = draw::timelines(archive, style);
            if !drawing.is_empty() {
                writeln!(out)?;
                for line in drawing {
                    writeln!(out, "  {line}")?;
                }
            }
        }
        writeln!(out)?;
        backups(archive, report.as_of, style, out)?;
    }
    restore::render(archive, style, out)?;
    findings(archive, report, style, out)?;
    if !archive.notes.is_empty() && !style.quiet {
        writeln!(out)?;
        for note in &archive.notes {
            writeln!(out, "  note: {}", clean(note))?;
        }
    }
    if archive.layout.is_some() && archive.error.is_none() {
        writeln!(out)?;
        writeln!(out, "  {}", style.dim(&footer(archive, report)))?;
        if let Some(line) = not_checked(archive) {
            writeln!(out, "  {}", style.dim(&line))?;
        }
    }
    Ok(())
}

fn title(archive: &ArchiveReport) -> String {
    let mut about = vec![archive.layout.clone().unwrap_or_else(|| "no known layout".to_owned())];
    match archive.pg_major {
        Some(906) => about.push("PostgreSQL 9.6".to_owned()),
        Some(major) => about.push(format!("PostgreSQL {major}")),
        None => {}
    }
    if let Some(size) = archive.wal_segment_size {
        about.push(format!("segments of {}", bytes(size)));
    }
    if let Some(id) = &archive.system_identifier {
        about.push(format!("system {id}"));
    }
    format!("{}  {}   {}", clean(&archive.name), clean(&archive.url), about.join(", "))
}

fn backups(archive: &ArchiveReport, as_of: Timestamp, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let total = archive.backups.len();
    let name_width = archive.backups.iter().map(|backup| clean(&backup.name).chars().count()).max().unwrap_or(6).max(6);
    let ends = archive.lifecycle.is_some();
    let end = |text: &str| if ends { format!("{text:<12}  ") } else { String::new() };
    writeln!(
        out,
        "  {:<name_width$}  kind   taken             {:>9}  {:<9}  {}reaches to",
        "backup",
        "stored",
        "rung",
        end("usable until")
    )?;
    for (at, backup) in archive.backups.iter().enumerate() {
        if total > BACKUPS_SHOWN && at == BACKUPS_SHOWN / 2 {
            writeln!(out, "  ... {} more, all in the JSON", total - BACKUPS_SHOWN)?;
        }
        if total > BACKUPS_SHOWN && (BACKUPS_SHOWN / 2..total - BACKUPS_SHOWN / 2).contains(&at) {
            continue;
        }
        let taken = backup.finished_at.map_or_else(|| "unknown".to_owned(), words::minute);
        let rung = backup.rung.map_or("none", |rung| rung.name());
        let line = format!(
            "  {:<name_width$}  {:<5}  {:<16}  {:>9}  {:<9}  {}{}",
            clean(&backup.name),
            backup.kind,
            taken,
            bytes(backup.size.stored),
            rung,
            end(&forecast::until(backup, as_of)),
            reaches(archive, backup)
        );
        let status = match backup.restorable {
            Restorable::No => Status::Critical,
            Restorable::Yes | Restorable::Unknown => Status::Ok,
        };
        if status == Status::Critical {
            writeln!(out, "{}", style.paint(status, &line))?
        } else {
            writeln!(out, "{line}")?
        }
    }
    Ok(())
}

/// The furthest moment, in one phrase.
fn reaches(archive: &ArchiveReport, backup: &BackupReport) -> String {
    if backup.restorable == Restorable::No {
        let why = backup.reasons.first().map_or("", |reason| reason.split(' ').next().unwrap_or(""));
        return format!("cannot be restored ({why})");
    }
    let doubt = if backup.restorable == Restorable::Unknown { " (completeness unknown)" } else { "" };
    if archive.layout.as_deref() == Some(LayoutKind::Files.name()) {
        return "its own moment".to_owned();
    }
    let preferred = archive.recovery_window.as_ref().map(|window| window.timeline);
    let best = backup
        .recovery
        .iter()
        .find(|way| Some(way.timeline) == preferred)
        .or_else(|| backup.recovery.iter().max_by_key(|way| way.to_lsn));
    let Some(best) = best else { return format!("nowhere: no WAL behind it{doubt}") };
    let end =
        archive.recovery_windows.iter().find(|window| window.timeline == best.timeline).map(|window| window.to_lsn);
    if end == Some(best.to_lsn) && best.blocked_at.is_none() {
        return format!("the end (TL{}){doubt}", best.timeline);
    }
    let time = best.to.map_or_else(|| format!("LSN {}", best.to_lsn), words::minute);
    format!("{time} (TL{}){doubt}", best.timeline)
}

fn findings(archive: &ArchiveReport, report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let shown = |finding: &&Finding| style.verbose || finding.severity > Severity::Info || finding.waived.is_some();
    let listed: Vec<&Finding> = archive.findings.iter().filter(shown).collect();
    if !listed.is_empty() {
        writeln!(out)?;
        writeln!(out, "  findings")?;
        for finding in listed.iter().take(FINDINGS_SHOWN) {
            self::finding(finding, archive, report, style, out)?;
        }
        if listed.len() > FINDINGS_SHOWN {
            writeln!(out, "  ... {} more; --format json shows them all", listed.len() - FINDINGS_SHOWN)?;
        }
    }
    Ok(())
}

fn finding(
    finding: &Finding,
    archive: &ArchiveReport,
    report: &Report,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let word = format!("{:<9}", finding.severity.name());
    let status = Status::from(Some(finding.severity));
    let head = format!("{} {:<18} ", finding.code, finding.name);
    let indent = " ".repeat(12);
    let body = clean(&finding.message);
    writeln!(out, "  {} {head}{body}", style.paint(status, &word))?;
    let mut more = Vec::new();
    if let Some(waiver) = &finding.waived {
        let until = waiver.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
        more.push(format!("waived{until}: {}", waiver.reason));
    } else if !finding.advice.is_empty() {
        more.push(finding.advice.clone());
    }
    for text in more {
        let text = clean(&text);
        let lines =
            if style.terminal { words::wrap(&text, style.width.saturating_sub(indent.len())) } else { vec![text] };
        for line in lines {
            writeln!(out, "{indent}{line}")?;
        }
    }
    if style.verbose && finding.waived.is_none() {
        let objects: Vec<String> = finding.objects.iter().take(5).map(|key| clean(key)).collect();
        if !objects.is_empty() {
            writeln!(out, "{indent}objects: {}", objects.join(" "))?;
        }
        let until = report.as_of + jiff::SignedDuration::from_hours(24 * 30);
        let until = until.to_zoned(jiff::tz::TimeZone::UTC).date();
        writeln!(out, "{indent}to accept it for 30 days:")?;
        for line in exception_block(&finding.code, &archive.name, &finding.fingerprint, until).lines() {
            writeln!(out, "{indent}  {}", clean(line))?;
        }
    }
    Ok(())
}

fn footer(archive: &ArchiveReport, report: &Report) -> String {
    let listing = &archive.listing;
    let mut parts = vec![format!(
        "{} objects, {}, {} requests, {:.1} s",
        count(listing.objects),
        bytes(listing.bytes),
        count(listing.requests),
        listing.duration_s.max(if report.archives.len() == 1 { report.duration_s } else { 0.0 })
    )];
    let notes = archive.findings.iter().filter(|finding| finding.severity == Severity::Info).count();
    if notes > 0 {
        let codes: std::collections::BTreeSet<&str> =
            archive.findings.iter().filter(|f| f.severity == Severity::Info).map(|f| f.code.as_ref()).collect();
        let codes: Vec<&str> = codes.into_iter().collect();
        let plural = if notes == 1 { "note" } else { "notes" };
        parts.push(format!("{notes} {plural} ({}; -v shows them)", codes.join(", ")));
    }
    parts.join("        ")
}

fn not_checked(archive: &ArchiveReport) -> Option<String> {
    let mut parts = archive.not_checked.clone();
    // Many rules wait for the same thing: it is named once.
    let mut waiting: Vec<(&str, Vec<&str>)> = Vec::new();
    for rule in archive.rules.iter().filter(|rule| rule.outcome == crate::checks::OutcomeKind::NotRun) {
        let why = rule.why.as_deref().unwrap_or_default();
        let by_nature = archive.layout.as_deref() == Some(LayoutKind::Files.name()) && why.ends_with("has no WAL");
        if why.starts_with("no policy") || why == "no configuration" || by_nature {
            continue;
        }
        match waiting.iter_mut().find(|(known, _)| *known == why) {
            Some((_, codes)) => codes.push(&rule.code),
            None => waiting.push((why, vec![&rule.code])),
        }
    }
    parts.extend(waiting.iter().map(|(why, codes)| match codes.as_slice() {
        [first, .., last] => format!("{first} .. {last} ({} rules): {why}", codes.len()),
        codes => format!("{}: {why}", codes.join("")),
    }));
    if parts.is_empty() {
        return None;
    }
    let shown: Vec<String> = parts.iter().take(4).map(|part| clean(part)).collect();
    let more = if parts.len() > 4 { format!(" and {} more", parts.len() - 4) } else { String::new() };
    Some(format!("not checked: {}{more}", shown.join("; ")))
}
