//! From an address to archives: list, sort into folds, read sidecars, look twice.

use std::time::Instant;

use super::listing::Sorted;
use super::{AuditError, Options, Target, no_listing, second_look, seconds, sidecars};
use crate::catalog::evidence::{ContentEvidence, RestoreEvidence, VersionEvidence};
use crate::catalog::{Archive, LayoutKind, Recovery};
use crate::layout::Layout;
use crate::layout::files::FilesLayout;
use crate::model::{ObjectKey, ObjectRow};
use crate::policy::files::FilePattern;
use crate::report::data::Listing;
use crate::run::{ProgressUnit, RunContext};
use crate::store::{self, ListRequest};

/// One archive found below an address.
#[derive(Debug)]
pub struct Catalogued {
    /// The cluster's name.
    pub name: String,
    /// Where it lies.
    pub url: String,
    /// `s3`, `gcs`, ...
    pub provider: &'static str,
    /// What is known of it.
    pub content: Content,
    /// What listing it cost.
    pub listing: Listing,
    /// Why it is not complete.
    pub error: Option<String>,
}

/// An archive, or the name of a layout that is not read yet.
#[derive(Debug)]
pub enum Content {
    /// Read.
    Known(Box<Known>),
    /// Recognised by its keys.
    NotRead(LayoutKind),
}

/// An archive with what can be recovered from it.
#[derive(Debug)]
pub struct Known {
    /// The model.
    pub archive: Archive,
    /// What follows from it.
    pub recovery: Recovery,
    /// What reading content showed, where that was asked for.
    pub content: Option<Box<ContentEvidence>>,
    /// What this run or an earlier one proved of objects that have not changed.
    pub proven: Option<Box<ContentEvidence>>,
    /// Test restores of this run and of earlier ones.
    pub restores: Option<Box<RestoreEvidence>>,
    /// Older versions of WAL, where they were listed.
    pub versions: Option<Box<VersionEvidence>>,
}

/// Finds every archive below an address and reads what is needed to judge it.
///
/// # Errors
/// The listing failed, or there is no archive. A sidecar that cannot be read leaves an error in the archive's entry.
pub async fn catalogue(target: &Target, options: &Options, ctx: &RunContext) -> Result<Vec<Catalogued>, AuditError> {
    catalogue_seen(target, options, ctx, &mut |_, _| {}).await
}

/// The same; `see` hears every row of the listing with the number of its storage.
pub(super) async fn catalogue_seen(
    target: &Target,
    options: &Options,
    ctx: &RunContext,
    see: &mut dyn FnMut(usize, &[ObjectRow]),
) -> Result<Vec<Catalogued>, AuditError> {
    match target.layout {
        None | Some(LayoutKind::WalG | LayoutKind::WalE | LayoutKind::Files) => {}
        Some(other) => return Err(AuditError::NotRead(other)),
    }
    let begun = Instant::now();
    let before = target.requests();
    let mut sorted = Sorted { files: files(target)?, ..Sorted::default() };
    ctx.progress.step("listing", ProgressUnit::Things, None);
    for (at, storage) in target.storages.iter().enumerate() {
        let prefix = storage.address.prefix().as_bytes().to_vec();
        let index = u8::try_from(at).unwrap_or(u8::MAX);
        let list = store::ListOptions { listers: options.connections, ..Default::default() };
        let listed = store::list_all(storage.store.clone(), &prefix, list, ctx, |rows| {
            ctx.progress.advance(rows.len() as u64);
            see(at, &rows);
            sorted.take(rows, &prefix, index);
        });
        listed.await.map_err(|error| AuditError::store(format!("listing {}", storage.store.url(&prefix)), error))?;
    }
    ctx.progress.finish();
    let listed_s = seconds(begun);
    if let Some(fold) = sorted.files.take() {
        let mut entry = dumps(target, fold, options, ctx).await?;
        entry.listing.requests = target.requests() - before;
        entry.listing.duration_s = listed_s;
        return Ok(vec![entry]);
    }
    if sorted.archives.is_empty() && sorted.others.is_empty() {
        return Err(nothing_found(target, &sorted).await);
    }
    if sorted.too_many_roots {
        return Err(AuditError::NoArchive(format!("{} holds more archives than one audit tells apart", target.url())));
    }
    let many = sorted.archives.len() + sorted.others.len() > 1;
    let mut found = Vec::new();
    let mut counted = before;
    for (root, fold) in sorted.archives {
        let mut entry = one(target, &root, Box::new(fold), many, options, ctx).await;
        let now = target.requests();
        entry.listing.requests = now - counted;
        counted = now;
        entry.listing.duration_s = listed_s;
        found.push(entry);
    }
    for (root, other) in sorted.others {
        let word = match other.layout {
            LayoutKind::Pgbackrest => "a pgBackRest repository: not yet read".to_owned(),
            layout => format!("a {} archive: not yet read", layout.name()),
        };
        let listing = Listing { objects: other.objects, bytes: other.bytes, duration_s: listed_s, ..no_listing() };
        found.push(Catalogued {
            name: name(target, &root, many),
            url: url(target, &root),
            provider: target.storages[0].store.provider(),
            content: Content::NotRead(other.layout),
            listing,
            error: Some(word),
        });
    }
    Ok(found)
}

