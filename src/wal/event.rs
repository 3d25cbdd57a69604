//! What records say about time: commits, aborts, checkpoints, restore points.

use super::le;
use super::record::{
    RM_XACT, RM_XLOG, Record, XLOG_BACKUP_END, XLOG_CHECKPOINT_ONLINE, XLOG_CHECKPOINT_SHUTDOWN, XLOG_END_OF_RECOVERY,
    XLOG_OVERWRITE_CONTRECORD, XLOG_RESTORE_POINT,
};
use crate::model::{Lsn, PgMajor, Timestamp};

/// Microseconds from 1970 to 2000, where PostgreSQL's own clock starts.
const PG_EPOCH_US: i64 = 946_684_800_000_000;

const XACT_OPMASK: u8 = 0x70;
const XACT_COMMIT: u8 = 0x00;
const XACT_ABORT: u8 = 0x20;
const XACT_COMMIT_PREPARED: u8 = 0x30;
const XACT_ABORT_PREPARED: u8 = 0x40;
const XACT_HAS_INFO: u8 = 0x80;

/// A moment in microseconds since 1970, UTC, as a record holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RecordTime(pub i64);

impl RecordTime {
    /// From PostgreSQL's `TimestampTz`: microseconds since 2000.
    fn from_pg(us: i64) -> Option<Self> {
        us.checked_add(PG_EPOCH_US).map(RecordTime)
    }

    /// From PostgreSQL's `pg_time_t`: seconds since 1970.
    fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(1_000_000).map(RecordTime)
    }

    /// The moment; `None` outside the years -9999 to 9999, which only damage yields.
    pub fn timestamp(self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.0).ok()
    }
}

/// A record that recovery can stop at, or that tells something about the run of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Start of the record.
    pub lsn: Lsn,
    /// First position behind it: recovery up to here includes it.
    pub end: Lsn,
    /// When, if this kind of record says so.
    pub time: Option<RecordTime>,
    /// What.
    pub kind: EventKind,
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A transaction committed.
    Commit {
        /// The transaction; 0 if it was a prepared one and its number lies too far into a long record.
        xid: u32,
        /// By `COMMIT PREPARED`.
        prepared: bool,
    },
    /// A transaction was rolled back.
    Abort {
        /// The transaction; as for a commit.
        xid: u32,
        /// By `ROLLBACK PREPARED`.
        prepared: bool,
    },
    /// A checkpoint; `time` is when it began.
    Checkpoint {
        /// At a clean stop.
        shutdown: bool,
        /// Where recovery from it begins.
        redo: Lsn,
        /// Its timeline.
        timeline: u32,
    },
    /// Made by `pg_create_restore_point`.
    RestorePoint {
        /// Its name, as far as it is UTF-8.
        name: String,
    },
    /// Promotion: the first record of a new timeline.
    EndOfRecovery {
        /// The new timeline.
        timeline: u32,
        /// The timeline that was left.
        previous: u32,
    },
    /// The end of a base backup.
    BackupEnd {
        /// Where that backup started.
        start: Lsn,
    },
    /// A record that a crash had cut off was given up.
    OverwriteContrecord {
        /// Start of the record that was given up.
        overwritten: Lsn,
    },
}

impl Event {
    /// What the record tells; `None` for the many that tell nothing here.
    #[inline]
    pub fn of(record: &Record<'_>) -> Option<Event> {
        match record.header.rmid {
            RM_XACT => Event::of_xact(record),
            RM_XLOG => Event::of_xlog(record),
            _ => None,
        }
    }

    fn of_xact(record: &Record<'_>) -> Option<Event> {
        let operation = record.header.info & XACT_OPMASK;
        let (commit, prepared) = match operation {
            XACT_COMMIT => (true, false),
            XACT_COMMIT_PREPARED => (true, true),
            XACT_ABORT => (false, false),
            XACT_ABORT_PREPARED => (false, true),
            _ => return None,
        };
        let data = record.main_data()?.bytes;
        let time = RecordTime::from_pg(le::i64_at(data, 0)?);
        let has_info = record.header.info & XACT_HAS_INFO != 0;
        let xid = match prepared {
            // The header names the session's own transaction, if it had one.
            true if has_info => twophase_xid(data, commit, record.major).unwrap_or(0),
            _ => record.header.xid,
        };
        let kind = if commit { EventKind::Commit { xid, prepared } } else { EventKind::Abort { xid, prepared } };
        Some(Event { lsn: record.lsn, end: record.end, time, kind })
    }

