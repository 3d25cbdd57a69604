//! Proof of content: objects are read, decoded and checked byte by byte.
//!
//! [`Plan::make`] chooses what to read from an archive, a [`Request`] and what the ledger of earlier runs has proven;
//! [`run`] streams it through decryption, decompression and checks, in bounded memory; what it showed is a
//! [`ContentEvidence`](crate::catalog::evidence::ContentEvidence) for rules and reports, and what it proved goes into the
//! ledger.
#![allow(clippy::disallowed_methods)]

pub mod backup;
mod disprove;
mod engine;
mod judge;
mod ledger;
mod moment;
mod object;
mod parts;
mod plan;
mod pool;
mod recall;
mod request;
mod versions;
mod wal;

pub use engine::{Options, Verified, run};
pub use ledger::{Ledger, Proofs};
pub use moment::{Ended, find_transaction};
pub use plan::{Estimate, Plan, Share};
pub use recall::Recalled;
pub use request::{BackupChoice, Request, WalChoice};
pub use versions::{Chosen, look as look_at_versions};
