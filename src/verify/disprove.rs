//! Takes back what was proven of objects whose bytes turned out, at the end, not to be what the store once took.

use super::ledger::{BackupProven, SegmentProof};
use crate::catalog::Archive;
use crate::catalog::evidence::{ContentEvidence, Damage};

/// Takes one object back. A segment of which another copy holds stays usable.
pub(super) fn object(
    damage: &Damage,
    archive: &Archive,
    segments: &mut [SegmentProof],
    backups: &mut [BackupProven],
    out: &mut ContentEvidence,
) {
    if let Some(name) = damage.segment {
        let rows = archive.wal.at(name);
        let of_object = |row: &&crate::catalog::SegmentRow| {
            row.storage == damage.storage && crate::catalog::segment_key(name, row.codec) == damage.key
        };
        let id = rows.iter().find(of_object).map(|row| row.id());
        let mut holds = false;
        for proof in segments.iter_mut().filter(|proof| proof.name.0 == name) {
            if Some(proof.id.0) == id {
                (proof.valid, proof.damaged) = (false, true);
                (proof.end, proof.last_transaction, proof.xids, proof.edges) = (None, None, None, None);
            }
            holds |= proof.valid;
        }
        let number = name.number(archive.segment_size).filter(|_| !holds && !damage.harmless);
        if let Some(number) = number {
            out.wal.entry(name.timeline).or_default().disprove(number);
        }
    }
    if let Some(name) = &damage.backup {
        let place = (name.clone(), damage.storage);
        let backup = archive.backups.iter().find(|backup| backup.name == *name && backup.storage == damage.storage);
        let part = backup.and_then(|backup| backup.parts.iter().find(|part| part.object.key == damage.key));
        if let Some((proof, part)) = out.backups.get_mut(&place).zip(part) {
            proof.parts = proof.parts.saturating_sub(1);
            proof.bytes = proof.bytes.saturating_sub(part.object.size);
            (proof.intact, proof.valid) = (None, None);
        }
        for proof in backups.iter_mut().filter(|proof| proof.name == *name) {
            (proof.intact, proof.valid, proof.damaged) = (false, false, true);
            proof.parts.retain(|known| part.is_none_or(|part| part.name != known.name));
        }
    }
}
