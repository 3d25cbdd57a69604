use crate::catalog::{Archive, BaseBackup, Obstacle, Recovery, Standing};
use crate::model::{SegmentNo, TimelineId, Timestamp};

/// Everything a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// What can be recovered from it.
    pub recovery: &'a Recovery,
    /// The only clock.
    pub as_of: Timestamp,
}

/// How long a hole may be due to uploads that overtake each other, in seconds.
pub const INFLIGHT_GRACE_S: i64 = 15 * 60;

impl<'a> CheckContext<'a> {
    /// Backups with how they stand.
    pub fn backups(&self) -> impl Iterator<Item = (&'a BaseBackup, &'a Standing)> + use<'a> {
        self.archive.backups.iter().zip(&self.recovery.standings)
    }

    /// Whether a moment lies less than so many seconds before the audit's.
    pub fn is_fresh(&self, moment: Timestamp, seconds: i64) -> bool {
        self.as_of.duration_since(moment).as_secs() < seconds
    }

    /// The name of a segment's file.
    pub fn segment(&self, timeline: TimelineId, number: SegmentNo) -> crate::model::SegmentName {
        number.name(timeline, self.archive.segment_size)
    }

    /// `A` for one segment, `A .. B` for several.
    pub fn segment_range(&self, timeline: TimelineId, first: SegmentNo, last: SegmentNo) -> String {
        let first_name = self.segment(timeline, first);
        if first == last { first_name.to_string() } else { format!("{first_name} .. {}", self.segment(timeline, last)) }
    }

    /// The first obstacle of each backup that belongs to a rule.
    pub fn obstacles<T: 'a>(&self, pick: impl Fn(&'a Obstacle) -> Option<T>) -> Vec<(&'a BaseBackup, T)> {
        self.backups()
            .filter_map(|(backup, standing)| Some((backup, standing.obstacles.iter().find_map(&pick)?)))
            .collect()
    }

    /// The furthest position any of some backups reaches, with its time.
    pub fn furthest(&self, backups: &[usize]) -> Option<&'a crate::catalog::Chain> {
        self.recovery.chains.iter().filter(|chain| backups.contains(&chain.backup)).max_by_key(|chain| chain.to_lsn)
    }
}
