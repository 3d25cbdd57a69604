use super::args::ListArgs;
use super::session::Session;
use super::{Outcome, audit, output};
use crate::report;
use crate::report::data::Status;

/// `walproof list`
pub(super) async fn run(args: ListArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common.output)?;
    let session = Session::new(&args.common)?;
    let report = audit::report_on(&session, &args.archives, None).await?;
    output::write_with(&report, &args.common.output, &mut |style, out| report::render_list(&report, style, out))?;
    let incomplete = report.archives.iter().any(|archive| archive.status == Status::Incomplete);
    Ok(if incomplete { Outcome::Failed } else { Outcome::Clean })
}
