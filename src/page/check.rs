//! The verdict on one page, and on the pages of a file.

use super::checksum::page_checksum;
use crate::model::Lsn;

/// The fields of a page header that checks look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// `pd_lsn`: end of the last WAL record that changed the page.
    pub lsn: Lsn,
    /// `pd_checksum`.
    pub checksum: u16,
    /// `pd_flags`.
    pub flags: u16,
    /// `pd_lower`.
    pub lower: u16,
    /// `pd_upper`; 0 on a page that was never filled.
    pub upper: u16,
    /// `pd_special`.
    pub special: u16,
    /// Page size and layout version.
    pub size_version: u16,
}

impl PageHeader {
    /// Bytes of the header that are read.
    pub const BYTES: usize = 20;

    /// Reads the first 20 bytes; `None` if there are fewer.
    pub fn parse(page: &[u8]) -> Option<Self> {
        let page: &[u8; Self::BYTES] = page.first_chunk()?;
        let u16_at = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
        let half = |at: usize| u64::from(u16_at(at)) | u64::from(u16_at(at + 2)) << 16;
        Some(PageHeader {
            // The high half comes first, whatever the byte order.
            lsn: Lsn(half(0) << 32 | half(4)),
            checksum: u16_at(8),
            flags: u16_at(10),
            lower: u16_at(12),
            upper: u16_at(14),
            special: u16_at(16),
            size_version: u16_at(18),
        })
    }

    /// Whether the fields can be those of a filled page of this size.
    pub fn is_plausible(&self, page_bytes: usize) -> bool {
        const FLAGS: u16 = 0x0007;
        self.flags & !FLAGS == 0
            && self.lower <= self.upper
            && self.upper <= self.special
            && usize::from(self.special) <= page_bytes
            && self.special.is_multiple_of(8)
            && usize::from(self.size_version & 0xFF00) == page_bytes & 0xFFFF
    }
}

/// What is known about the backup that pages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageContext {
    /// Start of the backup: replay repairs pages that changed since. `None` for files of a stopped server.
    pub start: Option<Lsn>,
    /// End of the backup: no page of it can be newer. Without it a damaged position may pass for a new one.
    pub end: Option<Lsn>,
    /// Whether the cluster has data checksums.
    pub checksums: bool,
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageVerdict {
    /// Its checksum is right; without checksums: its header is plausible.
    Ok,
    /// All zeros: allocated, never filled.
    New,
    /// Its checksum is wrong, but it changed while the backup ran: replay repairs it.
    NewerThanBackup,
    /// Its checksum is wrong, or is 0 on a filled page.
    Bad {
        /// As stored.
        stored: u16,
        /// As computed.
        computed: u16,
        /// Position on the page.
        lsn: Lsn,
    },
    /// It looks never filled, but is not all zeros.
    NewNotZero,
    /// Without checksums: no server wrote such a header.
    BadHeader {
        /// Position on the page.
        lsn: Lsn,
    },
}

impl PageVerdict {
    /// Whether this is damage.
    pub fn is_bad(self) -> bool {
        matches!(self, PageVerdict::Bad { .. } | PageVerdict::NewNotZero | PageVerdict::BadHeader { .. })
    }
}

/// Judges one page. `block` is its number within the fork, over all file segments.
pub fn check_page(page: &[u8], block: u32, context: &PageContext) -> PageVerdict {
    let Some(header) = PageHeader::parse(page) else { return PageVerdict::NewNotZero };
    if header.upper == 0 {
        return if page.iter().all(|byte| *byte == 0) { PageVerdict::New } else { PageVerdict::NewNotZero };
    }
    let newer =
        context.start.is_some_and(|start| header.lsn >= start) && context.end.is_none_or(|end| header.lsn <= end);
    if context.checksums {
        let computed = page_checksum(page, block);
        match (computed == header.checksum, newer) {
            (true, _) => PageVerdict::Ok,
            (false, true) => PageVerdict::NewerThanBackup,
            (false, false) => PageVerdict::Bad { stored: header.checksum, computed, lsn: header.lsn },
        }
    } else if header.is_plausible(page.len()) {
        PageVerdict::Ok
    } else if newer {
        PageVerdict::NewerThanBackup
    } else {
        PageVerdict::BadHeader { lsn: header.lsn }
    }
}

