//! Whether a server arrived where it had to: the one question that "PostgreSQL started" does not answer.

use super::choose::{Choice, Target};
use super::end::End;
use super::replay::{Arrived, Lost};
use crate::catalog::Archive;
use crate::catalog::evidence::RestoreStep;
use crate::model::{Lsn, SegmentSize};
use crate::postgres::PostgresError;
use crate::wal::header::BLOCK_BYTES_DEFAULT;

/// What follows from how a server ended or arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The archive is at fault.
    Failed {
        /// In which step.
        step: RestoreStep,
        /// The rule that reports it.
        code: &'static str,
        /// One sentence.
        message: String,
        /// Objects or segments at fault.
        objects: Vec<String>,
        /// How far it came, where the server did not say.
        reached: Option<Lsn>,
    },
    /// This machine, the store or a key.
    Machine(String),
}

/// Last words that are about the machine and not about the archive.
const MACHINE_WORDS: [&str; 13] = [
    "Permission denied",
    "resource manager with ID",
    "custom resource manager",
    "could not load library",
    "could not access file \"$libdir",
    "could not create shared memory",
    "could not map anonymous shared memory",
    "out of memory",
    "No space left on device",
    "incompatible with server",
    "incompatible with operating system",
    "could not create any TCP/IP sockets",
    "Too many open files",
];

/// Last words of a recovery that never became consistent.
const INCONSISTENT_WORDS: [&str; 4] = [
    "WAL ends before end of online backup",
    "WAL ends before consistent recovery point",
    "WAL was generated with",
    "requested recovery stop point is before consistent recovery point",
];

const EARLY_WORDS: &str = "recovery ended before configured recovery target was reached";

/// The target that the server is given. A backup that ends on a segment's boundary with nothing archived behind it
/// never meets `immediate`, although everything it needs is there: such a one is replayed to the end.
pub fn server_target(choice: &Choice<'_>) -> Target {
    match choice.target {
        Target::Immediate if choice.chain.to_lsn <= choice.chain.from_lsn => Target::Latest,
        ref other => other.clone(),
    }
}

/// The timeline that the server is told. One without a history file exists for it only as the backup's own.
pub fn server_timeline(choice: &Choice<'_>, archive: &Archive) -> String {
    let timeline = choice.chain.timeline;
    let known = !archive.timelines.path(timeline).assumed_root;
    match known || timeline != choice.backup.timeline() {
        true => timeline.to_string(),
        false => "current".to_owned(),
    }
}

/// What ended a server before it arrived.
pub fn of_lost(choice: &Choice<'_>, lost: &Lost, size: SegmentSize) -> Ruling {
    match &lost.error {
        PostgresError::Exited { .. } => {}
        other => return Ruling::Machine(other.to_string()),
    }
    let log = &lost.log;
    let backup = &choice.backup.name;
    let last = lost.served.last.and_then(|name| name.number(size)).map(|number| number.start(size));
    let reached = log.redo_done.or(last);
    let begun = log.redo_starts.is_some();
    let code = match (begun, log.consistent.is_some()) {
        (_, true) => "RST004",
        (true, false) => "RST003",
        (false, false) => "RST002",
    };
    if let Some(withheld) = &lost.served.problem {
        if !withheld.damaged {
            return Ruling::Machine(format!("segment {}: {}", withheld.name, withheld.why));
        }
        let object = withheld.object.clone().unwrap_or_else(|| withheld.name.clone());
        // A damaged first segment keeps the data from becoming consistent, whatever the server calls it.
        let code = if code == "RST002" { "RST003" } else { code };
        return Ruling::Failed {
            step: RestoreStep::Replay,
            code,
            message: format!(
                "recovery of {backup} cannot pass {}: {object} is damaged: {}",
                withheld.name, withheld.why
            ),
            objects: vec![object],
            reached,
        };
    }
    let words = log.fatal.clone().unwrap_or_else(|| lost.error.to_string());
    if MACHINE_WORDS.iter().any(|word| words.contains(word)) {
        return Ruling::Machine(format!("PostgreSQL: {words}"));
    }
    let complaint = log.complaints.last().map(|text| format!(" ({text})")).unwrap_or_default();
    let (code, step) = if INCONSISTENT_WORDS.iter().any(|word| words.contains(word)) {
        ("RST003", RestoreStep::Replay)
    } else if words.contains(EARLY_WORDS) {
        (if log.consistent.is_some() { "RST004" } else { "RST003" }, RestoreStep::Replay)
    } else {
        (code, if begun { RestoreStep::Replay } else { RestoreStep::Start })
    };
    let place = match log.redo_done {
        Some(done) => format!("replay ended with the record at {done}; "),
        None => String::new(),
    };
    let target = match code {
        "RST004" => format!(" before {}", choice.target),
        _ => String::new(),
    };
    Ruling::Failed {
        step,
        code,
        message: format!("recovery of {backup} ended{target}: {place}PostgreSQL: {words}{complaint}"),
        objects: log.redo_done.map(|done| segment_of(choice, done, size)).into_iter().collect(),
        reached,
    }
}

