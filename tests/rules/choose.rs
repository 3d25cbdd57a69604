//! Which backup, timeline and target a test restore takes, and what it refuses before anything is fetched.

use walproof::audit::{self, Content, Known, Options};
use walproof::catalog::evidence::{RestoreEvidence, RestoreOutcome, RestoreTest, fingerprint};
use walproof::model::{SegmentNo, Timestamp};
use walproof::restore::test::{Pick, Refusal, Target, Wish, candidates, choose};
use walproof::run::RunContext;

use crate::described::{Described, SIZE, tli};
use crate::two_timelines;

async fn known(archive: &Described) -> Known {
    let ctx = RunContext::new(archive.clock);
    let mut found = audit::catalogue(&archive.target(), &Options::default(), &ctx).await.unwrap();
    match found.remove(0).content {
        Content::Known(known) => *known,
        Content::NotRead(layout) => panic!("{layout:?}"),
    }
}

fn wish(pick: &str, target: &str, timeline: Option<u32>) -> Wish {
    Wish { pick: pick.parse().unwrap(), target: target.parse().unwrap(), timeline: timeline.map(tli), seed: 7 }
}

/// What becomes of the first candidate: timeline and target, or the refusal.
async fn first(archive: &Described, wish: &Wish) -> Result<(String, u32, Target), Refusal> {
    let known = known(archive).await;
    let backups = candidates(&known.archive, &known.recovery, &RestoreEvidence::default(), wish, false).unwrap();
    let choice = choose(&known.archive, &known.recovery, backups[0], wish, None)?;
    Ok((choice.backup.name.clone(), choice.chain.timeline.get(), choice.target))
}

const OLD: &str = "base_000000010000000000000002";
const NEW: &str = "base_00000001000000000000000A";

#[tokio::test]
async fn the_timeline_comes_from_the_model() {
    let archive = two_timelines();
    let (name, timeline, _) = first(&archive, &wish("latest", "latest", None)).await.unwrap();
    assert_eq!((name.as_str(), timeline), (NEW, 2));
    let (_, timeline, _) = first(&archive, &wish(OLD, "immediate", None)).await.unwrap();
    assert_eq!(timeline, 1, "a backup is consistent on its own timeline");
    let (_, timeline, _) = first(&archive, &wish("oldest", "latest", Some(1))).await.unwrap();
    assert_eq!(timeline, 1);
    // A moment that only an older backup reaches.
    let early = SegmentNo(5).start(SIZE);
    let (name, _, target) = first(&archive, &wish("latest", &format!("lsn={early}"), None)).await.unwrap();
    assert_eq!((name.as_str(), target), (OLD, Target::Lsn(early)));
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_the_place() {
    let refused = |archive: Described, pick: &'static str, target: String, timeline| async move {
        first(&archive, &wish(pick, &target, timeline)).await.unwrap_err()
    };
    // A hole: PostgreSQL would promote there.
    let mut holed = two_timelines();
    holed.remove_wal(1, 12, 12);
    let refusal = refused(holed, NEW, "latest".into(), None).await;
    assert_eq!((refusal.code, refusal.reaches), ("RST004", Some(SegmentNo(12).start(SIZE))));
    assert_eq!(refusal.objects, ["wal_005/00000001000000000000000C"]);
    // Outside of the window.
    for lsn in [SegmentNo(2).start(SIZE), SegmentNo(40).start(SIZE)] {
        assert_eq!(refused(two_timelines(), OLD, format!("lsn={lsn}"), None).await.code, "RST004");
    }
    assert_eq!(refused(two_timelines(), OLD, "time=2000-01-01T00:00:00Z".into(), None).await.code, "RST004");
    // A timeline that does not descend from the backup's.
    let mut branched = two_timelines();
    branched.history(3, "1\t0/7000090\tx\n").wal_with_page(3, 7, 7, 1).wal(3, 8, 9);
    let refusal = refused(branched, NEW, "latest".into(), None).await;
    assert_eq!(refusal.code, "RST004");
    assert!(refusal.message.contains("left timeline 1 at 0/7000090"), "{}", refusal.message);
    // Its own WAL, and its own tars.
    let mut inconsistent = two_timelines();
    inconsistent.remove_wal(1, 10, 10);
    assert_eq!(refused(inconsistent, NEW, "immediate".into(), None).await.code, "RST003");
    let mut partless = two_timelines();
    partless.remove(&format!("basebackups_005/{NEW}/tar_partitions/part_002.tar.lz4"));
    let refusal = refused(partless, NEW, "immediate".into(), None).await;
    assert_eq!(refusal.code, "RST001");
    assert!(refusal.objects[0].contains("part_002"), "{:?}", refusal.objects);
}

#[tokio::test]
async fn random_is_repeatable_and_inside() {
    let known = known(&two_timelines()).await;
    let backup = known.archive.backup(OLD).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let wish = Wish { seed, ..wish("random", "random", None) };
        let last = SegmentNo(18).start(SIZE);
        let choice = choose(&known.archive, &known.recovery, backup, &wish, Some(last)).unwrap();
        let Target::Lsn(lsn) = choice.target else { panic!("{:?}", choice.target) };
        assert!(choice.chain.from_lsn <= lsn && lsn < last, "{lsn}");
        assert_eq!(
            choose(&known.archive, &known.recovery, backup, &wish, Some(last)).unwrap().target,
            Target::Lsn(lsn)
        );
        seen.insert(lsn);
    }
    assert!(seen.len() > 150, "{}", seen.len());
}

#[tokio::test]
async fn the_least_recently_proven_comes_first_and_older_ones_stand_in() {
    let known = known(&two_timelines()).await;
    let proof = |name: &str, second: i64| RestoreTest {
        outcome: RestoreOutcome::Restored,
        at: Some(Timestamp::from_second(second).unwrap()),
        fingerprint: fingerprint(&known.archive, known.archive.backup(name).unwrap()),
        ..RestoreTest::planned(name, "latest")
    };
    let pick = |remembered: Vec<RestoreTest>, fallback: bool, pick: Pick| {
        let evidence = RestoreEvidence { tests: Vec::new(), remembered };
        let wish = Wish { pick, ..wish("latest", "latest", None) };
        let found = candidates(&known.archive, &known.recovery, &evidence, &wish, fallback).unwrap();
        found.iter().map(|backup| backup.name.clone()).collect::<Vec<_>>()
    };
    let least = || Pick::LeastRecentlyProven;
    assert_eq!(pick(vec![], false, least()), [NEW]);
    assert_eq!(pick(vec![proof(NEW, 5)], false, least()), [OLD]);
    assert_eq!(pick(vec![proof(NEW, 5), proof(OLD, 9)], false, least()), [NEW]);
    let stale = RestoreTest { fingerprint: "other".into(), ..proof(NEW, 5) };
    assert_eq!(pick(vec![stale, proof(OLD, 9)], false, least()), [NEW], "a proof of other objects is none");
    assert_eq!(pick(vec![], true, Pick::Latest), [NEW, OLD]);
    assert_eq!(pick(vec![], true, Pick::Oldest), [OLD]);
    let wish = wish("base_nothing", "latest", None);
    let none = candidates(&known.archive, &known.recovery, &RestoreEvidence::default(), &wish, false);
    assert!(none.unwrap_err().contains(NEW));
}
