use std::collections::BTreeMap;

use crate::catalog::evidence::ContentEvidence;
use crate::model::{LsnRange, SegmentNo, TimelineId, Timestamp};

use super::{Archive, BackupKind, BaseBackup, LayoutKind, ObjectRef, SidecarState};

/// Why a backup cannot be restored, each a fact of the listing or a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The sentinel or a file that replaces it cannot be read.
    SentinelUnreadable(String),
    /// Tars are missing.
    PartsMissing(Vec<String>),
    /// An ancestor is missing or cannot be restored itself.
    Ancestor {
        /// The one that is at fault.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Some of its own WAL, start to stop, is missing on every timeline that it could follow.
    WalMissing {
        /// Whose file is missing.
        timeline: TimelineId,
        /// First missing segment.
        first: SegmentNo,
        /// Last missing segment.
        last: SegmentNo,
    },
    /// Its WAL was overwritten by another cluster's.
    WalOverwritten,
    /// It belongs to another cluster.
    Foreign {
        /// Of the backup.
        own: u64,
        /// Of the archive around it.
        archive: u64,
    },
    /// It has no WAL to become consistent with.
    Overwritten(Vec<String>),
    /// Objects lie in a class that GET refuses.
    ArchivedClass(Vec<String>),
    /// A dump or tarball with fewer bytes than any can have.
    TooSmall {
        /// Its key.
        key: String,
        /// Bytes it has.
        bytes: u64,
    },
    /// Its content was read, and is damaged.
    Damaged {
        /// The rule that tells of it.
        rule: &'static str,
        /// What is wrong first.
        what: String,
        /// How many things are wrong.
        count: u64,
    },
    /// Its content was read by an earlier run and was damaged, and has not changed since.
    DamagedBefore {
        /// When it was read.
        at: Timestamp,
    },
}

/// How a backup stands, judged from listing and sidecars alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What makes a restore impossible.
    pub obstacles: Vec<Obstacle>,
    /// What could not be told.
    pub doubts: Vec<String>,
}

impl Standing {
    /// No obstacle is known. Doubts may remain.
    pub fn is_usable(&self) -> bool {
        self.obstacles.is_empty()
    }

    /// Nothing but WAL stands in the way.
    pub fn is_usable_but_for_wal(&self) -> bool {
        self.obstacles.iter().all(|obstacle| matches!(obstacle, Obstacle::WalMissing { .. }))
    }

    /// Every object it needs is there.
    pub fn is_complete(&self) -> bool {
        self.obstacles.is_empty() && self.doubts.is_empty()
    }
}

/// Fewer bytes are no dump: a compressor that got nothing from a failed `pg_dump` writes up to 32, the dump of an empty
/// database has several hundred, compressed.
const FILE_BYTES_MIN: u64 = 64;

/// Everything about one backup that needs no look at WAL continuity.
pub(super) fn of_objects(archive: &Archive, backup: &BaseBackup) -> Standing {
    let mut standing = Standing::default();
    if let SidecarState::Broken(_, why) = &backup.sentinel {
        standing.obstacles.push(Obstacle::SentinelUnreadable(why.clone()));
    }
    if !backup.missing_parts.is_empty() {
        let keys = backup.missing_parts.iter().map(|part| part.key.to_string()).collect();
        standing.obstacles.push(Obstacle::PartsMissing(keys));
    }
    if let Some((own, archive)) = foreign(archive, backup) {
        standing.obstacles.push(Obstacle::Foreign { own, archive });
    }
    if is_wal_overwritten(archive, backup) {
        standing.obstacles.push(Obstacle::WalOverwritten);
    }
    let newer = parts_newer_than_sentinel(archive, backup);
    if !newer.is_empty() {
        let keys = newer.iter().map(|object| object.key.to_string()).collect();
        standing.obstacles.push(Obstacle::Overwritten(keys));
    }
    let archived: Vec<String> = backup
        .objects()
        .filter(|object| !object.class.readable_at_once())
        .map(|object| object.key.to_string())
        .collect();
    if !archived.is_empty() {
        standing.obstacles.push(Obstacle::ArchivedClass(archived));
    }
    if let SidecarState::Unread(_, why) = &backup.sentinel {
        standing.doubts.push(format!("its sentinel was not read: {why}"));
    }
    if let Some(why) = backup.parts_known.why() {
        standing.doubts.push(format!("completeness unknown: {why}"));
    }
    if archive.layout == LayoutKind::Files {
        // One object is all of it, and it needs no WAL.
        let small = backup.parts.iter().map(|part| &part.object).filter(|object| object.size < FILE_BYTES_MIN);
        standing
            .obstacles
            .extend(small.map(|object| Obstacle::TooSmall { key: object.key.to_string(), bytes: object.size }));
        return standing;
    }
    if let Some(why) = backup.finish_lsn.why() {
        standing.doubts.push(format!("stop position unknown: {why}"));
    }
    standing
}

