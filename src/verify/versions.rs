//! Older versions of WAL objects, in buckets that keep them: listed for the chosen segments, and compared with the
//! current ones where the store's own word does not settle it.

use std::sync::Arc;

use futures::StreamExt;

use super::plan::{Plan, SegmentItem};
use super::request::Request;
use super::wal;
use crate::catalog::evidence::{Overwritten, VersionEvidence, VersionVerdict};
use crate::catalog::{Archive, SegmentRow};
use crate::fetch::Source;
use crate::model::{CodecKind, ObjectRow, SegmentName, StoreChecksum};
use crate::run::{Progress, ProgressUnit, RunContext, Silent};
use crate::store::{ListRequest, ObjectVersion, ReadOptions};

/// Segments that one lister takes: twenty pages of a store.
const LISTED_TOGETHER: usize = 20_000;
const LISTERS: usize = 16;
/// Versions of one object that are compared; the newest come first.
const COMPARED_MAX: usize = 8;
/// Hexadecimal digits of a segment's name.
const NAME_BYTES: usize = 24;
/// The folder of WAL, in the layouts that are read.
const FOLDER: &str = "wal_005/";

/// Whose versions are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Chosen<'a> {
    /// All of the archive's, by the listing alone.
    Listed,
    /// Those that are read in this run or were in an earlier one, and those that differ are compared.
    Compared(&'a Plan, &'a Request),
}

/// Names from `first` to `last` of one storage.
struct Stretch {
    storage: u8,
    first: SegmentName,
    last: SegmentName,
}

/// An object with several versions of different bytes.
struct Candidate {
    row: SegmentRow,
    versions: Vec<ObjectVersion>,
    count: u64,
}

/// Looks for segments that were overwritten.
pub async fn look(
    source: &Source,
    archive: &Archive,
    chosen: Chosen<'_>,
    jobs: usize,
    ctx: &RunContext,
) -> VersionEvidence {
    if source.storages.iter().all(|storage| !storage.store.keeps_versions()) {
        let provider = source.storages.first().map_or("?", |storage| storage.store.provider());
        let why = format!("older versions of objects are not listed in a store of the kind {provider}");
        return VersionEvidence::unlisted(why);
    }
    let mut evidence = VersionEvidence::default();
    let stretches = stretches(archive, chosen, source);
    if stretches.is_empty() {
        return evidence;
    }
    ctx.progress.step("listing versions", ProgressUnit::Things, None);
    let mut candidates = Vec::new();
    let listings =
        stretches.into_iter().map(|stretch| async move { list(source, archive, chosen, &stretch, ctx).await });
    let mut listings = futures::stream::iter(listings).buffered(LISTERS);
    while let Some(listed) = listings.next().await {
        if let Some(error) = listed.error {
            evidence.unlisted.get_or_insert(error);
        }
        for candidate in listed.candidates {
            match candidates.len() < VersionEvidence::OVERWRITTEN_MAX {
                true => candidates.push(candidate),
                false => evidence.left_out += 1,
            }
        }
        evidence.left_out += listed.left_out;
    }
    drop(listings);
    ctx.progress.step("comparing versions", ProgressUnit::Things, Some(candidates.len() as u64));
    let compared = candidates.into_iter().map(|candidate| async move {
        let verdict = match chosen {
            Chosen::Compared(_, request) => compare(source, archive, &candidate, request, ctx).await,
            Chosen::Listed => VersionVerdict::NotCompared("content was not read (--verify)".to_owned()),
        };
        ctx.progress.advance(1);
        let current = candidate.versions.iter().find(|version| version.latest);
        Overwritten {
            segment: candidate.row.name(),
            key: archive.segment_key(&candidate.row),
            versions: candidate.count,
            current: current.and_then(|version| version.row.version.as_deref()).unwrap_or("?").to_owned(),
            verdict,
        }
    });
    evidence.overwritten = futures::stream::iter(compared).buffered(jobs.max(1)).collect().await;
    evidence.overwritten.sort_by(|a, b| (a.segment, &a.key).cmp(&(b.segment, &b.key)));
    ctx.progress.finish();
    evidence
}

