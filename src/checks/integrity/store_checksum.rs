//! The bytes read differ from the checksum that the store holds.
//!
//! **Fires** when a store names a checksum of the whole object (CRC-32C, CRC-64/NVME, SHA-1, SHA-256, or an MD5 that is one)
//! and the bytes that came have another one. Nothing is read twice for it. The same for checksums made of those of the
//! parts that an object was uploaded in (S3, ETags included): the size of the first part is asked for, and the others are
//! taken to have the same.
//!
//! **Near miss.** ETags of objects encrypted with a key service are no MD5. ETags, and checksums of parts, count only in
//! an archive in which some of them are right: elsewhere they are something else.
//!
//! **Why it matters.** The object was damaged in the store or on the way. What it decodes to cannot be trusted even where
//! its own format noticed nothing.
//!
//! **What to do.** Read it again from another network; if it stays so, treat the object as lost and tell the store's operator.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, NotRun, declare_rule};

declare_rule!("INT010", "store-checksum", Critical, "store_checksum.rs");

const ADVICE: &str =
    "read it again; if it stays so, the object is lost: archive it again or take a new base backup now";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::StoreChecksum], ADVICE)?;
    let content = cx.content()?;
    if content.totals.store_checksums == 0 {
        return Err(NotRun("the store sent no checksum of a whole object".to_owned()));
    }
    Ok(())
}
