use super::{
    CheckContext, Finding, NotRun, OutcomeKind, Rule, RuleOutcome, backup, continuity, integrity, lifecycle, plan,
    policy, restore, retention, timelines,
};
use crate::catalog::LayoutKind;

/// Every rule, in the order of reports.
static RULES: &[&Rule] = &[
    &continuity::segment_gap::RULE,
    &continuity::wal_stale::RULE,
    &continuity::empty_object::RULE,
    &continuity::duplicate_segment::RULE,
    &continuity::overwritten_segment::RULE,
    &continuity::foreign_segment::RULE,
    &continuity::partial_only::RULE,
    &continuity::stray_object::RULE,
    &continuity::wal_without_backup::RULE,
    &continuity::late_segment::RULE,
    &timelines::history_missing::RULE,
    &timelines::history_conflict::RULE,
    &timelines::history_malformed::RULE,
    &timelines::dead_branch::RULE,
    &backup::backup_unfinished::RULE,
    &backup::part_missing::RULE,
    &backup::sentinel_unreadable::RULE,
    &backup::delta_parent_missing::RULE,
    &backup::backup_wal_missing::RULE,
    &backup::backup_stale::RULE,
    &backup::cadence_missed::RULE,
    &backup::size_anomaly::RULE,
    &backup::foreign_backup::RULE,
    &backup::permanent_chain::RULE,
    &backup::metadata_missing::RULE,
    &backup::no_backup::RULE,
    &backup::parts_newer_than_sentinel::RULE,
    &retention::window_short::RULE,
    &retention::backups_few::RULE,
    &retention::generation_missing::RULE,
    &retention::window_hole::RULE,
    &retention::kept_too_long::RULE,
    &lifecycle::expires_early::RULE,
    &lifecycle::rule_too_broad::RULE,
    &lifecycle::wal_expires_first::RULE,
    &lifecycle::archived_class::RULE,
    &lifecycle::metadata_expires::RULE,
    &lifecycle::delta_outlives_full::RULE,
    &lifecycle::versioning_off::RULE,
    &lifecycle::undo_window_short::RULE,
    &lifecycle::rule_matches_nothing::RULE,
    &lifecycle::uploads_not_aborted::RULE,
    &lifecycle::date_expiration::RULE,
    &lifecycle::ambiguous_rule::RULE,
    &lifecycle::margin_thin::RULE,
    &lifecycle::permanent_expires::RULE,
    &lifecycle::guaranteed_window_short::RULE,
    &lifecycle::single_zone::RULE,
    &integrity::codec_damaged::RULE,
    &integrity::decrypt_failed::RULE,
    &integrity::wal_record_crc::RULE,
    &integrity::wal_page_invalid::RULE,
    &integrity::wal_chain_broken::RULE,
    &integrity::wal_length::RULE,
    &integrity::tar_damaged::RULE,
    &integrity::page_checksum::RULE,
    &integrity::manifest_mismatch::RULE,
    &integrity::store_checksum::RULE,
    &integrity::increment_malformed::RULE,
    &integrity::file_missing::RULE,
    &integrity::pg_control_invalid::RULE,
    &integrity::key_missing::RULE,
    &restore::fetch_failed::RULE,
    &restore::start_failed::RULE,
    &restore::consistency_not_reached::RULE,
    &restore::target_not_reached::RULE,
    &restore::assertion_failed::RULE,
    &restore::corruption_found::RULE,
    &restore::rto_exceeded::RULE,
    &restore::proof_stale::RULE,
    &plan::plan_unknown::RULE,
    &plan::lock_short::RULE,
    &plan::two_owners::RULE,
    &plan::bucket_destroyable::RULE,
    &plan::copy_shorter::RULE,
    &plan::deletion_burst::RULE,
    &plan::copy_missing::RULE,
    &plan::public_access::RULE,
    &plan::not_encrypted::RULE,
    &plan::key_deletion::RULE,
    &policy::archive_without_policy::RULE,
    &policy::waiver_expired::RULE,
];

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().copied()
}

/// Rules that an audit runs. The others are judged before a change is applied.
pub fn audited() -> impl Iterator<Item = &'static Rule> {
    all().filter(|rule| !plan::CODES.contains(&rule.code))
}

/// A rule by code or name, in any case.
pub fn rule(name: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.code.eq_ignore_ascii_case(name) || rule.name.eq_ignore_ascii_case(name))
}

/// Whether a rule is about WAL, timelines, or a window between backups: dumps and tarballs have none.
fn needs_wal(code: &str) -> bool {
    code.starts_with("WAL") || code.starts_with("TLI") || matches!(code, "BKP005" | "RET001" | "RET004")
}

/// Runs every rule; findings come worst first.
pub fn run(cx: &CheckContext<'_>) -> (Vec<Finding>, Vec<RuleOutcome>) {
    let mut findings = Vec::new();
    let mut outcomes = Vec::new();
    for rule in all() {
        let before = findings.len();
        let checked = match needs_wal(rule.code) && cx.archive.layout == LayoutKind::Files {
            true => Err(NotRun("layout files has no WAL".to_owned())),
            false => (rule.check)(cx, &mut findings),
        };
        let count = (findings.len() - before) as u64;
        bound(rule, &mut findings, before);
        let (outcome, why) = match checked {
            _ if count > 0 => (OutcomeKind::Found, None),
            Ok(()) => (OutcomeKind::Passed, None),
            Err(NotRun(why)) => (OutcomeKind::NotRun, Some(why)),
        };
        outcomes.push(RuleOutcome { code: rule.code.into(), outcome, count, why, blocking: false });
    }
    findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then_with(|| a.code.cmp(&b.code)).then_with(|| a.subject.cmp(&b.subject))
    });
    (findings, outcomes)
}

/// Most findings of one rule in a report; what is left out is counted in one more.
const FINDINGS_MAX: usize = 1000;

/// Keeps the worst findings of a rule. An archive with half a million holes gives a report that can still be read.
fn bound(rule: &'static Rule, findings: &mut Vec<Finding>, from: usize) {
    if findings.len() - from <= FINDINGS_MAX {
        return;
    }
    findings[from..].sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.subject.cmp(&b.subject)));
    let rest = findings.split_off(from + FINDINGS_MAX - 1);
    let worst = rest.iter().map(|finding| finding.severity).max().unwrap_or(rule.severity);
    let more = rest.len();
    findings.push(
        Finding::new(
            rule,
            format!("{more} more"),
            format!("{more} more findings of this rule are not listed one by one"),
        )
        .severity(worst)
        .count(rest.iter().map(|finding| finding.count).sum())
        .advise("mend what is listed first, then audit again"),
    );
}
