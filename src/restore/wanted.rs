//! Which members of a backup's tars are wanted: a chain takes each file from where it was last whole, and never one
//! that the target no longer has.

use std::collections::HashMap;
use std::io::Read;

use crate::codec::tarball::clean_member_name;
use crate::layout::ReadProblem;
use crate::layout::walg::files::read_files;

/// More files than any cluster has; the list is held while its tars go by.
const FILES_MAX: usize = 50_000_000;

/// These are in the tars of the target and in no list.
pub(super) const CONTROL: &[u8] = b"global/pg_control";
pub(super) const LABEL: &[u8] = b"backup_label";
pub(super) const TABLESPACE_MAP: &[u8] = b"tablespace_map";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flags {
    incremented: bool,
    skipped: bool,
}

/// The files of one backup, by cleaned path.
#[derive(Debug, Default)]
pub(super) struct FileList(HashMap<Box<[u8]>, Flags>);

impl FileList {
    /// Reads a backup's own list; `None` where the document holds none.
    pub fn read(input: &mut dyn Read) -> Result<Option<FileList>, ReadProblem> {
        let mut files = HashMap::new();
        let mut problem = None;
        let found = read_files(input, &mut |entry| {
            if files.len() >= FILES_MAX {
                problem.get_or_insert_with(|| format!("lists more than {FILES_MAX} files"));
                return;
            }
            match clean_member_name(entry.path.as_bytes()) {
                Ok(Some(path)) => {
                    let flags = Flags { incremented: entry.incremented, skipped: entry.skipped };
                    files.insert(path.into_boxed_slice(), flags);
                }
                // The data directory itself.
                Ok(None) => {}
                Err(why) => {
                    problem.get_or_insert_with(|| format!("lists {:?}: {why}", entry.path));
                }
            }
        })?;
        match problem {
            Some(problem) => Err(ReadProblem::Content(problem)),
            None => Ok(found.then_some(FileList(files))),
        }
    }
}

/// What to do with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Write it as it is.
    Whole,
    /// Apply it to the file that an ancestor brought.
    Increment,
}

/// What is wanted of one backup of a chain.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Everything, for want of a list.
    All,
    /// These paths.
    Listed(FileList),
}

impl Wanted {
    /// From the lists of a chain, the full backup's first. Only a chain of one may lack its list.
    pub fn of_chain(lists: Vec<Option<FileList>>) -> Vec<Wanted> {
        let mut wanted = Vec::with_capacity(lists.len());
        // What the child does not bring itself.
        let mut open: Option<FileList> = None;
        for list in lists.into_iter().rev() {
            let Some(mut list) = list else {
                wanted.push(Wanted::All);
                continue;
            };
            if let Some(open) = &open {
                list.0.retain(|path, _| open.0.contains_key(path));
            }
            let from_parent = list.0.iter().filter(|(_, flags)| flags.incremented || flags.skipped);
            open = Some(FileList(from_parent.map(|(path, flags)| (path.clone(), *flags)).collect()));
            wanted.push(Wanted::Listed(list));
        }
        wanted.reverse();
        wanted
    }

    /// What to do with the member of this (cleaned) name; `None` leaves it out.
    pub fn take(&self, path: &[u8]) -> Option<Take> {
        match self {
            Wanted::All => Some(Take::Whole),
            Wanted::Listed(list) => match list.0.get(path)? {
                Flags { skipped: true, .. } => None,
                Flags { incremented: true, .. } => Some(Take::Increment),
                _ => Some(Take::Whole),
            },
        }
    }

    /// Whether the list names it at all.
    pub fn lists(&self, path: &[u8]) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Listed(list) => list.0.contains_key(path),
        }
    }

    /// Every listed path.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        let list = match self {
            Wanted::All => None,
            Wanted::Listed(list) => Some(list),
        };
        list.into_iter().flat_map(|list| list.0.keys()).map(|path| &path[..])
    }

    /// Every path whose increment must be among the tars.
    pub fn increments(&self) -> impl Iterator<Item = &[u8]> {
        self.paths().filter(|path| self.take(path) == Some(Take::Increment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Option<FileList> {
        FileList::read(&mut text.as_bytes()).unwrap()
    }

    #[test]
    fn each_file_comes_from_where_it_was_last_whole() {
        let root = r#"{"Files":{"/":{},"/base":{},"/a":{},"/b":{},"/gone":{},"/d":{},"/e":{}}}"#;
        let middle = r#"{"Files":{"/base":{},"/a":{"IsSkipped":true},"/b":{"IsIncremented":true},"/gone":{"IsSkipped":true},
            "/d":{},"/e":{"IsSkipped":true}}}"#;
        let target = r#"{"Files":{"/base":{},"/a":{"IsSkipped":true},"/b":{"IsIncremented":true},"/d":{"IsIncremented":true},
            "/e":{},"/new":{}}}"#;
        let wanted = Wanted::of_chain(vec![list(root), list(middle), list(target)]);
        let sorted = |at: usize| {
            let mut paths: Vec<&str> = wanted[at]
                .paths()
                .filter(|path| wanted[at].take(path).is_some())
                .map(|path| std::str::from_utf8(path).unwrap())
                .collect();
            paths.sort_unstable();
            paths
        };
        assert_eq!(sorted(0), ["a", "b"]);
        assert_eq!(sorted(1), ["b", "d"]);
        assert_eq!(sorted(2), ["b", "base", "d", "e", "new"]);
        assert_eq!(wanted[1].take(b"b"), Some(Take::Increment));
        assert_eq!(wanted[1].take(b"d"), Some(Take::Whole));
        assert_eq!(wanted[2].take(b"d"), Some(Take::Increment));
        assert_eq!(wanted[2].take(b"a"), None);
        assert!(wanted[2].lists(b"a") && !wanted[2].lists(b"gone"));
        assert_eq!(wanted[2].increments().count(), 2);
    }

    #[test]
    fn lists_that_lead_out_are_refused() {
        assert!(FileList::read(&mut &br#"{"Files":{"/../x":{}}}"#[..]).is_err());
        assert!(list(r#"{"LSN":1}"#).is_none());
        assert_eq!(Wanted::of_chain(vec![None])[0].take(b"any"), Some(Take::Whole));
    }
}