/// Cuts the chosen segments into stretches, each storage for itself.
fn stretches(archive: &Archive, chosen: Chosen<'_>, source: &Source) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for (storage, place) in source.storages.iter().enumerate() {
        let Some(storage) = u8::try_from(storage).ok().filter(|_| place.store.keeps_versions()) else { continue };
        let mut length = 0;
        let mut take = |name: SegmentName| {
            match found.last_mut().filter(|last| {
                last.storage == storage && last.first.timeline == name.timeline && length < LISTED_TOGETHER
            }) {
                Some(stretch) => stretch.last = name,
                None => {
                    length = 0;
                    found.push(Stretch { storage, first: name, last: name });
                }
            }
            length += 1;
        };
        match chosen {
            Chosen::Listed => {
                archive.wal.all_rows().filter(|row| row.storage == storage).for_each(|row| take(row.name()));
            }
            Chosen::Compared(plan, _) => {
                plan.segments
                    .iter()
                    .filter(|item| item.storage == storage && counts(item))
                    .for_each(|item| take(item.name));
            }
        }
    }
    found
}

/// Whether a segment of the plan is looked at: what the sample leaves out is not.
fn counts(item: &SegmentItem) -> bool {
    !item.partial && (item.read || item.known.is_some())
}

/// What one lister saw.
#[derive(Default)]
struct Listed {
    candidates: Vec<Candidate>,
    left_out: u64,
    error: Option<String>,
}

/// The versions of one key, as far as the listing has come.
struct Group {
    row: SegmentRow,
    key: Vec<u8>,
    versions: Vec<ObjectVersion>,
    count: u64,
}

impl Listed {
    fn close(&mut self, group: Option<Group>) {
        let Some(Group { row, mut versions, count, .. }) = group.filter(|group| group.count > 0) else { return };
        // The oldest first in some stores, the newest in others.
        versions.sort_by_key(|version| (!version.latest, std::cmp::Reverse(version.row.modified)));
        let Some((current, older)) = versions.split_first().filter(|(current, _)| current.latest) else { return };
        if count < 2 {
            return;
        }
        if older.len() as u64 + 1 == count && older.iter().all(|older| same_bytes(&older.row, &current.row)) {
            return;
        }
        if self.candidates.len() < VersionEvidence::OVERWRITTEN_MAX {
            self.candidates.push(Candidate { row, versions, count });
        } else {
            self.left_out += 1;
        }
    }
}

async fn list(source: &Source, archive: &Archive, chosen: Chosen<'_>, stretch: &Stretch, ctx: &RunContext) -> Listed {
    let mut listed = Listed::default();
    let Some((storage, folder)) = source.full_key(stretch.storage, &FOLDER.into()) else { return listed };
    let full = |name: SegmentName| [folder.as_bytes(), name.to_string().as_bytes()].concat();
    let (mut after, last) = (full(stretch.first), full(stretch.last));
    // A name without its last digit sorts before every object of the segment and behind those of the one before.
    after.pop();
    let mut request =
        ListRequest { prefix: folder.as_bytes().to_vec(), start_after: Some(after), ..ListRequest::default() };
    let mut group: Option<Group> = None;
    loop {
        if ctx.cancel.is_set() {
            listed.error = Some("the run was stopped before".to_owned());
            return listed;
        }
        let page = match storage.store.list_versions_page(request.clone()).await {
            Ok(page) => page,
            Err(error) => {
                listed.error = Some(error.to_string());
                return listed;
            }
        };
        ctx.progress.advance(page.rows.len() as u64);
        let mut is_over = false;
        for version in page.rows {
            let key = version.row.key.as_bytes();
            if key.get(..last.len()).unwrap_or(key) > last.as_slice() {
                is_over = true;
                break;
            }
            if group.as_ref().is_none_or(|group| group.key != key) {
                listed.close(group.take());
                group = row_of(archive, chosen, stretch.storage, &key[folder.as_bytes().len().min(key.len())..])
                    .map(|row| Group { row, key: key.to_vec(), versions: Vec::new(), count: 0 });
            }
            if let Some(group) = group.as_mut().filter(|_| !version.delete_marker) {
                group.count += 1;
                if group.versions.len() < COMPARED_MAX {
                    group.versions.push(version);
                } else if let Some(oldest) = group
                    .versions
                    .iter_mut()
                    .min_by_key(|kept| (kept.latest, kept.row.modified))
                    .filter(|oldest| (version.latest, version.row.modified) > (oldest.latest, oldest.row.modified))
                {
                    *oldest = version;
                }
            }
        }
        match page.next {
            Some(token) if !is_over => request.token = Some(token),
            _ => break,
        }
    }
    listed.close(group);
    listed
}

