use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Outcome;
use super::args::{Access, Common};
use super::session::Session;
use crate::audit::{self, Content};
use crate::fetch::Source;
use crate::postgres::Identity;
use crate::report::{bytes, clean, count};
use crate::restore::{self, Options, Plan, Refusal, Request, Restored};

/// `walproof restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// An address or the name of a cluster
    #[arg(value_name = "ARCHIVE")]
    pub archive: String,
    /// Name of the backup, `latest` or `oldest`
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// The data directory to be: empty, or what an interrupted restore of the same backup left
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Directory for a tablespace; without it, OID goes to DIR_tblspc/OID beside the data directory (repeatable)
    #[arg(long, value_name = "OID=DIR", value_parser = tablespace)]
    pub tablespace: Vec<(String, PathBuf)>,
    /// Whom the files belong to when walproof runs as root [default: postgres, else nobody]
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Write the settings for recovery, too, so that the server recovers to the end of the archive when it is started
    #[arg(long)]
    pub recovery_settings: bool,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

fn tablespace(text: &str) -> Result<(String, PathBuf), String> {
    let (oid, dir) = text.split_once('=').ok_or("write OID=DIR, e.g. 16400=/srv/ts")?;
    let dir = std::path::absolute(dir).map_err(|error| error.to_string())?;
    Ok((oid.to_owned(), dir))
}

/// `walproof restore`
pub(super) async fn run(args: RestoreArgs) -> anyhow::Result<Outcome> {
    let json = match args.common.output.formats.as_slice() {
        [] => false,
        [one] if one == "text" => false,
        [one] if one == "json" => true,
        _ => anyhow::bail!("restore writes text or json"),
    };
    let session = Session::new(&args.common)?;
    let owner = Identity::resolve(args.run_as.as_deref())?;
    let request = Request {
        backup: args.backup.clone(),
        tablespaces: args.tablespace.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    let (source, plan, address) = match find(&args, &session, &request).await? {
        Ok(found) => found,
        Err(refusal) if refusal.is_defect() => {
            eprintln!("walproof: {}", clean(&refusal.to_string()));
            return Ok(Outcome::Found);
        }
        Err(refusal) => anyhow::bail!("{refusal}"),
    };
    let settings = recovery(&args, &session, &address)?;
    let options = Options {
        owner: Some(owner),
        recovery: if args.recovery_settings { settings.clone() } else { Vec::new() },
        ..Options::default()
    };
    let restored = match restore::restore(&source, &plan, &args.into, &options, &session.ctx).await {
        Ok(restored) => restored,
        Err(error) if error.is_defect() => {
            eprintln!("walproof: {}", clean(&error.to_string()));
            return Ok(Outcome::Found);
        }
        Err(error) => return Err(error).with_context(|| format!("restoring {}", plan.backup)),
    };
    let mut out: Box<dyn Write> = match &args.common.output.output {
        Some(path) => Box::new(std::fs::File::create(path)?),
        None => Box::new(std::io::stdout().lock()),
    };
    if json {
        serde_json::to_writer_pretty(&mut out, &restored)?;
        writeln!(out)?;
    } else {
        tell(&args, &plan, &restored, &settings, &mut out)?;
    }
    Ok(Outcome::Clean)
}

type Found = Result<(Source, Plan, String), Refusal>;

/// Looks for the backup below everything that the name stands for.
async fn find(args: &RestoreArgs, session: &Session, request: &Request) -> anyhow::Result<Found> {
    let mut found: Vec<(Source, Plan, String)> = Vec::new();
    let mut refused = None;
    let mut failed = None;
    for place in session.places(std::slice::from_ref(&args.archive))? {
        for target in session.open(&place).await? {
            for entry in audit::catalogue(&target, &session.options, &session.ctx).await? {
                if session.ctx.cancel.is_set() {
                    anyhow::bail!("stopped on request");
                }
                let Content::Known(known) = &entry.content else {
                    failed = failed.or(entry.error);
                    continue;
                };
                let archive = &known.archive;
                match Plan::of(archive, request) {
                    Ok(plan) => {
                        let address = target.storages[0].address.to_string();
                        let address = format!("{}/{}", address.trim_end_matches('/'), archive.root);
                        found.push((
                            target.source(archive.root.as_bytes()),
                            plan,
                            address.trim_end_matches('/').to_owned(),
                        ));
                    }
                    Err(refusal) => {
                        // That one archive has no such backup says little where another has it.
                        if refused.is_none() || !matches!(refusal, Refusal::NoSuchBackup(_)) {
                            refused = Some(refusal);
                        }
                        failed = failed.or(entry.error);
                    }
                }
            }
        }
    }
    session.ctx.progress.finish();
    if found.len() > 1 {
        let places: Vec<&str> = found.iter().map(|(_, _, address)| address.as_str()).collect();
        anyhow::bail!("{} archives have a backup {}: name one of {}", found.len(), request.backup, places.join(", "));
    }
    match (found.pop(), refused, failed) {
        (Some(one), _, _) => Ok(Ok(one)),
        // What could not be read may be what is missing.
        (None, _, Some(error)) => anyhow::bail!("{error}"),
        (None, Some(refusal), None) => Ok(Err(refusal)),
        (None, None, None) => anyhow::bail!("{}: no archive there", args.archive),
    }
}

/// The settings with which a server recovers to the end of the archive.
fn recovery(args: &RestoreArgs, session: &Session, address: &str) -> anyhow::Result<Vec<(String, String)>> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("walproof"));
    let mut words = vec![quoted(&program.display().to_string()), "wal-fetch".to_owned()];
    let cluster = session.config.as_ref().is_some_and(|config| config.clusters.iter().any(|c| c.name == args.archive));
    let config = args.common.config.clone().or_else(|| session.env.get("WALPROOF_CONFIG").map(PathBuf::from));
    if cluster {
        let config = std::path::absolute(config.unwrap_or_else(|| PathBuf::from("walproof.toml")))?;
        words.extend(["--archive".to_owned(), quoted(&args.archive)]);
        words.extend(["--config".to_owned(), quoted(&config.display().to_string())]);
    } else {
        // The server works in its data directory: a relative path would lead nowhere.
        let address = if address.contains("://") {
            address.to_owned()
        } else {
            std::path::absolute(address)?.display().to_string()
        };
        words.extend(["--archive".to_owned(), quoted(&address)]);
    }
    words.extend(access(&args.common.access)?);
    words.extend(["--prefetch", "8", "%f", "%p"].map(ToOwned::to_owned));
    Ok(vec![
        ("restore_command".to_owned(), words.join(" ")),
        ("recovery_target_timeline".to_owned(), "latest".to_owned()),
    ])
}

