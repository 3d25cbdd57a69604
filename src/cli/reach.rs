use std::io::Write;

use super::Outcome;
use super::args::ReachArgs;
use super::session::Session;
use super::state::Memory;
use crate::audit::{self, Content, ContentMoment, Known, Located};
use crate::catalog::{self, Moment, Verdict};
use crate::model::TimelineId;
use crate::report::{ReachReport, reach_report, render_reach};

/// What was asked for.
enum Asked {
    Known(Moment),
    InContent(ContentMoment),
}

/// The last of several places that lies on the way asked for, with the timeline to name.
fn choose<'a>(
    located: &'a [Located],
    known: &Known,
    timeline: Option<TimelineId>,
) -> Option<(&'a Located, TimelineId)> {
    let size = known.archive.segment_size;
    let holds = |one: &Located, target: TimelineId| {
        known.archive.timelines.path(target).owner(one.lsn.end_segment(size), size) == one.timeline
    };
    let latest = known.recovery.latest;
    let on_the_way = |target: Option<TimelineId>| {
        let target = target?;
        located.iter().rev().find(|one| holds(one, target)).map(|one| (one, target))
    };
    match timeline {
        Some(_) => on_the_way(timeline),
        None => on_the_way(latest).or_else(|| located.last().map(|one| (one, one.timeline))),
    }
}

/// `walproof reach`
pub(super) async fn run(args: ReachArgs) -> anyhow::Result<Outcome> {
    let json = match args.common.output.formats.as_slice() {
        [] => false,
        [one] if one == "text" => false,
        [one] if one == "json" || one == "jsonl" => true,
        _ => anyhow::bail!("reach writes text or json"),
    };
    let asked = match (args.lsn, args.time, args.xid, args.name) {
        (Some(lsn), ..) => Asked::Known(Moment::Lsn(lsn)),
        (None, Some(time), ..) => Asked::Known(Moment::Time(time)),
        (None, None, Some(xid), _) => Asked::InContent(ContentMoment::Transaction(xid)),
        (None, None, None, Some(name)) => Asked::InContent(ContentMoment::RestorePoint(name)),
        (None, None, None, None) => anyhow::bail!("name the moment: --time, --lsn, --xid or --name"),
    };
    let session = Session::new(&args.common)?;
    let names: Vec<String> = args.archive.iter().cloned().collect();
    let state = match Memory::of(&session, args.common.state.as_deref(), &names)? {
        Some(memory) => memory.open().await.ok(),
        None => None,
    };
    let mut answers: Vec<(Verdict, ReachReport)> = Vec::new();
    for place in session.places(&names)? {
        for target in session.open(&place).await? {
            for mut found in audit::catalogue(&target, &session.options, &session.ctx).await? {
                if let Some(error) = &found.error {
                    anyhow::bail!("{}: {error}", found.url);
                }
                if let Some(state) = &state {
                    audit::count_on_proofs(&target, &mut found, state, &session.ctx).await;
                }
                let Content::Known(known) = &found.content else { continue };
                if known.archive.layout == catalog::LayoutKind::Files {
                    anyhow::bail!(
                        "{}: dumps and tarballs give back their own moments only; `walproof list` shows them",
                        found.url
                    );
                }
                let (moment, timeline, note) = match &asked {
                    Asked::Known(moment) => (*moment, args.timeline, None),
                    Asked::InContent(wanted) => {
                        let located = audit::locate(&target, &found, state.as_ref(), wanted, &session.ctx).await;
                        let located = located.map_err(|why| anyhow::anyhow!("{}: {why}", found.url))?;
                        match choose(&located, known, args.timeline) {
                            Some((one, timeline)) => (Moment::Lsn(one.lsn), Some(timeline), Some(one.note.clone())),
                            None => {
                                anyhow::bail!("{}: {}, not on the way to that timeline", found.url, located[0].note)
                            }
                        }
                    }
                };
                let answer = catalog::reach(&known.archive, &known.recovery, moment, timeline);
                let proofs = known.proven.as_deref();
                let mut report =
                    reach_report(&found.name, &found.url, &known.archive, &known.recovery, moment, &answer, proofs);
                report.reasons.extend(note);
                if let Some(state) = &state {
                    // An estimate is a courtesy: a state that cannot be read takes nothing away from the answer.
                    let id = audit::restore_id(&target, &found.url);
                    let measured = audit::remembered(state, &id, session.ctx.as_of).await.ok();
                    if let Some(rates) = measured.and_then(|measured| measured.rates()) {
                        report.estimate(&answer, known.archive.segment_size, &rates);
                    }
                }
                answers.push((answer.verdict, report));
            }
        }
    }
    session.ctx.progress.finish();
    let mut out: Box<dyn Write> = match &args.common.output.output {
        Some(path) => Box::new(std::fs::File::create(path)?),
        None => Box::new(std::io::stdout().lock()),
    };
    let many = answers.len() > 1;
    for (_, report) in &answers {
        if json {
            if many {
                serde_json::to_writer(&mut out, report)?
            } else {
                serde_json::to_writer_pretty(&mut out, report)?
            }
            writeln!(out)?;
        } else {
            if many {
                writeln!(out, "{}", crate::report::clean(&report.archive))?;
            }
            render_reach(report, &mut out)?;
        }
    }
    let worst = answers.iter().map(|(verdict, _)| match verdict {
        Verdict::Reachable => Outcome::Clean,
        Verdict::Unreachable => Outcome::Found,
        Verdict::Unknown => Outcome::Failed,
    });
    Ok(worst
        .max_by_key(|outcome| match outcome {
            Outcome::Clean => 0,
            Outcome::Found => 1,
            _ => 2,
        })
        .unwrap_or(Outcome::Failed))
}
