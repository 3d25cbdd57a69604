//! Backups and WAL by their keys alone: enough to say what a rule will take, when no catalog is at hand.

use std::collections::HashMap;

use crate::model::{SegmentName, Timestamp};

use super::config::LayoutName;
use super::files::FilePattern;
use super::lifecycle::ObjectTable;
use super::retention::Tier;

/// A backup and the objects it consists of. Made from keys by [`shape`], or from a catalog by whoever has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupUnit {
    /// Its name; for layout `files` the key.
    pub name: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// Its generation, where the key names one.
    pub tier: Option<Tier>,
    /// Stands alone.
    pub full: bool,
    /// For a delta: the place of its parent.
    pub parent: Option<usize>,
    /// Marked to be kept.
    pub permanent: bool,
    /// Places in the table.
    pub objects: Vec<u32>,
    /// First WAL segment it needs, where known.
    pub start: Option<SegmentName>,
    /// Last WAL segment it needs to be consistent, where known.
    pub stop: Option<SegmentName>,
}

/// What lies in an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Backups by time.
    pub backups: Vec<BackupUnit>,
    /// WAL segments with their places, by position (the timeline left out).
    pub wal: Vec<(SegmentName, u32)>,
    /// Timeline history files and the tools' own write-once files.
    pub history: Vec<u32>,
}

/// Objects of a sorted table that lie under a root, told apart into backups and WAL.
pub fn shape(layout: LayoutName, pattern: Option<&FilePattern>, root: &str, table: &ObjectTable) -> Shape {
    let mut found = Found::default();
    let mut shape = Shape::default();
    for index in table.with_prefix(root.as_bytes()) {
        let key = table.key(index);
        let (Some(relative), Ok(place)) = (key.strip_prefix(root.as_bytes()), u32::try_from(index)) else { continue };
        let object = table.get(index);
        if object.delete_marker || object.noncurrent_since.is_some() {
            continue;
        }
        match layout {
            LayoutName::Files => {
                let Some(hit) = pattern.and_then(|pattern| pattern.matches(relative)) else { continue };
                shape.backups.push(BackupUnit {
                    name: String::from_utf8_lossy(key).into_owned(),
                    taken: hit.moment(object.created),
                    tier: hit.tier.and_then(Tier::parse),
                    full: true,
                    parent: None,
                    permanent: false,
                    objects: vec![place],
                    start: None,
                    stop: None,
                });
            }
            _ => match part_of(layout, relative) {
                Some(Part::Backup(name)) => found.add(name, object.created, place),
                Some(Part::Wal(name)) => shape.wal.push((name, place)),
                Some(Part::History) => shape.history.push(place),
                None => {}
            },
        }
    }
    shape.backups.extend(found.finish(layout));
    shape.backups.sort_by(|a, b| a.taken.cmp(&b.taken).then_with(|| a.name.cmp(&b.name)));
    link(layout, &mut shape.backups);
    shape.wal.sort_by_key(|(name, place)| (name.position(), name.timeline, *place));
    shape
}

enum Part<'k> {
    Backup(&'k [u8]),
    Wal(SegmentName),
    History,
}

/// What a key below the root is.
fn part_of(layout: LayoutName, relative: &[u8]) -> Option<Part<'_>> {
    match layout {
        LayoutName::WalG | LayoutName::WalE => {
            if let Some(inside) = relative.strip_prefix(b"basebackups_005/") {
                let head = inside.split(|byte| *byte == b'/').next()?;
                let name = strip_suffix(head, b"_backup_stop_sentinel.json");
                return name.starts_with(b"base_").then_some(Part::Backup(name));
            }
            wal(relative.strip_prefix(b"wal_005/")?)
        }
        LayoutName::BarmanCloud => {
            if let Some(inside) = behind(relative, b"base/") {
                let id = inside.split(|byte| *byte == b'/').next().filter(|id| !id.is_empty())?;
                let end = relative.len() - inside.len() + id.len();
                return Some(Part::Backup(&relative[..end]));
            }
            let inside = behind(relative, b"wals/")?;
            wal(inside.rsplit(|byte| *byte == b'/').next()?)
        }
        LayoutName::PgBackRest => {
            if let Some(inside) = relative.strip_prefix(b"backup/") {
                let mut parts = inside.splitn(3, |byte| *byte == b'/');
                let (stanza, label) = (parts.next()?, parts.next()?);
                if label.starts_with(b"backup.info") || parts.next().is_none() {
                    return Some(Part::History);
                }
                let length = b"backup/".len() + stanza.len() + 1 + label.len();
                return label.first().is_some_and(u8::is_ascii_digit).then(|| Part::Backup(&relative[..length]));
            }
            let inside = relative.strip_prefix(b"archive/")?;
            let name = inside.rsplit(|byte| *byte == b'/').next()?;
            if name.starts_with(b"archive.info") { Some(Part::History) } else { wal(name) }
        }
        LayoutName::Files => None,
    }
}

