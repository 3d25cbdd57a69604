//! The plan against simulated stores: no key lost, none twice, and how long it takes in simulated time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::{StorageClass, Timestamp};

fn row(key: &[u8]) -> ObjectRow {
    ObjectRow {
        key: ObjectKey::new(key),
        size: 1,
        modified: Timestamp::UNIX_EPOCH,
        etag: None,
        version: None,
        class: StorageClass::Standard,
        checksum: None,
    }
}

/// Sorted keys that answer like a bucket; `present` may change at any time.
struct Sim {
    keys: Vec<Vec<u8>>,
    present: Vec<bool>,
    page: usize,
}

impl Sim {
    fn new(mut keys: Vec<Vec<u8>>, page: usize) -> Self {
        keys.sort_unstable();
        keys.dedup();
        let present = vec![true; keys.len()];
        Sim { keys, present, page }
    }

    fn answer(&self, request: &ListRequest, rows_max: usize) -> ListPage {
        let start =
            request.token.as_deref().map(|token| token.split('|').next_back().unwrap().parse::<usize>().unwrap());
        let after = |key: &Vec<u8>| self.keys.partition_point(|other| other <= key);
        let start = start.unwrap_or_else(|| request.start_after.as_ref().map_or(0, after));
        let start = start.max(self.keys.partition_point(|key| *key < request.prefix));
        let mut page = ListPage::default();
        let mut at = start;
        while at < self.keys.len()
            && self.keys[at].starts_with(&request.prefix)
            && page.rows.len() < rows_max.min(self.page)
        {
            if self.present[at] {
                page.rows.push(row(&self.keys[at]));
            }
            at += 1;
        }
        // Like S3, a page that is full may say there is more when there is not.
        if at < self.keys.len() && self.keys[at].starts_with(&request.prefix) {
            // An empty page needs a token of its own to be no circle.
            let turn =
                request.token.as_deref().map_or(0, |token| token.split('|').next().unwrap().parse::<u64>().unwrap());
            page.next = Some(format!("{}|{at}", turn + 1));
        }
        page
    }
}

/// What came out of a simulated listing.
#[derive(Debug)]
struct Run {
    rows: usize,
    requests: u64,
    /// In units of one request's latency.
    time: u64,
    listers: usize,
}

/// Every request takes one tick; all that end in the same tick are answered in order.
fn timed(keys: Vec<Vec<u8>>, listers: usize) -> Run {
    let sim = Sim::new(keys, 1000);
    let (mut plan, step) = Plan::new(b"", listers, &[]);
    let mut flying = step.requests;
    let mut run = Run { rows: 0, requests: 0, time: 0, listers: 0 };
    while !flying.is_empty() {
        run.time += 1;
        run.requests += flying.len() as u64;
        let mut next = Vec::new();
        for (range, request) in flying {
            let step = plan.arrived(range, sim.answer(&request, usize::MAX)).unwrap();
            run.rows += step.rows.len();
            next.extend(step.requests);
        }
        flying = next;
    }
    assert_eq!(run.rows, sim.keys.len());
    run.listers = plan.listers_peak;
    run
}

fn wal(dir: &str, timeline: u32, numbers: std::ops::Range<u32>, per_log: u32, ext: &str) -> Vec<Vec<u8>> {
    numbers.map(|n| format!("{dir}{timeline:08X}{:08X}{:08X}{ext}", n / per_log, n % per_log).into_bytes()).collect()
}

fn check(name: &str, keys: Vec<Vec<u8>>, speedup: f64, requests: f64) {
    let pages = keys.len().div_ceil(1000) as f64;
    let run = timed(keys, 64);
    let (got, cost) = (pages / run.time as f64, run.requests as f64 / pages);
    let line =
        format!("{name}: {pages} pages, {got:.1} times faster, {cost:.3} times the requests, {} listers", run.listers);
    assert!(got >= speedup && cost <= requests, "{line}");
}

