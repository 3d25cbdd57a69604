//! Sorts what reading objects showed, one after the other, and settles at the end what only all of them tell.

use std::collections::BTreeSet;

use super::ledger::Ledger;
use super::object::{Seen, StoreSum, Trust};
use super::plan::SegmentItem;
use super::wal::{self, Fold};
use crate::catalog::Archive;
use crate::catalog::evidence::{ContentEvidence, Damage, DamageKind, UnreadReason};
use crate::codec::{CodecErrorKind, EncryptionSeen};
use crate::fetch::{Fault, Problem};
use crate::model::{ObjectKey, SegmentNo, SegmentSize};
use crate::run::RunContext;
use crate::wal::SegmentSummary;

/// After so many failures of the store in a row nothing more is asked of it.
const FAILURES_MAX: u32 = 20;

/// One segment's object, read or not.
pub(super) type SegmentRead = (SegmentItem, Option<Result<(Seen, SegmentSummary), Problem>>);

/// Sorts what reading objects showed, and settles at the end what only all of them together can tell.
#[derive(Debug)]
pub(super) struct Judge {
    size: SegmentSize,
    /// Set when nothing more is to be asked of the store.
    pub(super) stop: crate::run::Cancel,
    failures_in_a_row: u32,
    failures: u64,
    first_failure: Option<String>,
    stopped: u64,
    /// Objects that a key opened.
    opened_with_key: u64,
    /// Objects that the keys at hand do not open.
    wrong_key: Vec<(Damage, u64)>,
    /// Objects that look encrypted although no key was given.
    noise: Vec<(Damage, u64)>,
    /// The furthest segment that needed no key.
    plain_upto: Option<SegmentNo>,
    /// Folders of tars that needed none; at most [`UNSETTLED_MAX`].
    plain_folders: BTreeSet<Vec<u8>>,
    /// ETags that may be MD5 sums.
    etags: Doubtful,
    /// Checksums of uploads in parts whose sizes are taken for the same.
    in_parts: Doubtful,
}

/// Checksums of a kind that means something in this archive only if some of them are right.
#[derive(Debug, Default)]
struct Doubtful {
    equal: u64,
    differ: Vec<Damage>,
}

/// Objects that are settled at the end; further ones are taken for what the first are.
const UNSETTLED_MAX: usize = 5000;

