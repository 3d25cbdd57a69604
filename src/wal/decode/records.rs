//! Records: the part that runs for every one of them.

use super::{HEAD_BYTES_MAX, Open, Pending, SegmentDecoder, UNKNOWN};
use crate::model::{Lsn, PgMajor};
use crate::wal::defect::DefectKind;
use crate::wal::event::{Event, EventKind, RecordSink};
use crate::wal::header::FIRST_IS_OVERWRITE_CONTRECORD;
use crate::wal::le;
use crate::wal::record::{CRC_AT, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RM_XACT, Record, RecordHeader, align8};
use crate::wal::summary::{FirstRecord, SegmentEnd};

impl<S: RecordSink> SegmentDecoder<S> {
    /// Reads the records that begin on this page from `at` on. Returns where the page's WAL ends if a switch record
    /// ends it.
    pub(super) fn records(&mut self, page: &[u8], mut at: usize, address: u64) -> Option<usize> {
        if self.first_record.is_none() && !self.lost && self.switch.is_none() {
            self.begin(page.get(at..)?, address.wrapping_add(at as u64));
        }
        while self.switch.is_none() {
            let rest = page.get(at..)?;
            let total = le::u32_at(rest, 0)?;
            let lsn = address.wrapping_add(at as u64);
            if !(RECORD_HEADER_BYTES as u32..=RECORD_BYTES_MAX).contains(&total) {
                self.bad_length(lsn, total);
                return None;
            }
            let len = total as usize;
            if len > rest.len() {
                self.open_begin(lsn, total, rest);
                return None;
            }
            let header = RecordHeader::parse(rest)?;
            let body = &rest[RECORD_HEADER_BYTES..len];
            let crc = crc32c::crc32c_append(crc32c::crc32c(body), &rest[..CRC_AT]);
            let aligned = align8(u64::from(total)) as usize;
            if crc != header.crc {
                if !self.bad_crc(lsn, crc, header.crc, rest.get(aligned..).unwrap_or(&[])) {
                    return None;
                }
                at += aligned;
                continue;
            }
            if len != aligned && rest.get(len..aligned).is_some_and(|padding| padding.iter().any(|byte| *byte != 0)) {
                self.padding(&rest[len..aligned], lsn);
            }
            if !self.accept(lsn, lsn.wrapping_add(aligned as u64), header, body) {
                return None;
            }
            at += aligned;
        }
        Some(at.min(page.len()))
    }

    fn begin(&mut self, rest: &[u8], lsn: u64) {
        if le::u32_at(rest, 0).is_some_and(|total| total != 0) {
            self.first_record = Some(FirstRecord { lsn: Lsn(lsn), prev: le::u64_at(rest, 8).map(Lsn) });
        }
    }

    /// Takes a record whose CRC is right. Returns whether what follows can be read.
    #[inline]
    fn accept(&mut self, lsn: u64, end: u64, header: RecordHeader, body: &[u8]) -> bool {
        if self.doubt.is_some() && !self.settles_doubt(lsn, header.prev.0) {
            return true;
        }
        let follows = header.prev.0 == self.expect_prev;
        if !follows && !self.check_prev(lsn, header.prev.0) {
            return false;
        }
        if self.sound_from == UNKNOWN && lsn >= self.sound_page {
            // One that does not follow is not trusted itself.
            self.sound_from = if follows || self.expect_prev == UNKNOWN { lsn } else { end };
        }
        self.expect_prev = lsn;
        self.last_begun = Some(lsn);
        self.records += 1;
        self.counts[usize::from(header.rmid)] += 1;
        let mut record = Record { lsn: Lsn(lsn), end: Lsn(end), header, body, major: self.major };
        if header.rmid <= RM_XACT {
            if header.is_switch() {
                record.end = self.options.number.end(self.options.size);
                self.switch = Some(SegmentEnd::Switch { record: Lsn(lsn), end: Lsn(end) });
            }
            if let Some(event) = Event::of(&record) {
                self.tell(&event);
            }
        }
        self.sink.record(&record);
        true
    }

    #[cold]
    fn check_prev(&mut self, lsn: u64, prev: u64) -> bool {
        if self.expect_prev == UNKNOWN {
            if prev >= lsn {
                self.defect(DefectKind::PrevLink, lsn, 0, prev);
            }
            return true;
        }
        if self.options.partial {
            // Old contents of a recycled file may be whole records too.
            self.lose(DefectKind::PrevLink, lsn, self.expect_prev, prev);
            return false;
        }
        self.defect(DefectKind::PrevLink, lsn, self.expect_prev, prev);
        true
    }