/// Adds what reading the backups' content showed.
pub(super) fn add_content(archive: &Archive, content: &ContentEvidence, standings: &mut [Standing]) {
    for (backup, standing) in archive.backups.iter().zip(standings) {
        let of_parts = content
            .damages
            .iter()
            .filter(|damage| damage.storage == backup.storage && damage.backup.as_deref() == Some(&backup.name))
            .map(|damage| (damage.kind.rule(), format!("{}: {}", damage.key, damage.message), damage.count));
        let inside = content
            .backup_defects
            .iter()
            .filter(|defect| defect.storage == backup.storage && defect.backup == backup.name && defect.kind.is_fatal())
            .map(|defect| {
                let what = defect.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default() + &defect.message;
                (defect.kind.rule(), what, defect.count)
            });
        let mut found: BTreeMap<&'static str, (String, u64)> = BTreeMap::new();
        for (rule, what, count) in of_parts.chain(inside) {
            let entry = found.entry(rule).or_insert((what, 0));
            entry.1 = entry.1.saturating_add(count);
        }
        standing.obstacles.extend(found.into_iter().map(|(rule, (what, count))| Obstacle::Damaged {
            rule,
            what,
            count,
        }));
    }
}

/// Adds what the ancestors of a delta say. `standings` holds the judgement of each backup on its own.
pub(super) fn add_ancestors(archive: &Archive, standings: &mut [Standing]) {
    let index = |name: &str, storage: u8| {
        archive.backups.iter().position(|backup| backup.name == name && backup.storage == storage)
    };
    let mut faults: Vec<(usize, Obstacle)> = Vec::new();
    let mut doubts: Vec<(usize, String)> = Vec::new();
    for (at, backup) in archive.backups.iter().enumerate() {
        let mut child = backup;
        let mut steps = 0;
        while let BackupKind::Delta { parent, from_lsn, .. } = &child.kind {
            let Some(parent_name) = parent else {
                doubts.push((at, format!("{} does not name its parent", child.name)));
                break;
            };
            steps += 1;
            if steps > archive.backups.len() {
                let why = "the chain of parents runs in a circle".to_owned();
                faults.push((at, Obstacle::Ancestor { name: parent_name.clone(), why }));
                break;
            }
            let Some(found) = index(parent_name, child.storage) else {
                let why = "it is not in the archive".to_owned();
                faults.push((at, Obstacle::Ancestor { name: parent_name.clone(), why }));
                break;
            };
            let parent = &archive.backups[found];
            // The parent's own WAL is not needed: recovery starts at the delta's start position.
            let fault = standings[found].obstacles.iter().find(|obstacle| {
                !matches!(obstacle, Obstacle::WalMissing { .. } | Obstacle::WalOverwritten | Obstacle::Ancestor { .. })
            });
            if let Some(fault) = fault {
                faults.push((at, Obstacle::Ancestor { name: parent.name.clone(), why: fault.to_string() }));
                break;
            }
            if let (Some(from), Some(start)) = (from_lsn, parent.start_lsn.copied())
                && *from != start
            {
                let why = format!("the delta was made from {from}, but a backup of that name starts at {start}");
                faults.push((at, Obstacle::Ancestor { name: parent.name.clone(), why }));
                break;
            }
            if let Some(why) = parent.parts_known.why() {
                doubts.push((at, format!("completeness of {} unknown: {why}", parent.name)));
            }
            child = parent;
        }
    }
    for (at, fault) in faults {
        standings[at].obstacles.push(fault);
    }
    for (at, doubt) in doubts {
        standings[at].doubts.push(doubt);
    }
}

