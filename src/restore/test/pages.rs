//! Every page of the stopped server's files: also those of databases that nobody can connect to, and of indexes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::catalog::evidence::AssertionResult;
use crate::page::{Fork, PAGE_BYTES, PageContext, PageStream, PageVerdict, relation_file};
use crate::run::Cancel;

/// `relseg_size` of nearly every build.
const BLOCKS_PER_FILE: u32 = 131_072;
/// Damaged files that are named; the rest is counted.
const NAMED_MAX: usize = 5;

#[derive(Default)]
struct Tally {
    files: u64,
    pages: u64,
    bad_files: u64,
    bad_pages: u64,
    named: Vec<String>,
    ended_early: Option<String>,
}

/// Looks at the main forks of a cluster with data checksums that was stopped cleanly. Maps of free space and visibility
/// are left out: the server mends them by itself.
pub(super) fn check(data: &Path, limit: Option<Duration>, cancel: &Cancel) -> AssertionResult {
    let begun = Instant::now();
    let mut tally = Tally::default();
    for folder in folders(data) {
        let mut names: Vec<PathBuf> = entries(&data.join(&folder)).collect();
        names.sort();
        for path in names {
            let Some(name) = path.file_name() else { continue };
            let inside = folder.join(name);
            let Some(relation) = relation_file(inside.as_os_str().as_encoded_bytes(), BLOCKS_PER_FILE) else {
                continue;
            };
            if !matches!(relation.fork, Fork::Main | Fork::Init) {
                continue;
            }
            if cancel.is_set() || limit.is_some_and(|limit| begun.elapsed() > limit) {
                tally.ended_early = Some("the time for checks is over".to_owned());
                return tally.result();
            }
            if let Err(error) = one(&path, &inside, relation.first_block, &mut tally) {
                tally.ended_early.get_or_insert(format!("{}: {error}", inside.display()));
            }
        }
    }
    tally.result()
}

fn one(path: &Path, inside: &Path, first_block: u32, tally: &mut Tally) -> io::Result<()> {
    let mut file = File::open(path)?;
    let context = PageContext { start: None, end: None, checksums: true };
    let mut stream = PageStream::new(context, PAGE_BYTES, first_block);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => stream.push(&buffer[..length]),
        }
    }
    let report = stream.finish();
    tally.files += 1;
    tally.pages += report.pages;
    tally.bad_pages += report.bad_count;
    if let Some(bad) = report.bad.first() {
        tally.bad_files += 1;
        if tally.named.len() < NAMED_MAX {
            let what = match bad.verdict {
                PageVerdict::Bad { stored, computed, .. } => {
                    format!("has checksum {stored:04X}, its bytes give {computed:04X}")
                }
                _ => "is not a page".to_owned(),
            };
            tally.named.push(format!("{} block {} {what}", inside.display(), bad.block));
        }
    }
    Ok(())
}

impl Tally {
    fn result(self) -> AssertionResult {
        let damaged = self.bad_pages > 0;
        let more = self.bad_files.saturating_sub(self.named.len() as u64);
        let more = if more > 0 { format!("; and {more} more files") } else { String::new() };
        AssertionResult {
            name: "pages on disk".to_owned(),
            ok: match (damaged, &self.ended_early) {
                (true, _) => Some(false),
                (false, None) => Some(true),
                (false, Some(_)) => None,
            },
            expected: Some("no damage".to_owned()),
            actual: Some(format!("{} damaged of {} pages in {} files", self.bad_pages, self.pages, self.files)),
            why: if damaged { Some(format!("{}{more}", self.named.join("; "))) } else { self.ended_early },
            corruption: true,
        }
    }
}

/// Folders that hold relations, relative to the data directory.
fn folders(data: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| {
        entries(&data.join(folder)).filter_map(|path| Some(folder.join(path.file_name()?))).collect::<Vec<_>>()
    };
    let mut folders = vec![PathBuf::from("global")];
    folders.extend(below(Path::new("base")));
    for space in below(Path::new("pg_tblspc")) {
        for version in below(&space) {
            folders.extend(below(&version));
        }
    }
    folders.sort();
    folders
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::page_checksum;

    /// A filled page with a right checksum.
    fn page(block: u32) -> Vec<u8> {
        let mut page = vec![0u8; PAGE_BYTES];
        page[12..14].copy_from_slice(&24u16.to_le_bytes());
        page[14..16].copy_from_slice(&8192u16.to_le_bytes());
        page[16..18].copy_from_slice(&8192u16.to_le_bytes());
        page[18..20].copy_from_slice(&0x2004u16.to_le_bytes());
        let sum = page_checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    #[test]
    fn a_flipped_bit_is_found_where_nobody_can_connect() {
        let data = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = data.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        put("base/4/1259", &[page(0), page(1)].concat());
        put("global/1262", &page(0));
        put("pg_tblspc/16398/PG_15_202209061/5/16400", &page(0));
        // Mended by the server itself, and no relations at all.
        put("base/4/1259_fsm", &[7; PAGE_BYTES]);
        put("base/4/PG_VERSION", b"15\n");
        let good = check(data.path(), None, &Cancel::default());
        assert_eq!((good.ok, good.actual.as_deref()), (Some(true), Some("0 damaged of 4 pages in 3 files")));

        let mut broken = [page(0), page(1)].concat();
        broken[PAGE_BYTES + 5000] ^= 4;
        put("base/4/1259", &broken);
        let bad = check(data.path(), None, &Cancel::default());
        assert!(bad.ok == Some(false) && bad.corruption);
        assert!(bad.why.as_deref().unwrap().starts_with("base/4/1259 block 1 has checksum"), "{bad:?}");

        let cancel = Cancel::default();
        cancel.set();
        assert_eq!(check(data.path(), None, &cancel).ok, None);
    }
}