#[test]
fn a_million_segments_are_listed_many_times_faster_for_few_more_requests() {
    let million = || wal("p/wal_005/", 1, 5_000..1_005_000, 256, ".lz4");
    check("plain", million(), 30.0, 1.1);
    let mut with_backups = million();
    for backup in 0..200 {
        let name = format!("p/basebackups_005/base_00000001{:08X}{:08X}", backup * 19, backup % 256);
        with_backups.push(format!("{name}_backup_stop_sentinel.json").into_bytes());
        with_backups.extend((0..50).map(|part| format!("{name}/tar_partitions/part_{part:03}.tar.lz4").into_bytes()));
    }
    with_backups.extend(
        (0..300).map(|n| format!("p/wal_005/00000001{:08X}{:08X}.00000028.backup.lz4", n * 13, n % 256).into_bytes()),
    );
    check("with backups", with_backups, 28.0, 1.15);
    let mut timelines = Vec::new();
    for timeline in 1..=10 {
        timelines.extend(wal("wal_005/", timeline, timeline * 100_000..(timeline + 1) * 100_000, 256, ".zst"));
        timelines.push(format!("wal_005/{timeline:08X}.history.zst").into_bytes());
    }
    check("timelines", timelines, 25.0, 1.12);
    let mut holes = wal("wal_005/", 1, 0..200_000, 256, ".lz4");
    holes.extend(wal("wal_005/", 1, 700_000..1_500_000, 256, ".lz4"));
    check("with a hole", holes, 20.0, 1.1);
}

#[test]
fn every_layout_and_segment_size_is_cut_well() {
    let nested = (0..300_000u32).map(|n| {
        let folder = format!("00000001{:08X}", n / 256);
        format!("main/wals/{folder}/{folder}{:08X}.gz", n % 256).into_bytes()
    });
    check("barman", nested.collect(), 13.0, 1.1);
    let hashed = (0..300_000u32).map(|n| {
        let folder = format!("00000001{:08X}", n / 256);
        let hash = u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!("archive/main/15-1/{folder}/{folder}{:08X}-{hash:016x}.zst", n % 256).into_bytes()
    });
    check("pgbackrest", hashed.collect(), 13.0, 1.1);
    check("1 MiB segments", wal("wal_005/", 1, 0..300_000, 4096, ".lz4"), 13.0, 1.1);
    check("64 MiB segments", wal("wal_005/", 1, 0..300_000, 64, ""), 13.0, 1.1);
}

#[test]
fn small_archives_cost_hardly_more_requests() {
    for pages in [1, 2, 3, 5, 8, 12, 20, 40] {
        check("small", wal("wal_005/", 1, 0..pages * 1000 - 500, 256, ".lz4"), 1.0, 1.2);
    }
    check("10^5", wal("wal_005/", 1, 0..100_000, 256, ".lz4"), 5.5, 1.1);
}

