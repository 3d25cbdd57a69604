//! What a restore will do, worked out from the catalog alone: which backups, which tars, how many bytes, and why not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use crate::catalog::{Archive, BackupKind, BaseBackup, ObjectRef, Part, Producer, SidecarState};
use crate::model::{Known, Lsn, SegmentName, SegmentSize, TimelineId};

/// What somebody wants restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// A backup's name, `latest` (the one the tool itself calls so) or `oldest`.
    pub backup: String,
    /// Directories for tablespaces by OID; the others get one beside the data directory.
    pub tablespaces: BTreeMap<String, PathBuf>,
}

/// One backup of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub backup: String,
    /// Who wrote it.
    pub producer: Producer,
    /// Tars with data, in any order.
    pub parts: Vec<Part>,
    /// `backup_label.tar`, where the tool wrote one. Only the target's counts.
    pub label: Option<Part>,
    /// There is no such tar: the backup was streamed by the server, or is wal-e's.
    pub has_no_label: bool,
    /// `pg_control.tar`, likewise.
    pub control: Option<Part>,
    /// The list of files; `None` takes everything that the tars hold.
    pub files: Option<ObjectRef>,
    /// Where the list may be otherwise: old sentinels held it themselves.
    pub sentinel: Option<ObjectRef>,
}

/// A tablespace and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Its OID, the name below `pg_tblspc`.
    pub oid: String,
    /// Where it was on the source host.
    pub from: String,
    /// Where it goes; beside the data directory when nobody said.
    pub to: Option<PathBuf>,
}

/// Everything a restore needs to know before the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The backup to restore.
    pub backup: String,
    /// Its chain, the full backup first.
    pub steps: Vec<Step>,
    /// Tablespaces outside the data directory.
    pub tablespaces: Vec<Space>,
    /// Bytes that the restored files take.
    pub data_bytes: Known<u64>,
    /// Bytes of WAL that the server needs to become consistent.
    pub wal_bytes: u64,
    /// Bytes to fetch.
    pub stored_bytes: u64,
    /// PostgreSQL's major version.
    pub pg_major: Option<u32>,
    /// The cluster.
    pub system_identifier: Option<u64>,
    /// The timeline the backup was taken on.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub start_lsn: Option<Lsn>,
    /// From where on it is consistent.
    pub finish_lsn: Option<Lsn>,
    /// First and last segment that replay needs for that.
    pub segments: Option<(SegmentName, SegmentName)>,
    /// Of the archive.
    pub segment_size: SegmentSize,
    /// What whoever restores should know.
    pub notes: Vec<String>,
}

/// Why a backup cannot be restored, known before anything is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The archive has no such backup.
    NoSuchBackup(String),
    /// A tablespace that the backup does not have, or an address that is none.
    BadTablespace(String),
    /// Something the backup needs is not there, or not what it should be.
    Defect(String),
    /// It is there but cannot be read as things are.
    Unreadable(String),
}

