//! Markdown for a comment on a pull request: the answer, a table of what is wrong, the rest folded away.
//!
//! Names from an archive are hostile here, too: nothing in them becomes markup, a link, a mention or a reference.

use std::io::{self, Write};

use super::data::{ArchiveReport, BackupReport, Report, Restorable, Status};
use super::text::{Style, clean, forecast, headline};
use crate::checks::{Finding, OutcomeKind, Severity};
use crate::model::Timestamp;

/// Rows of a table; a comment has a limit and nobody reads more.
const ROWS_MAX: usize = 50;

pub(super) fn render(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, archive) in report.archives.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        render_archive(archive, report.as_of, style, out)?;
    }
    writeln!(out)?;
    writeln!(out, "<sub>walproof {}, as of {} UTC</sub>", escape(&report.tool.version), super::moment(report.as_of))
}

fn render_archive(archive: &ArchiveReport, as_of: Timestamp, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mark = match archive.status {
        Status::Ok | Status::Info => "\u{2705}",
        Status::Warning => "\u{26A0}\u{FE0F}",
        Status::Error | Status::Critical => "\u{274C}",
        Status::Incomplete => "\u{2754}",
    };
    writeln!(out, "### {mark} {}: {}", escape(&archive.name), headline::word(archive.status))?;
    writeln!(out)?;
    for line in headline::of(archive).into_iter().chain(forecast::answer(archive, as_of)) {
        writeln!(out, "{}  ", escape(&line))?;
    }
    ends(archive, as_of, out)?;
    let (waived, rest): (Vec<&Finding>, Vec<&Finding>) =
        archive.findings.iter().partition(|finding| finding.waived.is_some());
    let (notes, wrong): (Vec<&Finding>, Vec<&Finding>) =
        rest.into_iter().partition(|finding| finding.severity == Severity::Info);
    if !wrong.is_empty() {
        writeln!(out, "\n| | rule | what | what to do |\n|---|---|---|---|")?;
        for finding in wrong.iter().take(ROWS_MAX) {
            let word = finding.severity.name();
            let word = if finding.severity >= style.fail_on { format!("**{word}**") } else { word.to_owned() };
            writeln!(
                out,
                "| {word} | {} {} | {} | {} |",
                escape(&finding.code),
                escape(&finding.name),
                escape(&finding.message),
                escape(&finding.advice)
            )?;
        }
        if wrong.len() > ROWS_MAX {
            writeln!(out, "\n{} more findings are in the JSON report.", wrong.len() - ROWS_MAX)?;
        }
    }
    let waived: Vec<String> = waived
        .iter()
        .map(|finding| {
            let waiver = finding.waived.as_ref();
            let until = waiver.and_then(|waiver| waiver.until.as_deref()).unwrap_or("further notice");
            let reason = waiver.map_or("", |waiver| waiver.reason.as_str());
            format!("{}: {} (waived until {until}: {reason})", finding.code, finding.message)
        })
        .collect();
    fold(&format!("{} waived", waived.len()), &waived, out)?;
    let notes: Vec<String> = notes.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect();
    fold(&format!("{} notes", notes.len()), &notes, out)?;
    let mut unseen: Vec<String> = archive
        .rules
        .iter()
        .filter(|rule| rule.outcome == OutcomeKind::NotRun)
        .map(|rule| format!("{}: {}", rule.code, rule.why.as_deref().unwrap_or("no reason given")))
        .collect();
    unseen.extend(archive.not_checked.iter().cloned());
    fold(&format!("{} not checked", unseen.len()), &unseen, out)
}

/// When each backup ends, where the bucket's rules are known.
fn ends(archive: &ArchiveReport, as_of: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    if archive.lifecycle.is_none() {
        return Ok(());
    }
    let line = |backup: &BackupReport| {
        let until = forecast::until(backup, as_of);
        let why = backup.usable_until_reason.as_deref().map(|why| format!(", {why}")).unwrap_or_default();
        format!("{}: {until}{why}", backup.name)
    };
    let usable = archive.backups.iter().filter(|backup| backup.restorable != Restorable::No);
    let lines: Vec<String> = usable.map(line).collect();
    fold(&format!("{} backups with their ends", lines.len()), &lines, out)
}

fn fold(summary: &str, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n<details><summary>{summary}</summary>\n")?;
    for line in lines.iter().take(ROWS_MAX) {
        writeln!(out, "- {}", escape(line))?;
    }
    if lines.len() > ROWS_MAX {
        writeln!(out, "- and {} more", lines.len() - ROWS_MAX)?;
    }
    writeln!(out, "\n</details>")
}

/// Plain text in any place of a document.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in clean(&text.replace('\n', " ")).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            // Mentions, references and bare links begin with these.
            '@' => safe.push_str("&#64;"),
            '#' => safe.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe.replace("://", "&#58;//").replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_becomes_markup() {
        let escaped = super::escape("<b>@team #1 https://x.y [a](b) `c` | d\n");
        assert_eq!(escaped, "&lt;b&gt;&#64;team &#35;1 https&#58;//x.y \\[a\\](b) \\`c\\` \\| d ");
    }
}
