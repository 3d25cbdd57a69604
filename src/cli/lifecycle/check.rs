use std::path::PathBuf;
use std::time::Instant;

use clap::{ArgGroup, Args, ValueEnum};

use super::objects;
use crate::cli::args::Common;
use crate::cli::rules::{NOT_SAID, RulesArgs};
use crate::cli::session::Session;
use crate::cli::{Outcome, input, output};
use crate::model::Timestamp;
use crate::policy::inventory::BucketObjects;
use crate::policy::lifecycle::{Reading, RuleSet};
use crate::policy::plan::{self, Plan, RulesState};
use crate::policy::retention::read_deletes;
use crate::policy::{CheckInput, DeletionInput, PlanVerdict, check_deletions, check_plan};
use crate::report::lifecycle::{ChangeReport, Facts, render, report};

/// `walproof lifecycle check`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true))]
pub struct CheckArgs {
    /// Archives whose live objects are at stake: addresses or names of clusters
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// The change: terraform show -json, a CloudFormation template or change set, pulumi preview --json, or lifecycle
    /// rules in the cloud's own JSON or XML; - for standard input
    #[arg(long, value_name = "FILE", group = "change")]
    pub plan: Option<PathBuf>,
    /// Keys that a tool is about to delete, one a line, or what wal-g delete prints without --confirm
    #[arg(long, value_name = "FILE", group = "change")]
    pub deletes: Option<PathBuf>,
    /// Rules as they are now, where the plan does not say
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Objects without a bucket: an S3 Inventory manifest.json beside its files, aws s3api list-objects-v2 or
    /// list-object-versions, gcloud storage objects list --format=json, or a saved walproof report (repeatable)
    #[arg(long, value_name = "FILE", visible_alias = "catalog")]
    pub inventory: Vec<PathBuf>,
    /// The bucket that a file means which does not say; for a directory with the prefix it stands for, as in
    /// s3://bucket/pg/main
    #[arg(long, value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// How values are taken that are known only after the change is applied
    #[arg(long, value_enum, default_value_t = Unknown::Worst)]
    pub unknown: Unknown,
    /// Common settings; --now is the moment at which the change is applied
    #[command(flatten)]
    pub common: Common,
}

/// `--unknown`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unknown {
    /// As bad as it can be
    Worst,
    /// As good as it can be
    Best,
}

/// `walproof lifecycle check`
pub(super) async fn run(args: CheckArgs) -> anyhow::Result<Outcome> {
    output::check(&args.common.output)?;
    let (started_at, begun) = (Timestamp::now(), Instant::now());
    let session = Session::new(&args.common)?;
    let stand_in = args.bucket.as_deref().map(objects::StandIn::parse).transpose()?;
    let given = args.rules.as_it_is()?;
    let judge = Judge { args: &args, session: &session, stand_in: stand_in.as_ref(), given };
    let verdict = judge.verdict().await?;
    session.ctx.progress.finish();
    let file = args.plan.as_deref().or(args.deletes.as_deref());
    let report = report(Facts {
        input: file.map(input::name),
        duration_s: begun.elapsed().as_secs_f64(),
        with_policy: session.config.is_some(),
        deletions: args.deletes.is_some(),
        required: &session.required,
        ..Facts::of(&verdict, started_at)
    });
    write(&report, &args.common.output)
}

/// Writes a document in every format that was asked for, and gives the exit code.
pub(in crate::cli) fn write(report: &ChangeReport, wanted: &crate::cli::args::Output) -> anyhow::Result<Outcome> {
    output::write_each(wanted, &mut |format, style, out| render(format, report, style, out))?;
    Ok(output::exit(&report.as_report(wanted.fail_on.into()), wanted))
}

struct Judge<'a> {
    args: &'a CheckArgs,
    session: &'a Session,
    stand_in: Option<&'a objects::StandIn>,
    given: Option<Plan>,
}

