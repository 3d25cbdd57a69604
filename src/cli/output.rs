use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::Outcome;
use super::args::{Color, Output};
use crate::checks::Severity;
use crate::report::data::{Report, Status};
use crate::report::{self, Format, Style};

/// One rendering and where it goes; no path is standard output.
struct Sink {
    format: Format,
    path: Option<PathBuf>,
}

/// Writes a report in every format that was asked for.
pub(super) fn write(report: &Report, output: &Output) -> anyhow::Result<()> {
    write_with(report, output, &mut |style, out| report::render(Format::Text, report, style, out))
}

/// Like [`write`], with another text form.
pub(super) fn write_with(
    report: &Report,
    output: &Output,
    text: &mut dyn FnMut(&Style, &mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    write_each(output, &mut |format, style, out| match format {
        Format::Text => text(style, out),
        format => report::render(format, report, style, out),
    })
}

/// Writes a document that renders itself in every format that was asked for.
pub(super) fn write_each(
    output: &Output,
    render: &mut dyn FnMut(Format, &Style, &mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    for sink in sinks(output)? {
        let style = style(output, sink.path.is_some());
        match &sink.path {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
                let mut file = BufWriter::new(file);
                render(sink.format, &style, &mut file)
                    .and_then(|()| file.flush())
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                render(sink.format, &style, &mut out)?;
                out.flush()?;
            }
        }
    }
    Ok(())
}

/// Formats that are understood before any work is done.
pub(super) fn check(output: &Output) -> anyhow::Result<()> {
    sinks(output).map(drop)
}

fn sinks(output: &Output) -> anyhow::Result<Vec<Sink>> {
    let mut sinks = Vec::new();
    for text in &output.formats {
        let (name, path) =
            text.split_once('=').map_or((text.as_str(), None), |(name, path)| (name, Some(PathBuf::from(path))));
        let known: Vec<&str> = Format::ALL.iter().map(|(_, name)| *name).collect();
        let format =
            Format::parse(name).with_context(|| format!("--format {name}: known formats are {}", known.join(", ")))?;
        sinks.push(Sink { format, path });
    }
    if sinks.is_empty() {
        sinks.push(Sink { format: Format::Text, path: None });
    }
    if let Some(path) = &output.output {
        let mut open = sinks.iter_mut().filter(|sink| sink.path.is_none());
        match (open.next(), open.next()) {
            (Some(sink), None) => sink.path = Some(path.clone()),
            (None, _) => anyhow::bail!("--output {}: every format has a file of its own already", path.display()),
            _ => anyhow::bail!(
                "--output {}: several formats want it; name a file for each, as in --format json=FILE",
                path.display()
            ),
        }
    }
    if sinks.iter().filter(|sink| sink.path.is_none()).count() > 1 {
        anyhow::bail!(
            "only one format can go to standard output; name a file for the others, as in --format json=FILE"
        );
    }
    Ok(sinks)
}

/// How text may look where it goes.
pub(super) fn style(output: &Output, to_file: bool) -> Style {
    let terminal = io::stdout().is_terminal() && !to_file;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let locale = locale.unwrap_or_default().to_lowercase();
    let utf8 = locale.contains("utf-8") || locale.contains("utf8");
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = columns.unwrap_or_else(|| usize::from(console_width()));
    Style {
        color: match output.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color && !dumb,
        },
        unicode: utf8,
        width: width.clamp(40, 160),
        terminal,
        verbose: output.verbose > 0,
        quiet: output.quiet,
        fail_on: output.fail_on.into(),
    }
}

/// Columns of the terminal; 100 where there is none.
fn console_width() -> u16 {
    console::Term::stdout().size_checked().map_or(100, |(_, columns)| columns)
}

/// The exit code of a report in the terms of who reads standard output: Nagios has codes of its own.
pub(super) fn exit(report: &Report, output: &Output) -> Outcome {
    if is_nagios(output) {
        return Outcome::Code(report::nagios_state(report, output.fail_on.into()) as u8);
    }
    outcome(report, output.fail_on.into())
}

/// Whether standard output is a monitoring plugin's.
pub(super) fn is_nagios(output: &Output) -> bool {
    output.output.is_none() && output.formats.iter().any(|format| format == "nagios")
}

/// The same, as far as arguments tell that may not even be valid.
pub(super) fn wants_nagios(args: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let pairs = args.windows(2).any(|pair| matches!(pair[0].as_str(), "-f" | "--format") && pair[1] == "nagios");
    let joined = args.iter().any(|arg| matches!(arg.as_str(), "--format=nagios" | "-fnagios" | "-f=nagios"));
    let to_file = args.iter().any(|arg| arg == "-o" || arg.starts_with("--output"));
    (pairs || joined) && !to_file
}

/// The exit code of a report.
pub(super) fn outcome(report: &Report, fail_on: Severity) -> Outcome {
    if report.archives.iter().any(|archive| archive.status == Status::Incomplete) {
        return Outcome::Failed;
    }
    let worst = report
        .archives
        .iter()
        .flat_map(|archive| &archive.findings)
        .filter(|f| f.waived.is_none())
        .map(|f| f.severity)
        .max();
    if worst.is_some_and(|worst| worst >= fail_on) { Outcome::Found } else { Outcome::Clean }
}
