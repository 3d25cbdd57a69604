//! Backups that a server streamed with their manifest, in a bucket as wal-g lays them out.

use std::fs;

use serde_json::json;
use walproof::audit::{self, ContentAsked, Options};
use walproof::checks::{Finding, OutcomeKind};
use walproof::codec::tarball::TarReader;
use walproof::model::Lsn;
use walproof::report::data::{ArchiveReport, Restorable};
use walproof::run::RunContext;
use walproof::verify::{BackupChoice, WalChoice};
use walproof::wal::ControlFile;

use super::{Cluster, MAJOR, installed};
use crate::described::{Described, SIZE, tli};

/// Where a member's header lies, and the size of its body.
fn place(tar: &[u8], name: &str) -> (usize, usize) {
    let mut reader = TarReader::new(tar);
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.name == name.as_bytes() {
            return (entry.at_byte as usize, entry.size as usize);
        }
    }
    panic!("{name} is not in the tar");
}

/// One member more, before the end mark.
fn with_member(tar: &[u8], name: &str, body: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(body.len() as u64);
    header.set_mode(0o600);
    header.set_cksum();
    builder.append_data(&mut header, name, body).unwrap();
    let (mut reader, mut end) = (TarReader::new(tar), 0);
    while let Some(entry) = reader.next_entry().unwrap() {
        end = entry.at_byte as usize + 512 + (entry.size as usize).next_multiple_of(512);
    }
    [&tar[..end], &builder.into_inner().unwrap()].concat()
}

fn without_member(tar: &[u8], name: &str) -> Vec<u8> {
    let (at, size) = place(tar, name);
    [&tar[..at], &tar[at + 512 + size.next_multiple_of(512)..]].concat()
}

/// The archive that holds one backup: its tar with its manifest.
fn packed(tar: &[u8], manifest: &str) -> Described {
    let position = |key: &str| -> Lsn {
        let rest = manifest.split_once(&format!("\"{key}\": \"")).unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let (start, stop) = (position("Start-LSN"), position("End-LSN"));
    let (at, size) = place(tar, "global/pg_control");
    let control = ControlFile::parse(&tar[at + 512..at + 512 + size]).unwrap();
    let mut archive = Described { system: control.system_id, version: MAJOR * 10_000, ..Described::default() };
    let segment = start.segment(SIZE);
    archive.wal(1, segment.0, segment.0 + 1);
    let name = format!("base_{}", segment.name(tli(1), SIZE));
    // As wal-g stores it: pg_control has a tar of its own, which a restore unpacks last.
    let whole = with_member(tar, "backup_manifest", manifest.as_bytes());
    let (part, end) = (without_member(&whole, "global/pg_control"), [0; 1024]);
    let alone = [&tar[at..at + 512 + size.next_multiple_of(512)], &end].concat();
    for (part, tar) in [("part_001", part), ("pg_control", alone)] {
        let body = zstd::encode_all(&tar[..], 1).unwrap();
        archive.put(&format!("basebackups_005/{name}/tar_partitions/{part}.tar.zst"), body);
    }
    let sentinel = json!({"LSN": start.0, "FinishLSN": stop.0, "PgVersion": archive.version,
        "SystemIdentifier": archive.system, "StartTime": archive.clock, "FinishTime": archive.clock});
    archive.put(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel.to_string());
    archive
}

fn verify(archive: &Described) -> ArchiveReport {
    let asked =
        ContentAsked { backups: Some(BackupChoice::All), wal: Some(WalChoice::None), ..ContentAsked::default() };
    let ctx = RunContext::new(archive.clock + jiff::SignedDuration::from_hours(48));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = archive.target();
    let found = runtime.block_on(audit::audit_with(&target, &Options::default(), None, Some(&asked), &ctx));
    found.into_iter().next().unwrap()
}

fn about_content(report: &ArchiveReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.code.starts_with("INT")).collect()
}

fn outcome(report: &ArchiveReport) -> OutcomeKind {
    report.rules.iter().find(|rule| rule.code == "INT009").unwrap().outcome
}

