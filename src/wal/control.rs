//! `global/pg_control`: what the cluster was, in its own words.

use super::event::checkpoint_time_at;
use super::le;
use crate::model::{Lsn, PgMajor, TimelineId, Timestamp};

/// Size of the file: the structure, then zeros.
pub const CONTROL_FILE_BYTES: usize = 8192;

/// `pg_control` version, catalog version and major version, as released.
const VERSIONS: [(u32, u32, PgMajor); 11] = [
    (960, 201_608_131, PgMajor::V9_6),
    (1002, 201_707_211, PgMajor::V10),
    (1100, 201_809_051, PgMajor::V11),
    (1201, 201_909_212, PgMajor::V12),
    (1300, 202_007_201, PgMajor::V13),
    (1300, 202_107_181, PgMajor::V14),
    (1300, 202_209_061, PgMajor::V15),
    (1300, 202_307_071, PgMajor::V16),
    (1700, 202_406_281, PgMajor::V17),
    (1800, 202_506_291, PgMajor::V18),
    (1902, 202_605_131, PgMajor::V19),
];

/// The major version whose released catalog has this number.
pub fn major_of_catalog(catalog_version: u32) -> Option<PgMajor> {
    VERSIONS.iter().find(|(_, catalog, _)| *catalog == catalog_version).map(|(_, _, major)| *major)
}

/// The catalog version of a major version, as in `PG_15_202209061`.
pub fn catalog_of_major(major: PgMajor) -> Option<u32> {
    VERSIONS.iter().find(|(_, _, known)| *known == major).map(|(_, catalog, _)| *catalog)
}

/// What the server was doing when the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlState {
    /// Starting up for the first time.
    StartingUp,
    /// Stopped cleanly.
    ShutDown,
    /// A standby, stopped cleanly.
    ShutDownInRecovery,
    /// Stopping.
    ShuttingDown,
    /// Recovering from a crash.
    InCrashRecovery,
    /// Replaying archived or streamed WAL.
    InArchiveRecovery,
    /// Running.
    InProduction,
    /// A number without a meaning.
    Unknown(u32),
}

