//! A `restore_command`. Its exit codes are a contract of their own: PostgreSQL takes 1 to 125 for "there is no such
//! file" and ends recovery, so nothing but that answer may ever leave with one of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, Parser};

use super::Outcome;
use super::args::{Access, Common};
use super::session::{self, Session};
use crate::catalog::LayoutKind;
use crate::fetch::Source;
use crate::model::{SegmentSize, WalFileName};
use crate::report::clean;
use crate::restore::wal_fetch::prefetch::Prefetch;
use crate::restore::wal_fetch::{self, Expect, FetchError, Fetched};
use crate::wal::{CONTROL_FILE_BYTES, ControlFile};

/// Nothing is known about the file: PostgreSQL stops instead of promoting.
pub(super) const FAILED: u8 = 127;
const DAMAGED: u8 = 126;
/// As a shell says of a program that SIGTERM ended; PostgreSQL is shutting down then.
const TERMINATED: u8 = 143;
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// `walproof wal-fetch`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 a whole, checked file is in DEST; 1 the archive has no such file; \
    126 it is damaged or cannot be decrypted (DEST is untouched); 127 store, configuration or credentials failed.\n\
    restore_command = 'walproof wal-fetch --archive s3://bucket/prefix --prefetch 8 %f %p'")]
pub struct WalFetchArgs {
    /// Name of the file: PostgreSQL's %f
    #[arg(value_name = "SEG")]
    pub name: String,
    /// Where it goes: PostgreSQL's %p
    #[arg(value_name = "DEST")]
    pub dest: PathBuf,
    /// An address or the name of a cluster; wal-g's own settings when left out
    #[arg(long, value_name = "A")]
    pub archive: Option<String>,
    /// Fetch so many segments ahead, in the background
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub prefetch: u16,
    /// For a replica that lives on the archive: wait and try again instead of 126 and 127
    #[arg(long)]
    pub standby: bool,
    /// Fetch ahead of what others ask for
    #[arg(long, hide = true)]
    pub ahead: bool,
    /// Configuration file [default: WALPROOF_CONFIG, else walproof.toml in the working directory]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Twice: log requests to standard error
    #[arg(long, short = 'v', action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Store access
    #[command(flatten)]
    pub access: Access,
}

/// Whether the process was asked for this command, however wrong its other arguments are.
pub(super) fn is_asked_for(mut args: impl Iterator<Item = OsString>) -> bool {
    args.nth(1).is_some_and(|command| command == "wal-fetch")
}

/// Reads the process's arguments for this command alone: PostgreSQL waits for each call, and what all the other commands
/// take is not cheap to set up. `None`: whatever is unusual about them, the full reader says it.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Option<WalFetchArgs> {
    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Alone {
        #[command(flatten)]
        args: WalFetchArgs,
    }
    Alone::try_parse_from(args.skip(1)).ok().map(|alone| alone.args)
}

/// `walproof wal-fetch`
pub(super) fn run(args: WalFetchArgs) -> Outcome {
    if args.ahead {
        close_inherited();
        let _ = session::block_on(ahead(args));
        return Outcome::Clean;
    }
    let Some(name) = WalFileName::parse(args.name.as_bytes()) else {
        return fail(&FetchError::Failed(format!("{}: not the name of a file that PostgreSQL asks for", args.name)));
    };
    let expect = expect(&args.dest);
    let prefetch = (args.prefetch > 0).then(|| Prefetch::beside(&args.dest));
    if let (Some(prefetch), WalFileName::Segment(segment)) = (&prefetch, name)
        && prefetch.take(segment, &args.dest, expect)
    {
        if let Some(size) = size(&args.dest) {
            prefetch.ask(segment, size);
        }
        begin_ahead(prefetch);
        return Outcome::Clean;
    }
    wal_fetch::sweep(&args.dest);
    let fetched =
        session::block_on(async { Ok(Outcome::Code(foreground(&args, name, expect, prefetch.as_ref()).await)) });
    fetched.unwrap_or(Outcome::Code(FAILED))
}