#[test]
fn names_that_do_not_count_are_cut_blindly_within_the_budget() {
    let names = |n: u64| format!("dump/{:016x}/part", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes();
    check("hashes", (0..300_000).map(names).collect(), 4.0, 1.2);
    let mut tars = Vec::new();
    for day in 0..300 {
        tars.extend((0..1000).map(|part| format!("base/202611{day:03}T020000/{part:05}.tar.gz").into_bytes()));
    }
    check("tars", tars, 2.5, 1.2);
    let mut files = Vec::new();
    for backup in 0..10 {
        for table in 0..40_000 {
            files.push(
                format!("backup/main/202611{:02}-020000F/pg_data/base/16384/{table}.zst", backup + 1).into_bytes(),
            );
        }
    }
    check("pgbackrest files", files, 3.5, 1.2);
}

#[test]
fn cuts_of_an_earlier_listing_are_used_at_once() {
    let sim = Sim::new(wal("wal_005/", 1, 0..100_000, 256, ".lz4"), 1000);
    let cuts: Vec<ObjectKey> = (1..10).map(|n| ObjectKey::new(sim.keys[n * 10_000 - 1].as_slice())).collect();
    let (mut plan, mut step) = Plan::new(b"wal_005/", 16, &cuts);
    let (mut rows, mut time) = (0, 0);
    while !step.requests.is_empty() {
        time += 1;
        let requests = std::mem::take(&mut step.requests);
        for (range, request) in requests {
            let next = plan.arrived(range, sim.answer(&request, 1000)).unwrap();
            rows += next.rows.len();
            step.requests.extend(next.requests);
        }
    }
    assert_eq!((rows, time <= 10), (100_000, true), "{time}");
}

/// What a hostile store does at each answer.
#[derive(Debug, Clone, Copy)]
struct Whim {
    /// Which request in flight is answered.
    pick: u8,
    /// Rows at most.
    rows: u8,
    /// Which key changes.
    change: u16,
}

fn hostile_keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let numbers = prop_oneof![0u32..2000, any::<u32>()];
    let wal_name = (numbers, 1u32..4, prop::sample::select(vec!["", ".lz4", ".lz4~", "\u{e9}", "/x"]), any::<bool>())
        .prop_map(|(n, timeline, tail, nested)| {
            let folder = format!("{timeline:08X}{:08X}", n / 256);
            let nested = if nested { format!("{folder}/") } else { String::new() };
            format!("p/w/{nested}{folder}{:08X}{tail}", n % 256).into_bytes()
        });
    let run = (0u32..3000, 1u32..600, 1u32..3)
        .prop_map(|(from, count, timeline)| wal("p/w/", timeline, from..from + count, 256, ".lz4"));
    let bytes = proptest::collection::vec(any::<u8>(), 0..6).prop_map(|tail| [&b"p/"[..], &tail].concat());
    let words = "p/[ab0/~]{1,6}".prop_map(String::into_bytes);
    let one = prop_oneof![4 => wal_name, 2 => bytes, 2 => words].prop_map(|key| vec![key]);
    proptest::collection::vec(prop_oneof![6 => one, 1 => run], 1..120).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn keys_present_throughout_are_listed_exactly_once(
        keys in hostile_keys(), outside in proptest::collection::vec("[a-z]{1,3}", 0..4),
        listers in 1usize..20, page in 1usize..40,
        whims in proptest::collection::vec((any::<u8>(), 0u8..20, any::<u16>()).prop_map(|(pick, rows, change)| Whim { pick, rows, change }), 1..200),
        cuts in proptest::collection::vec("p/(w/0000000[0-9A-F]{17}|[a-z]{0,3})", 0..5),
        inclusive in any::<bool>(),
    ) {
        let mut sim = Sim::new([keys, outside.into_iter().map(String::into_bytes).collect()].concat(), page);
        let cuts: Vec<ObjectKey> = cuts.into_iter().map(ObjectKey::from).collect();
        let (mut plan, step) = Plan::new(b"p/", listers, &cuts);
        let mut flying = step.requests;
        let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut touched = vec![false; sim.keys.len()];
        let mut turn = 0;
        while !flying.is_empty() {
            let whim = whims[turn % whims.len()];
            turn += 1;
            prop_assert!(flying.len() <= listers);
            let (range, request) = flying.swap_remove(usize::from(whim.pick) % flying.len());
            if let Some(start) = &request.start_after {
                prop_assert!(std::str::from_utf8(start).is_ok());
            }
            // Now and then something comes or goes, and now and then a page is empty.
            if turn % 3 == 0 {
                let at = usize::from(whim.change) % sim.keys.len();
                sim.present[at] = !sim.present[at];
                touched[at] = true;
            }
            let rows_max = if turn % 7 == 0 && turn < 5000 { 0 } else { usize::from(whim.rows).max(1) };
            let mut answer = sim.answer(&request, rows_max);
            if let (true, Some(start), None) = (inclusive, &request.start_after, &request.token)
                && sim.keys.binary_search(start).is_ok()
            {
                answer.rows.insert(0, row(start));
            }
            let step = plan.arrived(range, answer).unwrap();
            for row in step.rows {
                *seen.entry(row.key.as_bytes().to_vec()).or_default() += 1;
            }
            flying.extend(step.requests);
        }
        for (at, key) in sim.keys.iter().enumerate() {
            let count = seen.remove(key).unwrap_or(0);
            let text = ObjectKey::new(key.as_slice());
            if !key.starts_with(b"p/") {
                prop_assert_eq!(count, 0, "{} is outside", text);
            } else if touched[at] {
                prop_assert!(count <= 1, "{} came {} times", text, count);
            } else {
                prop_assert_eq!(count, 1, "{}", text);
            }
        }
        prop_assert!(seen.is_empty());
    }
}

