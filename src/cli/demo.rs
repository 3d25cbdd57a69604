use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::args::DemoArgs;
use super::session::Session;
use super::{Outcome, output};
use crate::audit::{self, Storage, Target};
use crate::checks::Severity;
use crate::codec::crypto::KeyRing;
use crate::demo::{self, Damage, DamageKind, DemoArchive, DemoOptions};
use crate::report::data::{ArchiveReport, Report};
use crate::report::{self, Format};
use crate::store::{self, Address, StoreOptions};

/// `walproof demo`
pub(super) async fn run(args: DemoArgs) -> anyhow::Result<Outcome> {
    let mut session = Session::new(&args.common)?;
    let kept = args.dir.is_some();
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("walproof-demo-{}", std::process::id())),
    };
    let guard = Cleanup((!kept).then(|| dir.clone()));
    let style = output::style(&args.common.output, false);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Making a small PostgreSQL cluster, archiving its WAL and two base backups in wal-g's layout, failing over once ..."
    )?;
    out.flush()?;
    let options = DemoOptions {
        pg_bin: args.pg_bin.clone(),
        download: true,
        run_as: args.run_as.clone(),
        ..DemoOptions::default()
    };
    let whole = dir.join("archive");
    let made = demo::build(&whole, &options, &session.ctx).await.context("making the demo archive")?;
    session.ctx.as_of = made.as_of;
    introduce(&made, &mut out)?;
    let report = audit_of(&session, &whole).await?;
    report::render(Format::Text, &report, &style, &mut out)?;
    let mut missed = unexpected(&report);
    for kind in DamageKind::ALL.iter().filter(|kind| **kind != DamageKind::FlippedBit) {
        let copy = dir.join(format!("damaged-{}", name(*kind)));
        let damage = demo::damage(*kind, &whole, &copy)?;
        let report = audit_of(&session, &copy).await?;
        missed |= !show(&damage, &report, &copy, &mut out)?;
    }
    writeln!(out)?;
    if kept {
        writeln!(
            out,
            "The archive and its damaged copies are in {}. Try: walproof audit {}",
            dir.display(),
            dir.join("damaged-missing-segment").display()
        )?;
    } else {
        writeln!(out, "walproof demo --dir DIR keeps the archive and its damaged copies to look at.")?;
    }
    out.flush()?;
    drop(guard);
    Ok(if missed { Outcome::Failed } else { Outcome::Clean })
}

/// Removes what the demo made, however it ends.
struct Cleanup(Option<PathBuf>);

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn introduce(made: &DemoArchive, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "PostgreSQL {}: {} backups, {} WAL files, promoted to timeline 2 at {}.\n",
        made.pg_version,
        made.backups.len(),
        made.wal_files.len(),
        made.switch
    )?;
    writeln!(out, "$ walproof audit {}", made.dir.display())?;
    Ok(())
}

async fn audit_of(session: &Session, dir: &Path) -> anyhow::Result<Report> {
    let address = Address::Directory(dir.to_path_buf());
    let opened =
        store::open(&address, &StoreOptions::default(), session.limits.clone(), session.ctx.cancel.clone()).await?;
    let target = Target {
        name: Some("demo".to_owned()),
        storages: vec![Storage { store: opened, address }],
        layout: None,
        keys: Arc::new(KeyRing::new()),
        exceptions: Vec::new(),
        not_checked: vec!["retention: no policy".to_owned()],
        required: Vec::new(),
        stated: Default::default(),
    };
    let archives: Vec<ArchiveReport> = audit::audit(&target, &session.options, &session.ctx).await;
    session.ctx.progress.finish();
    let duration: f64 = archives.iter().map(|archive| archive.listing.duration_s).sum();
    Ok(report::finish(session.ctx.as_of, duration, session.ctx.as_of, archives))
}

fn unexpected(report: &Report) -> bool {
    report.archives.len() != 1 || report.worst_severity.is_some_and(|worst| worst >= Severity::Warning)
}

/// What was damaged, what the usual check says, what walproof says. Whether walproof named the object.
fn show(damage: &Damage, report: &Report, copy: &Path, out: &mut dyn Write) -> anyhow::Result<bool> {
    writeln!(out)?;
    writeln!(out, "-- a damaged copy: {}", damage.what)?;
    writeln!(out, "   the usual check:  {}", damage.usual_check)?;
    writeln!(out, "   in the disaster:  {}", damage.restore)?;
    writeln!(out, "   $ walproof audit {}", copy.display())?;
    let mut named = false;
    for finding in report.archives.iter().flat_map(|archive| &archive.findings).filter(|f| f.severity > Severity::Info)
    {
        writeln!(
            out,
            "   {:<9} {} {}  {}",
            finding.severity.name(),
            finding.code,
            finding.name,
            report::clean(&finding.message)
        )?;
        let stem = damage.object.split('.').next().unwrap_or(&damage.object);
        let mut texts = finding.objects.iter().chain([&finding.subject]);
        named |= texts.any(|text| text.contains(stem));
    }
    Ok(named)
}

fn name(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::MissingSegment => "missing-segment",
        DamageKind::EmptySegment => "empty-segment",
        DamageKind::MissingPart => "missing-part",
        DamageKind::MissingHistory => "missing-history",
        _ => "flipped-bit",
    }
}
