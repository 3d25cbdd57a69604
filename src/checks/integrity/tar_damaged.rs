//! A tar of a base backup is cut off or malformed.
//!
//! **Fires** when a part that decodes to its end is no whole tar: a header with a wrong checksum, a file or the end mark
//! cut off, data behind the end mark, a name that climbs out of its directory. Parts of a backup that a server streamed
//! may lack their end mark: the tool writes them so.
//!
//! **Why it matters.** Usual readers stop at the first broken header or the end of the input, and call what they have read
//! until then the whole. The files behind are lost without an error.
//!
//! **What to do.** The backup, and every delta on top of it, is lost: take a new full backup now. Keep the damaged one: most
//! of its files can still be read.

use super::backups;
use crate::catalog::evidence::BackupDefectKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT007", "tar-damaged", Critical, "tar_damaged.rs");

const ADVICE: &str = "take a new full backup now; bring the object back from a noncurrent version or a second copy";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    backups::defects(cx, out, &RULE, &[BackupDefectKind::TarDamaged], ADVICE)
}
