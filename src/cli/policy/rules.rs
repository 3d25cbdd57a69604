use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::load;
use crate::cli::{Outcome, input};
use crate::policy::Span;
use crate::policy::config::{LayoutName, Scheme};
use crate::policy::lifecycle::Provider;
use crate::policy::retention::suggest_rules;
use crate::policy::verdict::rules_to_json;

/// How long a backup is taken to last where nobody says: less than a day.
const BACKUP_LASTS: Span = Span::from_seconds(3600);

/// `walproof policy rules`
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// The cluster
    #[arg(value_name = "CLUSTER")]
    pub cluster: String,
    /// The file [default: WALPROOF_CONFIG, else walproof.toml in the working directory]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "PATH")]
    pub output: Option<PathBuf>,
}

/// `walproof policy rules`
pub(super) fn run(args: &RulesArgs) -> anyhow::Result<Outcome> {
    let (name, config) = load(args.config.as_deref())?;
    let Some(cluster) = config.cluster(&args.cluster) else {
        let known: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        anyhow::bail!("{}: no cluster of {name} is called so ({})", args.cluster, known.join(", "));
    };
    let provider = match cluster.archive.scheme {
        Scheme::S3 => Provider::S3,
        Scheme::Gcs => Provider::Gcs,
        _ => anyhow::bail!("{}: rules are written for S3 and GCS only", cluster.archive),
    };
    if !matches!(cluster.layout, None | Some(LayoutName::WalG | LayoutName::WalE)) {
        anyhow::bail!("{}: rules are derived for the layouts of wal-g and wal-e only", args.cluster);
    }
    let policy = config.policy(cluster);
    let rules = suggest_rules(&policy, &cluster.archive.key_prefix(), provider, BACKUP_LASTS).ok_or_else(|| {
        anyhow::anyhow!(
            "{}: rules are derived from recovery_window (with an end) and full_backup_every; set both",
            args.cluster
        )
    })?;
    let mut out = input::writer(args.output.as_deref())?;
    serde_json::to_writer_pretty(&mut out, &rules_to_json(&rules))?;
    writeln!(out)?;
    out.flush()?;
    Ok(Outcome::Clean)
}