/// The folder of an object's key.
fn folder(key: &ObjectKey) -> &[u8] {
    let bytes = key.as_bytes();
    &bytes[..bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

impl Judge {
    /// What earlier runs learned of the archive's checksums still holds.
    pub(super) fn new(size: SegmentSize, ledger: &Ledger) -> Self {
        Judge {
            size,
            stop: crate::run::Cancel::default(),
            failures_in_a_row: 0,
            failures: 0,
            first_failure: None,
            stopped: 0,
            opened_with_key: 0,
            wrong_key: Vec::new(),
            noise: Vec::new(),
            plain_upto: None,
            plain_folders: BTreeSet::new(),
            etags: Doubtful { equal: u64::from(ledger.etags_are_sums), ..Doubtful::default() },
            in_parts: Doubtful { equal: u64::from(ledger.parts_are_even), ..Doubtful::default() },
        }
    }

    pub(super) fn segment(&mut self, (item, read): SegmentRead, fold: &mut Fold<'_>, out: &mut ContentEvidence) {
        let Some(read) = read else {
            return if item.known.is_some() { fold.known(item, out) } else { fold.unread(&item, out) };
        };
        let of = |kind, message: String| wal::damage_of(&item, kind, message);
        let (seen, summary) = match read {
            Ok(read) => read,
            Err(problem) => {
                self.not_read(&problem, &item.key, item.size, out);
                return fold.unread(&item, out);
            }
        };
        out.totals.wal_bytes += seen.bytes;
        let mut broken = Vec::new();
        if let Some(damage) = self.store_sum(&seen, &of, out) {
            broken.push(damage);
        }
        match self.object(seen, &of, item.size, out) {
            Object::Whole => {}
            Object::Damaged(damages) => broken.extend(damages),
            Object::Unread => return fold.unread(&item, out),
        }
        out.totals.wal_segments += 1;
        fold.read(item, summary, broken, out);
    }

    /// Whether ETags are MD5 sums here, and uploads in parts have parts of one size.
    pub(super) fn trusts(&self) -> (bool, bool) {
        (self.etags.equal > 0, self.in_parts.equal > 0)
    }

    fn doubtful(&mut self, trust: Trust) -> Option<&mut Doubtful> {
        match trust {
            Trust::Sure => None,
            Trust::Etag => Some(&mut self.etags),
            Trust::Parts => Some(&mut self.in_parts),
        }
    }

    /// What the store's own checksum says.
    pub(super) fn store_sum(
        &mut self,
        seen: &Seen,
        of: &dyn Fn(DamageKind, String) -> Damage,
        out: &mut ContentEvidence,
    ) -> Option<Damage> {
        match &seen.store {
            StoreSum::NotCompared => None,
            StoreSum::Equal(trust) => {
                out.totals.store_checksums += 1;
                if let Some(doubtful) = self.doubtful(*trust) {
                    doubtful.equal += 1;
                }
                None
            }
            StoreSum::Differs { kind, expected, found, trust } => {
                let of_parts = if *trust == Trust::Parts { " of its parts" } else { "" };
                let message = format!(
                    "the store holds the {kind} {expected}{of_parts}, the {} bytes read give {found}",
                    seen.bytes
                );
                let mut damage = of(DamageKind::StoreChecksum, message);
                (damage.expected, damage.found) = (Some(expected.clone()), Some(found.clone()));
                if let Some(doubtful) = self.doubtful(*trust) {
                    if doubtful.differ.len() < UNSETTLED_MAX {
                        doubtful.differ.push(damage);
                    }
                    return None;
                }
                out.totals.store_checksums += 1;
                Some(damage)
            }
        }
    }

    /// Why an object could not be read to its end, if so.
    pub(super) fn object(
        &mut self,
        seen: Seen,
        of: &dyn Fn(DamageKind, String) -> Damage,
        size: u64,
        out: &mut ContentEvidence,
    ) -> Object {
        let Some(problem) = seen.problem else {
            self.failures_in_a_row = 0;
            match seen.encryption {
                None | Some(EncryptionSeen::None) => self.opened_plain(&of(DamageKind::Codec, String::new())),
                Some(_) => self.opened_with_key += 1,
            }
            return Object::Whole;
        };
        match problem {
            Problem::Damaged(error) => {
                self.failures_in_a_row = 0;
                self.opened_with_key += u64::from(!matches!(seen.encryption, None | Some(EncryptionSeen::None)));
                let at = |mut damage: Damage| {
                    damage.offset = Some(error.at_input_byte);
                    damage
                };
                let codec = at(of(DamageKind::Codec, error.to_string()));
                match error.kind {
                    CodecErrorKind::Decrypt | CodecErrorKind::NoFinalTag => {
                        // It neither authenticates nor, for that, decodes to its end.
                        let decrypt = at(of(DamageKind::Decrypt, error.to_string()));
                        Object::Damaged(vec![decrypt, codec])
                    }
                    _ => Object::Damaged(vec![codec]),
                }
            }
            Problem::TooLarge(error) if matches!(error.kind, CodecErrorKind::TooLarge(_)) => {
                Object::Damaged(vec![of(DamageKind::Length, error.to_string())])
            }
            Problem::Noise(error) if self.noise.len() < UNSETTLED_MAX => {
                self.noise.push((of(DamageKind::Codec, error.to_string()), size));
                Object::Unread
            }
            Problem::WrongKey(error) => {
                let mut damage = of(DamageKind::Decrypt, error.to_string());
                damage.offset = Some(error.at_input_byte);
                if self.wrong_key.len() < UNSETTLED_MAX {
                    self.wrong_key.push((damage, size));
                } else {
                    out.damages_left_out += 1;
                }
                Object::Unread
            }
            other => {
                let damage = of(DamageKind::Codec, String::new());
                self.not_read(&other, &damage.key, size, out);
                Object::Unread
            }
        }
    }

    pub(super) fn not_read(&mut self, problem: &Problem, key: &ObjectKey, size: u64, out: &mut ContentEvidence) {
        let reason = match problem.fault() {
            Fault::Gone => UnreadReason::Gone,
            Fault::KeyMissing => UnreadReason::KeyMissing,
            Fault::Refused | Fault::TooLarge => UnreadReason::Refused,
            Fault::Stopped => UnreadReason::Stopped,
            // Damage and wrong keys are settled by whoever has seen the other objects.
            Fault::Failed | Fault::Damaged | Fault::WrongKey => UnreadReason::Store,
        };
        match reason {
            UnreadReason::Store => {
                self.failures += 1;
                self.failures_in_a_row += 1;
                self.first_failure.get_or_insert_with(|| format!("{key}: {problem}"));
                if self.failures_in_a_row >= FAILURES_MAX {
                    self.stop.set();
                }
            }
            UnreadReason::Stopped => self.stopped += 1,
            _ => self.failures_in_a_row = 0,
        }
        let why = match problem {
            Problem::Gone => "they vanished after they were listed".to_owned(),
            Problem::Stopped => "the run was stopped before".to_owned(),
            // Positions differ from object to object.
            Problem::KeyMissing(why) | Problem::Refused(why) => {
                why.split(" (at byte ").next().unwrap_or(why).replace(&key.to_string(), "the object")
            }
            Problem::TooLarge(error) => error.message.clone(),
            other => other.to_string().replace(&key.to_string(), "the object"),
        };
        out.not_read(reason, &why, key, size);
    }

    fn opened_plain(&mut self, object: &Damage) {
        match object.segment {
            Some(segment) => self.plain_upto = self.plain_upto.max(segment.number(self.size)),
            None if self.plain_folders.len() < UNSETTLED_MAX => {
                self.plain_folders.insert(folder(&object.key).to_vec());
            }
            None => {}
        }
    }

    /// What only all objects together tell: whether the key at hand is the archive's, and what its ETags are. Gives the
    /// objects that seemed to hold and are not what the store once took.
    pub(super) fn settle(&mut self, archive: &Archive, out: &mut ContentEvidence) -> Vec<Damage> {
        let size = archive.segment_size;
        let lost = |damage: &Damage, out: &mut ContentEvidence| {
            if let Some(segment) = damage.segment.filter(|_| !damage.harmless)
                && let Some(number) = segment.number(size)
            {
                out.wal.entry(segment.timeline).or_default().disprove(number);
            }
        };
        let read_before = archive.first_pages.iter().filter(|(_, page)| page.is_known());
        let plain_upto = read_before.filter_map(|(name, _)| name.number(size)).max().max(self.plain_upto);
        for (damage, bytes) in std::mem::take(&mut self.noise) {
            // Encryption is turned on for all that comes, and for a whole backup: noise before or beside what needs no
            // key was overwritten.
            let overwritten = match damage.segment {
                Some(segment) => segment.number(size) < plain_upto,
                None => self.plain_folders.contains(folder(&damage.key)),
            };
            if overwritten {
                lost(&damage, out);
                out.damage(damage);
            } else {
                out.not_read(UnreadReason::KeyMissing, &damage.message, &damage.key, bytes);
            }
        }
        for (damage, bytes) in std::mem::take(&mut self.wrong_key) {
            if self.opened_with_key == 0 {
                let why = "no key that was given opens any object of the archive";
                out.not_read(UnreadReason::KeyMissing, why, &damage.key, bytes);
                continue;
            }
            lost(&damage, out);
            let codec = Damage { kind: DamageKind::Codec, ..damage.clone() };
            out.damage(damage);
            out.damage(codec);
        }
        let mut disproven = Vec::new();
        for doubtful in [&mut self.etags, &mut self.in_parts] {
            let differ = std::mem::take(&mut doubtful.differ);
            if doubtful.equal > 0 {
                out.totals.store_checksums += differ.len() as u64;
                disproven.extend(differ);
            }
        }
        disproven.iter().for_each(|damage| out.damage(damage.clone()));
        disproven
    }

    pub(super) fn error(&self, ctx: &RunContext) -> Option<String> {
        if let Some(first) = &self.first_failure {
            let rest = match self.failures {
                1 => String::new(),
                count => format!(" (and {} more objects)", count - 1),
            };
            let gave_up = if self.stop.is_set() { "; the rest was not tried" } else { "" };
            return Some(format!("reading content failed: {first}{rest}{gave_up}"));
        }
        (self.stopped > 0 || ctx.cancel.is_set())
            .then(|| format!("verification was stopped: {} objects were not read", self.stopped))
    }
}

/// What became of an object as such.
pub(super) enum Object {
    Whole,
    Damaged(Vec<Damage>),
    Unread,
}
