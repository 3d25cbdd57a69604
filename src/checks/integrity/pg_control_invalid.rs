//! `pg_control`, `backup_label` or `PG_VERSION` is missing, corrupt or contradicts the sentinel.
//!
//! **Fires** when `global/pg_control` is in no part, fails its CRC, has another system identifier, version or segment size
//! than the sentinel, or a checkpoint from before the backup's start or after its end; when `backup_label` is missing,
//! starts elsewhere or is of another timeline; when `tablespace_map` lacks a tablespace of the sentinel; when a
//! `PG_VERSION` names another version.
//!
//! **Near misses.** A checkpoint newer than the label's: checkpoints go on while a backup runs. A backup of a stopped
//! server has no label.
//!
//! **Why it matters.** Without the right label a server starts recovery from the wrong place and the data is silently
//! corrupt; without the control file it does not start at all.
//!
//! **What to do.** Take a new full backup. If the parts come from two backups, see what wrote into this directory.

use super::backups;
use crate::catalog::evidence::BackupDefectKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT013", "pg-control-invalid", Critical, "pg_control_invalid.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let kinds = &[BackupDefectKind::ControlInvalid, BackupDefectKind::LabelInvalid];
    backups::defects(cx, out, &RULE, kinds, "take a new full backup; see what else writes into this directory")
}
