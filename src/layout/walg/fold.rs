use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{
    Archive, BaseBackup, FirstPage, HistoryFile, HistoryState, LayoutKind, ObjectRef, PartialSegment, Producer,
    SegmentRow, SegmentSet, SidecarState, Strays, TimelineGraph,
};
use crate::layout::{Answer, Layout, Purpose, Sidecar, Wanted};
use crate::model::{
    CodecKind, HistoryProblem, Known, ObjectKey, ObjectRow, SegmentName, TimelineHistory, TimelineId, WalFileName,
};

use super::draft::Draft;
use super::identity;
use super::keys::{self, Key};

/// The fold over an archive that wal-g, wal-e, or first one and then the other wrote.
#[derive(Debug, Default)]
pub struct WalGLayout {
    root: ObjectKey,
    drafts: BTreeMap<(String, u8), Draft>,
    segments: SegmentSet,
    partials: Vec<PartialSegment>,
    histories: BTreeMap<TimelineId, Vec<History>>,
    backup_histories: BTreeMap<SegmentName, Vec<(u32, ObjectRef, CodecKind)>>,
    pages: BTreeMap<SegmentName, Known<FirstPage>>,
    strays: Strays,
    objects: u64,
    bytes: u64,
    codecs: BTreeMap<CodecKind, u64>,
    key_missing: Option<ObjectKey>,
    /// A second look: rows may be known already.
    again: bool,
    /// First pages have been chosen for what is known so far.
    pages_asked: BTreeSet<SegmentName>,
}

#[derive(Debug)]
struct History {
    object: ObjectRef,
    codec: CodecKind,
    content: Option<Result<Result<TimelineHistory, HistoryProblem>, HistoryState>>,
}

/// Above these, an object is not what its name says or costs more than it tells.
const SENTINEL_BYTES_MAX: u64 = 256 << 20;
const METADATA_BYTES_MAX: u64 = 16 << 20;
const FILES_METADATA_BYTES_MAX: u64 = 4 << 30;

impl WalGLayout {
    /// An empty archive that begins at `root`.
    pub fn new(root: ObjectKey) -> Self {
        WalGLayout { root, ..Default::default() }
    }

    fn draft(&mut self, name: &str, storage: u8) -> &mut Draft {
        self.drafts.entry((name.to_owned(), storage)).or_insert_with(|| Draft::new(name, storage))
    }

    fn push_wal(&mut self, file: WalFileName, codec: CodecKind, row: &ObjectRow, storage: u8) -> bool {
        match file {
            WalFileName::Segment(name) => {
                let same = |known: &SegmentRow| known.codec == codec && known.storage == storage;
                if self.again && self.segments.at(name).iter().any(same) {
                    return false;
                }
                *self.codecs.entry(codec).or_default() += 1;
                self.segments.push(SegmentRow::new(name, codec, row, storage));
                true
            }
            WalFileName::Partial(name) => {
                let object = ObjectRef::new(row, storage);
                let new = !self.partials.iter().any(|known| self.again && known.object.key == object.key);
                if new {
                    self.partials.push(PartialSegment { name, object });
                }
                new
            }
            WalFileName::History(timeline) => {
                let object = ObjectRef::new(row, storage);
                let known = self.histories.entry(timeline).or_default();
                let new =
                    !known.iter().any(|history| history.object.key == object.key && history.object.storage == storage);
                if new {
                    known.push(History { object, codec, content: None });
                }
                new
            }
            WalFileName::BackupHistory { segment, offset } => {
                let known = self.backup_histories.entry(segment).or_default();
                let new = !known.iter().any(|(other, ..)| *other == offset);
                if new {
                    known.push((offset, ObjectRef::new(row, storage), codec));
                }
                new
            }
        }
    }

    /// Gives each backup the history file that the server archived for it: same segment, same start offset.
    fn join_backup_histories(&mut self) {
        for draft in self.drafts.values_mut() {
            let Some(files) = self.backup_histories.get(&draft.name().segment) else { continue };
            let low = draft.start_lsn().map(|lsn| lsn.0 as u32);
            // Without knowing the segment size, only the bits below the smallest size can be compared.
            let fits = |offset: u32| low.is_none_or(|low| (low ^ offset) & 0xF_FFFF == 0);
            let found =
                files.iter().find(|(offset, ..)| fits(*offset)).or(if files.len() == 1 { files.first() } else { None });
            if let Some((_, object, codec)) = found {
                draft.history.put(object.clone(), *codec);
            }
        }
    }

