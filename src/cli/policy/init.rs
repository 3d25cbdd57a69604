use std::io::Write;

use clap::Args;
use jiff::ToSpan;
use jiff::civil::Date;

use crate::checks::Severity;
use crate::cli::args::Common;
use crate::cli::session::Session;
use crate::cli::{Outcome, audit, input};
use crate::model::Timestamp;
use crate::report::data::{ArchiveReport, BackupReport, Report, Restorable, Status};
use crate::report::{clean, moment, span};

/// `walproof policy init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Addresses or names of clusters; what the configuration or wal-g's own settings name when none is given
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// `walproof policy init`
pub(super) async fn run(args: InitArgs) -> anyhow::Result<Outcome> {
    match args.common.output.formats.as_slice() {
        [] => {}
        [one] if one == "text" => {}
        _ => anyhow::bail!("policy init writes a walproof.toml; leave --format out"),
    }
    let path = args.common.output.output.as_deref();
    if let Some(path) = path.filter(|path| path.exists()) {
        anyhow::bail!("{} is there already; a draft replaces no file", path.display());
    }
    let session = Session::new(&args.common)?;
    let report = audit::report_on(&session, &args.archives, None).await?;
    if let Some(broken) = report.archives.iter().find(|archive| archive.layout.is_none()) {
        anyhow::bail!("{}: {}", broken.url, broken.error.as_deref().unwrap_or("nothing was recognised"));
    }
    let mut out = input::writer(path)?;
    out.write_all(draft(&report).as_bytes())?;
    out.flush()?;
    let incomplete = report.archives.iter().any(|archive| archive.status == Status::Incomplete);
    Ok(if incomplete { Outcome::Failed } else { Outcome::Clean })
}

