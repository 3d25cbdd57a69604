use std::collections::HashSet;

use super::chain::ChainSeen;
use super::expect::Expectation;
use super::manifest::Fingerprints;
use super::part::{Few, PartSeen};
use super::{BackupDefect, BackupDefectKind as Kind, MemberDefect};
use crate::catalog::{BaseBackup, Producer};
use crate::model::ObjectKey;
use crate::page::{PAGE_BYTES, relation_file};
use crate::wal::ControlFile;

mod control;
mod sizes;

/// The verdict on a backup's content.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// Everything that is wrong: at most a few for each part.
    pub defects: Vec<BackupDefect>,
    /// What could not be judged, and why.
    pub not_checked: Vec<String>,
    /// Every part was walked to its end in this run.
    pub complete: bool,
    /// The list of files was compared with the members, and the sizes add up.
    pub members_known: bool,
    /// Files were compared with the backup's own manifest.
    pub manifest_compared: bool,
    /// Members walked, and bytes of their bodies.
    pub members: u64,
    /// Bytes of the members.
    pub bytes: u64,
    /// Data pages looked at.
    pub pages: u64,
    /// Of these, changed while the backup ran: replay repairs them.
    pub pages_newer: u64,
    /// Increments looked at.
    pub increments: u64,
    /// Whether the cluster has data checksums; `None` where nothing told.
    pub checksums: Option<bool>,
}

impl Conclusion {
    /// Whether something makes the backup unfit for a restore.
    pub fn is_damaged(&self) -> bool {
        self.defects.iter().any(|defect| defect.kind.is_fatal())
    }
}

/// Puts the parts of a backup together. `parts` may be some of them only: what needs all is then not judged. `chain`
/// is what the ancestors of a delta showed.
pub fn conclude(
    backup: &BaseBackup,
    expectation: &Expectation,
    parts: &[PartSeen],
    chain: Option<&ChainSeen>,
) -> Conclusion {
    let read: HashSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let complete = backup.missing_parts.is_empty()
        && !backup.parts.is_empty()
        && backup.parts.iter().all(|part| read.contains(part.name.as_str()));
    // wal-g's own walk gives names with a leading slash, a server's stream does not.
    let is_data = |part: &&PartSeen| !is_apart(&part.name);
    let streamed = backup.producer == Producer::WalG
        && parts.iter().filter(is_data).any(|part| part.members > 0)
        && parts.iter().filter(is_data).all(|part| !part.rooted);
    let mut judge = Judge { backup, expectation, parts, complete, streamed, out: Conclusion::default() };
    judge.totals();
    judge.tars();
    judge.pages();
    judge.small_files();
    judge.members();
    judge.chain(chain);
    control::judge(&mut judge);
    sizes::judge(&mut judge);
    judge.manifest();
    judge.out.complete = complete && judge.parts.iter().all(|part| !judge.is_cut(part));
    judge.out.members_known = judge.out.complete && expectation.files.is_some();
    judge.out
}

/// The two tars that hold single files.
fn is_apart(name: &str) -> bool {
    name.starts_with("pg_control.tar") || name.starts_with("backup_label.tar")
}

struct Judge<'a> {
    backup: &'a BaseBackup,
    expectation: &'a Expectation,
    parts: &'a [PartSeen],
    /// Every part of the backup is among `parts`.
    complete: bool,
    /// A server streamed it (`wal-g backup-push` without a data directory).
    streamed: bool,
    out: Conclusion,
}

impl<'a> Judge<'a> {
    fn defect(
        &mut self,
        kind: Kind,
        part: Option<&str>,
        few: &Few,
        message: impl FnOnce(&MemberDefect, u64) -> String,
    ) {
        let Some(first) = few.kept.first() else { return };
        let members: Vec<MemberDefect> = few.kept.iter().take(BackupDefect::MEMBERS_MAX).cloned().collect();
        let message = message(first, few.files);
        let mut defect = self.new_defect(kind, part, message);
        (defect.members, defect.files, defect.count) = (members, few.files, few.count);
        self.out.defects.push(defect);
    }

    fn new_defect(&self, kind: Kind, part: Option<&str>, message: String) -> BackupDefect {
        BackupDefect {
            kind,
            backup: self.backup.name.clone(),
            storage: self.backup.storage,
            key: part.and_then(|name| self.key(name)),
            message,
            members: Vec::new(),
            files: 1,
            count: 1,
            expected: None,
            found: None,
        }
    }

    fn simple(&mut self, kind: Kind, part: Option<&str>, message: impl Into<String>) {
        let defect = self.new_defect(kind, part, message.into());
        self.out.defects.push(defect);
    }

    fn contradiction(
        &mut self,
        kind: Kind,
        part: Option<&str>,
        message: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) {
        let mut defect = self.new_defect(kind, part, message.into());
        (defect.expected, defect.found) = (Some(expected.to_string()), Some(found.to_string()));
        self.out.defects.push(defect);
    }

    fn key(&self, part: &str) -> Option<ObjectKey> {
        self.backup.parts.iter().find(|known| known.name == part).map(|known| known.object.key.clone())
    }

