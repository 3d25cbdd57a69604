//! Breaks a copy of an archive on purpose, in ways that the usual checks do not see or do not fail on.

use std::fs::{File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::objects::{BACKUPS, WAL};
use super::{DemoError, Result};
use crate::model::{CodecKind, SegmentName, WalFileName};

/// A way to break an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DamageKind {
    /// One segment in the middle is gone.
    MissingSegment,
    /// One segment has zero bytes: an upload that failed and was reported as done.
    EmptySegment,
    /// One of several tars of the oldest backup is gone.
    MissingPart,
    /// The history of the newest timeline is gone.
    MissingHistory,
    /// One bit of one stored segment is flipped. Only reading content can show it.
    FlippedBit,
}

/// What [`damage`] did, and what a DBA would have heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// How.
    pub kind: DamageKind,
    /// The object that was touched, as a key below the archive.
    pub object: String,
    /// What was done, in words that begin in lower case and name the object.
    pub what: String,
    /// What `wal-verify` says.
    pub usual_check: &'static str,
    /// What happens when somebody needs the backup.
    pub restore: &'static str,
    /// The command of walproof that finds it: `audit` from listings alone, `verify` by reading.
    pub found_by: &'static str,
}

impl DamageKind {
    /// All there are.
    pub const ALL: &'static [DamageKind] = &[
        DamageKind::MissingSegment,
        DamageKind::EmptySegment,
        DamageKind::MissingPart,
        DamageKind::MissingHistory,
        DamageKind::FlippedBit,
    ];

    /// A short name, good for a directory.
    pub fn name(self) -> &'static str {
        match self {
            DamageKind::MissingSegment => "missing-segment",
            DamageKind::EmptySegment => "empty-segment",
            DamageKind::MissingPart => "missing-part",
            DamageKind::MissingHistory => "missing-history",
            DamageKind::FlippedBit => "flipped-bit",
        }
    }
}

/// Copies an archive in wal-g layout (times included) and breaks the copy. `to` must be empty or not exist yet.
///
/// # Errors
/// `NothingToDamage` if the archive has no object of the kind, `NotEmpty`, `Io`.
pub fn damage(kind: DamageKind, from: &Path, to: &Path) -> Result<Damage> {
    let victim = Victim::choose(kind, from)?;
    std::fs::create_dir_all(to).map_err(DemoError::io("create", to))?;
    if std::fs::read_dir(to).map_err(DemoError::io("list", to))?.next().is_some() {
        return Err(DemoError::NotEmpty(to.to_owned()));
    }
    copy_tree(from, to)?;
    let path = to.join(&victim.object);
    match kind {
        DamageKind::MissingSegment | DamageKind::MissingPart | DamageKind::MissingHistory => {
            std::fs::remove_file(&path).map_err(DemoError::io("remove", &path))?;
        }
        DamageKind::EmptySegment => rewrite(&path, &[])?,
        DamageKind::FlippedBit => {
            let mut bytes = std::fs::read(&path).map_err(DemoError::io("read", &path))?;
            // The middle of the compressed data, far from header and checksum.
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0x10;
            }
            rewrite(&path, &bytes)?;
        }
    }
    Ok(victim.describe(kind))
}

/// The object that is hit.
struct Victim {
    object: String,
    /// Complete segments behind it on the way to the archive's end.
    behind: usize,
}

impl Victim {
    fn choose(kind: DamageKind, archive: &Path) -> Result<Self> {
        let lacking = |reason: &str| DemoError::NothingToDamage { path: archive.to_owned(), reason: reason.to_owned() };
        let oldest = oldest_backup(archive)?.ok_or_else(|| lacking("no backup"))?;
        match kind {
            DamageKind::MissingSegment | DamageKind::EmptySegment | DamageKind::FlippedBit => {
                // Behind the backup's own WAL, and in its first third: most of the archive lies behind the damage.
                let segments = segments(archive)?;
                let usable: Vec<usize> =
                    (0..segments.len()).filter(|at| segments[*at].0.position() > oldest.position() + 1).collect();
                let nth = match kind {
                    DamageKind::MissingSegment => 1,
                    DamageKind::EmptySegment => 2,
                    _ => 3,
                };
                let at = usable.get(nth).ok_or_else(|| lacking("too few segments"))?;
                let object = format!("{WAL}/{}", segments[*at].1);
                Ok(Victim { object, behind: segments.len() - at - 1 })
            }
            DamageKind::MissingPart => {
                let folder = format!("{BACKUPS}/base_{oldest}/tar_partitions");
                let mut parts = names(&archive.join(&folder))?;
                parts.retain(|name| name.starts_with("part_"));
                let part = parts.get(parts.len() / 2).ok_or_else(|| lacking("no tar part"))?;
                Ok(Victim { object: format!("{folder}/{part}"), behind: 0 })
            }
            DamageKind::MissingHistory => {
                let mut histories = names(&archive.join(WAL))?;
                histories.retain(|name| matches!(parse(name), Some(WalFileName::History(_))));
                let history = histories.last().ok_or_else(|| lacking("no timeline history"))?;
                Ok(Victim { object: format!("{WAL}/{history}"), behind: 0 })
            }
        }
    }

