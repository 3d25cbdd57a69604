//! From what decoder and stitcher found to damage that rules tell of.

use std::collections::BTreeMap;

use crate::catalog::Archive;
use crate::catalog::evidence::{Damage, DamageKind};
use crate::model::{Lsn, TimelineId};
use crate::verify::plan::SegmentItem;
use crate::wal::{Defect, DefectKind, SegmentSummary, StitchDefect, StitchKind};

/// A damage of a segment's object, to be refined.
pub(in crate::verify) fn of(item: &SegmentItem, kind: DamageKind, message: String) -> Damage {
    Damage { segment: Some(item.name), harmless: item.partial, ..Damage::new(kind, &item.key, item.storage, message) }
}

fn kind(archive: &Archive, item: &SegmentItem, defect: &Defect) -> DamageKind {
    match defect.kind {
        DefectKind::PageTimeline if is_of_history(archive, item, defect.found) => DamageKind::History,
        DefectKind::PageMagic
        | DefectKind::PageAddress
        | DefectKind::PageTimeline
        | DefectKind::PageFlags
        | DefectKind::PagePadding
        | DefectKind::RemainingLength
        | DefectKind::BlockSize => DamageKind::Page,
        DefectKind::ShortSegment | DefectKind::LongSegment => DamageKind::Length,
        DefectKind::SystemId | DefectKind::SegmentSize => DamageKind::Foreign,
        _ => DamageKind::Record,
    }
}

/// Whether a timeline is one that the file's history names: then history and pages disagree about where, not the page
/// about whose it is.
fn is_of_history(archive: &Archive, item: &SegmentItem, found: u64) -> bool {
    let own = item.name.timeline;
    let Some(history) = archive.timelines.history(own) else { return false };
    let found = u32::try_from(found).ok().and_then(TimelineId::new);
    found.is_some_and(|found| found == own || history.entries.iter().any(|entry| entry.parent == found))
}

/// One damage for each kind of defect in a segment. Defects at places that recovery never reads count only where nothing
/// else is wrong.
pub(super) fn in_segment(archive: &Archive, item: &SegmentItem, summary: &SegmentSummary) -> Vec<Damage> {
    let mut kinds: BTreeMap<DamageKind, (&Defect, u64)> = BTreeMap::new();
    for defect in &summary.defects {
        kinds.entry(kind(archive, item, defect)).or_insert((defect, 0)).1 += 1;
    }
    if kinds.contains_key(&DamageKind::Length) && kinds.len() > 1 {
        // That data ends early is the same fact.
        kinds.retain(|kind, (first, _)| *kind != DamageKind::Record || first.kind != DefectKind::EndOfData);
    }
    let harmless = !summary.is_damaged();
    let left_out = summary.defects.count().saturating_sub(summary.defects.iter().count() as u64);
    let mut damages: Vec<Damage> = Vec::new();
    for (at, (kind, (first, count))) in kinds.into_iter().enumerate() {
        let mut damage = of(item, kind, first.to_string());
        damage.lsn = Some(first.lsn);
        damage.offset = Some(first.offset);
        // Which kind the uncounted ones have is not known; they follow from the first.
        damage.count = count + if at == 0 { left_out } else { 0 };
        damage.harmless |= harmless;
        if matches!(first.kind, DefectKind::SystemId | DefectKind::SegmentSize) {
            damage.count = 1;
        }
        (damage.expected, damage.found) = (Some(first.expected.to_string()), Some(first.found.to_string()));
        damages.push(damage);
    }
    damages
}

/// What is wrong between two segments, told of the right one.
pub(super) fn between(item: &SegmentItem, left: &SegmentItem, defect: &StitchDefect) -> Damage {
    let kind = match defect.kind {
        StitchKind::SystemId | StitchKind::Sizes => DamageKind::Foreign,
        StitchKind::Magic => DamageKind::Page,
        StitchKind::RecordCrc => DamageKind::Record,
        _ => DamageKind::Chain,
    };
    let mut damage = of(item, kind, defect.to_string());
    damage.lsn = Some(defect.lsn);
    damage.other = Some(left.key.clone());
    damage.harmless = false;
    (damage.expected, damage.found) = match defect.kind {
        StitchKind::PrevLink | StitchKind::Overwrite => {
            (Some(Lsn(defect.expected).to_string()), Some(Lsn(defect.found).to_string()))
        }
        _ => (Some(defect.expected.to_string()), Some(defect.found.to_string())),
    };
    damage
}
