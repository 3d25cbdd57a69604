//! What 50 rules do to a million objects, beside a loop that asks every rule about every object on every day.
//!
//! Then the same of one catalogued archive: until when each backup is usable, and the window from step to step.
//!
//! `cargo bench --bench lifecycle [-- OBJECTS]`. Both answers are compared on the objects that the loop can do in time.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use walproof::catalog::{Archive, Recovery};
use walproof::layout::walg::WalGLayout;
use walproof::layout::{Answer, Layout, Purpose};
use walproof::model::{ObjectKey, ObjectRow, SegmentName, SegmentNo, SegmentSize, TimelineId};
use walproof::policy::inventory::BucketObjects;
use walproof::policy::lifecycle::{
    Action, BucketSettings, Filter, MinimumSize, ObjectFacts, ObjectTable, Provider, Rule, RuleSet, Simulator, Tags,
    When,
};
use walproof::policy::outlook::{BucketRules, Outlook, OutlookInput};
use walproof::policy::plan::read_plan;
use walproof::policy::verdict::rules_to_json;
use walproof::policy::{CheckInput, check_plan};

const DAYS: i64 = 500;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is a check that it still works.
    let full = args.iter().any(|arg| arg == "--bench");
    let objects: usize = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(if full { 1_000_000 } else { 2_000 });
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a moment");
    let rules = rules(50);

    let before = peak_bytes();
    let clock = Instant::now();
    let table = archive(objects, start);
    let built = clock.elapsed();
    let clock = Instant::now();
    let simulator = Simulator::new(rules.clone(), BucketSettings::default());
    let mut steps: Vec<Timestamp> = Vec::new();
    simulator.each(&table, |_, fate| steps.extend(fate.ends()));
    let judged = clock.elapsed();
    steps.sort_unstable();
    steps.dedup();
    let swept = clock.elapsed();
    println!("objects                {objects}, {} rules, {DAYS} days", rules.rules.len());
    println!("build the table        {:.3} s", built.as_secs_f64());
    println!("fates of all           {:.3} s", judged.as_secs_f64());
    println!("forecast (with sweep)  {:.3} s, {} steps", swept.as_secs_f64(), steps.len());
    println!("peak memory            {} MiB, {} MiB before", peak_bytes() >> 20, before >> 20);

    let sample = (objects / 500).clamp(200.min(objects), 2_000);
    let stride = objects / sample.max(1);
    let clock = Instant::now();
    let mut compared = 0;
    for at in (0..objects).step_by(stride.max(1)).take(sample) {
        let object = table.get(at);
        let expected = naive(&rules, &object, start);
        let found = simulator.fate(&object).ends().filter(|end| *end <= start + SignedDuration::from_hours(24 * DAYS));
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(object.key));
        compared += 1;
    }
    let each = clock.elapsed().as_secs_f64() / f64::from(compared.max(1));
    println!(
        "naive loop             {:.1} s for {objects} (measured {each:.6} s for each of {compared}), {:.0} times as long",
        each * objects as f64,
        each * objects as f64 / swept.as_secs_f64()
    );
    catalogued(objects, &rules, start, full);
    let before = rules_to_json(&RuleSet { rules: rules.rules[..25].to_vec(), ..rules.clone() });
    let mut plan = read_plan(rules_to_json(&rules).to_string().as_bytes())
        .expect("rules")
        .with_before(&read_plan(before.to_string().as_bytes()).expect("rules"));
    plan.name_bucket("b");
    let forecast_peak = peak_bytes();
    let listing = [BucketObjects::new("b", "benchmark", table)];
    let clock = Instant::now();
    let verdict = check_plan(CheckInput {
        plan: &plan,
        objects: &listing,
        config: None,
        apply_at: start,
        unknown: walproof::policy::lifecycle::Reading::Worst,
    });
    println!(
        "a plan over the same   {:.3} s, {} findings, peak {} MiB",
        clock.elapsed().as_secs_f64(),
        verdict.findings.len(),
        peak_bytes() >> 20
    );
    assert!(!full || objects > 1_000_000 || swept.as_secs_f64() < 2.0, "a forecast has to take less than 2 s");
    assert!(!full || objects > 1_000_000 || forecast_peak < 300 << 20, "a forecast has to need less than 300 MB");
}

