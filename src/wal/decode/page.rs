//! Page headers, and what a page continues.

use super::{Pending, SegmentDecoder, UNKNOWN};
use crate::model::{Lsn, PgMajor};
use crate::wal::defect::DefectKind;
use crate::wal::event::RecordSink;
use crate::wal::header::{
    BKP_REMOVABLE, BLOCK_BYTES_DEFAULT, FIRST_IS_CONTRECORD, FIRST_IS_OVERWRITE_CONTRECORD, LONG_HEADER,
    LONG_HEADER_BYTES, LongHeader, SHORT_HEADER_BYTES, ShortHeader, major_of_magic,
};
use crate::wal::record::{RECORD_HEADER_BYTES, RM_XLOG, Record, RecordHeader, XLOG_SWITCH, align8};
use crate::wal::summary::{CarryOutcome, EDGE_HEAD_BYTES_MAX, SegmentEnd, SegmentFacts};
use crate::wal::{defect::Ancestry, le};

static ZEROS: [u8; 4096] = [0; 4096];

/// Position of the first byte that is not zero.
fn first_not_zero(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for piece in bytes.chunks(ZEROS.len()) {
        if piece != &ZEROS[..piece.len()] {
            return piece.iter().position(|byte| *byte != 0).map(|within| at + within);
        }
        at += piece.len();
    }
    None
}

impl<S: RecordSink> SegmentDecoder<S> {
    /// Takes one page; only the last of a file that was cut off is shorter than the page size.
    pub(super) fn page(&mut self, page: &[u8]) {
        let offset = self.offset;
        self.offset += page.len() as u64;
        if let Some(prefix) = &mut self.prefix {
            prefix.feed(page);
        }
        let address = self.first.wrapping_add(offset);
        if self.switch.is_some() {
            return self.tail(page, address);
        }
        let used = self.wal_page(page, offset, address);
        if let Some(content) = &mut self.content {
            content.update(page.get(..used).unwrap_or(page));
        }
        if self.switch.is_some() {
            self.tail(page.get(used..).unwrap_or(&[]), address.wrapping_add(used as u64));
        }
    }

    /// Bytes behind the switch record. Up to 10 these are pages with headers; from 11 on they are zeros.
    fn tail(&mut self, bytes: &[u8], address: u64) {
        if self.tail_reported || self.major < PgMajor::V11 {
            return;
        }
        if let Some(at) = first_not_zero(bytes) {
            self.tail_reported = true;
            self.defect(DefectKind::TailNotZero, address.wrapping_add(at as u64), 0, u64::from(bytes[at]));
        }
    }

    /// Returns how many bytes of the page belong to the WAL: all, or up to the end of a switch record.
    fn wal_page(&mut self, page: &[u8], offset: u64, address: u64) -> usize {
        let header_bytes = if offset == 0 { LONG_HEADER_BYTES } else { SHORT_HEADER_BYTES };
        let Some(header) = ShortHeader::parse(page).filter(|_| page.len() >= header_bytes) else {
            return page.len();
        };
        if first_not_zero(&page[..SHORT_HEADER_BYTES]).is_none() {
            self.no_page(offset, address);
            return page.len();
        }
        self.in_zeros = false;
        if offset == 0 {
            self.long_header(page);
        }
        if header.address.0 != address {
            if offset == 0 {
                self.carry.outcome = CarryOutcome::Lost;
            }
            self.lose(DefectKind::PageAddress, address, address, header.address.0);
            return page.len();
        }
        self.page_address = address;
        self.page_info = header.info;
        self.header(&header, offset, address);
        let Some(at) = self.continued(page, header_bytes, &header, offset, address) else {
            return page.len();
        };
        self.records(page, at, address).unwrap_or(page.len())
    }

    /// A page of zeros where WAL should be.
    fn no_page(&mut self, offset: u64, address: u64) {
        if offset == 0 {
            self.carry.outcome = CarryOutcome::Lost;
            self.lose(DefectKind::PageMagic, address, u64::from(self.magic), 0);
        } else if !self.in_zeros {
            self.lose(DefectKind::EndOfData, address, self.options.size.bytes().saturating_sub(offset), 0);
        }
        self.in_zeros = true;
    }

