//! The objects of an archive as lifecycle rules see them: by whole key, with what the catalog knows of backups.

use super::catalogue::{Content, catalogue_seen};
use super::{AuditError, Options, Target};
use crate::catalog::{Archive, LayoutKind};
use crate::model::ObjectRow;
use crate::policy::config::LayoutName;
use crate::policy::inventory::{BucketObjects, KnownBackup};
use crate::policy::lifecycle::{ObjectFacts, ObjectTable};
use crate::run::{ProgressUnit, RunContext};
use crate::store::{self, Address};

/// Lists everything below an address, once, and reads the catalogs of the archives it finds. One entry for each storage.
/// A directory stands for the bucket and prefix that `stand_in` names.
///
/// # Errors
/// The listing failed, or a directory was named without saying what it stands for.
pub async fn bucket_objects(
    target: &Target,
    stand_in: Option<(&str, &str)>,
    options: &Options,
    ctx: &RunContext,
) -> Result<Vec<BucketObjects>, AuditError> {
    let mut seen =
        Seen { tables: vec![ObjectTable::default(); target.storages.len()], shifts: Vec::new(), full: false };
    let mut buckets = Vec::new();
    for storage in &target.storages {
        let (bucket, shift) = match (&storage.address, stand_in) {
            (Address::Bucket { bucket, .. }, _) => (bucket.clone(), String::new()),
            (Address::Directory(_), Some((bucket, prefix))) => (bucket.to_owned(), prefix.to_owned()),
            (Address::Directory(path), None) => {
                return Err(AuditError::NoArchive(format!(
                    "{}: no bucket's rules apply to a directory; say what it stands for with --bucket s3://bucket/prefix",
                    path.display()
                )));
            }
        };
        buckets.push(bucket);
        seen.shifts.push(shift);
    }
    let readable = matches!(target.layout, None | Some(LayoutKind::WalG | LayoutKind::WalE));
    let found = if readable {
        match catalogue_seen(target, options, ctx, &mut |storage, rows| seen.take(storage, rows)).await {
            Ok(found) => found,
            // Rules do not ask what objects are good for.
            Err(AuditError::NoArchive(_)) if !seen.is_empty() => Vec::new(),
            Err(error) => return Err(error),
        }
    } else {
        list_only(target, options, ctx, &mut seen).await?;
        Vec::new()
    };
    if seen.full {
        return Err(AuditError::NoArchive(format!("{} holds more objects than one table takes", target.url())));
    }
    let listed_at = ctx.as_of;
    let mut out: Vec<BucketObjects> = Vec::new();
    for (bucket, table) in buckets.into_iter().zip(seen.tables) {
        let mut objects = BucketObjects::new(bucket, format!("listing of {}", target.url()), table);
        objects.listed_at = Some(listed_at);
        out.push(objects);
    }
    for entry in &found {
        let Content::Known(known) = &entry.content else { continue };
        if let Some(error) = &entry.error {
            return Err(AuditError::NoArchive(format!("{}: {error}", entry.url)));
        }
        let prefix = target.storages[0].address.prefix();
        let root = format!("{}{prefix}{}", seen.shifts[0], known.archive.root);
        let layout = if known.archive.layout == LayoutKind::WalE { LayoutName::WalE } else { LayoutName::WalG };
        if matches!(known.archive.layout, LayoutKind::WalG | LayoutKind::WalE) {
            out[0].know(&root, layout, &backups(&known.archive));
        }
    }
    Ok(out)
}

/// What was listed, by storage.
struct Seen {
    tables: Vec<ObjectTable>,
    /// What goes before the keys of a directory.
    shifts: Vec<String>,
    full: bool,
}

impl Seen {
    fn take(&mut self, storage: usize, rows: &[ObjectRow]) {
        let (Some(table), Some(shift)) = (self.tables.get_mut(storage), self.shifts.get(storage)) else { return };
        for row in rows {
            let shifted;
            let key = if shift.is_empty() {
                row.key.as_bytes()
            } else {
                shifted = [shift.as_bytes(), row.key.as_bytes()].concat();
                &shifted
            };
            let facts = ObjectFacts {
                class: row.class,
                version: row.version.as_deref(),
                ..ObjectFacts::new(key, row.size, row.modified)
            };
            self.full |= !table.push(&facts);
        }
    }

    fn is_empty(&self) -> bool {
        self.tables.iter().all(ObjectTable::is_empty)
    }
}

async fn list_only(target: &Target, options: &Options, ctx: &RunContext, seen: &mut Seen) -> Result<(), AuditError> {
    ctx.progress.step("listing", ProgressUnit::Things, None);
    for (at, storage) in target.storages.iter().enumerate() {
        let prefix = storage.address.prefix().as_bytes().to_vec();
        let list = store::ListOptions { listers: options.connections, ..Default::default() };
        let listed = store::list_all(storage.store.clone(), &prefix, list, ctx, |rows| {
            ctx.progress.advance(rows.len() as u64);
            seen.take(at, &rows);
        });
        listed.await.map_err(|error| AuditError::store(format!("listing {}", storage.store.url(&prefix)), error))?;
    }
    ctx.progress.finish();
    Ok(())
}

fn backups(archive: &Archive) -> Vec<KnownBackup> {
    let size = archive.segment_size;
    let known = |backup: &crate::catalog::BaseBackup| {
        let name = |number: crate::model::SegmentNo| number.name(backup.timeline(), size);
        Some(KnownBackup {
            name: backup.name.clone(),
            taken: backup.finished_at.copied().or_else(|| backup.sentinel_modified())?,
            parent: backup.kind.parent().map(str::to_owned),
            permanent: backup.permanent.copied().unwrap_or(false),
            start: backup.start_segment(size).map(name),
            stop: backup.stop_segment(size).map(name),
        })
    };
    archive.backups.iter().filter_map(known).collect()
}
