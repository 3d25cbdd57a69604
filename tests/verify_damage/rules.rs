//! The rules on the content of base backups: each on a backup that fires it and on a near miss.

use walproof::catalog::Recovery;
use walproof::catalog::evidence::{BackupDefect, BackupDefectKind as Kind, BackupProof, ContentEvidence};
use walproof::checks::{self, CheckContext, Finding, OutcomeKind, Severity};
use walproof::verify::backup::Conclusion;

use crate::backups::{members, without};
use crate::golden_support as g;
use crate::library::Loaded;

/// The findings of one rule on what a conclusion says, and what became of the rule.
fn judged(loaded: &Loaded, conclusion: Conclusion, code: &str) -> (Vec<Finding>, OutcomeKind) {
    let mut content = ContentEvidence { backup_defects: conclusion.defects, ..ContentEvidence::default() };
    content.totals.backup_files = 3;
    content.manifests = u64::from(conclusion.manifest_compared);
    content.backups.insert(("base".to_owned(), 0), BackupProof { parts: 3, parts_total: 3, ..Default::default() });
    let recovery = Recovery::of(&loaded.archive);
    let mut cx = CheckContext::new(&loaded.archive, &recovery, jiff::Timestamp::now());
    cx.evidence.content = Some(&content);
    let (findings, outcomes) = checks::run(&cx);
    let outcome = outcomes.iter().find(|outcome| outcome.code == code).unwrap().outcome;
    (findings.into_iter().filter(|finding| finding.code == code).collect(), outcome)
}

fn fires(loaded: &Loaded, conclusion: Conclusion, code: &str, severity: Severity) -> Finding {
    let (findings, outcome) = judged(loaded, conclusion, code);
    assert_eq!(outcome, OutcomeKind::Found, "{code}");
    assert_eq!(findings[0].severity, severity, "{code}: {}", findings[0].message);
    findings.into_iter().next().unwrap()
}

#[test]
fn content_rules_fire_and_do_not() {
    let Some(golden) = g::golden() else { return };
    let loaded = Loaded::golden(&golden, "walg-lz4-pg15");
    let full = loaded.archive.backups.iter().find(|backup| !backup.kind.is_delta()).unwrap();
    let delta = loaded.archive.backups.iter().find(|backup| backup.kind.is_delta()).unwrap();
    let flipped = |backup, member: &str, offset: usize| {
        loaded.conclude(backup, |_, mut plain| {
            if let Some((_, at, _)) = members(&plain).iter().find(|(name, _, _)| name == member) {
                plain[at + 512 + offset] ^= 1;
            }
            Some(plain)
        })
    };
    // Cut behind a member: the end mark is missing.
    let cut = loaded.conclude(full, |name, mut plain| {
        plain.truncate(if name.starts_with("part_") { plain.len() / 1024 * 512 } else { plain.len() });
        Some(plain)
    });
    let finding = fires(&loaded, cut, "INT007", Severity::Critical);
    assert!(finding.subject.ends_with("part_001.tar.lz4") && finding.objects == [finding.subject.clone()]);
    let finding = fires(&loaded, flipped(full, "base/1/1249", 8192 * 3 + 5000), "INT008", Severity::Critical);
    assert_eq!(finding.facts["files"][0]["blocks"][0], 3);
    assert!(finding.message.contains("base/1/1249") && finding.message.contains("block 3"), "{}", finding.message);
    let files = loaded.expectation(delta).files.unwrap();
    let path = String::from_utf8(files.iter().find(|file| file.incremented).unwrap().path.to_vec()).unwrap();
    fires(&loaded, flipped(delta, &path, 0), "INT011", Severity::Critical);
    let lost = |name: &str| loaded.conclude(full, |_, plain| Some(without(&plain, name).unwrap_or(plain)));
    let finding = fires(&loaded, lost("base/1/1249"), "INT012", Severity::Critical);
    assert_eq!(finding.facts["files"][0]["path"], "base/1/1249");
    fires(&loaded, lost("global/pg_control"), "INT013", Severity::Critical);
    fires(&loaded, lost("backup_label"), "INT013", Severity::Critical);

    // Near misses: the whole backup; a part that was not read; a page torn while the backup ran.
    for code in ["INT007", "INT008", "INT011", "INT012", "INT013"] {
        let some = loaded.conclude(full, |name, plain| (!name.starts_with("part_")).then_some(plain));
        for conclusion in [loaded.conclude(full, |_, plain| Some(plain)), some] {
            let (findings, outcome) = judged(&loaded, conclusion, code);
            assert_eq!((findings.len(), outcome), (0, OutcomeKind::Passed), "{code}");
        }
    }
    let torn = loaded.conclude(full, |_, mut plain| {
        if let Some((_, at, _)) = members(&plain).iter().find(|(name, _, _)| name == "base/1/1249") {
            let start = full.start_lsn.copied().unwrap().0 + 1;
            let page = at + 512;
            plain[page..page + 4].copy_from_slice(&((start >> 32) as u32).to_le_bytes());
            plain[page + 4..page + 8].copy_from_slice(&(start as u32).to_le_bytes());
        }
        Some(plain)
    });
    assert_eq!((torn.pages_newer, torn.defects.len()), (1, 0));
}

#[test]
fn nothing_read_is_not_run_and_contradictions_are_warnings() {
    let Some(golden) = g::golden() else { return };
    let loaded = Loaded::golden(&golden, "walg-lz4-pg15");
    let full = &loaded.archive.backups[0];
    let recovery = Recovery::of(&loaded.archive);
    let mut cx = CheckContext::new(&loaded.archive, &recovery, jiff::Timestamp::now());
    let content = ContentEvidence::default();
    for evidence in [None, Some(&content)] {
        cx.evidence.content = evidence;
        for outcome in
            checks::run(&cx).1.iter().filter(|outcome| ("INT007"..="INT013").contains(&outcome.code.as_ref()))
        {
            assert_eq!(outcome.outcome, OutcomeKind::NotRun, "{}", outcome.code);
        }
    }
    // A file that the list does not know.
    let stray = loaded.conclude(full, |name, plain| {
        Some(if name.starts_with("part_") { renamed(&plain, "/base/1/1249", "/base/1/9999") } else { plain })
    });
    let unexpected: Vec<&BackupDefect> =
        stray.defects.iter().filter(|defect| defect.kind == Kind::FileUnexpected).collect();
    assert_eq!(unexpected[0].members[0].path.to_string(), "base/1/9999");
    let (findings, _) = judged(&loaded, stray, "INT012");
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Critical, Severity::Warning]);
    // No manifest lies in any of them.
    let whole = loaded.conclude(full, |_, plain| Some(plain));
    assert_eq!(judged(&loaded, whole, "INT009").1, OutcomeKind::NotRun);
}

/// Another name of the same length, with the header's checksum put right.
fn renamed(tar: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut tar = tar.to_vec();
    let (_, at, _) = members(&tar).into_iter().find(|(name, _, _)| *name == from[1..]).unwrap();
    tar[at..at + to.len()].copy_from_slice(to.as_bytes());
    tar[at + 148..at + 156].fill(b' ');
    let sum: u32 = tar[at..at + 512].iter().map(|byte| u32::from(*byte)).sum();
    tar[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}