async fn foreground(args: &WalFetchArgs, name: WalFileName, expect: Expect, prefetch: Option<&Prefetch>) -> u8 {
    // Whoever fetches ahead can begin while this fetches.
    if let (Some(prefetch), WalFileName::Segment(segment), Some(bytes)) = (prefetch, name, expect.segment_size)
        && let Ok(size) = SegmentSize::new(bytes)
        && prefetch.is_running()
    {
        prefetch.ask(segment, size);
    }
    let mut wait = WAIT_FIRST;
    loop {
        let seen = prefetch.and_then(Prefetch::codec);
        let (result, cancel) = match open(args).await {
            Ok((source, session)) => {
                let cancel = session.ctx.cancel.clone();
                let fetched = wal_fetch::fetch_with(&source, &name, &args.dest, expect, seen, &cancel).await;
                (fetched, Some(cancel))
            }
            Err(error) => (Err(error), None),
        };
        let error = match result {
            Ok(Fetched::Missing) => return 1,
            Ok(Fetched::Delivered { codec, .. }) => {
                if let (Some(prefetch), WalFileName::Segment(segment)) = (prefetch, name) {
                    if let Some(size) = size(&args.dest) {
                        prefetch.ask(segment, size);
                    }
                    prefetch.remember(codec);
                    begin_ahead(prefetch);
                }
                return 0;
            }
            Err(error) => error,
        };
        let Outcome::Code(code) = fail(&error) else { return FAILED };
        if !args.standby || error == FetchError::Stopped {
            return code;
        }
        let until = tokio::time::Instant::now() + wait;
        while tokio::time::Instant::now() < until {
            if cancel.as_ref().is_some_and(crate::run::Cancel::is_set) {
                return TERMINATED;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

fn fail(error: &FetchError) -> Outcome {
    eprintln!("walproof wal-fetch: {}", clean(&error.to_string()));
    Outcome::Code(match error {
        FetchError::Damaged(_) => DAMAGED,
        FetchError::Stopped => TERMINATED,
        _ => FAILED,
    })
}

/// Opens the archive without listing it.
async fn open(args: &WalFetchArgs) -> Result<(Source, Session), FetchError> {
    let failed = |error: anyhow::Error| FetchError::Failed(format!("{error:#}"));
    let mut common = quiet().map_err(failed)?;
    common.config.clone_from(&args.config);
    common.access = args.access.clone();
    common.output.verbose = args.verbose;
    let session = Session::new(&common).map_err(failed)?;
    let names: Vec<String> = args.archive.iter().cloned().collect();
    let mut places = session.places(&names).map_err(failed)?;
    let place = match (places.pop(), places.len()) {
        (Some(place), 0) if !place.each => place,
        (Some(_), _) => {
            return Err(FetchError::Failed("several archives are configured: name one with --archive".to_owned()));
        }
        (None, _) => return Err(FetchError::Failed("no archive is named".to_owned())),
    };
    if let Some(layout) = place.layout.filter(|layout| !matches!(layout, LayoutKind::WalG | LayoutKind::WalE)) {
        return Err(FetchError::Failed(format!("WAL of {} archives is not read yet", layout.name())));
    }
    let targets = session.open(&place).await.map_err(failed)?;
    let target = targets.first().ok_or_else(|| FetchError::Failed("no archive is named".to_owned()))?;
    Ok((target.source(b""), session))
}

/// The flags that all other commands have, as nobody gave them.
fn quiet() -> anyhow::Result<Common> {
    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        common: Common,
    }
    let words = ["walproof", "--quiet", "--no-progress", "--connections", "16"];
    Ok(Alone::try_parse_from(words)?.common)
}

/// What the server is, if the file goes into the `pg_wal` of a data directory.
fn expect(dest: &Path) -> Expect {
    let read = || {
        let mut bytes = Vec::with_capacity(CONTROL_FILE_BYTES);
        let file = std::fs::File::open(server(dest).join("global/pg_control")).ok()?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 64 << 10), &mut bytes).ok()?;
        ControlFile::parse(&bytes).ok()
    };
    // A control file that is just being written is read another time; the server checks it, too.
    read().map_or_else(Expect::default, |control| Expect {
        system_identifier: Some(control.system_id),
        segment_size: Some(u64::from(control.wal_segment_bytes)),
    })
}

/// The data directory of a file in `pg_wal`.
fn server(dest: &Path) -> PathBuf {
    let wal = match dest.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    wal.join("..")
}

fn size(dest: &Path) -> Option<SegmentSize> {
    SegmentSize::new(dest.metadata().ok()?.len()).ok()
}

/// Starts the process that fetches ahead, unless there is one. Best effort: without it every call fetches for itself.
fn begin_ahead(prefetch: &Prefetch) {
    if prefetch.is_running() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg("--ahead");
    // Of its own process group and without the server's pipes: nobody waits for it, no signal to others meets it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let _ = command.spawn();
}

/// Fetches ahead until there is no more use in it.
async fn ahead(args: WalFetchArgs) -> anyhow::Result<Outcome> {
    let prefetch = Prefetch::beside(&args.dest);
    // Before anything is opened: several may have been started before the first was heard of.
    let Some(turn) = prefetch.turn() else { return Ok(Outcome::Clean) };
    let (source, session) = open(&args).await?;
    let data = server(&args.dest);
    let number = usize::from(args.prefetch);
    prefetch.run(turn, &source, number, Some(&data), expect(&args.dest), &session.ctx.cancel).await;
    Ok(Outcome::Clean)
}

/// Files and sockets that the server left open in its children must not stay open for as long as this runs.
fn close_inherited() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        let _ = nix::unistd::close(number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command as CliCommand};
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_short_way_reads_what_the_long_one_reads() {
        for line in [
            "walproof wal-fetch --archive /a --prefetch 8 000000010000000000000001 pg_wal/RECOVERYXLOG",
            "walproof wal-fetch 00000002.history pg_wal/RECOVERYHISTORY --standby -vv --archive=s3://b/p --region r",
            "walproof wal-fetch --ahead --config c.toml a b --endpoint-url http://127.0.0.1:9000",
        ] {
            let short = parse(words(line).into_iter()).unwrap();
            let CliCommand::WalFetch(long) = Cli::try_parse_from(words(line)).unwrap().command else {
                panic!("{line}")
            };
            assert_eq!(format!("{short:?}"), format!("{long:?}"));
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_long_way() {
        for line in
            ["walproof wal-fetch --help", "walproof wal-fetch", "walproof wal-fetch a b c", "walproof wal-fetch -h a b"]
        {
            assert!(parse(words(line).into_iter()).is_none(), "{line}");
        }
    }
}
