//! Decodes one segment as its bytes go by.
//!
//! Memory stays at one page and the beginning of one record, whatever the sizes stored in the bytes: a record's
//! body goes straight into its CRC. What cannot be judged without the neighbours (the record continued from the
//! segment before, the one that goes on behind) is left to [`Stitcher`](super::Stitcher) as CRC and length.

mod page;
mod prefix;
mod records;

use super::defect::{Ancestry, Defect, DefectKind, DefectList};
use super::digest::Rolling;
use super::event::{NoSink, RecordSink};
use super::header::{BLOCK_BYTES_DEFAULT, LONG_HEADER_BYTES, LongHeader, magic_of_major};
use super::summary::{
    CarryIn, CarryOutcome, EDGE_HEAD_BYTES_MAX, FirstRecord, OpenRecord, SegmentEdges, SegmentEnd, SegmentFacts,
    SegmentSummary, SegmentTimes,
};
use crate::model::{Lsn, PgMajor, SegmentNo, SegmentSize, TimelineId};
use prefix::PrefixTracker;

/// Leading bytes kept of a record that spans pages; a [`Record`](super::Record) shows at least these.
pub const HEAD_BYTES_MAX: usize = 1024;

/// "Any": no record starts at the last byte of the address space.
const UNKNOWN: u64 = u64::MAX;

/// What a segment must be, and what to look for in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Timeline of the file's name.
    pub timeline: TimelineId,
    /// Number by the file's name.
    pub number: SegmentNo,
    /// Segment size of the archive.
    pub size: SegmentSize,
    /// The cluster that must have written it; `None` accepts any.
    pub system_id: Option<u64>,
    /// The version that must have written it; `None` accepts any known one.
    pub major: Option<PgMajor>,
    /// Which timeline owns which page. Without it pages may be of any timeline up to `timeline` that does not
    /// decrease.
    pub ancestry: Option<Ancestry>,
    /// A `.partial` or live file: may be short, and its data may end anywhere.
    pub partial: bool,
    /// Positions up to which the segment is to be digested, for comparison with another copy.
    pub watch: Vec<Lsn>,
    /// Whether to digest all that recovery reads.
    pub digest: bool,
}

impl DecodeOptions {
    /// A complete segment of any cluster.
    pub fn new(timeline: TimelineId, number: SegmentNo, size: SegmentSize) -> Self {
        DecodeOptions {
            timeline,
            number,
            size,
            system_id: None,
            major: None,
            ancestry: None,
            partial: false,
            watch: Vec::new(),
            digest: false,
        }
    }
}

/// What the next bytes continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// Nothing: a record begins.
    Nothing,
    /// The record in `open`.
    Open,
    /// The record continued from the segment before.
    Carry,
    /// A record that cannot be checked, because its beginning was lost.
    Skip,
}

/// A record that goes on on the next page.
#[derive(Debug, Default)]
struct Open {
    start: u64,
    total: u32,
    have: u32,
    head: Vec<u8>,
    body_crc: u32,
    /// Last record begun in this segment before this one.
    begun_before: Option<u64>,
}

/// In a partial file: the place where valid data may end, unless valid records follow.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    at: u64,
    why: DefectKind,
    defects: u64,
    last_begun: Option<u64>,
}

/// Decodes one segment: [`push`](Self::push) its bytes in pieces of any size, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct SegmentDecoder<S: RecordSink = NoSink> {
    options: DecodeOptions,
    sink: S,
    /// Position of the segment's first byte.
    first: u64,
    /// Bytes pushed so far, those beyond the segment included.
    bytes: u64,
    /// Offset of the next page.
    offset: u64,
    /// Page size; 0 until the long header told it.
    block: usize,
    /// Bytes of a page that is not complete yet.
    buffer: Vec<u8>,

    facts: Option<SegmentFacts>,
    /// Magic that all pages must have; 0 while none is known.
    magic: u16,
    major: PgMajor,
    first_timeline: u32,
    last_timeline: u32,
    page_address: u64,
    page_info: u16,

    pending: Pending,
    /// Bytes missing of a `Carry` or `Skip`.
    left: u32,
    open: Open,
    carry: CarryIn,
    /// The end of data after a switch record, as a position.
    switch: Option<SegmentEnd>,
    tail_reported: bool,
    /// Framing is lost: the next good page header says where a record begins.
    resync: bool,
    /// Framing was lost at some time.
    lost: bool,
    in_zeros: bool,
    doubt: Option<Doubt>,
    /// Where a replacement of a cut-off record was announced.
    replacement: u64,

    expect_prev: u64,
    first_record: Option<FirstRecord>,
    last_begun: Option<u64>,
    records: u64,
    abandoned: u32,
    counts: Box<[u32; 256]>,
    times: SegmentTimes,
    defects: DefectList,
    /// The first record since the last defect; [`UNKNOWN`] if none came yet.
    sound_from: u64,
    /// What begins before this is not sound: the end of the last page with a wrong header, or the last record with
    /// wrong padding.
    sound_page: u64,
    prefix: Option<PrefixTracker>,
    content: Option<Rolling>,
}

