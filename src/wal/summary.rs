//! What is known of a segment once its bytes have gone by.

use serde::{Deserialize, Serialize};

use super::defect::{DefectKind, DefectList};
use super::digest::{Digest, PrefixDigest};
use super::event::{Event, EventKind, RecordTime};
use super::header::major_of_magic;
use crate::model::{Lsn, PgMajor, SegmentNo, SegmentSize, TimelineId};

/// Leading bytes of a record that are kept at a segment's edge: enough for its header and for any time in it.
pub const EDGE_HEAD_BYTES_MAX: usize = 128;

/// All that one pass over a segment yields.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SegmentSummary {
    /// What stitching to the neighbours needs.
    pub edges: SegmentEdges,
    /// Bytes that were pushed.
    pub bytes: u64,
    /// Records that begin and end here and whose CRC was right.
    pub records: u64,
    /// Records that a crash cut off and a later one replaced, as it should be.
    pub abandoned_records: u32,
    /// How many records each resource manager wrote, ascending by its number.
    pub resource_managers: Vec<(u8, u32)>,
    /// Times, commits and restore points.
    pub times: SegmentTimes,
    /// What is wrong.
    pub defects: DefectList,
    /// The first record since which nothing is wrong up to the end: recovery that begins there or behind does not meet
    /// the defects before. `None` where something is wrong with the segment as a whole, its first page included.
    pub sound_from: Option<Lsn>,
    /// One digest for each watched position inside this segment, ascending; fewer if the segment was short.
    pub prefixes: Vec<PrefixDigest>,
    /// Digest of all that recovery reads: up to the end of the switch record, else of all bytes. Present if asked for.
    pub content: Option<Digest>,
}

/// The outer ends of a segment: small, to be kept for stitching after its bytes are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SegmentEdges {
    /// Timeline of the file's name.
    pub timeline: TimelineId,
    /// Number of the segment.
    pub number: SegmentNo,
    /// Segment size of the archive.
    pub size: SegmentSize,
    /// The long header's fields; `None` if there were too few bytes.
    pub facts: Option<SegmentFacts>,
    /// Timeline on the first page, 0 if there is no page.
    pub first_timeline: u32,
    /// Timeline on the last page with WAL.
    pub last_timeline: u32,
    /// The part of a record begun in an earlier segment.
    pub carry_in: CarryIn,
    /// The first record that begins here, unless damage lies before it.
    pub first_record: Option<FirstRecord>,
    /// Start of the last record that begins here (and was not given up).
    pub last_record: Option<Lsn>,
    /// How it ends.
    pub end: SegmentEnd,
}

/// Fields of the long header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// `xlp_magic`.
    pub magic: u16,
    /// `xlp_sysid`.
    pub system_id: u64,
    /// `xlp_seg_size`.
    pub segment_bytes: u32,
    /// `xlp_xlog_blcksz`.
    pub block_bytes: u32,
}

impl SegmentFacts {
    /// The version that wrote the segment.
    pub fn major(&self) -> Option<PgMajor> {
        major_of_magic(self.magic)
    }
}

/// The beginning of the first record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstRecord {
    /// Its position.
    pub lsn: Lsn,
    /// The record before it, by its own account; `None` if those bytes are in the next segment.
    pub prev: Option<Lsn>,
}

/// The part of a segment that continues a record begun earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarryIn {
    /// `xlp_rem_len` of the first page: bytes that were still missing; 0 if no record is continued.
    pub remaining_bytes: u32,
    /// Bytes of them that are here.
    pub here_bytes: u32,
    /// The first of these bytes.
    #[serde(with = "hex")]
    pub head: Vec<u8>,
    /// CRC-32C of those behind `head`.
    pub rest_crc: u32,
    /// How it ends.
    pub outcome: CarryOutcome,
    /// The first page says that the record of the previous segment's end was given up; its replacement names this
    /// position.
    pub overwrites: Option<Lsn>,
}

/// What becomes of a continued record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CarryOutcome {
    /// Nothing is continued.
    Nothing,
    /// It ends here; the position behind it and its padding.
    Ends(Lsn),
    /// It goes on in the next segment.
    GoesOn,
    /// A later page says that it was given up; its replacement names this position.
    GivenUp(Lsn),
    /// Damage: pages do not continue each other.
    Lost,
}

/// A record that begins in a segment and ends in a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    /// Its position.
    pub start: Lsn,
    /// `xl_tot_len`.
    pub total_bytes: u32,
    /// Bytes of it up to the end of the segment.
    pub here_bytes: u32,
    /// The first of these bytes.
    #[serde(with = "hex")]
    pub head: Vec<u8>,
    /// CRC-32C of those from offset 24 on.
    pub body_crc: u32,
    /// The record before it, by position; `None` if that one begins in an earlier segment.
    pub before: Option<Lsn>,
}

/// How a segment ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SegmentEnd {
    /// A record ends where the segment ends.
    Clean,
    /// A record goes on in the next segment.
    Open(OpenRecord),
    /// A switch record: nothing follows it.
    Switch {
        /// Start of the switch record.
        record: Lsn,
        /// First position behind it.
        end: Lsn,
    },
    /// As `Switch`, if the record continued from the previous segment is one: only stitching can tell.
    SwitchIfCarried {
        /// First position behind it.
        end: Lsn,
    },
    /// The record continued from an earlier segment fills the segment and goes on.
    Continues,
    /// Only in `.partial` and live files: valid data ends here.
    EndOfData {
        /// First position without a whole valid record.
        at: Lsn,
        /// What is wrong there.
        why: DefectKind,
    },
    /// Damage hides how it ends.
    Damaged,
}

