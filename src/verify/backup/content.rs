//! The pages of one file as they stream by, whole or as an increment.

use std::fmt::Write;

use super::expect::Expectation;
use super::files::Listed;
use crate::catalog::evidence::MemberDefect;
use crate::model::ObjectKey;
use crate::page::{
    BadPage, INCREMENT_MAGIC, IncrementReport, IncrementStream, PAGE_BYTES, PageReport, PageStream, PageVerdict,
    RelationFile,
};

/// Whether a member of a delta is whole or an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Increment,
    /// No list tells: its first bytes do.
    ByMagic,
}

/// Checks a relation file whose bytes come in pieces.
pub(super) struct RelationStream {
    form: Form,
    is_delta: bool,
    first_block: u32,
    member_bytes: u64,
    expectation: crate::page::PageContext,
    work: Work,
    head: Vec<u8>,
}

enum Work {
    Undecided,
    Pages(PageStream),
    Increment(IncrementStream),
}

/// What a relation file turned out to be.
pub(super) struct RelationSeen {
    pub pages: PageReport,
    pub increment: Option<IncrementReport>,
    /// The list says whole, the first bytes say increment.
    pub disguised: bool,
}

impl RelationStream {
    pub fn new(expectation: &Expectation, listed: Option<Listed<'_>>, file: RelationFile, member_bytes: u64) -> Self {
        let form = match listed {
            Some(listed) if listed.incremented => Form::Increment,
            Some(listed) if listed.listed => Form::Whole,
            _ if expectation.is_delta => Form::ByMagic,
            _ => Form::Whole,
        };
        RelationStream {
            form,
            is_delta: expectation.is_delta,
            first_block: file.first_block,
            member_bytes,
            expectation: expectation.pages,
            work: Work::Undecided,
            head: Vec::new(),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.work {
            Work::Pages(pages) => pages.push(bytes),
            Work::Increment(increment) => increment.push(bytes),
            Work::Undecided => {
                self.head.extend_from_slice(bytes);
                if self.head.len() >= INCREMENT_MAGIC.len() {
                    self.decide();
                }
            }
        }
    }

    fn decide(&mut self) {
        let magic = self.head.starts_with(&INCREMENT_MAGIC);
        let head = std::mem::take(&mut self.head);
        self.work = match self.form {
            Form::Increment => self.increment(&head),
            Form::ByMagic if magic => self.increment(&head),
            Form::Whole | Form::ByMagic => {
                let mut pages = PageStream::new(self.expectation, PAGE_BYTES, self.first_block);
                pages.push(&head);
                Work::Pages(pages)
            }
        };
        // Kept for the end: a whole file of a delta that begins as an increment.
        if self.form == Form::Whole && magic && self.is_delta {
            self.head = head;
            self.head.truncate(INCREMENT_MAGIC.len());
        }
    }

    fn increment(&self, head: &[u8]) -> Work {
        let mut increment = IncrementStream::new(self.expectation, self.first_block, self.member_bytes);
        increment.push(head);
        Work::Increment(increment)
    }

    pub fn finish(mut self) -> RelationSeen {
        if matches!(self.work, Work::Undecided) {
            self.decide();
        }
        let disguised = !self.head.is_empty();
        match self.work {
            Work::Pages(pages) => RelationSeen { pages: pages.finish(), increment: None, disguised },
            Work::Increment(increment) => {
                let report = increment.finish();
                RelationSeen { pages: report.pages.clone(), increment: Some(report), disguised }
            }
            Work::Undecided => RelationSeen { pages: PageReport::default(), increment: None, disguised },
        }
    }
}

/// A file with damaged pages, for a report.
pub(super) fn page_defect(path: &[u8], bad: &[BadPage], count: u64) -> MemberDefect {
    let mut message = match count {
        1 => "has a damaged page: ".to_owned(),
        _ => format!("has {count} damaged pages, first "),
    };
    if let Some(first) = bad.first() {
        let _ = match first.verdict {
            PageVerdict::Bad { stored, computed, lsn } => write!(
                message,
                "block {} with checksum {stored}, its bytes give {computed} (page LSN {lsn})",
                first.block
            ),
            PageVerdict::NewNotZero => {
                write!(message, "block {} looks never filled, but is not all zeros", first.block)
            }
            PageVerdict::BadHeader { lsn } => {
                write!(message, "block {} with a header that no server writes (page LSN {lsn})", first.block)
            }
            _ => write!(message, "block {}", first.block),
        };
    }
    MemberDefect { path: ObjectKey::new(path), message, blocks: bad.iter().map(|page| page.block).collect(), count }
}

/// An increment that is malformed, for a report.
pub(super) fn increment_defect(path: &[u8], report: &IncrementReport) -> Option<MemberDefect> {
    let first = report.defects.first()?;
    Some(MemberDefect {
        path: ObjectKey::new(path),
        message: format!("is malformed: {first}"),
        blocks: Vec::new(),
        count: report.defect_count,
    })
}
