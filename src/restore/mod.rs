//! Restoring a backup into a directory: planned from the catalog alone, fetched and unpacked in one go, resumable,
//! and never a byte outside the directories that were named.
//!
//! [`Plan::of`] is pure and says beforehand what cannot work. [`restore`] fetches tars in parallel, each decoded by
//! one thread and written by another; a chain is applied from its full backup to the target. No recovery settings are
//! written unless asked for: who starts the server decides where it stops.
#![allow(clippy::disallowed_methods)]

mod ahead;
pub mod assert;
mod attempt;
pub mod dump;
mod error;
mod finish;
mod fuzz;
mod increment;
mod part;
mod plan;
mod run;
mod space;
pub mod test;
mod tree;
pub mod wal_fetch;
mod wanted;

use std::path::PathBuf;

use serde::Serialize;

pub use error::RestoreError;
#[doc(hidden)]
pub use fuzz::fuzz_one;
pub use plan::{Plan, Refusal, Request, Space, Step};
pub use run::restore;

use crate::postgres::Identity;
use crate::wal::ControlFile;

/// How to restore.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tars fetched and unpacked at the same time.
    pub parallel: usize,
    /// Bring everything to disk before it is called done.
    pub sync: bool,
    /// Whom the files belong to, when root restores for somebody else.
    pub owner: Option<Identity>,
    /// Refuse when the disk has too little room.
    pub check_space: bool,
    /// Go on with what an interrupted restore of the same backup left in the directory.
    pub resume: bool,
    /// Recovery settings to write, with what makes the server recover; none are written when this is empty.
    pub recovery: Vec<(String, String)>,
}

impl Default for Options {
    /// Four to eight tars at a time, synced, resumable, as whoever runs walproof.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        Options {
            parallel: cores.clamp(4, 8),
            sync: true,
            owner: None,
            check_space: true,
            resume: true,
            recovery: Vec::new(),
        }
    }
}

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The backup.
    pub backup: String,
    /// The data directory.
    pub into: PathBuf,
    /// Backups of its chain, itself included.
    pub chain: usize,
    /// Files written, increments not counted.
    pub files: u64,
    /// Bytes written by this run.
    pub bytes: u64,
    /// Stored bytes fetched by this run.
    pub stored_bytes: u64,
    /// Tars unpacked by this run.
    pub parts: usize,
    /// Tars that an interrupted run had unpacked already.
    pub parts_resumed: usize,
    /// Fetching and unpacking, which go on at the same time.
    pub fetch_s: f64,
    /// Bringing everything to disk.
    pub sync_s: f64,
    /// Where tablespaces went, by OID.
    pub tablespaces: Vec<(String, PathBuf)>,
    /// The first members that were wanted and not written, such as links; see `left_out_count`.
    pub left_out: Vec<LeftOut>,
    /// How many there are.
    pub left_out_count: u64,
    /// The restored `pg_control`, where its version is known.
    #[serde(skip)]
    pub control: Option<ControlFile>,
    /// What whoever starts the server should know.
    pub notes: Vec<String>,
}

/// A member of a tar that was not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The tar's key, relative to the archive's root.
    pub object: String,
    /// The member's name, escaped.
    pub member: String,
    /// Why.
    pub why: String,
}
