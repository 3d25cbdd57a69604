//! Where replay has to arrive: the last whole record on a way, read from the last segments themselves.
//!
//! PostgreSQL takes damaged or missing WAL for the end of the archive and promotes there. So the end is worked out
//! from the archive, and the server's own end is compared with it.

use std::io::Read;

use crate::catalog::{Archive, Chain, SegmentRow};
use crate::codec::Limits;
use crate::fetch::{Fault, Problem, Source};
use crate::model::{Lsn, PgMajor, SegmentNo, TimelineId, Timestamp};
use crate::run::Cancel;
use crate::store::ReadOptions;
use crate::wal::{CarryOutcome, DecodeOptions, SegmentDecoder, SegmentEnd, SegmentSummary};

/// Segments looked at from the end on, if one record fills several.
const SEGMENTS_MAX: usize = 64;

/// The end of the WAL on a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Start of the last whole record: what PostgreSQL calls "redo done at".
    pub last_record: Lsn,
    /// First position behind it, at least.
    pub end: Lsn,
    /// The last commit in the segment that was read.
    pub last_commit: Option<Timestamp>,
}

/// Why the end is not known.
#[derive(Debug)]
pub enum EndUnknown {
    /// The last segment is damaged: recovery ends in it or before it.
    Damaged {
        /// Its name.
        segment: String,
        /// What is wrong.
        why: String,
    },
    /// It cannot be read as things are, which says nothing about it.
    Unread(String),
    /// The run was stopped.
    Stopped,
}

/// Reads the last segments of a way until a record ends in one.
///
/// # Errors
/// The last segment is damaged, or cannot be read.
pub async fn end_of(source: &Source, archive: &Archive, chain: &Chain, cancel: &Cancel) -> Result<End, EndUnknown> {
    let size = archive.segment_size;
    let path = archive.timelines.path(chain.timeline);
    let start = archive.backups[chain.backup].start_segment(size).unwrap_or(chain.last.1);
    let mut number = chain.last.1;
    // Behind a switch record recovery goes on with the next segment.
    let mut end = number.end(size);
    // The record begun in the segment before ends in one that was looked at.
    let mut completed = false;
    for _ in 0..SEGMENTS_MAX {
        let timeline = path.owner(number, size);
        let name = number.name(timeline, size);
        let mut read = Err(EndUnknown::Unread(format!("segment {name} is not in the archive")));
        // Of several copies one that is whole will do, as it does for recovery.
        for row in archive.wal.at(name).iter().filter(|row| row.is_plausible(size)) {
            let one = decode(source, archive, row, number, timeline, chain.backup, cancel).await;
            if one.is_ok() || matches!(read, Err(EndUnknown::Unread(_))) {
                read = one;
            }
            if read.is_ok() {
                break;
            }
        }
        let summary = read?;
        if let Some((last_record, behind)) = last_whole_record(&summary, completed) {
            let last_commit = summary.times.last_commit.and_then(|moment| moment.time.timestamp());
            return Ok(End { last_record, end: behind.unwrap_or(end), last_commit });
        }
        completed = match summary.edges.carry_in.outcome {
            CarryOutcome::Ends(behind) => {
                if !completed && !matches!(summary.edges.end, SegmentEnd::SwitchIfCarried { .. }) {
                    end = behind;
                }
                true
            }
            CarryOutcome::GoesOn => completed,
            _ => false,
        };
        match number.previous().filter(|previous| *previous >= start) {
            Some(previous) => number = previous,
            None => break,
        }
    }
    Err(EndUnknown::Unread("no whole record in the last segments".to_owned()))
}

/// The last record that begins in a segment and is whole, with the position behind it where another one begins there.
fn last_whole_record(summary: &SegmentSummary, completed: bool) -> Option<(Lsn, Option<Lsn>)> {
    match &summary.edges.end {
        SegmentEnd::Open(open) if completed => Some((open.start, None)),
        // What a record fills to the end of the segment is cut off: the one before is the last whole one.
        SegmentEnd::Open(open) => open.before.map(|before| (before, Some(open.start))),
        SegmentEnd::Switch { record, .. } => Some((*record, None)),
        SegmentEnd::Clean | SegmentEnd::SwitchIfCarried { .. } => summary.edges.last_record.map(|lsn| (lsn, None)),
        _ => None,
    }
}

async fn decode(
    source: &Source,
    archive: &Archive,
    row: &SegmentRow,
    number: SegmentNo,
    timeline: TimelineId,
    backup: usize,
    cancel: &Cancel,
) -> Result<SegmentSummary, EndUnknown> {
    let size = archive.segment_size;
    let name = row.name().to_string();
    let key = archive.segment_key(row);
    let stored = source.get(row.storage, &key, ReadOptions::default(), cancel).await;
    let stored = stored.map_err(|problem| sort(problem, &name))?;
    let mut options = DecodeOptions::new(timeline, number, size);
    options.system_id = archive.incarnation(number).and_then(|incarnation| incarnation.system_identifier.copied());
    options.major = archive.backups[backup]
        .pg_version
        .copied()
        .and_then(|version| PgMajor::from_server_version_num(u64::from(version)));
    let (source, codec) = (source.clone(), row.codec);
    let read = tokio::task::spawn_blocking(move || -> Result<SegmentSummary, Problem> {
        let limits = Limits::decoded(size.bytes() + 1);
        let mut opened = source.open(codec, Box::new(stored.reader), &limits)?;
        let mut decoder = SegmentDecoder::new(options);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match opened.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => decoder.push(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::of_io(&error)),
            }
        }
        Ok(decoder.finish().0)
    });
    let summary = match read.await {
        Ok(summary) => summary.map_err(|problem| sort(problem, &name))?,
        Err(error) => return Err(EndUnknown::Unread(format!("{name}: {error}"))),
    };
    if summary.is_damaged() || matches!(summary.edges.end, SegmentEnd::Damaged) {
        let first = summary.defects.iter().next().map_or_else(|| "damaged".to_owned(), ToString::to_string);
        return Err(EndUnknown::Damaged { segment: name, why: first });
    }
    Ok(summary)
}

fn sort(problem: Problem, name: &str) -> EndUnknown {
    match problem.fault() {
        Fault::Damaged | Fault::TooLarge => EndUnknown::Damaged { segment: name.to_owned(), why: problem.to_string() },
        Fault::Stopped => EndUnknown::Stopped,
        _ => EndUnknown::Unread(format!("{name}: {problem}")),
    }
}