#[test]
fn int009_a_servers_manifest_is_compared_with_every_file() {
    let Some(found) = installed(MAJOR, "pg_basebackup") else { return };
    let cluster = Cluster::start(&found);
    let folder = tempfile::tempdir().unwrap();
    for algorithm in ["CRC32C", "SHA224", "SHA256", "SHA384", "SHA512", "NONE"] {
        let backup = folder.path().join(algorithm);
        cluster.backup(&found, &["-Ft", &format!("--manifest-checksums={algorithm}")], &backup);
        let tar = fs::read(backup.join("base.tar")).unwrap();
        let manifest = fs::read_to_string(backup.join("backup_manifest")).unwrap();

        let report = verify(&packed(&tar, &manifest));
        assert_eq!(about_content(&report), Vec::<&Finding>::new(), "{algorithm}");
        assert_eq!(outcome(&report), OutcomeKind::Passed, "{algorithm}");
        assert!(report.backups[0].rungs.intact.is_some(), "{algorithm}: {:?}", report.backups[0]);
        assert!(!report.notes.iter().any(|note| note.contains("manifest")), "{algorithm}: {:?}", report.notes);

        // A file that has no checksum of its own.
        let mut flipped = tar.clone();
        let (at, _) = place(&tar, "pg_xact/0000");
        flipped[at + 512 + 100] ^= 1;
        let report = verify(&packed(&flipped, &manifest));
        let findings = about_content(&report);
        if algorithm == "NONE" {
            assert_eq!(findings, Vec::<&Finding>::new(), "nothing tells");
        } else {
            assert_eq!(findings.len(), 1, "{algorithm}: {findings:?}");
            assert_eq!((findings[0].code.as_ref(), findings[0].severity.name()), ("INT009", "critical"));
            assert_eq!(findings[0].facts["files"][0]["path"], "pg_xact/0000");
            let word = if algorithm == "CRC32C" { "CRC".to_owned() } else { algorithm.replace("SHA", "SHA-") };
            assert!(findings[0].message.contains(&format!("has {word} ")), "{}", findings[0].message);
            assert_eq!(report.backups[0].restorable, Restorable::No, "{algorithm}");
            assert!(report.backups[0].rungs.intact.is_some() && report.backups[0].rungs.valid.is_none());
        }

        let report = verify(&packed(&without_member(&tar, "pg_xact/0000"), &manifest));
        let findings = about_content(&report);
        assert!(findings.len() == 1 && findings[0].code == "INT009", "{algorithm}: {findings:?}");
        assert!(findings[0].message.contains("pg_xact/0000 is in no part"), "{}", findings[0].message);

        let changed = manifest.replacen("base/1/", "base/9/", 1);
        let report = verify(&packed(&tar, &changed));
        let findings = about_content(&report);
        assert!(findings.len() == 1 && findings[0].code == "INT009", "{algorithm}: {findings:?}");
        assert!(findings[0].message.contains("manifest's own checksum"), "{}", findings[0].message);
    }
}

#[test]
fn int009_the_manifest_of_another_backup_says_nothing() {
    let Some(found) = installed(MAJOR, "pg_basebackup") else { return };
    let cluster = Cluster::start(&found);
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    cluster.backup(&found, &["-Ft"], &first);
    cluster.backup(&found, &["-Ft"], &second);
    let tar = fs::read(second.join("base.tar")).unwrap();
    let manifest = |of: &std::path::Path| fs::read_to_string(of.join("backup_manifest")).unwrap();
    // The data directory came from a restore: it brought the manifest of the backup it was restored from.
    let mut stale = packed(&tar, &manifest(&second));
    let name = verify(&stale).backups[0].name.clone();
    let mut flipped = tar.clone();
    let (at, _) = place(&tar, "pg_xact/0000");
    flipped[at + 512 + 100] ^= 1;
    let whole = with_member(&flipped, "backup_manifest", manifest(&first).as_bytes());
    stale.put(
        &format!("basebackups_005/{name}/tar_partitions/part_001.tar.zst"),
        zstd::encode_all(&whole[..], 1).unwrap(),
    );
    let report = verify(&stale);
    assert_eq!(about_content(&report), Vec::<&Finding>::new());
    assert_eq!(outcome(&report), OutcomeKind::NotRun);
    assert!(report.notes.iter().any(|note| note.contains("it belongs to another backup")), "{:?}", report.notes);
}
