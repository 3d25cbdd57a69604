//! What test restores add to a report.

use super::data::{LastRestore, Rungs};
use crate::catalog::evidence::{RestoreEvidence, RestoreOutcome};
use crate::catalog::{Archive, BaseBackup};
use crate::model::Timestamp;

/// The two rungs that only a server can prove.
pub(super) fn add_rungs(rungs: &mut Rungs, archive: &Archive, backup: &BaseBackup, evidence: Option<&RestoreEvidence>) {
    let Some(evidence) = evidence else { return };
    rungs.restored = evidence.proof_of(archive, backup).and_then(|test| test.at);
    rungs.proven = evidence
        .proofs_of(archive, backup)
        .find(|test| test.outcome == RestoreOutcome::Proven)
        .and_then(|test| test.at);
}

/// The last restore that was proven and still holds.
pub(super) fn last(archive: &Archive, evidence: Option<&RestoreEvidence>, as_of: Timestamp) -> Option<LastRestore> {
    let test = evidence?.last_proof(archive)?;
    let at = test.at?;
    Some(LastRestore {
        backup: test.backup.clone(),
        at,
        age_s: as_of.duration_since(at).as_secs().max(0),
        rto_s: test.rto_s,
        proven: test.outcome == RestoreOutcome::Proven,
    })
}
