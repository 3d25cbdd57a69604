//! Base backups: parts are walked side by side, then put together with what the backup's own lists promise.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use futures::StreamExt;

use super::backup::{ChainCheck, ChainSeen, Expectation, PartSeen, check_part, conclude};
use super::judge::{Judge, Object};
use super::ledger::{BackupProven, IdText, PartProven};
use super::object::{self, Seen};
use super::plan::BackupItem;
use super::pool::Decoders;
use crate::catalog::evidence::{BackupDefect, BackupDefectKind, BackupProof, ContentEvidence, Damage};
use crate::catalog::{Archive, BaseBackup, LayoutKind, ObjectRef, Part};
use crate::codec::Limits;
use crate::codec::dump::{self, Dump, DumpError};
use crate::fetch::{Problem, Source};
use crate::layout::ReadProblem;
use crate::model::Timestamp;
use crate::run::{Cancel, RunContext};

/// Remarks on what could not be judged that one run keeps.
const NOTES_MAX: usize = 50;
/// Ancestors of one delta that are looked through.
const ANCESTORS_MAX: usize = 1000;

/// What a part turned out to hold.
enum Walked {
    Tar(Box<PartSeen>),
    Dump(Result<Dump, DumpError>),
}

/// A part that an earlier run proved, which was interrupted before the backup was read whole.
struct Kept {
    seen: PartSeen,
    bytes: u64,
    proven: PartProven,
}

impl Kept {
    fn of(part: &Part, known: &PartProven, expectation: &Expectation) -> Option<Self> {
        let seen = known.kept.seen(&part.name, expectation)?;
        Some(Kept { seen, bytes: part.object.size, proven: known.clone() })
    }
}

/// What reading backups needs.
pub(super) struct Backups<'a> {
    pub source: &'a Source,
    pub archive: &'a Archive,
    pub ctx: &'a RunContext,
    pub decoders: Decoders,
    /// Parts at a time.
    pub at_once: usize,
    /// Set when nothing more is to be asked of the store.
    pub stop: Cancel,
}

