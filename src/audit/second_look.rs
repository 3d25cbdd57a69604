//! An absence is looked at twice: uploads and a tool's own deletion run at the same hours as audits.

use super::{AuditError, Options, Target, sidecars};
use crate::catalog::{Archive, HistoryState, Recovery};
use crate::layout::Layout;
use crate::model::{ObjectKey, ObjectRow, SegmentNo};
use crate::run::RunContext;
use crate::store::ListRequest;

/// Key ranges that are listed again; an archive with more holes than this is not waiting for uploads.
const RANGES_MAX: usize = 64;
/// Pages of one range: a hole is empty, or it is no hole.
const PAGES_MAX: usize = 20;

/// A stretch of keys, relative to the archive's root.
struct Range {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    until: Option<Vec<u8>>,
    /// A backup whose sentinel has to be seen again, or it is gone.
    backup: Option<(String, u8)>,
}

/// Lists the places of everything that seems to be missing once more.
pub(super) async fn again(
    target: &Target,
    root: &[u8],
    fold: &mut dyn Layout,
    archive: Archive,
    options: &Options,
    ctx: &RunContext,
) -> Result<(Archive, u64), (Box<Archive>, AuditError)> {
    let ranges = doubtful(&archive);
    if ranges.is_empty() {
        return Ok((archive, 0));
    }
    let mut rows: Vec<(ObjectRow, u8)> = Vec::new();
    let mut gone: Vec<(String, u8)> = Vec::new();
    for range in ranges {
        let mut sentinel_seen = range.backup.is_none();
        for (at, storage) in target.storages.iter().enumerate() {
            let found = match list(storage, root, &range).await {
                Ok(found) => found,
                Err(error) => {
                    let what = String::from_utf8_lossy(&range.prefix).into_owned();
                    return Err((Box::new(archive), AuditError::store(format!("looking at {what} again"), error)));
                }
            };
            if let Some((name, _)) = &range.backup {
                let sentinel = format!("basebackups_005/{name}_backup_stop_sentinel.json");
                sentinel_seen |= found.iter().any(|row| row.key.as_bytes() == sentinel.as_bytes());
            }
            rows.extend(found.into_iter().map(|row| (row, u8::try_from(at).unwrap_or(u8::MAX))));
        }
        if !sentinel_seen {
            gone.extend(range.backup);
        }
    }
    fold.reopen(archive);
    let mut changed = gone.len() as u64;
    for (row, storage) in rows {
        changed += u64::from(fold.push(row, storage));
    }
    for (name, storage) in gone {
        fold.forget(&name, storage);
    }
    let read = if changed > 0 { sidecars::read_all(target, root, fold, options, ctx).await } else { Ok(()) };
    let archive = fold.finish();
    match read {
        Ok(()) => Ok((archive, changed)),
        Err(error) => Err((Box::new(archive), error)),
    }
}

/// What to look at again: holes, backups that miss something, directories without sentinel, missing histories.
fn doubtful(archive: &Archive) -> Vec<Range> {
    let recovery = Recovery::of(archive);
    let size = archive.segment_size;
    let mut ranges = Vec::new();
    for (backup, standing) in archive.backups.iter().zip(&recovery.standings) {
        let incomplete = [&backup.metadata, &backup.files_metadata]
            .into_iter()
            .any(|state| matches!(state, crate::catalog::SidecarState::Missing(_)));
        if !standing.is_usable() || incomplete {
            ranges.push(Range {
                prefix: format!("basebackups_005/{}", backup.name).into_bytes(),
                after: None,
                until: None,
                backup: Some((backup.name.clone(), backup.storage)),
            });
        }
        for obstacle in &standing.obstacles {
            if let crate::catalog::Obstacle::WalMissing { timeline, first, last } = obstacle {
                ranges.push(segments(*timeline, *first, SegmentNo(last.0 + 1), size));
            }
        }
    }
    for backup in &archive.unfinished {
        let prefix = format!("basebackups_005/{}_backup_stop_sentinel", backup.name).into_bytes();
        ranges.push(Range { prefix, after: None, until: None, backup: None });
    }
    for gap in &recovery.gaps {
        ranges.push(segments(gap.timeline, gap.first, gap.end, size));
    }
    for (timeline, state) in archive.timelines.iter() {
        if *state == HistoryState::Missing {
            let prefix = format!("wal_005/{:08X}.history", timeline.get()).into_bytes();
            ranges.push(Range { prefix, after: None, until: None, backup: None });
        }
    }
    ranges.truncate(RANGES_MAX);
    ranges
}

/// The keys of segments `[first, end)`, with any extension.
fn segments(
    timeline: crate::model::TimelineId,
    first: SegmentNo,
    end: SegmentNo,
    size: crate::model::SegmentSize,
) -> Range {
    // `~` sorts behind every extension and helper suffix, and before the next name.
    let after = first.previous().map(|before| format!("wal_005/{}~", before.name(timeline, size)).into_bytes());
    let until = format!("wal_005/{}", end.name(timeline, size)).into_bytes();
    Range { prefix: format!("wal_005/{:08X}", timeline.get()).into_bytes(), after, until: Some(until), backup: None }
}

async fn list(
    storage: &super::Storage,
    root: &[u8],
    range: &Range,
) -> Result<Vec<ObjectRow>, crate::store::StoreError> {
    let base = [storage.address.prefix().as_bytes(), root].concat();
    let whole = |part: &[u8]| [&base[..], part].concat();
    let mut request = ListRequest {
        prefix: whole(&range.prefix),
        start_after: range.after.as_deref().map(whole).filter(|_| storage.store.can_start_after()),
        ..Default::default()
    };
    let mut rows = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = storage.store.list_page(request.clone()).await?;
        for mut row in page.rows {
            let Some(relative) = row.key.as_bytes().strip_prefix(&base[..]) else { continue };
            if range.until.as_deref().is_some_and(|until| relative >= until) {
                return Ok(rows);
            }
            if range.after.as_deref().is_some_and(|after| relative <= after) {
                continue;
            }
            row.key = ObjectKey::new(relative);
            rows.push(row);
        }
        match page.next {
            Some(token) => request.token = Some(token),
            None => break,
        }
    }
    Ok(rows)
}
