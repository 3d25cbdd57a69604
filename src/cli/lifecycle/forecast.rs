use clap::Args;

use crate::cli::args::Common;
use crate::cli::rules::RulesArgs;
use crate::cli::session::Session;
use crate::cli::{Outcome, audit, output};
use crate::policy::retention::Engine;
use crate::report;
use crate::report::data::Status;

/// `walproof lifecycle forecast`
#[derive(Debug, Args)]
pub struct ForecastArgs {
    /// Addresses or names of clusters
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// Rules of the bucket
    #[command(flatten)]
    pub rules: RulesArgs,
    /// A deletion of the backup tool's own to simulate beside them, as in a crontab: "wal-g delete retain FULL 4",
    /// "pgbackrest repo-retention-full=2", "barman RECOVERY WINDOW OF 30 DAYS" (repeatable)
    #[arg(long = "tool", value_name = "COMMAND", value_parser = engine)]
    pub tools: Vec<Engine>,
    /// Common settings
    #[command(flatten)]
    pub common: Common,
}

fn engine(text: &str) -> Result<Engine, String> {
    text.parse().map_err(|error: crate::policy::UnitError| error.to_string())
}

pub(super) async fn run(args: ForecastArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common.output)?;
    let mut session = Session::new(&args.common)?;
    session.buckets = args.rules.read()?;
    anyhow::ensure!(
        !session.buckets.is_empty() || !args.tools.is_empty(),
        "the bucket's rules are not known: name them with --rules FILE (aws s3api get-bucket-lifecycle-configuration, gcloud \
         storage buckets describe --format=json), or a tool's own deletion with --tool"
    );
    session.engines = args.tools;
    let mut report = audit::report_on(&session, &args.archives, None).await?;
    for archive in &mut report.archives {
        if archive.error.is_none() && archive.lifecycle.is_none() && archive.tools.is_empty() {
            archive.error = Some("no --rules FILE is about this archive's bucket".to_owned());
            archive.status = Status::Incomplete;
        }
    }
    report::only_lifecycle(&mut report);
    output::write_with(&report, &args.common.output, &mut |style, out| report::render_forecast(&report, style, out))?;
    let broken = report.archives.iter().flat_map(|archive| &archive.tools).any(|tool| !tool.breaks.is_empty());
    Ok(match output::exit(&report, &args.common.output) {
        Outcome::Clean if broken => Outcome::Found,
        outcome => outcome,
    })
}