    fn text_wanted(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut ask = |object: &ObjectRef, purpose, codec, bytes_max| {
            wanted.push(Wanted {
                key: object.key.clone(),
                storage: object.storage,
                purpose,
                codec,
                bytes_max,
                size: object.size,
            });
        };
        for draft in self.drafts.values() {
            let slots = [
                (&draft.sentinel.object, draft.sentinel.is_open(), Purpose::Sentinel, SENTINEL_BYTES_MAX),
                (&draft.metadata.object, draft.metadata.is_open(), Purpose::Metadata, METADATA_BYTES_MAX),
                (
                    &draft.files_metadata.object,
                    draft.files_metadata.is_open(),
                    Purpose::FilesMetadata,
                    FILES_METADATA_BYTES_MAX,
                ),
                (&draft.extended_version.object, draft.extended_version.is_open(), Purpose::ExtendedVersion, 4096),
            ];
            // Without a sentinel only the summary may still tell something.
            let has_sentinel = draft.sentinel.object.is_some();
            for (object, open, purpose, bytes_max) in slots {
                if let Some(object) = object
                    && open
                    && (has_sentinel || purpose == Purpose::Metadata)
                {
                    ask(object, purpose, None, bytes_max);
                }
            }
        }
        for (timeline, files) in &self.histories {
            for file in files.iter().filter(|file| file.content.is_none()) {
                let bytes_max = TimelineHistory::BYTES_MAX as u64 + 1;
                ask(&file.object, Purpose::History(*timeline), Some(file.codec), bytes_max);
            }
        }
        wanted
    }

    fn page_wanted(&mut self) -> Vec<Wanted> {
        let backups = self.backups();
        let (size, _) = identity::segment_size(&backups, &self.segments, &self.pages);
        self.segments.seal(size);
        let mut wanted = Vec::new();
        for name in identity::pages_to_read(&backups, &self.segments, size) {
            if !self.pages_asked.insert(name) {
                continue;
            }
            let Some(row) = self.segments.at(name).iter().find(|row| row.is_plausible(size)) else { continue };
            wanted.push(Wanted {
                key: crate::catalog::segment_key(name, row.codec),
                storage: row.storage,
                purpose: Purpose::FirstPage(name),
                codec: Some(row.codec),
                bytes_max: 64 << 10,
                size: row.size,
            });
        }
        wanted
    }

    fn backups(&self) -> Vec<BaseBackup> {
        // The size only matters for positions that are derived from it, which the size itself is not found by.
        let size = crate::model::SegmentSize::DEFAULT;
        self.drafts.values().filter(|draft| draft.sentinel.object.is_some()).map(|draft| draft.backup(size)).collect()
    }

    fn history_states(&self) -> (BTreeMap<TimelineId, HistoryFile>, BTreeMap<TimelineId, HistoryState>) {
        let mut files = BTreeMap::new();
        let mut states = BTreeMap::new();
        for (timeline, histories) in &self.histories {
            let mut found: Vec<HistoryState> = histories
                .iter()
                .map(|history| match &history.content {
                    Some(Ok(Ok(history))) => HistoryState::Known(history.clone()),
                    Some(Ok(Err(problem))) => HistoryState::Malformed(problem.clone()),
                    Some(Err(state)) => state.clone(),
                    None => HistoryState::Unread("not asked for".to_owned()),
                })
                .collect();
            if found.is_empty() {
                continue;
            }
            let entries = |state: &HistoryState| match state {
                HistoryState::Known(history) => {
                    Some(history.entries.iter().map(|entry| (entry.parent, entry.switch)).collect::<Vec<_>>())
                }
                _ => None,
            };
            let known: Vec<_> = found.iter().filter_map(entries).collect();
            let conflicting = known.windows(2).any(|pair| pair[0] != pair[1]);
            let best = found.iter().position(|state| matches!(state, HistoryState::Known(_))).unwrap_or(0);
            let state = found.swap_remove(best);
            states.insert(*timeline, state.clone());
            let objects = histories.iter().map(|history| history.object.clone()).collect();
            files.insert(*timeline, HistoryFile { objects, state, conflicting });
        }
        (files, states)
    }
}

