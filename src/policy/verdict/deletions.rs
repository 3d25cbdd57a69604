//! A tool is about to delete: would that take something the policy still needs?

use serde_json::json;

use crate::model::Timestamp;
use crate::policy::config::Config;
use crate::policy::inventory::BucketObjects;
use crate::policy::lifecycle::{BucketSettings, Provider, Reading, RuleSet, Simulator, Versioning};
use crate::policy::plan::BucketChange;
use crate::policy::retention::DeleteList;
use crate::policy::{PlanFinding, Severity};

use super::context::Context;
use super::losses::Ends;
use super::{Judged, PlanVerdict, finish_findings, losses_with, objects, scope};

/// What [`check_deletions`] is given.
#[derive(Debug, Clone, Copy)]
pub struct DeletionInput<'a> {
    /// What is to go.
    pub deletes: &'a DeleteList,
    /// The bucket as it is.
    pub objects: &'a BucketObjects,
    /// Its rules, where they are known.
    pub rules: Option<&'a RuleSet>,
    /// The policy.
    pub config: Option<&'a Config>,
    /// When it is to go.
    pub at: Timestamp,
}

/// Judges a planned deletion by the same measure as a planned rule.
pub fn check_deletions(input: DeletionInput<'_>) -> PlanVerdict {
    let rules = input.rules.cloned().unwrap_or_else(|| RuleSet::empty(Provider::S3));
    let change = BucketChange::new(rules.provider, Some(input.objects.bucket.clone()), input.objects.bucket.clone());
    let versioning = input.objects.versioning;
    let bucket = BucketSettings { versioning: versioning.unwrap_or(Versioning::Disabled), ..BucketSettings::default() };
    let simulator = Simulator::new(rules.clone(), bucket);
    let coverage = scope::coverage(&change, Some(input.objects), input.config, [&rules, &rules]);
    let scopes = coverage.scopes();
    let cx = Context {
        change: &change,
        before: &simulator,
        after: &simulator,
        apply_at: input.at,
        as_is: false,
        scopes,
        lives: Vec::new(),
        unnamed: false,
        cause: "this deletion",
    };
    let mut ends = Ends::new(&input.objects.table, &simulator, &simulator);
    let roots: Vec<&str> = scopes.iter().map(|scope| scope.root.as_str()).chain([""]).collect();
    let keeps = versioning == Some(Versioning::Enabled);
    let mut named = 0usize;
    for (index, object) in input.objects.table.iter().enumerate() {
        let Ok(key) = std::str::from_utf8(object.key) else { continue };
        let root = roots.iter().find(|root| key.starts_with(**root)).copied().unwrap_or("");
        if !object.delete_marker && input.deletes.names(key, root) {
            named += 1;
            // wal-g deletes all versions of a key where versioning is on.
            let keeps = keeps && !input.deletes.from_walg;
            ends.delete(index, input.at, keeps, object.lock.retain_until);
        }
    }
    let mut judged = Judged::new(&cx, versioning);
    let losses = losses_with(&cx, input.objects, &ends, &mut judged);
    for (scope, losses) in scopes.iter().zip(&losses) {
        objects::judge(&cx, scope, losses, &mut judged.findings);
        if let Some(finding) = budget(&cx, scope, named, input.objects.table.len()) {
            judged.findings.push(finding);
        }
    }
    let mut verdict = PlanVerdict {
        source: "deletion list",
        assumed_apply_time: input.at,
        unknown: Reading::Worst,
        buckets: vec![judged.verdict],
        findings: judged.findings,
        not_covered: Vec::new(),
        undecided: Vec::new(),
        assumptions: vec![format!("deleted at {}", input.at)],
    };
    if scopes.is_empty() {
        verdict.not_covered.push(input.objects.bucket.clone());
    }
    let strangers = input.deletes.keys.len().saturating_sub(named);
    if strangers > 0 {
        verdict.assumptions.push(format!("{strangers} of {} names match no object", input.deletes.keys.len()));
    }
    finish_findings(input.config, input.at, &mut verdict);
    verdict
}

/// RET006: more than the policy lets go in one day.
fn budget(cx: &Context<'_>, scope: &scope::Scope, named: usize, total: usize) -> Option<PlanFinding> {
    let named = u64::try_from(named).unwrap_or(u64::MAX);
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    let most = scope.policy.deletions.max_per_day.copied().filter(|most| named > *most);
    let share = scope.policy.deletions.max_share_per_day.copied().filter(|share| named > share.of(total));
    let limit = match (most, share) {
        (Some(most), _) => format!("deletions.max_per_day is {most}"),
        (None, Some(share)) => format!("deletions.max_share_per_day is {share}"),
        (None, None) => return None,
    };
    let message = format!("{}: {named} of {total} objects would go at once, {limit}", scope.name());
    let advice = "delete in smaller steps, or raise the budget of the policy for that day".to_owned();
    let mut finding = cx.finding("RET006", Severity::Critical, Some(scope), &[], [message, advice]);
    finding.facts.insert("objects_count".into(), json!(named));
    Some(finding)
}

#[cfg(all(test, feature = "config"))]
mod tests {
    use super::*;
    use crate::policy::inventory::read_inventory_json;
    use crate::policy::parse_config;
    use crate::policy::retention::read_deletes;

    const POLICY: &str = "[[cluster]]\nname = \"c\"\narchive = \"s3://b\"\nlayout = \"files\"\n\
                          files.pattern = \"{tier}/{date}.tar\"\nretention.daily = \"3d\"\ndeletions.max_per_day = 2\n";

    fn check(list: &str) -> PlanVerdict {
        let day = |day: u32| json!({"key": format!("daily/2026-11-{day:02}.tar"), "size": 1, "last_modified": format!("2026-11-{day:02}T02:00:00Z")});
        let objects: Vec<_> = (10..20).map(day).collect();
        let text = json!({"bucket": "b", "objects": objects, "versioning": "Disabled"}).to_string();
        check_deletions(DeletionInput {
            deletes: &read_deletes(list),
            objects: &read_inventory_json(&text).unwrap(),
            rules: None,
            config: Some(&parse_config(POLICY).unwrap()),
            at: "2026-11-19T12:00:00Z".parse().unwrap(),
        })
    }

    #[test]
    fn only_what_is_still_promised_is_told() {
        let old = check("daily/2026-11-10.tar\ns3://b/daily/2026-11-15.tar\n");
        assert_eq!((old.findings.len(), old.exit_code(Severity::Error)), (0, 0));
        let young = check("daily/2026-11-10.tar\ndaily/2026-11-17.tar\nnone\n");
        assert_eq!(young.findings[0].code, "LFC001");
        assert_eq!(young.findings[0].objects, ["daily/2026-11-17.tar"]);
        assert!(
            young.findings[0].message.contains("by this deletion 1 of 10 backups"),
            "{}",
            young.findings[0].message
        );
        assert!(young.assumptions[1].contains("1 of 3 names match no object"));
        let many = check("daily/2026-11-10.tar\ndaily/2026-11-11.tar\ndaily/2026-11-12.tar\n");
        assert_eq!(many.findings[0].code, "RET006");
    }
}