/// The outlook of one wal-g archive with as many segments, beside the loop for a few of its backups.
fn catalogued(objects: usize, rules: &RuleSet, start: Timestamp, full: bool) {
    let clock = Instant::now();
    let archive = wal_archive(objects, start);
    let recovery = Recovery::of(&archive);
    let built = clock.elapsed();
    let text = rules_to_json(rules).to_string();
    let bucket = BucketRules::read("rules", text.as_bytes()).expect("rules").remove(0);
    let before = peak_bytes();
    let clock = Instant::now();
    let outlook = Outlook::of(OutlookInput {
        archive: &archive,
        recovery: &recovery,
        bucket: &bucket,
        root: b"pg/c00/",
        as_of: start,
        policy: None,
        cluster: None,
        pattern: None,
        config: None,
    });
    let judged = clock.elapsed();
    println!(
        "one archive            {} segments and {} backups catalogued in {:.3} s",
        archive.wal.len(),
        archive.backups.len(),
        built.as_secs_f64()
    );
    println!(
        "its outlook            {:.3} s, {} steps, {} MiB more at the peak",
        judged.as_secs_f64(),
        outlook.steps.len(),
        (peak_bytes() - before) >> 20
    );
    assert_eq!(outlook.backups.iter().filter(|backup| backup.reaches).count(), archive.backups.len());
    let clock = Instant::now();
    let horizon = start + SignedDuration::from_hours(24 * DAYS);
    let mut asked = 0u32;
    for (backup, found) in archive.backups.iter().zip(&outlook.backups).step_by((archive.backups.len() / 20).max(1)) {
        let mut ends: Vec<Timestamp> = Vec::new();
        let mut ask = |key: Vec<u8>, size: u64, created: Timestamp| {
            let key = [b"pg/c00/", &key[..]].concat();
            ends.extend(naive(rules, &ObjectFacts::new(&key, size, created), start));
            asked += 1;
        };
        for object in backup.objects() {
            ask(object.key.as_bytes().to_vec(), object.size, object.modified);
        }
        for row in archive.wal.at(backup.name_segment) {
            ask(archive.segment_key(row).as_bytes().to_vec(), row.size, row.modified());
        }
        let end = found.usable_until.as_ref().map(|end| end.at).filter(|end| *end <= horizon);
        assert_eq!(end, ends.into_iter().min(), "{}", backup.name);
    }
    println!(
        "naive loop             {:.1} s for its objects, {:.0} times as long",
        clock.elapsed().as_secs_f64() / f64::from(asked.max(1)) * objects as f64,
        clock.elapsed().as_secs_f64() / f64::from(asked.max(1)) * objects as f64 / judged.as_secs_f64()
    );
    assert!(!full || objects > 1_000_000 || judged.as_secs_f64() < 2.0, "an outlook has to take less than 2 s");
    assert!(
        !full || objects > 1_000_000 || peak_bytes() - before < 300 << 20,
        "an outlook has to need less than 300 MB"
    );
}

/// A segment every minute or so and a full backup every thousand.
fn wal_archive(objects: usize, start: Timestamp) -> Archive {
    let mut fold = WalGLayout::new(ObjectKey::from(""));
    let row = |key: String, size: u64, created: Timestamp| ObjectRow {
        key: ObjectKey::from(key),
        size,
        modified: created,
        etag: None,
        version: None,
        class: walproof::model::StorageClass::Standard,
        checksum: None,
    };
    for at in 0..objects as u64 {
        let created = start + SignedDuration::from_secs((at * 61 % 8_000_000) as i64);
        let name = SegmentNo(at + 1).name(TimelineId::FIRST, SegmentSize::DEFAULT);
        fold.push(row(format!("wal_005/{name}.lz4"), 1 << (17 + at % 7), created), 0);
        if at % 1000 == 0 {
            let folder = format!("basebackups_005/base_{name}");
            fold.push(row(format!("{folder}/tar_partitions/part_001.tar.lz4"), 1 << 23, created), 0);
            fold.push(row(format!("{folder}/tar_partitions/pg_control.tar.lz4"), 1 << 10, created), 0);
            fold.push(row(format!("{folder}_backup_stop_sentinel.json"), 1 << 10, created), 0);
        }
    }
    loop {
        let wanted = fold.wanted();
        if wanted.is_empty() {
            break;
        }
        for one in wanted {
            let answer = match one.purpose {
                Purpose::Sentinel => {
                    let key = one.key.to_string();
                    let name = SegmentName::parse(&key.as_bytes()[21..45]).expect("a backup's name");
                    let begin = name.number(SegmentSize::DEFAULT).expect("a number").start(SegmentSize::DEFAULT).0;
                    let text = format!(
                        "{{\"LSN\": {}, \"FinishLSN\": {}, \"PgVersion\": 150000, \"FilesMetadataDisabled\": true}}",
                        begin + 0x28,
                        begin + 0x100
                    );
                    walproof::layout::read(Purpose::Sentinel, &mut text.as_bytes()).map(Answer::Parsed)
                }
                _ => Ok(Answer::Unread { why: "not made up".to_owned(), key_missing: false }),
            };
            fold.answer(&one, answer.expect("a sentinel"));
        }
    }
    fold.finish()
}

