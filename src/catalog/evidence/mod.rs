//! What was learnt beyond listing and metadata: by reading content, and by restoring.

mod backup;
mod content;

pub use backup::{BackupDefect, BackupDefectKind};
pub use content::{
    BackupProof, ContentEvidence, ContentTotals, Damage, DamageKind, DuplicateSeen, ExactEnd, NamedPoint, ProvenRun,
    SegmentFact, Unread, UnreadReason, WalProof,
};

/// Evidence at hand; `None` means that nobody looked, and the rules that need it are not run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// From reading content (`verify`).
    pub content: Option<&'a ContentEvidence>,
}
