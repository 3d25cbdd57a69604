//! The verdict for people.

use std::collections::BTreeMap;

use crate::policy::Severity;

use super::losses::{ObjectLoss, folders};
use super::{BucketVerdict, PlanVerdict};

/// Items shown one by one; the rest is a number.
const SHOWN_MAX: usize = 10;

impl PlanVerdict {
    /// The verdict in lines, bucket by bucket, each opening with its answer.
    pub fn lines(&self, fail_on: Severity) -> Vec<String> {
        let mut lines = Vec::new();
        for bucket in &self.buckets {
            self.bucket_lines(bucket, fail_on, &mut lines);
        }
        let listed = |finding: &&crate::policy::PlanFinding| {
            let bucket = finding.facts.get("bucket").and_then(|name| name.as_str());
            !self.buckets.iter().any(|verdict| bucket == Some(verdict.bucket.as_str()))
        };
        lines.extend(self.findings.iter().filter(listed).map(finding_line));
        lines.extend(
            self.not_covered.iter().map(|name| format!("NOTE  {name}: no cluster of the policy names this bucket")),
        );
        lines.extend(self.undecided.iter().map(|why| format!("UNDECIDED  {why}")));
        if !self.assumptions.is_empty() {
            lines.push(format!("assumed: {}", self.assumptions.join("; ")));
        }
        lines
    }

    fn bucket_lines(&self, bucket: &BucketVerdict, fail_on: Severity, lines: &mut Vec<String>) {
        let own: Vec<_> = self
            .findings
            .iter()
            .filter(|finding| finding.facts.get("bucket").and_then(|name| name.as_str()) == Some(&bucket.bucket))
            .collect();
        let failed = own.iter().any(|finding| finding.severity >= fail_on && finding.waived.is_none());
        let word = match (failed, own.is_empty()) {
            (true, _) => "FAIL",
            (false, false) => "WARN",
            (false, true) => "OK",
        };
        lines.push(format!("{word}  {}: {}", bucket.bucket, headline(bucket, own.is_empty())));
        if let Some(address) = &bucket.resource_address {
            lines.push(format!("  {address} ({})", bucket.action.as_deref().unwrap_or("?")));
        }
        if own.is_empty() {
            return;
        }
        for (at, rule) in bucket.rules_after.iter().take(SHOWN_MAX).enumerate() {
            let replaced = bucket.rules_before_count;
            let tail = if at == 0 && bucket.rules_after.len() == 1 && replaced > 1 {
                format!("; replaces {replaced} rules")
            } else {
                String::new()
            };
            lines.push(format!("  {rule}{tail}"));
        }
        if bucket.rules_after.len() > SHOWN_MAX {
            lines.push(format!("  and {} more rules", bucket.rules_after.len() - SHOWN_MAX));
        }
        self.loss_lines(bucket, lines);
        if let Some(versioning) = bucket.versioning.filter(|_| !bucket.objects.is_empty()) {
            let ids = if bucket.all_versions_null { " and all objects have version id null" } else { "" };
            let end = if bucket.all_versions_null && versioning != crate::policy::lifecycle::Versioning::Enabled {
                ": deletions are final"
            } else {
                ""
            };
            lines.push(format!("  versioning is {}{ids}{end}", versioning.name()));
        }
        let broken = own.iter().filter(|finding| finding.code == "LFC001").filter_map(|finding| {
            let text = |name: &str| finding.facts.get(name).and_then(|value| value.as_str());
            Some((text("first_loss_at")?, text("policy")?))
        });
        if let Some((at, policy)) = broken.min() {
            lines.push(format!("  policy: {policy} -> may be violated from {at}"));
        }
        lines.extend(own.iter().map(|finding| finding_line(finding)));
        if bucket.undo.is_some() && failed {
            lines.push(
                "  to undo: put the old rules back, they are in the report (undo); some objects may still be there"
                    .into(),
            );
        }
        let mut codes: Vec<&str> = own.iter().map(|finding| finding.code).collect();
        codes.sort_unstable();
        codes.dedup();
        lines.push(format!("  {}", codes.join(" ")));
    }

    fn loss_lines(&self, bucket: &BucketVerdict, lines: &mut Vec<String>) {
        let Some(summary) = bucket.summary.as_ref().filter(|summary| summary.objects_with_shorter_life > 0) else {
            return;
        };
        lines.push(format!(
            "  {} of {} objects live shorter; {} may be unrecoverable as soon as it is applied ({}){}",
            summary.objects_with_shorter_life,
            summary.objects_total,
            summary.eligible_at_apply,
            self.assumed_apply_time,
            if summary.eligible_at_apply > 0 { ":" } else { "" }
        ));
        let now = |loss: &&ObjectLoss| loss.gone_after.is_some_and(|at| at <= self.assumed_apply_time);
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
                "    {folder:width$} {count} of {total}   {} .. {}{for_ever}",
                first.unwrap_or_default(),
                last.unwrap_or_default()
            ));
        }
        if folded.len() > SHOWN_MAX {
            lines.push(format!("    and {} more folders", folded.len() - SHOWN_MAX));
        }
        let mut later: Vec<&ObjectLoss> = bucket.objects.iter().filter(|loss| !now(loss)).collect();
        later.sort_by(|a, b| a.gone_after.cmp(&b.gone_after).then_with(|| a.key.cmp(&b.key)));
        if !later.is_empty() {
            let each = later.iter().take(3).map(|loss| {
                let day = loss.gone_after.map_or(String::new(), super::objects::date);
                format!("{} on {day}", loss.key)
            });
            let count = summary.objects_with_shorter_life - summary.eligible_at_apply;
            let more = if count > 3 { ", .." } else { "" };
            lines.push(format!("  {count} more later: {}{more}", each.collect::<Vec<_>>().join(", ")));
        }
    }
}

fn headline(bucket: &BucketVerdict, clean: bool) -> String {
    let days = |days: Option<u64>| days.map_or("for ever".to_owned(), |days| format!("{days} d"));
    if clean {
        return "this change shortens nothing that the policy promises".into();
    }
    if let Some([before, after]) = bucket.recoverable_days
        && after < before
    {
        let after = after.map_or("nothing".into(), |after| format!("{after} d"));
        return format!("this change shortens recoverability from {} to {after}", days(before));
    }
    let shrunk = bucket
        .guaranteed_days
        .iter()
        .find(|(_, [before, after])| after.unwrap_or(u64::MAX) < before.unwrap_or(u64::MAX));
    if let Some((cluster, [before, after])) = shrunk {
        return format!(
            "this change shortens the guaranteed window of {cluster} from {} to {}",
            days(*before),
            days(*after)
        );
    }
    "this change puts backups at risk".into()
}

fn finding_line(finding: &crate::policy::PlanFinding) -> String {
    let waived = finding.waived.as_ref().map_or(String::new(), |why| format!("  (waived: {why})"));
    format!("  {} {}: {}{waived}", finding.severity.name(), finding.code, finding.message)
}
