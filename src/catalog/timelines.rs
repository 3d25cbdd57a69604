use std::collections::{BTreeMap, BTreeSet};

use crate::model::{HistoryProblem, Lsn, SegmentNo, SegmentSize, TimelineHistory, TimelineId};

/// What the archive says about where a timeline came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryState {
    /// Timeline 1 has no history file.
    Root,
    /// Read and parsed.
    Known(TimelineHistory),
    /// No such object.
    Missing,
    /// There, but not read: the reason.
    Unread(String),
    /// There, but not a history file.
    Malformed(HistoryProblem),
}

/// The ancestry of all timelines an archive knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimelineGraph {
    nodes: BTreeMap<TimelineId, HistoryState>,
}

/// A stretch of WAL that belongs to one timeline on the way to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Whose it is.
    pub timeline: TimelineId,
    /// Where the timeline begins.
    pub begin: Lsn,
    /// Where the next one takes over; `None` for the last.
    pub end: Option<Lsn>,
}

/// The way from the oldest known ancestor to a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Oldest first; never empty.
    pub pieces: Vec<Piece>,
    /// The history is missing or unread: PostgreSQL would assume that the timeline has no parents.
    pub assumed_root: bool,
}

/// Segments of one timeline that recovery reads on a path, `[first, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePiece {
    /// Whose files.
    pub timeline: TimelineId,
    /// First segment read from this timeline.
    pub first: SegmentNo,
    /// First segment read from the next one; `None` for the last piece.
    pub end: Option<SegmentNo>,
}

impl TimelineGraph {
    /// Builds the graph for the timelines seen anywhere, with what is known of each history file.
    pub fn new(seen: BTreeSet<TimelineId>, mut histories: BTreeMap<TimelineId, HistoryState>) -> Self {
        let mut all = seen;
        for state in histories.values() {
            if let HistoryState::Known(history) = state {
                all.extend(history.entries.iter().map(|entry| entry.parent));
            }
        }
        all.extend(histories.keys().copied());
        let nodes = all
            .into_iter()
            .map(|timeline| {
                let fallback = if timeline == TimelineId::FIRST { HistoryState::Root } else { HistoryState::Missing };
                (timeline, histories.remove(&timeline).unwrap_or(fallback))
            })
            .collect();
        TimelineGraph { nodes }
    }

    /// All timelines, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (TimelineId, &HistoryState)> + '_ {
        self.nodes.iter().map(|(timeline, state)| (*timeline, state))
    }

    /// What is known of a timeline's origin.
    pub fn state(&self, timeline: TimelineId) -> &HistoryState {
        self.nodes.get(&timeline).unwrap_or(&HistoryState::Missing)
    }

    /// The history file's content, where it was read.
    pub fn history(&self, timeline: TimelineId) -> Option<&TimelineHistory> {
        match self.state(timeline) {
            HistoryState::Known(history) => Some(history),
            _ => None,
        }
    }

    /// The way PostgreSQL takes to a timeline; without a readable history it assumes no parents.
    pub fn path(&self, timeline: TimelineId) -> Path {
        let mut pieces = Vec::new();
        let mut begin = Lsn(0);
        let state = self.state(timeline);
        if let HistoryState::Known(history) = state {
            for entry in &history.entries {
                pieces.push(Piece { timeline: entry.parent, begin, end: Some(entry.switch) });
                begin = entry.switch;
            }
        }
        pieces.push(Piece { timeline, begin, end: None });
        Path { pieces, assumed_root: !matches!(state, HistoryState::Known(_) | HistoryState::Root) }
    }

    /// The timeline that `recovery_target_timeline = latest` ends on when it starts on `from`: history files are
    /// probed upward until one is absent, so a missing one hides those above.
    pub fn latest_probed(&self, from: TimelineId) -> TimelineId {
        let mut newest = from;
        while let Some(next) = newest.get().checked_add(1).and_then(TimelineId::new) {
            match self.nodes.get(&next) {
                Some(HistoryState::Known(_) | HistoryState::Unread(_) | HistoryState::Malformed(_)) => newest = next,
                _ => break,
            }
        }
        newest
    }
}

impl Path {
    /// The timeline it leads to.
    pub fn target(&self) -> TimelineId {
        self.pieces[self.pieces.len() - 1].timeline
    }

    /// The piece of a timeline on this path.
    pub fn piece(&self, timeline: TimelineId) -> Option<Piece> {
        self.pieces.iter().copied().find(|piece| piece.timeline == timeline)
    }

    /// Which files recovery reads: for each segment the newest timeline that begins in it or before. Several
    /// switches inside one segment leave only the last one's file.
    pub fn files(&self, size: SegmentSize) -> Vec<FilePiece> {
        let mut files: Vec<FilePiece> = Vec::new();
        for piece in &self.pieces {
            let first = piece.begin.segment(size);
            while files.last().is_some_and(|last| last.first >= first) {
                files.pop();
            }
            if let Some(last) = files.last_mut() {
                last.end = Some(first);
            }
            files.push(FilePiece { timeline: piece.timeline, first, end: None });
        }
        files
    }

    /// The timeline whose file holds a segment on this path.
    pub fn owner(&self, number: SegmentNo, size: SegmentSize) -> TimelineId {
        let newest = self.pieces.iter().rev().find(|piece| piece.begin.segment(size) <= number);
        newest.unwrap_or(&self.pieces[0]).timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tli(id: u32) -> TimelineId {
        TimelineId::new(id).unwrap()
    }

    fn graph(files: &[(u32, &str)]) -> TimelineGraph {
        let states = files
            .iter()
            .map(|(id, text)| {
                (tli(*id), HistoryState::Known(TimelineHistory::parse(tli(*id), text.as_bytes()).unwrap()))
            })
            .collect();
        TimelineGraph::new(BTreeSet::from([tli(1)]), states)
    }

    #[test]
    fn numbering_is_not_ancestry() {
        let graph = graph(&[(2, "1\t0/9016440\tx\n"), (3, "1\t0/7000090\tx\n")]);
        let path = graph.path(tli(3));
        let size = SegmentSize::DEFAULT;
        let files = path.files(size);
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].timeline, files[0].end), (tli(1), Some(SegmentNo(7))));
        assert_eq!((files[1].timeline, files[1].first), (tli(3), SegmentNo(7)));
        assert_eq!(path.owner(SegmentNo(6), size), tli(1));
        assert_eq!(path.owner(SegmentNo(7), size), tli(3));
        assert!(path.piece(tli(2)).is_none());
        assert_eq!(graph.latest_probed(tli(1)), tli(3));
    }

    #[test]
    fn two_switches_inside_one_segment_leave_the_last() {
        let graph = graph(&[(2, "1\t0/9000100\tx\n"), (3, "1\t0/9000100\tx\n2\t0/9000200\tx\n")]);
        let files = graph.path(tli(3)).files(SegmentSize::DEFAULT);
        let owners: Vec<u32> = files.iter().map(|file| file.timeline.get()).collect();
        assert_eq!(owners, [1, 3]);
        assert_eq!(files[0].end, Some(SegmentNo(9)));
    }

    #[test]
    fn a_missing_history_hides_those_above() {
        let graph = graph(&[(2, "1\t0/9000100\tx\n"), (4, "1\t0/9000100\tx\n")]);
        assert_eq!(graph.latest_probed(tli(1)), tli(2));
        assert!(graph.path(tli(3)).assumed_root);
    }
}