    fn long_header(&mut self, page: &[u8]) {
        let Some(header) = LongHeader::parse(page) else { return };
        self.facts = Some(SegmentFacts {
            magic: header.short.magic,
            system_id: header.system_id,
            segment_bytes: header.segment_bytes,
            block_bytes: header.block_bytes,
        });
        self.first_timeline = header.short.timeline;
        self.last_timeline = header.short.timeline;
        let Some(major) = header.major() else {
            // Not WAL at all, or its first bytes are damaged: the other fields prove nothing.
            return;
        };
        if self.magic == 0 {
            self.magic = header.short.magic;
            self.major = major;
        }
        if let Some(expected) = self.options.system_id.filter(|id| *id != header.system_id) {
            self.defect(DefectKind::SystemId, self.first, expected, header.system_id);
        }
        if u64::from(header.segment_bytes) != self.options.size.bytes() {
            let (expected, found) = (self.options.size.bytes(), u64::from(header.segment_bytes));
            self.defect(DefectKind::SegmentSize, self.first, expected, found);
        }
        if header.block_size().is_none() {
            let (expected, found) = (u64::from(BLOCK_BYTES_DEFAULT), u64::from(header.block_bytes));
            self.defect(DefectKind::BlockSize, self.first, expected, found);
        }
    }

    /// The fields that do not depend on the page before.
    fn header(&mut self, header: &ShortHeader, offset: u64, address: u64) {
        if header.magic != self.magic {
            match major_of_magic(header.magic) {
                Some(major) if self.magic == 0 => {
                    self.magic = header.magic;
                    self.major = major;
                }
                _ => self.defect(DefectKind::PageMagic, address, u64::from(self.magic), u64::from(header.magic)),
            }
        }
        let expected = self.expected_timeline(header.timeline, address);
        if header.timeline == expected {
            self.last_timeline = expected;
        } else {
            self.defect(DefectKind::PageTimeline, address, u64::from(expected), u64::from(header.timeline));
        }
        if header.padding != 0 {
            self.defect(DefectKind::PagePadding, address, 0, u64::from(header.padding));
        }
        let mut legal = FIRST_IS_CONTRECORD | self.overwrite_flag();
        if self.major < PgMajor::V19 {
            legal |= BKP_REMOVABLE;
        }
        let mut fitting = header.info & legal;
        if offset == 0 {
            fitting |= LONG_HEADER;
        }
        if header.info != fitting {
            self.defect(DefectKind::PageFlags, address, u64::from(fitting), u64::from(header.info));
        }
    }

    fn expected_timeline(&self, found: u32, address: u64) -> u32 {
        if let Some(ancestry) = &self.options.ancestry {
            return Ancestry::owner(ancestry, Lsn(address)).get();
        }
        let own = self.options.timeline.get();
        let low = if address == self.first { 1 } else { self.last_timeline.clamp(1, own) };
        found.clamp(low, own)
    }

    fn overwrite_flag(&self) -> u16 {
        if self.major >= PgMajor::V19 { 0x0004 } else { FIRST_IS_OVERWRITE_CONTRECORD }
    }

