use std::io::Read;

use anyhow::Context;

use super::args::ReportArgs;
use super::{Outcome, output};
use crate::report::Report;
use crate::report::data::SCHEMA;

/// Larger than any report; a file above it is something else.
const BYTES_MAX: u64 = 1 << 30;

/// `walproof report`
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common)?;
    let name = args.file.display();
    let mut text = Vec::new();
    if args.file.as_os_str() == "-" {
        std::io::stdin().lock().take(BYTES_MAX).read_to_end(&mut text).context("reading standard input")?;
    } else {
        let file = std::fs::File::open(&args.file).with_context(|| name.to_string())?;
        file.take(BYTES_MAX).read_to_end(&mut text).with_context(|| name.to_string())?;
    }
    let head: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))?;
    match head.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => anyhow::bail!("{name} is a {other} document; this version renders {SCHEMA}"),
        None => anyhow::bail!("{name} is not a report of walproof (it has no schema field)"),
    }
    let report: Report = serde_json::from_value(head).with_context(|| format!("{name} is not a whole report"))?;
    output::write(&report, &args.common)?;
    Ok(output::exit(&report, &args.common))
}
