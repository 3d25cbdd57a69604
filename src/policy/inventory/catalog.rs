//! Objects of a saved report: the keys that its backups and runs of WAL stand for, with the times it knows.
//!
//! A report names no single object. A backup becomes its sentinel and one part, a run of WAL its segments, with times
//! between those of the backups around them. Good enough for dates; sizes are means.

use serde_json::Value;

use crate::model::{Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId, Timestamp};
use crate::policy::config::{ArchiveAddress, LayoutName};
use crate::policy::lifecycle::{ObjectFacts, ObjectTable};
use crate::policy::value::moment;

use super::BucketObjects;
use super::known::KnownBackup;

/// Segments of one report, at most.
const SEGMENTS_MAX: u64 = 4_000_000;

/// What stands for a codec that the report does not name.
const EXTENSION: &str = "lz4";

pub(super) fn from_report(report: &Value) -> Result<Vec<BucketObjects>, String> {
    let mut buckets: Vec<BucketObjects> = Vec::new();
    let mut tables: Vec<ObjectTable> = Vec::new();
    let mut known: Vec<(usize, String, Vec<KnownBackup>)> = Vec::new();
    let archives = report.get("archives").and_then(Value::as_array).ok_or("the report has no archives")?;
    let as_of = report.get("as_of").and_then(Value::as_str).and_then(moment).ok_or("the report has no as_of")?;
    let mut budget = SEGMENTS_MAX;
    for archive in archives {
        let name = archive.get("name").and_then(Value::as_str).unwrap_or("?");
        let fault = |what: &str| format!("archive {name} of the report: {what}");
        match archive.get("layout").and_then(Value::as_str) {
            Some("wal-g" | "wal-e") => {}
            Some(_) => return Err(fault("its layout cannot be put together from a report; list the bucket instead")),
            None => continue,
        }
        let url = archive.get("url").and_then(Value::as_str).ok_or_else(|| fault("no url"))?;
        let address: ArchiveAddress = url.parse().map_err(|error| fault(&format!("{error}")))?;
        if address.bucket.is_empty() {
            return Err(fault("it is a directory; no bucket's rules apply to it"));
        }
        let slot = buckets.iter().position(|objects| objects.bucket == address.bucket).unwrap_or_else(|| {
            let mut objects = BucketObjects::new(address.bucket.clone(), "report of walproof", ObjectTable::default());
            objects.listed_at = Some(as_of);
            buckets.push(objects);
            tables.push(ObjectTable::default());
            buckets.len() - 1
        });
        let root = address.key_prefix();
        let backups = one(archive, &root, &mut tables[slot], &mut budget).map_err(|what| fault(&what))?;
        known.push((slot, root, backups));
    }
    for (objects, table) in buckets.iter_mut().zip(tables) {
        let filled = BucketObjects::new(objects.bucket.clone(), objects.source.clone(), table);
        *objects = BucketObjects { listed_at: Some(as_of), ..filled };
    }
    for (slot, root, backups) in known {
        buckets[slot].know(&root, LayoutName::WalG, &backups);
    }
    if buckets.is_empty() { Err("the report holds no archive in a bucket".into()) } else { Ok(buckets) }
}

/// A position whose time is known.
type Anchor = (u64, Timestamp);

fn one(archive: &Value, root: &str, table: &mut ObjectTable, budget: &mut u64) -> Result<Vec<KnownBackup>, String> {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let bytes = archive.get("wal_segment_size").and_then(Value::as_u64).ok_or("no wal_segment_size")?;
    let size = SegmentSize::new(bytes).map_err(|error| error.to_string())?;
    let mut known = Vec::new();
    let mut anchors: Vec<Anchor> = Vec::new();
    let mut push = |key: String, bytes: u64, created: Timestamp| {
        if table.push(&ObjectFacts::new(key.as_bytes(), bytes, created)) {
            Ok(())
        } else {
            Err("too many objects".to_owned())
        }
    };
    for backup in list(archive, "backups") {
        let text = |name: &str| backup.get(name).and_then(Value::as_str);
        let name = text("name").ok_or("a backup has no name")?.to_owned();
        let Some(finished) = text("finished_at").and_then(moment) else { continue };
        let started = text("started_at").and_then(moment).unwrap_or(finished);
        let stored = backup.get("size").and_then(|size| size.get("stored")).and_then(Value::as_u64).unwrap_or(1 << 20);
        push(format!("{root}basebackups_005/{name}/tar_partitions/part_001.tar.{EXTENSION}"), stored, started)?;
        push(format!("{root}basebackups_005/{name}_backup_stop_sentinel.json"), 1 << 10, finished)?;
        let timeline = backup.get("timeline").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let segment = |name: &str, time: Timestamp, is_end: bool, anchors: &mut Vec<Anchor>| {
            let lsn = text(name)?.parse::<Lsn>().ok()?;
            let number = if is_end { lsn.end_segment(size) } else { lsn.segment(size) };
            anchors.push((number.0, time));
            Some(number.name(TimelineId::new(timeline?)?, size))
        };
        let start = segment("start_lsn", started, false, &mut anchors);
        let stop = segment("finish_lsn", finished, true, &mut anchors);
        known.push(KnownBackup {
            name,
            taken: finished,
            parent: text("parent").map(str::to_owned),
            permanent: backup.get("permanent").and_then(Value::as_bool).unwrap_or(false),
            start,
            stop,
        });
    }
    for timeline in list(archive, "timelines") {
        let segments = timeline.get("segments").and_then(Value::as_u64).unwrap_or(0);
        let stored = timeline.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        let mean = stored.checked_div(segments).unwrap_or(0).max(1);
        let last = timeline.get("last").and_then(Value::as_str).and_then(number_of(size));
        let stored_at = timeline.get("last_stored_at").and_then(Value::as_str).and_then(moment);
        anchors.extend(last.zip(stored_at).map(|(number, at)| (number.0, at)));
        anchors.sort_unstable();
        let id = timeline.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let Some(id) = id.and_then(TimelineId::new) else { continue };
        for run in list(&timeline, "runs") {
            let end = |name: &str| run.get(name).and_then(Value::as_str).and_then(number_of(size));
            let (Some(first), Some(last)) = (end("first"), end("last")) else { continue };
            let count = last.0.saturating_sub(first.0) + 1;
            *budget = budget.checked_sub(count).ok_or("more segments than one report can stand for")?;
            for number in first.0..=last.0 {
                let Some(created) = time_of(&anchors, number) else { continue };
                let name = SegmentNo(number).name(id, size);
                push(format!("{root}wal_005/{name}.{EXTENSION}"), mean, created)?;
            }
        }
    }
    Ok(known)
}