impl Backups<'_> {
    /// Reads one backup, or takes over what is known of it. Gives what the ledger remembers.
    pub async fn one(&self, item: BackupItem, judge: &mut Judge, out: &mut ContentEvidence) -> Option<BackupProven> {
        let backup = &self.archive.backups[item.at];
        let place = (backup.name.clone(), backup.storage);
        let parts_total = backup.parts.len() as u64;
        if !item.read {
            let proof = item.known?.proof(backup);
            if proof.parts > 0 {
                out.backups.insert(place, proof);
            }
            return None;
        }
        let defects_before = out.backup_defects.len();
        let damages_before = out.damages.len() as u64 + out.damages_left_out;
        let expectation = Arc::new(self.expectation(backup, judge, out).await);
        // What an interrupted run has read of it already.
        let kept: Vec<Kept> =
            item.parts(backup).filter_map(|(part, known)| Kept::of(part, known?, &expectation)).collect();
        let (mut seen, mut proof, mut fresh) = self.parts(backup, &expectation, &kept, judge, out).await;
        for kept in kept {
            proof.parts += 1;
            proof.bytes += kept.bytes;
            proof.oldest = [proof.oldest, Some(kept.proven.at)].into_iter().flatten().min();
            seen.push(kept.seen);
            fresh.push(kept.proven);
        }
        proof.parts_total = parts_total;
        let mut damaged = out.damages.len() as u64 + out.damages_left_out > damages_before;
        let whole = proof.parts == parts_total && !damaged;
        if self.archive.layout == LayoutKind::Files {
            // `parts` has judged the dump itself.
            damaged |= out.backup_defects.len() > defects_before;
            proof.intact = Some(self.ctx.as_of).filter(|_| whole && !damaged);
            proof.valid = proof.intact.and(proof.valid);
        } else if !seen.is_empty() {
            let chain = self.chain(backup, &expectation).await;
            let conclusion = conclude(backup, &expectation, &seen, chain.as_ref());
            let structural = |kind| matches!(kind, BackupDefectKind::TarDamaged | BackupDefectKind::FileMissing);
            let intact = whole && conclusion.complete && !conclusion.defects.iter().any(|d| structural(d.kind));
            proof.intact = proof.oldest.filter(|_| intact);
            proof.valid = proof.intact.filter(|_| !conclusion.is_damaged());
            damaged |= conclusion.is_damaged();
            // Where a part could not be read, what it should hold is not missing.
            for why in &conclusion.not_checked {
                if out.notes.len() < NOTES_MAX {
                    out.notes.push(format!("{}: not checked: {why}", backup.name));
                }
            }
            out.manifests += u64::from(conclusion.manifest_compared);
            out.backup_defects.extend(conclusion.defects);
        }
        let (intact, valid) = (proof.intact.is_some(), proof.valid.is_some());
        // The next run goes on with the rest.
        let parts = if (seen.len() as u64) < parts_total { fresh } else { Vec::new() };
        let proven_at = proof.intact.unwrap_or(self.ctx.as_of);
        out.backups.insert(place, proof);
        (intact || damaged || !parts.is_empty()).then(|| BackupProven {
            name: backup.name.clone(),
            id: IdText(item.id),
            at: proven_at,
            intact,
            valid,
            damaged,
            parts,
        })
    }

    /// What the backup's own lists promise. A list that cannot be read is a note: the audit tells of it.
    async fn expectation(&self, backup: &BaseBackup, judge: &mut Judge, out: &mut ContentEvidence) -> Expectation {
        let mut expectation = Expectation::new(backup);
        let Some(object) = backup.files_metadata.object() else { return expectation };
        match self.files(object, expectation.clone()).await {
            Ok(Ok(read)) => expectation = read,
            Ok(Err(why)) if out.notes.len() < NOTES_MAX => {
                out.notes.push(format!("{}: its list of files {why}: members are not compared with it", backup.name));
            }
            Ok(Err(_)) => {}
            Err(problem) => judge.not_read(&problem, &object.key, object.size, out),
        }
        expectation
    }

    async fn files(&self, object: &ObjectRef, into: Expectation) -> Result<Result<Expectation, String>, Problem> {
        let mut stored = self.source.get_object(object, &self.ctx.cancel).await?;
        let place = self.decoders.place().await;
        let read = self.decoders.run(place, move || {
            let mut expectation = into;
            match expectation.read_files(&mut stored.reader) {
                Ok(()) => Ok(Ok(expectation)),
                Err(ReadProblem::Content(why)) => Ok(Err(why)),
                Err(ReadProblem::Io(error)) => Err(Problem::of_io(&error)),
            }
        });
        read.await?
    }

    async fn parts(
        &self,
        backup: &BaseBackup,
        expectation: &Arc<Expectation>,
        kept: &[Kept],
        judge: &mut Judge,
        out: &mut ContentEvidence,
    ) -> (Vec<PartSeen>, BackupProof, Vec<PartProven>) {
        let is_tar = self.archive.layout != LayoutKind::Files;
        let known: HashSet<&str> = kept.iter().map(|kept| kept.proven.name.as_str()).collect();
        let left = backup.parts.iter().filter(|part| !known.contains(part.name.as_str()));
        let reads = left.map(|part| async move {
            if self.ctx.cancel.is_set() || self.stop.is_set() {
                return (part, Err(Problem::Stopped));
            }
            (part, self.part(part, expectation.clone(), is_tar).await)
        });
        let reads: Vec<_> = reads.collect();
        let mut reads = futures::stream::iter(reads).buffered(self.at_once.max(1));
        let (mut walked, mut proof, mut fresh) = (Vec::new(), BackupProof::default(), Vec::new());
        while let Some((part, read)) = reads.next().await {
            let of = |kind, message: String| Damage {
                backup: Some(backup.name.clone()),
                ..Damage::new(kind, &part.object.key, part.object.storage, message)
            };
            let (seen, content) = match read {
                Ok(read) => read,
                Err(problem) => {
                    judge.not_read(&problem, &part.object.key, part.object.size, out);
                    continue;
                }
            };
            out.totals.backup_bytes += seen.bytes;
            let mut broken: Vec<Damage> = judge.store_sum(&seen, &of, out).into_iter().collect();
            match judge.object(seen, &of, part.object.size, out) {
                Object::Whole => {}
                Object::Damaged(damages) => broken.extend(damages),
                Object::Unread => continue,
            }
            let content = match content {
                Some(Walked::Tar(seen)) => Some(*seen),
                Some(Walked::Dump(dump)) => {
                    if broken.is_empty() {
                        proof.valid = self.dump(backup, part, dump, out);
                    }
                    None
                }
                None => None,
            };
            out.totals.backup_files += 1;
            if broken.is_empty() {
                proof.parts += 1;
                proof.bytes += part.object.size;
                proof.oldest = Some(self.ctx.as_of);
                let kept = content.as_ref().and_then(|seen: &PartSeen| seen.keep(expectation));
                let name = part.name.clone();
                fresh.extend(kept.map(|kept| PartProven { name, at: self.ctx.as_of, kept }));
            }
            broken.into_iter().for_each(|damage| out.damage(damage));
            walked.extend(content);
        }
        (walked, proof, fresh)
    }

    async fn part(
        &self,
        part: &Part,
        expectation: Arc<Expectation>,
        is_tar: bool,
    ) -> Result<(Seen, Option<Walked>), Problem> {
        let place = self.decoders.place().await;
        let object = &part.object;
        let stored = self.source.get(object.storage, &object.key, self.source.whole(), &self.ctx.cancel).await?;
        let (source, name, codec) = (self.source.clone(), part.name.clone(), part.codec);
        let (progress, cancel) = (self.ctx.progress.clone(), self.ctx.cancel.clone());
        let done = self.decoders.run(place, move || {
            let mut walked = None;
            let mut take = |reader: &mut dyn Read| -> io::Result<()> {
                walked = Some(match is_tar {
                    true => Walked::Tar(Box::new(check_part(&name, reader, &expectation, &cancel)?)),
                    false => match dump::check(reader) {
                        Err(DumpError::Read(error)) => return Err(error),
                        checked => Walked::Dump(checked),
                    },
                });
                // What follows a tar, or the damage in a dump, has to decode as well.
                io::copy(reader, &mut io::sink()).map(drop)
            };
            let seen = object::read(&source, stored, codec, &Limits::default(), &progress, &mut take);
            (seen, walked)
        });
        done.await
    }

    /// What reading a dump says: valid if it is one and whole. Something else than a dump is no defect: nobody promised
    /// more than files.
    fn dump(
        &self,
        backup: &BaseBackup,
        part: &Part,
        checked: Result<Dump, DumpError>,
        out: &mut ContentEvidence,
    ) -> Option<Timestamp> {
        match checked {
            Ok(_) => return Some(self.ctx.as_of),
            Err(error @ DumpError::Damaged { .. }) => out.backup_defects.push(BackupDefect {
                kind: BackupDefectKind::TarDamaged,
                backup: backup.name.clone(),
                storage: part.object.storage,
                key: Some(part.object.key.clone()),
                message: error.to_string(),
                members: Vec::new(),
                files: 0,
                count: 1,
                expected: None,
                found: None,
            }),
            Err(other) if out.notes.len() < NOTES_MAX => {
                out.notes.push(format!("{}: its content was not judged: {other}", backup.name));
            }
            Err(_) => {}
        }
        None
    }

    /// Looks for the files that a delta left out in its ancestors.
    async fn chain(&self, backup: &BaseBackup, expectation: &Expectation) -> Option<ChainSeen> {
        backup.kind.parent()?;
        let mut check = ChainCheck::new(expectation);
        let mut child = backup;
        for _ in 0..ANCESTORS_MAX {
            if check.is_done() {
                break;
            }
            let Some(name) = child.kind.parent() else { break };
            let same = |other: &&BaseBackup| other.name == name && other.storage == backup.storage;
            let Some(ancestor) = self.archive.backups.iter().find(same) else {
                check.stop(&format!("{name} is not in the archive"));
                break;
            };
            let mut listed = Expectation::new(ancestor);
            if let Some(object) = ancestor.files_metadata.object() {
                match self.files(object, listed.clone()).await {
                    Ok(Ok(read)) => listed = read,
                    Ok(Err(why)) => check.stop(&format!("the list of files of {name} {why}")),
                    Err(problem) => check.stop(&format!("the list of files of {name}: {problem}")),
                }
            }
            check.step(name, &listed);
            child = ancestor;
        }
        Some(check.finish())
    }
}
