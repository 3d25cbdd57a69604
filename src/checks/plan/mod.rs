//! Rules that `walproof lifecycle check` judges before a change is applied. An audit of what is names them as not run.

pub(super) mod bucket_destroyable;
pub(super) mod copy_missing;
pub(super) mod copy_shorter;
pub(super) mod deletion_burst;
pub(super) mod key_deletion;
pub(super) mod lock_short;
pub(super) mod not_encrypted;
pub(super) mod plan_unknown;
pub(super) mod public_access;
pub(super) mod two_owners;

use super::NotRun;

/// Why an audit does not judge what only a change can do.
fn only_before_it_is_applied() -> NotRun {
    NotRun("judged before a change is applied (walproof lifecycle check --plan)".to_owned())
}

/// Codes of the rules that an audit does not judge.
pub(super) static CODES: &[&str] =
    &["LFC012", "LFC013", "LFC016", "LFC017", "LFC022", "RET006", "RET008", "SEC001", "SEC002", "SEC004"];
