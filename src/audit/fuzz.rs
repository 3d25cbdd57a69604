//! A whole audit of any bytes, for fuzzing: a listing, sidecars, model, verdicts and every output.

use crate::catalog::evidence::{ContentEvidence, Evidence};
use crate::catalog::{Archive, BaseBackup, Moment, Recovery, reach};
use crate::checks::{self, CheckContext};
use crate::codec::{self, Limits};
use crate::layout::walg::WalGLayout;
use crate::layout::{self, Answer, Layout, ReadProblem, Wanted};
use crate::model::{Lsn, ObjectKey, ObjectRow, StorageClass, Timestamp};
use crate::policy::outlook::{BucketRules, Outlook, OutlookInput};
use crate::report::{self, ArchiveFacts, Format, Report, Style};
use crate::run::Cancel;
use crate::verify::backup::{ChainCheck, Expectation, check_part, conclude};

/// An archive from bytes: one byte length of a key, the key, two bytes length of its content (little endian), the
/// content; and so on. Must neither panic nor work without end, whatever the keys and contents are.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    print(&fuzz_document(bytes));
}

/// The same, and the content of its base backups: parts walked, ancestors looked through, the verdict in every output.
#[doc(hidden)]
pub fn fuzz_content(bytes: &[u8]) {
    let objects = objects(bytes);
    let archive = archive(&objects);
    let content_of =
        |key: &ObjectKey| objects.iter().find(|(known, _)| *known == key.as_bytes()).map(|(_, content)| *content);
    let expectation = |backup: &BaseBackup| {
        let mut expectation = Expectation::new(backup);
        if let Some(mut list) = backup.files_metadata.object().and_then(|object| content_of(&object.key)) {
            // What is no list is none; the audit tells of it.
            let _ = expectation.read_files(&mut list);
        }
        expectation
    };
    let mut content = ContentEvidence::default();
    for backup in &archive.backups {
        let expected = expectation(backup);
        let mut seen = Vec::new();
        for part in &backup.parts {
            let stored = content_of(&part.object.key).unwrap_or_default();
            let Ok(mut reader) = codec::decoder(part.codec, Box::new(stored), &Limits::decoded(8 << 20)) else {
                continue;
            };
            seen.extend(check_part(&part.name, &mut reader, &expected, &Cancel::default()).ok());
        }
        let mut chain = ChainCheck::new(&expected);
        let mut child = backup;
        for _ in 0..archive.backups.len() {
            let parent = child.kind.parent().and_then(|name| archive.backups.iter().find(|other| other.name == name));
            let Some(parent) = parent else { break };
            chain.step(&parent.name, &expectation(parent));
            child = parent;
        }
        let chain = chain.finish();
        let conclusion = conclude(backup, &expected, &seen, backup.kind.parent().map(|_| &chain));
        content.totals.backup_files += seen.len() as u64;
        content.manifests += u64::from(conclusion.manifest_compared);
        content.backup_defects.extend(conclusion.defects);
    }
    print(&document(&archive, Some(&content)));
}

fn print(document: &Report) {
    for (format, name) in Format::ALL {
        let style = Style { terminal: true, unicode: true, verbose: true, ..Style::default() };
        let mut out = Vec::new();
        report::render(*format, document, &style, &mut out).expect("memory takes it all");
        let raw = out.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t'));
        assert!(!raw, "control characters of the archive in the output {name}");
    }
}

/// The report on such an archive.
#[doc(hidden)]
pub fn fuzz_document(bytes: &[u8]) -> Report {
    document(&archive(&objects(bytes)), None)
}

fn as_of() -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365 * 50)
}

fn archive(objects: &[(&[u8], &[u8])]) -> Archive {
    let mut fold = WalGLayout::new(ObjectKey::default());
    for (at, (key, content)) in objects.iter().enumerate() {
        fold.push(row(as_of(), at, key, content), (at % 7 == 6).into());
    }
    // As the audit does: text files, backup history files, first pages.
    for _ in 0..3 {
        for wanted in fold.wanted() {
            let content = objects.iter().find(|(key, _)| *key == wanted.key.as_bytes()).map(|(_, content)| *content);
            let answer = content.map_or(Answer::Gone, |content| answer(&wanted, content));
            fold.answer(&wanted, answer);
        }
    }
    fold.finish()
}

