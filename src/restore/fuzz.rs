//! Names that an archive gives its files, for fuzzing: none of them leads out of the directory.

use super::tree;
use super::wanted::{FileList, Wanted};
use crate::codec::tarball::{TarReader, clean_member_name};

/// Takes any bytes as a tar, as a list of files, and as names, one a line. Every path that is let through must be one
/// that stays below the directory it is opened in.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let mut tar = TarReader::new(bytes);
    while let Ok(Some(entry)) = tar.next_entry() {
        name(&entry.name);
    }
    bytes.split(|byte| *byte == b'\n').for_each(name);
    for list in bytes.split(|byte| *byte == 0).take(3) {
        let (Ok(full), Ok(delta)) = (FileList::read(&mut &list[..]), FileList::read(&mut &bytes[..])) else { continue };
        for wanted in Wanted::of_chain(vec![full, delta]) {
            wanted.paths().for_each(stays_inside);
            for path in wanted.increments() {
                assert!(wanted.lists(path), "an increment of what is not listed");
            }
        }
    }
}

fn name(name: &[u8]) {
    if let Ok(Some(path)) = clean_member_name(name) {
        stays_inside(&path);
        assert_eq!(clean_member_name(&path), Ok(Some(path.clone())), "a clean name stays as it is");
    }
}

fn stays_inside(path: &[u8]) {
    for component in path.split(|byte| *byte == b'/') {
        assert!(tree::check(component).is_ok(), "{:?} is let through", String::from_utf8_lossy(path));
    }
}
