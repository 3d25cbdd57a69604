//! WAL framing: pages, records, and what links them.
//!
//! Everything here is fed bytes and answers with values: no IO, no clock. Damage is a value too, so no
//! function fails on the content it is given.

mod control;
mod decode;
mod defect;
mod digest;
mod event;
pub mod header;
mod label;
mod le;
mod manifest;
mod record;
mod stitch;
mod summary;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer;

pub use control::{CONTROL_FILE_BYTES, ControlFile, ControlProblem, ControlState, catalog_of_major, major_of_catalog};
pub use decode::{DecodeOptions, HEAD_BYTES_MAX, SegmentDecoder};
pub use defect::{Ancestry, Defect, DefectKind, DefectList};
pub use digest::{Digest, PrefixDigest};
pub use event::{Event, EventKind, EventList, NoSink, RecordSink, RecordTime};
pub use label::{BackupLabel, LabelProblem, TablespaceMapEntry, parse_tablespace_map};
pub use manifest::{
    ManifestChecksum, ManifestFile, ManifestProblem, ManifestReader, ManifestSink, ManifestSummary, ManifestWalRange,
};
pub use record::{MainData, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RM_XACT, RM_XLOG, Record, RecordHeader};
pub use stitch::{JoinedRecord, StitchDefect, StitchKind, Stitched, Stitcher, compare_at_switch};
pub use summary::{
    CarryIn, CarryOutcome, EDGE_HEAD_BYTES_MAX, FirstRecord, Moment, OpenRecord, RestorePoint, SegmentEdges,
    SegmentEnd, SegmentFacts, SegmentSummary, SegmentTimes,
};

/// Reads any bytes as a segment, whole and partial, in pieces, and stitches it to itself; then as each of the small
/// files. For fuzzing: must neither panic nor allocate by what the bytes claim.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    use crate::model::{Lsn, SegmentNo, SegmentSize, TimelineId};

    let facts = header::LongHeader::parse(bytes);
    let size = facts.and_then(|header| header.segment_size().ok()).unwrap_or(SegmentSize::DEFAULT);
    let number = facts.map_or(SegmentNo(1), |header| header.short.address.segment(size));
    let mut stitcher = Stitcher::new();
    for (partial, number) in [(false, number), (true, number.next())] {
        let mut options = DecodeOptions::new(TimelineId::FIRST, number, size);
        options.partial = partial;
        options.digest = true;
        options.watch = vec![Lsn(number.start(size).0.wrapping_add(10_000))];
        let mut decoder = SegmentDecoder::with_sink(options, EventList::new(10));
        for piece in bytes.chunks(if partial { 1009 } else { usize::MAX }) {
            decoder.push(piece);
        }
        let (summary, _) = decoder.finish();
        for defect in &summary.defects {
            let _ = defect.to_string();
        }
        for defect in stitcher.push(&summary.edges).defects {
            let _ = defect.to_string();
        }
    }
    fuzz_files(bytes);
}

fn fuzz_files(bytes: &[u8]) {
    struct Ignored;
    impl ManifestSink for Ignored {
        fn file(&mut self, _: ManifestFile) {}
        fn covered(&mut self, _: &[u8]) {}
    }
    let _ = ControlFile::parse(&bytes[..bytes.len().min(CONTROL_FILE_BYTES)]);
    let _ = BackupLabel::parse(bytes);
    let _ = parse_tablespace_map(bytes);
    let mut reader = ManifestReader::new();
    bytes.chunks(1009).for_each(|piece| reader.push(piece, &mut Ignored));
    let _ = reader.finish(&mut Ignored);
}
