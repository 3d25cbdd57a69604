//! Whether a decoded file is what its name says, while it is written.

use std::fs::File;
use std::io::{Read, Write};

use super::{BYTES_MAX, Expect, FetchError, sorted};
use crate::fetch::Problem;
use crate::model::{SegmentName, TimelineHistory, WalFileName};
use crate::wal::header::{LONG_HEADER_BYTES, LongHeader};
use crate::wal::{BackupLabel, DecodeOptions, SegmentDecoder, SegmentEnd};

/// The largest block of the usual codec: it is then decoded straight into the buffer.
const BUFFER_BYTES: usize = 4 << 20;

/// A file that holds what it should.
pub(super) struct Checked {
    pub bytes: u64,
    /// Its WAL ends before the segment does and no switch record says so: where.
    pub ends_early: Option<String>,
    /// The segment behind it.
    pub next: Option<WalFileName>,
}

/// Copies a file of WAL and checks it on the way.
pub(super) fn copy(
    name: &WalFileName,
    key: &str,
    input: &mut dyn Read,
    file: &mut File,
    expect: Expect,
) -> Result<Checked, FetchError> {
    match name {
        WalFileName::Segment(segment) => copy_segment(*segment, false, key, input, file, expect),
        WalFileName::Partial(segment) => copy_segment(*segment, true, key, input, file, expect),
        WalFileName::History(timeline) => {
            let text = small(key, input, TimelineHistory::BYTES_MAX)?;
            if let Err(problem) = TimelineHistory::parse(*timeline, &text) {
                return damaged(key, &problem.to_string());
            }
            whole(&text, file)
        }
        WalFileName::BackupHistory { .. } => {
            let text = small(key, input, BackupLabel::BYTES_MAX)?;
            if let Err(problem) = BackupLabel::parse(&text) {
                return damaged(key, &problem.to_string());
            }
            whole(&text, file)
        }
    }
}

fn damaged<T>(key: &str, what: &str) -> Result<T, FetchError> {
    Err(FetchError::Damaged(format!("{key}: {what}")))
}

fn copy_segment(
    name: SegmentName,
    partial: bool,
    key: &str,
    input: &mut dyn Read,
    file: &mut File,
    expect: Expect,
) -> Result<Checked, FetchError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = fill(key, input, &mut buffer)?;
    let Some(header) = LongHeader::parse(&buffer[..filled]) else {
        return damaged(key, &format!("{filled} bytes, fewer than the {LONG_HEADER_BYTES} of a segment's header"));
    };
    if let Some(problem) = header.problem() {
        return damaged(key, &problem.to_string());
    }
    let Ok(size) = header.segment_size() else { return damaged(key, "the header has no segment size") };
    let Some(number) = name.number(size) else {
        return damaged(key, &format!("no cluster with segments of {size} has a segment of this name"));
    };
    let (found, due) = (header.short.address, number.start(size));
    if found != due {
        return damaged(key, &format!("holds the segment at {found}, its name stands for {due}"));
    }
    if header.short.timeline > name.timeline.get() {
        let timeline = header.short.timeline;
        return damaged(key, &format!("begins on timeline {timeline}, behind the {} of its name", name.timeline.get()));
    }
    if let Some(system) = expect.system_identifier.filter(|system| *system != header.system_id) {
        return damaged(key, &format!("was written by system {}, the server is {system}", header.system_id));
    }
    if let Some(bytes) = expect.segment_size.filter(|bytes| *bytes != size.bytes()) {
        return damaged(key, &format!("has segments of {size}, the server's have {bytes} bytes"));
    }
    // As a live file: what comes behind the end of WAL is no damage, unless WAL goes on behind it.
    let mut options = DecodeOptions::new(name.timeline, number, size);
    options.partial = true;
    let mut decoder = SegmentDecoder::new(options);
    let mut bytes = 0_u64;
    while filled > 0 {
        bytes += filled as u64;
        if bytes > size.bytes() {
            return damaged(key, &format!("goes on behind the {} bytes of a segment", size.bytes()));
        }
        decoder.push(&buffer[..filled]);
        write(file, &buffer[..filled])?;
        filled = fill(key, input, &mut buffer)?;
    }
    if bytes != size.bytes() {
        return damaged(key, &format!("{bytes} bytes instead of {}", size.bytes()));
    }
    let (summary, _) = decoder.finish();
    if summary.is_damaged()
        && let Some(defect) = summary.defects.iter().find(|defect| !defect.kind.is_harmless())
    {
        return damaged(key, &defect.to_string());
    }
    let ends_early = match summary.edges.end {
        SegmentEnd::EndOfData { at, .. } if !partial => Some(format!("its WAL ends at {at}, before the segment does")),
        _ => None,
    };
    let next = WalFileName::Segment(number.next().name(name.timeline, size));
    Ok(Checked { bytes, ends_early, next: Some(next) })
}

/// Fills a buffer as far as the input reaches; at its end the codec has checked all that it can.
fn fill(key: &str, input: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, FetchError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(sorted(key, Problem::of_io(&error))),
        }
    }
    Ok(filled)
}

fn small(key: &str, input: &mut dyn Read, max: usize) -> Result<Vec<u8>, FetchError> {
    let mut text = Vec::new();
    let room = (max as u64 + 1).min(BYTES_MAX);
    let read = input.take(room).read_to_end(&mut text);
    read.map_err(|error| sorted(key, Problem::of_io(&error)))?;
    Ok(text)
}

fn whole(text: &[u8], file: &mut File) -> Result<Checked, FetchError> {
    write(file, text)?;
    Ok(Checked { bytes: text.len() as u64, ends_early: None, next: None })
}

fn write(file: &mut File, bytes: &[u8]) -> Result<(), FetchError> {
    file.write_all(bytes).map_err(|error| FetchError::Failed(format!("cannot write: {error}")))
}

/// Whether a file that was checked before is still what its name says: its length and its header.
pub(super) fn still_whole(name: SegmentName, file: &File, expect: Expect) -> bool {
    let mut head = [0; LONG_HEADER_BYTES];
    let mut reader = file;
    if reader.read_exact(&mut head).is_err() {
        return false;
    }
    let Some(header) = LongHeader::parse(&head) else { return false };
    let (None, Ok(size)) = (header.problem(), header.segment_size()) else { return false };
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == size.bytes())
        && name.number(size).is_some_and(|number| number.start(size) == header.short.address)
        && expect.system_identifier.is_none_or(|system| system == header.system_id)
        && expect.segment_size.is_none_or(|bytes| bytes == size.bytes())
}
