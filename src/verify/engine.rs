//! Runs a plan: objects are asked for ahead, decoded on a few threads, and judged in order.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tokio::sync::Semaphore;

use super::disprove;
use super::judge::Judge;
use super::ledger::{Ledger, Proofs};
use super::object::Seen;
use super::parts::Backups;
use super::plan::{Plan, SegmentItem};
use super::pool::{Decoders, Place};
use super::wal::{self, Fold};
use crate::catalog::Archive;
use crate::catalog::evidence::ContentEvidence;
use crate::fetch::{Problem, Source, Stored};
use crate::run::{ProgressUnit, RunContext};
use crate::wal::SegmentSummary;

/// Bytes that may come ahead of the decoders, over all objects.
const AHEAD_BYTES: usize = 32 << 20;
/// Objects asked for ahead of the decoders.
const AHEAD_OBJECTS_MAX: usize = 64;

/// How much a run takes of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that decode.
    pub jobs: usize,
    /// Requests in flight.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        Options { jobs, connections: 64 }
    }
}

/// What a run showed.
#[derive(Debug)]
pub struct Verified {
    /// For rules and reports.
    pub content: ContentEvidence,
    /// For the ledger.
    pub proofs: Proofs,
    /// Why it is not complete: the store failed, or it was stopped.
    pub error: Option<String>,
}

/// Reads what the plan says. The archive's own defects are in the evidence; a failing store leaves the rest to be read.
pub async fn run(
    source: &Source,
    archive: &Archive,
    plan: Plan,
    ledger: &Ledger,
    options: &Options,
    ctx: &RunContext,
) -> Verified {
    let begun = Instant::now();
    ctx.progress.step("verifying", ProgressUnit::Bytes, Some(plan.bytes()));
    let Plan { segments, backups, mut evidence, .. } = plan;
    let decoders = match Decoders::start(options.jobs) {
        Ok(decoders) => decoders,
        Err(error) => {
            let proofs = Proofs { summary: evidence.totals, ..Proofs::default() };
            return Verified { content: evidence, proofs, error: Some(format!("starting a thread failed: {error}")) };
        }
    };
    let mut engine = Engine {
        source,
        archive,
        ctx,
        decoders,
        ahead: Arc::new(Semaphore::new(AHEAD_BYTES)),
        objects_ahead: options.connections.clamp(1, AHEAD_OBJECTS_MAX).max(options.jobs),
        judge: Judge::new(archive.segment_size, ledger),
    };
    let (mut segments, points) = engine.segments(segments, &mut evidence).await;
    let mut proven = Vec::new();
    let parts = Backups {
        source,
        archive,
        ctx,
        decoders: engine.decoders.clone(),
        at_once: options.jobs,
        stop: engine.judge.stop.clone(),
    };
    // The newest first: that is the one a restore takes.
    for item in backups.into_iter().rev() {
        proven.extend(parts.one(item, &mut engine.judge, &mut evidence).await);
    }
    for damage in engine.judge.settle(archive, &mut evidence) {
        disprove::object(&damage, archive, &mut segments, &mut proven, &mut evidence);
    }
    ctx.progress.finish();
    // Restore points that earlier runs met in segments that were not read now.
    evidence.restore_points.clone_from(&points);
    for point in ledger.points() {
        if evidence.restore_points.len() < ContentEvidence::POINTS_MAX && !evidence.restore_points.contains(point) {
            evidence.restore_points.push(point.clone());
            evidence.restore_point_count += 1;
        }
    }
    evidence.restore_points.sort_by(|a, b| (a.timeline, a.lsn, &a.name).cmp(&(b.timeline, b.lsn, &b.name)));
    evidence.totals.duration_s = begun.elapsed().as_secs_f64();
    let (etags_are_sums, parts_are_even) = engine.judge.trusts();
    let proofs = Proofs {
        summary: evidence.totals,
        etags_are_sums,
        parts_are_even,
        complete: false,
        segments,
        backups: proven,
        points,
    };
    Verified { content: evidence, proofs, error: engine.judge.error(ctx) }
}

struct Engine<'a> {
    source: &'a Source,
    archive: &'a Archive,
    ctx: &'a RunContext,
    decoders: Decoders,
    /// Bytes that may come ahead.
    ahead: Arc<Semaphore>,
    objects_ahead: usize,
    judge: Judge,
}

impl Engine<'_> {
    async fn segments(
        &mut self,
        items: Vec<SegmentItem>,
        out: &mut ContentEvidence,
    ) -> (Vec<super::ledger::SegmentProof>, Vec<crate::catalog::evidence::NamedPoint>) {
        let mut fold = Fold::new(self.archive, self.ctx.as_of);
        let reads = {
            let (source, archive, ctx) = (self.source, self.archive, self.ctx);
            let (decoders, ahead) = (self.decoders.clone(), self.ahead.clone());
            let stop = self.judge.stop.clone();
            items.into_iter().map(move |item| {
                let (decoders, ahead, stop) = (decoders.clone(), ahead.clone(), stop.clone());
                async move {
                    if !item.read {
                        return (item, None);
                    }
                    if ctx.cancel.is_set() || stop.is_set() {
                        return (item, Some(Err(Problem::Stopped)));
                    }
                    let read = read_segment(source, archive, &item, &decoders, &ahead, ctx).await;
                    (item, Some(read))
                }
            })
        };
        let mut reads = futures::stream::iter(reads).buffered(self.objects_ahead);
        while let Some((item, read)) = reads.next().await {
            self.judge.segment((item, read), &mut fold, out);
        }
        drop(reads);
        fold.finish(out)
    }
}

async fn read_segment(
    source: &Source,
    archive: &Archive,
    item: &SegmentItem,
    decoders: &Decoders,
    ahead: &Arc<Semaphore>,
    ctx: &RunContext,
) -> Result<(Seen, SegmentSummary), Problem> {
    let mut stored = source.get(item.storage, &item.key, source.whole(), &ctx.cancel).await?;
    let place = wait_for_place(&mut stored, decoders, ahead).await;
    let (source, item, progress) = (source.clone(), item.clone(), ctx.progress.clone());
    let options = wal::options(archive, &item);
    decoders.run(place, move || wal::read(&source, stored, &item, options, &progress)).await
}

/// Waits for a place among the decoders, and takes bytes from the store meanwhile.
async fn wait_for_place(stored: &mut Stored, decoders: &Decoders, ahead: &Arc<Semaphore>) -> Option<Place> {
    let mut place = std::pin::pin!(decoders.place());
    loop {
        tokio::select! {
            biased;
            place = &mut place => return place,
            more = stored.reader.fetch_ahead(ahead) => {
                if !more {
                    return place.await;
                }
            }
        }
    }
}
