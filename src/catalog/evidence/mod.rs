//! What was learnt beyond listing and metadata: by reading content, and by restoring.

mod backup;
mod content;
mod restore;
mod versions;

pub use backup::{BackupDefect, BackupDefectKind, MemberDefect};
pub use content::{
    BackupProof, ContentEvidence, ContentTotals, Damage, DamageKind, DuplicateSeen, ExactEnd, NamedPoint, ProvenRun,
    SegmentFact, Unread, UnreadReason, WalProof,
};
pub use restore::{
    AssertionResult, RestoreEvidence, RestoreFailure, RestoreOutcome, RestoreRates, RestoreStep, RestoreTest, StepTime,
    fingerprint,
};
pub use versions::{Overwritten, VersionEvidence, VersionVerdict};

/// Evidence at hand; `None` means that nobody looked, and the rules that need it are not run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// From reading content (`verify`).
    pub content: Option<&'a ContentEvidence>,
    /// What this run or an earlier one proved of objects that have not changed: for reports, not for rules.
    pub proven: Option<&'a ContentEvidence>,
    /// From test restores of this run and of earlier ones.
    pub restore: Option<&'a RestoreEvidence>,
    /// From listing older versions of WAL, and from comparing them.
    pub versions: Option<&'a VersionEvidence>,
}

impl<'a> Evidence<'a> {
    /// All that is proven of content.
    pub fn proofs(&self) -> Option<&'a ContentEvidence> {
        self.proven.or(self.content)
    }
}
