//! The restore itself: prepare the target, read the lists, unpack backup after backup, complete, sync.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt;

use super::ahead::reading_ahead;
use super::attempt::Attempt;
use super::part::{Job, Place, Role, Shared, unpack};
use super::tree::{Owner, Tree};
use super::wanted::{FileList, Wanted};
use super::{Options, Plan, RestoreError, Restored, Step, finish, space};
use crate::catalog::{ObjectRef, Part, Producer};
use crate::codec::Limits;
use crate::fetch::{Problem, Source, Stored};
use crate::layout::ReadProblem;
use crate::run::{Cancel, Progress, ProgressUnit, RunContext};
use crate::store::Stopped;

/// What a backup may unpack to beyond the size it states, before it is called absurd.
const BUDGET_SLACK: u64 = 1 << 30;

/// Restores a backup into a directory that is empty, or holds an interrupted attempt at the same.
///
/// Everything that writes has ended when this returns. `global/pg_control` is written last, so a server cannot start
/// on what is not whole.
///
/// # Errors
/// See [`RestoreError`]; [`RestoreError::is_defect`] tells the archive's faults from all others.
pub async fn restore(
    source: &Source,
    plan: &Plan,
    into: &Path,
    options: &Options,
    ctx: &RunContext,
) -> Result<Restored, RestoreError> {
    let begun = Instant::now();
    let prepared = {
        let (plan, into, options, cancel) = (plan.clone(), into.to_owned(), options.clone(), ctx.cancel.clone());
        blocking(move || prepare(&plan, &into, &options, cancel)).await?
    };
    let Prepared { shared, into, tablespaces } = prepared;
    let shared = Arc::new(shared);
    // Whoever drops this future half-way leaves no thread at work for long.
    let _stop = StopOnDrop(shared.stop.clone());
    let wanted: Vec<Arc<Wanted>> = {
        let lists = read_lists(source, plan, &shared).await?;
        Wanted::of_chain(lists).into_iter().map(Arc::new).collect()
    };
    ctx.progress.step(&format!("restoring {}", plan.backup), ProgressUnit::Bytes, Some(plan.stored_bytes));
    let mut tally = Tally::default();
    let mut increments = BTreeSet::new();
    for (at, (step, wanted)) in plan.steps.iter().zip(&wanted).enumerate() {
        let steps = Steps { source, plan, shared: &shared, options, progress: &ctx.progress };
        let result = steps.run(at, step, wanted, &mut tally).await;
        increments = result.inspect_err(|_| ctx.progress.finish())?;
        let missing: Vec<Vec<u8>> =
            wanted.increments().filter(|path| !increments.contains(*path)).map(<[u8]>::to_vec).collect();
        if let (Some(first), true) = (missing.first(), at + 1 < plan.steps.len()) {
            ctx.progress.finish();
            let first = format!("{} of {}", first.escape_ascii(), step.backup);
            return Err(RestoreError::FilesMissing { count: missing.len() as u64, first });
        }
    }
    ctx.progress.finish();
    let fetch_s = begun.elapsed().as_secs_f64();
    let ended = {
        let (plan, options, shared) = (plan.clone(), options.clone(), Arc::clone(&shared));
        let (wanted, tablespaces) = (wanted.last().cloned(), tablespaces.clone());
        ctx.progress.step("syncing", ProgressUnit::Things, None);
        let ended = blocking(move || end(&plan, &options, &shared, wanted.as_deref(), &increments, &tablespaces)).await;
        ctx.progress.finish();
        ended?
    };
    let left_out = std::mem::take(&mut *shared.left_out.lock().unwrap_or_else(PoisonError::into_inner));
    let (files, bytes) = (shared.files.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
    if let Some(shared) = Arc::into_inner(shared) {
        blocking(move || shared.attempt.end()).await?;
    }
    let mut notes = plan.notes.clone();
    notes.extend(ended.notes);
    Ok(Restored {
        backup: plan.backup.clone(),
        into,
        chain: plan.steps.len(),
        files,
        bytes,
        stored_bytes: tally.stored_bytes,
        parts: tally.parts,
        parts_resumed: tally.resumed,
        fetch_s,
        sync_s: ended.sync_s,
        tablespaces: tablespaces.into_iter().collect(),
        left_out: left_out.0,
        left_out_count: left_out.1,
        control: ended.control,
        notes,
    })
}

struct StopOnDrop(Cancel);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

struct Prepared {
    shared: Shared,
    into: PathBuf,
    tablespaces: BTreeMap<String, PathBuf>,
}

fn prepare(plan: &Plan, into: &Path, options: &Options, cancel: Cancel) -> Result<Prepared, RestoreError> {
    let into = std::path::absolute(into).map_err(RestoreError::io("use", into))?;
    let tablespaces = finish::places(plan, &into);
    for (oid, dir) in &tablespaces {
        if dir.starts_with(&into) || into.starts_with(dir) {
            let dir = dir.display();
            return Err(RestoreError::Target(format!(
                "{dir}: tablespace {oid} cannot lie in the data directory, nor the other way round"
            )));
        }
    }
    let owner = options.owner.as_ref().filter(|owner| owner.is_switched());
    let owner = owner.map(|owner| Owner { uid: owner.uid(), gid: owner.gid() });
    let attempt = Attempt::begin(&into, plan, &tablespaces, owner, options.resume)?;
    if options.check_space {
        let mut dirs = vec![into.as_path()];
        dirs.extend(tablespaces.values().map(PathBuf::as_path));
        let used = if attempt.resumed { dirs.iter().map(|dir| space::used(dir)).sum() } else { 0 };
        if let Err(refused) = space::check(plan, &dirs, used) {
            if !attempt.resumed {
                attempt.end()?;
            }
            return Err(refused);
        }
    }
    let open = |dir: &Path| Tree::open(dir, owner).map_err(RestoreError::io("open", dir));
    let mut spaces = BTreeMap::new();
    for (oid, dir) in &tablespaces {
        spaces.insert(oid.clone().into_bytes(), open(dir)?);
    }
    let shared = Shared {
        place: Place { data: open(&into)?, spaces },
        attempt,
        cancel,
        stop: Cancel::default(),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        left_out: Mutex::default(),
    };
    Ok(Prepared { shared, into, tablespaces })
}

/// The list of files of each backup of the chain.
async fn read_lists(source: &Source, plan: &Plan, shared: &Arc<Shared>) -> Result<Vec<Option<FileList>>, RestoreError> {
    let mut lists = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let list = match &step.files {
            Some(object) => {
                let list = read_list(source, object, shared).await?;
                if list.is_none() && plan.steps.len() > 1 {
                    let what = "holds no list of files, a chain needs it".to_owned();
                    return Err(RestoreError::Damaged { key: object.key.to_string(), what });
                }
                list
            }
            None => match &step.sentinel {
                Some(object) => read_list(source, object, shared).await?,
                None => None,
            },
        };
        if list.is_none() && plan.steps.len() > 1 {
            let what = "a backup of the chain has no list of files".to_owned();
            return Err(RestoreError::Damaged { key: step.backup.clone(), what });
        }
        lists.push(list);
    }
    Ok(lists)
}

