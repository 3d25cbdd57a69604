//! wal-g's increments: the pages of a file that changed since the parent backup.
//!
//! `"wi1" 0x55`, u64 size of the file after applying, u32 number of pages, their numbers, the pages.

use std::collections::VecDeque;
use std::fmt;

use super::PAGE_BYTES;
use super::check::{PageContext, PageReport, check_page};

/// The first four bytes.
pub const INCREMENT_MAGIC: [u8; 4] = *b"wi1\x55";

const HEADER_BYTES: usize = 16;
/// Pages that one increment may have: those of 32 GiB, where files end at 1 GiB in nearly every build. The numbers
/// are held while the pages go by.
const PAGES_MAX: u32 = 1 << 22;

/// What is wrong with an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IncrementDefect {
    /// It does not begin as an increment does.
    Magic([u8; 4]),
    /// It ends within its header or its list of page numbers.
    Short {
        /// Bytes it has.
        bytes: u64,
    },
    /// Its length does not fit the number of its pages.
    Length {
        /// Bytes that header, numbers and pages take.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// It claims more pages than any file has.
    TooManyPages(u32),
    /// The size of the file to be is no multiple of the page size.
    FileSize(u64),
    /// Page numbers do not ascend.
    Order {
        /// The number before.
        previous: u32,
        /// The number that is not greater.
        block: u32,
    },
    /// A page lies behind the end of the file to be.
    BeyondEnd {
        /// Its number.
        block: u32,
        /// Size of the file in bytes.
        file_bytes: u64,
    },
}

impl fmt::Display for IncrementDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IncrementDefect::Magic(found) => write!(f, "begins with {found:02x?}, not as an increment"),
            IncrementDefect::Short { bytes } => write!(f, "ends within its header after {bytes} bytes"),
            IncrementDefect::Length { expected, found } => {
                write!(f, "has {found} bytes where its pages need {expected}")
            }
            IncrementDefect::TooManyPages(pages) => write!(f, "claims {pages} pages"),
            IncrementDefect::FileSize(bytes) => write!(f, "is for a file of {bytes} bytes, no multiple of a page"),
            IncrementDefect::Order { previous, block } => write!(f, "page {block} comes behind page {previous}"),
            IncrementDefect::BeyondEnd { block, file_bytes } => {
                write!(f, "page {block} lies behind the end of a file of {file_bytes} bytes")
            }
        }
    }
}

/// What an increment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IncrementReport {
    /// Size in bytes of the file after applying, if the header was read.
    pub file_bytes: Option<u64>,
    /// The pages; their numbers are those within the fork.
    pub pages: PageReport,
    /// The first defects of the increment itself; see `defect_count`.
    pub defects: Vec<IncrementDefect>,
    /// How many there are.
    pub defect_count: u64,
}

impl IncrementReport {
    /// Defects that are kept; the rest is counted.
    pub const DEFECTS_KEPT_MAX: usize = 16;