    fn of_xlog(record: &Record<'_>) -> Option<Event> {
        let kind_bits = record.header.info & 0xF0;
        if !matches!(
            kind_bits,
            XLOG_CHECKPOINT_SHUTDOWN
                | XLOG_CHECKPOINT_ONLINE
                | XLOG_RESTORE_POINT
                | XLOG_END_OF_RECOVERY
                | XLOG_BACKUP_END
                | XLOG_OVERWRITE_CONTRECORD
        ) {
            return None;
        }
        let data = record.main_data()?.bytes;
        let pg_time = |at: usize| le::i64_at(data, at).and_then(RecordTime::from_pg);
        let (time, kind) = match kind_bits {
            XLOG_RESTORE_POINT => {
                let name = data.get(8..)?;
                let name = &name[..name.len().min(64)];
                let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
                (pg_time(0), EventKind::RestorePoint { name: String::from_utf8_lossy(name).into_owned() })
            }
            XLOG_END_OF_RECOVERY => {
                let (timeline, previous) = (le::u32_at(data, 8)?, le::u32_at(data, 12)?);
                (pg_time(0), EventKind::EndOfRecovery { timeline, previous })
            }
            XLOG_BACKUP_END => (None, EventKind::BackupEnd { start: Lsn(le::u64_at(data, 0)?) }),
            XLOG_OVERWRITE_CONTRECORD => {
                (pg_time(8), EventKind::OverwriteContrecord { overwritten: Lsn(le::u64_at(data, 0)?) })
            }
            _ => {
                let time = le::i64_at(data, checkpoint_time_at(record.major)).and_then(RecordTime::from_seconds);
                let shutdown = kind_bits == XLOG_CHECKPOINT_SHUTDOWN;
                let (redo, timeline) = (Lsn(le::u64_at(data, 0)?), le::u32_at(data, 8)?);
                (time, EventKind::Checkpoint { shutdown, redo, timeline })
            }
        };
        Some(Event { lsn: record.lsn, end: record.end, time, kind })
    }
}

/// Offset of `time` in `CheckPoint`: 12 made the transaction counter 64 bits wide, 19 adds another field.
pub(crate) fn checkpoint_time_at(major: PgMajor) -> usize {
    if major >= PgMajor::V19 {
        72
    } else if major >= PgMajor::V12 {
        64
    } else {
        56
    }
}

/// The number of the prepared transaction that a commit or abort record finishes, behind its lists.
fn twophase_xid(data: &[u8], commit: bool, major: PgMajor) -> Option<u32> {
    const DBINFO: u32 = 1;
    const SUBXACTS: u32 = 1 << 1;
    const RELFILES: u32 = 1 << 2;
    const INVALS: u32 = 1 << 3;
    const TWOPHASE: u32 = 1 << 4;
    const DROPPED_STATS: u32 = 1 << 8;
    let xinfo = le::u32_at(data, 8)?;
    if xinfo & TWOPHASE == 0 {
        return None;
    }
    let mut at = 12usize;
    if xinfo & DBINFO != 0 {
        at += 8;
    }
    let stats_bytes = if major >= PgMajor::V18 { 16 } else { 12 };
    let lists = [
        (SUBXACTS, 4, true),
        (RELFILES, 12, true),
        (DROPPED_STATS, stats_bytes, major >= PgMajor::V15),
        (INVALS, 16, commit),
    ];
    for (flag, item_bytes, applies) in lists {
        if applies && xinfo & flag != 0 {
            let items = le::u32_at(data, at)? as usize;
            at = at.checked_add(4)?.checked_add(items.checked_mul(item_bytes)?)?;
        }
    }
    le::u32_at(data, at)
}