/// What follows a folder at the beginning, or behind one path component: the server's name.
fn behind<'k>(relative: &'k [u8], folder: &[u8]) -> Option<&'k [u8]> {
    if let Some(rest) = relative.strip_prefix(folder) {
        return Some(rest);
    }
    let slash = relative.iter().position(|byte| *byte == b'/')?;
    relative[slash + 1..].strip_prefix(folder)
}

fn strip_suffix<'k>(name: &'k [u8], suffix: &[u8]) -> &'k [u8] {
    name.strip_suffix(suffix).unwrap_or(name)
}

fn wal(name: &[u8]) -> Option<Part<'static>> {
    if name.len() >= 16 && name[8..].starts_with(b".history") {
        return Some(Part::History);
    }
    let segment = SegmentName::parse(name.get(..24)?)?;
    // A partial or a backup history file is no segment that recovery asks for.
    let rest = &name[24..];
    let side =
        rest.starts_with(b".partial") || rest.ends_with(b".json") || rest.windows(7).any(|part| part == b".backup");
    (!side).then_some(Part::Wal(segment))
}

#[derive(Default)]
struct Found {
    order: Vec<(String, Timestamp, Vec<u32>)>,
    by_name: HashMap<Vec<u8>, usize>,
}

impl Found {
    fn add(&mut self, name: &[u8], created: Timestamp, place: u32) {
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => {
                self.by_name.insert(name.to_vec(), self.order.len());
                self.order.push((String::from_utf8_lossy(name).into_owned(), created, Vec::new()));
                self.order.len() - 1
            }
        };
        let (_, taken, objects) = &mut self.order[at];
        // The sentinel comes last: the backup is there from then on.
        *taken = (*taken).max(created);
        objects.push(place);
    }

    fn finish(self, layout: LayoutName) -> impl Iterator<Item = BackupUnit> {
        self.order.into_iter().map(move |(name, taken, objects)| {
            let walg = matches!(layout, LayoutName::WalG | LayoutName::WalE);
            let digits = name.strip_prefix("base_").filter(|_| walg).and_then(|rest| rest.get(..24));
            let start = digits.and_then(|digits| SegmentName::parse(digits.as_bytes()));
            let full = match layout {
                LayoutName::WalG => !name.contains("_D_"),
                LayoutName::PgBackRest => !name.contains('_') || name.ends_with('F'),
                _ => true,
            };
            BackupUnit { name, taken, tier: None, full, parent: None, permanent: false, objects, start, stop: start }
        })
    }
}

/// Parents by name: wal-g's names hold the parent's segment, pgBackRest's the full's label.
fn link(layout: LayoutName, backups: &mut [BackupUnit]) {
    for at in 0..backups.len() {
        if backups[at].full {
            continue;
        }
        let name = &backups[at].name;
        let parent = match layout {
            LayoutName::WalG => {
                let wanted =
                    name.split_once("_D_").and_then(|(_, rest)| SegmentName::parse(rest.get(..24)?.as_bytes()));
                wanted.and_then(|wanted| backups[..at].iter().rposition(|other| other.start == Some(wanted)))
            }
            LayoutName::PgBackRest => {
                let root = name.split_once('_').map_or(name.as_str(), |(root, _)| root);
                backups[..at].iter().rposition(|other| other.name == root)
            }
            _ => None,
        };
        backups[at].parent = parent;
    }
}

/// Archives in a table, by the folders that only they have: root (with its slash) and layout.
pub fn roots(table: &ObjectTable) -> Vec<(String, LayoutName)> {
    let mut found: Vec<(String, LayoutName)> = Vec::new();
    for index in 0..table.len() {
        let key = table.key(index);
        if let Some((root, _)) = found.last()
            && key.starts_with(root.as_bytes())
            && !root.is_empty()
        {
            continue;
        }
        let Ok(text) = std::str::from_utf8(key) else { continue };
        const MARKS: [(&str, LayoutName); 6] = [
            ("basebackups_005/", LayoutName::WalG),
            ("wal_005/", LayoutName::WalG),
            ("base/", LayoutName::BarmanCloud),
            ("wals/", LayoutName::BarmanCloud),
            ("backup/", LayoutName::PgBackRest),
            ("archive/", LayoutName::PgBackRest),
        ];
        for (mark, layout) in MARKS {
            let at = text.match_indices(mark).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with('/'));
            let Some(at) = at else { continue };
            let relative = &key[at..];
            if part_of(layout, relative).is_some_and(|part| strong(layout, &part)) {
                let root = text[..at].to_owned();
                if !found.iter().any(|(known, _)| *known == root) {
                    found.push((root, layout));
                }
                break;
            }
        }
    }
    found
}

