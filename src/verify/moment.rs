//! Transactions and restore points: what the ledger knows of them, and the record itself where that has to be read.

use std::io::{self, Read};

use super::ledger::Ledger;
use super::plan::Plan;
use super::request::{BackupChoice, Request};
use super::wal;
use crate::catalog::Archive;
use crate::catalog::evidence::NamedPoint;
use crate::codec::Limits;
use crate::fetch::{Problem, Source};
use crate::model::{Lsn, TimelineId, Timestamp};
use crate::run::RunContext;
use crate::wal::{Event, EventKind, RecordSink, RecordTime, SegmentDecoder};

/// Segments that are read to find one transaction.
const SEGMENTS_MAX: usize = 256;
const PIECE_BYTES: usize = 1 << 20;

/// Where a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The timeline whose file holds the record.
    pub timeline: TimelineId,
    /// First position behind the record.
    pub lsn: Lsn,
    /// When.
    pub time: Option<Timestamp>,
    /// It committed; otherwise it was rolled back.
    pub committed: bool,
}

/// Waits for the end of one transaction.
struct Wanted {
    xid: u32,
    found: Option<Event>,
}

impl RecordSink for Wanted {
    fn event(&mut self, event: &Event) {
        if let EventKind::Commit { xid, .. } | EventKind::Abort { xid, .. } = event.kind
            && xid == self.xid
            && self.found.is_none()
        {
            self.found = Some(event.clone());
        }
    }
}

impl Ledger {
    /// Restore points of a name, in the WAL that was read.
    pub fn points_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NamedPoint> {
        self.points().iter().filter(move |point| point.name == name)
    }
}

/// Looks for the end of a transaction on each timeline: the ledger names the segments, and these are read again.
///
/// # Errors
/// The store failed, an object is damaged by now, or so many segments may hold it that reading them is a task of its own.
pub async fn find_transaction(
    source: &Source,
    archive: &Archive,
    ledger: &Ledger,
    xid: u32,
    ctx: &RunContext,
) -> Result<Vec<Ended>, String> {
    let request = Request { backups: BackupChoice::None, ..Request::default() };
    let plan = Plan::make(archive, &request, ledger, ctx.as_of)?;
    let within = |low: u32, high: u32| {
        // Transaction numbers are circular.
        let before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) <= 0;
        before(low, xid) && before(xid, high)
    };
    let candidates: Vec<_> = plan
        .segments
        .into_iter()
        .filter(|item| {
            let range = item.known.as_ref().filter(|known| known.valid).and_then(|known| known.xids);
            range.is_some_and(|(low, high)| within(low, high))
        })
        .collect();
    if candidates.len() > SEGMENTS_MAX {
        return Err(format!(
            "{} segments may hold the end of transaction {xid}; name a time or position",
            candidates.len()
        ));
    }
    let mut ended = Vec::new();
    for item in candidates {
        let failed = |problem: Problem| format!("{}: {problem}", item.key);
        let stored = source.get(item.storage, &item.key, Default::default(), &ctx.cancel).await.map_err(failed)?;
        let (opener, options, codec) = (source.clone(), wal::options(archive, &item), item.codec);
        let read = tokio::task::spawn_blocking(move || -> Result<Option<Event>, Problem> {
            let limits = Limits::decoded(options.size.bytes());
            let mut opened = opener.open(codec, Box::new(stored.reader), &limits)?;
            let mut decoder = SegmentDecoder::with_sink(options, Wanted { xid, found: None });
            push_all(&mut opened.reader, &mut decoder).map_err(|error| Problem::of_io(&error))?;
            Ok(decoder.finish().1.found)
        });
        let read = read.await.map_err(|panic| format!("{}: {panic}", item.key))?;
        if let Some(event) = read.map_err(|problem| format!("{}: {problem}", item.key))? {
            ended.push(Ended {
                timeline: item.name.timeline,
                lsn: event.end,
                time: event.time.and_then(RecordTime::timestamp),
                committed: matches!(event.kind, EventKind::Commit { .. }),
            });
        }
    }
    Ok(ended)
}

fn push_all<S: RecordSink>(reader: &mut dyn Read, decoder: &mut SegmentDecoder<S>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => decoder.push(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
