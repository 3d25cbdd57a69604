//! From a listing to one fold per archive.

use std::collections::BTreeMap;

use crate::catalog::LayoutKind;
use crate::layout::Layout;
use crate::layout::detect::{self, Place};
use crate::layout::files::FilesLayout;
use crate::layout::walg::WalGLayout;
use crate::model::CodecKind;
use crate::model::{ObjectKey, ObjectRow, WalFileName};

/// Roots below one address that are told apart; a bucket with more is not one of backups.
const ROOTS_MAX: usize = 10_000;

/// Everything below one address, sorted into archives while the listing runs.
#[derive(Default)]
pub(super) struct Sorted {
    pub archives: BTreeMap<Vec<u8>, WalGLayout>,
    pub others: BTreeMap<Vec<u8>, Other>,
    pub objects: u64,
    pub bytes: u64,
    /// Objects in no archive.
    pub unplaced: u64,
    pub sample: Vec<ObjectKey>,
    /// A key right below the address that belongs inside an archive: the address is too deep.
    pub inside: Option<ObjectKey>,
    pub too_many_roots: bool,
    /// A declared layout: everything below the address is one archive of dumps and tarballs.
    pub files: Option<FilesLayout>,
}

/// An archive that is recognised and not read.
pub(super) struct Other {
    pub layout: LayoutKind,
    pub objects: u64,
    pub bytes: u64,
}

impl Sorted {
    /// Takes rows whose keys begin with `prefix`.
    pub fn take(&mut self, rows: Vec<ObjectRow>, prefix: &[u8], storage: u8) {
        for row in rows {
            self.take_one(row, prefix, storage);
        }
    }

    fn take_one(&mut self, mut row: ObjectRow, prefix: &[u8], storage: u8) {
        let Some(relative) = row.key.as_bytes().strip_prefix(prefix) else { return };
        self.objects += 1;
        self.bytes += row.size;
        if let Some(files) = &mut self.files {
            row.key = ObjectKey::new(relative);
            files.push(row, storage);
            return;
        }
        match detect::place(relative) {
            Place::WalG { root } => {
                if !self.archives.contains_key(root) {
                    if self.archives.len() >= ROOTS_MAX {
                        self.too_many_roots = true;
                        return;
                    }
                    self.archives.insert(root.to_vec(), WalGLayout::new(ObjectKey::new(root)));
                }
                let below = ObjectKey::new(&relative[root.len()..]);
                let fold = self.archives.get_mut(root).expect("just put there");
                row.key = below;
                fold.push(row, storage);
            }
            Place::Other { layout, root } => {
                if self.others.len() < ROOTS_MAX {
                    let other = self.others.entry(root.to_vec()).or_insert(Other { layout, objects: 0, bytes: 0 });
                    other.objects += 1;
                    other.bytes += row.size;
                }
            }
            Place::None => {
                self.unplaced += 1;
                if self.inside.is_none() && looks_inside(relative) {
                    self.inside = Some(row.key.clone());
                }
                if self.sample.len() < 3 {
                    self.sample.push(row.key);
                }
            }
        }
    }
}

/// WAL files or backups without the folder they belong into: the address names that folder.
fn looks_inside(relative: &[u8]) -> bool {
    let first = relative.split(|byte| *byte == b'/').next().unwrap_or_default();
    let (stem, _) = CodecKind::split(first);
    WalFileName::parse(stem).is_some()
        || crate::layout::walg::keys::BackupName::parse(first).is_some()
        || first.ends_with(b"_backup_stop_sentinel.json")
}
