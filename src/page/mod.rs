//! Data pages: headers and checksums, whole relation files and wal-g increments as they stream by.
//!
//! Pure like `wal`: bytes in, verdicts out.

mod check;
mod checksum;
mod increment;
mod relation;
#[cfg(test)]
mod tests;

pub use check::{BadPage, PageContext, PageHeader, PageReport, PageStream, PageVerdict, check_page};
pub use checksum::page_checksum;
pub use increment::{INCREMENT_MAGIC, IncrementDefect, IncrementReport, IncrementStream};
pub use relation::{Fork, RelationFile, relation_file};

/// Page size of nearly every build.
pub const PAGE_BYTES: usize = 8192;

/// Reads any bytes as a page, as the content of a relation file, as an increment and as a path. For fuzzing: must
/// neither panic nor allocate by what the bytes claim.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    use crate::model::Lsn;

    let context = PageContext { start: Some(Lsn(1 << 20)), end: Some(Lsn(1 << 30)), checksums: true };
    let _ = check_page(bytes, 7, &context);
    let mut pages = PageStream::new(context, PAGE_BYTES, u32::MAX - 3);
    let mut increment = IncrementStream::new(context, u32::MAX - 3, bytes.len() as u64);
    for piece in bytes.chunks(1009) {
        pages.push(piece);
        increment.push(piece);
    }
    let _ = pages.finish();
    for defect in increment.finish().defects {
        let _ = defect.to_string();
    }
    let _ = relation_file(bytes, 131_072);
}
