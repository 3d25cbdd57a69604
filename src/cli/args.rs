use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::checks::Severity;
use crate::model::{Lsn, TimelineId, Timestamp};

/// Proves that PostgreSQL backup archives in object stores can be restored, to which moments, and for how long.
#[derive(Debug, Parser)]
#[command(name = "walproof", version, max_term_width = 110, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 the audit could not be completed.\n\
    walproof only ever reads an archive."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, judge and report: which moments can be recovered, what is missing, and why
    Audit(Box<AuditArgs>),
    /// Read content: every byte of WAL and backups that decodes and holds, or a sample of it
    Verify(super::verify::VerifyArgs),
    /// Show backups, WAL, timelines and recovery windows
    List(ListArgs),
    /// Can this moment be recovered: from which backup, along which timelines
    Reach(ReachArgs),
    /// Fetch a backup, replay its WAL, start PostgreSQL on it, and prove with SQL that the data is there
    #[cfg(feature = "restore")]
    RestoreTest(Box<super::restore_test::RestoreTestArgs>),
    /// Hands WAL to a server that is being tested
    #[cfg(feature = "restore")]
    #[command(hide = true)]
    SandboxWal(super::restore_test::SandboxWalArgs),
    /// What the last runs saw: windows, WAL lag, backup sizes, proofs, restore times
    History(HistoryArgs),
    /// What a bucket's lifecycle rules do to its backups, and what a change of them would do
    Lifecycle(super::lifecycle::LifecycleArgs),
    /// The configuration file alone: contradictions, where each value came from
    Policy(super::policy::PolicyArgs),
    /// Restore a backup into a directory: fetched in parallel, resumable, tablespaces moved
    #[cfg(feature = "restore")]
    Restore(super::restore::RestoreArgs),
    /// A restore_command that no damage and no network fault can pass off as the end of the archive
    #[cfg(feature = "restore")]
    WalFetch(super::wal_fetch::WalFetchArgs),
    /// The manual page of a rule, or the list of rules
    Rule(RuleArgs),
    /// Render a saved JSON report again
    Report(ReportArgs),
    /// Make a real archive from a real PostgreSQL on this machine, audit it, damage copies, show what is found
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `walproof audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Addresses (s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, a directory) or names of clusters;
    /// all clusters of the configuration, or wal-g's own settings, when none is named
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// The live server's write position (pg_current_wal_lsn), to judge an idle one
    #[arg(long, value_name = "LSN", requires = "live_timeline")]
    pub live_lsn: Option<Lsn>,
    /// The live server's timeline
    #[arg(long, value_name = "N", value_parser = timeline, requires = "live_lsn")]
    pub live_timeline: Option<TimelineId>,
    /// Rules of the bucket
    #[command(flatten)]
    pub rules: super::rules::RulesArgs,
    /// Read content, too: every byte of WAL and backups, or what the flags below say
    #[arg(long, help_heading = "Content")]
    pub verify: bool,
    /// What to read
    #[command(flatten)]
    pub content: super::verify::ContentArgs,
    /// Then restore a backup, too, replay its WAL, start PostgreSQL on it, and assert, as the flags below say
    #[cfg(feature = "restore")]
    #[arg(long, help_heading = "Test restore")]
    pub restore_test: bool,
    /// What to restore
    #[cfg(feature = "restore")]
    #[command(flatten)]
    pub test: super::restore_test::TestArgs,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

impl AuditArgs {
    /// Whether a test restore follows.
    pub(super) fn tests_restore(&self) -> bool {
        #[cfg(feature = "restore")]
        return self.restore_test;
        #[cfg(not(feature = "restore"))]
        return false;
    }
}

/// `walproof list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// An address or the name of a cluster
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// `walproof reach`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("moment").required(true))]
pub struct ReachArgs {
    /// An address or the name of a cluster
    #[arg(value_name = "ARCHIVE")]
    pub archive: Option<String>,
    /// The moment, e.g. 2026-11-20T14:30:00Z
    #[arg(long, value_name = "RFC3339", value_parser = time, group = "moment")]
    pub time: Option<Timestamp>,
    /// The position, e.g. 16/B374D848
    #[arg(long, value_name = "LSN", group = "moment")]
    pub lsn: Option<Lsn>,
    /// The end of a transaction, in WAL that `verify --state` has read
    #[arg(long, value_name = "XID", group = "moment")]
    pub xid: Option<u32>,
    /// A restore point made with pg_create_restore_point, in WAL that `verify --state` has read
    #[arg(long, value_name = "NAME", group = "moment")]
    pub name: Option<String>,
    /// Only along the way to this timeline
    #[arg(long, value_name = "N", value_parser = timeline)]
    pub timeline: Option<TimelineId>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// `walproof demo`
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the archive and its damaged copies in this new directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Directory with PostgreSQL's programs; found or downloaded when left out (repeatable)
    #[arg(long, value_name = "DIR")]
    pub pg_bin: Vec<PathBuf>,
    /// Unprivileged user to run the server as when walproof runs as root
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// `walproof history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// An address or the name of a cluster; everything that is remembered when left out
    #[arg(value_name = "ARCHIVE")]
    pub archive: Option<String>,
    /// So many runs of each archive
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub last: u16,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// `walproof rule`
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// Code or name of a rule; the list of all when left out
    pub code: Option<String>,
}

