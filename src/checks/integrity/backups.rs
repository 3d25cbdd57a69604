//! What the rules on the content of base backups have in common: from a defect to a finding.

use serde_json::{Value, json};

use super::content;
use crate::catalog::evidence::{BackupDefect, BackupDefectKind, ContentEvidence};
use crate::checks::{CheckContext, Checked, Finding, NotRun, Rule, Severity};

/// One finding for each defect of some kinds. Not run where no part of a base backup was read.
pub(super) fn defects(
    cx: &CheckContext<'_>,
    out: &mut Vec<Finding>,
    rule: &'static Rule,
    kinds: &[BackupDefectKind],
    advice: &str,
) -> Checked {
    let evidence = cx.content()?;
    let before = out.len();
    for defect in evidence.backup_defects.iter().filter(|defect| kinds.contains(&defect.kind)) {
        out.push(finding(rule, defect, advice));
    }
    if out.len() == before { a_part_was_read(evidence) } else { Ok(()) }
}

fn a_part_was_read(evidence: &ContentEvidence) -> Checked {
    content::something_was_read(evidence)?;
    let read = evidence.totals.backup_files > 0 || evidence.backups.values().any(|proof| proof.parts > 0);
    if read { Ok(()) } else { Err(NotRun("no part of a base backup was read".to_owned())) }
}

fn finding(rule: &'static Rule, defect: &BackupDefect, advice: &str) -> Finding {
    let subject = defect.key.as_ref().map_or_else(|| defect.backup.clone(), ToString::to_string);
    let mut finding = Finding::new(rule, subject.clone(), format!("{subject}: {}", defect.message))
        .count(defect.count)
        .objects(&defect.key)
        .encoded(defect.key.as_ref().is_some_and(|key| key.is_encoded()))
        .fact("backup", defect.backup.as_str())
        .fact("files_affected", defect.files)
        .advise(advice);
    if !defect.members.is_empty() {
        let files: Vec<Value> = defect
            .members
            .iter()
            .map(|member| {
                let mut file =
                    json!({"path": member.path.to_string(), "message": member.message, "count": member.count});
                if !member.blocks.is_empty() {
                    file["blocks"] = json!(member.blocks);
                }
                file
            })
            .collect();
        finding = finding.fact("files", files);
    }
    if let Some(expected) = &defect.expected {
        finding = finding.fact("expected", expected.as_str());
    }
    if let Some(found) = &defect.found {
        finding = finding.fact("found", found.as_str());
    }
    if defect.kind.is_fatal() {
        return finding;
    }
    finding.severity(Severity::Warning).advise(
        "look how the backup came to be: its list and its tars were not written by one run, or something changed them",
    )
}
