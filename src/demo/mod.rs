//! A real archive from a real PostgreSQL, made on this machine in about a minute: for people who want to see
//! walproof at work before they show it their own, and for tests on machines that have no other archives.
//!
//! [`build`] makes a small cluster in a sandbox, archives its WAL, takes a base backup, restores a standby from that
//! very backup, lets the primary die, promotes the standby to timeline 2 and takes another base backup there. What it
//! writes has the layout of wal-g 3 to the byte where that matters: sentinels, file sets, tar headers, lz4 frames.
//! [`damage`] copies an archive and breaks the copy in one of several ways, and says what the usual check would have
//! made of it.
//!
//! This is the only code in walproof that writes an archive. It refuses a directory that holds anything.
#![allow(clippy::disallowed_methods)]

mod backup;
mod cluster;
mod damage;
mod error;
mod objects;
mod sidecar;
mod tar;
mod unpack;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use damage::{Damage, DamageKind, damage};
pub use error::{DemoError, Result};

use crate::model::{Lsn, SegmentSize, TimelineId, Timestamp};
use crate::postgres::{Identity, Installation, Sandbox, choose, download, installations};
use crate::run::{ProgressUnit, RunContext};

/// Fetched where no usable server is installed.
const DOWNLOAD_MAJOR: u32 = 17;
/// Before it, standbys were configured in another way.
const MAJOR_MIN: u32 = 12;

/// What a demo archive is made with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DemoOptions {
    /// Directories with PostgreSQL programs to prefer over what the machine has.
    pub pg_bin: Vec<PathBuf>,
    /// The major to use; else the newest there is.
    pub major: Option<u32>,
    /// Whether server binaries may be fetched when the machine has none.
    pub download: bool,
    /// Whom the server runs as when walproof runs as root; see [`Identity::resolve`].
    pub run_as: Option<String>,
    /// Where the sandbox lies while the archive is made; else the system's directory for temporary files.
    pub sandbox_base: Option<PathBuf>,
    /// Size of WAL segments in MiB.
    pub segment_mib: u32,
    /// Segments written between the two backups, and again half as many on the second timeline.
    pub segments: u32,
    /// A tar part is closed when it has grown beyond this, in MiB.
    pub part_mib: u32,
}

impl Default for DemoOptions {
    /// Any server, a download if there is none, 16 MiB segments, about 25 of them, parts of 6 MiB.
    fn default() -> Self {
        DemoOptions {
            pg_bin: Vec::new(),
            major: None,
            download: true,
            run_as: None,
            sandbox_base: None,
            segment_mib: 16,
            segments: 14,
            part_mib: 6,
        }
    }
}

/// A position in the archive at which the content of the table `ledger` is known: the truth for restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// What happened just before.
    pub name: String,
    /// The timeline the server was on. The last mark of timeline 1 lies in a segment that this timeline has only as
    /// `.partial`: the way there is timeline 2, to which all marks belong.
    pub timeline: TimelineId,
    /// A restore along the newest timeline to this position (inclusive) has exactly these rows.
    pub lsn: Lsn,
    /// The server's clock at that moment.
    pub at: Timestamp,
    /// Rows in `ledger(id, amt, note)`.
    pub rows: i64,
    /// `md5(string_agg(id||':'||amt||':'||note, ',' order by id))`
    pub md5: String,
}

/// A base backup of the demo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemoBackup {
    /// `base_` and the segment it starts in.
    pub name: String,
    /// The timeline it was taken on.
    pub timeline: TimelineId,
    /// Where replay starts.
    pub start_lsn: Lsn,
    /// Where it becomes consistent.
    pub finish_lsn: Lsn,
    /// Data tars, without `pg_control` and `backup_label`.
    pub parts: u32,
}

/// What [`build`] made, and what is true about it.
#[derive(Debug, Clone, Serialize)]
pub struct DemoArchive {
    /// Holds `basebackups_005` and `wal_005`.
    pub dir: PathBuf,
    /// Version of the server.
    pub pg_version: String,
    /// Identifies the cluster.
    pub system_identifier: u64,
    /// Of its WAL.
    pub segment_size: SegmentSize,
    /// Oldest first.
    pub backups: Vec<DemoBackup>,
    /// Where timeline 2 leaves timeline 1.
    pub switch: Lsn,
    /// In the order in which they were made.
    pub marks: Vec<Mark>,
    /// Names of all archived WAL files, without extension, sorted.
    pub wal_files: Vec<String>,
    /// The moment to audit it as of: an hour after its last object, so that nothing counts as still on its way.
    pub as_of: Timestamp,
}

/// Makes a demo archive in `dir`, which must be empty or not exist yet. Takes well under two minutes.
///
/// What it has written is removed again if it fails or is cancelled.
///
/// # Errors
/// `NotEmpty` if `dir` holds something, `Postgres` for everything that goes wrong around the server.
pub async fn build(dir: &Path, options: &DemoOptions, ctx: &RunContext) -> Result<DemoArchive> {
    let bucket = objects::Bucket::create(dir)?;
    let made = fill(&bucket, options, ctx).await;
    ctx.progress.finish();
    if made.is_err() {
        bucket.remove();
    }
    made
}

async fn fill(bucket: &objects::Bucket, options: &DemoOptions, ctx: &RunContext) -> Result<DemoArchive> {
    ctx.progress.step("building a demo archive", ProgressUnit::Things, Some(cluster::steps(options)));
    let installation = find_server(options, ctx).await?;
    let identity = Identity::resolve(options.run_as.as_deref())?;
    let sandbox = Sandbox::create(options.sandbox_base.as_deref(), identity)?;
    cluster::live(&sandbox, &installation, bucket, options, ctx).await
}

async fn find_server(options: &DemoOptions, ctx: &RunContext) -> Result<Installation> {
    if let Some(major) = options.major.filter(|major| *major < MAJOR_MIN) {
        return Err(DemoError::TooOld { major, oldest: MAJOR_MIN });
    }
    let mut found = installations(&options.pg_bin)?;
    found.retain(|i| i.version.major >= MAJOR_MIN && i.has("initdb"));
    match choose(&found, options.major) {
        Ok(installation) => Ok(installation.clone()),
        Err(_) if options.download => {
            let major = options.major.unwrap_or(DOWNLOAD_MAJOR);
            ctx.progress.note(&format!("fetching PostgreSQL {major}"));
            Ok(download::fetch(major, &download::cache_dir()?, &ctx.cancel).await?)
        }
        Err(e) => Err(e.into()),
    }
}
