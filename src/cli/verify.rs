//! `walproof verify`, and the flags that it shares with `audit --verify`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::args::Common;
use super::session::Session;
use super::state::Memory;
use super::{Outcome, audit, output};
use crate::audit::{self as engine, ContentAsked, Versions};
use crate::policy::Sample;
use crate::report;
use crate::verify::{BackupChoice, Estimate, Share, WalChoice};

/// `walproof verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Addresses or names of clusters; all clusters of the configuration, or wal-g's own settings, when none is named
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// What to read
    #[command(flatten)]
    pub content: ContentArgs,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

/// What to read of an archive's content.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Content")]
pub struct ContentArgs {
    /// Base backups to read: a name, latest, all or none (repeatable) [default: all, or none where --wal names some]
    #[arg(long = "backup", value_name = "NAME")]
    pub backups: Vec<String>,
    /// WAL to read: all, none, SEGMENT..SEGMENT, since=7d [default: all, or that of the backups where --backup names some]
    #[arg(long, value_name = "WHICH")]
    pub wal: Option<WalChoice>,
    /// Read only a part: 10%, 20GiB, or 3/7 for the third of seven slices (a week of runs covers everything)
    #[arg(long, value_name = "PART")]
    pub sample: Option<Sample>,
    /// Choose the same sample again [default: the moment of the audit]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// List older versions of WAL in buckets that keep them, and compare them [default: auto, with content]
    #[arg(long, value_name = "auto|never|always", value_parser = versions)]
    pub versions: Option<Versions>,
    /// Read again what earlier runs proved and what has not changed since (see --state)
    #[arg(long)]
    pub reverify: bool,
    /// Say what reading would cost, and read nothing
    #[arg(long)]
    pub estimate: bool,
    /// Threads that decode [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

fn versions(text: &str) -> Result<Versions, String> {
    match text {
        "auto" => Ok(Versions::Auto),
        "never" => Ok(Versions::Never),
        "always" => Ok(Versions::Always),
        _ => Err("write auto, never or always".to_owned()),
    }
}

impl ContentArgs {
    /// Sets when older versions are listed. Where they were asked for and cannot be, the run is not complete.
    pub(super) fn choose_versions(&self, session: &mut Session) {
        session.options.versions = self.versions.unwrap_or_default();
        if session.options.versions == Versions::Always {
            session.required.push("WAL005".to_owned());
        }
    }

    /// Whether any flag is given: without `--verify` they would do nothing.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (!self.backups.is_empty(), "--backup"),
            (self.wal.is_some(), "--wal"),
            (self.sample.is_some(), "--sample"),
            (self.seed.is_some(), "--seed"),
            (self.reverify, "--reverify"),
            (self.estimate, "--estimate"),
            (self.jobs.is_some(), "--jobs"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }

    fn choice(&self) -> anyhow::Result<Option<BackupChoice>> {
        match self.backups.as_slice() {
            [] => Ok(None),
            [one] if one == "all" => Ok(Some(BackupChoice::All)),
            [one] if one == "none" => Ok(Some(BackupChoice::None)),
            [one] if one == "latest" || one == "LATEST" => Ok(Some(BackupChoice::Latest)),
            names => {
                let word = names.iter().find(|name| ["all", "none", "latest", "LATEST"].contains(&name.as_str()));
                if let Some(word) = word {
                    anyhow::bail!("--backup {word} stands alone: name backups, or give it once");
                }
                Ok(Some(BackupChoice::Named(names.to_vec())))
            }
        }
    }

    /// What the flags ask for, with the place where proofs are remembered.
    pub(super) async fn asked(&self, common: &Common, memory: Option<&Memory>) -> anyhow::Result<ContentAsked> {
        let mut limits = crate::verify::Options { connections: usize::from(common.connections), ..Default::default() };
        if let Some(jobs) = self.jobs {
            limits.jobs = usize::from(jobs);
        }
        Ok(ContentAsked {
            backups: self.choice()?,
            wal: self.wal.clone(),
            sample: self.sample,
            seed: self.seed,
            reverify: self.reverify,
            limits,
            state: match memory {
                Some(memory) => Some(memory.open().await?),
                None => None,
            },
            run_id: None,
        })
    }
}

/// `walproof verify`
pub(super) async fn run(args: VerifyArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common.output)?;
    let mut session = Session::new(&args.common)?;
    args.content.choose_versions(&mut session);
    let memory = Memory::of(&session, args.common.state.as_deref(), &args.archives)?;
    let asked = args.content.asked(&args.common, memory.as_ref()).await?;
    if args.content.estimate {
        return estimate(&session, &args.archives, &asked, &args.common).await;
    }
    let asked = engine::Asked { content: Some(&asked), ..engine::Asked::default() };
    audit::finish(&session, &args.archives, asked, memory, &args.common).await
}

/// What reading would cost, for each archive.
pub(super) async fn estimate(
    session: &Session,
    names: &[String],
    asked: &ContentAsked,
    common: &Common,
) -> anyhow::Result<Outcome> {
    let json = match common.output.formats.as_slice() {
        [] => false,
        [one] if one == "text" => false,
        [one] if one == "json" || one == "jsonl" => true,
        _ => anyhow::bail!("--estimate writes text or json"),
    };
    let mut estimates = Vec::new();
    for place in session.places(names)? {
        for target in session.open(&place).await? {
            for found in engine::catalogue(&target, &session.options, &session.ctx).await? {
                if let Some(error) = &found.error {
                    anyhow::bail!("{}: {error}", found.url);
                }
                let estimate =
                    engine::estimate(&target, &found, asked, &session.ctx).await.map_err(anyhow::Error::msg)?;
                estimates.push((found.name, found.url, estimate));
            }
        }
    }
    session.ctx.progress.finish();
    let mut out: Box<dyn Write> = match &common.output.output {
        Some(path) => Box::new(std::fs::File::create(path)?),
        None => Box::new(std::io::stdout().lock()),
    };
    if json {
        let archives: Vec<serde_json::Value> = estimates.iter().map(|(name, url, estimate)| {
            json!({"name": name, "url": url, "requests": estimate.requests, "wal": estimate.wal, "backups": estimate.backups,
                "classes": estimate.classes, "known": estimate.known, "refused": estimate.refused})
        }).collect();
        serde_json::to_writer_pretty(&mut out, &json!({"schema": "walproof.estimate/1", "archives": archives}))?;
        writeln!(out)?;
        return Ok(Outcome::Clean);
    }
    for (name, url, estimate) in &estimates {
        writeln!(out, "{}  {}", report::clean(name), report::clean(url))?;
        text(estimate, &mut out)?;
    }
    Ok(Outcome::Clean)
}

fn text(estimate: &Estimate, out: &mut dyn Write) -> std::io::Result<()> {
    let share = |share: &Share| format!("{} objects, {}", report::count(share.objects), report::bytes(share.bytes));
    writeln!(
        out,
        "  would read  {} requests: WAL {}; backups {}",
        report::count(estimate.requests),
        share(&estimate.wal),
        share(&estimate.backups)
    )?;
    for (class, read) in &estimate.classes {
        writeln!(out, "    {class:<20} {}", share(read))?;
    }
    if estimate.known.objects > 0 {
        writeln!(out, "  proven already, unchanged: {}", share(&estimate.known))?;
    }
    if estimate.refused.objects > 0 {
        writeln!(out, "  not read, for their class: {}", share(&estimate.refused))?;
    }
    Ok(())
}
