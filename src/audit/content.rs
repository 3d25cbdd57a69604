//! Reading the content of an archive that was found, and working its recovery out again with what that showed.

use std::collections::BTreeSet;

use super::{Catalogued, Content, Known, Target, Versions, judged};
use crate::catalog::evidence::VersionEvidence;
use crate::catalog::{Obstacle, Recovery};
use crate::fetch::Source;
use crate::model::SegmentName;
use crate::policy::Sample;
use crate::policy::config::VerifyPolicy;
use crate::run::RunContext;
use crate::state::{ArchiveId, Head, Kind, RunId, State};
use crate::verify::{self, BackupChoice, Chosen, Estimate, Ledger, Plan, Recalled, Request, WalChoice};

/// What is to be read, as flags say; the policy fills in the rest.
#[derive(Debug, Clone, Default)]
pub struct ContentAsked {
    /// Which backups; by default all, or none where only WAL was asked for.
    pub backups: Option<BackupChoice>,
    /// Which WAL; by default all, or that of the backups where only these were asked for.
    pub wal: Option<WalChoice>,
    /// Only a part.
    pub sample: Option<Sample>,
    /// Chooses the sample; by default the moment of the audit.
    pub seed: Option<u64>,
    /// Read again what is proven.
    pub reverify: bool,
    /// How much of the machine it takes.
    pub limits: verify::Options,
    /// Where proofs are remembered.
    pub state: Option<State>,
    /// The run that writes them.
    pub run_id: Option<RunId>,
}

impl ContentAsked {
    /// The request, with what the policy says where flags say nothing.
    fn request(&self, policy: Option<&VerifyPolicy>, ctx: &RunContext) -> Request {
        let backups = self.backups.clone();
        let wal = self.wal.clone();
        let (backups, wal) = match (backups, wal) {
            (None, None) => (BackupChoice::All, WalChoice::All),
            // Leaving one out is asking for the other.
            (Some(BackupChoice::None), None) => (BackupChoice::None, WalChoice::All),
            (None, Some(WalChoice::None)) => (BackupChoice::All, WalChoice::None),
            (Some(backups), None) => (backups, WalChoice::OfBackups),
            (None, Some(wal)) => (BackupChoice::None, wal),
            (Some(backups), Some(wal)) => (backups, wal),
        };
        let classes = policy.and_then(|policy| policy.allow_classes.get().cloned());
        Request {
            backups,
            wal,
            sample: self.sample.or_else(|| policy.and_then(|policy| policy.sample.copied())),
            budget: policy.and_then(|policy| policy.budget.copied()).map(|budget| budget.0),
            seed: self.seed.unwrap_or_else(|| u64::try_from(ctx.as_of.as_second()).unwrap_or(0)),
            reverify: self.reverify,
            interval: policy.and_then(|policy| policy.interval.copied()).and_then(|interval| interval.seconds()),
            classes: classes.map(|classes| classes.into_iter().collect::<BTreeSet<_>>()),
        }
    }

    fn run_id(&self) -> RunId {
        self.run_id.unwrap_or_else(RunId::random)
    }
}

/// Where an archive that was found lies.
pub(super) fn source(target: &Target, known: &Known) -> Source {
    target.source(known.archive.root.as_bytes())
}

pub(super) fn archive_id(target: &Target, found: &Catalogued) -> ArchiveId {
    ArchiveId::new(&found.url, target.storages[0].store.endpoint().as_deref())
}

/// What reading would cost.
///
/// # Errors
/// A backup that is not there, or a state that cannot be read.
pub async fn estimate(
    target: &Target,
    found: &Catalogued,
    asked: &ContentAsked,
    ctx: &RunContext,
) -> Result<Estimate, String> {
    let Content::Known(known) = &found.content else { return Ok(Estimate::default()) };
    let (plan, ..) = plan(target, found, known, asked, ctx).await?;
    Ok(plan.estimate().clone())
}

async fn plan(
    target: &Target,
    found: &Catalogued,
    known: &Known,
    asked: &ContentAsked,
    ctx: &RunContext,
) -> Result<(Plan, Ledger, Request), String> {
    let stated = judged(target, &known.archive);
    let policy = stated.settings().map(|policy| &policy.verify);
    let request = asked.request(policy, ctx);
    let ledger = match &asked.state {
        Some(state) => {
            let id = archive_id(target, found);
            Ledger::read(state, &id, ctx.as_of).await.map_err(|error| format!("reading earlier proofs: {error}"))?
        }
        None => Ledger::default(),
    };
    let plan = Plan::make(&known.archive, &request, &ledger, ctx.as_of)?;
    Ok((plan, ledger, request))
}

