use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::layout::ReadProblem;

/// Files that a list may have: more than any cluster that lives on one machine.
const FILES_MAX: usize = 20_000_000;
/// Bytes that all their paths may have together.
const PATH_BYTES_MAX: usize = 1 << 30;
/// Files with damaged pages, as the producer recorded them, that are kept.
const RECORDED_MAX: usize = 1000;

const NO_PART: u32 = u32::MAX;
const LISTED: u8 = 1;
const INCREMENTED: u8 = 2;
const SKIPPED: u8 = 4;

/// The files of a backup as its `files_metadata.json` lists them: one row of 12 bytes and the path for each. Sorted by
/// path, so that a million files are found in twenty steps.
#[derive(Clone, Default)]
pub struct FileList {
    paths: Vec<u8>,
    rows: Vec<Row>,
    /// Rows before this one are sorted.
    sorted: usize,
    parts: Vec<String>,
    recorded: Vec<Recorded>,
    recorded_count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    at: u32,
    length: u16,
    flags: u8,
    part: u32,
}

/// Damaged pages of a file that the producer found when it made the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The file.
    pub path: Vec<u8>,
    /// How many.
    pub count: u64,
    /// Their numbers within the file, the first few.
    pub blocks: Vec<u32>,
}

/// One file of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its path, without a leading slash; empty for the data directory itself.
    pub path: &'a [u8],
    /// It is in `Files`, not only in a tar's set.
    pub listed: bool,
    /// The backup has an increment of it.
    pub incremented: bool,
    /// The backup has nothing of it: it did not change since the parent.
    pub skipped: bool,
    /// The tar that holds it, as an index into [`FileList::parts`].
    pub part: Option<usize>,
}

impl Listed<'_> {
    /// Whether the backup's own tars must hold it. A file that vanished while the backup ran is in a tar's set, but
    /// not among the files; the label files are only in sets.
    pub fn is_required(&self) -> bool {
        (self.listed && !self.skipped) || self.path == b"backup_label"
    }

    /// Whether its content comes, at least in part, from an ancestor.
    pub fn needs_ancestor(&self) -> bool {
        self.listed && (self.skipped || self.incremented)
    }
}

impl fmt::Debug for FileList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileList").field("files", &self.rows.len()).field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl FileList {
    /// Reads a `files_metadata.json`, or an old sentinel that holds the same two maps.
    ///
    /// # Errors
    /// It is not such a file, or lists more than is kept; or the input failed.
    pub fn read(input: &mut dyn Read) -> Result<Self, ReadProblem> {
        let mut reader = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 << 10, input));
        let mut list = FileList::default();
        Whole(&mut list).deserialize(&mut reader).map_err(ReadProblem::from_json)?;
        reader.end().map_err(ReadProblem::from_json)?;
        list.sort();
        list.paths.shrink_to_fit();
        list.rows.shrink_to_fit();
        Ok(list)
    }

    /// How many paths it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The tars it names; empty where the producer recorded none.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Damaged pages that the producer recorded: the first files, and the number of files.
    pub fn recorded(&self) -> (&[Recorded], u64) {
        (&self.recorded, self.recorded_count)
    }

    /// The row of a path, which has no leading slash.
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        self.rows[..self.sorted].binary_search_by(|row| self.path(row).cmp(path)).ok()
    }

    /// A file by its row.
    pub fn get(&self, row: usize) -> Option<Listed<'_>> {
        self.rows.get(row).map(|row| self.listed(row))
    }

    /// Every file, by path.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        self.rows.iter().map(|row| self.listed(row))
    }

    fn listed(&self, row: &Row) -> Listed<'_> {
        Listed {
            path: self.path(row),
            listed: row.flags & LISTED != 0,
            incremented: row.flags & INCREMENTED != 0,
            skipped: row.flags & SKIPPED != 0,
            part: (row.part != NO_PART).then_some(row.part as usize),
        }
    }

    fn path(&self, row: &Row) -> &[u8] {
        let at = row.at as usize;
        &self.paths[at..at + usize::from(row.length)]
    }

    fn push(&mut self, path: &[u8], flags: u8, part: u32) -> Result<(), String> {
        let (Ok(at), Ok(length)) = (u32::try_from(self.paths.len()), u16::try_from(path.len())) else {
            return Err("a path is too long".to_owned());
        };
        if self.rows.len() >= FILES_MAX || self.paths.len() + path.len() > PATH_BYTES_MAX {
            return Err(format!("more than {FILES_MAX} files"));
        }
        self.paths.extend_from_slice(path);
        self.rows.push(Row { at, length, flags, part });
        Ok(())
    }

    /// Notes that a tar holds a path.
    fn member(&mut self, path: &str, part: u32) -> Result<(), String> {
        let path = clean(path);
        match self.find(path) {
            Some(row) => {
                self.rows[row].part = part;
                Ok(())
            }
            None => self.push(path, 0, part),
        }
    }

    /// Sorts, and makes one row of several for one path.
    fn sort(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        if !rows.is_sorted_by(|a, b| self.path(a) < self.path(b)) {
            rows.sort_by(|a, b| self.path(a).cmp(self.path(b)));
            rows.dedup_by(|later, kept| {
                let same = self.path(later) == self.path(kept);
                if same {
                    kept.flags |= later.flags;
                    kept.part = kept.part.min(later.part);
                }
                same
            });
        }
        self.sorted = rows.len();
        self.rows = rows;
    }
}

