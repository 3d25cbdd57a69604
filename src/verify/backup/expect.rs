use std::io::Read;

use super::files::{FileList, Listed};
use crate::catalog::{BaseBackup, Producer};
use crate::layout::ReadProblem;
use crate::page::PageContext;
use crate::wal::ControlFile;

/// Blocks of one file of a relation in nearly every build: 1 GiB.
pub(super) const RELATION_FILE_BLOCKS: u32 = 131_072;

/// What is known of a backup before its parts are read.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// The backup's own list of files, where it has one.
    pub files: Option<FileList>,
    /// It stands on a parent: files may be increments.
    pub is_delta: bool,
    /// Start and end of the backup, by which pages that changed meanwhile are told.
    pub pages: PageContext,
    /// A server that streams a backup may write a manifest with it; a tool that walks a data directory does not.
    pub(super) may_have_manifest: bool,
    /// From its control file, if that was read before the parts.
    pub(super) blocks_per_file: Option<u32>,
}

impl Expectation {
    /// What sentinel and listing tell.
    pub fn new(backup: &BaseBackup) -> Self {
        Expectation {
            files: None,
            is_delta: backup.kind.is_delta(),
            // Whether there are checksums is known at the end; what counts without them is kept, too.
            pages: PageContext { start: backup.start_lsn.copied(), end: backup.finish_lsn.copied(), checksums: true },
            may_have_manifest: backup.producer != Producer::WalE,
            blocks_per_file: None,
        }
    }

    /// Adds the list of files: `files_metadata.json`, decoded.
    ///
    /// # Errors
    /// It is not such a list, or could not be read.
    pub fn read_files(&mut self, input: &mut dyn Read) -> Result<(), ReadProblem> {
        self.files = Some(FileList::read(input)?);
        Ok(())
    }

    /// Takes over what a control file says about the form of pages. Not needed: without it the usual form is assumed,
    /// and pages count as not checked where the control file then says otherwise.
    pub fn learn(&mut self, control: &ControlFile) {
        self.blocks_per_file = Some(control.relation_file_blocks).filter(|blocks| *blocks > 0);
    }

    /// Whether the list says which tar holds which file.
    pub fn has_sets(&self) -> bool {
        self.files.as_ref().is_some_and(|files| !files.parts().is_empty())
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<(usize, Listed<'_>)> {
        let files = self.files.as_ref()?;
        // The list is JSON: what is not UTF-8 in a name was replaced when it was written, byte for byte.
        let row = match std::str::from_utf8(path) {
            Ok(_) => files.find(path),
            Err(_) => files.find(replaced(path).as_bytes()),
        }?;
        Some((row, files.get(row)?))
    }

    /// The list's number of a part.
    pub(super) fn part(&self, name: &str) -> Option<usize> {
        self.files.as_ref()?.parts().iter().position(|part| part == name)
    }

    pub(super) fn file_blocks(&self) -> u32 {
        self.blocks_per_file.unwrap_or(RELATION_FILE_BLOCKS)
    }
}

fn replaced(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len() + 8);
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_are_found_in_the_list() {
        let mut expectation = Expectation::default();
        let text = "{\"Files\":{\"/a\u{FFFD}\u{FFFD}b\":{}}}";
        expectation.read_files(&mut text.as_bytes()).unwrap();
        assert!(expectation.find(b"a\xE2\x82b").is_some());
        assert!(expectation.find(b"a\xE2b").is_none());
        assert!(!expectation.has_sets());
    }
}
