//! Test restores, in two or three lines each.

use std::io::{self, Write};

use super::Style;
use super::words::{bytes, clean, moment, span};
use crate::catalog::evidence::{RestoreOutcome, RestoreStep, RestoreTest};
use crate::report::data::{ArchiveReport, Status};

/// Results of assertions that are named one by one.
const NAMED_MAX: usize = 20;

pub(super) fn render(archive: &ArchiveReport, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if archive.restore_tests.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "  test restores")?;
    for test in &archive.restore_tests {
        one(test, style, out)?;
    }
    Ok(())
}

fn one(test: &RestoreTest, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let (status, word) = match test.outcome {
        RestoreOutcome::Proven => (Status::Ok, "proven"),
        RestoreOutcome::Restored => (Status::Ok, "restored"),
        RestoreOutcome::Failed => (Status::Critical, "failed"),
        RestoreOutcome::NotRun => (Status::Warning, "not run"),
    };
    let timeline = test.timeline.map(|timeline| format!(" on timeline {timeline}")).unwrap_or_default();
    let head = format!("{word:<8}");
    writeln!(out, "  {}  {} to {}{timeline}", style.paint(status, &head), clean(&test.backup), clean(&test.target))?;
    let indent = " ".repeat(12);
    if let Some(why) = &test.why {
        writeln!(out, "{indent}{}", clean(why))?;
    }
    if let Some(reached) = test.reached_lsn.filter(|_| test.reached_target()) {
        let time = test.reached_time.map(|time| format!(", last commit {} UTC", moment(time))).unwrap_or_default();
        let version = test.pg_version.as_deref().unwrap_or("of unknown version");
        writeln!(out, "{indent}PostgreSQL {} replayed WAL up to {reached}{time}", clean(version))?;
    }
    if let Some(rto) = test.rto_s {
        writeln!(out, "{indent}{} until it answered ({})", span(rto.ceil() as i64), steps(test))?;
    }
    if !test.assertions.is_empty() {
        let count = |ok| test.assertions.iter().filter(|one| one.ok == ok).count();
        writeln!(
            out,
            "{indent}{} assertions hold, {} do not, {} could not be judged",
            count(Some(true)),
            count(Some(false)),
            count(None)
        )?;
        for assertion in test.assertions.iter().filter(|one| one.ok.is_none()).take(NAMED_MAX) {
            let why = assertion.why.as_deref().unwrap_or("unknown");
            writeln!(out, "{indent}not judged: {}: {}", clean(&assertion.name), clean(why))?;
        }
    }
    if let Some(loss) = &test.loss {
        writeln!(out, "{indent}{}", clean(loss))?;
    }
    Ok(())
}

fn steps(test: &RestoreTest) -> String {
    let parts: Vec<String> = test
        .steps
        .iter()
        .filter(|step| step.name != RestoreStep::Assert && (step.duration_s > 0.0 || step.bytes > 0))
        .map(|step| {
            let size = if step.bytes > 0 { format!(", {}", bytes(step.bytes)) } else { String::new() };
            format!("{} {:.1} s{size}", step.name.name(), step.duration_s)
        })
        .collect();
    parts.join("; ")
}
