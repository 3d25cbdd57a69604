use anyhow::Context;

use super::args::ReportArgs;
use super::{Outcome, input, output};
use crate::report::data::SCHEMA;
use crate::report::{Report, lifecycle};

/// `walproof report`
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common)?;
    let name = input::name(&args.file);
    let text = input::read(&args.file)?;
    let head: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))?;
    match head.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(lifecycle::SCHEMA) => {
            let report = serde_json::from_value(head).with_context(|| format!("{name} is not a whole report"))?;
            return super::lifecycle::check::write(&report, &args.common);
        }
        Some(other) => anyhow::bail!("{name} is a {other} document; this version renders {SCHEMA}"),
        None => anyhow::bail!("{name} is not a report of walproof (it has no schema field)"),
    }
    let report: Report = serde_json::from_value(head).with_context(|| format!("{name} is not a whole report"))?;
    output::write(&report, &args.common)?;
    Ok(output::exit(&report, &args.common))
}
