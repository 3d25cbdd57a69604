//! Base backups of real archives, part by part.

use walproof::page::PAGE_BYTES;
use walproof::verify::backup::{BackupDefectKind as Kind, Conclusion};

use crate::golden_support as g;
use crate::library::Loaded;

fn kinds(conclusion: &Conclusion) -> Vec<Kind> {
    conclusion.defects.iter().map(|defect| defect.kind).collect()
}

#[test]
fn intact_backups_have_no_defect() {
    let Some(golden) = g::golden() else { return };
    let (mut pages, mut newer, mut increments, mut deltas) = (0, 0, 0, 0);
    for name in g::all() {
        let loaded = Loaded::golden(&golden, name);
        for backup in &loaded.archive.backups {
            let conclusion = loaded.conclude(backup, |_, plain| Some(plain));
            assert_eq!(conclusion.defects, [], "{name} {}", backup.name);
            assert!(conclusion.complete, "{name} {}", backup.name);
            assert_eq!(conclusion.checksums, Some(true), "{name} {}", backup.name);
            let listless = backup.files_metadata.object().is_none();
            assert_eq!(conclusion.members_known, !listless, "{name} {}", backup.name);
            assert_eq!(conclusion.not_checked.len(), usize::from(listless && !name.starts_with("wale")), "{name}");
            pages += conclusion.pages;
            newer += conclusion.pages_newer;
            increments += conclusion.increments;
            deltas += u64::from(backup.kind.is_delta());
        }
    }
    println!("{pages} pages, {newer} newer, {increments} increments in {deltas} deltas");
    assert!(pages > 30_000 && increments > 20 && deltas > 4);
}

/// Every member's place in a tar: name, offset of the body, size.
pub fn members(tar: &[u8]) -> Vec<(String, usize, usize)> {
    let mut reader = walproof::codec::tarball::TarReader::new(tar);
    let mut out = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        let name = String::from_utf8_lossy(&entry.name).trim_start_matches('/').to_owned();
        out.push((name, entry.at_byte as usize, entry.size as usize));
    }
    out
}

/// A tar without one of its members.
pub fn without(tar: &[u8], name: &str) -> Option<Vec<u8>> {
    let (_, at, size) = members(tar).into_iter().find(|(member, _, _)| member == name)?;
    let end = at + 512 + size.next_multiple_of(512);
    Some([&tar[..at], &tar[end..]].concat())
}

#[test]
fn a_lost_file_is_named_whatever_tells() {
    let Some(golden) = g::golden() else { return };
    // Sets tell the part; a streamed backup has a list without sets; the last two have only the sum of sizes.
    let cases = [
        ("walg-lz4-pg15", "base_000000010000000000000005", Kind::FileMissing),
        ("walg-composers-pg15", "base_00000001000000000000000C", Kind::FileMissing),
        ("walg-composers-pg15", "base_00000001000000000000000A", Kind::SizeMismatch),
        ("wale-lzo-pg14", "base_000000010000000000000002_00000040", Kind::SizeMismatch),
    ];
    for (archive, name, kind) in cases {
        let loaded = Loaded::golden(&golden, archive);
        let backup = loaded.archive.backups.iter().find(|backup| backup.name == name).unwrap();
        // The largest is lost: wal-e's sum is forgiving about small ones.
        let mut lost = None;
        let conclusion = loaded.conclude(backup, |_, plain| {
            let largest = members(&plain).into_iter().max_by_key(|(_, _, size)| *size).unwrap();
            if lost.is_some() || largest.2 < 300_000 {
                return Some(plain);
            }
            lost = Some(largest.0.clone());
            without(&plain, &largest.0)
        });
        let lost = lost.expect("a large file");
        let defect = conclusion.defects.iter().find(|defect| defect.kind == kind);
        let defect = defect.unwrap_or_else(|| panic!("{name}: {:?}", conclusion.defects));
        assert!(kind != Kind::FileMissing || defect.members[0].path.to_string() == lost, "{defect:?}");
        assert!(conclusion.is_damaged());
    }
}

