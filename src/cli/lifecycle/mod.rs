//! `walproof lifecycle`: what a bucket's rules do, and what a change of them would do.

pub(super) mod check;
mod forecast;
mod objects;
mod simulate;

use clap::{Args, Subcommand};

use super::{Outcome, session};

/// `walproof lifecycle`
#[derive(Debug, Args)]
pub struct LifecycleArgs {
    /// What to ask
    #[command(subcommand)]
    pub command: LifecycleCommand,
}

/// The questions.
#[derive(Debug, Subcommand)]
pub enum LifecycleCommand {
    /// When each backup and each day of the recovery window ends under the bucket's rules
    Forecast(Box<forecast::ForecastArgs>),
    /// A change before it is applied: what could no longer be recovered, from when, by which rule, and how to undo it
    Check(Box<check::CheckArgs>),
    /// What-if without a bucket: objects and rules in, what becomes of each object out
    Simulate(simulate::SimulateArgs),
}

/// Runs what was asked.
pub(super) fn run(args: LifecycleArgs) -> anyhow::Result<Outcome> {
    match args.command {
        LifecycleCommand::Forecast(args) => super::session::block_on(forecast::run(*args)),
        LifecycleCommand::Check(args) => session::block_on(check::run(*args)),
        LifecycleCommand::Simulate(args) => simulate::run(&args),
    }
}
