use crate::model::{CodecKind, SegmentName, WalFileName};

/// What an object below an archive's root is, by its key alone. wal-g and wal-e share the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key<'a> {
    /// Something of `pg_wal`, possibly compressed.
    Wal(WalFileName, CodecKind),
    /// Helper objects beside WAL: `_delta` maps and metadata JSON. Losing them costs speed, not safety.
    WalHelper,
    /// `NAME_backup_stop_sentinel.json`.
    Sentinel(BackupName<'a>),
    /// An object inside a backup's directory.
    InBackup(BackupName<'a>, BackupFile<'a>),
    /// Catchup backups: not restorable alone, not an archive's backups.
    Catchup,
    /// Anything else.
    Stray,
}

/// A file inside a backup's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupFile<'a> {
    /// wal-g's summary.
    Metadata,
    /// wal-g's list of files and tars.
    FilesMetadata,
    /// wal-e's note of the server version.
    ExtendedVersion,
    /// A tar below `tar_partitions/`, by file name.
    Part(&'a str, CodecKind),
    /// Anything else.
    Other,
}

/// A backup's name, `base_SEG`, `base_SEG_D_SEG`, and wal-e's `base_SEG_OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupName<'a> {
    /// The whole name.
    pub text: &'a str,
    /// The segment of its start.
    pub segment: SegmentName,
    /// The segment of a delta's parent.
    pub parent: Option<SegmentName>,
    /// wal-e's eight digits: the start offset in decimal, in offline backups something else.
    pub offset: Option<&'a str>,
}

impl<'a> BackupName<'a> {
    /// Total: any bytes in.
    pub fn parse(name: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        let rest = text.strip_prefix("base_")?;
        let segment = SegmentName::parse(rest.get(..24)?.as_bytes())?;
        let mut rest = &rest[24..];
        let mut parent = None;
        if let Some(tail) = rest.strip_prefix("_D_") {
            parent = Some(SegmentName::parse(tail.get(..24)?.as_bytes())?);
            rest = &tail[24..];
        }
        let offset = match rest.strip_prefix('_') {
            None if rest.is_empty() => None,
            Some(digits) if digits.len() == 8 && digits.bytes().all(is_upper_hex) => Some(digits),
            _ => return None,
        };
        Some(BackupName { text, segment, parent, offset })
    }
}

fn is_upper_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

const SENTINEL: &[u8] = b"_backup_stop_sentinel.json";

/// Reads a key relative to the archive's root. Any bytes in; what is not understood is a stray.
pub fn parse(key: &[u8]) -> Key<'_> {
    if let Some(name) = key.strip_prefix(b"wal_005/") {
        return wal(name);
    }
    if key.starts_with(b"catchup_005/") {
        return Key::Catchup;
    }
    let Some(rest) = key.strip_prefix(b"basebackups_005/") else { return Key::Stray };
    if let Some(name) = rest.strip_suffix(SENTINEL)
        && let Some(name) = BackupName::parse(name)
    {
        return Key::Sentinel(name);
    }
    let Some(slash) = rest.iter().position(|byte| *byte == b'/') else { return Key::Stray };
    let Some(name) = BackupName::parse(&rest[..slash]) else { return Key::Stray };
    let file = match &rest[slash + 1..] {
        b"metadata.json" => BackupFile::Metadata,
        b"files_metadata.json" => BackupFile::FilesMetadata,
        b"extended_version.txt" => BackupFile::ExtendedVersion,
        inside => inside.strip_prefix(b"tar_partitions/").and_then(part).unwrap_or(BackupFile::Other),
    };
    Key::InBackup(name, file)
}

fn part(name: &[u8]) -> Option<BackupFile<'_>> {
    let (stem, codec) = CodecKind::split(name);
    let plain = stem.strip_suffix(b".tar")?;
    if plain.is_empty() || plain.contains(&b'/') {
        return None;
    }
    Some(BackupFile::Part(std::str::from_utf8(name).ok()?, codec))
}

fn wal(name: &[u8]) -> Key<'_> {
    if let Some(file) = WalFileName::parse(name) {
        return Key::Wal(file, CodecKind::None);
    }
    let (stem, codec) = CodecKind::split(name);
    if codec != CodecKind::None
        && let Some(file) = WalFileName::parse(stem)
    {
        return Key::Wal(file, codec);
    }
    if is_helper(stem) { Key::WalHelper } else { Key::Stray }
}

/// `SEG_delta`, `SEG.json`, `SEG.OFFSET.backup.json` and the first 23 digits with `.json`.
fn is_helper(stem: &[u8]) -> bool {
    if let Some(segment) = stem.strip_suffix(b"_delta") {
        return SegmentName::parse(segment).is_some();
    }
    let Some(subject) = stem.strip_suffix(b".json") else { return false };
    let bulk = subject.len() == 23 && subject.iter().copied().all(is_upper_hex);
    bulk || WalFileName::parse(subject).is_some()
}

/// Reads any bytes without panic.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let _ = parse(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEG: &str = "00000001000000000000000E";

    #[test]
    fn metadata_json_is_not_a_segment() {
        assert_eq!(parse(format!("wal_005/{SEG}.json").as_bytes()), Key::WalHelper);
        assert_eq!(parse(b"wal_005/00000001000000000000000.json"), Key::WalHelper);
        assert_eq!(parse(format!("wal_005/{SEG}.000000D8.backup.json").as_bytes()), Key::WalHelper);
        assert_eq!(parse(format!("wal_005/{SEG}_delta.lz4").as_bytes()), Key::WalHelper);
        assert_eq!(parse(format!("wal_005/{SEG}.txt").as_bytes()), Key::Stray);
        assert_eq!(parse(format!("wal_005/{SEG}.lz4.tmp.123-ab").as_bytes()), Key::Stray);
        assert!(matches!(
            parse(format!("wal_005/{SEG}").as_bytes()),
            Key::Wal(WalFileName::Segment(_), CodecKind::None)
        ));
        assert!(matches!(
            parse(format!("wal_005/{SEG}.partial.zst").as_bytes()),
            Key::Wal(WalFileName::Partial(_), CodecKind::Zstd)
        ));
    }

    #[test]
    fn backup_objects_are_told_apart() {
        let delta = format!("basebackups_005/base_{SEG}_D_000000010000000000000005/tar_partitions/copy_0.tar.lz4");
        let Key::InBackup(name, BackupFile::Part("copy_0.tar.lz4", CodecKind::Lz4)) = parse(delta.as_bytes()) else {
            panic!("a part of a delta")
        };
        assert!(name.parent.is_some() && name.offset.is_none());
        let wale = format!("basebackups_005/base_{SEG}_00000040_backup_stop_sentinel.json");
        let Key::Sentinel(name) = parse(wale.as_bytes()) else { panic!("a sentinel") };
        assert_eq!(name.offset, Some("00000040"));
        assert_eq!(parse(b"basebackups_005/base_1/metadata.json"), Key::Stray);
        assert_eq!(parse(b"basebackups_004/x"), Key::Stray);
        let odd = format!("basebackups_005/base_{SEG}/tar_partitions/../x.tar");
        assert!(matches!(parse(odd.as_bytes()), Key::InBackup(_, BackupFile::Other)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            fuzz_one(&bytes);
            fuzz_one(&[b"wal_005/", &bytes[..]].concat());
            fuzz_one(&[b"basebackups_005/base_", &bytes[..]].concat());
        }
    }
}