impl SegmentDecoder {
    /// A decoder without a sink.
    pub fn new(options: DecodeOptions) -> Self {
        SegmentDecoder::with_sink(options, NoSink)
    }
}

impl<S: RecordSink> SegmentDecoder<S> {
    /// A decoder that tells `sink` what it finds.
    pub fn with_sink(options: DecodeOptions, sink: S) -> Self {
        let first = options.number.start(options.size).0;
        let prefix = PrefixTracker::new(first, options.size.bytes(), &options.watch);
        let content = options.digest.then(Rolling::new);
        let carry = CarryIn {
            remaining_bytes: 0,
            here_bytes: 0,
            head: Vec::new(),
            rest_crc: 0,
            outcome: CarryOutcome::Nothing,
            overwrites: None,
        };
        SegmentDecoder {
            sink,
            first,
            bytes: 0,
            offset: 0,
            block: 0,
            buffer: Vec::new(),
            facts: None,
            magic: options.major.and_then(magic_of_major).unwrap_or(0),
            major: options.major.unwrap_or(PgMajor::V18),
            first_timeline: 0,
            last_timeline: 0,
            page_address: 0,
            page_info: 0,
            pending: Pending::Nothing,
            left: 0,
            open: Open::default(),
            carry,
            switch: None,
            tail_reported: false,
            resync: false,
            lost: false,
            in_zeros: false,
            doubt: None,
            replacement: UNKNOWN,
            expect_prev: UNKNOWN,
            first_record: None,
            last_begun: None,
            records: 0,
            abandoned: 0,
            counts: Box::new([0; 256]),
            times: SegmentTimes::default(),
            defects: DefectList::default(),
            sound_from: UNKNOWN,
            sound_page: first,
            prefix,
            content,
            options,
        }
    }