impl Layout for WalGLayout {
    fn push(&mut self, row: ObjectRow, storage: u8) -> bool {
        if !self.again {
            self.objects += 1;
            self.bytes += row.size;
        }
        let key = row.key.clone();
        match keys::parse(key.as_bytes()) {
            Key::Wal(file, codec) => self.push_wal(file, codec, &row, storage),
            Key::Sentinel(name) => {
                let again = self.again;
                self.draft(name.text, storage).add(None, &row, again)
            }
            Key::InBackup(name, file) => {
                let again = self.again;
                self.draft(name.text, storage).add(Some(file), &row, again)
            }
            Key::WalHelper | Key::Catchup => false,
            Key::Stray if !self.again => {
                self.strays.add(&key, row.size);
                true
            }
            Key::Stray => false,
        }
    }

    fn wanted(&mut self) -> Vec<Wanted> {
        let text = self.text_wanted();
        if !text.is_empty() {
            return text;
        }
        self.join_backup_histories();
        let histories: Vec<Wanted> = self
            .drafts
            .values()
            .filter(|draft| draft.history.is_open() && draft.needs_history())
            .filter_map(|draft| {
                let object = draft.history.object.as_ref()?;
                Some(Wanted {
                    key: object.key.clone(),
                    storage: object.storage,
                    purpose: Purpose::BackupHistory,
                    codec: Some(draft.history.codec),
                    bytes_max: 64 << 10,
                    size: object.size,
                })
            })
            .collect();
        if !histories.is_empty() {
            return histories;
        }
        self.page_wanted()
    }

    fn answer(&mut self, wanted: &Wanted, answer: Answer) {
        if let Answer::Unread { key_missing: true, .. } = &answer
            && self.key_missing.is_none()
        {
            self.key_missing = Some(wanted.key.clone());
        }
        match wanted.purpose {
            Purpose::History(timeline) => {
                let files = self.histories.entry(timeline).or_default();
                if answer == Answer::Gone {
                    files.retain(|file| file.object.key != wanted.key || file.object.storage != wanted.storage);
                    return;
                }
                let same = |file: &&mut History| file.object.key == wanted.key && file.object.storage == wanted.storage;
                if let Some(file) = files.iter_mut().find(same) {
                    file.content = Some(match answer {
                        Answer::Parsed(Sidecar::History(content)) => Ok(content),
                        Answer::Broken(_) => Ok(Err(HistoryProblem::Empty)),
                        Answer::Unread { why, .. } => Err(HistoryState::Unread(why)),
                        Answer::Parsed(_) | Answer::Gone => Err(HistoryState::Missing),
                    });
                }
            }
            Purpose::FirstPage(name) => match answer {
                Answer::Parsed(Sidecar::FirstPage(page)) => {
                    self.pages.insert(name, Known::Value(page));
                }
                Answer::Broken(why) => {
                    self.pages.insert(name, Known::Unknown(why));
                }
                Answer::Unread { why, .. } => {
                    self.pages.insert(name, Known::Unknown(why));
                }
                Answer::Parsed(_) | Answer::Gone => {}
            },
            Purpose::BackupHistory => {
                let same = |object: &Option<ObjectRef>| object.as_ref().is_some_and(|object| object.key == wanted.key);
                for draft in self.drafts.values_mut().filter(|draft| same(&draft.history.object)) {
                    draft.history.fill(answer.clone(), |sidecar| match sidecar {
                        Sidecar::BackupHistory(start, stop) => Some((start, stop)),
                        _ => None,
                    });
                }
            }
            _ => {
                let name = match keys::parse(wanted.key.as_bytes()) {
                    Key::Sentinel(name) | Key::InBackup(name, _) => name.text.to_owned(),
                    _ => return,
                };
                let Some(draft) = self.drafts.get_mut(&(name, wanted.storage)) else { return };
                match wanted.purpose {
                    Purpose::Sentinel => draft.sentinel.fill(answer, |sidecar| match sidecar {
                        Sidecar::Sentinel(data) => Some(*data),
                        _ => None,
                    }),
                    Purpose::Metadata => draft.metadata.fill(answer, |sidecar| match sidecar {
                        Sidecar::Metadata(data) => Some(*data),
                        _ => None,
                    }),
                    Purpose::FilesMetadata => draft.files_metadata.fill(answer, |sidecar| match sidecar {
                        Sidecar::FilesMetadata(data) => Some(data),
                        _ => None,
                    }),
                    Purpose::ExtendedVersion => draft.extended_version.fill(answer, |sidecar| match sidecar {
                        Sidecar::ExtendedVersion(version) => Some(version),
                        _ => None,
                    }),
                    _ => {}
                }
            }
        }
    }