fn document(archive: &Archive, content: Option<&ContentEvidence>) -> Report {
    let as_of = as_of();
    let recovery = Recovery::with(archive, content);
    for moment in [Moment::Lsn(Lsn(3 << 24)), Moment::Lsn(Lsn(u64::MAX)), Moment::Time(as_of)] {
        let _ = reach(archive, &recovery, moment, None);
    }
    // Rules of every kind: what expires, moves, and matches nothing.
    let rules = br#"{"Rules": [
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "wal_005/"}, "Expiration": {"Days": 3}},
        {"ID": "b", "Status": "Enabled", "Filter": {"ObjectSizeGreaterThan": 9}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]},
        {"ID": "c", "Status": "Enabled", "Filter": {"Prefix": "wal_005/FF"}, "Expiration": {"Days": 9}}]}"#;
    let bucket = BucketRules::read("rules", rules).ok().and_then(|mut buckets| buckets.pop());
    let outlook = bucket.as_ref().map(|bucket| {
        Outlook::of(OutlookInput {
            archive,
            recovery: &recovery,
            bucket,
            root: b"",
            as_of,
            policy: None,
            cluster: None,
            pattern: None,
            config: None,
        })
    });
    let outlook = outlook.as_ref();
    let evidence = Evidence { content, ..Evidence::default() };
    let judged = CheckContext { outlook, evidence, ..CheckContext::new(archive, &recovery, as_of) };
    let (findings, rules) = checks::run(&judged);
    let entry = report::assemble(ArchiveFacts {
        name: "main",
        url: "s3://bucket/main",
        provider: "s3",
        archive,
        recovery: &recovery,
        evidence,
        as_of,
        listing: super::no_listing(),
        findings,
        rules,
        not_checked: Vec::new(),
        error: None,
        outlook,
        promises: false,
        tools: Vec::new(),
    });
    report::finish(as_of, 0.0, as_of, vec![entry])
}

fn objects(mut rest: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut objects = Vec::new();
    while let Some((&length, more)) = rest.split_first()
        && let Some((key, more)) = more.split_at_checked(usize::from(length))
        && let Some((&length, more)) = more.split_first_chunk()
    {
        let (content, more) = more.split_at(more.len().min(usize::from(u16::from_le_bytes(length))));
        objects.push((key, content));
        rest = more;
    }
    objects
}

fn row(as_of: Timestamp, at: usize, key: &[u8], content: &[u8]) -> ObjectRow {
    let minutes = i64::try_from(at % 100_000).unwrap_or(0);
    ObjectRow {
        key: ObjectKey::new(key),
        // Stand-ins of a few bytes would all look like stubs.
        size: if content.len() == 1 { 1 << 20 } else { content.len() as u64 },
        modified: as_of - jiff::SignedDuration::from_mins(200_000 - minutes),
        etag: None,
        version: None,
        class: StorageClass::Standard,
        checksum: None,
    }
}

fn answer(wanted: &Wanted, content: &[u8]) -> Answer {
    let parsed = match wanted.codec {
        None => layout::read(wanted.purpose, &mut &content[..]),
        Some(codec) => match codec::decoder(codec, Box::new(content), &Limits::decoded(8 << 20)) {
            Ok(mut reader) => layout::read(wanted.purpose, &mut reader),
            Err(error) => return Answer::Unread { why: error.to_string(), key_missing: false },
        },
    };
    match parsed {
        Ok(sidecar) => Answer::Parsed(sidecar),
        Err(ReadProblem::Content(why)) => Answer::Broken(why),
        Err(ReadProblem::Io(error)) => Answer::Broken(error.to_string()),
    }
}