/// The segment of the archive that an object in the folder of WAL holds, if it is among the chosen ones.
fn row_of(archive: &Archive, chosen: Chosen<'_>, storage: u8, file: &[u8]) -> Option<SegmentRow> {
    let (stem, codec) = CodecKind::split(file);
    let name = SegmentName::parse(stem).filter(|_| stem.len() == NAME_BYTES)?;
    if let Chosen::Compared(plan, _) = chosen {
        let number = name.number(archive.segment_size)?;
        let place = (name.timeline, number);
        let from = plan.segments.partition_point(|item| (item.name.timeline, item.number) < place);
        let mut same = plan.segments[from..].iter().take_while(|item| (item.name.timeline, item.number) == place);
        same.find(|item| counts(item) && item.codec == codec && item.storage == storage)?;
    }
    archive.wal.at(name).iter().find(|row| row.codec == codec && row.storage == storage).copied()
}

/// Whether the store says that two versions hold the same bytes.
fn same_bytes(a: &ObjectRow, b: &ObjectRow) -> bool {
    let sum = |row: &ObjectRow| match &row.checksum {
        Some(StoreChecksum::Crc32c(sum) | StoreChecksum::Md5(sum)) => Some(sum.clone()),
        _ => None,
    };
    let etags = a.etag.is_some() && a.etag == b.etag;
    let sums = sum(a).is_some() && a.checksum == b.checksum;
    a.size == b.size && (etags || sums)
}

/// Reads the versions of one object and compares what recovery would read of them.
async fn compare(
    source: &Source,
    archive: &Archive,
    candidate: &Candidate,
    request: &Request,
    ctx: &RunContext,
) -> VersionVerdict {
    let Some(number) = candidate.row.name().number(archive.segment_size) else {
        return VersionVerdict::NotCompared("its name fits no segment of this size".to_owned());
    };
    let item = SegmentItem {
        name: candidate.row.name(),
        number,
        key: archive.segment_key(&candidate.row),
        storage: candidate.row.storage,
        codec: candidate.row.codec,
        id: candidate.row.id(),
        size: candidate.row.size,
        class: candidate.row.class,
        partial: false,
        // Copies of one segment are digested as far as recovery reads, to be compared.
        duplicate: true,
        read: true,
        known: None,
    };
    let mut read = Vec::new();
    for version in &candidate.versions {
        if !request.may_read(version.row.class) {
            return VersionVerdict::NotCompared(format!("a version lies in {}", version.row.class.name()));
        }
        match digest(source, archive, &item, version, ctx).await {
            Ok(content) => read.push((version, content)),
            Err(why) => return VersionVerdict::NotCompared(why),
        }
    }
    let name = |version: &ObjectVersion| version.row.version.as_deref().unwrap_or("?").to_owned();
    let Some(((_, current), older)) = read.split_first() else {
        return VersionVerdict::NotCompared("it has no versions any more".to_owned());
    };
    let mut whole = older.iter().filter(|(_, content)| content.is_some());
    match current {
        Some(_) => match older.iter().find(|(_, content)| content.is_some() && content != current) {
            Some((other, _)) => VersionVerdict::Differ { other: name(other) },
            None if whole.next().is_none() => VersionVerdict::OlderDamaged,
            None => VersionVerdict::Equal,
        },
        None => match whole.next() {
            Some((whole, _)) => VersionVerdict::CurrentDamaged { whole: name(whole) },
            None => VersionVerdict::NotCompared("no version of it is whole".to_owned()),
        },
    }
}

/// The digest of what recovery reads of one version; `None` if it is damaged.
async fn digest(
    source: &Source,
    archive: &Archive,
    item: &SegmentItem,
    version: &ObjectVersion,
    ctx: &RunContext,
) -> Result<Option<crate::wal::Digest>, String> {
    let options = ReadOptions { version: version.row.version.as_deref().map(str::to_owned), ..ReadOptions::default() };
    let stored = match source.get(item.storage, &item.key, options, &ctx.cancel).await {
        Ok(stored) => stored,
        Err(problem) => return Err(format!("a version could not be read: {problem}")),
    };
    let (source, item, options) = (source.clone(), item.clone(), wal::options(archive, item));
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    let done = tokio::task::spawn_blocking(move || wal::read(&source, stored, &item, options, &silent)).await;
    let (seen, summary) = done.map_err(|panic| format!("a version could not be looked at: {panic}"))?;
    match seen.problem {
        None if summary.is_damaged() => Ok(None),
        None => Ok(summary.content),
        Some(problem) if problem.is_damage() => Ok(None),
        Some(problem) => Err(format!("a version could not be read: {problem}")),
    }
}
