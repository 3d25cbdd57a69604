//! `walproof lifecycle`: what a bucket's rules do, and what a change of them would do.

mod simulate;

use clap::{Args, Subcommand};

use super::Outcome;

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
    /// What-if without a bucket: objects and rules in, what becomes of each object out
    Simulate(simulate::SimulateArgs),
}

/// Runs what was asked.
pub(super) fn run(args: LifecycleArgs) -> anyhow::Result<Outcome> {
    match args.command {
        LifecycleCommand::Simulate(args) => simulate::run(&args),
    }
}