    fn defect(&mut self, defect: IncrementDefect) {
        self.defect_count += 1;
        if self.defects.len() < Self::DEFECTS_KEPT_MAX {
            self.defects.push(defect);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Numbers {
        left: u32,
    },
    Pages,
    /// Nothing more can be read.
    Over,
}

/// Checks an increment whose bytes come in pieces of any size. Holds one page and the numbers of the pages to come.
#[derive(Debug)]
pub struct IncrementStream {
    context: PageContext,
    first_block: u32,
    member_bytes: u64,
    bytes: u64,
    state: State,
    buffer: Vec<u8>,
    numbers: VecDeque<u32>,
    last_number: Option<u32>,
    report: IncrementReport,
}

impl IncrementStream {
    /// For an increment of `member_bytes` bytes to a file whose first page has the number `first_block`.
    pub fn new(context: PageContext, first_block: u32, member_bytes: u64) -> Self {
        IncrementStream {
            context,
            first_block,
            member_bytes,
            bytes: 0,
            state: State::Header,
            buffer: Vec::new(),
            numbers: VecDeque::new(),
            last_number: None,
            report: IncrementReport::default(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        while !bytes.is_empty() && self.state != State::Over {
            let wanted = match self.state {
                State::Header => HEADER_BYTES,
                State::Numbers { .. } => 4,
                State::Pages | State::Over => PAGE_BYTES,
            };
            if self.buffer.is_empty() && bytes.len() >= wanted {
                let (unit, rest) = bytes.split_at(wanted);
                self.unit(unit);
                bytes = rest;
                continue;
            }
            let taken = bytes.len().min(wanted - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() == wanted {
                let unit = std::mem::take(&mut self.buffer);
                self.unit(&unit);
                self.buffer = unit;
                self.buffer.clear();
            }
        }
    }

    fn unit(&mut self, unit: &[u8]) {
        match self.state {
            State::Header => self.state = self.header(unit),
            State::Numbers { left } => {
                self.number(unit);
                self.state = if left > 1 { State::Numbers { left: left - 1 } } else { State::Pages };
            }
            State::Pages => match self.numbers.pop_front() {
                Some(number) => {
                    let block = self.first_block.wrapping_add(number);
                    let offset = u64::from(number).saturating_mul(PAGE_BYTES as u64);
                    self.report.pages.add(unit, block, offset, check_page(unit, block, &self.context));
                }
                None => self.state = State::Over,
            },
            State::Over => {}
        }
    }

    fn header(&mut self, unit: &[u8]) -> State {
        let Some((magic, rest)) = unit.split_first_chunk::<4>() else { return State::Over };
        if *magic != INCREMENT_MAGIC {
            self.report.defect(IncrementDefect::Magic(*magic));
            return State::Over;
        }
        let Some((file_bytes, rest)) = rest.split_first_chunk::<8>() else { return State::Over };
        let Some((pages, _)) = rest.split_first_chunk::<4>() else { return State::Over };
        let (file_bytes, pages) = (u64::from_le_bytes(*file_bytes), u32::from_le_bytes(*pages));
        self.report.file_bytes = Some(file_bytes);
        if !file_bytes.is_multiple_of(PAGE_BYTES as u64) {
            self.report.defect(IncrementDefect::FileSize(file_bytes));
        }
        let expected = HEADER_BYTES as u64 + u64::from(pages) * (4 + PAGE_BYTES as u64);
        if expected != self.member_bytes {
            self.report.defect(IncrementDefect::Length { expected, found: self.member_bytes });
        }
        if pages > PAGES_MAX {
            self.report.defect(IncrementDefect::TooManyPages(pages));
            return State::Over;
        }
        if pages == 0 { State::Over } else { State::Numbers { left: pages } }
    }

    fn number(&mut self, unit: &[u8]) {
        let Some(block) = unit.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)) else { return };
        if let Some(previous) = self.last_number.filter(|previous| *previous >= block) {
            self.report.defect(IncrementDefect::Order { previous, block });
        }
        let file_bytes = self.report.file_bytes.unwrap_or(0);
        if (u64::from(block) + 1) * PAGE_BYTES as u64 > file_bytes {
            self.report.defect(IncrementDefect::BeyondEnd { block, file_bytes });
        }
        self.last_number = Some(block);
        self.numbers.push_back(block);
    }

    /// The verdict, once all bytes were pushed.
    pub fn finish(mut self) -> IncrementReport {
        match self.state {
            State::Header | State::Numbers { .. } => self.report.defect(IncrementDefect::Short { bytes: self.bytes }),
            // The length in the tar header was right, but fewer bytes came.
            State::Pages if self.bytes < self.member_bytes => {
                self.report.defect(IncrementDefect::Length { expected: self.member_bytes, found: self.bytes });
            }
            State::Pages | State::Over => {}
        }
        self.report
    }
}