    /// Whether a part's members end before they should. Parts of a streamed backup may lack their end mark: then sizes
    /// and codec tell.
    fn is_cut(&self, part: &PartSeen) -> bool {
        part.tar.is_some() && !(self.streamed && part.lacks_only_end_mark())
    }

    fn totals(&mut self) {
        for part in self.parts {
            self.out.members += part.members;
            self.out.bytes = self.out.bytes.saturating_add(part.member_bytes);
            self.out.pages += part.pages;
            self.out.pages_newer += part.pages_newer;
            self.out.increments += part.increments;
        }
        self.out.checksums = match self.control() {
            Some((_, control)) => Some(control.has_checksums()),
            // Some 65535th of all pages matches by accident.
            None => {
                let (good, bad) = self
                    .parts
                    .iter()
                    .fold((0, 0), |(good, bad), part| (good + part.pages_good, bad + part.bad_pages.count));
                (good + bad > 0).then_some(good > bad / 1000)
            }
        };
    }

    /// The control file that a restore would take, with its part.
    fn control(&self) -> Option<(&'a str, &'a ControlFile)> {
        let whole = |part: &'a PartSeen| Some((part.name.as_str(), &**part.control.as_ref()?.as_ref().ok()?));
        let apart = self.parts.iter().filter(|part| is_apart(&part.name)).find_map(whole);
        apart.or_else(|| self.parts.iter().find_map(whole))
    }