    /// A record behind the doubtful place of a partial file that continues from there or beyond: then the doubtful
    /// place is damage, not the end of data. Old contents of a recycled file never do.
    #[cold]
    fn settles_doubt(&mut self, lsn: u64, prev: u64) -> bool {
        let proof = self.doubt.is_some_and(|doubt| lsn > doubt.at && prev >= doubt.at && prev < lsn);
        if proof {
            self.doubt = None;
        }
        proof
    }

    fn tell(&mut self, event: &Event) {
        if matches!(event.kind, EventKind::OverwriteContrecord { .. }) && event.lsn.0 != self.replacement {
            // Such a record only ever comes first on a page that announces it.
            let flag = if self.major >= PgMajor::V19 { 0x0004 } else { FIRST_IS_OVERWRITE_CONTRECORD };
            let expected = u64::from(self.page_info | flag);
            self.defect(DefectKind::PageFlags, self.page_address, expected, u64::from(self.page_info));
        }
        self.times.add(event);
        self.sink.event(event);
    }

    #[cold]
    fn bad_length(&mut self, lsn: u64, total: u32) {
        let left = self.first.wrapping_add(self.options.size.bytes()).wrapping_sub(lsn);
        if total == 0 {
            self.lose(DefectKind::EndOfData, lsn, left, 0);
            self.in_zeros = true;
        } else {
            self.lose(DefectKind::RecordLength, lsn, RECORD_HEADER_BYTES as u64, u64::from(total));
        }
    }

    /// Reports it. Returns whether the record's length can be believed, because the next record points back to it.
    #[cold]
    fn bad_crc(&mut self, lsn: u64, computed: u32, stored: u32, rest: &[u8]) -> bool {
        let next_agrees = le::u64_at(rest, 8) == Some(lsn);
        if next_agrees {
            self.defect_or_end(DefectKind::RecordCrc, lsn, u64::from(computed), u64::from(stored), lsn);
            self.last_begun = Some(lsn);
            self.expect_prev = lsn;
        } else {
            self.lose(DefectKind::RecordCrc, lsn, u64::from(computed), u64::from(stored));
        }
        next_agrees
    }

    #[cold]
    pub(super) fn padding(&mut self, padding: &[u8], lsn: u64) {
        let found = padding.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if found != 0 {
            self.defect(DefectKind::RecordPadding, lsn, 0, found);
            // It is told before the record is taken.
            self.sound_page = self.sound_page.max(lsn.saturating_add(1));
        }
    }

    fn open_begin(&mut self, lsn: u64, total: u32, rest: &[u8]) {
        let mut head = std::mem::take(&mut self.open.head);
        head.clear();
        head.extend_from_slice(&rest[..rest.len().min(HEAD_BYTES_MAX)]);
        let body_crc = crc32c::crc32c(rest.get(RECORD_HEADER_BYTES..).unwrap_or(&[]));
        self.open = Open { start: lsn, total, have: rest.len() as u32, head, body_crc, begun_before: self.last_begun };
        self.last_begun = Some(lsn);
        self.pending = Pending::Open;
    }

    pub(super) fn open_feed(&mut self, piece: &[u8]) {
        let open = &mut self.open;
        let to_head = piece.len().min(HEAD_BYTES_MAX.saturating_sub(open.head.len()));
        open.head.extend_from_slice(&piece[..to_head]);
        let of_header = RECORD_HEADER_BYTES.saturating_sub(open.have as usize);
        open.body_crc = crc32c::crc32c_append(open.body_crc, piece.get(of_header..).unwrap_or(&[]));
        open.have = open.have.saturating_add(piece.len() as u32);
        if let Some(first) = self.first_record.as_mut().filter(|first| first.lsn.0 == open.start) {
            first.prev = le::u64_at(&open.head, 8).map(Lsn);
        }
    }

    /// The record that spanned pages is whole. Returns whether what follows can be read.
    pub(super) fn open_close(&mut self, padding: &[u8], end: u64, rest: &[u8]) -> bool {
        let open = std::mem::take(&mut self.open);
        let Some(header) = RecordHeader::parse(&open.head) else { return false };
        let crc = crc32c::crc32c_append(open.body_crc, &open.head[..CRC_AT]);
        self.last_begun = open.begun_before;
        let readable = if crc == header.crc {
            self.padding(padding, open.start);
            self.accept(open.start, end, header, &open.head[RECORD_HEADER_BYTES..])
        } else {
            self.bad_crc(open.start, crc, header.crc, rest)
        };
        // Give the allocation back for the next one.
        self.open.head = open.head;
        readable
    }
}