/// As members are compared: without what stands for the data directory itself.
fn clean(path: &str) -> &[u8] {
    let path = path.strip_prefix("./").unwrap_or(path);
    path.trim_matches('/').as_bytes()
}

struct Whole<'a>(&'a mut FileList);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Files and TarFileSets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut known = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "Files" => {
                    known = true;
                    map.next_value_seed(OrNull(Files(self.0)))?;
                }
                "TarFileSets" => {
                    known = true;
                    self.0.sort();
                    map.next_value_seed(OrNull(Sets(self.0)))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if known { Ok(()) } else { Err(A::Error::custom("neither Files nor TarFileSets")) }
    }
}

/// A map, or null instead of an empty one.
struct OrNull<T>(T);

impl<'de, T: Visitor<'de, Value = ()>> DeserializeSeed<'de> for OrNull<T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: Visitor<'de, Value = ()>> Visitor<'de> for OrNull<T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.0)
    }
}

struct Files<'a>(&'a mut FileList);

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "IsIncremented", default)]
    incremented: bool,
    #[serde(rename = "IsSkipped", default)]
    skipped: bool,
    #[serde(rename = "CorruptBlocks", default)]
    corrupt: Option<Corrupt>,
}

#[derive(Deserialize)]
struct Corrupt {
    #[serde(rename = "CorruptBlocksCount", default)]
    count: u64,
    #[serde(rename = "SomeCorruptBlocks", default)]
    blocks: Option<FirstFew>,
}

impl<'de> Visitor<'de> for Files<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let list = self.0;
        while let Some((path, entry)) = map.next_entry::<String, Entry>()? {
            let mut flags = LISTED;
            flags |= if entry.incremented { INCREMENTED } else { 0 };
            flags |= if entry.skipped { SKIPPED } else { 0 };
            let path = clean(&path);
            list.push(path, flags, NO_PART).map_err(A::Error::custom)?;
            if let Some(corrupt) = entry.corrupt.filter(|corrupt| corrupt.count > 0) {
                list.recorded_count += 1;
                if list.recorded.len() < RECORDED_MAX {
                    let blocks = corrupt.blocks.map(|few| few.0).unwrap_or_default();
                    list.recorded.push(Recorded { path: path.to_vec(), count: corrupt.count, blocks });
                }
            }
        }
        Ok(())
    }
}

struct Sets<'a>(&'a mut FileList);

