//! Joins segments that were decoded apart: the verdict on a run is a fold over their edges.

use std::fmt;

use super::event::Event;
use super::record::{CRC_AT, RECORD_HEADER_BYTES, Record, RecordHeader};
use super::summary::{
    CarryIn, CarryOutcome, EDGE_HEAD_BYTES_MAX, OpenRecord, SegmentEdges, SegmentEnd, SegmentSummary,
};
use crate::model::{Lsn, PgMajor, SegmentName};

/// What can be wrong between segments. `expected` and `found` of a [`StitchDefect`] hold the two values named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StitchKind {
    /// The right segment was written by another cluster: both system identifiers.
    SystemId,
    /// By another major version: both page magics.
    Magic,
    /// With another segment or page size: both in bytes.
    Sizes,
    /// Timelines go back: the last one on the left, the first one on the right.
    Timeline,
    /// The record at the boundary: bytes that the left leaves open, bytes that the right continues.
    Continuation,
    /// The record that spans the boundary: CRC computed, CRC stored.
    RecordCrc,
    /// The first record on the right does not follow the last one on the left: its position, the one named.
    PrevLink,
    /// The right replaces a cut-off record: the one that the left leaves open (0: none), the one named.
    Overwrite,
    /// The right stops behind a record that is no switch: bytes that should follow, 0.
    EndOfData,
    /// Parent's and child's copy of the switch segment differ before the switch point: the stretch, as offsets from
    /// the start of the segment, in which they part.
    SwitchSegment,
}

impl StitchKind {
    /// Whether only what passes from the left segment to the right one meets it.
    pub fn is_of_boundary(self) -> bool {
        matches!(self, StitchKind::Continuation | StitchKind::RecordCrc | StitchKind::PrevLink | StitchKind::Overwrite)
    }
}

/// One thing wrong between two segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StitchDefect {
    /// What is wrong.
    pub kind: StitchKind,
    /// The segment before the boundary; for a record that spans several, the one it begins in. For a switch
    /// segment the parent's copy.
    pub left: SegmentName,
    /// The segment behind the boundary. For a switch segment the child's copy.
    pub right: SegmentName,
    /// Position of the record or of the boundary.
    pub lsn: Lsn,
    /// See [`StitchKind`].
    pub expected: u64,
    /// See [`StitchKind`].
    pub found: u64,
}

impl fmt::Display for StitchDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StitchDefect { kind, left, right, lsn, expected, found } = *self;
        match kind {
            StitchKind::SystemId => write!(f, "{right} was written by system {found}, {left} by {expected}"),
            StitchKind::Magic => write!(f, "{right} has page magic {found:#06X}, {left} has {expected:#06X}"),
            StitchKind::Sizes => write!(f, "{right} has sizes of {found} bytes where {left} has {expected}"),
            StitchKind::Timeline => write!(f, "{right} begins on timeline {found}, {left} ends on {expected}"),
            StitchKind::Continuation => {
                write!(f, "{right} continues a record with {found} bytes, {left} leaves {expected} of {lsn} open")
            }
            StitchKind::RecordCrc => {
                write!(f, "record at {lsn} from {left} into {right} has CRC {found:08X}, its bytes give {expected:08X}")
            }
            StitchKind::PrevLink => write!(
                f,
                "record at {lsn} in {right} follows {} by its own account, but {left} ends with {}",
                Lsn(found),
                Lsn(expected)
            ),
            StitchKind::Overwrite => {
                let (expected, found) = (Lsn(expected), Lsn(found));
                write!(f, "{right} replaces a cut-off record at {found}, {left} leaves one at {expected} open")
            }
            StitchKind::EndOfData => {
                write!(f, "data of {right} ends at {lsn}, {expected} bytes before the segment does, without a switch")
            }
            StitchKind::SwitchSegment => {
                write!(f, "{left} and {right} differ before the switch at {lsn}, at offset {expected} to {found}")
            }
        }
    }
}

/// A record that spans segments and whose CRC is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedRecord {
    /// Its position.
    pub lsn: Lsn,
    /// First position behind it.
    pub end: Lsn,
    /// Its header.
    pub header: RecordHeader,
    /// What it tells about time, if anything.
    pub event: Option<Event>,
}

/// What one more segment yields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stitched {
    /// What is wrong at the boundary before it.
    pub defects: Vec<StitchDefect>,
    /// The record that ends in it and began before it.
    pub joined: Option<JoinedRecord>,
    /// Whether the boundary was judged: not for the first of a run, nor where damage on either side hides it.
    pub judged: bool,
}

/// How the run so far ends.
#[derive(Debug, Clone)]
enum Joint {
    /// Nothing goes on.
    Boundary,
    /// A record goes on.
    Open { record: OpenRecord, from: SegmentName },
    /// Not known: damage, or the record began before the run.
    Unknown,
}