/// The fields of `pg_control` that an audit or a restore looks at. Settings are those of the source server: replay
/// with hot standby needs at least as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlFile {
    /// The cluster.
    pub system_id: u64,
    /// Version of the file's format.
    pub control_version: u32,
    /// Version of the system catalogs.
    pub catalog_version: u32,
    /// The major version, if the catalog is one of a release.
    pub major: Option<PgMajor>,
    /// What the server was doing.
    pub state: ControlState,
    /// When the file was written, seconds since 1970.
    pub time: i64,
    /// The last checkpoint's record.
    pub checkpoint: Lsn,
    /// Where replay from it begins.
    pub redo: Lsn,
    /// Its timeline, as stored.
    pub timeline: u32,
    /// The timeline before, as stored; differs at the end of recovery.
    pub previous_timeline: u32,
    /// When that checkpoint began, seconds since 1970.
    pub checkpoint_time: i64,
    /// Replay must reach this before the data is consistent; 0 outside recovery.
    pub min_recovery: Lsn,
    /// Timeline of `min_recovery`, 0 if there is none.
    pub min_recovery_timeline: u32,
    /// Start of the backup that this copy is recovering from, 0 for none.
    pub backup_start: Lsn,
    /// Its end, if it was taken from a standby.
    pub backup_end: Lsn,
    /// Whether replay must see the end of that backup.
    pub backup_end_required: bool,
    /// `wal_level`, as stored: 0 minimal, 1 replica, 2 logical.
    pub wal_level: u32,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`, from 12 on.
    pub max_wal_senders: Option<u32>,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
    /// Bytes of a data page.
    pub block_bytes: u32,
    /// Data pages of one file; larger relations have several.
    pub relation_file_blocks: u32,
    /// Bytes of a WAL page.
    pub wal_block_bytes: u32,
    /// Bytes of a WAL segment.
    pub wal_segment_bytes: u32,
    /// 0: no data checksums, 1: on; 19 adds states in between.
    pub data_checksum_version: u32,
}

/// Why a file is not a whole `pg_control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlProblem {
    /// Not the size that all versions write.
    #[error("has {0} bytes instead of 8192")]
    Size(usize),
    /// Written on a machine with the other byte order.
    #[error("was written on a big-endian machine")]
    BigEndian,
    /// A format that is not known.
    #[error("has format version {0}, which belongs to no PostgreSQL from 9.6 to 19")]
    Version(u32),
    /// The bytes are not those that were written.
    #[error("has CRC {stored:08X}, its bytes give {computed:08X}")]
    Crc {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// Something behind the structure, where only zeros belong.
    #[error("has a byte that is not zero at offset {0}, behind its data")]
    NotZero(usize),
}

/// Offsets that differ between versions.
struct Offsets {
    checkpoint_copy: usize,
    /// Added to those that 12 to 18 have.
    shift: isize,
    blocks_shift: isize,
    checksum: usize,
    crc: usize,
    senders: bool,
    major: PgMajor,
}

fn offsets(control_version: u32) -> Option<Offsets> {
    let of = |checkpoint_copy, shift, blocks_shift, checksum, crc, major: PgMajor| Offsets {
        checkpoint_copy,
        shift,
        blocks_shift,
        checksum,
        crc,
        senders: major >= PgMajor::V12,
        major,
    };
    Some(match control_version {
        960 => of(48, 0, 0, 252, 256, PgMajor::V9_6),
        1002 => of(48, 0, 0, 252, 288, PgMajor::V10),
        1100 => of(40, -8, -8, 244, 280, PgMajor::V11),
        1201 | 1300 | 1700 => of(40, 0, 0, 252, 288, PgMajor::V12),
        1800 => of(40, 0, 0, 252, 292, PgMajor::V18),
        1902 => of(40, 8, 8, 264, 304, PgMajor::V19),
        _ => return None,
    })
}

impl ControlFile {
    /// Reads and checks the whole file.
    pub fn parse(file: &[u8]) -> Result<Self, ControlProblem> {
        let size = Err(ControlProblem::Size(file.len()));
        if file.len() != CONTROL_FILE_BYTES {
            return size;
        }
        let Some(control_version) = le::u32_at(file, 8) else { return size };
        let Some(at) = offsets(control_version) else {
            let swapped = control_version.swap_bytes();
            let big = offsets(swapped).is_some();
            return Err(if big { ControlProblem::BigEndian } else { ControlProblem::Version(control_version) });
        };
        let (Some(stored), Some(covered)) = (le::u32_at(file, at.crc), file.get(..at.crc)) else { return size };
        let computed = crc32c::crc32c(covered);
        if stored != computed {
            return Err(ControlProblem::Crc { stored, computed });
        }
        if let Some(extra) = file[at.crc + 4..].iter().position(|byte| *byte != 0) {
            return Err(ControlProblem::NotZero(at.crc + 4 + extra));
        }
        Self::fields(file, control_version, &at).ok_or(ControlProblem::Size(file.len()))
    }

    fn fields(file: &[u8], control_version: u32, at: &Offsets) -> Option<Self> {
        let moved = |offset: usize, shift: isize| offset.checked_add_signed(shift);
        let u32_of = |offset| moved(offset, at.shift).and_then(|offset| le::u32_at(file, offset));
        let lsn_of = |offset| moved(offset, at.shift).and_then(|offset| le::u64_at(file, offset)).map(Lsn);
        let bool_of = |offset| u32_of(offset).map(|word| word & 0xFF != 0);
        // 12 put max_wal_senders before these two; 19 has it as well.
        let tail = if at.senders { 192 } else { 188 };
        let sizes = |offset: usize| {
            // 19 has one more field before the last two.
            let extra = if at.major >= PgMajor::V19 && offset >= 224 { 4 } else { 0 };
            moved(offset + extra, at.blocks_shift).and_then(|offset| le::u32_at(file, offset))
        };
        let catalog_version = le::u32_at(file, 12)?;
        let copy = at.checkpoint_copy;
        Some(ControlFile {
            system_id: le::u64_at(file, 0)?,
            control_version,
            catalog_version,
            major: major_of_catalog(catalog_version),
            state: match le::u32_at(file, 16)? {
                0 => ControlState::StartingUp,
                1 => ControlState::ShutDown,
                2 => ControlState::ShutDownInRecovery,
                3 => ControlState::ShuttingDown,
                4 => ControlState::InCrashRecovery,
                5 => ControlState::InArchiveRecovery,
                6 => ControlState::InProduction,
                other => ControlState::Unknown(other),
            },
            time: le::i64_at(file, 24)?,
            checkpoint: Lsn(le::u64_at(file, 32)?),
            redo: Lsn(le::u64_at(file, copy)?),
            timeline: le::u32_at(file, copy + 8)?,
            previous_timeline: le::u32_at(file, copy + 12)?,
            checkpoint_time: le::i64_at(file, copy + checkpoint_time_at(at.major))?,
            min_recovery: lsn_of(136)?,
            min_recovery_timeline: u32_of(144)?,
            backup_start: lsn_of(152)?,
            backup_end: lsn_of(160)?,
            backup_end_required: bool_of(168)?,
            wal_level: u32_of(172)?,
            wal_log_hints: bool_of(176)?,
            max_connections: u32_of(180)?,
            max_worker_processes: u32_of(184)?,
            max_wal_senders: if at.senders { Some(u32_of(188)?) } else { None },
            max_prepared_transactions: u32_of(tail)?,
            max_locks_per_transaction: u32_of(tail + 4)?,
            block_bytes: sizes(216)?,
            relation_file_blocks: sizes(220)?,
            wal_block_bytes: sizes(224)?,
            wal_segment_bytes: sizes(228)?,
            data_checksum_version: le::u32_at(file, at.checksum)?,
        })
    }

    /// The timeline of the last checkpoint, if the number is one.
    pub fn timeline_id(&self) -> Option<TimelineId> {
        TimelineId::new(self.timeline)
    }

    /// Whether pages have checksums.
    pub fn has_checksums(&self) -> bool {
        self.data_checksum_version == 1
    }

    /// When the file was written; `None` outside the years -9999 to 9999.
    pub fn written_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.time).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with a different number at each of the table's offsets.
    fn file(control_version: u32, catalog: u32, crc_at: usize, values: &[(usize, u64)]) -> Vec<u8> {
        let mut file = vec![0; CONTROL_FILE_BYTES];
        file[0..8].copy_from_slice(&7_300_000_000_000_000_001u64.to_le_bytes());
        file[8..12].copy_from_slice(&control_version.to_le_bytes());
        file[12..16].copy_from_slice(&catalog.to_le_bytes());
        file[16] = 6;
        for (at, value) in values {
            file[*at..*at + 4].copy_from_slice(&(*value as u32).to_le_bytes());
        }
        let crc = crc32c::crc32c(&file[..crc_at]);
        file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        file
    }

    /// Offsets as the format notes list them, one row for each layout.
    #[test]
    fn each_versions_fields_lie_where_the_table_says() {
        // redo, timeline, checkpoint time, minimum, its timeline, backup start, end, required, level, hints, connections,
        // workers, senders, prepared, locks, block, file blocks, WAL block, segment, checksum, crc
        let rows: [(u32, u32, [usize; 21]); 6] = [
            (
                960,
                201_608_131,
                [48, 56, 104, 136, 144, 152, 160, 168, 172, 176, 180, 184, 0, 188, 192, 216, 220, 224, 228, 252, 256],
            ),
            (
                1002,
                201_707_211,
                [48, 56, 104, 136, 144, 152, 160, 168, 172, 176, 180, 184, 0, 188, 192, 216, 220, 224, 228, 252, 288],
            ),
            (
                1100,
                201_809_051,
                [40, 48, 96, 128, 136, 144, 152, 160, 164, 168, 172, 176, 0, 180, 184, 208, 212, 216, 220, 244, 280],
            ),
            (
                1300,
                202_209_061,
                [40, 48, 104, 136, 144, 152, 160, 168, 172, 176, 180, 184, 188, 192, 196, 216, 220, 224, 228, 252, 288],
            ),
            (
                1800,
                202_506_291,
                [40, 48, 104, 136, 144, 152, 160, 168, 172, 176, 180, 184, 188, 192, 196, 216, 220, 224, 228, 252, 292],
            ),
            (
                1902,
                202_605_131,
                [40, 48, 112, 144, 152, 160, 168, 176, 180, 184, 188, 192, 196, 200, 204, 224, 228, 236, 240, 264, 304],
            ),
        ];
        for (version, catalog, at) in rows {
            let values: Vec<(usize, u64)> =
                at[..20].iter().zip(100u64..).filter(|(at, _)| **at != 0).map(|(at, n)| (*at, n)).collect();
            let control = ControlFile::parse(&file(version, catalog, at[20], &values)).unwrap();
            let found = [
                control.redo.0,
                u64::from(control.timeline),
                control.checkpoint_time as u64,
                control.min_recovery.0,
                u64::from(control.min_recovery_timeline),
                control.backup_start.0,
                control.backup_end.0,
                if control.backup_end_required { 107 } else { 0 },
                u64::from(control.wal_level),
                if control.wal_log_hints { 109 } else { 0 },
                u64::from(control.max_connections),
                u64::from(control.max_worker_processes),
                control.max_wal_senders.map_or(112, u64::from),
                u64::from(control.max_prepared_transactions),
                u64::from(control.max_locks_per_transaction),
                u64::from(control.block_bytes),
                u64::from(control.relation_file_blocks),
                u64::from(control.wal_block_bytes),
                u64::from(control.wal_segment_bytes),
                u64::from(control.data_checksum_version),
            ];
            assert_eq!(found.to_vec(), (100u64..120).collect::<Vec<_>>(), "{version}");
            assert_eq!(control.max_wal_senders.is_some(), version >= 1201, "{version}");
            assert_eq!(control.major, major_of_catalog(catalog));
            assert_eq!(control.state, ControlState::InProduction);
        }
    }

    #[test]
    fn damage_is_told() {
        let good = file(1300, 202_209_061, 288, &[]);
        assert!(ControlFile::parse(&good).is_ok());
        assert_eq!(ControlFile::parse(&good[..8191]), Err(ControlProblem::Size(8191)));
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] ^= value;
            ControlFile::parse(&bytes).unwrap_err()
        };
        assert!(matches!(with(40, 1), ControlProblem::Crc { .. }));
        assert!(matches!(with(290, 1), ControlProblem::Crc { .. }));
        assert_eq!(with(8000, 1), ControlProblem::NotZero(8000));
        assert_eq!(with(9, 1), ControlProblem::Version(1300 ^ 256));
        let mut big = good.clone();
        big[8..12].copy_from_slice(&1300u32.to_be_bytes());
        assert_eq!(ControlFile::parse(&big), Err(ControlProblem::BigEndian));
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_found(at in 0usize..CONTROL_FILE_BYTES, bit in 0u8..8) {
            let mut bytes = file(1300, 202_209_061, 288, &[(48, 1)]);
            bytes[at] ^= 1 << bit;
            prop_assert!(ControlFile::parse(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), CONTROL_FILE_BYTES)) {
            let _ = ControlFile::parse(&bytes);
        }
    }
}
