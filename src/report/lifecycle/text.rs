//! The verdict for people: what is lost, from when, by which resource and rule, and how to undo it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{BucketReport, ChangeReport};
use crate::checks::{Finding, Severity};
use crate::policy::verdict::{ObjectLoss, Summary, folders};
use crate::report::Style;
use crate::report::data::Status;
use crate::report::text::{clean, date};

/// Items shown one by one; the rest is a number.
const SHOWN_MAX: usize = 10;

/// Writes the verdict bucket by bucket, each opening with its answer.
///
/// # Errors
/// Those of the writer.
pub fn render_text(report: &ChangeReport, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for bucket in &report.buckets {
        let findings: Vec<&Finding> = report.of_bucket(bucket).collect();
        let (word, status) = word(bucket, &findings, style.fail_on);
        let mut lines = about(report, bucket, style.fail_on).into_iter();
        let first = lines.next().unwrap_or_default();
        writeln!(out, "{}  {}: {}", style.paint(status, word), clean(&bucket.bucket), clean(&first))?;
        for line in lines.filter(|_| !style.quiet) {
            writeln!(out, "  {}", clean(&line))?;
        }
        for finding in shown(&findings, style) {
            finding_line(finding, style, out)?;
        }
        let mut codes: Vec<&str> = shown(&findings, style).map(|finding| finding.code.as_ref()).collect();
        codes.sort_unstable();
        codes.dedup();
        if !codes.is_empty() {
            writeln!(out, "  {}", codes.join(" "))?;
        }
    }
    let rest: Vec<&Finding> = report.of_no_bucket().collect();
    for finding in shown(&rest, style) {
        finding_line(finding, style, out)?;
    }
    if report.buckets.is_empty() && report.not_covered.is_empty() {
        writeln!(out, "{}  {}: it touches no bucket", style.paint(Status::Ok, "OK"), clean(&report.source))?;
    }
    for name in &report.not_covered {
        writeln!(
            out,
            "NOTE  {}: no cluster of the policy names this bucket, nothing about it was judged",
            clean(name)
        )?;
    }
    for why in &report.undecided {
        writeln!(out, "{}  {}", style.paint(Status::Incomplete, "UNDECIDED"), clean(why))?;
    }
    for rule in report.rules.iter().filter(|rule| rule.blocking && rule.why.is_some()) {
        let why = rule.why.as_deref().unwrap_or_default();
        writeln!(
            out,
            "{}  {} could not be judged: {}",
            style.paint(Status::Incomplete, "UNDECIDED"),
            rule.code,
            clean(why)
        )?;
    }
    if !report.assumptions.is_empty() && !style.quiet {
        writeln!(out, "{}", style.dim(&format!("assumed: {}", clean(&report.assumptions.join("; ")))))?;
    }
    Ok(())
}

