//! Timelines and their history files.

pub mod dead_branch;
pub mod fork;
pub mod history_conflict;
pub mod history_malformed;
pub mod history_missing;

use crate::model::TimelineId;

/// The key of a history file without its codec.
pub(crate) fn history_subject(timeline: TimelineId) -> String {
    format!("wal_005/{:08X}.history", timeline.get())
}
