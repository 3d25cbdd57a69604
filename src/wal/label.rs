//! `backup_label`, backup history files and `tablespace_map`: small text files of a base backup.

use crate::model::{Lsn, SegmentName, TimelineId};

/// A parsed `backup_label`, or backup history file, which has the `stop` fields too. Times are kept as text: they are
/// in the server's `log_timezone`, whose abbreviation does not tell which zone that is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupLabel {
    /// Where WAL is needed from.
    pub start: Lsn,
    /// The segment named beside it.
    pub start_segment: Option<SegmentName>,
    /// Where the backup ended.
    pub stop: Option<Lsn>,
    /// The segment named beside it.
    pub stop_segment: Option<SegmentName>,
    /// The checkpoint's record.
    pub checkpoint: Lsn,
    /// `streamed` or `pg_start_backup`.
    pub method: Option<String>,
    /// `primary` or `standby`.
    pub from: Option<String>,
    /// As written.
    pub start_time: Option<String>,
    /// As written.
    pub stop_time: Option<String>,
    /// The name given by whoever took the backup.
    pub label: Option<String>,
    /// From 11 on.
    pub start_timeline: Option<TimelineId>,
    /// From 11 on.
    pub stop_timeline: Option<TimelineId>,
    /// 17 and later: the backup this one is incremental to. A server does not start on such a directory.
    pub incremental_from: Option<Lsn>,
    /// Timeline of `incremental_from`.
    pub incremental_from_timeline: Option<TimelineId>,
}

/// Why a file is no backup label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelProblem {
    /// Larger than any server writes.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// A line that must be there is not.
    #[error("has no line `{0}`")]
    Missing(&'static str),
    /// A line whose value is not what it should be.
    #[error("line `{0}` has the value {1:?}")]
    Value(&'static str, String),
}

const START: &str = "START WAL LOCATION";
const STOP: &str = "STOP WAL LOCATION";
const CHECKPOINT: &str = "CHECKPOINT LOCATION";

impl BackupLabel {
    /// Largest file that is read; a server writes about 250 bytes.
    pub const BYTES_MAX: usize = 1 << 16;

    /// Reads the file. Lines that are not known are passed over, as servers do.
    pub fn parse(text: &[u8]) -> Result<Self, LabelProblem> {
        if text.len() > Self::BYTES_MAX {
            return Err(LabelProblem::TooLarge(Self::BYTES_MAX));
        }
        let text = String::from_utf8_lossy(text);
        let value = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(|value| value.trim())
        };
        let bad = |key, value: &str| LabelProblem::Value(key, value.chars().take(80).collect());
        let place = |key: &'static str| -> Result<Option<(Lsn, Option<SegmentName>)>, LabelProblem> {
            let Some(value) = value(key) else { return Ok(None) };
            let (lsn, rest) = value.split_once(' ').unwrap_or((value, ""));
            let lsn = lsn.parse().map_err(|_| bad(key, value))?;
            let name = rest.trim().strip_prefix("(file ").and_then(|rest| rest.strip_suffix(')'));
            Ok(Some((lsn, name.and_then(|name| SegmentName::parse(name.as_bytes())))))
        };
        let timeline = |key: &'static str| -> Result<Option<TimelineId>, LabelProblem> {
            let Some(value) = value(key) else { return Ok(None) };
            value.parse().ok().and_then(TimelineId::new).map(Some).ok_or_else(|| bad(key, value))
        };
        let (start, start_segment) = place(START)?.ok_or(LabelProblem::Missing(START))?;
        let (checkpoint, _) = place(CHECKPOINT)?.ok_or(LabelProblem::Missing(CHECKPOINT))?;
        let stop = place(STOP)?;
        let owned = |key: &str| value(key).map(str::to_owned);
        Ok(BackupLabel {
            start,
            start_segment,
            stop: stop.map(|(lsn, _)| lsn),
            stop_segment: stop.and_then(|(_, name)| name),
            checkpoint,
            method: owned("BACKUP METHOD"),
            from: owned("BACKUP FROM"),
            start_time: owned("START TIME"),
            stop_time: owned("STOP TIME"),
            label: owned("LABEL"),
            start_timeline: timeline("START TIMELINE")?,
            stop_timeline: timeline("STOP TIMELINE")?,
            incremental_from: place("INCREMENTAL FROM LSN")?.map(|(lsn, _)| lsn),
            incremental_from_timeline: timeline("INCREMENTAL FROM TLI")?,
        })
    }

    /// Whether the backup was taken from a standby.
    pub fn is_from_standby(&self) -> bool {
        self.from.as_deref() == Some("standby")
    }
}