/// Prefix rules of every kind over twenty clusters, some of them nested, some by size or tag.
fn rules(count: usize) -> RuleSet {
    let rule = |at: usize| {
        let cluster = at % 20;
        let prefix = match at % 5 {
            0 => format!("pg/c{cluster:02}/wal_005/"),
            1 => format!("pg/c{cluster:02}/basebackups_005/"),
            2 => format!("pg/c{cluster:02}/"),
            3 => format!("pg/c{cluster:02}/wal_005/0000000{}", at % 3),
            _ => String::new(),
        };
        let mut filter = Filter::prefix(prefix);
        let days = 40 + (at as u32 * 37) % 400;
        let action = if at.is_multiple_of(3) {
            Action::Transition {
                when: When::Days(days / 2),
                class: walproof::model::StorageClass::Glacier,
                name: "GLACIER".into(),
            }
        } else {
            Action::Expire { when: When::Days(days), all_versions: false }
        };
        if at % 5 == 4 {
            filter.larger_than = Some(15 << 20);
            filter.tags.push(("team".into(), format!("t{at}")));
        }
        Rule { id: format!("rule-{at:02}"), enabled: true, filter, actions: vec![action], doubts: Vec::new() }
    };
    RuleSet { provider: Provider::S3, rules: (0..count).map(rule).collect(), minimum_size: MinimumSize::AllClasses128K }
}

/// Twenty wal-g archives with a segment every minute or so.
fn archive(objects: usize, start: Timestamp) -> ObjectTable {
    let mut table = ObjectTable::default();
    for at in 0..objects {
        let (cluster, number) = (at * 20 / objects.max(1), at as u64);
        let key = if at % 1000 == 0 {
            format!(
                "pg/c{cluster:02}/basebackups_005/base_0000000100000000{number:08X}/tar_partitions/part_001.tar.lz4"
            )
        } else {
            format!("pg/c{cluster:02}/wal_005/0000000{}00000000{number:08X}.lz4", 1 + at % 2)
        };
        let created = start + SignedDuration::from_secs((number % 100_000) as i64 * 61);
        let mut object = ObjectFacts::new(key.as_bytes(), 1 << (10 + at % 15), created);
        object.tags = Tags::Known(&[]);
        assert!(table.push(&object));
    }
    table.sort();
    table
}

/// Asks every rule every day whether it is time.
fn naive(rules: &RuleSet, object: &ObjectFacts<'_>, start: Timestamp) -> Option<Timestamp> {
    for day in 0..=DAYS {
        let now = start + SignedDuration::from_hours(24 * day);
        for rule in &rules.rules {
            if !rule.filter.key_and_size(object.key, object.size) || !rule.filter.tags.is_empty() {
                continue;
            }
            for action in &rule.actions {
                let (when, small) = match action {
                    Action::Expire { when, .. } => (when, false),
                    Action::Transition { when, .. } => (when, object.size < 128 << 10),
                    _ => continue,
                };
                let When::Days(days) = when else { continue };
                let age = now.duration_since(object.created);
                // Whole days have passed, counted from the midnight behind the object.
                if !small && age > SignedDuration::from_hours(24 * i64::from(*days)) {
                    return Some(now);
                }
            }
        }
    }
    None
}

/// Largest resident memory of this process, in bytes; 0 where the system does not tell.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
