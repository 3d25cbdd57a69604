//! Digests of a segment's beginning, up to watched positions.

use crate::model::Lsn;
use crate::wal::digest::{PrefixDigest, Rolling};

/// Marks in one segment: two copies that differ are told apart to a 2048th of a segment.
const MARKS_MAX: u64 = 2048;
const MARK_BYTES_MIN: u64 = 8192;

#[derive(Debug)]
pub(super) struct PrefixTracker {
    first: u64,
    rolling: Rolling,
    offset: u64,
    mark_bytes: u64,
    marks: Vec<u32>,
    /// Offsets still to come, descending.
    watch: Vec<u64>,
    done: Vec<PrefixDigest>,
}

impl PrefixTracker {
    /// `None` if no position lies inside the segment.
    pub(super) fn new(first: u64, size: u64, watch: &[Lsn]) -> Option<Self> {
        let mut watch: Vec<u64> =
            watch.iter().filter_map(|at| at.0.checked_sub(first)).filter(|at| *at > 0 && *at < size).collect();
        watch.sort_unstable();
        watch.dedup();
        watch.reverse();
        (!watch.is_empty()).then(|| PrefixTracker {
            first,
            rolling: Rolling::new(),
            offset: 0,
            mark_bytes: MARK_BYTES_MIN.max(size / MARKS_MAX),
            marks: Vec::new(),
            watch,
            done: Vec::new(),
        })
    }

    /// Takes the next page; all but the last are multiples of 32 bytes long.
    pub(super) fn feed(&mut self, page: &[u8]) {
        let end = self.offset + page.len() as u64;
        while let Some(at) = self.watch.pop_if(|at| *at <= end) {
            let mut rolling = self.rolling.clone();
            rolling.update(&page[..usize::try_from(at - self.offset).unwrap_or(0).min(page.len())]);
            self.done.push(PrefixDigest {
                until: Lsn(self.first.wrapping_add(at)),
                digest: rolling.digest(),
                marks: self.marks.clone(),
                mark_bytes: self.mark_bytes,
            });
        }
        if self.watch.is_empty() {
            return;
        }
        self.rolling.update(page);
        self.offset = end;
        // Pages larger than the distance of the marks would skip some; both copies skip the same.
        if end.is_multiple_of(self.mark_bytes) {
            self.marks.push(self.rolling.crc());
        }
    }

    pub(super) fn finish(self) -> Vec<PrefixDigest> {
        self.done
    }
}