/// A timed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Its time.
    pub time: RecordTime,
    /// Its position.
    pub lsn: Lsn,
    /// First position behind it.
    pub end: Lsn,
}

/// A named restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Its name.
    pub name: String,
    /// Position of its record.
    pub lsn: Lsn,
    /// First position behind it.
    pub end: Lsn,
    /// When it was made.
    pub time: Option<RecordTime>,
}

/// Times and marks of a stretch of WAL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentTimes {
    /// The earliest time in any record.
    pub earliest: Option<Moment>,
    /// The latest time in any record.
    pub latest: Option<Moment>,
    /// The first commit or abort, by position.
    pub first_transaction: Option<Moment>,
    /// The last commit or abort, by position.
    pub last_transaction: Option<Moment>,
    /// The last commit, by position.
    pub last_commit: Option<Moment>,
    /// Commits.
    pub commits: u64,
    /// Aborts.
    pub aborts: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Lowest and highest number of a transaction that ended here, in the circular order of transaction numbers.
    pub xids: Option<(u32, u32)>,
    /// The first restore points; see `restore_point_count`.
    pub restore_points: Vec<RestorePoint>,
    /// How many restore points there are.
    pub restore_point_count: u64,
}

impl SegmentTimes {
    /// Restore points that are kept for one segment; the rest is counted.
    pub const RESTORE_POINTS_KEPT_MAX: usize = 64;

    /// Takes an event into account. Events come in the order of positions.
    pub fn add(&mut self, event: &Event) {
        let moment = event.time.map(|time| Moment { time, lsn: event.lsn, end: event.end });
        if let Some(moment) = moment {
            if self.earliest.is_none_or(|other| moment.time < other.time) {
                self.earliest = Some(moment);
            }
            if self.latest.is_none_or(|other| moment.time > other.time) {
                self.latest = Some(moment);
            }
        }
        match &event.kind {
            EventKind::Commit { xid, .. } => {
                self.commits += 1;
                self.last_commit = moment.or(self.last_commit);
                self.add_transaction(moment, *xid);
            }
            EventKind::Abort { xid, .. } => {
                self.aborts += 1;
                self.add_transaction(moment, *xid);
            }
            EventKind::Checkpoint { .. } => self.checkpoints += 1,
            EventKind::RestorePoint { name } => {
                self.restore_point_count += 1;
                if self.restore_points.len() < Self::RESTORE_POINTS_KEPT_MAX {
                    let (name, time) = (name.clone(), event.time);
                    self.restore_points.push(RestorePoint { name, lsn: event.lsn, end: event.end, time });
                }
            }
            _ => {}
        }
    }

    fn add_transaction(&mut self, moment: Option<Moment>, xid: u32) {
        self.first_transaction = self.first_transaction.or(moment);
        self.last_transaction = moment.or(self.last_transaction);
        if xid == 0 {
            return;
        }
        let before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
        self.xids = Some(match self.xids {
            None => (xid, xid),
            Some((low, high)) if before(xid, low) => (xid, high),
            Some((low, high)) if before(high, xid) => (low, xid),
            Some(range) => range,
        });
    }
}

impl SegmentSummary {
    /// First position without usable data: the end of the switch record or of valid data, else the segment's end.
    /// A record that goes on in the next segment counts as usable up to the segment's end.
    pub fn used_until(&self) -> Lsn {
        match self.edges.end {
            SegmentEnd::Switch { end, .. } | SegmentEnd::SwitchIfCarried { end } => end,
            SegmentEnd::EndOfData { at, .. } => at,
            _ => self.edges.number.end(self.edges.size),
        }
    }

    /// Whether anything is wrong that recovery would stumble over.
    pub fn is_damaged(&self) -> bool {
        self.defects.count() > 0 && !self.defects.iter().all(|defect| defect.kind.is_harmless())
    }
}

/// Byte strings as text of hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write;
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() % 2 != 0 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(D::Error::custom("not a string of hexadecimal byte values"));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
        Ok(text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(lsn: u64, us: i64, xid: u32) -> Event {
        let kind = EventKind::Commit { xid, prepared: false };
        Event { lsn: Lsn(lsn), end: Lsn(lsn + 8), time: Some(RecordTime(us)), kind }
    }

    #[test]
    fn times_are_by_value_and_by_position() {
        let mut times = SegmentTimes::default();
        for event in [commit(8, 50, u32::MAX - 1), commit(16, 40, 3), commit(24, 45, 5)] {
            times.add(&event);
        }
        assert_eq!(times.earliest.unwrap().time, RecordTime(40));
        assert_eq!(times.latest.unwrap().lsn, Lsn(8));
        assert_eq!(times.last_commit.unwrap().lsn, Lsn(24));
        assert_eq!(times.xids, Some((u32::MAX - 1, 5)));
        assert_eq!(times.commits, 3);
    }

    #[test]
    fn edges_survive_storage() {
        let open = OpenRecord {
            start: Lsn(8),
            total_bytes: 100,
            here_bytes: 40,
            head: vec![0, 255, 16],
            body_crc: 7,
            before: None,
        };
        let text = serde_json::to_string(&SegmentEnd::Open(open.clone())).unwrap();
        assert!(text.contains("\"00ff10\""), "{text}");
        assert_eq!(serde_json::from_str::<SegmentEnd>(&text).unwrap(), SegmentEnd::Open(open));
        assert!(serde_json::from_str::<SegmentEnd>(&text.replace("00ff10", "0x")).is_err());
    }
}
