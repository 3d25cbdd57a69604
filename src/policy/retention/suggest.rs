use crate::policy::Span;
use crate::policy::config::Policy;
use crate::policy::lifecycle::{Action, Filter, GcsConditions, MinimumSize, Provider, Rule, RuleSet, When};

/// Rules that keep what a policy promises for a wal-g archive, and clean up behind it. `None` without a window to derive
/// them from, or where the window has no end.
///
/// Base backups and WAL live equally long: window, distance between fulls, duration of a backup and margin. History files
/// are left out by size (S3) or suffix (GCS). Generations cannot be told apart in this layout: they need permanent marks
/// or another prefix, and no expiration over them.
pub fn suggest_rules(policy: &Policy, root: &str, provider: Provider, backup_duration: Span) -> Option<RuleSet> {
    let window = policy.recovery_window.copied().filter(|window| !window.is_forever() && *window > Span::ZERO)?;
    let every = policy.full_backup_every.copied()?;
    let margin = policy.immutability.margin.copied().unwrap_or(Span::from_days(7));
    // A backup takes part of a day; whole days are what rules count.
    let duration = Span::from_days(u32::try_from(backup_duration.days().unwrap_or(0) + 1).unwrap_or(1));
    let days = u32::try_from(window.plus(every).plus(duration).plus(margin).days()?).ok()?;
    let undo = policy.undo_window.copied().and_then(Span::days).and_then(|days| u32::try_from(days).ok());
    let rule = |id: &str, filter: Filter, action: Action| Rule {
        id: if provider == Provider::Gcs { String::new() } else { id.to_owned() },
        enabled: true,
        filter,
        actions: vec![action],
        doubts: Vec::new(),
    };
    let expire = || match provider {
        Provider::Gcs => {
            Action::GcsDelete(GcsConditions { age_days: Some(days), is_live: Some(true), ..GcsConditions::default() })
        }
        _ => Action::Expire { when: When::Days(days), all_versions: false },
    };
    let mut wal = Filter::prefix(format!("{root}wal_005/"));
    match provider {
        // A timeline's history is written once and tells later recoveries where to turn.
        Provider::Gcs => {
            wal.suffixes = [".lz4", ".zst", ".lzma", ".br"].iter().map(|end| end.as_bytes().to_vec()).collect();
        }
        _ => wal.larger_than = Some(8 << 10),
    }
    let mut rules = vec![
        rule("base-backups", Filter::prefix(format!("{root}basebackups_005/")), expire()),
        rule("wal", wal, expire()),
    ];
    if let Some(undo) = undo {
        let action = match provider {
            Provider::Gcs => Action::GcsDelete(GcsConditions {
                noncurrent_days: Some(undo + 1),
                is_live: Some(false),
                ..GcsConditions::default()
            }),
            _ => Action::NoncurrentExpire { days: undo + 1, newer: 0 },
        };
        rules.push(rule("noncurrent", Filter::prefix(root), action));
    }
    rules.push(rule("abort-uploads", Filter::default(), Action::AbortUploads { days: 7 }));
    Some(RuleSet { provider, rules, minimum_size: MinimumSize::AllClasses128K })
}

#[cfg(all(test, feature = "config"))]
mod tests {
    use super::*;
    use crate::policy::{parse_config, test_data, verdict::rules_to_json};

    #[test]
    fn the_example_gets_380_days() {
        let Some(text) = test_data::sample("policy-example.toml") else { return };
        let config = parse_config(&text).unwrap();
        let policy = config.policy(config.cluster("prod/main").unwrap());
        let rules = suggest_rules(&policy, "prod/main/", Provider::S3, Span::from_seconds(3600)).unwrap();
        let json = rules_to_json(&rules);
        assert_eq!(json["Rules"][0]["Expiration"]["Days"], 380);
        assert_eq!(json["Rules"][1]["Expiration"]["Days"], 380);
        assert_eq!(json["Rules"][2]["NoncurrentVersionExpiration"]["NoncurrentDays"], 8);
        assert_eq!(json["Rules"][3]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 7);
        let company = config.policy(config.cluster("company").unwrap());
        assert_eq!(suggest_rules(&company, "", Provider::S3, Span::ZERO), None);
    }
}