/// One line of `tablespace_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceMapEntry {
    /// The tablespace: its link is `pg_tblspc/<oid>`.
    pub oid: u32,
    /// Where it lay on the source host.
    pub path: Vec<u8>,
}

/// Reads a `tablespace_map`; the number of a line (counted from 1) that is not `OID path` is the error. Backslashes
/// take the meaning from a line feed, carriage return or backslash within a path.
pub fn parse_tablespace_map(text: &[u8]) -> Result<Vec<TablespaceMapEntry>, usize> {
    let mut entries = Vec::new();
    let mut line = Vec::new();
    let mut number = 1;
    let mut bytes = text.iter().copied();
    loop {
        let byte = bytes.next();
        match byte {
            Some(b'\\') => line.extend(bytes.next()),
            Some(byte) if byte != b'\n' && byte != b'\r' => line.push(byte),
            _ => {
                if !line.is_empty() {
                    entries.push(entry(&line).ok_or(number)?);
                    line.clear();
                }
                number += usize::from(byte == Some(b'\n'));
                if byte.is_none() {
                    return Ok(entries);
                }
            }
        }
    }
}

fn entry(line: &[u8]) -> Option<TablespaceMapEntry> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let oid = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let path = line[space + 1..].to_vec();
    (!path.is_empty()).then_some(TablespaceMapEntry { oid, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABEL: &[u8] = b"START WAL LOCATION: 0/1800028 (file 000000010000000000000018)\n\
        CHECKPOINT LOCATION: 0/1800060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-20 23:02:05 UTC\nLABEL: lbl\nSTART TIMELINE: 1\n";

    #[test]
    fn reads_a_label() {
        let label = BackupLabel::parse(LABEL).unwrap();
        assert_eq!(label.start, Lsn(0x180_0028));
        assert_eq!(label.start_segment.unwrap().to_string(), "000000010000000000000018");
        assert_eq!(label.checkpoint, Lsn(0x180_0060));
        assert_eq!((label.method.as_deref(), label.label.as_deref()), (Some("streamed"), Some("lbl")));
        assert_eq!(label.start_timeline, Some(TimelineId::FIRST));
        assert_eq!((label.stop, label.is_from_standby()), (None, false));
    }

    #[test]
    fn reads_a_history_file_and_an_incremental_label() {
        let mut text = LABEL.to_vec();
        text.extend(b"STOP WAL LOCATION: 0/1800100 (file 000000010000000000000018)\nSTOP TIMELINE: 2\n");
        text.extend(b"INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n");
        let label = BackupLabel::parse(&text).unwrap();
        assert_eq!(label.stop, Some(Lsn(0x180_0100)));
        assert_eq!(label.stop_timeline.unwrap().get(), 2);
        assert_eq!(label.incremental_from, Some(Lsn(0x100_0028)));
    }

    #[test]
    fn says_what_is_missing() {
        assert_eq!(BackupLabel::parse(b""), Err(LabelProblem::Missing(START)));
        assert_eq!(BackupLabel::parse(b"START WAL LOCATION: 0/1\n"), Err(LabelProblem::Missing(CHECKPOINT)));
        assert_eq!(
            BackupLabel::parse(b"START WAL LOCATION: here\n"),
            Err(LabelProblem::Value(START, "here".to_owned()))
        );
    }

    #[test]
    fn reads_a_tablespace_map() {
        let entries = parse_tablespace_map(b"16400 /mnt/ts\n16401 /mnt/a\\\nb\\\\c\n").unwrap();
        assert_eq!(entries[0], TablespaceMapEntry { oid: 16400, path: b"/mnt/ts".to_vec() });
        assert_eq!(entries[1].path, b"/mnt/a\nb\\c");
        assert_eq!(parse_tablespace_map(b"16400 /a\nx /b\n"), Err(2));
        assert_eq!(parse_tablespace_map(b""), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = BackupLabel::parse(&bytes);
            let _ = parse_tablespace_map(&bytes);
        }
    }
}
