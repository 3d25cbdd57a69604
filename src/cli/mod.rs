//! The command-line program: one file per command.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

mod args;
mod audit;
#[cfg(feature = "demo")]
mod demo;
mod history;
mod input;
mod lifecycle;
mod list;
mod output;
mod policy;
mod progress;
mod reach;
mod report;
#[cfg(feature = "restore")]
mod restore;
#[cfg(feature = "restore")]
mod restore_test;
mod rule;
mod rules;
mod session;
mod state;
mod verify;
#[cfg(feature = "restore")]
mod wal_fetch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

pub use args::{Cli, Command, Common};
#[cfg(feature = "restore")]
pub use restore::RestoreArgs;
#[cfg(feature = "restore")]
pub use wal_fetch::WalFetchArgs;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing at or above the threshold; reachable.
    Clean,
    /// Findings; not reachable.
    Found,
    /// The command could not do its job, or cannot tell.
    Failed,
    /// A code of the command's own contract.
    Code(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(match outcome {
            Outcome::Clean => 0,
            Outcome::Found => 1,
            Outcome::Failed => 2,
            Outcome::Code(code) => code,
        })
    }
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    #[cfg(feature = "restore")]
    if wal_fetch::is_asked_for(std::env::args_os()) {
        // A panic would leave with 101, which PostgreSQL takes for the end of the archive.
        let run = || match wal_fetch::parse(std::env::args_os()) {
            Some(args) => wal_fetch::run(args).into(),
            None => run_command(),
        };
        return std::panic::catch_unwind(run).unwrap_or(ExitCode::from(wal_fetch::FAILED));
    }
    run_command()
}

fn run_command() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is wrong usage.
            let _ = error.print();
            if !error.use_stderr() {
                return Outcome::Clean.into();
            }
            let line = error.to_string();
            return failed(line.lines().next().unwrap_or("wrong usage")).into();
        }
    };
    match dispatch(cli) {
        Ok(outcome) => outcome.into(),
        Err(error) if is_broken_pipe(&error) => Outcome::Clean.into(),
        Err(error) => {
            let text: Vec<String> = format!("{error:#}").lines().map(crate::report::clean).collect();
            eprintln!("walproof: {}", text.join("\n"));
            failed(&text.join("; ")).into()
        }
    }
}

/// The code of a run without a result. A monitoring system reads standard output, and knows 3 as "could not look".
fn failed(message: &str) -> Outcome {
    #[cfg(feature = "restore")]
    if wal_fetch::is_asked_for(std::env::args_os()) {
        return Outcome::Code(wal_fetch::FAILED);
    }
    if !output::wants_nagios(std::env::args_os()) {
        return Outcome::Failed;
    }
    println!("{}", crate::report::nagios_failure(message));
    Outcome::Code(3)
}

fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.command {
        Command::Audit(args) => session::block_on(audit::run(*args)),
        Command::Verify(args) => session::block_on(verify::run(args)),
        Command::List(args) => session::block_on(list::run(args)),
        Command::Reach(args) => session::block_on(reach::run(args)),
        Command::History(args) => session::block_on(history::run(args)),
        Command::Lifecycle(args) => lifecycle::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Rule(args) => rule::run(&args),
        Command::Report(args) => report::run(&args),
        #[cfg(feature = "restore")]
        Command::Restore(args) => session::block_on(restore::run(args)),
        #[cfg(feature = "restore")]
        Command::WalFetch(args) => Ok(wal_fetch::run(args)),
        #[cfg(feature = "restore")]
        Command::RestoreTest(args) => session::block_on(restore_test::run(*args)),
        #[cfg(feature = "restore")]
        Command::SandboxWal(args) => Ok(restore_test::sandbox_wal(&args)),
        #[cfg(feature = "demo")]
        Command::Demo(args) => session::block_on(demo::run(args)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "walproof", &mut std::io::stdout().lock());
            Ok(Outcome::Clean)
        }
    }
}

/// A reader that closed its end, as `head` does, is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
