//! Where a record lies: `v1/<archive>/<kind>/<as of>-<run>-<part>.json[.zst]`. Names sort by time.

use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Kind;
use crate::model::{ObjectKey, Timestamp};
use crate::store::Address;

/// What all names of this generation begin with.
pub(super) const ROOT: &str = "v1";
/// `20261120T231000.123Z`.
const TIME_LEN: usize = 20;
/// Characters of the address that a folder shows.
const TAIL_LEN_MAX: usize = 40;
/// Parts of one run and kind.
pub(super) const PARTS_MAX: u32 = 10_000;

/// Which archive a record is about: its address, and the server where that is not the cloud's own. The cluster's name
/// is no part of it: names are given and changed in a configuration, and two archives may end in the same folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArchiveId {
    /// The address as reports show it.
    pub url: String,
    /// An endpoint of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

impl ArchiveId {
    /// An archive by its address; a trailing `/` makes no difference.
    pub fn new(url: &str, endpoint: Option<&str>) -> Self {
        let trimmed = |text: &str| text.trim_end_matches('/').to_owned();
        ArchiveId { url: trimmed(url), endpoint: endpoint.map(trimmed) }
    }

    /// An archive by the address that was typed, on the cloud's own server. A directory becomes absolute, as reports
    /// show it.
    pub fn of_address(address: &Address) -> Self {
        match address {
            Address::Directory(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let path = ObjectKey::new(path.as_os_str().as_bytes());
                ArchiveId::new(&format!("file://{path}"), None)
            }
            bucket => ArchiveId::new(&bucket.to_string(), None),
        }
    }

    /// The name of its folder: the end of the address for people, a digest of all of it for uniqueness.
    pub fn folder(&self) -> String {
        let tail = self.url.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let tail: String = tail.chars().map(plain).take(TAIL_LEN_MAX).collect();
        let mut digest = Sha256::new();
        digest.update(self.url.as_bytes());
        digest.update([0]);
        digest.update(self.endpoint.as_deref().unwrap_or_default().as_bytes());
        let digest = digest.finalize();
        let mut folder = if tail.starts_with(['.', '-']) { format!("_{tail}-") } else { format!("{tail}-") };
        for byte in &digest[..8] {
            folder.push_str(&format!("{byte:02x}"));
        }
        folder
    }
}

/// Whether a folder may be one of an archive; anything else below the root is not walproof's.
pub(super) fn is_folder(name: &str) -> bool {
    let Some((tail, digest)) = name.rsplit_once('-') else { return false };
    digest.len() == 16
        && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && tail.len() <= TAIL_LEN_MAX + 1
        && !tail.starts_with('.')
        && tail.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// One run of walproof. Random, so that two runs at once never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

impl RunId {
    /// A new one.
    pub fn random() -> Self {
        RunId(rand::random())
    }

    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u64::from_str_radix(text, 16).ok().map(RunId)).flatten()
    }
}

impl From<u64> for RunId {
    fn from(number: u64) -> Self {
        RunId(number)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RunId::parse(&text).ok_or_else(|| serde::de::Error::custom("run_id is not 16 hexadecimal digits"))
    }
}

/// The name of a record, which says enough to choose among many without reading them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordName {
    /// The archive's folder, see [`ArchiveId::folder`].
    pub folder: String,
    /// What the record holds.
    pub kind: Kind,
    /// The moment it is about, in whole milliseconds.
    pub as_of: Timestamp,
    /// Who wrote it.
    pub run_id: RunId,
    /// A run may write several of a kind, from 0.
    pub part: u32,
    /// Whether it is compressed.
    pub compressed: bool,
}

impl RecordName {
    /// The key below the state's root.
    pub fn key(&self) -> String {
        format!("{}/{}", prefix(&self.folder, self.kind), self.file())
    }

    fn file(&self) -> String {
        let zst = if self.compressed { ".zst" } else { "" };
        format!("{}-{}-{:04}.json{zst}", stamp(self.as_of), self.run_id, self.part)
    }