/// `walproof report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A report written by --format json; - for standard input
    pub file: PathBuf,
    /// How to show it
    #[command(flatten)]
    pub common: Output,
}

/// Flags of every command that looks at an archive.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Configuration file [default: WALPROOF_CONFIG, else walproof.toml in the working directory]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// Judge as of another moment
    #[arg(long, value_name = "RFC3339", value_parser = time, help_heading = "Settings")]
    pub now: Option<Timestamp>,
    /// A rule that must be able to run: if it cannot, the audit is incomplete (repeatable)
    #[arg(long, value_name = "CODE", help_heading = "Settings")]
    pub require: Vec<String>,
    /// Remember runs here: a directory or a bucket prefix outside of every archive [default: [state] url of the
    /// configuration]
    #[arg(long, value_name = "URL", help_heading = "Settings")]
    pub state: Option<String>,
    /// Stop after this long and report what was learnt so far, e.g. 10m
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Settings")]
    pub max_time: Option<std::time::Duration>,
    /// Requests in flight, over all buckets
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096), help_heading = "Settings")]
    pub connections: u16,
    /// Bytes per second read at most, e.g. 50MiB
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Settings")]
    pub limit_rate: Option<u64>,
    /// Store access
    #[command(flatten)]
    pub access: Access,
    /// Outputs
    #[command(flatten)]
    pub output: Output,
}

/// How the store is reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Store")]
pub struct Access {
    /// A server other than the cloud's own (MinIO, Ceph, LocalStack, fake GCS)
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Region of the bucket; found out when left out
    #[arg(long)]
    pub region: Option<String>,
    /// Profile of ~/.aws/config
    #[arg(long)]
    pub profile: Option<String>,
    /// Bucket in the path instead of the host name
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub path_style: Option<bool>,
    /// Send no credentials
    #[arg(long)]
    pub anonymous: bool,
    /// Agree to pay for requests to a requester-pays bucket
    #[arg(long)]
    pub requester_pays: bool,
    /// Take this layout whatever the keys look like: wal-g, wal-e, barman-cloud, pgbackrest, files
    #[arg(long, value_parser = layout)]
    pub layout: Option<crate::catalog::LayoutKind>,
    /// With --layout files: what the keys of dumps look like below the address, as in "{tier}/{date}.tar.zst"
    #[arg(long, value_name = "PATTERN")]
    pub files_pattern: Option<String>,
    /// wal-g's configuration file: prefix, credentials and encryption keys
    #[arg(long, value_name = "FILE")]
    pub walg_config: Option<PathBuf>,
}

/// Where results go and what they look like.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// text, json, jsonl, junit, nagios or markdown; F=PATH writes that one to a file (repeatable)
    #[arg(long = "format", short = 'f', value_name = "F[=PATH]")]
    pub formats: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Lowest severity that makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,
    /// Only the answer and what is wrong
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// Show notes, objects and ready-made exceptions too; twice: log requests to standard error
    #[arg(long, short = 'v', action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No progress on standard error
    #[arg(long)]
    pub no_progress: bool,
    /// Colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// `--fail-on`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Warnings and worse
    Warning,
    /// Errors and worse
    Error,
    /// Critical findings only
    Critical,
}

impl From<FailOn> for Severity {
    fn from(fail_on: FailOn) -> Self {
        match fail_on {
            FailOn::Warning => Severity::Warning,
            FailOn::Error => Severity::Error,
            FailOn::Critical => Severity::Critical,
        }
    }
}

/// `--color`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.trim().parse::<Timestamp>().map_err(|_| {
        let hint =
            if text.contains(' ') && !text.ends_with('Z') { "; the zone is missing: append Z for UTC" } else { "" };
        format!("not a moment with its zone, like 2026-11-20T14:30:00Z{hint}")
    })
}

pub(super) fn timeline(text: &str) -> Result<TimelineId, String> {
    text.parse().ok().and_then(TimelineId::new).ok_or_else(|| "timelines are numbered from 1".to_owned())
}

fn layout(text: &str) -> Result<crate::catalog::LayoutKind, String> {
    use crate::catalog::LayoutKind;
    let all = [LayoutKind::WalG, LayoutKind::WalE, LayoutKind::Barman, LayoutKind::Pgbackrest, LayoutKind::Files];
    all.into_iter()
        .find(|layout| layout.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| "known layouts: wal-g, wal-e, barman-cloud, pgbackrest, files".to_owned())
}

pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let span: crate::policy::Span = text.parse().map_err(|error: crate::policy::UnitError| error.to_string())?;
    span.seconds().map(std::time::Duration::from_secs).ok_or_else(|| "a limit has to end".to_owned())
}

pub(super) fn rate(text: &str) -> Result<u64, String> {
    let size: crate::policy::ByteSize = text.parse().map_err(|error: crate::policy::UnitError| error.to_string())?;
    if size.0 == 0 { Err("a rate of 0 reads nothing".to_owned()) } else { Ok(size.0) }
}