#[test]
fn a_delta_without_its_ancestors_files_is_damaged() {
    let Some(golden) = g::golden() else { return };
    let loaded = Loaded::golden(&golden, "walg-lz4-pg15");
    let delta = loaded.archive.backups.iter().find(|backup| backup.kind.is_delta()).unwrap();
    let expectation = loaded.expectation(delta);
    let parent =
        loaded.archive.backups.iter().find(|backup| Some(backup.name.as_str()) == delta.kind.parent()).unwrap();
    let text = String::from_utf8(loaded.stored(&parent.files_metadata.object().unwrap().key)).unwrap();
    let mut list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let lost = "/base/1/1249";
    assert!(list["Files"].as_object_mut().unwrap().remove(lost).is_some());
    let mut ancestor = walproof::verify::backup::Expectation::new(parent);
    ancestor.read_files(&mut list.to_string().as_bytes()).unwrap();
    let mut check = walproof::verify::backup::ChainCheck::new(&expectation);
    check.step(&parent.name, &ancestor);
    assert!(check.is_done());
    let conclusion = walproof::verify::backup::conclude(delta, &expectation, &[], Some(&check.finish()));
    assert_eq!(kinds(&conclusion), [Kind::FileMissing]);
    assert_eq!(conclusion.defects[0].members[0].path.to_string(), "base/1/1249");
    assert!(conclusion.defects[0].members[0].message.contains(&parent.name));
}

#[test]
fn damage_inside_a_part_is_told_by_what_it_hits() {
    let Some(golden) = g::golden() else { return };
    let loaded = Loaded::golden(&golden, "walg-lz4-pg15");
    let full = loaded.archive.backups.iter().find(|backup| !backup.kind.is_delta()).unwrap();
    let delta = loaded.archive.backups.iter().find(|backup| backup.kind.is_delta()).unwrap();
    let flip = |backup, member: &str, offset: usize| {
        let mut done = false;
        let conclusion = loaded.conclude(backup, |_, mut plain| {
            if let Some((_, at, _)) = members(&plain).iter().find(|(name, _, _)| name == member) {
                plain[at + offset] ^= 4;
                done = true;
            }
            Some(plain)
        });
        assert!(done, "{member} is nowhere");
        conclusion
    };
    let body = 512;
    let page = flip(full, "base/1/1249", body + PAGE_BYTES + 8000);
    assert_eq!(kinds(&page), [Kind::PageChecksum]);
    assert_eq!((page.defects[0].members[0].blocks.as_slice(), page.defects[0].count), (&[1][..], 1));
    assert!(page.defects[0].key.as_ref().unwrap().to_string().ends_with("part_001.tar.lz4"));
    assert_eq!(kinds(&flip(full, "base/1/pg_filenode.map", body + 20)), [Kind::PageChecksum]);
    assert_eq!(kinds(&flip(full, "global/pg_control", body + 60)), [Kind::ControlInvalid]);
    assert_eq!(kinds(&flip(full, "backup_label", body + 22)), [Kind::LabelInvalid]);
    assert_eq!(kinds(&flip(full, "base/1/PG_VERSION", body + 1)), [Kind::ControlInvalid]);
    assert_eq!(kinds(&flip(full, "base/1/1249", 130)), [Kind::TarDamaged]);
    // A bit in a member's padding is no damage, one behind the last member is.
    let list = loaded.expectation(delta);
    let increment = list.files.as_ref().unwrap().iter().find(|file| file.incremented).unwrap();
    let path = String::from_utf8(increment.path.to_vec()).unwrap();
    assert_eq!(kinds(&flip(delta, &path, body + 1)), [Kind::IncrementMalformed]);
    assert_eq!(kinds(&flip(delta, &path, body + 12)), [Kind::IncrementMalformed]);
}

#[test]
fn a_control_file_of_another_backup_contradicts_the_sentinel() {
    let Some(golden) = g::golden() else { return };
    let loaded = Loaded::golden(&golden, "walg-lz4-pg15");
    let backups = &loaded.archive.backups;
    let control = |at: usize| {
        let part = backups[at].parts.iter().find(|part| part.name.starts_with("pg_control.tar")).unwrap();
        loaded.plain(part)
    };
    for (older, newer) in [(0, 3), (3, 0)] {
        let conclusion = loaded.conclude(&backups[newer], |name, plain| {
            Some(if name.starts_with("pg_control.tar") { control(older) } else { plain })
        });
        assert_eq!(kinds(&conclusion), [Kind::ControlInvalid], "{:?}", conclusion.defects);
    }
    let without = loaded.conclude(&backups[0], |name, plain| {
        Some(if name.starts_with("pg_control.tar") { vec![0; 1024] } else { plain })
    });
    assert!(kinds(&without).contains(&Kind::ControlInvalid), "{:?}", without.defects);
    let label = loaded.conclude(&backups[0], |name, plain| {
        if name.starts_with("backup_label.tar") { without_label(&plain) } else { Some(plain) }
    });
    assert!(kinds(&label).contains(&Kind::FileMissing), "{:?}", label.defects);
}

fn without_label(tar: &[u8]) -> Option<Vec<u8>> {
    without(tar, "backup_label")
}
