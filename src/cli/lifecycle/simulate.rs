use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{Outcome, input};
use crate::policy::lifecycle::simulate_file;

/// `walproof lifecycle simulate`
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Objects, rules, versioning and now, as in docs/lifecycle.md; - for standard input
    pub file: PathBuf,
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "PATH")]
    pub output: Option<PathBuf>,
}

/// `walproof lifecycle simulate`
pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<Outcome> {
    let name = input::name(&args.file);
    let text = input::read(&args.file)?;
    let file: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| anyhow::anyhow!("{name} is not JSON: {error}"))?;
    let answer = simulate_file(&file).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    let mut out = input::writer(args.output.as_deref())?;
    serde_json::to_writer_pretty(&mut out, &answer)?;
    writeln!(out)?;
    out.flush()?;
    Ok(Outcome::Clean)
}
