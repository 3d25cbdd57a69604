use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{load, wants_json};
use crate::cli::{Outcome, input};
use crate::policy::config::KeyRow;
use crate::report::clean;

/// `walproof policy explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Names of clusters; all when none is named
    #[arg(value_name = "CLUSTER")]
    pub clusters: Vec<String>,
    /// The file [default: WALPROOF_CONFIG, else walproof.toml in the working directory]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show keys without a value, too
    #[arg(long, short = 'a')]
    pub all: bool,
    /// text or json
    #[arg(long, short = 'f', value_name = "F", default_value = "text")]
    pub format: String,
    /// Write to this file instead of standard output
    #[arg(long, short = 'o', value_name = "PATH")]
    pub output: Option<PathBuf>,
}

/// `walproof policy explain`
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let as_json = wants_json(&args.format)?;
    let (name, config) = load(args.config.as_deref())?;
    let mut chosen = Vec::new();
    for wanted in &args.clusters {
        let Some(cluster) = config.cluster(wanted) else {
            let known: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
            anyhow::bail!("{wanted}: no cluster of {name} is called so ({})", known.join(", "));
        };
        chosen.push(cluster);
    }
    if args.clusters.is_empty() {
        chosen.extend(&config.clusters);
    }
    let explained: Vec<(String, String, Vec<KeyRow>)> = match chosen.is_empty() {
        true => vec![("defaults".to_owned(), String::new(), config.defaults.rows(""))],
        false => chosen
            .into_iter()
            .map(|cluster| (cluster.name.clone(), cluster.archive.to_string(), cluster.explain(&config)))
            .collect(),
    };
    let mut out = input::writer(args.output.as_deref())?;
    if as_json {
        let each = |(cluster, archive, rows): &(String, String, Vec<KeyRow>)| {
            let keys: Vec<Value> = rows.iter().filter(|row| args.all || row.value.is_some()).map(key).collect();
            json!({"cluster": cluster, "archive": archive, "keys": keys})
        };
        let clusters: Vec<Value> = explained.iter().map(each).collect();
        let document = json!({"schema": "walproof.policy-explain/1", "file": name, "clusters": clusters});
        serde_json::to_writer_pretty(&mut out, &document)?;
        writeln!(out)?;
    } else {
        for (at, (cluster, archive, rows)) in explained.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            writeln!(out, "{}", clean(format!("{cluster}  {archive}").trim_end()))?;
            table(rows, args.all, &mut out)?;
        }
    }
    out.flush()?;
    Ok(Outcome::Clean)
}

fn key(row: &KeyRow) -> Value {
    json!({
        "key": row.key,
        "value": row.value,
        "from": row.origin.as_ref().map(ToString::to_string),
        "line": row.origin.as_ref().and_then(crate::policy::config::Origin::line),
        "rules": row.rules,
    })
}

fn table(rows: &[KeyRow], all: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let shown: Vec<&KeyRow> = rows.iter().filter(|row| all || row.value.is_some()).collect();
    if shown.is_empty() {
        return writeln!(out, "  promises nothing");
    }
    let value = |row: &KeyRow| row.value.as_deref().map_or_else(|| "-".to_owned(), clean);
    let from =
        |row: &KeyRow| row.origin.as_ref().map_or_else(|| "not set".to_owned(), |origin| clean(&origin.to_string()));
    let width = |text: &dyn Fn(&KeyRow) -> usize| shown.iter().map(|row| text(row)).max().unwrap_or(0);
    let keys = width(&|row| row.key.chars().count());
    let values = width(&|row| value(row).chars().count()).min(40);
    let origins = width(&|row| from(row).chars().count()).min(40);
    for row in &shown {
        let judged = match row.rules {
            [] => "a setting: no rule judges it".to_owned(),
            rules => rules.join(" "),
        };
        writeln!(out, "  {:keys$}  {:values$}  {:origins$}  {judged}", row.key, value(row), from(row))?;
    }
    Ok(())
}