    fn finish(&mut self) -> Archive {
        self.join_backup_histories();
        let (segment_size, size_source) = identity::segment_size(&self.backups(), &self.segments, &self.pages);
        let mut wal = std::mem::take(&mut self.segments);
        wal.seal(segment_size);
        let sentinels = self.drafts.values().filter(|draft| draft.sentinel.object.is_some());
        let mut backups: Vec<BaseBackup> = sentinels.map(|draft| draft.backup(segment_size)).collect();
        backups.sort_by(|a, b| {
            let key = |backup: &BaseBackup| (backup.finished_at.copied(), backup.name_segment.position());
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        // Several storages may hold the same backup: the first wins, as in wal-g.
        let mut seen = BTreeSet::new();
        let mut order: Vec<usize> = (0..backups.len()).collect();
        order.sort_by_key(|at| backups[*at].storage);
        let kept: BTreeSet<usize> = order.into_iter().filter(|at| seen.insert(backups[*at].name.clone())).collect();
        let mut at = 0;
        backups.retain(|_| {
            at += 1;
            kept.contains(&(at - 1))
        });
        identity::fill_from_pages(&mut backups, &self.pages, segment_size);
        let unfinished: Vec<_> = self
            .drafts
            .values()
            .filter(|draft| draft.sentinel.object.is_none() && !seen.contains(&draft.name))
            .map(Draft::unfinished)
            .collect();
        let (histories, states) = self.history_states();
        let timelines: BTreeSet<TimelineId> = wal
            .timelines()
            .chain(backups.iter().map(BaseBackup::timeline))
            .chain(self.partials.iter().map(|partial| partial.name.timeline))
            .collect();
        let latest = backups
            .iter()
            .filter(|backup| !matches!(backup.sentinel, SidecarState::NotExpected))
            .max_by_key(|backup| backup.sentinel_modified())
            .map(|backup| backup.name.clone());
        let (incarnations, clusters) = identity::incarnations(&backups, &wal, &self.pages, segment_size);
        let copied = identity::is_copied(&backups);
        let all_wale = !backups.is_empty() && backups.iter().all(|backup| backup.producer == Producer::WalE);
        let only_lzop = self.codecs.keys().all(|codec| *codec == CodecKind::Lzop);
        let unfinished_wale = !unfinished.is_empty() && unfinished.iter().all(|b| b.producer == Producer::WalE);
        let wale = only_lzop && (all_wale || (backups.is_empty() && unfinished_wale));
        Archive {
            layout: if wale { LayoutKind::WalE } else { LayoutKind::WalG },
            root: self.root.clone(),
            segment_size,
            size_source,
            wal,
            partials: self.partials.clone(),
            histories,
            timelines: TimelineGraph::new(timelines, states),
            backups,
            unfinished,
            first_pages: self.pages.clone(),
            incarnations,
            clusters,
            strays: self.strays.clone(),
            objects: self.objects,
            bytes: self.bytes,
            latest,
            codecs: self.codecs.clone(),
            key_missing: self.key_missing.clone(),
            copied,
        }
    }

    fn reopen(&mut self, archive: Archive) {
        self.segments = archive.wal;
        self.again = true;
    }

    fn forget(&mut self, backup: &str, storage: u8) {
        self.drafts.remove(&(backup.to_owned(), storage));
    }
}
