//! An encrypted object does not decrypt or authenticate.
//!
//! **Fires** when an encrypted object has a chunk that does not authenticate, ends without its final tag, or does not open
//! at all with a key that opens other objects of the archive.
//!
//! **Near miss.** Without any key, or with a key that opens nothing here, that is INT014: it says nothing on the objects.
//!
//! **Why it matters.** Nothing behind the damaged chunk can be had back. Cut objects look whole to tools that do not demand
//! the final tag.
//!
//! **What to do.** As for INT001; and find out whether objects were written with another key.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT002", "decrypt-failed", Critical, "decrypt_failed.rs");

const ADVICE: &str =
    "if it was written with another key, give that one; otherwise archive it again, or take a new base backup now";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::Decrypt], ADVICE)
}