impl<'de> Visitor<'de> for Sets<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tars")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const PARTS_MAX: usize = 1_000_000;
        while let Some(name) = map.next_key::<String>()? {
            let Some(part) = u32::try_from(self.0.parts.len()).ok().filter(|_| self.0.parts.len() < PARTS_MAX) else {
                return Err(A::Error::custom("more than a million tars"));
            };
            self.0.parts.push(name);
            map.next_value_seed(Members { list: self.0, part })?;
        }
        Ok(())
    }
}

struct Members<'a> {
    list: &'a mut FileList,
    part: u32,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(path) = seq.next_element::<String>()? {
            self.list.member(&path, self.part).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The first numbers of a list that may be long.
struct FirstFew(Vec<u32>);

impl<'de> Deserialize<'de> for FirstFew {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = FirstFew;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of block numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FirstFew, A::Error> {
                let mut few = Vec::new();
                while let Some(block) = seq.next_element::<u32>()? {
                    if few.len() < 32 {
                        few.push(block);
                    }
                }
                Ok(FirstFew(few))
            }
        }
        deserializer.deserialize_seq(Few)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> FileList {
        FileList::read(&mut text.as_bytes()).unwrap()
    }

    const FILES: &str = r#""Files":{"/base/5/1259":{"IsIncremented":true},"/":{},"/base/5/1":{"IsSkipped":true,
        "CorruptBlocks":{"CorruptBlocksCount":40,"SomeCorruptBlocks":[3,4]}},"/z":{"MTime":"x","UpdatesCount":3}}"#;
    const SETS: &str = r#""TarFileSets":{"part_001.tar.lz4":["/","/base/5/1259","/gone","/z"],
        "backup_label.tar.lz4":["tablespace_map","backup_label"],"part_002.tar.lz4":null}"#;

    #[test]
    fn the_order_of_the_two_maps_does_not_matter() {
        for text in [format!("{{{FILES},{SETS},\"Other\":[1]}}"), format!("{{{SETS},{FILES}}}")] {
            let list = read(&text);
            assert_eq!(list.parts(), ["part_001.tar.lz4", "backup_label.tar.lz4", "part_002.tar.lz4"]);
            let get = |path: &str| list.get(list.find(path.as_bytes()).unwrap()).unwrap();
            assert_eq!(list.len(), 7);
            assert!(get("base/5/1259").incremented && get("base/5/1259").is_required());
            assert!(get("base/5/1").skipped && !get("base/5/1").is_required() && get("base/5/1").needs_ancestor());
            assert_eq!((get("z").part, get("").part, get("base/5/1").part), (Some(0), Some(0), None));
            // It vanished while the backup ran.
            assert!(!get("gone").listed && !get("gone").is_required());
            assert!(get("backup_label").is_required() && !get("tablespace_map").is_required());
            let (recorded, files) = list.recorded();
            assert_eq!((recorded[0].count, recorded[0].blocks.as_slice(), files), (40, &[3, 4][..], 1));
            assert_eq!(list.find(b"base"), None);
        }
    }

    #[test]
    fn streamed_backups_have_no_sets() {
        let list = read(r#"{"Files":{"base/1/2":{},"./pg_wal/archive_status":{}},"TarFileSets":null}"#);
        assert!(list.parts().is_empty());
        assert!(list.find(b"base/1/2").is_some() && list.find(b"pg_wal/archive_status").is_some());
    }

    #[test]
    fn what_is_not_a_list_is_content_not_an_io_error() {
        for text in ["", "{}", "[]", "{\"Files\":[]}", "{\"Files\":{\"a\":3}}", "{\"Files\":{}} x", "{\"Files\":{\"a\""]
        {
            assert!(matches!(FileList::read(&mut text.as_bytes()), Err(ReadProblem::Content(_))), "{text}");
        }
    }

    #[test]
    fn a_million_files_take_tens_of_megabytes() {
        let mut list = FileList::default();
        for number in (0..1_000_000).rev() {
            list.push(format!("base/16384/{number}").as_bytes(), LISTED, NO_PART).unwrap();
        }
        list.sort();
        assert!(list.find(b"base/16384/777777").is_some());
        assert!(size_of::<Row>() * list.rows.len() + list.paths.len() < 48 << 20);
    }
}
