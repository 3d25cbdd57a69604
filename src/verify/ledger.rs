//! What earlier runs proved, from the state: objects by name and identity, when, and what a segment held. A version that
//! changed or vanished simply has no entry any more.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::backup::KeptPart;
use crate::catalog::evidence::{ContentTotals, NamedPoint};
use crate::model::{Lsn, ObjectId, SegmentName, Timestamp};
use crate::state::{ArchiveId, Head, Kind, RunId, State, StateError};
use crate::wal::SegmentEdges;

/// Records of proofs that are read at most.
const RECORDS_MAX: usize = 400;
/// After so many records one holds everything again, so that reading them stays cheap.
const RECORDS_UNTIL_WHOLE: usize = 50;
/// Segments in one record.
const ROWS_MAX: usize = 200_000;

/// What is known of one object that holds a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentProof {
    /// Its name.
    #[serde(rename = "n")]
    pub name: SegmentText,
    /// Identity of the object.
    #[serde(rename = "i")]
    pub id: IdText,
    /// When it was read.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// Pages and records hold, too.
    #[serde(rename = "v", default, skip_serializing_if = "is_false")]
    pub valid: bool,
    /// It was damaged: it is read again in every run.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub damaged: bool,
    /// First position that is not usable without the next segment.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Lsn>,
    /// Time of the last commit or abort, in microseconds since 1970.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub last_transaction: Option<i64>,
    /// Lowest and highest number of a transaction that ended in it.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub xids: Option<(u32, u32)>,
    /// For neighbours that were not read in the same run.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<Box<SegmentEdges>>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// A segment's name as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentText(pub SegmentName);

impl TryFrom<String> for SegmentText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("{:?} is not the name of a segment", text.chars().take(40).collect::<String>());
        SegmentName::parse(text.as_bytes()).map(SegmentText).ok_or_else(bad)
    }
}

impl From<SegmentText> for String {
    fn from(name: SegmentText) -> String {
        name.0.to_string()
    }
}

/// An object's identity as hexadecimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdText(pub ObjectId);

impl TryFrom<String> for IdText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        u128::from_str_radix(&text, 16)
            .map(|id| IdText(ObjectId(id)))
            .map_err(|_| "not an object's identity".to_owned())
    }
}

impl From<IdText> for String {
    fn from(id: IdText) -> String {
        id.0.to_string()
    }
}

/// What is known of one backup, as long as none of its parts changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupProven {
    /// Its name.
    #[serde(rename = "n")]
    pub name: String,
    /// Identity of its parts together.
    #[serde(rename = "i")]
    pub id: IdText,
    /// When it was read.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// Every byte decodes and every file is there.
    #[serde(rename = "k", default, skip_serializing_if = "is_false")]
    pub intact: bool,
    /// Pages, manifest and control file hold.
    #[serde(rename = "v", default, skip_serializing_if = "is_false")]
    pub valid: bool,
    /// It was damaged: it is read again in every run.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub damaged: bool,
    /// Parts that hold, where the run ended before all were read.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartProven>,
}

/// What is known of one part of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartProven {
    /// Its file name.
    #[serde(rename = "n")]
    pub name: String,
    /// When it was read.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// What the verdict on the backup needs of it.
    #[serde(rename = "k")]
    pub kept: KeptPart,
}

/// What one run proved: the body of a record of proofs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proofs {
    /// Totals of the run.
    pub summary: ContentTotals,
    /// Some ETag was the MD5 sum of its object.
    #[serde(skip_serializing_if = "is_false")]
    pub etags_are_sums: bool,
    /// Some checksum of an upload in parts was right for parts of one size.
    #[serde(skip_serializing_if = "is_false")]
    pub parts_are_even: bool,
    /// Nothing older is needed beside the records of this run.
    pub complete: bool,
    /// Segments.
    pub segments: Vec<SegmentProof>,
    /// Backups.
    pub backups: Vec<BackupProven>,
    /// Restore points in these segments.
    pub points: Vec<NamedPoint>,
}

/// What all runs so far proved.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    segments: HashMap<(SegmentName, ObjectId), SegmentProof>,
    backups: HashMap<(String, ObjectId), BackupProven>,
    points: Vec<NamedPoint>,
    /// See [`Proofs`].
    pub(super) etags_are_sums: bool,
    pub(super) parts_are_even: bool,
    /// Records since the last that holds everything.
    records: usize,
    /// Records that could not be read.
    pub damaged: Vec<String>,
}

