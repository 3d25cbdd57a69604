//! One line for Nagios, Icinga and whatever reads their plugins: state, answer, performance data.
//!
//! CRITICAL is a finding at or above `--fail-on`, a warning stays WARNING, UNKNOWN is an audit that could not be
//! completed. A known loss outranks UNKNOWN: one archive that cannot be read must not hide that another lost data.
//! Waived findings never raise the state, rules that could not run do only where somebody asked for them.

use std::io::{self, Write};

use super::data::{ArchiveReport, Report, Restorable, Status};
use super::text::{Style, clean, headline};
use crate::checks::Severity;

/// States of a monitoring plugin; the exit code is the discriminant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NagiosState {
    /// Nothing to do.
    Ok = 0,
    /// Worth a look.
    Warning = 1,
    /// Data is lost, will be, or a promise is broken.
    Critical = 2,
    /// Nobody could look.
    Unknown = 3,
}

impl NagiosState {
    /// Of one archive.
    fn of(archive: &ArchiveReport, fail_on: Severity) -> Self {
        let worst = archive.findings.iter().filter(|f| f.waived.is_none()).map(|f| f.severity).max();
        let failed = worst.is_some_and(|worst| worst >= fail_on.max(Severity::Error));
        match (failed, archive.status, worst) {
            (true, ..) => NagiosState::Critical,
            (_, Status::Incomplete, _) => NagiosState::Unknown,
            (_, _, Some(Severity::Warning | Severity::Error | Severity::Critical)) => NagiosState::Warning,
            _ => NagiosState::Ok,
        }
    }

    fn rank(self) -> u8 {
        match self {
            NagiosState::Ok => 0,
            NagiosState::Warning => 1,
            NagiosState::Unknown => 2,
            NagiosState::Critical => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            NagiosState::Ok => "OK",
            NagiosState::Warning => "WARNING",
            NagiosState::Critical => "CRITICAL",
            NagiosState::Unknown => "UNKNOWN",
        }
    }
}

/// The state of a whole run: the worst of its archives.
pub fn nagios_state(report: &Report, fail_on: Severity) -> NagiosState {
    let states = report.archives.iter().map(|archive| NagiosState::of(archive, fail_on));
    states.max_by_key(|state| state.rank()).unwrap_or(NagiosState::Unknown)
}

/// The line for a run that ended before there was a report.
pub fn nagios_failure(message: &str) -> String {
    format!("WALPROOF UNKNOWN - {}", plain(message))
}

/// Archives whose answer the line shows; the others are counted.
const SHOWN: usize = 5;

pub(super) fn render(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let state = nagios_state(report, style.fail_on);
    let mut order: Vec<&ArchiveReport> = report.archives.iter().collect();
    order.sort_by_key(|archive| std::cmp::Reverse(NagiosState::of(archive, style.fail_on).rank()));
    let many = order.len() > 1;
    let mut parts: Vec<String> = order.iter().take(SHOWN).map(|archive| answer(archive, style.fail_on, many)).collect();
    if order.len() > SHOWN {
        parts.push(format!("and {} more archives", order.len() - SHOWN));
    }
    if order.is_empty() {
        parts.push("no archive was audited".to_owned());
    }
    let data: Vec<String> = report.archives.iter().flat_map(|archive| performance(archive, report, many)).collect();
    writeln!(out, "WALPROOF {} - {} | {}", state.name(), parts.join("; "), data.join(" "))
}

fn answer(archive: &ArchiveReport, fail_on: Severity, many: bool) -> String {
    let state = NagiosState::of(archive, fail_on);
    let worst = archive.findings.iter().find(|finding| finding.waived.is_none() && finding.severity > Severity::Info);
    let unwaived = archive.findings.iter().filter(|f| f.waived.is_none() && f.severity > Severity::Info).count();
    let text = match (state, worst) {
        (NagiosState::Ok, _) | (_, None) => headline::of(archive).into_iter().next().unwrap_or_default(),
        (_, Some(finding)) => {
            let more = if unwaived > 1 { format!(" (and {} more findings)", unwaived - 1) } else { String::new() };
            format!("{} {}: {}{more}", finding.code, finding.name, finding.message)
        }
    };
    let word = if many { format!("{} {}: ", archive.name, state.name()) } else { format!("{}: ", archive.name) };
    plain(&format!("{word}{text}"))
}

fn performance(archive: &ArchiveReport, report: &Report, many: bool) -> Vec<String> {
    let label = |name: &str| {
        if many { format!("'{}_{name}'", plain(&archive.name).replace(['\'', '='], "_")) } else { name.to_owned() }
    };
    let mut data = Vec::new();
    if let Some(seconds) = archive.recovery_window.as_ref().and_then(|window| window.seconds) {
        data.push(format!("{}={}s;;;0", label("window"), seconds.max(0)));
    }
    if let Some(to) = archive.recovery_window.as_ref().and_then(|window| window.to) {
        data.push(format!("{}={}s;;;0", label("lag"), report.as_of.duration_since(to).as_secs().max(0)));
    }
    if let Some(seconds) = archive.lifecycle.as_ref().and_then(|lifecycle| lifecycle.guaranteed_window_s) {
        data.push(format!("{}={seconds}s;;;0", label("guaranteed")));
    }
    if let Some(first) = archive.lifecycle.as_ref().and_then(|lifecycle| lifecycle.first_promise_broken_at) {
        data.push(format!("{}={}s;;;0", label("promise_left"), first.duration_since(report.as_of).as_secs().max(0)));
    }
    if archive.answer.is_empty() {
        let usable = archive.backups.iter().filter(|backup| backup.restorable != Restorable::No).count();
        data.push(format!("{}={usable};;;0", label("backups")));
    }
    let worse = |least: Severity| archive.findings.iter().filter(|f| f.waived.is_none() && f.severity == least).count();
    data.push(format!("{}={};;;0", label("critical"), worse(Severity::Critical)));
    data.push(format!("{}={};;;0", label("errors"), worse(Severity::Error)));
    data.push(format!("{}={};;;0", label("warnings"), worse(Severity::Warning)));
    data
}

/// One line without the character that begins performance data.
fn plain(text: &str) -> String {
    clean(&text.replace(['\n', '\r', '\t'], " ")).replace('|', "/")
}
