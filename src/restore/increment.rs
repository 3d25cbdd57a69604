//! Applying an increment: pages that changed since the parent, written into the parent's file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::page::{INCREMENT_MAGIC, PAGE_BYTES};

const HEADER_BYTES: u64 = 16;

/// Why an increment was not applied.
#[derive(Debug)]
pub(super) enum IncrementError {
    /// Its bytes make no sense.
    Content(String),
    /// The reader failed.
    Read(io::Error),
    /// The file could not be written.
    Write(io::Error),
}

/// Reads an increment of `bytes` bytes and applies it; gives the bytes written. Doing it twice does no harm, so an
/// interrupted restore may begin it again.
pub(super) fn apply(
    input: &mut dyn Read,
    bytes: u64,
    file: &File,
    buffer: &mut [u8],
    stop: &dyn Fn() -> bool,
) -> Result<u64, IncrementError> {
    let content = |what: String| Err(IncrementError::Content(what));
    if bytes < HEADER_BYTES {
        return content(format!("an increment of {bytes} bytes"));
    }
    let mut head = [0; HEADER_BYTES as usize];
    input.read_exact(&mut head).map_err(IncrementError::Read)?;
    let [m0, m1, m2, m3, s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = head;
    if [m0, m1, m2, m3] != INCREMENT_MAGIC {
        return content("is listed as an increment and does not begin like one".to_owned());
    }
    let file_bytes = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let pages = u64::from(u32::from_le_bytes([n0, n1, n2, n3]));
    let expected = HEADER_BYTES + pages * (4 + PAGE_BYTES as u64);
    if expected != bytes {
        return content(format!("an increment of {pages} pages has {bytes} bytes instead of {expected}"));
    }
    if !file_bytes.is_multiple_of(PAGE_BYTES as u64) {
        return content(format!("an increment for a file of {file_bytes} bytes, no multiple of a page"));
    }
    let numbers = numbers(input, pages, file_bytes)?;
    // What the file has beyond its new end goes; what it lacks reads as zeros until pages come.
    file.set_len(file_bytes).map_err(IncrementError::Write)?;
    let room = (buffer.len() / PAGE_BYTES).max(1);
    let mut at = 0;
    while at < numbers.len() {
        if stop() {
            return Err(IncrementError::Read(io::Error::other(crate::store::Stopped)));
        }
        // Neighbours go in one write.
        let mut run = 1;
        while run < room && at + run < numbers.len() && numbers[at + run] == numbers[at] + run as u32 {
            run += 1;
        }
        let pages = &mut buffer[..run * PAGE_BYTES];
        input.read_exact(pages).map_err(IncrementError::Read)?;
        file.write_all_at(pages, u64::from(numbers[at]) * PAGE_BYTES as u64).map_err(IncrementError::Write)?;
        at += run;
    }
    Ok(numbers.len() as u64 * PAGE_BYTES as u64)
}

/// The page numbers: ascending, and within the file to be. Grows as they arrive, whatever the header claims.
fn numbers(input: &mut dyn Read, pages: u64, file_bytes: u64) -> Result<Vec<u32>, IncrementError> {
    let mut numbers: Vec<u32> = Vec::new();
    let mut piece = [0; 4096];
    let mut left = pages;
    while left > 0 {
        let count = left.min(piece.len() as u64 / 4);
        let piece = &mut piece[..count as usize * 4];
        input.read_exact(piece).map_err(IncrementError::Read)?;
        for number in piece.chunks_exact(4) {
            let number = u32::from_le_bytes([number[0], number[1], number[2], number[3]]);
            if let Some(last) = numbers.last().filter(|last| **last >= number) {
                return Err(IncrementError::Content(format!("page {number} comes behind page {last}")));
            }
            if (u64::from(number) + 1) * PAGE_BYTES as u64 > file_bytes {
                let what = format!("page {number} lies behind the end of a file of {file_bytes} bytes");
                return Err(IncrementError::Content(what));
            }
            numbers.push(number);
        }
        left -= count;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increment(file_bytes: u64, numbers: &[u32]) -> Vec<u8> {
        let mut bytes = INCREMENT_MAGIC.to_vec();
        bytes.extend(file_bytes.to_le_bytes());
        bytes.extend((numbers.len() as u32).to_le_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(numbers.iter().flat_map(|number| vec![*number as u8; PAGE_BYTES]));
        bytes
    }

    fn applied(increment: &[u8], size: u64, pages: u64) -> Result<Vec<u8>, IncrementError> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0xEE; pages as usize * PAGE_BYTES], 0).unwrap();
        apply(&mut &increment[..], size, &file, &mut vec![0; 2 * PAGE_BYTES], &|| false)?;
        let mut firsts = vec![0; file.metadata().unwrap().len() as usize / PAGE_BYTES];
        for (page, first) in firsts.iter_mut().enumerate() {
            file.read_exact_at(std::slice::from_mut(first), (page * PAGE_BYTES) as u64).unwrap();
        }
        Ok(firsts)
    }

    #[test]
    fn pages_land_where_they_belong() {
        let pages = PAGE_BYTES as u64;
        let bytes = increment(7 * pages, &[0, 3, 4, 5, 6]);
        assert_eq!(applied(&bytes, bytes.len() as u64, 4).unwrap(), [0, 0xEE, 0xEE, 3, 4, 5, 6]);
        let bytes = increment(2 * pages, &[1]);
        assert_eq!(applied(&bytes, bytes.len() as u64, 5).unwrap(), [0xEE, 1]);
        let bytes = increment(6 * pages, &[]);
        assert_eq!(applied(&bytes, 16, 4).unwrap(), [0xEE, 0xEE, 0xEE, 0xEE, 0, 0]);
    }

    #[test]
    fn nonsense_is_content_and_a_cut_is_the_readers() {
        let pages = PAGE_BYTES as u64;
        let refused = |bytes: &[u8], size: u64| matches!(applied(bytes, size, 2), Err(IncrementError::Content(_)));
        let good = increment(2 * pages, &[0, 1]);
        assert!(refused(&good, good.len() as u64 - 1));
        assert!(refused(&good, 5));
        assert!(refused(&increment(2 * pages, &[1, 0]), good.len() as u64));
        assert!(refused(&increment(2 * pages, &[0, 2]), good.len() as u64));
        assert!(refused(&increment(2 * pages + 1, &[0, 1]), good.len() as u64));
        let mut other = good.clone();
        other[3] = 0;
        assert!(refused(&other, good.len() as u64));
        assert!(matches!(applied(&good[..good.len() - 1], good.len() as u64, 2), Err(IncrementError::Read(_))));
        // A header that claims the world costs nothing.
        let mut huge = increment(u64::MAX / pages * pages, &[]);
        huge[12..16].fill(0xFF);
        let size = 16 + u64::from(u32::MAX) * (4 + pages);
        assert!(matches!(applied(&huge, size, 1), Err(IncrementError::Read(_))));
    }
}
