//! What is remembered of a part when a run ends before the backup was read whole: enough for a later run to put the
//! backup together without reading the part again.

use serde::{Deserialize, Serialize};

use super::MemberDefect;
use super::expect::Expectation;
use super::manifest::Fingerprints;
use super::part::{Few, PartSeen};
use crate::model::ObjectKey;

/// Changes when the same list gives its rows in another order, or another thing has to be known of a part.
const FORM: u8 = 1;
/// Runs of rows that one part may have: a part whose files lie all over the list is read again.
const RUNS_MAX: usize = 100_000;
/// Names of unlogged relations that one part may have.
const UNLOGGED_MAX: usize = 10_000;

/// A part that was walked to its end and in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPart {
    #[serde(rename = "f")]
    form: u8,
    /// Rows of the list that its numbers belong to.
    #[serde(rename = "l")]
    list_rows: u64,
    #[serde(rename = "m")]
    members: u64,
    #[serde(rename = "b")]
    member_bytes: u64,
    #[serde(rename = "s")]
    stream_bytes: u64,
    #[serde(rename = "r")]
    rooted: bool,
    #[serde(rename = "p")]
    pages: u64,
    #[serde(rename = "pn")]
    pages_newer: u64,
    #[serde(rename = "pg")]
    pages_good: u64,
    #[serde(rename = "i")]
    increments: u64,
    #[serde(rename = "v")]
    major: Option<u32>,
    /// Rows of the list that were met, as first and length.
    #[serde(rename = "w")]
    rows: Vec<(u32, u32)>,
    /// Relations without pages that count, by path.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    unlogged: Vec<String>,
    /// Files and pages whose checksums do not match, where none does: the cluster has no checksums. With the first.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    unchecked: Option<(u64, u64, String, String)>,
}

/// Rows of a backup's list of files.
fn list_rows(expectation: &Expectation) -> u64 {
    expectation.files.as_ref().map_or(0, |files| files.len() as u64)
}

impl PartSeen {
    /// What to remember of it. `None` where something is wrong, and where it holds what only the whole backup judges
    /// (control file, labels, manifest): that part is small or is read again.
    pub fn keep(&self, expectation: &Expectation) -> Option<KeptPart> {
        let few =
            [&self.unexpected, &self.twice, &self.bad_names, &self.bad_increments, &self.bad_files, &self.bad_versions];
        let without_checksums = self.pages_good == 0 && self.unlikely_pages.count == 0;
        let is_whole = self.tar.is_none()
            && few.iter().all(|few| few.count == 0)
            && (self.bad_pages.count == 0 || without_checksums)
            && self.unlikely_pages.count == 0;
        let apart = self.control.is_some()
            || self.label.is_some()
            || self.tablespaces.is_some()
            || self.manifest.is_some()
            || self.unlogged.len() > UNLOGGED_MAX;
        if !is_whole || apart {
            return None;
        }
        let mut rows: Vec<(u32, u32)> = Vec::new();
        for row in &self.rows {
            match rows.last_mut() {
                Some((first, count)) if *first + *count == *row => *count += 1,
                _ => rows.push((*row, 1)),
            }
            if rows.len() > RUNS_MAX {
                return None;
            }
        }
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).ok();
        let mut unlogged: Vec<String> = self.unlogged.iter().map(text).collect::<Option<_>>()?;
        unlogged.sort_unstable();
        let few = &self.bad_pages;
        let unchecked =
            few.kept.first().map(|first| (few.files, few.count, first.path.to_string(), first.message.clone()));
        Some(KeptPart {
            form: FORM,
            list_rows: list_rows(expectation),
            members: self.members,
            member_bytes: self.member_bytes,
            stream_bytes: self.stream_bytes,
            rooted: self.rooted,
            pages: self.pages,
            pages_newer: self.pages_newer,
            pages_good: self.pages_good,
            increments: self.increments,
            major: self.major,
            rows,
            unlogged,
            unchecked,
        })
    }
}

