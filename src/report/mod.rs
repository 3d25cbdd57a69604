//! From a [`Report`] to what people and programs read. One file per output, each a pure function of the document.

mod assemble;
pub mod data;
pub mod forecast;
pub mod history;
mod json;
mod junit;
pub mod lifecycle;
mod markdown;
mod nagios;
mod proof;
mod reach;
mod restore;
mod text;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub use assemble::{ArchiveFacts, assemble, broken_archive, finish};
pub use data::Report;
pub use forecast::only_lifecycle;
pub use history::HistoryReport;
pub use nagios::{NagiosState, nagios_failure, nagios_state};
pub use reach::{NearReport, ReachReport, reach_report, render_reach};
pub use text::{Style, clean, render_forecast, render_history, render_list};
pub use text::{bytes, count, moment, span};

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// For people.
    Text,
    /// The whole document.
    Json,
    /// One line for each archive, backup and finding.
    Jsonl,
    /// JUnit XML: one case for each rule.
    Junit,
    /// A monitoring plugin's line.
    Nagios,
    /// A comment on a pull request.
    Markdown,
}

impl Format {
    /// Every format with its name.
    pub const ALL: &'static [(Format, &'static str)] = &[
        (Format::Text, "text"),
        (Format::Json, "json"),
        (Format::Jsonl, "jsonl"),
        (Format::Junit, "junit"),
        (Format::Nagios, "nagios"),
        (Format::Markdown, "markdown"),
    ];

    /// A format by name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(format, _)| *format)
    }
}

/// Writes a report in a format.
///
/// # Errors
/// Those of the writer.
pub fn render(format: Format, report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => text::render(report, style, out),
        Format::Json => json::render(report, out),
        Format::Jsonl => json::render_lines(report, out),
        Format::Junit => junit::render(report, style, out),
        Format::Nagios => nagios::render(report, style, out),
        Format::Markdown => markdown::render(report, style, out),
    }
}

/// Reads any bytes as a report, and renders what was understood in every format.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let Ok(report) = serde_json::from_slice::<Report>(bytes) else { return };
    for terminal in [true, false] {
        let style = Style { terminal, unicode: terminal, color: terminal, verbose: true, ..Style::default() };
        for (format, _) in Format::ALL {
            let _ = render(*format, &report, &style, &mut io::sink());
        }
    }
}
