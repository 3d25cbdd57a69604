//! Pages, increments and labels of real backups.
#![cfg(feature = "codecs")]
#![allow(clippy::print_stdout)]

mod wal_support;

use std::collections::BTreeMap;

use wal_support::{Random, each_object};
use walproof::model::{Lsn, SegmentName};
use walproof::page::{
    INCREMENT_MAGIC, IncrementStream, PAGE_BYTES, PageContext, PageStream, page_checksum, relation_file,
};
use walproof::wal::{BackupLabel, parse_tablespace_map};

/// Start and end of each backup, from its sentinel.
fn contexts(archive: &str) -> BTreeMap<String, PageContext> {
    let mut contexts = BTreeMap::new();
    let is_sentinel = |path: &str| path.ends_with("_backup_stop_sentinel.json");
    each_object(archive, is_sentinel, |path, bytes| {
        let name = path.rsplit('/').next().unwrap().strip_suffix("_backup_stop_sentinel.json").unwrap();
        let sentinel: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let lsn = |key: &str| sentinel[key].as_u64().map(Lsn);
        contexts.insert(name.to_owned(), PageContext { start: lsn("LSN"), end: lsn("FinishLSN"), checksums: true });
    });
    contexts
}

#[test]
fn every_page_and_increment_of_intact_backups_is_whole() {
    for archive in ["walg-lz4-pg15", "walg-composers-pg15", "walg-zstd-pg17-timelines", "walg-zstd-pg18-seg1m"] {
        if wal_support::tarball(archive).is_none() {
            continue;
        }
        let contexts = contexts(archive);
        let (mut pages, mut newer, mut increments) = (0, 0, 0);
        let is_part = |path: &str| path.contains("/tar_partitions/");
        each_object(archive, is_part, |path, bytes| {
            let context = contexts[path.split('/').nth(1).unwrap()];
            let (_, plain) = wal_support::decoded(path, bytes).unwrap();
            wal_support::tar_members(&plain, |member, content| {
                let Some(file) = relation_file(member.as_bytes(), 131_072) else { return };
                let report = if content.starts_with(&INCREMENT_MAGIC) {
                    let mut stream = IncrementStream::new(context, file.first_block, content.len() as u64);
                    content.chunks(777).for_each(|piece| stream.push(piece));
                    let report = stream.finish();
                    assert_eq!(report.defects, [], "{archive} {path} {member}");
                    increments += 1;
                    report.pages
                } else {
                    let mut stream = PageStream::new(context, PAGE_BYTES, file.first_block);
                    stream.push(&content);
                    stream.finish()
                };
                assert_eq!(report.bad, [], "{archive} {path} {member}");
                assert_eq!(report.trailing_bytes, 0, "{archive} {path} {member}");
                pages += report.pages;
                newer += report.newer;
            });
        });
        println!("{archive}: {pages} pages, {newer} torn, {increments} increments");
        assert!(pages > 1000);
        assert!(increments > 0 || !archive.contains("lz4"));
    }
}

#[test]
fn damaged_increments_are_told() {
    let archive = "walg-lz4-pg15";
    let contexts = contexts(archive);
    let mut random = Random(11);
    let mut tried = 0;
    let is_delta_part = |path: &str| path.contains("_D_") && path.contains("/tar_partitions/");
    each_object(archive, is_delta_part, |path, bytes| {
        let context = contexts[path.split('/').nth(1).unwrap()];
        let (_, plain) = wal_support::decoded(path, bytes).unwrap();
        wal_support::tar_members(&plain, |member, mut content| {
            let Some(file) = relation_file(member.as_bytes(), 131_072) else { return };
            if !content.starts_with(&INCREMENT_MAGIC) {
                return;
            }
            let at = random.below(content.len() as u64) as usize;
            content[at] ^= 1 << random.below(8);
            let mut stream = IncrementStream::new(context, file.first_block, content.len() as u64);
            stream.push(&content);
            let report = stream.finish();
            // Two places can hide it: the size of the file to be, and a position made newer than the backup's start.
            let hidden = (4..12).contains(&at) || report.pages.newer > 0;
            assert!(report.defect_count + report.pages.bad_count > 0 || hidden, "{member} offset {at}");
            tried += 1;
        });
    });
    println!("{tried} increments damaged");
}

#[test]
fn labels_name_the_segment_of_their_backup() {
    for archive in wal_support::PLAIN_ARCHIVES {
        let mut labels = 0;
        let contexts = contexts(archive);
        let is_part = |path: &str| path.contains("/tar_partitions/");
        each_object(archive, is_part, |path, bytes| {
            let backup = path.split('/').nth(1).unwrap();
            let (_, plain) = wal_support::decoded(path, bytes).unwrap();
            wal_support::tar_members(&plain, |member, content| match member {
                "backup_label" => {
                    let label = BackupLabel::parse(&content).unwrap();
                    assert_eq!(Some(label.start), contexts[backup].start, "{archive} {backup}");
                    let name = SegmentName::parse(&backup.as_bytes()[5..29]).unwrap();
                    assert_eq!((label.start_segment, label.start_timeline), (Some(name), Some(name.timeline)));
                    labels += 1;
                }
                "tablespace_map" => {
                    for entry in parse_tablespace_map(&content).unwrap() {
                        assert!(entry.path.starts_with(b"/"), "{archive} {backup}");
                    }
                }
                _ => {}
            });
        });
        assert_eq!(labels, contexts.len(), "{archive}");
    }
}

#[test]
fn a_checksum_depends_on_the_block_number() {
    let page = [7u8; PAGE_BYTES];
    assert_ne!(page_checksum(&page, 1), page_checksum(&page, 2));
}