impl Refusal {
    /// Whether the archive is at fault, and not whoever asked.
    pub fn is_defect(&self) -> bool {
        matches!(self, Refusal::Defect(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refusal::NoSuchBackup(why)
        | Refusal::BadTablespace(why)
        | Refusal::Defect(why)
        | Refusal::Unreadable(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Refusal {}

/// Longest chain that is followed; tools are told to stop after a handful.
const CHAIN_MAX: usize = 10_000;

impl Plan {
    /// Works out how to restore a backup.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub fn of(archive: &Archive, request: &Request) -> Result<Plan, Refusal> {
        let target = find(archive, &request.backup)?;
        let chain = chain(archive, target)?;
        let mut steps = Vec::with_capacity(chain.len());
        let mut notes = Vec::new();
        for (at, backup) in chain.iter().enumerate() {
            steps.push(step(backup, at + 1 == chain.len(), chain.len() > 1, &mut notes)?);
        }
        let stored_bytes = steps.iter().flat_map(Step::objects).map(|part| part.object.size).sum();
        let size = archive.segment_size;
        let segments = target.start_segment(size).map(|first| {
            let last = target.stop_segment(size).unwrap_or(first);
            (first, last)
        });
        Ok(Plan {
            backup: target.name.clone(),
            tablespaces: tablespaces(target, request)?,
            data_bytes: data_bytes(&chain),
            wal_bytes: segments.map_or(0, |(first, last)| {
                last.0.saturating_sub(first.0).saturating_add(1).saturating_mul(size.bytes())
            }),
            stored_bytes,
            pg_major: target.pg_major().or_else(|| archive.pg_major()),
            system_identifier: target.system_identifier.copied(),
            timeline: target.timeline(),
            start_lsn: target.start_lsn.copied(),
            finish_lsn: target.finish_lsn.copied(),
            segments: segments
                .map(|(first, last)| (first.name(target.timeline(), size), last.name(target.timeline(), size))),
            segment_size: size,
            steps,
            notes,
        })
    }

    /// Changes when any object that it rests on does: an interrupted attempt may only go on with the same ones.
    pub fn fingerprint(&self) -> crate::model::ObjectId {
        let mut text = String::new();
        for step in &self.steps {
            for part in step.objects() {
                text += &format!("{}\0{}\0{}\0{}\n", step.backup, part.name, part.object.id, part.object.size);
            }
        }
        crate::model::ObjectId::digest(&[text.as_bytes()])
    }

    /// The target's own step.
    pub fn last(&self) -> Option<&Step> {
        self.steps.last()
    }
}

impl Step {
    /// Its tars, label and control file last.
    pub fn objects(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().chain(&self.label).chain(&self.control)
    }
}

fn find<'a>(archive: &'a Archive, name: &str) -> Result<&'a BaseBackup, Refusal> {
    let none = |why: String| Err(Refusal::NoSuchBackup(why));
    let found = match name.to_ascii_lowercase().as_str() {
        "latest" => archive.latest.as_deref().and_then(|latest| archive.backup(latest)),
        "oldest" => archive.backups.first(),
        _ => archive.backup(name),
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if archive.backups.is_empty() {
        return none("the archive holds no backup".to_owned());
    }
    if let Some(unfinished) = archive.unfinished.iter().find(|unfinished| unfinished.name == name) {
        return none(format!(
            "{name} has {} objects but no sentinel: it never ended, or is being taken",
            unfinished.objects
        ));
    }
    let mut names: Vec<&str> = archive.backups.iter().rev().map(|backup| backup.name.as_str()).collect();
    names.truncate(5);
    none(format!("there is no backup {name}; the newest are {}", names.join(", ")))
}

/// From the full backup to the target.
fn chain<'a>(archive: &'a Archive, target: &'a BaseBackup) -> Result<Vec<&'a BaseBackup>, Refusal> {
    let defect = |why: String| Err(Refusal::Defect(why));
    let mut chain = vec![target];
    let mut seen = BTreeSet::from([target.name.as_str()]);
    let mut at = target;
    while let BackupKind::Delta { parent, .. } = &at.kind {
        let Some(name) = parent.as_deref() else {
            return defect(format!("{} is a delta whose sentinel does not name its parent", at.name));
        };
        let Some(parent) = archive.backup(name) else {
            return defect(format!("{} needs its parent {name}, which is not there", at.name));
        };
        if !seen.insert(&parent.name) || chain.len() >= CHAIN_MAX {
            return defect(format!("{} is its own ancestor: parents go round in a circle at {name}", target.name));
        }
        if let (Some(ours), Some(theirs)) = (at.system_identifier.copied(), parent.system_identifier.copied())
            && ours != theirs
        {
            return defect(format!("{} is of system {ours}, its parent {name} of system {theirs}", at.name));
        }
        chain.push(parent);
        at = parent;
    }
    chain.reverse();
    Ok(chain)
}

fn step(backup: &BaseBackup, is_target: bool, in_chain: bool, notes: &mut Vec<String>) -> Result<Step, Refusal> {
    let name = &backup.name;
    if let SidecarState::Broken(object, why) = &backup.sentinel {
        return Err(Refusal::Defect(format!("{name}: its sentinel {} {why}", object.key)));
    }
    if let Some(first) = backup.missing_parts.first() {
        let more = backup.missing_parts.len() - 1;
        let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
        return Err(Refusal::Defect(format!("{name}: {} is missing{rest} ({})", first.key, first.because)));
    }
    let sleeping = |object: &ObjectRef| !object.class.readable_at_once();
    let archived: Vec<&ObjectRef> = backup.parts.iter().map(|part| &part.object).filter(|o| sleeping(o)).collect();
    if let Some(first) = archived.first() {
        return Err(Refusal::Unreadable(format!(
            "{name}: {} of {} tars lie in {}, where reading is refused until they are restored from it, e.g. {}",
            archived.len(),
            backup.parts.len(),
            first.class.name(),
            first.key
        )));
    }
    let files = match &backup.files_metadata {
        SidecarState::Read(object) | SidecarState::Unread(object, _) => Some(object.clone()),
        SidecarState::Broken(object, why) => {
            return Err(Refusal::Defect(format!("{name}: its list of files {} {why}", object.key)));
        }
        SidecarState::Missing(key) if in_chain => {
            return Err(Refusal::Defect(format!("{name}: its list of files {key} is missing, a chain needs it")));
        }
        SidecarState::Missing(key) => {
            notes.push(format!("{key} is missing: everything that the tars hold is restored"));
            None
        }
        SidecarState::NotExpected => None,
    };
    // Before the lists had files of their own, sentinels held them.
    let may_hold = files.is_none() && backup.producer == Producer::WalG;
    let sentinel = backup
        .sentinel
        .object()
        .filter(|_| may_hold && !matches!(backup.files_metadata, SidecarState::Missing(_)))
        .cloned();
    let is = |part: &Part, stem: &str| part.name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".tar"));
    let special = |stem: &str| backup.parts.iter().find(|part| is(part, stem)).filter(|_| is_target).cloned();
    let parts: Vec<Part> =
        backup.parts.iter().filter(|part| !is(part, "pg_control") && !is(part, "backup_label")).cloned().collect();
    // A delta of a server that stood still may have nothing but its label.
    if parts.is_empty() && !backup.kind.is_delta() {
        return Err(Refusal::Defect(format!("{name}: there is no tar with data")));
    }
    Ok(Step {
        backup: name.clone(),
        producer: backup.producer,
        parts,
        label: special("backup_label"),
        has_no_label: !backup.parts.iter().any(|part| is(part, "backup_label")),
        control: special("pg_control"),
        files,
        sentinel,
    })
}

/// The size of the data directory as the tool recorded it, else the sum of what the chain holds.
fn data_bytes(chain: &[&BaseBackup]) -> Known<u64> {
    if let Some(bytes) = chain.last().and_then(|target| target.data_size.copied()) {
        return Known::Value(bytes);
    }
    let mut sum = 0_u64;
    for backup in chain {
        match &backup.uncompressed_size {
            Known::Value(bytes) => sum = sum.saturating_add(*bytes),
            Known::Unknown(why) => return Known::unknown(format!("{}: {why}", backup.name)),
        }
    }
    Known::Value(sum)
}

fn tablespaces(target: &BaseBackup, request: &Request) -> Result<Vec<Space>, Refusal> {
    let mut spaces = Vec::new();
    for space in &target.tablespaces {
        if space.oid.is_empty() || space.oid.len() > 10 || !space.oid.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::Defect(format!(
                "{}: its sentinel names a tablespace {:?}, which is no OID",
                target.name, space.oid
            )));
        }
        let to = request.tablespaces.get(&space.oid).cloned();
        spaces.push(Space { oid: space.oid.clone(), from: space.location.clone(), to });
    }
    let known: BTreeSet<&str> = target.tablespaces.iter().map(|space| space.oid.as_str()).collect();
    if let Some(unknown) = request.tablespaces.keys().find(|oid| !known.contains(oid.as_str())) {
        let names: Vec<String> = spaces.iter().map(|space| format!("{} ({})", space.oid, space.from)).collect();
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Refusal::BadTablespace(format!("{} has no tablespace {unknown}; it has {has}", target.name)));
    }
    let mut taken = BTreeSet::new();
    for to in spaces.iter().filter_map(|space| space.to.as_ref()) {
        if !to.is_absolute() {
            return Err(Refusal::BadTablespace(format!("{}: a tablespace needs an absolute path", to.display())));
        }
        if !taken.insert(to) {
            return Err(Refusal::BadTablespace(format!("{}: two tablespaces cannot share it", to.display())));
        }
    }
    Ok(spaces)
}
