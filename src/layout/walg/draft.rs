use crate::catalog::{BackupKind, BaseBackup, MissingPart, ObjectRef, Part, Producer, SidecarState, UnfinishedBackup};
use crate::layout::wale;
use crate::layout::{Answer, Sidecar};
use crate::model::{CodecKind, Known, Lsn, ObjectKey, ObjectRow, SegmentSize, Timestamp};

use super::keys::{BackupFile, BackupName};
use super::sidecar::{FilesMetadataData, MetadataData, SentinelData};

/// Everything seen of one backup while the listing runs.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub name: String,
    pub storage: u8,
    pub sentinel: Slot<SentinelData>,
    pub metadata: Slot<MetadataData>,
    pub files_metadata: Slot<FilesMetadataData>,
    pub extended_version: Slot<Option<u32>>,
    pub history: Slot<(Option<Lsn>, Option<Lsn>)>,
    parts: Vec<Part>,
    objects: u64,
    bytes: u64,
    newest: Timestamp,
    sample: Vec<ObjectKey>,
}

/// An object and, once it was read, what it says.
#[derive(Debug, Clone)]
pub(super) struct Slot<T> {
    pub object: Option<ObjectRef>,
    pub codec: CodecKind,
    pub content: Option<Result<T, Unreadable>>,
}

#[derive(Debug, Clone)]
pub(super) enum Unreadable {
    Broken(String),
    Unread(String),
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot { object: None, codec: CodecKind::None, content: None }
    }
}

impl<T> Slot<T> {
    pub fn put(&mut self, object: ObjectRef, codec: CodecKind) {
        if self.object.as_ref().is_none_or(|known| known.id != object.id) {
            *self = Slot { object: Some(object), codec, content: None };
        }
    }

    pub fn value(&self) -> Option<&T> {
        self.content.as_ref()?.as_ref().ok()
    }

    /// Listed, and not asked about yet.
    pub fn is_open(&self) -> bool {
        self.object.is_some() && self.content.is_none()
    }

    pub fn fill(&mut self, answer: Answer, pick: impl FnOnce(Sidecar) -> Option<T>) {
        self.content = match answer {
            Answer::Parsed(sidecar) => pick(sidecar).map(Ok),
            Answer::Broken(why) => Some(Err(Unreadable::Broken(why))),
            Answer::Unread { why, .. } => Some(Err(Unreadable::Unread(why))),
            Answer::Gone => {
                self.object = None;
                None
            }
        };
    }

    fn state(&self) -> Option<SidecarState> {
        let object = self.object.clone()?;
        Some(match &self.content {
            Some(Ok(_)) => SidecarState::Read(object),
            Some(Err(Unreadable::Broken(why))) => SidecarState::Broken(object, why.clone()),
            Some(Err(Unreadable::Unread(why))) => SidecarState::Unread(object, why.clone()),
            None => SidecarState::Unread(object, "not asked for".to_owned()),
        })
    }
}

impl Draft {
    pub fn new(name: &str, storage: u8) -> Self {
        Draft {
            name: name.to_owned(),
            storage,
            sentinel: Slot::default(),
            metadata: Slot::default(),
            files_metadata: Slot::default(),
            extended_version: Slot::default(),
            history: Slot::default(),
            parts: Vec::new(),
            objects: 0,
            bytes: 0,
            newest: Timestamp::MIN,
            sample: Vec::new(),
        }
    }

