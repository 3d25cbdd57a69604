use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{load, wants_json};
use crate::checks;
use crate::cli::args::time;
use crate::cli::{Outcome, input};
use crate::model::Timestamp;
use crate::policy::{Config, Policy};
use crate::report::clean;

/// `walproof policy check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file [default: WALPROOF_CONFIG, else walproof.toml in the working directory]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Judge end dates as of another moment
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    pub now: Option<Timestamp>,
    /// text or json
    #[arg(long, short = 'f', value_name = "F", default_value = "text")]
    pub format: String,
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "PATH")]
    pub output: Option<PathBuf>,
}

/// What is wrong with the file alone.
struct Verdict {
    contradictions: Vec<crate::policy::config::Contradiction>,
    /// Exceptions past their end date.
    expired: Vec<String>,
    /// Rules that exceptions name and that do not exist.
    unknown_rules: Vec<String>,
    /// By cluster, what is promised and judged by no audit, and what is not promised at all.
    not_checked: Vec<(String, Vec<String>)>,
    not_used: Vec<String>,
}

/// `walproof policy check`
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let as_json = wants_json(&args.format)?;
    let (name, config) = load(args.config.as_deref())?;
    let verdict = judge(&config, args.now.unwrap_or_else(Timestamp::now));
    let mut out = input::writer(args.output.as_deref())?;
    if as_json {
        serde_json::to_writer_pretty(&mut out, &document(&name, &config, &verdict))?;
        writeln!(out)?;
    } else {
        text(&name, &config, &verdict, &mut out)?;
    }
    out.flush()?;
    let wrong = !verdict.contradictions.is_empty() || !verdict.unknown_rules.is_empty();
    Ok(if wrong { Outcome::Found } else { Outcome::Clean })
}

fn judge(config: &Config, now: Timestamp) -> Verdict {
    let all: Vec<&str> = checks::all().map(|rule| rule.code).collect();
    let audited: Vec<&str> = checks::audited().map(|rule| rule.code).collect();
    let each = |exception: &crate::policy::Exception| {
        format!(
            "line {}: the exception of {} for {} ended on {}: {}",
            exception.line, exception.rule, exception.cluster, exception.until, exception.reason
        )
    };
    let known = |code: &str| all.contains(&code);
    let policies = config.clusters.iter().map(|cluster| (cluster.name.clone(), config.policy(cluster)));
    let policies: Vec<_> = if config.clusters.is_empty() {
        vec![("defaults".to_owned(), config.defaults.clone())]
    } else {
        policies.collect()
    };
    Verdict {
        contradictions: config.contradictions(),
        expired: config.exceptions.iter().filter(|exception| exception.is_expired(now)).map(each).collect(),
        unknown_rules: config
            .exceptions
            .iter()
            .filter(|exception| !known(&exception.rule))
            .map(|exception| format!("line {}: there is no rule {}", exception.line, exception.rule))
            .collect(),
        not_checked: policies.into_iter().map(|(name, policy)| (name, not_checked(&policy, &audited, &all))).collect(),
        not_used: config.not_used(),
    }
}

/// Keys that no audit judges, with who does: `lifecycle check` looks at some of them when they are about to change.
fn not_checked(policy: &Policy, audited: &[&str], all: &[&str]) -> Vec<String> {
    let nowhere = policy.not_checked(all);
    let mut lines = policy.not_checked(audited);
    for line in &mut lines {
        if !nowhere.contains(line)
            && let Some((key, _)) = line.split_once(": no rule that ran judges it")
        {
            *line = format!("{key}: judged by lifecycle check only, not by an audit");
        }
    }
    lines
}

fn document(name: &str, config: &Config, verdict: &Verdict) -> Value {
    let not_checked: Vec<Value> =
        verdict.not_checked.iter().map(|(cluster, keys)| json!({"cluster": cluster, "keys": keys})).collect();
    json!({
        "schema": "walproof.policy-check/1",
        "file": name,
        "clusters": config.clusters.iter().map(|cluster| &cluster.name).collect::<Vec<_>>(),
        "contradictions": verdict.contradictions,
        "unknown_rules": verdict.unknown_rules,
        "expired_exceptions": verdict.expired,
        "not_checked": not_checked,
        "not_used": verdict.not_used,
    })
}

fn text(name: &str, config: &Config, verdict: &Verdict, out: &mut dyn Write) -> std::io::Result<()> {
    let count = verdict.contradictions.len() + verdict.unknown_rules.len();
    let clusters = match config.clusters.len() {
        0 => "no cluster".to_owned(),
        1 => "1 cluster".to_owned(),
        many => format!("{many} clusters"),
    };
    let word = match count {
        0 => "OK: it contradicts itself in nothing".to_owned(),
        1 => "WRONG: 1 contradiction".to_owned(),
        many => format!("WRONG: {many} contradictions"),
    };
    writeln!(out, "{}  {clusters}  {word}", clean(name))?;
    for found in &verdict.contradictions {
        let line = found.line.map_or(String::new(), |line| format!("line {line}: "));
        writeln!(out, "  {line}{}: {}", clean(&found.cluster), clean(&found.message))?;
    }
    for line in &verdict.unknown_rules {
        writeln!(out, "  {}", clean(line))?;
    }
    for line in &verdict.expired {
        writeln!(out, "  warning  POL002  {}", clean(line))?;
    }
    let mut told: Vec<(&[String], Vec<&str>)> = Vec::new();
    for (cluster, keys) in verdict.not_checked.iter().filter(|(_, keys)| !keys.is_empty()) {
        match told.iter_mut().find(|(known, _)| *known == keys.as_slice()) {
            Some((_, clusters)) => clusters.push(cluster),
            None => told.push((keys, vec![cluster])),
        }
    }
    for (keys, clusters) in told {
        writeln!(out, "  not checked for {}:", clean(&clusters.join(", ")))?;
        for key in keys {
            writeln!(out, "    {}", clean(key))?;
        }
    }
    for line in &verdict.not_used {
        writeln!(out, "  {}", clean(line))?;
    }
    Ok(())
}