impl Judge<'_> {
    async fn verdict(&self) -> anyhow::Result<PlanVerdict> {
        match (&self.args.plan, &self.args.deletes) {
            (Some(path), _) => {
                let plan = read_plan(path)?;
                self.plan(plan, &input::name(path)).await
            }
            (None, Some(path)) => self.deletes(path).await,
            (None, None) => anyhow::bail!("name the change: --plan or --deletes"),
        }
    }

    async fn plan(&self, mut plan: Plan, name: &str) -> anyhow::Result<PlanVerdict> {
        let found = self.objects().await?;
        let mut notes = Vec::new();
        if let Some(bucket) = self.bucket_of_rules(&plan, &found, name)? {
            notes.push(format!("the rules were taken to be those of bucket {bucket}"));
            plan.name_bucket(&bucket);
        }
        if let Some(before) = &self.given {
            let mut before = before.clone();
            match plan.buckets.as_slice() {
                [] => {}
                [only] => {
                    if let Some(name) = &only.bucket {
                        before.name_bucket(name);
                    }
                }
                _ => anyhow::ensure!(before.buckets.iter().all(|bucket| bucket.bucket.is_some()), NOT_SAID),
            }
            plan = plan.with_before(&before);
        }
        let touched: Vec<&str> = plan.buckets.iter().filter_map(|change| change.bucket.as_deref()).collect();
        let found = objects::named(found, &touched, self.stand_in)?;
        for objects in found.iter().filter(|objects| !touched.contains(&objects.bucket.as_str())) {
            notes.push(format!("the plan says nothing about bucket {}, whose objects were given", objects.bucket));
        }
        let mut verdict = check_plan(CheckInput {
            plan: &plan,
            objects: &found,
            config: self.session.config.as_ref(),
            apply_at: self.session.ctx.as_of,
            unknown: self.unknown(),
        });
        verdict.assumptions.extend(notes);
        Ok(verdict)
    }

    async fn deletes(&self, path: &std::path::Path) -> anyhow::Result<PlanVerdict> {
        let name = input::name(path);
        let text = String::from_utf8(input::read(path)?).map_err(|_| anyhow::anyhow!("{name} is not UTF-8 text"))?;
        let deletes = read_deletes(&text);
        let found = objects::named(self.objects().await?, &[], self.stand_in)?;
        let [objects] = found.as_slice() else {
            anyhow::bail!(
                "--deletes needs the objects of one bucket to say what would be lost ({} given): name an ARCHIVE or an \
                 --inventory",
                found.len()
            );
        };
        let stated = self.given.iter().flat_map(|plan| &plan.buckets).find(|change| {
            change.bucket.as_ref().is_none_or(|bucket| *bucket == objects.bucket)
                && change.after.rules != RulesState::NotStated
        });
        let rules: Option<RuleSet> = match stated {
            Some(change) => {
                let decoded = change.decode(&change.after, self.unknown());
                if let Some(why) = decoded.undecodable {
                    anyhow::bail!("--rules: {why}");
                }
                Some(decoded.rules)
            }
            None => None,
        };
        let mut verdict = check_deletions(DeletionInput {
            deletes: &deletes,
            objects,
            rules: rules.as_ref(),
            config: self.session.config.as_ref(),
            at: self.session.ctx.as_of,
        });
        if rules.is_none() {
            verdict.assumptions.push("the bucket's own rules are not known (--rules): none were assumed".to_owned());
        }
        if deletes.keys.is_empty() {
            verdict.assumptions.push(format!("{name} names no key"));
        }
        Ok(verdict)
    }

    fn unknown(&self) -> Reading {
        match self.args.unknown {
            Unknown::Worst => Reading::Worst,
            Unknown::Best => Reading::Best,
        }
    }

    /// Files first, then live buckets.
    async fn objects(&self) -> anyhow::Result<Vec<BucketObjects>> {
        let mut found = Vec::new();
        for path in &self.args.inventory {
            found.extend(objects::of_file(path)?);
        }
        if !self.args.archives.is_empty() {
            found.extend(objects::of_archives(self.session, &self.args.archives, self.stand_in).await?);
        }
        Ok(found)
    }

    /// Rules alone do not say whose they are: what was told, what the objects say, or the only bucket of the configuration.
    fn bucket_of_rules(&self, plan: &Plan, found: &[BucketObjects], name: &str) -> anyhow::Result<Option<String>> {
        let [change] = plan.buckets.as_slice() else { return Ok(None) };
        if change.bucket.is_some() || plan.source != plan::PlanSource::Rules {
            return Ok(None);
        }
        if let Some(told) = self.stand_in {
            return Ok(Some(told.bucket.clone()));
        }
        let mut names: Vec<&str> =
            found.iter().map(|objects| objects.bucket.as_str()).filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            let clusters = self.session.config.iter().flat_map(|config| &config.clusters);
            names.extend(clusters.map(|cluster| cluster.archive.bucket.as_str()).filter(|name| !name.is_empty()));
        }
        names.sort_unstable();
        names.dedup();
        match names.as_slice() {
            [only] => Ok(Some((*only).to_owned())),
            [] => Ok(None),
            many => anyhow::bail!(
                "{name} holds rules only; name the bucket they are for with --bucket ({})",
                many[..many.len().min(5)].join(", ")
            ),
        }
    }
}

/// A change as a file describes it; a file that cannot be judged is refused with the command that makes the right one.
fn read_plan(path: &std::path::Path) -> anyhow::Result<Plan> {
    let bytes = input::read(path)?;
    plan::read_plan(&bytes).map_err(|refusal| anyhow::anyhow!("{}: {refusal}", input::name(path)))
}
