use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::Report;

/// The whole document, indented, one trailing newline.
pub(super) fn render(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

/// One object per line: the run, then for each archive itself, its backups and its findings.
pub(super) fn render_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut run = serde_json::to_value(report)?;
    if let Value::Object(fields) = &mut run {
        fields.remove("archives");
    }
    line("run", None, &run, out)?;
    for archive in &report.archives {
        let mut own = serde_json::to_value(archive)?;
        if let Value::Object(fields) = &mut own {
            fields.remove("backups");
            fields.remove("findings");
        }
        line("archive", Some(&archive.name), &own, out)?;
        for backup in &archive.backups {
            line("backup", Some(&archive.name), backup, out)?;
        }
        for finding in &archive.findings {
            line("finding", Some(&archive.name), finding, out)?;
        }
    }
    Ok(())
}

fn line(kind: &str, archive: Option<&str>, value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut object = json!({ "type": kind });
    if let (Value::Object(fields), Value::Object(more)) = (&mut object, serde_json::to_value(value)?) {
        if let Some(archive) = archive {
            fields.insert("archive".to_owned(), archive.into());
        }
        fields.extend(more);
    }
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")
}