async fn read_list(
    source: &Source,
    object: &ObjectRef,
    shared: &Arc<Shared>,
) -> Result<Option<FileList>, RestoreError> {
    let stored = source.get_object(object, &shared.cancel).await;
    let stored = stored.map_err(|problem| RestoreError::of_object(&object.key, problem))?;
    let key = object.key.clone();
    blocking(move || {
        let mut reader = stored.reader;
        FileList::read(&mut reader).map_err(|problem| match problem {
            ReadProblem::Content(what) => RestoreError::Damaged { key: key.to_string(), what },
            ReadProblem::Io(error) => RestoreError::of_read(&key, &error),
        })
    })
    .await
}

#[derive(Default)]
struct Tally {
    parts: usize,
    resumed: usize,
    stored_bytes: u64,
}

struct Steps<'a> {
    source: &'a Source,
    plan: &'a Plan,
    shared: &'a Arc<Shared>,
    options: &'a Options,
    progress: &'a Arc<dyn Progress>,
}

impl Steps<'_> {
    /// Unpacks one backup of the chain. Gives the increments that its tars held.
    async fn run(
        &self,
        at: usize,
        step: &Step,
        wanted: &Arc<Wanted>,
        tally: &mut Tally,
    ) -> Result<BTreeSet<Vec<u8>>, RestoreError> {
        let mut increments = BTreeSet::new();
        let written = Arc::new(AtomicU64::new(0));
        // Data first: a stale label among it must not win. Numbers name the tars in the attempt's notes.
        let data: Vec<(usize, &Part, Role)> =
            step.parts.iter().enumerate().map(|(number, part)| (number, part, Role::Data)).collect();
        let number = data.len();
        let special = step.label.iter().map(|part| (number, part, Role::Label));
        let special = special.chain(step.control.iter().map(|part| (number + 1, part, Role::Control)));
        for group in [data, special.collect()] {
            let mut failed = None;
            let mut todo = Vec::new();
            for (number, part, role) in group {
                match self.shared.attempt.finished(at, number) {
                    Some(list) => {
                        increments.extend(list);
                        tally.resumed += 1;
                        self.progress.advance(part.object.size);
                    }
                    None => todo.push((number, part, role)),
                }
            }
            // The longest first: none is left to itself at the end while other cores have nothing to do.
            todo.sort_by_key(|(_, part, _)| std::cmp::Reverse(part.object.size));
            let unpacking = todo.into_iter().map(|(number, part, role)| {
                let written = Arc::clone(&written);
                async move { (number, part, self.part(step, wanted, part, role, written).await) }
            });
            let mut unpacking = futures::stream::iter(unpacking).buffer_unordered(self.options.parallel.max(1));
            // All are waited for, also behind a failure: nobody may write when this returns.
            while let Some((number, part, result)) = unpacking.next().await {
                let result = result.and_then(|list| {
                    self.shared.attempt.finish(at, number, &list)?;
                    Ok(list)
                });
                match result {
                    Ok(list) => {
                        increments.extend(list);
                        tally.parts += 1;
                        tally.stored_bytes += part.object.size;
                    }
                    Err(error) => {
                        self.shared.stop.set();
                        if failed.is_none() || matches!(failed, Some(RestoreError::Stopped)) {
                            failed = Some(error);
                        }
                    }
                }
            }
            if let Some(failed) = failed {
                return Err(failed);
            }
        }
        Ok(increments)
    }

    async fn part(
        &self,
        step: &Step,
        wanted: &Arc<Wanted>,
        part: &Part,
        role: Role,
        written: Arc<AtomicU64>,
    ) -> Result<Vec<Vec<u8>>, RestoreError> {
        if self.shared.stopped() {
            return Err(RestoreError::Stopped);
        }
        let key = part.object.key.clone();
        let stored = self.source.get_object(&part.object, &self.shared.stop).await;
        let stored = stored.map_err(|problem| RestoreError::of_object(&key, problem))?;
        let (source, shared, wanted) = (self.source.clone(), Arc::clone(self.shared), Arc::clone(wanted));
        let (has_label, has_control) = (step.label.is_some(), step.control.is_some());
        let streamed = step.producer == Producer::WalG && step.has_no_label;
        let is_target = step.backup == self.plan.backup;
        let budget = self
            .plan
            .data_bytes
            .copied()
            .map_or(u64::MAX, |bytes| bytes.saturating_add(bytes / 2).saturating_add(BUDGET_SLACK));
        let (codec, progress) = (part.codec, Arc::clone(self.progress));
        blocking(move || {
            let key = key.to_string();
            let Stored { reader, .. } = stored;
            let watched = Watched { reader, shared: &shared, progress: &*progress };
            let opened = source.open(codec, Box::new(watched), &Limits::default());
            let opened = opened.map_err(|problem| RestoreError::of_object(&key, problem))?;
            let job = Job {
                key: &key,
                role,
                wanted: &wanted,
                is_target,
                has_label,
                has_control,
                streamed,
                written: &written,
                budget,
            };
            reading_ahead(opened.reader, |input| unpack(&shared, &job, input))
                .map_err(|error| RestoreError::Io { what: "start a thread".to_owned(), error })?
        })
        .await
    }
}

