//! What a catalog knows of backups, joined with the objects of their bucket.

use crate::model::{SegmentName, Timestamp};
use crate::policy::config::LayoutName;
use crate::policy::shape::{BackupUnit, shape};

use super::BucketObjects;

/// A backup as its own files tell, beyond what its keys do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBackup {
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// The backup it stands on.
    pub parent: Option<String>,
    /// Marked to be kept.
    pub permanent: bool,
    /// First WAL segment it needs.
    pub start: Option<SegmentName>,
    /// Last WAL segment it needs to be consistent.
    pub stop: Option<SegmentName>,
}

impl BucketObjects {
    /// Adds what a catalog knows of the archive below a root. Backups that are in the catalog only are left out: they have
    /// no objects that a rule could take. The table has to be whole by now.
    pub fn know(&mut self, root: &str, layout: LayoutName, known: &[KnownBackup]) {
        let mut units: Vec<BackupUnit> = shape(layout, None, root, &self.table).backups;
        let place = |units: &[BackupUnit], name: &str| units.iter().position(|unit| unit.name == name);
        let parents: Vec<Option<usize>> = known.iter().map(|backup| place(&units, backup.parent.as_deref()?)).collect();
        for (backup, parent) in known.iter().zip(parents) {
            let Some(at) = place(&units, &backup.name) else { continue };
            let unit = &mut units[at];
            unit.taken = backup.taken;
            unit.permanent = backup.permanent;
            unit.full = backup.parent.is_none();
            unit.parent = parent;
            unit.start = backup.start.or(unit.start);
            unit.stop = backup.stop.or(unit.stop);
        }
        let all = self.backups.get_or_insert_with(Vec::new);
        let first = all.len();
        for unit in &mut units {
            unit.parent = unit.parent.map(|parent| parent + first);
        }
        all.extend(units);
    }
}
