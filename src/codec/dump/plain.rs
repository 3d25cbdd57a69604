//! SQL for `psql`: begins and ends with a comment of `pg_dump`'s.

use std::io::{self, Read};

use super::archive::encoding_of;
use super::{Dump, DumpError, DumpKind, fill};

/// Where the opening comment, the versions and the encoding stand.
const HEAD_BYTES: usize = 16 << 10;
/// Where the closing comment stands: what follows are comments, empty lines and psql's `\unrestrict`.
const TAIL_BYTES: usize = 4 << 10;

pub(super) fn check(input: &mut dyn Read) -> Result<Dump, DumpError> {
    let mut head = vec![0; HEAD_BYTES];
    let length = fill(input, &mut head).map_err(DumpError::Read)?;
    head.truncate(length);
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.lines().take(200).map(str::trim_end);
    let kind = lines.find_map(|line| match line {
        "-- PostgreSQL database dump" => Some(DumpKind::Plain),
        "-- PostgreSQL database cluster dump" => Some(DumpKind::PlainCluster),
        _ => None,
    });
    let Some(kind) = kind else {
        let shown: String = text.chars().take(24).flat_map(char::escape_default).collect();
        return Err(DumpError::NotADump(format!("it begins with {shown:?}")));
    };
    let mut dump = Dump::new(kind);
    for line in text.lines() {
        if let Some(version) = line.strip_prefix("-- Dumped from database version ") {
            dump.server_version.get_or_insert_with(|| short(version));
        } else if let Some(version) = line.strip_prefix("-- Dumped by pg_dump version ") {
            dump.dump_version.get_or_insert_with(|| short(version));
        } else if line.starts_with("SET client_encoding = '") && dump.encoding.is_none() {
            dump.encoding = encoding_of(line);
        }
    }
    let mut tail = head.split_off(head.len().saturating_sub(TAIL_BYTES));
    dump.bytes = length as u64;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                dump.bytes += read as u64;
                tail.extend_from_slice(&buffer[..read]);
                tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DumpError::Read(error)),
        }
    }
    let wanted = match kind {
        DumpKind::PlainCluster => "-- PostgreSQL database cluster dump complete",
        _ => "-- PostgreSQL database dump complete",
    };
    let tail = String::from_utf8_lossy(&tail);
    let mut last = tail.lines().rev().map(str::trim_end);
    let beside = |line: &&str| line.is_empty() || *line == "--" || line.starts_with("\\unrestrict ");
    if last.find(|line| !beside(line)) != Some(wanted) {
        let message = format!("the closing comment {wanted:?} is missing: the dump was cut");
        return Err(DumpError::Damaged { message, at_byte: dump.bytes });
    }
    Ok(dump)
}

fn short(text: &str) -> String {
    text.trim().chars().take(100).collect()
}
