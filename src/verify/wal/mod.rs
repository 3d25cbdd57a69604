//! WAL: segments are decoded each for itself, then joined in order.

mod damage;
mod fold;

use std::io::{self, Read};
use std::sync::Arc;

pub(super) use damage::of as damage_of;
pub(super) use fold::Fold;

use super::object::{self, Seen};
use super::plan::SegmentItem;
use crate::catalog::{Archive, HistoryState};
use crate::codec::Limits;
use crate::fetch::{Source, Stored};
use crate::model::{Lsn, PgMajor, SegmentNo, TimelineId};
use crate::run::Progress;
use crate::wal::{Ancestry, DecodeOptions, SegmentDecoder, SegmentSummary};

/// Decoded bytes handed to the decoder at once; blocks of most codecs fit in.
const PIECE_BYTES: usize = 1 << 20;

/// What a segment has to be, as far as the archive tells.
pub(super) fn options(archive: &Archive, item: &SegmentItem) -> DecodeOptions {
    let mut options = DecodeOptions::new(item.name.timeline, item.number, archive.segment_size);
    let incarnation = archive.incarnation(item.number);
    options.system_id = incarnation.and_then(|incarnation| incarnation.system_identifier.copied());
    options.major = incarnation.and_then(|incarnation| incarnation.pg_major).and_then(major);
    options.ancestry = match archive.timelines.state(item.name.timeline) {
        HistoryState::Known(history) => Some(Ancestry::of(history)),
        HistoryState::Root => Some(Ancestry::none(item.name.timeline)),
        _ => None,
    };
    options.partial = item.partial;
    options.watch = switches(archive, item.name.timeline, item.number);
    options.digest = item.duplicate;
    options
}

fn major(number: u32) -> Option<PgMajor> {
    match number {
        906 => Some(PgMajor::V9_6),
        number => PgMajor::from_server_version_num(u64::from(number) * 10_000),
    }
}

/// Positions inside a segment at which its timeline begins or is left.
fn switches(archive: &Archive, timeline: TimelineId, number: SegmentNo) -> Vec<Lsn> {
    let size = archive.segment_size;
    let forks = archive.timelines.iter().filter_map(|(child, state)| {
        let HistoryState::Known(history) = state else { return None };
        let (parent, switch) = history.parent()?;
        (child == timeline || parent == timeline).then_some(switch)
    });
    forks.filter(|switch| switch.segment(size) == number && switch.offset_in(size) > 0).collect()
}

/// Reads one object that holds a segment, on a blocking thread.
pub(super) fn read(
    source: &Source,
    stored: Stored,
    item: &SegmentItem,
    options: DecodeOptions,
    progress: &Arc<dyn Progress>,
) -> (Seen, SegmentSummary) {
    let limits = Limits::decoded(options.size.bytes());
    let mut decoder = SegmentDecoder::new(options);
    let mut take = |reader: &mut dyn Read| -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => decoder.push(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    let seen = object::read(source, stored, item.codec, &limits, progress, &mut take);
    (seen, decoder.finish().0)
}