/// `(own, archive's)` where the backup's system identifier is not at home in this archive.
fn foreign(archive: &Archive, backup: &BaseBackup) -> Option<(u64, u64)> {
    let own = backup.system_identifier.copied()?;
    if archive.clusters.is_empty() || archive.clusters.contains(&own) {
        return None;
    }
    let start = backup.start_segment(archive.segment_size)?;
    let here = archive.incarnation(start).and_then(|incarnation| incarnation.system_identifier.copied());
    Some((own, here.unwrap_or(archive.clusters[archive.clusters.len() - 1])))
}

/// The backup's start segment was written by another cluster, although its own cluster has written WAL here.
fn is_wal_overwritten(archive: &Archive, backup: &BaseBackup) -> bool {
    let Some(own) = backup.system_identifier.copied() else { return false };
    let Some(start) = backup.start_segment(archive.segment_size) else { return false };
    let name = start.name(backup.timeline(), archive.segment_size);
    let page = |name| archive.first_pages.get(&name).and_then(|page| page.get());
    let Some(first) = page(name) else { return false };
    first.system_identifier != own
        && foreign(archive, backup).is_none()
        && archive.clusters.contains(&first.system_identifier)
}

/// Parts that were stored after the sentinel: the backup was overwritten in place. Clocks of stores are coarse, so
/// a minute is forgiven; a copied bucket says nothing.
pub fn parts_newer_than_sentinel<'a>(archive: &Archive, backup: &'a BaseBackup) -> Vec<&'a ObjectRef> {
    let Some(sentinel) = backup.sentinel_modified().filter(|_| !archive.copied) else { return Vec::new() };
    let slack = jiff::SignedDuration::from_secs(60);
    backup
        .parts
        .iter()
        .map(|part| &part.object)
        .filter(|object| object.modified.duration_since(sentinel) > slack)
        .collect()
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Obstacle::SentinelUnreadable(why) => write!(f, "its sentinel {why}"),
            Obstacle::PartsMissing(keys) if keys.len() == 1 => write!(f, "{} is missing", keys[0]),
            Obstacle::PartsMissing(keys) => write!(f, "{} parts are missing, first {}", keys.len(), keys[0]),
            Obstacle::Ancestor { name, why } => write!(f, "it stands on {name}: {why}"),
            Obstacle::WalMissing { timeline, first, last } if first == last => {
                write!(f, "its own WAL is missing: segment number {} on timeline {timeline}", first.0)
            }
            Obstacle::WalMissing { timeline, first, last } => {
                write!(f, "its own WAL is missing: segment numbers {} to {} on timeline {timeline}", first.0, last.0)
            }
            Obstacle::WalOverwritten => f.write_str("its WAL was overwritten by another cluster"),
            Obstacle::Foreign { own, archive } => {
                write!(f, "it belongs to system {own}, the archive to {archive}")
            }
            Obstacle::Overwritten(keys) => {
                write!(f, "{} parts are newer than its sentinel, first {}", keys.len(), keys[0])
            }
            Obstacle::TooSmall { key, bytes } => write!(f, "{key} has {bytes} bytes, too few to be a backup"),
            Obstacle::ArchivedClass(keys) => {
                write!(f, "{} objects have to be restored from an archive class first, e.g. {}", keys.len(), keys[0])
            }
            Obstacle::DamagedBefore { at } => {
                let at = at.strftime("%Y-%m-%d %H:%M UTC");
                write!(f, "it was damaged when it was read at {at}, and has not changed since")
            }
            Obstacle::Damaged { what, count: 1, .. } => write!(f, "it is damaged: {what}"),
            Obstacle::Damaged { what, count, .. } => write!(f, "it is damaged in {count} places, first {what}"),
        }
    }
}

/// A stretch of LSNs from a backup's start to its stop.
pub fn own_wal(backup: &BaseBackup) -> Option<LsnRange> {
    Some(LsnRange { start: backup.start_lsn.copied()?, end: backup.finish_lsn.copied()? })
}