impl Ledger {
    /// Reads what earlier runs over an archive proved as of a moment.
    ///
    /// # Errors
    /// Those of the place that holds the state. Damaged records are passed over and named.
    pub async fn read(state: &State, archive: &ArchiveId, until: Timestamp) -> Result<Self, StateError> {
        let mut ledger = Ledger::default();
        let mut walk = state.walk(archive, Kind::Proofs, until, RECORDS_MAX).await?;
        let mut whole: Option<RunId> = None;
        loop {
            match walk.next_body::<Proofs>().await {
                Ok(None) => break,
                Ok(Some((head, _))) if whole.as_ref().is_some_and(|run| *run != head.run_id) => break,
                Ok(Some((head, proofs))) => {
                    if proofs.complete {
                        whole = Some(head.run_id);
                    }
                    ledger.records += 1;
                    ledger.add(proofs);
                }
                Err(error) if error.is_about_one_record() => ledger.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(ledger)
    }

    /// Adds an older record: what newer ones say stays.
    pub fn add(&mut self, proofs: Proofs) {
        self.etags_are_sums |= proofs.etags_are_sums;
        self.parts_are_even |= proofs.parts_are_even;
        for segment in proofs.segments {
            self.segments.entry((segment.name.0, segment.id.0)).or_insert(segment);
        }
        for backup in proofs.backups {
            self.backups.entry((backup.name.clone(), backup.id.0)).or_insert(backup);
        }
        let room = crate::catalog::evidence::ContentEvidence::POINTS_MAX.saturating_sub(self.points.len());
        self.points.extend(proofs.points.into_iter().take(room));
    }

    /// What is known of an object that holds a segment.
    pub fn segment(&self, name: SegmentName, id: ObjectId) -> Option<&SegmentProof> {
        self.segments.get(&(name, id))
    }

    /// What is known of a backup whose parts have this identity.
    pub fn backup(&self, name: &str, id: ObjectId) -> Option<&BackupProven> {
        self.backups.get(&(name.to_owned(), id))
    }

    /// Restore points that earlier runs met.
    pub fn points(&self) -> &[NamedPoint] {
        &self.points
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.backups.is_empty()
    }

    /// Writes what a run proved. `still_there` is asked when everything is written again: what is gone is left out.
    ///
    /// # Errors
    /// Those of the place that holds the state.
    pub async fn write(
        mut self,
        state: &State,
        head: &Head,
        new: Proofs,
        still_there: impl Fn(&SegmentProof) -> bool,
    ) -> Result<(), StateError> {
        if new.segments.is_empty() && new.backups.is_empty() && new.summary == ContentTotals::default() {
            return Ok(());
        }
        let mut all = new;
        if self.records >= RECORDS_UNTIL_WHOLE {
            let mut newest = Ledger::default();
            let summary = all.summary;
            newest.add(std::mem::take(&mut all));
            for segment in std::mem::take(&mut self.segments).into_values().filter(|segment| still_there(segment)) {
                newest.segments.entry((segment.name.0, segment.id.0)).or_insert(segment);
            }
            for backup in std::mem::take(&mut self.backups).into_values() {
                newest.backups.entry((backup.name.clone(), backup.id.0)).or_insert(backup);
            }
            all = Proofs {
                summary,
                etags_are_sums: newest.etags_are_sums || self.etags_are_sums,
                parts_are_even: newest.parts_are_even || self.parts_are_even,
                complete: true,
                segments: newest.segments.into_values().collect(),
                backups: newest.backups.into_values().collect(),
                points: newest.points.into_iter().chain(self.points).collect(),
            };
            all.segments.sort_by_key(|segment| (segment.name.0.timeline, segment.name.0.position()));
        }
        let mut rest = all.segments.split_off(all.segments.len().min(ROWS_MAX));
        let complete = all.complete;
        state.write(head, &all).await?;
        while !rest.is_empty() {
            let more = rest.split_off(rest.len().min(ROWS_MAX));
            let part = Proofs { complete, segments: rest, ..Proofs::default() };
            state.write(head, &part).await?;
            rest = more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_small_and_survive() {
        let name = SegmentName::parse(b"000000010000000000000005").unwrap();
        let proof = SegmentProof {
            name: SegmentText(name),
            id: IdText(ObjectId(7)),
            at: Timestamp::UNIX_EPOCH,
            valid: true,
            damaged: false,
            end: Some(Lsn(0x600_0000)),
            last_transaction: Some(5),
            xids: Some((700, 701)),
            edges: None,
        };
        let text = serde_json::to_string(&proof).unwrap();
        assert!(text.len() < 200, "{text}");
        assert_eq!(serde_json::from_str::<SegmentProof>(&text).unwrap(), proof);
        assert!(serde_json::from_str::<SegmentProof>(&text.replace("000000010", "x")).is_err());
    }

    #[test]
    fn newer_records_win() {
        let name = SegmentName::parse(b"000000010000000000000005").unwrap();
        let proof = |damaged: bool| SegmentProof {
            name: SegmentText(name),
            id: IdText(ObjectId(7)),
            at: Timestamp::UNIX_EPOCH,
            valid: !damaged,
            damaged,
            end: None,
            last_transaction: None,
            xids: None,
            edges: None,
        };
        let mut ledger = Ledger::default();
        ledger.add(Proofs { segments: vec![proof(true)], ..Proofs::default() });
        ledger.add(Proofs { segments: vec![proof(false)], ..Proofs::default() });
        assert!(ledger.segment(name, ObjectId(7)).unwrap().damaged);
        assert!(ledger.segment(name, ObjectId(8)).is_none());
    }
}