    /// Takes the next bytes. Bytes beyond one segment are counted, not kept.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.options.size.bytes().saturating_sub(self.bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let mut bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        while !bytes.is_empty() {
            let wanted = if self.block == 0 { LONG_HEADER_BYTES } else { self.block };
            // Records are aligned to 8 bytes in their page; only in an aligned page their CRC is fast.
            let aligned = bytes.as_ptr().align_offset(8) == 0;
            if self.block != 0 && self.buffer.is_empty() && bytes.len() >= wanted && aligned {
                let (page, rest) = bytes.split_at(wanted);
                self.page(page);
                bytes = rest;
                continue;
            }
            let taken = bytes.len().min(wanted - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() < wanted {
                return;
            }
            if self.block == 0 {
                self.block = block_size(&self.buffer);
                self.buffer.reserve_exact(self.block - self.buffer.len());
            } else {
                let page = std::mem::take(&mut self.buffer);
                self.page(&page);
                self.buffer = page;
                self.buffer.clear();
            }
        }
    }

    /// Bytes pushed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The verdict, once all bytes were pushed, and the sink.
    pub fn finish(mut self) -> (SegmentSummary, S) {
        if !self.buffer.is_empty() {
            let page = std::mem::take(&mut self.buffer);
            self.page(&page);
        }
        let size = self.options.size.bytes();
        let end = self.end();
        if self.bytes > size {
            self.defect(DefectKind::LongSegment, self.first, size, self.bytes);
        } else if self.bytes < size && !self.options.partial {
            self.defect(DefectKind::ShortSegment, self.first, size, self.bytes);
        }
        let resource_managers =
            (0..=u8::MAX).zip(self.counts.iter()).filter(|(_, n)| **n > 0).map(|(id, n)| (id, *n)).collect();
        let edges = SegmentEdges {
            timeline: self.options.timeline,
            number: self.options.number,
            size: self.options.size,
            facts: self.facts,
            first_timeline: self.first_timeline,
            last_timeline: self.last_timeline,
            carry_in: self.carry,
            first_record: self.first_record,
            last_record: self.last_begun.map(Lsn),
            end,
        };
        let summary = SegmentSummary {
            edges,
            bytes: self.bytes,
            records: self.records,
            abandoned_records: self.abandoned,
            resource_managers,
            times: self.times,
            sound_from: (self.sound_from != UNKNOWN).then_some(Lsn(self.sound_from)),
            defects: self.defects,
            prefixes: self.prefix.map(PrefixTracker::finish).unwrap_or_default(),
            content: self.content.map(|rolling| rolling.digest()),
        };
        (summary, self.sink)
    }

    fn end(&mut self) -> SegmentEnd {
        if let Some(doubt) = self.doubt {
            // No valid record came behind the doubtful place: in a partial file that is where data ends.
            self.defects.truncate(doubt.defects);
            self.last_begun = doubt.last_begun;
            return SegmentEnd::EndOfData { at: Lsn(doubt.at), why: doubt.why };
        }
        if let Some(end) = self.switch.take() {
            return end;
        }
        if self.resync {
            return SegmentEnd::Damaged;
        }
        if self.bytes < self.options.size.bytes() {
            if !self.options.partial {
                return SegmentEnd::Damaged;
            }
            let at = if self.pending == Pending::Open { self.open.start } else { self.first.wrapping_add(self.bytes) };
            if self.pending == Pending::Open {
                self.last_begun = self.open.begun_before;
            }
            return SegmentEnd::EndOfData { at: Lsn(at), why: DefectKind::ShortSegment };
        }
        match self.pending {
            Pending::Nothing => SegmentEnd::Clean,
            Pending::Skip => SegmentEnd::Damaged,
            Pending::Carry => {
                self.carry.outcome = CarryOutcome::GoesOn;
                SegmentEnd::Continues
            }
            Pending::Open => {
                let mut head = std::mem::take(&mut self.open.head);
                head.truncate(EDGE_HEAD_BYTES_MAX);
                SegmentEnd::Open(OpenRecord {
                    start: Lsn(self.open.start),
                    total_bytes: self.open.total,
                    here_bytes: self.open.have,
                    head,
                    body_crc: self.open.body_crc,
                    before: (self.expect_prev != UNKNOWN).then_some(Lsn(self.expect_prev)),
                })
            }
        }
    }

    fn defect(&mut self, kind: DefectKind, lsn: u64, expected: u64, found: u64) {
        let offset = lsn.wrapping_sub(self.first);
        if !kind.is_harmless() {
            self.sound_from = UNKNOWN;
            self.sound_page = match kind {
                // Recovery looks at a segment's first page wherever it begins.
                _ if offset == 0 => UNKNOWN,
                kind if kind.is_of_page() => self.sound_page.max(lsn.saturating_add(self.block as u64)),
                _ => self.sound_page,
            };
        }
        self.defects.push(Defect { kind, lsn: Lsn(lsn), offset, expected, found });
    }

    /// Damage that, in a partial file, may be nothing but the end of its data. `valid_until` is the end of the
    /// last whole record.
    fn defect_or_end(&mut self, kind: DefectKind, lsn: u64, expected: u64, found: u64, valid_until: u64) {
        if self.options.partial && self.doubt.is_none() && lsn != self.first {
            let (defects, last_begun) = (self.defects.count(), self.last_begun);
            self.doubt = Some(Doubt { at: valid_until, why: kind, defects, last_begun });
        }
        self.defect(kind, lsn, expected, found);
    }

    /// Framing is lost at `lsn`: nothing up to the next good page header can be read.
    fn lose(&mut self, kind: DefectKind, lsn: u64, expected: u64, found: u64) {
        let valid_until = match self.pending {
            Pending::Open => self.open.start,
            Pending::Carry => self.first,
            // Nothing has been valid since the first page.
            Pending::Nothing | Pending::Skip if self.resync => self.first,
            Pending::Nothing | Pending::Skip => lsn,
        };
        match self.pending {
            Pending::Open => self.last_begun = self.open.begun_before,
            Pending::Carry => self.carry.outcome = CarryOutcome::Lost,
            Pending::Nothing | Pending::Skip => {}
        }
        self.defect_or_end(kind, lsn, expected, found, valid_until);
        self.pending = Pending::Nothing;
        self.resync = true;
        self.lost = true;
        self.expect_prev = UNKNOWN;
    }
}

/// The page size that the first header names, or the usual one if that is impossible.
fn block_size(first_bytes: &[u8]) -> usize {
    let named = LongHeader::parse(first_bytes).and_then(|header| header.block_size());
    named.unwrap_or(BLOCK_BYTES_DEFAULT) as usize
}