/// "base/" and "backup/" are common words: only a WAL segment or a backup with a fitting name proves a layout.
fn strong(layout: LayoutName, part: &Part<'_>) -> bool {
    match part {
        Part::Wal(_) => true,
        Part::History => false,
        Part::Backup(name) => match layout {
            LayoutName::WalG | LayoutName::WalE => true,
            _ => {
                let id = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
                id.len() >= 15 && id.iter().take(8).all(u8::is_ascii_digit)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::lifecycle::ObjectFacts;

    fn table(keys: &[(&str, &str)]) -> ObjectTable {
        let mut table = ObjectTable::default();
        for (key, created) in keys {
            assert!(table.push(&ObjectFacts::new(key.as_bytes(), 1, created.parse().unwrap())));
        }
        table.sort();
        table
    }

    #[test]
    fn walg_by_its_keys() {
        let table = table(&[
            ("p/basebackups_005/base_000000010000000000000002/tar_partitions/part_001.tar.lz4", "2026-01-01T00:00:00Z"),
            ("p/basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json", "2026-01-01T01:00:00Z"),
            (
                "p/basebackups_005/base_000000010000000000000005_D_000000010000000000000002/metadata.json",
                "2026-01-02T00:00:00Z",
            ),
            ("p/wal_005/000000010000000000000002.lz4", "2026-01-01T00:30:00Z"),
            ("p/wal_005/000000010000000000000002.00000028.backup.lz4", "2026-01-01T00:30:00Z"),
            ("p/wal_005/00000002.history.lz4", "2026-01-03T00:30:00Z"),
            ("q/wal_005/000000010000000000000003.lz4", "2026-01-01T00:30:00Z"),
        ]);
        let shape = shape(LayoutName::WalG, None, "p/", &table);
        let names: Vec<&str> = shape.backups.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(
            names,
            ["base_000000010000000000000002", "base_000000010000000000000005_D_000000010000000000000002"]
        );
        assert_eq!(
            (shape.backups[0].objects.len(), shape.backups[0].taken.to_string()),
            (2, "2026-01-01T01:00:00Z".into())
        );
        assert_eq!((shape.backups[1].full, shape.backups[1].parent), (false, Some(0)));
        assert_eq!((shape.wal.len(), shape.history.len()), (1, 1));
        assert_eq!(roots(&table), [("p/".to_owned(), LayoutName::WalG), ("q/".to_owned(), LayoutName::WalG)]);
    }

    #[test]
    fn barman_and_pgbackrest_by_their_keys() {
        let table = table(&[
            ("x/srv/base/20260101T000000/data.tar", "2026-01-01T00:00:00Z"),
            ("x/srv/wals/0000000100000000/000000010000000000000002.gz", "2026-01-01T00:00:00Z"),
            ("y/archive/main/15-1/0000000100000000/000000010000000000000002-aabb.zst", "2026-01-01T00:00:00Z"),
            ("y/archive/main/archive.info", "2026-01-01T00:00:00Z"),
            ("y/backup/main/20260101-000000F/backup.manifest", "2026-01-01T00:00:00Z"),
            ("y/backup/main/20260101-000000F_20260102-000000D/backup.manifest", "2026-01-02T00:00:00Z"),
            ("y/backup/main/backup.info", "2026-01-01T00:00:00Z"),
            ("photos/backup/holiday/1.jpg", "2026-01-01T00:00:00Z"),
        ]);
        let barman = shape(LayoutName::BarmanCloud, None, "x/", &table);
        assert_eq!((barman.backups[0].name.as_str(), barman.wal.len()), ("srv/base/20260101T000000", 1));
        let rest = shape(LayoutName::PgBackRest, None, "y/", &table);
        assert_eq!((rest.backups.len(), rest.wal.len(), rest.history.len()), (2, 1, 2));
        assert_eq!((rest.backups[1].full, rest.backups[1].parent), (false, Some(0)));
        let found: Vec<_> = roots(&table).into_iter().map(|(root, layout)| (root, layout.name())).collect();
        assert_eq!(found, [("x/srv/".to_owned(), "barman-cloud"), ("y/".to_owned(), "pgbackrest")]);
    }

    #[test]
    fn files_by_their_pattern() {
        let table =
            table(&[("weekly/2026-01-04.tar.zst", "2026-01-04T02:10:00Z"), ("readme.txt", "2026-01-04T02:10:00Z")]);
        let pattern = FilePattern::parse("{tier}/{date}.tar.zst").unwrap();
        let shape = shape(LayoutName::Files, Some(&pattern), "", &table);
        assert_eq!((shape.backups.len(), shape.backups[0].tier), (1, Some(Tier::Weekly)));
        assert_eq!(shape.backups[0].taken.to_string(), "2026-01-04T02:10:00Z");
    }
}
