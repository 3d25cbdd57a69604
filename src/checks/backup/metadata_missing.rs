//! `metadata.json` or `files_metadata.json` is missing though the sentinel promises it.
//!
//! **Fires** for backups whose sentinel is of version 2 or later and that lack one of the two files, unless the backup
//! was made without files metadata on purpose.
//!
//! **Why it matters.** Without `metadata.json` the tool's detailed listing fails for the whole archive, and permanent
//! marks are lost. Without `files_metadata.json` nobody can tell whether all tars are there, deltas cannot tell which
//! files to take from their parents, and partial restores do not work.
//!
//! **What to do.** Bring the file back from a noncurrent version or a second copy.

use crate::catalog::SidecarState;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("BKP011", "metadata-missing", Error, "metadata_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    for (backup, _) in cx.backups() {
        for (state, what) in [(&backup.metadata, "metadata.json"), (&backup.files_metadata, "files_metadata.json")] {
            if let SidecarState::Missing(key) = state {
                out.push(
                    Finding::new(
                        &RULE,
                        backup.name.clone(),
                        format!("{} lacks {what}, which its sentinel promises", backup.name),
                    )
                    .objects([key])
                    .fact("file", what)
                    .advise("bring it back from a noncurrent version or a second copy"),
                );
            }
        }
    }
    Ok(())
}