/// Tells how far it has come, and ends where the run was stopped.
struct Watched<'a, R> {
    reader: R,
    shared: &'a Shared,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.shared.stopped() {
            return Err(io::Error::other(Stopped));
        }
        let read = self.reader.read(out)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

struct Ended {
    sync_s: f64,
    control: Option<crate::wal::ControlFile>,
    notes: Vec<String>,
}

fn end(
    plan: &Plan,
    options: &Options,
    shared: &Shared,
    wanted: Option<&Wanted>,
    increments: &BTreeSet<Vec<u8>>,
    tablespaces: &BTreeMap<String, PathBuf>,
) -> Result<Ended, RestoreError> {
    if shared.stopped() {
        return Err(RestoreError::Stopped);
    }
    let bytes = shared.attempt.control()?;
    if let Some(wanted) = wanted {
        let missing = wanted.increments().filter(|path| !increments.contains(*path)).map(<[u8]>::to_vec).collect();
        finish::check(&shared.place, wanted, missing, bytes.is_some())?;
    }
    let bytes = bytes.unwrap_or_default();
    let control = finish::control(plan, &bytes)?;
    let mut notes = finish::complete(shared, plan, tablespaces, control.as_ref())?;
    if control.is_none() {
        notes.push("global/pg_control has a version that is not known here: taken as it is".to_owned());
    }
    if !options.recovery.is_empty() {
        finish::recovery(&shared.place.data, plan.pg_major, &options.recovery)?;
    }
    let begun = Instant::now();
    if options.sync {
        finish::sync(&shared.place)?;
    }
    finish::write_control(&shared.place.data, &bytes, options.sync)?;
    Ok(Ended { sync_s: begun.elapsed().as_secs_f64(), control, notes })
}

/// File work away from the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(RestoreError::of_object(&"restore", Problem::Stopped)),
    }
}