    /// Takes what the page continues. Returns where the first record begins, `None` if not on this page.
    fn continued(
        &mut self,
        page: &[u8],
        header_bytes: usize,
        header: &ShortHeader,
        offset: u64,
        address: u64,
    ) -> Option<usize> {
        if header.info & self.overwrite_flag() != 0 {
            self.replaced(page, header_bytes, header, offset, address);
            return Some(header_bytes);
        }
        let missing = match self.pending {
            Pending::Nothing => 0,
            Pending::Open => self.open.total.saturating_sub(self.open.have),
            Pending::Carry | Pending::Skip => self.left,
        };
        let flagged = header.info & FIRST_IS_CONTRECORD != 0;
        let announced = header.rem_len;
        let first_page = offset == 0;
        if !first_page && !self.resync && announced != missing {
            self.lose(DefectKind::RemainingLength, address, u64::from(missing), u64::from(announced));
        } else if flagged != (announced > 0) {
            let expected = header.info ^ FIRST_IS_CONTRECORD;
            self.defect(DefectKind::PageFlags, address, u64::from(expected), u64::from(header.info));
        }
        if first_page || self.resync {
            // Nothing is known from before, so the page is believed.
            self.resync = false;
            self.left = announced;
            self.pending = match announced {
                0 => Pending::Nothing,
                _ if first_page => Pending::Carry,
                _ => Pending::Skip,
            };
            if first_page {
                self.carry.remaining_bytes = announced;
            }
        }
        if self.pending == Pending::Nothing {
            return Some(header_bytes);
        }
        let room = page.len() - header_bytes;
        let taken = room.min(if self.pending == Pending::Open { missing } else { self.left } as usize);
        let piece = &page[header_bytes..header_bytes + taken];
        match self.pending {
            Pending::Open => self.open_feed(piece),
            Pending::Carry => self.carry_feed(piece),
            Pending::Skip | Pending::Nothing => self.left -= taken as u32,
        }
        let whole = match self.pending {
            Pending::Open => self.open.have == self.open.total,
            _ => self.left == 0,
        };
        if !whole {
            return None;
        }
        let behind = header_bytes + taken;
        let aligned = align8(behind as u64) as usize;
        let rest = page.get(aligned..).unwrap_or(&[]);
        let (padding, end) = (page.get(behind..aligned).unwrap_or(&[]), address.wrapping_add(aligned as u64));
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Open => {
                if !self.open_close(padding, end, rest) {
                    return None;
                }
            }
            Pending::Carry => {
                self.padding(padding, address.wrapping_add(header_bytes as u64));
                self.carry.outcome = CarryOutcome::Ends(Lsn(end));
                self.switch_if_carried(end, rest);
            }
            Pending::Skip | Pending::Nothing => {}
        }
        Some(aligned)
    }

    fn carry_feed(&mut self, piece: &[u8]) {
        let carry = &mut self.carry;
        let to_head = piece.len().min(EDGE_HEAD_BYTES_MAX - carry.head.len());
        carry.head.extend_from_slice(&piece[..to_head]);
        carry.rest_crc = crc32c::crc32c_append(carry.rest_crc, &piece[to_head..]);
        carry.here_bytes += piece.len() as u32;
        self.left -= piece.len() as u32;
    }

    /// A switch record whose header began in the segment before ends the data here. Its last bytes tell what it may
    /// be; whether it is one, only stitching can tell.
    fn switch_if_carried(&mut self, end: u64, rest: &[u8]) {
        let kind_at = match self.carry.remaining_bytes {
            8 => 0,
            16 => 8,
            _ => return,
        };
        let (info, rmid) = (self.carry.head.get(kind_at), self.carry.head.get(kind_at + 1));
        let may_be = info.is_some_and(|info| info & 0xF0 == XLOG_SWITCH) && rmid == Some(&RM_XLOG);
        if may_be && rest.first_chunk() == Some(&[0u8; 4]) {
            self.switch = Some(SegmentEnd::SwitchIfCarried { end: Lsn(end) });
        }
    }

    /// The page says that the record before was given up and that its first record replaces it.
    fn replaced(&mut self, page: &[u8], header_bytes: usize, header: &ShortHeader, offset: u64, address: u64) {
        let flag = self.overwrite_flag();
        let first = page.get(header_bytes..).unwrap_or(&[]);
        let replacement = RecordHeader::parse(first).filter(RecordHeader::is_overwrite_contrecord);
        let named = replacement.and_then(|record_header| {
            let body = first.get(RECORD_HEADER_BYTES..record_header.total_bytes as usize)?;
            let lsn = Lsn(address.wrapping_add(header_bytes as u64));
            let record = Record { lsn, end: lsn, header: record_header, body, major: self.major };
            le::u64_at(record.main_data()?.bytes, 0)
        });
        let nothing_before = offset != 0 && !self.resync && self.pending == Pending::Nothing;
        if header.info & FIRST_IS_CONTRECORD != 0 || header.rem_len != 0 || named.is_none() || nothing_before {
            let expected = header.info & !flag;
            self.defect(DefectKind::PageFlags, address, u64::from(expected), u64::from(header.info));
        }
        let named = named.unwrap_or(0);
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Open => {
                if named != self.open.start {
                    self.defect(DefectKind::Overwrite, address, self.open.start, named);
                }
                self.abandoned = self.abandoned.saturating_add(1);
                self.last_begun = self.open.begun_before;
            }
            Pending::Carry => {
                self.carry.outcome = CarryOutcome::GivenUp(Lsn(named));
                self.abandoned = self.abandoned.saturating_add(1);
            }
            Pending::Nothing if offset == 0 => self.carry.overwrites = Some(Lsn(named)),
            Pending::Nothing | Pending::Skip => {}
        }
        self.resync = false;
        self.replacement = if named == 0 { UNKNOWN } else { address.wrapping_add(header_bytes as u64) };
    }
}