/// The fold of a declared layout `files`, which needs its pattern.
fn files(target: &Target) -> Result<Option<FilesLayout>, AuditError> {
    if target.layout != Some(LayoutKind::Files) {
        return Ok(None);
    }
    let stated = target.stated.cluster.as_ref().and_then(|cluster| cluster.files_pattern.as_ref());
    let Some(text) = target.stated.files_pattern.as_ref().or(stated) else {
        return Err(AuditError::Refused(format!(
            "{}: layout files needs files.pattern of a [[cluster]], or --files-pattern, as in \"{{tier}}/{{date}}.tar.zst\"",
            target.url()
        )));
    };
    match FilePattern::parse(text) {
        Ok(pattern) => Ok(Some(FilesLayout::new(pattern))),
        Err(error) => Err(AuditError::Refused(format!("files.pattern {error}"))),
    }
}

/// The archive that dumps and tarballs make.
async fn dumps(
    target: &Target,
    fold: FilesLayout,
    options: &Options,
    ctx: &RunContext,
) -> Result<Catalogued, AuditError> {
    let url = target.url();
    if fold.overflow() > 0 {
        return Err(AuditError::NoArchive(format!(
            "{url}: {} objects match files.pattern, more than the {} that one audit takes: narrow it",
            fold.overflow() + fold.matched() as u64,
            crate::layout::files::BACKUPS_MAX
        )));
    }
    if fold.matched() == 0 {
        let sample: Vec<String> = fold.sample().iter().take(3).map(ToString::to_string).collect();
        let seen = if sample.is_empty() { "0 objects".to_owned() } else { format!("e.g. {}", sample.join(", ")) };
        return Err(AuditError::NoArchive(format!("no object below {url} matches files.pattern; seen: {seen}")));
    }
    Ok(one(target, b"", Box::new(fold), false, options, ctx).await)
}

async fn one(
    target: &Target,
    root: &[u8],
    mut fold: Box<dyn Layout>,
    many: bool,
    options: &Options,
    ctx: &RunContext,
) -> Catalogued {
    let mut error = sidecars::read_all(target, root, fold.as_mut(), options, ctx).await.err();
    let mut archive = fold.finish();
    let mut changed = 0;
    // Of dumps nothing is expected under a name, so nothing can be absent.
    if error.is_none() && !ctx.cancel.is_set() && archive.layout != LayoutKind::Files {
        match second_look::again(target, root, fold.as_mut(), archive, options, ctx).await {
            Ok((looked, count)) => {
                archive = looked;
                changed = count;
            }
            Err((looked, why)) => {
                archive = *looked;
                error = Some(why);
            }
        }
    }
    let recovery = Recovery::of(&archive);
    let listing =
        Listing { objects: archive.objects, bytes: archive.bytes, changed_during_audit: changed, ..no_listing() };
    Catalogued {
        name: name(target, root, many),
        url: url(target, root),
        provider: target.storages[0].store.provider(),
        content: Content::Known(Box::new(Known {
            archive,
            recovery,
            content: None,
            proven: None,
            restores: None,
            versions: None,
        })),
        listing,
        error: error.map(|error| error.to_string()),
    }
}

fn url(target: &Target, root: &[u8]) -> String {
    let first = &target.storages[0];
    let whole = [first.address.prefix().as_bytes(), root].concat();
    first.store.url(&whole).trim_end_matches('/').to_owned()
}

/// The configured name; several archives below one address are told apart by their folders.
fn name(target: &Target, root: &[u8], many: bool) -> String {
    let root = ObjectKey::new(root).to_string();
    let root = root.trim_matches('/');
    match (&target.name, many) {
        (Some(name), false) => name.clone(),
        (Some(name), true) => {
            if root.is_empty() {
                name.clone()
            } else {
                format!("{name}/{root}")
            }
        }
        (None, _) if !root.is_empty() => root.to_owned(),
        (None, _) => {
            let url = target.url();
            let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            last.to_owned()
        }
    }
}

const LOOKED_FOR: &str = "looked for wal_005/ and basebackups_005/ (wal-g, wal-e), archive.info (pgBackRest), wals/ and base/*/backup.info (barman-cloud)";

/// One helpful sentence on an address without an archive.
async fn nothing_found(target: &Target, sorted: &Sorted) -> AuditError {
    let url = target.url();
    if let Some(key) = &sorted.inside {
        let parent = url.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        return AuditError::NoArchive(format!(
            "{url} is inside an archive ({key}); audit the folder above it: {parent}/"
        ));
    }
    if sorted.objects > 0 {
        let sample: Vec<String> = sorted.sample.iter().map(ToString::to_string).collect();
        return AuditError::NoArchive(format!(
            "no archive below {url}: {} objects, e.g. {}; {LOOKED_FOR}",
            sorted.objects,
            sample.join(", ")
        ));
    }
    let hint = match neighbours(target).await {
        names if names.is_empty() => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    };
    AuditError::NoArchive(format!("0 objects under {url}{hint} ({LOOKED_FOR})"))
}

/// Folders beside an empty prefix.
async fn neighbours(target: &Target) -> Vec<String> {
    let first = &target.storages[0];
    let prefix = first.address.prefix().trim_end_matches('/');
    let parent = prefix.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
    if prefix.is_empty() {
        return Vec::new();
    }
    let request = ListRequest { prefix: parent.into_bytes(), delimiter: true, ..Default::default() };
    let Ok(page) = first.store.list_page(request).await else { return Vec::new() };
    let wanted = prefix.rsplit('/').next().unwrap_or_default().to_lowercase();
    let mut names: Vec<(usize, String)> = page
        .prefixes
        .iter()
        .filter_map(|key| {
            let text = key.as_plain_str()?;
            let last = text.trim_end_matches('/').rsplit('/').next()?.to_lowercase();
            let shared = last.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
            Some((shared, first.store.url(key.as_bytes())))
        })
        .collect();
    names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.into_iter().take(3).map(|(_, name)| name).collect()
}