/// A damaged page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPage {
    /// Its number within the fork.
    pub block: u32,
    /// Its place within the stream, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub verdict: PageVerdict,
}

/// What the pages of a file are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageReport {
    /// Whole pages seen.
    pub pages: u64,
    /// Of these, never filled.
    pub new: u64,
    /// Of these, torn or half written while the backup ran.
    pub newer: u64,
    /// The first damaged ones; see `bad_count`.
    pub bad: Vec<BadPage>,
    /// How many are damaged.
    pub bad_count: u64,
    /// Of these, the first whose header no server wrote: all that counts where the cluster turns out to have no
    /// checksums.
    pub unlikely: Vec<BadPage>,
    /// How many such pages there are.
    pub unlikely_count: u64,
    /// Bytes behind the last whole page: legal in a running backup.
    pub trailing_bytes: u64,
}

impl PageReport {
    /// Damaged pages that are kept; the rest is counted.
    pub const BAD_KEPT_MAX: usize = 32;

    /// Counts a page with the verdict on it.
    pub(super) fn add(&mut self, page: &[u8], block: u32, offset: u64, verdict: PageVerdict) {
        self.pages += 1;
        match verdict {
            PageVerdict::New => self.new += 1,
            PageVerdict::NewerThanBackup => self.newer += 1,
            verdict if verdict.is_bad() => {
                self.bad_count += 1;
                let bad = BadPage { block, offset, verdict };
                if self.bad.len() < Self::BAD_KEPT_MAX {
                    self.bad.push(bad);
                }
                let likely = matches!(verdict, PageVerdict::Bad { .. })
                    && PageHeader::parse(page).is_some_and(|header| header.is_plausible(page.len()));
                if !likely {
                    self.unlikely_count += 1;
                    if self.unlikely.len() < Self::BAD_KEPT_MAX {
                        self.unlikely.push(bad);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Checks the pages of a relation file whose bytes come in pieces of any size; holds at most one page.
#[derive(Debug)]
pub struct PageStream {
    context: PageContext,
    page_bytes: usize,
    block: u32,
    offset: u64,
    buffer: Vec<u8>,
    report: PageReport,
}

impl PageStream {
    /// A stream whose first page has the number `first_block` within its fork.
    pub fn new(context: PageContext, page_bytes: usize, first_block: u32) -> Self {
        let page_bytes = page_bytes.max(1);
        PageStream {
            context,
            page_bytes,
            block: first_block,
            offset: 0,
            buffer: Vec::new(),
            report: PageReport::default(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if !self.buffer.is_empty() {
            let taken = bytes.len().min(self.page_bytes - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() < self.page_bytes {
                return;
            }
            let page = std::mem::take(&mut self.buffer);
            self.page(&page);
            self.buffer = page;
            self.buffer.clear();
        }
        let mut pages = bytes.chunks_exact(self.page_bytes);
        for page in &mut pages {
            self.page(page);
        }
        self.buffer.extend_from_slice(pages.remainder());
    }

    fn page(&mut self, page: &[u8]) {
        let verdict = check_page(page, self.block, &self.context);
        self.report.add(page, self.block, self.offset, verdict);
        // Only a stream that is no relation file is long enough to wrap.
        self.block = self.block.wrapping_add(1);
        self.offset += self.page_bytes as u64;
    }

    /// The verdict, once all bytes were pushed.
    pub fn finish(mut self) -> PageReport {
        self.report.trailing_bytes = self.buffer.len() as u64;
        self.report
    }
}