#[derive(Debug, Clone)]
struct Run {
    last: SegmentEdges,
    joint: Joint,
    /// The last record that begins in the run, where no damage hides it.
    last_record: Option<Lsn>,
}

/// Takes the edges of the segments of one path of recovery in ascending order and judges each boundary. At a
/// timeline switch the path goes from the parent's last segment before the switch to the child's first.
#[derive(Debug, Clone, Default)]
pub struct Stitcher {
    run: Option<Run>,
}

impl Stitcher {
    /// A stitcher at the beginning of a run.
    pub fn new() -> Self {
        Stitcher::default()
    }

    /// Forgets what came before: the next segment begins a run. Implied where a number is missing.
    pub fn reset(&mut self) {
        self.run = None;
    }

    /// Takes the next segment.
    pub fn push(&mut self, next: &SegmentEdges) -> Stitched {
        let mut out = Stitched::default();
        let run = self.run.take().filter(|run| run.last.number.next() == next.number);
        let (joint, last_record) = match &run {
            None => (joint_of(next, None, None), next.last_record),
            Some(run) => {
                identity(&run.last, next, &mut out.defects);
                boundary(run, next, &mut out)
            }
        };
        self.run = Some(Run { last: next.clone(), joint, last_record });
        out
    }
}

fn name(edges: &SegmentEdges) -> SegmentName {
    edges.number.name(edges.timeline, edges.size)
}

/// How the run goes on behind `next`. `carried` is what becomes of a record that fills all of it, `before` the record
/// before the first one that begins in it.
fn joint_of(next: &SegmentEdges, carried: Option<Joint>, before: Option<Lsn>) -> Joint {
    match &next.end {
        SegmentEnd::Clean | SegmentEnd::Switch { .. } | SegmentEnd::SwitchIfCarried { .. } => Joint::Boundary,
        SegmentEnd::Open(open) => {
            let mut record = open.clone();
            let is_first = next.first_record.is_some_and(|first| first.lsn == record.start);
            if record.before.is_none() && is_first {
                record.before = before;
            }
            Joint::Open { record, from: name(next) }
        }
        SegmentEnd::Continues => carried.unwrap_or(Joint::Unknown),
        SegmentEnd::EndOfData { .. } | SegmentEnd::Damaged => Joint::Unknown,
    }
}

fn identity(left: &SegmentEdges, right: &SegmentEdges, defects: &mut Vec<StitchDefect>) {
    let mut compare = |kind, expected: u64, found: u64| {
        if expected != found {
            let lsn = right.number.start(right.size);
            defects.push(StitchDefect { kind, left: name(left), right: name(right), lsn, expected, found });
        }
    };
    if let (Some(a), Some(b)) = (left.facts, right.facts) {
        compare(StitchKind::SystemId, a.system_id, b.system_id);
        compare(StitchKind::Magic, u64::from(a.magic), u64::from(b.magic));
        compare(StitchKind::Sizes, u64::from(a.segment_bytes), u64::from(b.segment_bytes));
        compare(StitchKind::Sizes, u64::from(a.block_bytes), u64::from(b.block_bytes));
    }
    if right.first_timeline < left.last_timeline && right.first_timeline != 0 {
        compare(StitchKind::Timeline, u64::from(left.last_timeline), u64::from(right.first_timeline));
    }
}

/// Judges the boundary between a run and its next segment. Returns how the run goes on.
fn boundary(run: &Run, next: &SegmentEdges, out: &mut Stitched) -> (Joint, Option<Lsn>) {
    let carry = &next.carry_in;
    let (left, right, lsn) = (name(&run.last), name(next), next.number.start(next.size));
    let defect = |kind, left, lsn, expected, found| StitchDefect { kind, left, right, lsn, expected, found };
    if carry.outcome == CarryOutcome::Lost {
        return (joint_of(next, None, None), next.last_record);
    }
    out.judged = true;
    let mut carried = None;
    // The last record before those that begin in `next`.
    let mut before = run.last_record;
    match &run.joint {
        Joint::Unknown => {
            out.judged = false;
            before = None;
        }
        Joint::Boundary => {
            let announced = u64::from(carry.remaining_bytes);
            if let Some(named) = carry.overwrites {
                out.defects.push(defect(StitchKind::Overwrite, left, lsn, 0, named.0));
            } else if announced != 0 {
                out.defects.push(defect(StitchKind::Continuation, left, lsn, 0, announced));
                before = None;
            }
        }
        Joint::Open { record, from } => {
            let missing = record.total_bytes.saturating_sub(record.here_bytes);
            if let Some(named) = carry.overwrites {
                before = record.before;
                if named != record.start {
                    out.defects.push(defect(StitchKind::Overwrite, *from, lsn, record.start.0, named.0));
                }
            } else if carry.remaining_bytes != missing {
                let (expected, found) = (u64::from(missing), u64::from(carry.remaining_bytes));
                out.defects.push(defect(StitchKind::Continuation, *from, record.start, expected, found));
                before = None;
            } else {
                let whole = joined(record, carry);
                match carry.outcome {
                    CarryOutcome::Ends(end) => {
                        before = Some(record.start);
                        judge_joined(&whole, *from, end, next, out);
                    }
                    CarryOutcome::GivenUp(named) => {
                        before = record.before;
                        if named != record.start {
                            out.defects.push(defect(StitchKind::Overwrite, *from, lsn, record.start.0, named.0));
                        }
                    }
                    _ => carried = Some(Joint::Open { record: whole, from: *from }),
                }
            }
        }
    }
    if let (Some(expected), Some(first)) = (before, next.first_record)
        && let Some(found) = first.prev.filter(|prev| *prev != expected)
    {
        out.defects.push(defect(StitchKind::PrevLink, left, first.lsn, expected.0, found.0));
    }
    if let SegmentEnd::SwitchIfCarried { end } = next.end
        && !out.joined.as_ref().is_some_and(|joined| joined.header.is_switch())
        && matches!(run.joint, Joint::Open { .. } | Joint::Boundary)
    {
        let missing = next.number.end(next.size).0.saturating_sub(end.0);
        out.defects.push(defect(StitchKind::EndOfData, left, end, missing, 0));
    }
    let last_record = next.last_record.or(before);
    (joint_of(next, carried, before), last_record)
}

