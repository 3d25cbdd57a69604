//! What earlier runs proved of the objects that are there now. Nothing is read for it but the ledger.

use std::collections::BTreeSet;

use super::ledger::{BackupProven, Ledger};
use super::plan::Plan;
use super::request::Request;
use super::wal::Fold;
use crate::catalog::evidence::{BackupProof, ContentEvidence};
use crate::catalog::{Archive, BaseBackup};
use crate::model::{SegmentNo, TimelineId, Timestamp};

/// What is remembered of an archive's content.
#[derive(Debug, Clone, Default)]
pub struct Recalled {
    /// Proofs of objects that have not changed since. Of damage it holds nothing: see the other fields.
    pub content: ContentEvidence,
    /// Segments that were damaged when they were read last, and when that was; their objects have not changed since.
    pub segments_damaged: Vec<(TimelineId, SegmentNo, Timestamp)>,
    /// The same for backups, as indices into [`Archive::backups`].
    pub backups_damaged: Vec<(usize, Timestamp)>,
}

impl Recalled {
    /// Looks each object up in the ledger.
    pub fn of(archive: &Archive, ledger: &Ledger, as_of: Timestamp) -> Self {
        let mut out = Recalled::default();
        // Only a backup that is asked for by name may be missing.
        let Ok(plan) = Plan::make(archive, &Request::default(), ledger, as_of) else { return out };
        let mut fold = Fold::new(archive, as_of);
        for item in plan.segments.into_iter().filter(|item| !item.partial) {
            match &item.known {
                Some(known) if known.valid => fold.known(item, &mut out.content),
                Some(known) if known.damaged => {
                    out.segments_damaged.push((item.name.timeline, item.number, known.at));
                    fold.unread(&item, &mut out.content);
                }
                _ => fold.unread(&item, &mut out.content),
            }
        }
        fold.finish(&mut out.content);
        // A copy that holds is enough for recovery.
        let wal = &out.content.wal;
        out.segments_damaged.retain(|(timeline, number, _)| {
            let proven = wal.get(timeline).map_or(0, |proof| proof.within(number.0, number.0 + 1, true).0);
            proven == 0
        });
        out.segments_damaged.dedup_by_key(|damaged| (damaged.0, damaged.1));
        for item in plan.backups {
            let backup = &archive.backups[item.at];
            match &item.known {
                Some(known) if known.damaged => out.backups_damaged.push((item.at, known.at)),
                Some(known) => {
                    let proof = known.proof(backup);
                    out.content.backups.insert((backup.name.clone(), backup.storage), proof);
                }
                None => {}
            }
        }
        out.content.damages.clear();
        out.content.notes.extend(out.note(archive));
        out
    }

    /// One sentence on damage that is remembered.
    fn note(&self, archive: &Archive) -> Option<String> {
        let segment = |(timeline, number, at): &(TimelineId, SegmentNo, Timestamp)| {
            (number.name(*timeline, archive.segment_size).to_string(), *at)
        };
        let backup = |(index, at): &(usize, Timestamp)| (archive.backups[*index].name.clone(), *at);
        let (first, at) =
            self.backups_damaged.first().map(backup).or_else(|| self.segments_damaged.first().map(segment))?;
        let mut what = Vec::new();
        for (count, one, many) in
            [(self.backups_damaged.len(), "backup", "backups"), (self.segments_damaged.len(), "segment", "segments")]
        {
            match count {
                0 => {}
                1 => what.push(format!("1 {one}")),
                count => what.push(format!("{count} {many}")),
            }
        }
        Some(format!(
            "damaged when read last and not changed since: {}, first {first} ({}); walproof verify says what is wrong",
            what.join(" and "),
            at.strftime("%Y-%m-%d %H:%M UTC")
        ))
    }

    /// Segments that recovery must not count on, without doubles.
    pub fn condemned(&self) -> BTreeSet<(TimelineId, SegmentNo)> {
        let between = self.content.wal.iter().flat_map(|(timeline, proof)| {
            // Neighbours that were proven apart and do not continue each other.
            proof.damaged.iter().map(|number| (*timeline, *number))
        });
        self.segments_damaged.iter().map(|(timeline, number, _)| (*timeline, *number)).chain(between).collect()
    }
}

impl BackupProven {
    /// What it proves of the backup now.
    pub(super) fn proof(&self, backup: &BaseBackup) -> BackupProof {
        let parts_total = backup.parts.len() as u64;
        if !self.intact || self.damaged {
            let mut proof = BackupProof { parts_total, ..BackupProof::default() };
            for known in &self.parts {
                let Some(part) = backup.parts.iter().find(|part| part.name == known.name) else { continue };
                proof.parts += 1;
                proof.bytes += part.object.size;
                proof.oldest = [proof.oldest, Some(known.at)].into_iter().flatten().min();
            }
            return proof;
        }
        BackupProof {
            parts: parts_total,
            parts_total,
            bytes: backup.parts.iter().map(|part| part.object.size).sum(),
            oldest: Some(self.at),
            intact: Some(self.at),
            valid: Some(self.at).filter(|_| self.valid),
        }
    }
}