    fn tars(&mut self) {
        for part in self.parts {
            if let Some(problem) = part.tar.as_ref().filter(|_| self.is_cut(part)) {
                let message = format!("is no whole tar: {problem}");
                self.simple(Kind::TarDamaged, Some(&part.name), message);
            }
            let name = part.name.as_str();
            self.defect(Kind::TarDamaged, Some(name), &part.bad_names, |first, files| {
                several(files, &format!("member {} {}", first.path, first.message))
            });
            self.defect(Kind::FileUnexpected, Some(name), &part.twice, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
        }
    }

    fn pages(&mut self) {
        // Pages of another size, or files that begin at other numbers, were judged by the wrong measure.
        if let Some((_, control)) = self.control() {
            let form = (control.block_bytes as usize, control.relation_file_blocks);
            if form != (PAGE_BYTES, self.expectation.file_blocks()) {
                let why = format!("data pages: they have {} bytes, {} to a file", form.0, form.1);
                self.out.not_checked.push(why);
                return;
            }
        }
        let parts = self.parts;
        let lists: Vec<&Few> = match self.out.checksums {
            Some(false) => {
                self.out.not_checked.push("checksums of data pages: the cluster has none".to_owned());
                parts.iter().map(|part| &part.unlikely_pages).collect()
            }
            _ => parts.iter().map(|part| &part.bad_pages).collect(),
        };
        for (part, few) in parts.iter().zip(lists) {
            let few = self.without_unlogged(few);
            self.defect(Kind::PageChecksum, Some(&part.name), &few, |first, files| match files {
                1 => format!("{} {}", first.path, first.message),
                _ => format!("{files} files have damaged pages, first {}, which {}", first.path, first.message),
            });
            self.defect(Kind::IncrementMalformed, Some(&part.name), &part.bad_increments, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
        }
        self.recorded();
    }

    /// Pages of unlogged relations may be torn: they are thrown away at the first start.
    fn without_unlogged(&self, few: &Few) -> Few {
        let is_unlogged = |defect: &MemberDefect| {
            let path = defect.path.as_bytes();
            let (folder, name) =
                path.iter().rposition(|byte| *byte == b'/').map_or((&b""[..], path), |at| path.split_at(at + 1));
            let Some(file) = relation_file(path, self.expectation.file_blocks()) else { return false };
            if name.windows(5).any(|part| part == b"_init") {
                return false;
            }
            let relation = [folder, file.filenode.to_string().as_bytes()].concat();
            let listed = self.expectation.find(&[&relation[..], b"_init"].concat()).is_some();
            listed || self.parts.iter().any(|part| part.unlogged.contains(&relation))
        };
        let mut left = Few::default();
        let mut gone = 0;
        for defect in &few.kept {
            if is_unlogged(defect) {
                gone += defect.count;
            } else {
                left.kept.push(defect.clone());
            }
        }
        left.files = few.files - (few.kept.len() - left.kept.len()) as u64;
        left.count = few.count - gone;
        left
    }

    /// Damage that the producer saw itself. Where the parts were read, what was found there counts: pages that changed
    /// meanwhile are not damaged.
    fn recorded(&mut self) {
        let Some(files) = &self.expectation.files else { return };
        let (recorded, count) = files.recorded();
        let mut few = Few::default();
        for file in recorded {
            let row = files.find(&file.path);
            let was_read = row.is_some_and(|row| {
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                self.parts.iter().any(|part| part.rows.binary_search(&row).is_ok())
            });
            if !was_read {
                few.add(MemberDefect {
                    path: ObjectKey::new(file.path.as_slice()),
                    message: format!("had {} damaged pages when the backup was made", file.count),
                    blocks: file.blocks.clone(),
                    count: file.count,
                });
            }
        }
        if few.files == recorded.len() as u64 {
            few.files = count.max(few.files);
        }
        self.defect(Kind::PageRecorded, None, &few, |first, files| {
            several(files, &format!("{} {}, by the tool's own record", first.path, first.message))
        });
    }

    fn small_files(&mut self) {
        let expected = self.backup.pg_major();
        for part in self.parts {
            self.defect(Kind::PageChecksum, Some(&part.name), &part.bad_files, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
            self.defect(Kind::ControlInvalid, Some(&part.name), &part.bad_versions, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
            if let (Some(expected), Some(found)) = (expected, part.major)
                && expected != found
            {
                let message = format!("PG_VERSION names version {found}, the sentinel {expected}");
                self.contradiction(Kind::ControlInvalid, Some(&part.name), message, expected, found);
            }
        }
    }

    /// The list of files against the members.
    fn members(&mut self) {
        let Some(files) = &self.expectation.files else {
            if self.complete && self.backup.producer == Producer::WalG {
                self.out.not_checked.push("whether every file is there: the backup has no list of files".to_owned());
            }
            return;
        };
        for part in self.parts {
            self.defect(Kind::FileUnexpected, Some(&part.name), &part.unexpected, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
        }
        if self.expectation.has_sets() {
            let mut missing: Vec<Few> = vec![Few::default(); self.parts.len()];
            let mut nowhere = Few::default();
            let part_of: Vec<Option<usize>> = files
                .parts()
                .iter()
                .map(|name| self.parts.iter().position(|part| part.name == *name && !self.is_cut(part)))
                .collect();
            for (file, row) in files.iter().zip(0u32..) {
                if !file.is_required() {
                    continue;
                }
                match file.part {
                    None => nowhere.note(file.path, "is in the list, but in no part"),
                    Some(part) => {
                        if let Some(Some(seen)) = part_of.get(part)
                            && self.parts[*seen].rows.binary_search(&row).is_err()
                        {
                            missing[*seen].note(file.path, "is not in the part that the list names");
                        }
                    }
                }
            }
            for (part, few) in self.parts.iter().zip(&missing) {
                self.defect(Kind::FileMissing, Some(&part.name), few, |first, files| {
                    several(files, &format!("{} {}", first.path, first.message))
                });
            }
            self.defect(Kind::FileMissing, None, &nowhere, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
        } else if self.complete && !self.parts.iter().any(|part| self.is_cut(part)) {
            let mut met = vec![false; files.len()];
            self.parts.iter().flat_map(|part| &part.rows).for_each(|row| {
                if let Some(met) = met.get_mut(*row as usize) {
                    *met = true;
                }
            });
            let mut missing = Few::default();
            for (file, _) in files.iter().zip(met).filter(|(file, met)| file.is_required() && !met) {
                missing.note(file.path, "is in the list, but in no part");
            }
            self.defect(Kind::FileMissing, None, &missing, |first, files| {
                several(files, &format!("{} {}", first.path, first.message))
            });
        }
    }

    fn chain(&mut self, chain: Option<&ChainSeen>) {
        if !self.expectation.is_delta {
            return;
        }
        match chain {
            None => self.out.not_checked.push("files that come from ancestors: these were not looked at".to_owned()),
            Some(chain) => {
                self.out.not_checked.extend(chain.not_checked.clone());
                let wanted = chain.wanted;
                self.defect(Kind::FileMissing, None, &chain.missing, |first, files| {
                    let of = format!(" ({files} of {wanted} files that come from ancestors)");
                    format!("{} {}{}", first.path, first.message, if files > 1 { of } else { String::new() })
                });
            }
        }
    }

    fn manifest(&mut self) {
        let Some((name, manifest)) =
            self.parts.iter().find_map(|part| Some((part.name.as_str(), part.manifest.as_deref()?)))
        else {
            return;
        };
        let start = self.backup.start_lsn.copied();
        if !start.is_some_and(|start| manifest.belongs_to(start)) {
            let why = match &manifest.summary {
                Ok(_) => "it belongs to another backup".to_owned(),
                Err(problem) => format!("it {problem}"),
            };
            self.out.not_checked.push(format!("backup_manifest: {why}"));
            return;
        }
        if self.expectation.is_delta {
            self.out.not_checked.push("backup_manifest: the backup is a delta, its files are not whole".to_owned());
            return;
        }
        let members = Fingerprints::joined(self.parts.iter().map(|part| &part.fingerprints));
        let all = self.complete && !self.parts.iter().any(|part| self.is_cut(part));
        let compared = manifest.compare(&members, all);
        self.out.manifest_compared = true;
        self.out.not_checked.extend(compared.not_checked);
        if let Some(message) = compared.itself {
            self.simple(Kind::ManifestMismatch, Some(name), message);
        }
        let few = Few { kept: compared.differing, files: compared.count, count: compared.count };
        self.defect(Kind::ManifestMismatch, None, &few, |first, files| {
            several(files, &format!("{} {}", first.path, first.message))
        });
    }
}

/// The first of several files.
fn several(files: u64, first: &str) -> String {
    match files {
        1 => first.to_owned(),
        _ => format!("{files} files: first {first}"),
    }
}