/// What is wrong with where a server arrived, if anything.
pub fn of_arrived(choice: &Choice<'_>, end: Option<&End>, arrived: &Arrived, archive: &Archive) -> Option<Ruling> {
    let log = &arrived.log;
    let backup = &choice.backup.name;
    let size = archive.segment_size;
    let failed = |code: &'static str, message: String, objects: Vec<String>| {
        Some(Ruling::Failed { step: RestoreStep::Replay, code, message, objects, reached: arrived.reached })
    };
    if log.consistent.is_none() {
        return failed(
            "RST003",
            format!("PostgreSQL started on {backup} without saying that it is consistent"),
            Vec::new(),
        );
    }
    let path = archive.timelines.path(choice.chain.timeline);
    if let Some(timeline) = arrived.timeline
        && path.piece(timeline).is_none()
    {
        let text = format!(
            "replay of {backup} ended on timeline {timeline}, which is not on the way to timeline {}",
            choice.chain.timeline
        );
        return failed("RST004", text, Vec::new());
    }
    match (&choice.target, server_target(choice)) {
        (Target::Immediate, _) => None,
        (Target::Latest, _) => {
            let end = end?;
            let short = match log.redo_done {
                Some(done) => done < end.last_record,
                None => arrived.reached.is_none_or(|reached| reached <= end.last_record),
            };
            if !short {
                return None;
            }
            let stopped = arrived.reached.or(log.redo_done).unwrap_or(choice.chain.from_lsn);
            let complaint = log.complaints.last().map(|text| format!(": {text}")).unwrap_or_default();
            let at = arrived.time.map(|time| format!(", last commit {time}")).unwrap_or_default();
            let text = format!(
                "PostgreSQL promoted {backup} at {stopped}{at} without an error, but the archived WAL goes on to {}{complaint}",
                end.end
            );
            failed("RST004", text, segments_at(choice, archive, stopped, size))
        }
        (target, _) => {
            let behind = match target {
                Target::Lsn(lsn) => arrived.reached.is_some_and(|reached| reached >= *lsn),
                _ => true,
            };
            if log.stopped_at_target && behind {
                return None;
            }
            let stopped = arrived.reached.or(log.redo_done).unwrap_or(choice.chain.from_lsn);
            let complaint = log.complaints.last().map(|text| format!(": {text}")).unwrap_or_default();
            let text = format!("replay of {backup} ended at {stopped}, before {target}{complaint}");
            failed("RST004", text, segments_at(choice, archive, stopped, size))
        }
    }
}

fn segment_of(choice: &Choice<'_>, lsn: Lsn, size: SegmentSize) -> String {
    format!("wal_005/{}", lsn.segment(size).name(choice.chain.timeline, size))
}

/// The segment in which a record that could not be read begins, and the next one if it reaches into that.
fn segments_at(choice: &Choice<'_>, archive: &Archive, lsn: Lsn, size: SegmentSize) -> Vec<String> {
    let path = archive.timelines.path(choice.chain.timeline);
    let number = lsn.segment(size);
    let mut names = vec![archive.segment_subject(path.owner(number, size), number)];
    if lsn.offset_in(size) + u64::from(BLOCK_BYTES_DEFAULT) > size.bytes() {
        names.push(archive.segment_subject(path.owner(number.next(), size), number.next()));
    }
    names
}
