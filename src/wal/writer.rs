//! Writes WAL as a server would, for tests: any version, page size and segment size.

use std::collections::BTreeMap;

use super::header::{magic_of_major, *};
use crate::model::{Lsn, PgMajor, SegmentNo, SegmentSize, TimelineId};

#[derive(Clone)]
pub(super) struct Writer {
    pub major: PgMajor,
    pub timeline: u32,
    pub system_id: u64,
    pub size: SegmentSize,
    pub block: usize,
    /// Where the next byte goes.
    pub at: u64,
    /// Start of the last record.
    pub prev: u64,
    /// Flags that every page gets.
    pub flags: u16,
    /// Records that were cut off: nothing checks their bytes, nobody needs them.
    pub cut_offs: Vec<(u64, u64)>,
    segments: BTreeMap<u64, Vec<u8>>,
}

pub(super) const SYSTEM: u64 = 7_300_000_000_000_000_001;

impl Writer {
    /// Begins at the first byte of a segment.
    pub fn new(major: PgMajor, size_mib: u64, block: usize, number: u64) -> Self {
        let size = SegmentSize::new(size_mib << 20).unwrap();
        let at = SegmentNo(number).start(size).0;
        let prev = at.saturating_sub(64);
        Writer {
            major,
            timeline: 1,
            system_id: SYSTEM,
            size,
            block,
            at,
            prev,
            flags: 0,
            cut_offs: Vec::new(),
            segments: BTreeMap::new(),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let size = self.size.bytes();
        let segment = self.segments.entry(self.at / size).or_insert_with(|| vec![0; size as usize]);
        let offset = (self.at % size) as usize;
        segment[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len() as u64;
    }

    fn page_header(&mut self, rem_len: u32, overwrite: bool) {
        let long = self.at.is_multiple_of(self.size.bytes());
        let mut info = self.flags;
        if rem_len > 0 {
            info |= FIRST_IS_CONTRECORD;
        }
        if long {
            info |= LONG_HEADER;
        }
        if overwrite {
            info |= if self.major >= PgMajor::V19 { 4 } else { FIRST_IS_OVERWRITE_CONTRECORD };
        }
        let mut bytes = Vec::new();
        bytes.extend(magic_of_major(self.major).unwrap().to_le_bytes());
        bytes.extend(info.to_le_bytes());
        bytes.extend(self.timeline.to_le_bytes());
        bytes.extend(self.at.to_le_bytes());
        bytes.extend(rem_len.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        if long {
            bytes.extend(self.system_id.to_le_bytes());
            bytes.extend((self.size.bytes() as u32).to_le_bytes());
            bytes.extend((self.block as u32).to_le_bytes());
        }
        self.put(&bytes);
    }

    fn page_room(&self) -> usize {
        self.block - (self.at % self.block as u64) as usize
    }

    fn at_page_start(&self) -> bool {
        self.at.is_multiple_of(self.block as u64)
    }

    fn bytes_of(&self, rmid: u8, info: u8, xid: u32, main: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        if !main.is_empty() {
            body.push(254);
            body.extend((main.len() as u32).to_le_bytes());
            body.extend(main);
        }
        let mut bytes = Vec::new();
        bytes.extend((24 + body.len() as u32).to_le_bytes());
        bytes.extend(xid.to_le_bytes());
        bytes.extend(self.prev.to_le_bytes());
        bytes.extend([info, rmid, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &bytes);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// Writes a record; returns its position.
    pub fn record(&mut self, rmid: u8, info: u8, xid: u32, main: &[u8]) -> Lsn {
        if self.at_page_start() {
            self.page_header(0, false);
        }
        let start = self.at;
        let bytes = self.bytes_of(rmid, info, xid, main);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if self.at_page_start() {
                self.page_header(rest.len() as u32, false);
            }
            let (piece, more) = rest.split_at(rest.len().min(self.page_room()));
            self.put(piece);
            rest = more;
        }
        self.at = self.at.next_multiple_of(8);
        self.prev = start;
        Lsn(start)
    }

    /// A commit of `xid`, `us` microseconds after 2000.
    pub fn commit(&mut self, xid: u32, us: i64) -> Lsn {
        self.record(1, 0, xid, &us.to_le_bytes())
    }

    /// A switch record; the next record begins in the next segment.
    pub fn switch(&mut self) -> Lsn {
        let lsn = self.record(0, 0x40, 0, &[]);
        self.at = self.at.next_multiple_of(self.size.bytes());
        lsn
    }

    /// A record that is cut off after `pages` page ends, and its replacement. Returns both positions.
    pub fn cut_off(&mut self, main: &[u8], pages: usize) -> (Lsn, Lsn) {
        if self.at_page_start() {
            self.page_header(0, false);
        }
        let start = self.at;
        let bytes = self.bytes_of(10, 0, 1, main);
        let mut rest = &bytes[..];
        for _ in 0..pages {
            if self.at_page_start() {
                self.page_header(rest.len() as u32, false);
            }
            let (piece, more) = rest.split_at(self.page_room());
            self.put(piece);
            rest = more;
        }
        assert!(!rest.is_empty());
        self.cut_offs.push((start, self.at));
        self.page_header(0, true);
        let mut main = Vec::from(start.to_le_bytes());
        main.extend(5i64.to_le_bytes());
        (Lsn(start), self.record(0, 0xD0, 0, &main))
    }

    /// Writes small records up to `left` bytes before the end of the segment.
    pub fn fill_until(&mut self, left: u64) {
        let end = (self.at / self.size.bytes() + 1) * self.size.bytes() - left;
        let mut n = 0u32;
        while self.at + 64 < end {
            let room = (end - self.at).min(900) as usize;
            let len = if room < 200 { 8 } else { 16 + (n as usize * 37) % (room - 150) };
            if self.at + len as u64 + 64 + 40 >= end {
                break;
            }
            self.record(10, 0, n, &vec![n as u8; len]);
            n += 1;
        }
        // One record of just the right length.
        while self.at < end {
            let header = if self.at_page_start() { 24 } else { 0 };
            let room = end - self.at - header;
            assert!(room >= 24, "{room}");
            let body = room as usize - 24;
            self.record(10, 0, n, &vec![1; body.saturating_sub(5)]);
        }
        assert_eq!(self.at, end);
    }

    pub fn timeline_id(&self) -> TimelineId {
        TimelineId::new(self.timeline).unwrap()
    }

    /// All segments so far, ascending.
    pub fn segments(&self) -> Vec<(SegmentNo, Vec<u8>)> {
        self.segments.iter().map(|(number, bytes)| (SegmentNo(*number), bytes.clone())).collect()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<u64> = self.segments.keys().copied().collect();
        write!(f, "Writer({} pages of {} segments {sizes:?} at {})", self.major, self.block, Lsn(self.at))
    }
}