    /// Reads the last part of a key. `None`: not walproof's.
    pub(super) fn parse(folder: &str, kind: Kind, file: &str) -> Option<Self> {
        let (time, rest) = file.split_at_checked(TIME_LEN)?;
        let rest = rest.strip_prefix('-')?;
        let (stem, compressed) = match rest.strip_suffix(".zst") {
            Some(stem) => (stem, true),
            None => (rest, false),
        };
        let (run_id, part) = stem.strip_suffix(".json")?.split_once('-')?;
        let plain_part = part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        let part = plain_part.then(|| part.parse().ok()).flatten()?;
        let name = RecordName {
            folder: folder.to_owned(),
            kind,
            as_of: parse_stamp(time)?,
            run_id: RunId::parse(run_id)?,
            part,
            compressed,
        };
        // One spelling only, so that order by name is order by time.
        (name.file() == file).then_some(name)
    }
}

/// The folder of a kind.
pub(super) fn prefix(folder: &str, kind: Kind) -> String {
    format!("{ROOT}/{folder}/{}", kind.name())
}

/// Whole milliseconds, the precision of names.
pub(super) fn whole_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// A moment as names write it. Only years 0 to 9999 sort right; others are drawn to the edge.
pub(super) fn stamp(time: Timestamp) -> String {
    let utc = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    if utc.year() < 0 {
        return "00000101T000000.000Z".to_owned();
    }
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z",
        utc.year(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.millisecond()
    )
}

fn parse_stamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == TIME_LEN && bytes[8] == b'T' && bytes[15] == b'.' && bytes[19] == b'Z';
    let digits = bytes.iter().enumerate().all(|(at, byte)| matches!(at, 8 | 15 | 19) || byte.is_ascii_digit());
    if !shape || !digits {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i16>().ok();
    let small = |from: usize, to: usize| text[from..to].parse::<i8>().ok();
    let date = jiff::civil::Date::new(number(0, 4)?, small(4, 6)?, small(6, 8)?).ok()?;
    let subsecond_ns = i32::from(number(16, 19)?) * 1_000_000;
    let time = jiff::civil::Time::new(small(9, 11)?, small(11, 13)?, small(13, 15)?, subsecond_ns).ok()?;
    date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folders_are_readable_and_unique() {
        let main = ArchiveId::new("s3://b/pg/main", None);
        assert_eq!(main.folder(), "main-e4aa213a35661d36");
        assert_eq!(ArchiveId::new("s3://b/pg/main/", None), main);
        assert_ne!(ArchiveId::new("s3://other/pg/main", None).folder(), main.folder());
        assert_ne!(ArchiveId::new("s3://b/pg/main", Some("http://127.0.0.1:9000/")).folder(), main.folder());
        for odd in ["s3://b/..", "file:///a/\u{1b}[31m x", "", "s3://b/-rf", "gs://b/é", &"x".repeat(500)] {
            let folder = ArchiveId::new(odd, None).folder();
            assert!(is_folder(&folder), "{folder}");
        }
        assert!(!is_folder("..") && !is_folder("main") && !is_folder(".a-8f87b6f4ef8a3f9b"));
    }

    #[test]
    fn other_files_are_not_records() {
        for odd in [
            "",
            "x",
            ".tmp-1",
            "20261120T231000.123Z-00000000000000aa-0000.json.gz",
            "20261120T231000.123Z-00000000000000AA-0000.json",
            "20261120T231000.123Z-00000000000000aa-1.json",
            "20261320T231000.123Z-00000000000000aa-0000.json",
            "20261120T231060.123Z-00000000000000aa-0000.json",
            "20261120T23100\u{e9}.12Z-00000000000000aa-0000.json",
            "+0261120T231000.123Z-00000000000000aa-0000.json",
        ] {
            assert_eq!(RecordName::parse("f", Kind::Run, odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip_and_sort_by_time(
            a in 0i64..4_000_000_000_000, b in 0i64..4_000_000_000_000, run in any::<u64>(), part in 0..PARTS_MAX,
            compressed in any::<bool>(),
        ) {
            let name = |ms| RecordName {
                folder: "main-8f87b6f4ef8a3f9b".into(), kind: Kind::Run, as_of: Timestamp::from_millisecond(ms).unwrap(),
                run_id: RunId(run), part, compressed,
            };
            let file = name(a).file();
            prop_assert_eq!(RecordName::parse("main-8f87b6f4ef8a3f9b", Kind::Run, &file), Some(name(a)));
            prop_assert_eq!(file.cmp(&name(b).file()), a.cmp(&b));
        }

        #[test]
        fn any_text_is_a_name_or_not(file in ".{0,60}") {
            let _ = RecordName::parse("f", Kind::Proofs, &file);
        }
    }
}