/// Takes over what earlier runs proved. A state that cannot be read takes nothing away from the audit.
pub(super) async fn recall(target: &Target, found: &mut Catalogued, state: &State, ctx: &RunContext) {
    let Some(recalled) = recalled(target, found, state, ctx).await else { return };
    if let Content::Known(known) = &mut found.content {
        known.proven = Some(Box::new(recalled.content));
    }
}

async fn recalled(target: &Target, found: &Catalogued, state: &State, ctx: &RunContext) -> Option<Recalled> {
    let Content::Known(known) = &found.content else { return None };
    let ledger = Ledger::read(state, &archive_id(target, found), ctx.as_of).await.ok()?;
    (!ledger.is_empty()).then(|| Recalled::of(&known.archive, &ledger, ctx.as_of))
}

/// Works the recovery of an archive out again with what earlier runs proved of it: ends become exact, and what was
/// damaged and has not changed since does not count. Nothing is read but the state.
pub async fn count_on_proofs(target: &Target, found: &mut Catalogued, state: &State, ctx: &RunContext) {
    let Some(recalled) = recalled(target, found, state, ctx).await else { return };
    let Content::Known(known) = &mut found.content else { return };
    for (timeline, number) in recalled.condemned() {
        known.archive.wal.condemn(timeline, number, None);
    }
    known.recovery = Recovery::with(&known.archive, Some(&recalled.content));
    for (at, when) in &recalled.backups_damaged {
        let damaged = &known.archive.backups[*at];
        known.recovery.standings[*at].obstacles.push(Obstacle::DamagedBefore { at: *when });
        for (child, standing) in known.archive.backups.iter().zip(&mut known.recovery.standings) {
            if known.archive.stands_on(child, damaged) {
                let why = Obstacle::DamagedBefore { at: *when }.to_string();
                standing.obstacles.push(Obstacle::Ancestor { name: damaged.name.clone(), why });
            }
        }
    }
    known.proven = Some(Box::new(recalled.content));
}

/// Reads content as asked, adds it to what is known of the archive, and remembers what was proven.
pub(super) async fn read(
    target: &Target,
    found: &mut Catalogued,
    asked: &ContentAsked,
    versions: Versions,
    ctx: &RunContext,
) {
    let Content::Known(known) = &found.content else { return };
    let (plan, ledger, request) = match plan(target, found, known, asked, ctx).await {
        Ok(planned) => planned,
        Err(error) => {
            found.error.get_or_insert(error);
            return;
        }
    };
    let damaged_records =
        ledger.damaged.first().map(|why| format!("an earlier record of proofs cannot be read: {why}"));
    let source = source(target, known);
    let before = target.requests();
    let seen = match versions {
        Versions::Never => VersionEvidence::unlisted("--versions never".to_owned()),
        Versions::Auto | Versions::Always => {
            let chosen = Chosen::Compared(&plan, &request);
            verify::look_at_versions(&source, &known.archive, chosen, asked.limits.jobs, ctx).await
        }
    };
    let mut verified = verify::run(&source, &known.archive, plan, &ledger, &asked.limits, ctx).await;
    verified.content.notes.extend(damaged_records);
    let mut error = verified.error;
    let recalled = Recalled::of(&known.archive, &ledger, ctx.as_of).content;
    let proven = verified.content.proofs_over(&recalled);
    if let Some(state) = &asked.state {
        let id = archive_id(target, found);
        let head = Head::new(asked.run_id(), found.name.clone(), id, ctx.as_of, Kind::Proofs);
        let still_there = |name: SegmentName| !known.archive.wal.at(name).is_empty();
        let written = ledger.write(state, &head, verified.proofs, |proof| still_there(proof.name.0)).await;
        if let Err(problem) = written {
            error.get_or_insert(format!("what was proven cannot be remembered: {problem}"));
        }
    }
    found.listing.requests += target.requests() - before;
    let Content::Known(known) = &mut found.content else { return };
    for (timeline, proof) in &verified.content.wal {
        for number in &proof.damaged {
            known.archive.wal.condemn(*timeline, *number, proof.sound_from.get(number).copied());
        }
    }
    known.recovery = Recovery::with(&known.archive, Some(&verified.content));
    known.content = Some(Box::new(verified.content));
    known.versions = Some(Box::new(seen));
    known.proven = Some(Box::new(proven));
    if let Some(error) = error {
        found.error.get_or_insert(error);
    }
}

/// Lists older versions of WAL without reading any.
pub(super) async fn list_versions(target: &Target, found: &mut Catalogued, ctx: &RunContext) {
    let Content::Known(known) = &mut found.content else { return };
    let source = source(target, known);
    let before = target.requests();
    let seen = verify::look_at_versions(&source, &known.archive, Chosen::Listed, 1, ctx).await;
    found.listing.requests += target.requests() - before;
    known.versions = Some(Box::new(seen));
}
