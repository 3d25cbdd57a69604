//! Neighbouring segments do not continue each other.
//!
//! **Fires** when each of two neighbours is whole, but the record that spans their boundary does not fit together, the first
//! record of the right one does not follow the last one of the left one, or the copies of a segment in which a timeline was
//! left differ before the switch.
//!
//! **Near miss.** Neighbours that were not read, or of which one is damaged, are not judged.
//!
//! **Why it matters.** One of the two is of another history: an old file, another server. PostgreSQL ends recovery at the
//! boundary without an error.
//!
//! **What to do.** Find out which of the two is wrong (upload times tell), and archive the right one again; if it is gone,
//! take a new base backup now.

use super::content;
use crate::catalog::evidence::DamageKind;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT005", "wal-chain-broken", Critical, "wal_chain_broken.rs");

const ADVICE: &str =
    "compare both with pg_wal of the server and archive the right one again; if it is gone, take a new base backup now";

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    content::damaged(cx, out, &RULE, &[DamageKind::Chain], ADVICE)
}