#[test]
fn a_store_that_ignores_start_after_is_still_listed_once() {
    let sim = Sim::new(wal("w/", 1, 0..40_000, 256, ".lz4"), 1000);
    let (mut plan, step) = Plan::new(b"", 8, &[]);
    let mut flying = step.requests;
    let mut rows = 0;
    while let Some((range, mut request)) = flying.pop() {
        request.start_after = None;
        let step = plan.arrived(range, sim.answer(&request, 1000)).unwrap();
        rows += step.rows.len();
        flying.extend(step.requests);
    }
    assert_eq!(rows, 40_000);
}

#[test]
fn disorder_and_circles_are_errors() {
    let (mut plan, _) = Plan::new(b"", 8, &[]);
    let page = ListPage { rows: vec![row(b"b"), row(b"a")], ..ListPage::default() };
    let error = plan.arrived(0, page.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store does not list in key order: a comes too late; list it with --connections 1"
    );
    // One lister needs no order.
    let (mut plan, _) = Plan::new(b"", 1, &[]);
    assert_eq!(plan.arrived(0, page).unwrap().rows.len(), 2);
    let (mut plan, _) = Plan::new(b"", 1, &[]);
    let again = ListPage { next: Some("t".into()), ..ListPage::default() };
    plan.arrived(0, again.clone()).unwrap();
    assert_eq!(plan.arrived(0, again).unwrap_err().to_string(), "the listing goes round in circles");
}

#[tokio::test]
async fn a_store_is_listed_through_the_trait() {
    let store = Arc::new(super::super::MemoryStore::with_page(100));
    let mut names = String::new();
    for n in 0..5000u32 {
        names.clear();
        write!(names, "wal_005/00000001{:08X}{:08X}.lz4", n / 256, n % 256).unwrap();
        store.put(names.as_str(), "x", Timestamp::UNIX_EPOCH);
    }
    store.put(ObjectKey::new(*b"wal_005/\xff"), "xyz", Timestamp::UNIX_EPOCH);
    let ctx = RunContext::new(Timestamp::UNIX_EPOCH);
    let mut keys = Vec::new();
    let stats = list_all(Arc::clone(&store) as _, b"wal_005/", ListOptions::default(), &ctx, |rows| {
        keys.extend(rows.into_iter().map(|row| row.key));
    })
    .await
    .unwrap();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), stats.objects, stats.bytes), (5001, 5001, 5003));
    assert!(stats.listers_peak > 4 && stats.requests <= 61, "{stats:?}");

    let mut part = Vec::new();
    let (low, high) = (keys[10].as_bytes(), keys[4000].as_bytes());
    let count = list_range(&*store, b"wal_005/", Some(low), Some(high), |rows| part.extend(rows)).await.unwrap();
    assert_eq!((count, part[0].key == keys[11], part.len()), (3989, true, 3989));
    let count = list_range(&*store, b"", Some(b"wal_005/\xfe"), None, |rows| part.extend(rows)).await.unwrap();
    assert_eq!(count, 1);

    ctx.cancel.set();
    let error = list_all(store, b"", ListOptions::default(), &ctx, |_| {}).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Cancelled);
}
