use std::time::Instant;

use super::args::{AuditArgs, Common};
use super::session::Session;
use super::state::Memory;
use super::{Outcome, output};
use crate::audit::{self, Asked};
use crate::checks::LivePosition;
use crate::model::Timestamp;
use crate::report;
use crate::report::data::{ArchiveReport, Report};
use crate::state::State;

/// `walproof audit`
pub(super) async fn run(args: AuditArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common.output)?;
    let mut session = Session::new(&args.common)?;
    args.content.choose_versions(&mut session);
    session.buckets = args.rules.read()?;
    session.live = args.live_timeline.zip(args.live_lsn).map(|(timeline, lsn)| LivePosition { timeline, lsn });
    let memory = Memory::of(&session, args.common.state.as_deref(), &args.archives)?;
    if let (false, Some(flag)) = (args.verify, args.content.given())
        && !(flag == "--seed" && args.tests_restore())
    {
        anyhow::bail!("{flag} says what content to read: add --verify");
    }
    let asked = match args.verify {
        true => Some(args.content.asked(&args.common, memory.as_ref()).await?),
        false => None,
    };
    if let (true, Some(asked)) = (args.content.estimate, &asked) {
        return super::verify::estimate(&session, &args.archives, asked, &args.common).await;
    }
    #[cfg(feature = "restore")]
    let test = restore_test(&args, &session)?;
    let asked = Asked {
        content: asked.as_ref(),
        #[cfg(feature = "restore")]
        restore: test.as_ref().map(|test| test as &dyn audit::RestoreAsked),
        ..Asked::default()
    };
    finish(&session, &args.archives, asked, memory, &args.common).await
}

/// The test restore that comes after the audit of each archive, if one is to.
#[cfg(feature = "restore")]
fn restore_test(args: &AuditArgs, session: &Session) -> anyhow::Result<Option<super::restore_test::Prepared>> {
    if !args.restore_test {
        if let Some(flag) = args.test.given() {
            anyhow::bail!("{flag} says what to restore: add --restore-test");
        }
        return Ok(None);
    }
    // One seed for everything that is drawn.
    Ok(Some(args.test.prepare(session, &args.common, args.content.seed)?))
}

/// Audits, reads content where asked for, writes the report and remembers the run.
pub(super) async fn finish(
    session: &Session,
    names: &[String],
    asked: Asked<'_>,
    memory: Option<Memory>,
    common: &Common,
) -> anyhow::Result<Outcome> {
    // What cannot be opened now is said when the run is to be written there.
    let state = match &memory {
        Some(memory) => memory.open().await.ok(),
        None => None,
    };
    let asked = Asked { state: state.as_ref(), ..asked };
    let report = report_with(session, names, &asked).await?;
    output::write(&report, &common.output)?;
    let outcome = output::exit(&report, &common.output);
    if let Some(memory) = memory
        && let Err(error) = memory.keep(&report).await
    {
        eprintln!("walproof: {}", report::clean(&format!("{error:#}")));
        return Ok(match outcome {
            // To a monitoring system what was found is worse than what was not written.
            Outcome::Code(2) => outcome,
            Outcome::Code(_) => Outcome::Code(3),
            _ => Outcome::Failed,
        });
    }
    Ok(outcome)
}

/// Audits what the names say, one after the other. One archive that cannot be audited never stops the others.
pub(super) async fn report_on(session: &Session, names: &[String], state: Option<&State>) -> anyhow::Result<Report> {
    report_with(session, names, &Asked { state, ..Asked::default() }).await
}

/// The same, with content and test restores as far as they are asked for.
pub(super) async fn report_with(session: &Session, names: &[String], asked: &Asked<'_>) -> anyhow::Result<Report> {
    let started_at = Timestamp::now();
    let begun = Instant::now();
    let mut archives: Vec<ArchiveReport> = Vec::new();
    let places = session.places(names)?;
    session.check_rules(&places)?;
    for place in places {
        match session.open(&place).await {
            Ok(targets) => {
                for target in targets {
                    archives.extend(audit::audit_asked(&target, &session.options, asked, &session.ctx).await);
                }
            }
            Err(error) => archives.push(not_opened(&place, &error)),
        }
    }
    session.ctx.progress.finish();
    Ok(report::finish(started_at, begun.elapsed().as_secs_f64(), session.ctx.as_of, archives))
}

/// The entry of a place whose stores cannot even be opened.
pub(super) fn not_opened(place: &crate::config::Place, error: &anyhow::Error) -> ArchiveReport {
    let (address, _) = &place.storages[0];
    let name = place.name.clone().unwrap_or_else(|| address.to_string());
    // The same address as in a report that could be made.
    let url = crate::state::ArchiveId::of_address(address).url;
    report::broken_archive(&name, &url, provider(address), None, format!("{error:#}"))
}

fn provider(address: &crate::store::Address) -> &'static str {
    use crate::store::{Address, Cloud};
    match address {
        Address::Directory(_) => "file",
        Address::Bucket { cloud: Cloud::S3, .. } => "s3",
        Address::Bucket { cloud: Cloud::Gcs, .. } => "gcs",
        Address::Bucket { cloud: Cloud::Azure, .. } => "azure",
    }
}
