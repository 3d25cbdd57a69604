//! One file of WAL out of the archive into a private file, decoded and checked.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::catalog::Archive;
use crate::codec::Limits;
use crate::fetch::{Problem, Source};
use crate::model::{CodecKind, Lsn, ObjectKey, SegmentName, SegmentSize, TimelineHistory, WalFileName};
use crate::run::Cancel;
use crate::store::ReadOptions;
use crate::wal::header::{BLOCK_BYTES_DEFAULT, LongHeader};

/// An object that may hold the file that is wanted.
#[derive(Debug, Clone)]
struct Copy {
    storage: u8,
    key: ObjectKey,
    codec: CodecKind,
}

/// What the model knows of one file: where its copies lie and what it has to look like.
#[derive(Debug, Clone)]
pub struct Wanted {
    name: String,
    copies: Vec<Copy>,
    /// A segment: its start, size and the cluster that wrote it.
    segment: Option<(Lsn, SegmentSize, Option<u64>)>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// It is in this file, so many bytes.
    Here(PathBuf, u64),
    /// The archive has no such file.
    Missing,
    /// Every copy is damaged: the first one's key and what is wrong with it.
    Damaged(String, String),
    /// The store, a key or this machine is at fault.
    Failed(String),
}

impl Wanted {
    /// What the listing has under a name that PostgreSQL asks for. Names that it never asks for have no copies.
    pub fn of(archive: &Archive, name: &str) -> Self {
        let mut wanted = Wanted { name: name.to_owned(), copies: Vec::new(), segment: None };
        match WalFileName::parse(name.as_bytes()) {
            Some(WalFileName::Segment(segment)) => wanted.find_segment(archive, segment),
            Some(WalFileName::History(timeline)) => {
                let objects = archive.histories.get(&timeline).map(|file| file.objects.as_slice()).unwrap_or_default();
                wanted.copies = objects
                    .iter()
                    .map(|object| Copy {
                        storage: object.storage,
                        key: object.key.clone(),
                        codec: CodecKind::split(object.key.as_bytes()).1,
                    })
                    .collect();
            }
            _ => {}
        }
        wanted
    }

    fn find_segment(&mut self, archive: &Archive, name: SegmentName) {
        let size = archive.segment_size;
        let Some(number) = name.number(size) else { return };
        let system = archive.incarnation(number).and_then(|incarnation| incarnation.system_identifier.copied());
        self.segment = Some((number.start(size), size, system));
        self.copies = archive
            .wal
            .at(name)
            .iter()
            .map(|row| Copy { storage: row.storage, key: archive.segment_key(row), codec: row.codec })
            .collect();
    }

    /// Whether the archive has it at all.
    pub fn exists(&self) -> bool {
        !self.copies.is_empty()
    }

    /// Fetches the first whole copy into a new file of a directory.
    pub async fn pull(&self, source: &Source, dir: &Path, cancel: &Cancel) -> Pulled {
        let mut damage: Option<(String, String)> = None;
        for (at, copy) in self.copies.iter().enumerate() {
            let path = dir.join(format!("{}.{at}", self.name));
            match self.pull_copy(source, copy, &path, cancel).await {
                Ok(bytes) => return Pulled::Here(path, bytes),
                Err(problem) => {
                    let _ = std::fs::remove_file(&path);
                    let key = copy.key.to_string();
                    match problem {
                        Problem::Damaged(_) | Problem::TooLarge(_) | Problem::WrongKey(_) | Problem::Other(_) => {
                            damage.get_or_insert((key, problem.to_string()));
                        }
                        Problem::Gone => {}
                        other => return Pulled::Failed(format!("{key}: {other}")),
                    }
                }
            }
        }
        match damage {
            Some((key, why)) => Pulled::Damaged(key, why),
            None => Pulled::Missing,
        }
    }

    async fn pull_copy(&self, source: &Source, copy: &Copy, path: &Path, cancel: &Cancel) -> Result<u64, Problem> {
        let stored = source.get(copy.storage, &copy.key, ReadOptions::default(), cancel).await?;
        let (source, codec, path, segment) = (source.clone(), copy.codec, path.to_owned(), self.segment);
        let written = tokio::task::spawn_blocking(move || {
            let bytes_max = segment.map_or(TimelineHistory::BYTES_MAX as u64, |(_, size, _)| size.bytes());
            let mut opened = source.open(codec, Box::new(stored.reader), &Limits::decoded(bytes_max))?;
            write_checked(&mut opened.reader, &path, segment)
        });
        written.await.unwrap_or_else(|error| Err(Problem::Other(error.to_string())))
    }
}

fn write_checked(
    reader: &mut dyn Read,
    path: &Path,
    segment: Option<(Lsn, SegmentSize, Option<u64>)>,
) -> Result<u64, Problem> {
    let local = |error: std::io::Error| Problem::Refused(format!("{}: {error}", path.display()));
    let mut file = File::create(path).map_err(local)?;
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    let mut total = 0u64;
    let mut checked = segment.is_none();
    loop {
        let length = match reader.read(&mut buffer[filled..]) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Problem::of_io(&error)),
        };
        filled += length;
        if length > 0 && filled < buffer.len() {
            continue;
        }
        if let (false, Some(segment)) = (checked, segment) {
            check_header(&buffer[..filled], segment)?;
            checked = true;
        }
        file.write_all(&buffer[..filled]).map_err(local)?;
        total += filled as u64;
        filled = 0;
        if length == 0 {
            break;
        }
    }
    match segment {
        Some((_, size, _)) if total != size.bytes() => {
            Err(Problem::Other(format!("{total} bytes instead of the {} of a segment", size.bytes())))
        }
        _ => Ok(total),
    }
}

/// PostgreSQL takes a segment that is another one for the end of the archive, and promotes.
fn check_header(bytes: &[u8], (start, size, system): (Lsn, SegmentSize, Option<u64>)) -> Result<(), Problem> {
    let wrong = |what: String| Err(Problem::Other(what));
    let Some(header) = LongHeader::parse(bytes) else {
        return wrong(format!("{} bytes are no segment", bytes.len()));
    };
    if header.short.major().is_none() {
        return wrong(format!("its first page has magic {:#06X}, which no known version writes", header.short.magic));
    }
    if header.short.address != start {
        return wrong(format!("its first page says that it lies at {} instead of {start}", header.short.address));
    }
    if u64::from(header.segment_bytes) != size.bytes() || header.block_bytes != BLOCK_BYTES_DEFAULT {
        return wrong(format!("its header says segments of {} bytes", header.segment_bytes));
    }
    match system {
        Some(system) if header.system_id != system => {
            wrong(format!("it was written by system {} instead of {system}", header.system_id))
        }
        _ => Ok(()),
    }
}