/// A record with the part that the next segment holds.
fn joined(open: &OpenRecord, carry: &CarryIn) -> OpenRecord {
    let mut whole = open.clone();
    let to_head = carry.head.len().min(EDGE_HEAD_BYTES_MAX.saturating_sub(whole.head.len()));
    // The head is complete only as long as nothing was left out of it.
    if whole.head.len() == whole.here_bytes as usize {
        whole.head.extend_from_slice(&carry.head[..to_head]);
    }
    let of_header = RECORD_HEADER_BYTES.saturating_sub(open.here_bytes as usize);
    let body = carry.head.get(of_header..).unwrap_or(&[]);
    whole.body_crc = crc32c::crc32c_append(whole.body_crc, body);
    let rest_bytes = (carry.here_bytes as usize).saturating_sub(carry.head.len());
    whole.body_crc = crc32c::crc32c_combine(whole.body_crc, carry.rest_crc, rest_bytes);
    whole.here_bytes = whole.here_bytes.saturating_add(carry.here_bytes);
    whole
}

/// Checks the CRC and the link of a record that ends in `next`.
fn judge_joined(whole: &OpenRecord, from: SegmentName, end: Lsn, next: &SegmentEdges, out: &mut Stitched) {
    let Some(header) = RecordHeader::parse(&whole.head) else { return };
    let right = name(next);
    let crc = crc32c::crc32c_append(whole.body_crc, &whole.head[..CRC_AT]);
    if crc != header.crc {
        let (expected, found) = (u64::from(crc), u64::from(header.crc));
        out.defects.push(StitchDefect {
            kind: StitchKind::RecordCrc,
            left: from,
            right,
            lsn: whole.start,
            expected,
            found,
        });
        return;
    }
    if let Some(expected) = whole.before.filter(|before| *before != header.prev) {
        let (expected, found) = (expected.0, header.prev.0);
        out.defects.push(StitchDefect {
            kind: StitchKind::PrevLink,
            left: from,
            right,
            lsn: whole.start,
            expected,
            found,
        });
    }
    let end = if header.is_switch() { next.number.end(next.size) } else { end };
    let major = next.facts.and_then(|facts| facts.major()).unwrap_or(PgMajor::V18);
    let record = Record { lsn: whole.start, end, header, body: &whole.head[RECORD_HEADER_BYTES..], major };
    out.joined = Some(JoinedRecord { lsn: whole.start, end, header, event: Event::of(&record) });
}

/// Compares the two copies of a segment in which a timeline was left: up to the switch point they must be equal.
/// Both must have been decoded with the switch point watched; `None` if they are equal or one has no such digest.
pub fn compare_at_switch(parent: &SegmentSummary, child: &SegmentSummary, switch: Lsn) -> Option<StitchDefect> {
    let prefix = |summary: &'_ SegmentSummary| summary.prefixes.iter().position(|prefix| prefix.until == switch);
    let (a, b) = (&parent.prefixes[prefix(parent)?], &child.prefixes[prefix(child)?]);
    if a.digest == b.digest {
        return None;
    }
    let (from, to) = a.first_difference(b).unwrap_or((0, a.digest.bytes));
    Some(StitchDefect {
        kind: StitchKind::SwitchSegment,
        left: name(&parent.edges),
        right: name(&child.edges),
        lsn: switch,
        expected: from,
        found: to,
    })
}