/// The flags that reach the same store.
fn access(access: &Access) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([name.to_owned(), quoted(&value)]);
        }
    };
    add("--endpoint-url", access.endpoint_url.clone());
    add("--region", access.region.clone());
    add("--profile", access.profile.clone());
    add("--path-style", access.path_style.map(|value| value.to_string()));
    if let Some(file) = &access.walg_config {
        add("--walg-config", Some(std::path::absolute(file)?.display().to_string()));
    }
    for (name, wanted) in [("--anonymous", access.anonymous), ("--requester-pays", access.requester_pays)] {
        if wanted {
            words.push(name.to_owned());
        }
    }
    Ok(words)
}

/// A word for the shell; `%` for PostgreSQL.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+@,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn tell(
    args: &RestoreArgs,
    plan: &Plan,
    restored: &Restored,
    settings: &[(String, String)],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let into = clean(&restored.into.display().to_string());
    let kind = match restored.chain {
        1 => "a full backup".to_owned(),
        links => format!("a delta on {} earlier {}", links - 1, if links == 2 { "backup" } else { "backups" }),
    };
    let major = plan.pg_major.map_or_else(String::new, |major| format!(", PostgreSQL {}", version(major)));
    writeln!(out, "{}  restored into {into}", plan.backup)?;
    writeln!(out, "  {kind}{major}, timeline {}", plan.timeline.get())?;
    let files = if restored.files == 1 { "file" } else { "files" };
    let earlier = match restored.parts_resumed {
        0 => String::new(),
        parts => format!("; {parts} more were there from an earlier attempt"),
    };
    writeln!(
        out,
        "  {} {files}, {} from {} tars ({}) in {:.1} s, synced in {:.1} s{earlier}",
        count(restored.files),
        bytes(restored.bytes),
        restored.parts,
        bytes(restored.stored_bytes),
        restored.fetch_s,
        restored.sync_s,
    )?;
    for (oid, dir) in &restored.tablespaces {
        writeln!(out, "  tablespace {oid} lies in {}", clean(&dir.display().to_string()))?;
    }
    for left in restored.left_out.iter().take(if args.common.output.verbose > 0 { usize::MAX } else { 5 }) {
        writeln!(out, "  left out: {} of {}: {}", clean(&left.member), clean(&left.object), left.why)?;
    }
    if restored.left_out_count > 5 && args.common.output.verbose == 0 {
        writeln!(out, "  left out: {} members in all (-v names them)", count(restored.left_out_count))?;
    }
    for note in &restored.notes {
        writeln!(out, "  note: {}", clean(note))?;
    }
    if args.common.output.quiet {
        return Ok(());
    }
    writeln!(out)?;
    let until = match (plan.finish_lsn, &plan.segments) {
        (Some(lsn), Some((first, last))) => format!("WAL {first} .. {last} brings it to {lsn}, where it is consistent"),
        _ => "it becomes consistent once the WAL of the backup is replayed".to_owned(),
    };
    writeln!(out, "  Nothing was proven by this but that every byte decodes: {until}.")?;
    let old = plan.pg_major.is_some_and(|major| !(12..900).contains(&major));
    if args.recovery_settings {
        let file = if old { "recovery.conf" } else { "postgresql.auto.conf" };
        writeln!(out, "  {into}/{file} recovers to the end of the archive when the server is started:")?;
    } else if old {
        writeln!(out, "  To recover, write these lines into {into}/recovery.conf and start the server:")?;
    } else {
        writeln!(out, "  To recover, add these lines to {into}/postgresql.auto.conf,")?;
        writeln!(out, "  touch {into}/recovery.signal, and start the server:")?;
    }
    for (name, value) in settings {
        writeln!(out, "    {name} = '{}'", clean(&value.replace('\'', "''")))?;
    }
    writeln!(out, "  A copy beside a living server must not archive to the same place: archive_mode = off.")
}

fn version(major: u32) -> String {
    if major >= 900 { format!("{}.{}", major / 100, major % 100) } else { major.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell_and_postgres() {
        assert_eq!(quoted("s3://b/pg/main"), "s3://b/pg/main");
        assert_eq!(quoted("/a b/100%"), "'/a b/100%%'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
