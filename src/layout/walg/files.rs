//! The file list of a backup, entry by entry: it may be larger than memory, so nobody is made to hold it.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::layout::ReadProblem;

/// One path of a backup's `Files`, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry<'a> {
    /// The path below the data directory, with or without a leading slash. Directories are listed, too.
    pub path: Cow<'a, str>,
    /// The tars hold an increment to the parent's file.
    pub incremented: bool,
    /// The tars do not hold it: it is as in the parent.
    pub skipped: bool,
    /// When it was modified, as text.
    pub modified: Option<String>,
    /// Pages that were corrupt when it was read, where the tool looked.
    pub corrupt_blocks: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Description {
    #[serde(rename = "IsIncremented")]
    incremented: bool,
    #[serde(rename = "IsSkipped")]
    skipped: bool,
    #[serde(rename = "MTime")]
    modified: Option<String>,
    #[serde(rename = "CorruptBlocks")]
    corrupt: Option<Corrupt>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Corrupt {
    #[serde(rename = "CorruptBlocksCount")]
    count: u64,
}

/// Reads the `Files` of a `files_metadata.json` (or of an old sentinel, which held them itself) and hands out one entry
/// after the other, as they stand. Says whether there was such a list.
///
/// # Errors
/// What is no such JSON, or the reader's own error.
pub fn read_files(input: &mut dyn Read, each: &mut dyn FnMut(FileEntry<'_>)) -> Result<bool, ReadProblem> {
    let mut reader = serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(64 << 10, input));
    let found = Document { each }.deserialize(&mut reader).map_err(ReadProblem::from_json)?;
    reader.end().map_err(ReadProblem::from_json)?;
    Ok(found)
}

struct Document<'e> {
    each: &'e mut dyn FnMut(FileEntry<'_>),
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "Files" {
                found |= map.next_value_seed(Files { each: &mut *self.each })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct Files<'e> {
    each: &'e mut dyn FnMut(FileEntry<'_>),
}

impl<'de> DeserializeSeed<'de> for Files<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Files<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of files")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some((path, about)) = map.next_entry::<String, Option<Description>>()? {
            let about = about.unwrap_or_default();
            (self.each)(FileEntry {
                path: Cow::Owned(path),
                incremented: about.incremented,
                skipped: about.skipped,
                modified: about.modified,
                corrupt_blocks: about.corrupt.unwrap_or_default().count,
            });
        }
        Ok(true)
    }
}

/// Reads any bytes without panic.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let _ = read_files(&mut &bytes[..], &mut |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(text: &str) -> Result<Vec<(String, bool, bool, u64)>, ReadProblem> {
        let mut out = Vec::new();
        let found = read_files(&mut text.as_bytes(), &mut |entry| {
            out.push((entry.path.into_owned(), entry.incremented, entry.skipped, entry.corrupt_blocks));
        })?;
        assert!(found || out.is_empty());
        Ok(out)
    }

    #[test]
    fn flags_are_read_and_everything_else_is_passed_over() {
        let text = r#"{"TarFileSets":{"part_001.tar.lz4":["/a"]},
            "Files":{"/a":{"IsIncremented":true,"IsSkipped":false,"MTime":"x","UpdatesCount":3},
                     "/b":{"IsSkipped":true,"CorruptBlocks":{"CorruptBlocksCount":2,"SomeCorruptBlocks":[1,2]}},"c":{},"d":null},
            "DatabasesByNames":{}}"#;
        assert_eq!(
            paths(text).unwrap(),
            [
                ("/a".to_owned(), true, false, 0),
                ("/b".to_owned(), false, true, 2),
                ("c".to_owned(), false, false, 0),
                ("d".to_owned(), false, false, 0),
            ]
        );
        assert!(paths(r#"{"Files":null,"LSN":3}"#).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_list_is_content() {
        for text in ["", "[]", "{\"Files\":[1]}", "{\"Files\":{\"a\":1}}", "{\"Files\":{}} x", "{\"Files\":{\"a\":{}"] {
            assert!(matches!(paths(text), Err(ReadProblem::Content(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_one(&bytes);
        }
    }
}
