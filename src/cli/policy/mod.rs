//! `walproof policy`: the configuration file alone.

mod check;
mod explain;
mod init;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Outcome, session};
use crate::config;
use crate::policy::Config;

/// `walproof policy`
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What to do
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What can be done with the file.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Find what the file contradicts itself in, and what nothing checks; needs no bucket
    Check(check::CheckArgs),
    /// Show every promise of a cluster, where it came from and which rules judge it
    Explain(explain::ExplainArgs),
    /// Draft a file from what is seen in archives, as comments
    Init(Box<init::InitArgs>),
    /// Lifecycle rules that keep what a cluster promises, as the cloud's own tool takes them
    Rules(rules::RulesArgs),
}

/// Runs what was asked.
pub(super) fn run(args: PolicyArgs) -> anyhow::Result<Outcome> {
    match args.command {
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Init(args) => session::block_on(init::run(*args)),
        PolicyCommand::Rules(args) => rules::run(&args),
    }
}

/// The configuration that is talked about, with its name; having none is an error here.
fn load(flag: Option<&Path>) -> anyhow::Result<(String, Config)> {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let named = env.get("WALPROOF_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let name = flag.map(Path::to_path_buf).or(named).unwrap_or_else(|| PathBuf::from("walproof.toml"));
    let config = config::load_found(flag, &env)?;
    let config = config.ok_or_else(|| {
        anyhow::anyhow!(
            "there is no walproof.toml here; name one with --config or WALPROOF_CONFIG, or begin with walproof policy init"
        )
    })?;
    Ok((name.display().to_string(), config))
}

/// Text or JSON.
fn wants_json(format: &str) -> anyhow::Result<bool> {
    match format {
        "text" => Ok(false),
        "json" => Ok(true),
        other => anyhow::bail!("--format {other}: this command writes text or json"),
    }
}
