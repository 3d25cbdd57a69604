//! The sizes of all files against the sentinel's sum.

use super::{Judge, Kind};
use crate::catalog::Producer;

/// What the two zero blocks at the end of a tar take.
const END_MARK_BYTES: u64 = 1024;
/// A server may pad its stream to a record of this size.
const STREAM_SLACK_BYTES: u64 = 10_240;

pub(super) fn judge(judge: &mut Judge<'_>) {
    let Some(expected) = judge.backup.uncompressed_size.copied().filter(|bytes| *bytes > 0) else { return };
    // What is known to be missing by name need not be missed by size.
    let known = judge.out.defects.iter().any(|defect| defect.kind == Kind::FileMissing);
    if known || !judge.complete || judge.parts.iter().any(|part| judge.is_cut(part)) {
        return;
    }
    if judge.streamed {
        return streamed(judge, expected);
    }
    // Tars that were copied from an older backup are not counted.
    let counted = judge.parts.iter().filter(|part| !part.name.starts_with("copy_"));
    let found: u64 = counted.map(|part| part.member_bytes).sum();
    match judge.backup.producer {
        // Files that vanish while wal-e runs were counted before.
        Producer::WalE if found < expected && expected - found <= expected / 100 => {
            let message =
                format!("its files have {found} bytes, the sentinel counted {expected}: some vanished meanwhile");
            judge.contradiction(Kind::FileUnexpected, None, message, expected, found);
        }
        _ if found < expected => short(judge, expected, found),
        _ if found > expected => {
            let message = format!("its files have {found} bytes, more than the {expected} of the sentinel");
            judge.contradiction(Kind::FileUnexpected, None, message, expected, found);
        }
        _ => {}
    }
}

/// The sentinel of a streamed backup counts the stream itself, with a tar for each tablespace and one for the rest.
fn streamed(judge: &mut Judge<'_>, expected: u64) {
    let parts = judge.parts.iter().filter(|part| !part.name.starts_with("pg_control.tar"));
    let found: u64 = parts.map(|part| part.stream_bytes).sum();
    let tars = judge.backup.tablespaces.len() as u64 + 1;
    let slack = tars * (END_MARK_BYTES + STREAM_SLACK_BYTES);
    if found < expected.saturating_sub(slack) {
        short(judge, expected, found);
    }
}

fn short(judge: &mut Judge<'_>, expected: u64, found: u64) {
    let missing = expected - found;
    let message = format!("its files have {found} bytes, {missing} fewer than the sentinel counted");
    judge.contradiction(Kind::SizeMismatch, None, message, expected, found);
}