impl KeptPart {
    /// The part as if it had just been walked. `None` if it is remembered in a form that says nothing any more.
    pub fn seen(&self, name: &str, expectation: &Expectation) -> Option<PartSeen> {
        let listed = list_rows(expectation);
        let fits = |(first, count): &(u32, u32)| u64::from(*first) + u64::from(*count) <= listed;
        if self.form != FORM || self.list_rows != listed || !self.rows.iter().all(fits) {
            return None;
        }
        let mut bad_pages = Few::default();
        if let Some((files, count, path, message)) = &self.unchecked {
            let (path, message) = (ObjectKey::new(path.as_bytes()), message.clone());
            bad_pages.kept = vec![MemberDefect { path, message, blocks: Vec::new(), count: *count }];
            (bad_pages.files, bad_pages.count) = (*files, *count);
        }
        Some(PartSeen {
            name: name.to_owned(),
            members: self.members,
            member_bytes: self.member_bytes,
            stream_bytes: self.stream_bytes,
            rooted: self.rooted,
            pages: self.pages,
            pages_newer: self.pages_newer,
            pages_good: self.pages_good,
            increments: self.increments,
            major: self.major,
            rows: self.rows.iter().flat_map(|(first, count)| *first..first + count).collect(),
            unlogged: self.unlogged.iter().map(|path| path.as_bytes().to_vec()).collect(),
            bad_pages,
            // A manifest in another part is compared with the members that are read now.
            fingerprints: Fingerprints::left_out(),
            ..PartSeen::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: usize) -> Expectation {
        let files: Vec<String> = (0..files).map(|number| format!("\"/f{number:03}\":{{}}")).collect();
        let mut expectation = Expectation::default();
        expectation.read_files(&mut format!("{{\"Files\":{{{}}}}}", files.join(",")).as_bytes()).unwrap();
        expectation
    }

    #[test]
    fn a_part_is_kept_and_comes_back_as_it_was() {
        let expectation = listed(10);
        let rows = vec![1, 2, 3, 7, 9];
        let unlogged = [b"base/5/16384".to_vec()].into();
        let seen = PartSeen { rows, unlogged, pages: 5, pages_good: 5, members: 6, ..PartSeen::default() };
        let kept = seen.keep(&expectation).unwrap();
        assert_eq!(kept.rows, [(1, 3), (7, 1), (9, 1)]);
        let text = serde_json::to_string(&kept).unwrap();
        let kept: KeptPart = serde_json::from_str(&text).unwrap();
        let back = kept.seen("part_001.tar", &expectation).unwrap();
        assert_eq!((&back.rows, &back.unlogged, back.members), (&seen.rows, &seen.unlogged, 6));
        assert!(back.fingerprints.overflow, "a manifest cannot miss its members");
        // Another list: its rows are others.
        assert!(kept.seen("part_001.tar", &listed(11)).is_none());
        assert!(KeptPart { rows: vec![(8, 3)], ..kept }.seen("part_001.tar", &expectation).is_none());
    }

    #[test]
    fn what_is_wrong_or_judged_with_the_rest_is_not_kept() {
        let expectation = listed(10);
        let mut wrong = PartSeen::default();
        wrong.unexpected.note(b"x", "is not in the list");
        assert!(wrong.keep(&expectation).is_none());
        let control = PartSeen { control: Some(Err("is short".to_owned())), ..PartSeen::default() };
        assert!(control.keep(&expectation).is_none());
        let mut pages = PartSeen { pages: 9, pages_good: 8, ..PartSeen::default() };
        pages.bad_pages.note(b"base/5/1", "has a damaged page");
        assert!(pages.keep(&expectation).is_none());
        // Not one page with a right checksum: the cluster has none.
        pages.pages_good = 0;
        let kept = pages.keep(&expectation).unwrap().seen("part_001.tar", &expectation).unwrap();
        assert_eq!((kept.bad_pages.count, kept.bad_pages.kept.len()), (1, 1));
    }
}