/// Notes are for those who ask.
fn shown<'a>(findings: &'a [&'a Finding], style: &Style) -> impl Iterator<Item = &'a Finding> {
    let notes = style.verbose;
    findings.iter().copied().filter(move |finding| notes || finding.severity > Severity::Info)
}

fn word(bucket: &BucketReport, findings: &[&Finding], fail_on: Severity) -> (&'static str, Status) {
    let worst = findings.iter().filter(|finding| finding.waived.is_none()).map(|finding| finding.severity).max();
    match worst {
        _ if bucket.undecided.is_some() => ("UNDECIDED", Status::Incomplete),
        Some(worst) if worst >= fail_on => ("FAIL", worst_status(worst)),
        Some(worst) if worst > Severity::Info => ("WARN", Status::Warning),
        _ => ("OK", Status::Ok),
    }
}

fn worst_status(worst: Severity) -> Status {
    Status::from(Some(worst))
}

fn finding_line(finding: &Finding, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let severity = style.paint(worst_status(finding.severity), finding.severity.name());
    let waived = finding.waived.as_ref().map_or(String::new(), |waiver| {
        let until = waiver.until.as_deref().map_or(String::new(), |until| format!(" (until {until})"));
        format!("  (waived: {}{until})", waiver.reason)
    });
    writeln!(out, "  {severity} {}: {}{}", finding.code, clean(&finding.message), clean(&waived))?;
    if style.verbose && !finding.advice.is_empty() {
        writeln!(out, "    {}", clean(&finding.advice))?;
    }
    Ok(())
}

/// The answer about a bucket, then what it rests on; without its findings.
pub(super) fn about(report: &ChangeReport, bucket: &BucketReport, fail_on: Severity) -> Vec<String> {
    let findings: Vec<&Finding> = report.of_bucket(bucket).collect();
    let mut lines = vec![headline(report, bucket, &findings)];
    if let Some(address) = &bucket.resource_address {
        lines.push(format!("{address} ({})", bucket.action.as_deref().unwrap_or("?")));
    }
    if findings.iter().all(|finding| finding.severity == Severity::Info) && bucket.undecided.is_none() {
        return lines;
    }
    rules(bucket, &mut lines);
    if let Some(summary) = bucket.summary.as_ref().filter(|summary| summary.objects_with_shorter_life > 0) {
        losses(report, bucket, summary, &mut lines);
    }
    if let Some(versioning) = bucket.versioning.as_ref().filter(|_| !bucket.objects.is_empty()) {
        let ids = if bucket.all_versions_null { " and all objects have version id null" } else { "" };
        let end = if bucket.all_versions_null && versioning != "Enabled" { ": deletions are final" } else { "" };
        lines.push(format!("versioning is {versioning}{ids}{end}"));
    }
    let broken = findings.iter().filter(|finding| finding.code == "LFC001").filter_map(|finding| {
        let text = |name: &str| finding.facts.get(name).and_then(serde_json::Value::as_str);
        Some((text("first_loss_at")?, text("policy")?))
    });
    if let Some((at, policy)) = broken.min() {
        lines.push(format!("policy: {policy} -> may be violated from {at}"));
    }
    let failed = findings.iter().any(|finding| finding.severity >= fail_on && finding.waived.is_none());
    if failed && let Some(undo) = &bucket.undo {
        lines.push("to undo, put the old rules back at once, some objects may still be there:".to_owned());
        lines.push(format!("  {}", undo_with(bucket, undo)));
    }
    lines
}

/// The command that puts the old rules back.
fn undo_with(bucket: &BucketReport, undo: &serde_json::Value) -> String {
    let name = &bucket.bucket;
    let none =
        ["Rules", "rule"].iter().any(|key| undo.get(key).and_then(|rules| rules.as_array()).is_some_and(Vec::is_empty));
    let file = "(undo.json: .buckets[].undo of --format json)";
    match (bucket.provider.as_str(), none) {
        ("gcs", true) => format!("gcloud storage buckets update gs://{name} --clear-lifecycle"),
        ("gcs", false) => format!("gcloud storage buckets update gs://{name} --lifecycle-file=undo.json {file}"),
        ("minio", true) => format!("mc ilm rule remove --all --force ALIAS/{name}"),
        ("minio", false) => format!("mc ilm rule import ALIAS/{name} < undo.json {file}"),
        (_, true) => format!("aws s3api delete-bucket-lifecycle --bucket {name}"),
        (_, false) => format!(
            "aws s3api put-bucket-lifecycle-configuration --bucket {name} --lifecycle-configuration file://undo.json {file}"
        ),
    }
}

fn rules(bucket: &BucketReport, lines: &mut Vec<String>) {
    for (at, rule) in bucket.rules_after.iter().take(SHOWN_MAX).enumerate() {
        let replaced = bucket.rules_before;
        let alone = at == 0 && bucket.rules_after.len() == 1 && replaced > 1;
        let tail = if alone { format!("; replaces {replaced} rules") } else { String::new() };
        lines.push(format!("{rule}{tail}"));
    }
    if bucket.rules_after.len() > SHOWN_MAX {
        lines.push(format!("and {} more rules", bucket.rules_after.len() - SHOWN_MAX));
    }
}

fn losses(report: &ChangeReport, bucket: &BucketReport, summary: &Summary, lines: &mut Vec<String>) {
    let applied = report.assumed_apply_time;
    lines.push(format!(
        "{} of {} objects live shorter; {} may be unrecoverable as soon as it is applied ({applied}){}",
        summary.objects_with_shorter_life,
        summary.objects_total,
        summary.eligible_at_apply,
        if summary.eligible_at_apply > 0 { ":" } else { "" }
    ));
    let now = |loss: &&ObjectLoss| loss.gone_after.is_some_and(|at| at <= applied);
    let mut folded: BTreeMap<String, Vec<&ObjectLoss>> = BTreeMap::new();
    for loss in bucket.objects.iter().filter(now) {
        folded.entry(folders(loss.key.as_bytes())).or_default().push(loss);
    }
    let width = folded.keys().map(|folder| folder.chars().count()).max().unwrap_or(0);
    for (folder, losses) in folded.iter().take(SHOWN_MAX) {
        let count = summary.by_prefix_at_apply.get(folder).copied().unwrap_or(losses.len());
        let total = summary.by_prefix_total.get(folder).copied().unwrap_or(count);
        let name = |loss: &ObjectLoss| loss.key.strip_prefix(folder.as_str()).unwrap_or(&loss.key).to_owned();
        let (first, last) = (losses.first().map(|loss| name(loss)), losses.last().map(|loss| name(loss)));
        let for_ever =
            if losses.iter().all(|loss| loss.gone_before.is_none()) { "   kept for ever until now" } else { "" };
        lines.push(format!(
            "  {folder:width$} {count} of {total}   {} .. {}{for_ever}",
            first.unwrap_or_default(),
            last.unwrap_or_default()
        ));
    }
    if folded.len() > SHOWN_MAX {
        lines.push(format!("  and {} more folders", folded.len() - SHOWN_MAX));
    }
    let mut later: Vec<&ObjectLoss> = bucket.objects.iter().filter(|loss| !now(loss)).collect();
    later.sort_by(|a, b| a.gone_after.cmp(&b.gone_after).then_with(|| a.key.cmp(&b.key)));
    if later.is_empty() {
        return;
    }
    let each = later.iter().take(3).map(|loss| {
        let day = loss.gone_after.map_or(String::new(), date);
        format!("{} on {day}", loss.key)
    });
    let count = summary.objects_with_shorter_life - summary.eligible_at_apply;
    let more = if count > 3 { ", .." } else { "" };
    lines.push(format!("{count} more later: {}{more}", each.collect::<Vec<_>>().join(", ")));
}

fn headline(report: &ChangeReport, bucket: &BucketReport, findings: &[&Finding]) -> String {
    let cause = if report.source == "deletion list" { "this deletion" } else { "this change" };
    if bucket.undecided.is_some() {
        return format!("it cannot be told what {cause} would do");
    }
    let days = |days: Option<u64>| days.map_or("for ever".to_owned(), |days| format!("{days} d"));
    if findings.iter().all(|finding| finding.severity == Severity::Info) {
        let what = if bucket.clusters.is_empty() {
            "is at odds with nothing; no policy names this bucket"
        } else {
            "shortens nothing that the policy promises"
        };
        return format!("{cause} {what}");
    }
    if let Some(recoverable) = bucket.recoverable.filter(|both| both.after_days < both.before_days) {
        let after = recoverable.after_days.map_or("nothing".into(), |after| format!("{after} d"));
        return format!("{cause} shortens recoverability from {} to {after}", days(recoverable.before_days));
    }
    let end = |days: Option<u64>| days.unwrap_or(u64::MAX);
    let shrunk = bucket.guaranteed.iter().find(|window| end(window.after_days) < end(window.before_days));
    if let Some(window) = shrunk {
        return format!(
            "{cause} shortens the guaranteed window of {} from {} to {}",
            window.cluster,
            days(window.before_days),
            days(window.after_days)
        );
    }
    if findings.iter().all(|finding| finding.waived.is_some()) {
        return format!("everything that {cause} puts at risk is waived");
    }
    format!("{cause} puts backups at risk")
}
