use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context;

use super::args::HistoryArgs;
use super::session::Session;
use super::state::Memory;
use super::{Outcome, output};
use crate::audit;
use crate::report::{self, HistoryReport};
use crate::state::{ArchiveId, Head};
use crate::store::Address;

/// `walproof history`
pub(super) async fn run(args: HistoryArgs) -> anyhow::Result<Outcome> {
    let json = match args.common.output.formats.as_slice() {
        [] => false,
        [one] if one == "text" => false,
        [one] if one == "json" => true,
        _ => anyhow::bail!("history writes text or json"),
    };
    let session = Session::new(&args.common)?;
    let memory = Memory::to_read(&session, args.common.state.as_deref())?;
    let state = memory.open().await?;
    let wanted = Wanted::new(&session, args.archive.as_deref());
    let history = audit::history(&state, |head| wanted.takes(head), session.ctx.as_of, usize::from(args.last)).await?;
    if history.archives.is_empty() {
        match &args.archive {
            Some(name) => anyhow::bail!(
                "nothing is remembered of {name} in {}; `walproof history` without a name shows what is",
                state.url()
            ),
            None => anyhow::bail!("nothing is remembered in {}; `walproof audit --state` writes there", state.url()),
        }
    }
    write(&history, &args, json)?;
    let readable = history.archives.iter().all(|archive| archive.damaged.is_empty());
    Ok(if readable { Outcome::Clean } else { Outcome::Failed })
}

fn write(history: &HistoryReport, args: &HistoryArgs, json: bool) -> anyhow::Result<()> {
    let options = &args.common.output;
    let mut out: Box<dyn Write> = match &options.output {
        Some(path) => Box::new(File::create(path).with_context(|| format!("writing {}", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut out = BufWriter::new(&mut out);
    if json {
        serde_json::to_writer_pretty(&mut out, history)?;
        writeln!(out)?;
    } else {
        report::render_history(history, &output::style(options, options.output.is_some()), &mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// Which archives to show.
struct Wanted {
    name: Option<String>,
    url: Option<String>,
}

impl Wanted {
    /// A cluster's name, or an address with everything below it. Either is taken as it was when it was remembered: the
    /// archive need not exist any more.
    fn new(session: &Session, archive: Option<&str>) -> Self {
        let Some(name) = archive else { return Wanted { name: None, url: None } };
        // A name of the configuration is no directory, even if there is one called so.
        let cluster = session.config.as_ref().and_then(|config| config.cluster(name));
        let address = if cluster.is_some() { None } else { Address::parse(name).ok() };
        let url = address.map(|address| ArchiveId::of_address(&address).url);
        Wanted { name: Some(name.to_owned()), url }
    }

    fn takes(&self, head: &Head) -> bool {
        let Some(name) = &self.name else { return true };
        let below = |url: &String| {
            head.archive.url.strip_prefix(url.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        head.cluster == *name || self.url.as_ref().is_some_and(below)
    }
}