/// Receives what the decoder finds, in order. All methods do nothing unless overridden.
pub trait RecordSink {
    /// A record whose CRC was right and that begins in this segment.
    #[inline]
    fn record(&mut self, record: &Record<'_>) {
        let _ = record;
    }

    /// A record that tells a time or a turn of events.
    #[inline]
    fn event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// Wants nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSink;

impl RecordSink for NoSink {}

/// Keeps events up to a limit; what `reach --time` and `--xid` look through.
#[derive(Debug, Clone)]
pub struct EventList {
    /// The first events, in order.
    pub events: Vec<Event>,
    /// How many there were.
    pub count: u64,
    events_max: usize,
}

impl EventList {
    /// A list that keeps `events_max` events.
    pub fn new(events_max: usize) -> Self {
        EventList { events: Vec::new(), count: 0, events_max }
    }
}

impl RecordSink for EventList {
    fn event(&mut self, event: &Event) {
        self.count += 1;
        if self.events.len() < self.events_max {
            self.events.push(event.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::RecordHeader;
    use proptest::prelude::*;

    fn event(rmid: u8, info: u8, main: &[u8], major: PgMajor) -> Option<Event> {
        let mut body = vec![254];
        body.extend((main.len() as u32).to_le_bytes());
        body.extend(main);
        let total_bytes = body.len() as u32 + 24;
        let header = RecordHeader { total_bytes, xid: 7, prev: Lsn(0), info, rmid, crc: 0 };
        Event::of(&Record { lsn: Lsn(8), end: Lsn(16), header, body: &body, major })
    }

    #[test]
    fn commit_times_count_from_2000() {
        let found = event(RM_XACT, XACT_COMMIT, &0i64.to_le_bytes(), PgMajor::V15).unwrap();
        assert_eq!(found.kind, EventKind::Commit { xid: 7, prepared: false });
        assert_eq!(found.time.unwrap().timestamp().unwrap().to_string(), "2000-01-01T00:00:00Z");
    }

    #[test]
    fn a_prepared_commit_names_the_prepared_transaction() {
        let mut main = Vec::new();
        main.extend(0i64.to_le_bytes());
        main.extend((1u32 | 2 | 8 | 16).to_le_bytes());
        main.extend([0; 8]); // database
        main.extend(2u32.to_le_bytes());
        main.extend([0; 8]); // two sub-transactions
        main.extend(1u32.to_le_bytes());
        main.extend([0; 16]); // one invalidation
        main.extend(4711u32.to_le_bytes());
        let found = event(RM_XACT, XACT_COMMIT_PREPARED | XACT_HAS_INFO, &main, PgMajor::V15).unwrap();
        assert_eq!(found.kind, EventKind::Commit { xid: 4711, prepared: true });
    }

    #[test]
    fn restore_points_have_names() {
        let mut main = Vec::new();
        main.extend(1_000_000i64.to_le_bytes());
        let mut name = [0u8; 64];
        name[..6].copy_from_slice(b"before");
        main.extend(name);
        let found = event(RM_XLOG, XLOG_RESTORE_POINT, &main, PgMajor::V15).unwrap();
        assert_eq!(found.kind, EventKind::RestorePoint { name: "before".into() });
        assert_eq!(found.time, Some(RecordTime(PG_EPOCH_US + 1_000_000)));
    }

    #[test]
    fn checkpoint_times_move_with_the_version() {
        for (major, at) in [(PgMajor::V11, 56), (PgMajor::V12, 64), (PgMajor::V18, 64), (PgMajor::V19, 72)] {
            let mut main = vec![0u8; 96];
            main[at..at + 8].copy_from_slice(&1_700_000_000i64.to_le_bytes());
            let found = event(RM_XLOG, XLOG_CHECKPOINT_ONLINE, &main, major).unwrap();
            assert_eq!(found.time, Some(RecordTime(1_700_000_000_000_000)), "{major}");
        }
    }

    proptest! {
        #[test]
        fn any_main_data_is_read_without_panic(
            rmid in 0u8..2, info: u8, main in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for major in [PgMajor::V9_6, PgMajor::V15, PgMajor::V18] {
                let _ = event(rmid, info, &main, major);
            }
        }
    }
}
