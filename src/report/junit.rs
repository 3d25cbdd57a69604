//! JUnit XML, as continuous integration shows tests: one suite for each archive, one case for each rule.
//!
//! A finding at or above `--fail-on` is a failure. A rule that could not look is skipped and says why; where somebody
//! asked for it, it is an error, as is an archive that could not be audited. What was waived, and findings below the
//! threshold, never fail a build but stay readable.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::data::{ArchiveReport, Report};
use super::text::{Style, clean};
use crate::checks::{Finding, OutcomeKind, RuleOutcome};

pub(super) fn render(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let suites: Vec<Suite> = report.archives.iter().map(|archive| Suite::of(archive, style)).collect();
    let sum = |pick: fn(&Suite) -> usize| suites.iter().map(pick).sum::<usize>();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="walproof" tests="{}" failures="{}" errors="{}" skipped="{}" time="{:.3}">"#,
        sum(|suite| suite.cases.len()),
        sum(|suite| suite.count(is_failure)),
        sum(|suite| suite.count(is_error)),
        sum(|suite| suite.count(is_skipped)),
        report.duration_s
    )?;
    for suite in &suites {
        suite.write(report, out)?;
    }
    writeln!(out, "</testsuites>")
}

/// What a reader of tests makes of a rule.
enum Verdict {
    Passed,
    Failure { kind: &'static str, message: String, text: String },
    Error { message: String },
    Skipped { message: String },
}

fn is_failure(case: &Case) -> bool {
    matches!(case.verdict, Verdict::Failure { .. })
}

fn is_error(case: &Case) -> bool {
    matches!(case.verdict, Verdict::Error { .. })
}

fn is_skipped(case: &Case) -> bool {
    matches!(case.verdict, Verdict::Skipped { .. })
}

struct Case {
    name: String,
    verdict: Verdict,
    /// Findings that do not fail it: below the threshold, or waived.
    output: String,
}

struct Suite {
    name: String,
    url: String,
    cases: Vec<Case>,
}

impl Suite {
    fn of(archive: &ArchiveReport, style: &Style) -> Self {
        let mut by_code: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in &archive.findings {
            by_code.entry(&finding.code).or_default().push(finding);
        }
        let mut cases = Vec::new();
        if let Some(error) = &archive.error {
            cases.push(Case {
                name: "audit".to_owned(),
                verdict: Verdict::Error { message: error.clone() },
                output: String::new(),
            });
        }
        for rule in &archive.rules {
            let findings = by_code.remove(rule.code.as_ref()).unwrap_or_default();
            cases.push(case(&rule.code, Some(rule), &findings, style));
        }
        // A report of another version may hold findings of rules that it does not list.
        for (code, findings) in by_code {
            cases.push(case(code, None, &findings, style));
        }
        Suite { name: archive.name.clone(), url: archive.url.clone(), cases }
    }

    fn count(&self, what: fn(&Case) -> bool) -> usize {
        self.cases.iter().filter(|case| what(case)).count()
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            r#"  <testsuite name="{}" timestamp="{}" tests="{}" failures="{}" errors="{}" skipped="{}">"#,
            xml(&self.name),
            report.as_of.strftime("%Y-%m-%dT%H:%M:%S"),
            self.cases.len(),
            self.count(is_failure),
            self.count(is_error),
            self.count(is_skipped)
        )?;
        writeln!(out, r#"    <properties><property name="url" value="{}"/></properties>"#, xml(&self.url))?;
        for case in &self.cases {
            case.write(&self.name, out)?;
        }
        writeln!(out, "  </testsuite>")
    }
}

fn case(code: &str, rule: Option<&RuleOutcome>, findings: &[&Finding], style: &Style) -> Case {
    let name = match findings.first().map(|finding| finding.name.as_ref()).or_else(|| known_name(code)) {
        Some(name) => format!("{code} {name}"),
        None => code.to_owned(),
    };
    let fails = |finding: &&&Finding| finding.waived.is_none() && finding.severity >= style.fail_on;
    let (failing, quiet): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(fails);
    let output: Vec<String> = quiet.iter().copied().map(describe).collect();
    let verdict = match (failing.first(), rule) {
        (Some(first), _) => Verdict::Failure {
            kind: failing.iter().map(|finding| finding.severity).max().unwrap_or(first.severity).name(),
            message: match failing.len() {
                1 => first.message.clone(),
                many => format!("{many} findings, first: {}", first.message),
            },
            text: failing.iter().copied().map(describe).collect::<Vec<_>>().join("\n"),
        },
        (None, Some(rule)) if rule.outcome == OutcomeKind::NotRun => {
            let why = rule.why.as_deref().unwrap_or("no reason given");
            if rule.blocking {
                Verdict::Error { message: format!("could not look: {why}") }
            } else {
                Verdict::Skipped { message: format!("not run: {why}") }
            }
        }
        (None, Some(rule)) if rule.outcome == OutcomeKind::Waived => {
            let waiver = quiet.iter().find_map(|finding| finding.waived.as_ref());
            Verdict::Skipped { message: waiver.map_or_else(|| "waived".to_owned(), waived) }
        }
        _ => Verdict::Passed,
    };
    Case { name, verdict, output: output.join("\n") }
}

fn known_name(code: &str) -> Option<&'static str> {
    crate::checks::rule(code).map(|rule| rule.name)
}

fn waived(waiver: &crate::checks::Waiver) -> String {
    match &waiver.until {
        Some(until) => format!("waived until {until}: {}", waiver.reason),
        None => format!("waived: {}", waiver.reason),
    }
}

fn describe(finding: &Finding) -> String {
    let mut text = format!("{} {}: {}", finding.severity.name(), finding.subject, finding.message);
    if let Some(waiver) = &finding.waived {
        text.push_str(&format!(" ({})", waived(waiver)));
    } else if !finding.advice.is_empty() {
        text.push_str(&format!("\n  {}", finding.advice));
    }
    text
}

impl Case {
    fn write(&self, suite: &str, out: &mut dyn Write) -> io::Result<()> {
        write!(out, r#"    <testcase classname="{}" name="{}""#, xml(suite), xml(&self.name))?;
        if matches!(self.verdict, Verdict::Passed) && self.output.is_empty() {
            return writeln!(out, "/>");
        }
        writeln!(out, ">")?;
        match &self.verdict {
            Verdict::Passed => {}
            Verdict::Failure { kind, message, text } => {
                writeln!(out, r#"      <failure type="{kind}" message="{}">{}</failure>"#, xml(message), xml(text))?;
            }
            Verdict::Error { message } => writeln!(out, r#"      <error type="not_run" message="{}"/>"#, xml(message))?,
            Verdict::Skipped { message } => writeln!(out, r#"      <skipped message="{}"/>"#, xml(message))?,
        }
        if !self.output.is_empty() {
            writeln!(out, "      <system-out>{}</system-out>", xml(&self.output))?;
        }
        writeln!(out, "    </testcase>")
    }
}

/// Safe in text and attributes. Characters that XML forbids even escaped are written out.
fn xml(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(clean).collect();
    let mut safe = String::with_capacity(text.len());
    for c in lines.join("\n").chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => safe.push_str(&c.escape_unicode().to_string()),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_text_leaves_its_place() {
        assert_eq!(super::xml("a<b>&\"c\"\u{1}\u{FFFF}]]>"), "a&lt;b&gt;&amp;&quot;c&quot;\\u{1}\\u{ffff}]]&gt;");
    }
}