    pub fn name(&self) -> BackupName<'_> {
        BackupName::parse(self.name.as_bytes()).expect("a draft is only made for a parsed name")
    }

    /// A listed object of this backup; `None` is the sentinel itself.
    /// `again` is a second look at what may be known already.
    pub fn add(&mut self, file: Option<BackupFile<'_>>, row: &ObjectRow, again: bool) -> bool {
        let object = ObjectRef::new(row, self.storage);
        if again && self.knows(&object) {
            return false;
        }
        self.objects += 1;
        self.bytes += object.size;
        self.newest = self.newest.max(object.modified);
        if self.sample.len() < 5 {
            self.sample.push(object.key.clone());
        }
        match file {
            None => self.sentinel.put(object, CodecKind::None),
            Some(BackupFile::Metadata) => self.metadata.put(object, CodecKind::None),
            Some(BackupFile::FilesMetadata) => self.files_metadata.put(object, CodecKind::None),
            Some(BackupFile::ExtendedVersion) => self.extended_version.put(object, CodecKind::None),
            Some(BackupFile::Part(name, codec)) => {
                self.parts.push(Part { name: name.to_owned(), codec, object });
            }
            Some(BackupFile::Other) => {}
        }
        true
    }

    /// A second look lists again what is already here.
    fn knows(&self, object: &ObjectRef) -> bool {
        let slots =
            [&self.sentinel.object, &self.metadata.object, &self.files_metadata.object, &self.extended_version.object];
        slots
            .into_iter()
            .flatten()
            .chain(self.parts.iter().map(|part| &part.object))
            .any(|known| known.key == object.key && known.id == object.id)
    }

    /// wal-e's names carry an offset, its directories a version file; wal-g reads but never writes them.
    pub fn producer(&self) -> Producer {
        if self.name().offset.is_some() { Producer::WalE } else { Producer::WalG }
    }

    /// Start position as far as the sidecars tell, without the segment size.
    pub fn start_lsn(&self) -> Option<Lsn> {
        self.sentinel
            .value()
            .and_then(|data| data.start_lsn)
            .or_else(|| self.metadata.value().and_then(|data| data.start_lsn.map(Lsn)))
            .or_else(|| self.history.value().and_then(|(start, _)| *start))
    }

    fn finish_lsn(&self) -> Option<Lsn> {
        self.sentinel
            .value()
            .and_then(|data| data.finish_lsn)
            .or_else(|| self.metadata.value().and_then(|data| data.finish_lsn.map(Lsn)))
    }

    /// Whether the backup history file would tell something the sidecars do not.
    pub fn needs_history(&self) -> bool {
        self.sentinel.object.is_some()
            && (self.producer() == Producer::WalE || self.start_lsn().is_none() || self.finish_lsn().is_none())
    }

    pub fn unfinished(&self) -> UnfinishedBackup {
        UnfinishedBackup {
            name: self.name.clone(),
            producer: self.producer(),
            name_segment: self.name().segment,
            objects: self.objects,
            bytes: self.bytes,
            newest: self.newest,
            metadata: self.metadata.object.clone(),
            history_object: self.history.object.as_ref().map(|object| object.key.clone()),
            sample: self.sample.clone(),
        }
    }

    pub fn backup(&self, size: SegmentSize) -> BaseBackup {
        let name = self.name();
        let producer = self.producer();
        let empty = SentinelData::default();
        let data = self.sentinel.value().unwrap_or(&empty);
        let none = MetadataData::default();
        let summary = self.metadata.value().unwrap_or(&none);
        let (history_start, history_stop) = self.history.value().copied().unwrap_or_default();
        let silent = "neither the sentinel nor any file beside it says";
        let start_lsn = match self.start_lsn() {
            Some(lsn) => Known::Value(lsn),
            None if producer == Producer::WalE => wale::start_lsn(&name, size),
            None => Known::unknown(silent),
        };
        let finish_lsn = match self.finish_lsn() {
            Some(lsn) => Known::Value(lsn),
            None if data.stop_segment.is_some() => wale::stop_lsn(data, size),
            None => Known::from_option(history_stop, silent),
        };
        let start_lsn = if start_lsn.is_known() { start_lsn } else { Known::from_option(history_start, silent) };
        let kind = if name.parent.is_some() || data.delta_from.is_some() {
            BackupKind::Delta {
                parent: data.delta_from.clone(),
                full: data.delta_full.clone(),
                from_lsn: data.delta_lsn,
            }
        } else {
            BackupKind::Full
        };
        let uploaded = self.sentinel.object.as_ref().map(|object| object.modified);
        let finished = data.finished_at.or(summary.finish_time).or(uploaded);
        let permanent = match self.metadata.content {
            Some(Ok(_)) => summary.is_permanent.or(data.permanent),
            _ => data.permanent,
        };
        let version = data.pg_version.or(summary.pg_version);
        let version = version.or_else(|| self.extended_version.value().copied().flatten());
        let unpacked = data.uncompressed_size.or(summary.uncompressed_size).or(data.expanded_size);
        let mut backup = BaseBackup {
            name: self.name.clone(),
            producer,
            kind,
            name_segment: name.segment,
            start_lsn,
            finish_lsn,
            system_identifier: Known::from_option(data.system_identifier.or(summary.system_identifier), silent),
            pg_version: Known::from_option(version, silent),
            started_at: Known::from_option(data.started_at.or(summary.start_time), silent),
            finished_at: Known::from_option(finished, silent),
            permanent: match producer {
                Producer::WalE => Known::Value(false),
                Producer::WalG | Producer::Files => Known::from_option(permanent, silent),
            },
            user_data: data
                .user_data
                .clone()
                .or_else(|| summary.user_data.as_ref().filter(|v| !v.is_null()).map(ToString::to_string)),
            hostname: data.hostname.clone().or_else(|| summary.hostname.clone()),
            data_dir: data.data_dir.clone().or_else(|| summary.data_dir.clone()),
            tablespaces: data.tablespaces.clone(),
            stored_bytes: self.bytes,
            compressed_size: data.compressed_size.or(summary.compressed_size),
            uncompressed_size: Known::from_option(unpacked, silent),
            data_size: Known::from_option(data.data_size, "only local backups record it"),
            sentinel: self.sentinel.state().unwrap_or(SidecarState::NotExpected),
            metadata: SidecarState::NotExpected,
            files_metadata: SidecarState::NotExpected,
            parts: self.parts.clone(),
            missing_parts: Vec::new(),
            parts_known: Known::Value(()),
            history_object: self.history.object.as_ref().map(|object| object.key.clone()),
            series: None,
            subject: None,
            storage: self.storage,
        };
        backup.parts.sort_by(|a, b| a.name.cmp(&b.name));
        self.set_sidecars(&mut backup, data);
        self.set_parts(&mut backup, data);
        backup
    }

    fn set_sidecars(&self, backup: &mut BaseBackup, data: &SentinelData) {
        // Sentinels from version 2 on come with both files; an unreadable one promises nothing.
        let promised = backup.producer == Producer::WalG && data.version.is_some_and(|version| version >= 2);
        let key = |file: &str| ObjectKey::from(format!("basebackups_005/{}/{file}", self.name));
        let absent = |promised: bool, file: &str| {
            if promised { SidecarState::Missing(key(file)) } else { SidecarState::NotExpected }
        };
        backup.metadata = self.metadata.state().unwrap_or_else(|| absent(promised, "metadata.json"));
        let listed = promised && !data.files_metadata_disabled;
        backup.files_metadata = self.files_metadata.state().unwrap_or_else(|| absent(listed, "files_metadata.json"));
    }

    fn set_parts(&self, backup: &mut BaseBackup, data: &SentinelData) {
        let dir = format!("basebackups_005/{}/tar_partitions/", self.name);
        let missing = |name: &str, because: &str| MissingPart {
            key: ObjectKey::from(format!("{dir}{name}")),
            because: because.to_owned(),
        };
        let has = |name: &str| backup.parts.iter().any(|part| part.name == name);
        let extension = backup.parts.first().map_or(CodecKind::None, |part| part.codec).extension();
        let with_extension = |stem: &str| match extension {
            "" => stem.to_owned(),
            extension => format!("{stem}.{extension}"),
        };
        let has_stem =
            |stem: &str| backup.parts.iter().any(|part| CodecKind::split(part.name.as_bytes()).0 == stem.as_bytes());
        let mut gone = Vec::new();
        for part in backup.parts.iter().filter(|part| part.object.size == 0) {
            gone.push(missing(&part.name, "the object is empty"));
        }
        if backup.producer == Producer::WalE {
            self.wale_parts(&backup.parts, &mut gone, &missing);
            backup.parts_known = Known::unknown("wal-e keeps no list of tars; a missing last part cannot be seen");
            backup.missing_parts = gone;
            return;
        }
        if self.sentinel.value().is_none() {
            backup.parts_known = Known::unknown("the sentinel was not read");
        }
        let sets = self.files_metadata.value().and_then(|files| files.tar_sets.as_ref()).or(data.tar_sets.as_ref());
        if let Some(sets) = sets {
            for name in sets.iter().filter(|name| !has(name)) {
                gone.push(missing(name, "the file sets name it"));
            }
        } else {
            let why = match &self.files_metadata.content {
                Some(Ok(_)) => "a streamed backup lists no tars".to_owned(),
                Some(Err(Unreadable::Broken(why))) => format!("files_metadata.json {why}"),
                Some(Err(Unreadable::Unread(why))) => format!("files_metadata.json was not read: {why}"),
                None if data.files_metadata_disabled => "made without files metadata, which lists the tars".to_owned(),
                None => "there is no files_metadata.json to list the tars".to_owned(),
            };
            if backup.parts_known.is_known() {
                backup.parts_known = Known::Unknown(why);
            }
            // Local backups put the label into a tar of its own; only they record the data directory's size.
            if self.sentinel.value().is_some() && data.data_size.is_some() && !has_stem("backup_label.tar") {
                gone.push(missing(&with_extension("backup_label.tar"), "every local backup has it"));
            }
        }
        if !has_stem("pg_control.tar") {
            gone.push(missing(&with_extension("pg_control.tar"), "every backup has it"));
        }
        if gone.is_empty()
            && let Some(claimed) = backup.compressed_size
        {
            // Tars copied from the backup before are not in the sum.
            let fresh = backup.parts.iter().filter(|part| !part.name.starts_with("copy_"));
            let stored: u64 = fresh.map(|part| part.object.size).sum();
            if stored < claimed {
                let because = format!("the parts sum to {stored} bytes, the sentinel counted at least {claimed}");
                gone.push(MissingPart { key: ObjectKey::from(dir.clone()), because });
            }
        }
        backup.missing_parts = gone;
    }

    /// wal-e numbers its tars from 0 without gaps.
    fn wale_parts(&self, parts: &[Part], gone: &mut Vec<MissingPart>, missing: &dyn Fn(&str, &str) -> MissingPart) {
        let number = |part: &Part| part.name.strip_prefix("part_")?.get(..8)?.parse::<u32>().ok();
        let mut numbers: Vec<u32> = parts.iter().filter_map(number).collect();
        numbers.sort_unstable();
        let mut next = 0;
        for number in numbers {
            if number > next {
                let count = number - next;
                gone.push(missing(
                    &format!("part_{next:08}.tar.lzo"),
                    &format!("{count} numbers are left out before {number}"),
                ));
            }
            next = number.saturating_add(1);
        }
        if next == 0 {
            gone.push(missing("part_00000000.tar.lzo", "no tar at all is there"));
        }
    }
}