    /// The second and third column are measurements with wal-g 3.0.9.
    fn describe(self, kind: DamageKind) -> Damage {
        let object = self.object;
        let (what, usual_check, restore, found_by) = match kind {
            DamageKind::MissingSegment => (
                format!("removed {object}"),
                // The newest 16 segments count as "still being uploaded".
                if self.behind > 16 {
                    "wal-verify prints FAILURE and exits with status 0"
                } else {
                    "wal-verify prints a warning (still uploading?) and exits with status 0"
                },
                "PostgreSQL starts, ends recovery at the gap without an error, and has lost everything behind it",
                "audit",
            ),
            DamageKind::EmptySegment => (
                format!("cut {object} to 0 bytes"),
                "wal-verify prints OK: it reads names only",
                "wal-fetch succeeds with an empty file, and PostgreSQL stops in the middle of recovery",
                "audit",
            ),
            DamageKind::MissingPart => (
                format!("removed {object}"),
                "wal-verify prints OK, backup-list shows the backup",
                "backup-fetch succeeds and PostgreSQL starts: files are missing until somebody needs them",
                "audit",
            ),
            DamageKind::MissingHistory => (
                format!("removed {object}"),
                "wal-verify prints FAILURE about segments that never existed and exits with status 0",
                "recovery ends on the old timeline and promotes to a second timeline of the same number; everything \
                 since the failover is lost",
                "audit",
            ),
            DamageKind::FlippedBit => (
                format!("flipped one bit of {object}"),
                "wal-verify prints OK: it reads names only",
                "PostgreSQL starts, ends recovery inside the segment, and has lost everything behind it",
                "verify",
            ),
        };
        Damage { kind, object, what, usual_check, restore, found_by }
    }
}

fn parse(name: &str) -> Option<WalFileName> {
    WalFileName::parse(CodecKind::split(name.as_bytes()).0)
}

/// Complete segments in the order of their positions, with their object names.
fn segments(archive: &Path) -> Result<Vec<(SegmentName, String)>> {
    let mut segments: Vec<(SegmentName, String)> = Vec::new();
    for name in names(&archive.join(WAL))? {
        if let Some(WalFileName::Segment(segment)) = parse(&name) {
            segments.push((segment, name));
        }
    }
    segments.sort_by_key(|(segment, _)| (segment.position(), segment.timeline));
    Ok(segments)
}

/// The start segment of the oldest full backup.
fn oldest_backup(archive: &Path) -> Result<Option<SegmentName>> {
    let names = names(&archive.join(BACKUPS))?;
    let starts = names.iter().filter_map(|name| {
        SegmentName::parse(name.strip_prefix("base_")?.strip_suffix("_backup_stop_sentinel.json")?.as_bytes())
    });
    Ok(starts.min_by_key(|start| (start.position(), start.timeline)))
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(DemoError::io("list", dir))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Replaces content and keeps the time: what damages storage does not announce itself.
fn rewrite(path: &Path, bytes: &[u8]) -> Result<()> {
    let modified = path.metadata().and_then(|m| m.modified()).map_err(DemoError::io("look at", path))?;
    std::fs::write(path, bytes).map_err(DemoError::io("write", path))?;
    set_modified(path, modified)
}

fn set_modified(path: &Path, modified: std::time::SystemTime) -> Result<()> {
    let times = FileTimes::new().set_modified(modified);
    File::open(path).and_then(|file| file.set_times(times)).map_err(DemoError::io("set the time of", path))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut open: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = open.pop() {
        for entry in std::fs::read_dir(&from).map_err(DemoError::io("list", &from))? {
            let entry = entry.map_err(DemoError::io("list", &from))?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let meta = entry.metadata().map_err(DemoError::io("look at", &source))?;
            if meta.is_dir() {
                std::fs::create_dir(&target).map_err(DemoError::io("create", &target))?;
                open.push((source, target));
            } else if meta.is_file() {
                // Not `fs::copy`: a read-only archive must give a copy that can be damaged.
                let copy = || io::copy(&mut File::open(&source)?, &mut File::create(&target)?);
                copy().map_err(DemoError::io("copy", &source))?;
                set_modified(&target, meta.modified().map_err(DemoError::io("look at", &source))?)?;
            }
        }
    }
    Ok(())
}
