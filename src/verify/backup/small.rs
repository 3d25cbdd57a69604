//! Small files of a data directory that carry a checksum or say which version they belong to.

use crate::wal::{BackupLabel, ControlFile, parse_tablespace_map};

/// Checks a relation map: 62 places and 512 bytes up to 15, 64 and 524 from 16 on; its CRC-32C covers all before it.
/// `None` for other sizes: not a form that is known.
pub(super) fn relation_map(file: &[u8]) -> Option<Result<(), String>> {
    const MAGIC: u32 = 0x0059_2717;
    let (crc_at, places) = match file.len() {
        512 => (504, 62),
        524 => (520, 64),
        _ => return None,
    };
    let word = |at: usize| file.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let (magic, count, stored) = (word(0)?, word(4)?, word(crc_at)?);
    let computed = crc32c::crc32c(file.get(..crc_at)?);
    Some(if stored != computed {
        Err(format!("has CRC {stored:08X}, its bytes give {computed:08X}"))
    } else if magic != MAGIC {
        Err(format!("begins with {magic:08X}, not as a relation map"))
    } else if count > places {
        Err(format!("claims {count} entries of {places}"))
    } else {
        Ok(())
    })
}

/// The major version that a `PG_VERSION` names, as `server_version_num` counts it: 15, or 906 for 9.6.
pub(super) fn version_file(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    match text.split_once('.') {
        None => text.parse().ok().filter(|major| (10..1000).contains(major)),
        Some((major, minor)) => {
            let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
            (major == 9 && minor < 100).then_some(900 + minor)
        }
    }
}

/// Reads any bytes without panic.
pub(super) fn fuzz_one(bytes: &[u8]) {
    let _ = relation_map(bytes);
    let _ = version_file(bytes);
    let _ = ControlFile::parse(bytes);
    let _ = BackupLabel::parse(bytes);
    let _ = parse_tablespace_map(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_map_is_checked_by_its_crc() {
        for (bytes, crc_at) in [(512, 504), (524, 520)] {
            let mut map = vec![0u8; bytes];
            map[..8].copy_from_slice(&[0x17, 0x27, 0x59, 0, 17, 0, 0, 0]);
            map[8] = 7;
            let crc = crc32c::crc32c(&map[..crc_at]);
            map[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(relation_map(&map), Some(Ok(())));
            map[9] ^= 1;
            assert!(relation_map(&map).unwrap().unwrap_err().starts_with("has CRC"));
        }
        assert_eq!(relation_map(&[0; 100]), None);
    }

    #[test]
    fn version_files() {
        assert_eq!([&b"15\n"[..], b"9.6\n", b"18"].map(version_file), [Some(15), Some(906), Some(18)]);
        assert_eq!([&b"1\n"[..], b"", b"\xFF", b"15\n\n"].map(version_file), [None; 4]);
    }
}