fn number_of(size: SegmentSize) -> impl Fn(&str) -> Option<SegmentNo> {
    move |name| SegmentName::parse(name.as_bytes())?.number(size)
}

/// Between two anchors time goes on evenly; outside of them the nearest counts.
fn time_of(anchors: &[Anchor], number: u64) -> Option<Timestamp> {
    let after = anchors.partition_point(|(position, _)| *position < number);
    let (right, left) = (anchors.get(after), after.checked_sub(1).and_then(|at| anchors.get(at)));
    match (left, right) {
        (Some((from, begin)), Some((to, end))) if to > from && end > begin => {
            let span = end.as_second() - begin.as_second();
            let share = i64::try_from(number - from).ok()?.checked_mul(span)? / i64::try_from(to - from).ok()?;
            Timestamp::from_second(begin.as_second() + share).ok()
        }
        (_, Some((_, at))) | (Some((_, at)), None) => Some(*at),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_becomes_objects_again() {
        let report = json!({"schema": "walproof.report/1", "as_of": "2026-11-20T00:00:00Z", "archives": [{
            "name": "main", "url": "s3://b/pg/main", "layout": "wal-g", "wal_segment_size": 16_777_216,
            "backups": [
                {"name": "base_000000010000000000000002", "kind": "full", "parent": null, "permanent": true, "timeline": 1,
                 "start_lsn": "0/2000028", "finish_lsn": "0/3000100", "started_at": "2026-11-01T00:00:00Z",
                 "finished_at": "2026-11-01T01:00:00Z", "size": {"stored": 77}},
                {"name": "base_00000001000000000000000A_D_000000010000000000000002", "kind": "delta",
                 "parent": "base_000000010000000000000002", "permanent": false, "timeline": 1,
                 "start_lsn": "0/A000028", "finish_lsn": "0/A000100", "started_at": "2026-11-08T00:00:00Z",
                 "finished_at": "2026-11-08T01:00:00Z", "size": {"stored": 7}}],
            "timelines": [{"id": 1, "segments": 15, "bytes": 1500, "last": "000000010000000000000010",
                "last_stored_at": "2026-11-14T00:00:00Z",
                "runs": [{"first": "000000010000000000000002", "last": "000000010000000000000010"}]}]}]});
        let buckets = from_report(&report).unwrap();
        assert_eq!((buckets.len(), buckets[0].bucket.as_str()), (1, "b"));
        assert_eq!(buckets[0].table.len(), 4 + 15);
        let units = buckets[0].backups.as_ref().unwrap();
        assert_eq!((units.len(), units[0].permanent, units[1].full, units[1].parent), (2, true, false, Some(0)));
        assert_eq!(units[0].stop.unwrap().to_string(), "000000010000000000000003");
        // Segment 13 lies half-way between the second backup and the last segment.
        let middle =
            (0..buckets[0].table.len()).find(|at| buckets[0].table.key(*at).ends_with(b"0000000D.lz4")).unwrap();
        assert_eq!(buckets[0].table.get(middle).created.to_string(), "2026-11-11T00:30:00Z");
        let files = json!({"schema": "walproof.report/1", "as_of": "2026-11-20T00:00:00Z",
            "archives": [{"name": "d", "url": "s3://b/d", "layout": "files"}]});
        assert!(from_report(&files).unwrap_err().contains("list the bucket instead"));
    }
}
