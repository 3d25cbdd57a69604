//! What the rules on content have in common: from a damaged object to a finding.

use crate::catalog::evidence::{ContentEvidence, Damage, DamageKind};
use crate::checks::{CheckContext, Checked, Finding, NotRun, Rule, Severity};

/// One finding for each damaged object of some kinds. Not run where nothing was read.
pub(super) fn damaged(
    cx: &CheckContext<'_>,
    out: &mut Vec<Finding>,
    rule: &'static Rule,
    kinds: &[DamageKind],
    advice: &str,
) -> Checked {
    let content = cx.content()?;
    let before = out.len();
    for damage in content.damages.iter().filter(|damage| kinds.contains(&damage.kind)) {
        out.push(finding(cx, rule, damage, advice));
    }
    if out.len() == before { something_was_read(content) } else { Ok(()) }
}

/// Where every object that was to be read could not be, a rule did not look.
pub(in crate::checks) fn something_was_read(content: &ContentEvidence) -> Checked {
    let totals = &content.totals;
    if totals.wal_segments + totals.backup_files + totals.known > 0 {
        return Ok(());
    }
    match content.unread.first() {
        Some(unread) => Err(NotRun(format!("nothing could be read: {}", unread.why))),
        None => Err(NotRun("there was nothing to read".to_owned())),
    }
}

/// The finding on one damaged object.
pub(in crate::checks) fn finding(cx: &CheckContext<'_>, rule: &'static Rule, damage: &Damage, advice: &str) -> Finding {
    let more = if damage.count > 1 { format!(" (and {} more places)", damage.count - 1) } else { String::new() };
    let mut finding = Finding::new(rule, damage.key.to_string(), format!("{}: {}{more}", damage.key, damage.message))
        .count(damage.count)
        .objects([&damage.key].into_iter().chain(&damage.other))
        .encoded(damage.key.is_encoded())
        .advise(advice);
    if damage.harmless {
        finding =
            finding.severity(Severity::Warning).advise("nothing has to be done: recovery does not read it by itself");
    }
    if let Some(lsn) = damage.lsn {
        finding = finding.fact("lsn", lsn.to_string());
    }
    if let Some(offset) = damage.offset {
        finding = finding.fact("offset", offset);
    }
    if let Some(expected) = &damage.expected {
        finding = finding.fact("expected", expected.as_str());
    }
    if let Some(found) = &damage.found {
        finding = finding.fact("found", found.as_str());
    }
    if let Some(backup) = &damage.backup {
        finding = finding.fact("backup", backup.as_str());
    }
    let Some(segment) = damage.segment else { return finding };
    finding = finding.segments(segment, segment).fact("segment", segment.to_string());
    let number = segment.number(cx.archive.segment_size);
    let gap = number.and_then(|number| cx.recovery.gap_at(segment.timeline, number));
    if let Some(gap) = gap {
        let names: Vec<&str> = gap.needed_by.iter().map(|at| cx.archive.backups[*at].name.as_str()).collect();
        finding = finding.fact("backups_affected", names);
        if let Some(chain) = cx.furthest(&gap.needed_by) {
            finding = finding
                .fact("furthest_lsn", chain.to_lsn.to_string())
                .time_fact("furthest_time", chain.to.map(|to| to.at_least));
        }
    }
    finding
}