/// A `walproof.toml` whose promises are comments: what is seen is not what was promised.
fn draft(report: &Report) -> String {
    let mut lines = vec![
        format!("# What must stay recoverable. A draft from what was seen at {} UTC.", moment(report.as_of)),
        "# Nothing below is promised yet: take the # away where you mean it, and write what you need, not what there is."
            .to_owned(),
        "# walproof policy check finds contradictions, walproof rule CODE says what a rule does.".to_owned(),
        "version = 1".to_owned(),
    ];
    for archive in &report.archives {
        cluster(archive, report.as_of, &mut lines);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn cluster(archive: &ArchiveReport, as_of: Timestamp, lines: &mut Vec<String>) {
    lines.push(String::new());
    lines.push("[[cluster]]".to_owned());
    lines.push(format!("name    = {}", quoted(&archive.name)));
    lines.push(format!("archive = {}", quoted(&archive.url)));
    if let Some(layout) = &archive.layout {
        lines.push(format!("layout  = {}", quoted(layout)));
    }
    if let Some(endpoint) = &archive.endpoint {
        lines.push(format!("endpoint_url = {}", quoted(endpoint)));
    }
    if let Some(error) = &archive.error {
        lines.push(format!("# it could not be looked at as a whole: {}", clean(error)));
    }
    let mut seen = Vec::new();
    window(archive, as_of, &mut seen);
    backups(archive, as_of, &mut seen);
    let width = |pick: fn(&Row) -> usize| seen.iter().map(pick).max().unwrap_or(0);
    let (keys, values) = (width(|row| row.key.len()), width(|row| row.value.len()));
    for row in &seen {
        lines.push(format!("# {:keys$} = {:values$}   # seen: {}", row.key, row.value, clean(&row.seen)));
    }
    let bad = archive.findings.iter().filter(|f| f.waived.is_none() && f.severity >= Severity::Error).count();
    if bad > 0 {
        lines.push(format!("# {bad} findings of error or worse: look at walproof audit before you promise anything"));
    }
}

/// A key with the value that what was seen would keep.
struct Row {
    key: &'static str,
    value: String,
    seen: String,
}

fn row(key: &'static str, value: impl Into<String>, seen: impl Into<String>) -> Row {
    Row { key, value: value.into(), seen: seen.into() }
}

fn window(archive: &ArchiveReport, as_of: Timestamp, seen: &mut Vec<Row>) {
    let Some(window) = &archive.recovery_window else { return };
    if let (Some(from), Some(to)) = (window.from, window.to) {
        let holes = match window.holes.len() {
            0 => "without a hole".to_owned(),
            1 => "with 1 hole".to_owned(),
            many => format!("with {many} holes"),
        };
        let back = as_of.duration_since(from).as_secs();
        seen.push(row(
            "recovery_window",
            duration(back, Round::Down),
            format!("any moment {} .. {} UTC, {holes}", moment(from), moment(to)),
        ));
        let lag = as_of.duration_since(to).as_secs();
        seen.push(row("rpo", duration(lag.max(60), Round::Up), format!("the newest WAL is {} old", span(lag))));
    }
}

fn backups(archive: &ArchiveReport, as_of: Timestamp, seen: &mut Vec<Row>) {
    let usable: Vec<&BackupReport> =
        archive.backups.iter().filter(|backup| backup.restorable != Restorable::No).collect();
    let mut full: Vec<Timestamp> =
        usable.iter().filter(|backup| backup.kind == "full").filter_map(|backup| backup.finished_at).collect();
    full.sort();
    let newest = usable.iter().filter_map(|backup| backup.finished_at).max();
    if let Some(newest) = newest {
        let age = as_of.duration_since(newest).as_secs();
        let age_text = format!("the newest usable backup is {} old", span(age));
        seen.push(row("backup_max_age", duration(age.max(3600), Round::Up), age_text));
    }
    if !full.is_empty() {
        seen.push(row("min_full_backups", full.len().to_string(), format!("{} usable full backups", full.len())));
    }
    let mut gaps: Vec<i64> = full.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    gaps.sort_unstable();
    if gaps.len() >= 2 {
        let median = gaps[gaps.len() / 2];
        let text = format!("median distance {}, longest {}", span(median), span(gaps[gaps.len() - 1]));
        seen.push(row("full_backup_every", duration(median, Round::Up), text));
    }
    let sizes: Vec<u64> =
        usable.iter().filter(|b| b.kind == "full").map(|b| b.size.stored).filter(|s| *s > 0).collect();
    let steps = sizes.windows(2).map(|pair| (pair[1] as f64 - pair[0] as f64).abs() / pair[0] as f64);
    if let Some(largest) = steps.max_by(f64::total_cmp) {
        let percent = (largest * 100.0).ceil().clamp(1.0, 4_000.0);
        seen.push(row(
            "backup_size_change",
            format!("\"{percent:.0}%\""),
            format!("largest step from one full backup to the next {percent:.0} %"),
        ));
    }
    generations(&full, as_of, seen);
}

/// Calendar slots in a row, back from today, that hold a full backup each.
fn generations(full: &[Timestamp], as_of: Timestamp, seen: &mut Vec<Row>) {
    let date = |at: Timestamp| at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let dates: Vec<Date> = full.iter().map(|at| date(*at)).collect();
    let today = date(as_of);
    let run = |slot: &dyn Fn(Date) -> (i32, i32), step: jiff::Span| {
        let (mut at, mut count) = (today, 0u32);
        // The slot of today is not over yet: it may be empty.
        while count < 1000 {
            let held = dates.iter().any(|taken| slot(*taken) == slot(at));
            if !held && slot(at) != slot(today) {
                break;
            }
            count += u32::from(held);
            match at.checked_sub(step) {
                Ok(earlier) => at = earlier,
                Err(_) => break,
            }
        }
        count
    };
    let daily = run(&|date| (i32::from(date.year()), i32::from(date.day_of_year())), 1.day());
    let week = |date: Date| {
        let week = date.iso_week_date();
        (i32::from(week.year()), i32::from(week.week()))
    };
    let weekly = run(&week, 1.week());
    let monthly = run(&|date| (i32::from(date.year()), i32::from(date.month())), 1.month());
    for (key, count, days, unit) in [
        ("retention.daily", daily, 1, "days"),
        ("retention.weekly", weekly, 7, "weeks"),
        ("retention.monthly", monthly, 30, "months"),
    ] {
        if count >= 2 {
            seen.push(row(
                key,
                format!("\"{}d\"", count * days),
                format!("a full backup in each of the last {count} {unit}"),
            ));
        }
    }
}

enum Round {
    Up,
    Down,
}

/// In the largest unit that does not round too much away.
fn duration(seconds: i64, round: Round) -> String {
    let (unit, length) = match seconds {
        ..7200 => ("m", 60),
        7200..172_800 => ("h", 3600),
        _ => ("d", 86_400),
    };
    let count = match round {
        Round::Up => (seconds + length - 1) / length,
        Round::Down => seconds / length,
    };
    format!("\"{count}{unit}\"")
}

/// A TOML string, whatever is in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_on_the_safe_side() {
        assert_eq!(duration(34 * 86_400 + 5, Round::Down), "\"34d\"");
        assert_eq!(duration(25 * 3600 + 1, Round::Up), "\"26h\"");
        assert_eq!(duration(61, Round::Up), "\"2m\"");
        assert_eq!(quoted("a\"b\\\u{1b}"), "\"a\\\"b\\\\\\u001B\"");
    }

    #[test]
    fn slots_in_a_row() {
        let as_of: Timestamp = "2026-11-20T15:00:00Z".parse().unwrap();
        let at = |text: &str| format!("{text}T02:00:00Z").parse::<Timestamp>().unwrap();
        // Today's is not there yet; the 17th is missing.
        let full = ["2026-11-16", "2026-11-18", "2026-11-19"].map(at);
        let mut seen = Vec::new();
        generations(&full, as_of, &mut seen);
        assert_eq!(seen.len(), 1, "one week and one month are no row");
        assert_eq!((seen[0].key, seen[0].value.as_str()), ("retention.daily", "\"2d\""));
        let weekly = ["2026-10-25", "2026-11-01", "2026-11-08", "2026-11-15"].map(at);
        let mut seen = Vec::new();
        generations(&weekly, as_of, &mut seen);
        // The running week is empty; the four before it are not.
        assert_eq!(
            seen.iter().map(|row| (row.key, row.value.as_str())).collect::<Vec<_>>(),
            [("retention.weekly", "\"28d\""), ("retention.monthly", "\"60d\"")]
        );
    }
}
