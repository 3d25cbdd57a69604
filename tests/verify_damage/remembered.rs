//! What runs leave for later ones: proofs of half-read backups, audits and answers that read nothing themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use walproof::audit::{self, ContentAsked, Options, Target};
use walproof::catalog::{self, Moment, Verdict};
use walproof::model::ObjectKey;
use walproof::report::data::{ArchiveReport, Rung};
use walproof::report::{ReachReport, reach_report, render_reach};
use walproof::run::{Cancel, RunContext};
use walproof::state::{State, open_state};
use walproof::store::{
    Address, BoxFuture, Limits, ListPage, ListRequest, ObjectRead, ReadOptions, Store, StoreError, StoreErrorKind,
    StoreOptions,
};
use walproof::verify::{BackupChoice, WalChoice};

use crate::golden_support as g;
use crate::library::{keys, runtime, target};

/// A store that fails on some keys and notes what was read.
#[derive(Debug)]
struct Flaky {
    inner: Arc<dyn Store>,
    fails: &'static str,
    read: Mutex<BTreeSet<String>>,
}

impl Store for Flaky {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }

    fn url(&self, key: &[u8]) -> String {
        self.inner.url(key)
    }

    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        self.inner.list_page(request)
    }

    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>> {
        let text = key.to_string();
        if !self.fails.is_empty() && text.contains(self.fails) {
            let error = StoreError::new(StoreErrorKind::Network, format!("{text}: the store is away"));
            return Box::pin(std::future::ready(Err(error)));
        }
        self.read.lock().unwrap().insert(text);
        self.inner.read(key, options)
    }

    fn requests(&self) -> u64 {
        self.inner.requests()
    }
}

struct Runs {
    copy: g::Copy,
    golden: std::path::PathBuf,
    state: State,
    _dir: tempfile::TempDir,
    as_of: jiff::Timestamp,
}

const NAME: &str = "walg-lz4-pg15";

impl Runs {
    async fn new(golden: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Directory(dir.path().join("state"));
        let state = open_state(&address, &StoreOptions::default(), Limits::new(4), Cancel::default()).await.unwrap();
        let copy = g::Copy::of(&g::root(golden, NAME));
        let as_of = g::two_days_later(&copy.path()).parse().unwrap();
        Runs { copy, golden: golden.to_owned(), state, _dir: dir, as_of }
    }

    async fn target(&self, fails: &'static str) -> (Target, Arc<Flaky>) {
        let mut target = target(&self.copy.path(), keys(&self.golden, NAME)).await;
        let inner = target.storages[0].store.clone();
        let store = Arc::new(Flaky { inner, fails, read: Mutex::default() });
        target.storages[0].store = store.clone();
        (target, store)
    }

    /// One run, an hour after the one before. What was read comes with it.
    async fn run(&mut self, asked: Option<ContentAsked>, fails: &'static str) -> (ArchiveReport, BTreeSet<String>) {
        self.as_of += jiff::SignedDuration::from_hours(1);
        let (target, store) = self.target(fails).await;
        let asked = asked.map(|asked| ContentAsked { state: Some(self.state.clone()), ..asked });
        let ctx = RunContext::new(self.as_of);
        let mut found = audit::audit_with(&target, &Options::default(), Some(&self.state), asked.as_ref(), &ctx).await;
        let read = store.read.lock().unwrap().clone();
        (found.remove(0), read)
    }
}

/// Stores a file again, with the same content.
fn touch(path: &Path) {
    let time = std::fs::metadata(path).unwrap().modified().unwrap();
    g::set_modified(path, time + std::time::Duration::from_secs(1));
}

fn asked(backups: BackupChoice, wal: WalChoice) -> Option<ContentAsked> {
    Some(ContentAsked { backups: Some(backups), wal: Some(wal), ..ContentAsked::default() })
}

#[test]
fn a_half_read_backup_is_read_on_where_the_run_ended() {
    let Some(golden) = g::golden() else { return };
    runtime().block_on(async {
        let mut runs = Runs::new(&golden).await;
        let backups = || asked(BackupChoice::All, WalChoice::None);
        let (report, _) = runs.run(backups(), "/backup_label.tar").await;
        assert!(report.error.as_ref().unwrap().contains("the store is away"), "{:?}", report.error);
        let parts = |report: &ArchiveReport| report.verify.as_ref().unwrap()["backup_files"].as_u64().unwrap();
        let (first_parts, first_at) = (parts(&report), runs.as_of);
        for backup in &report.backups {
            assert!(backup.rungs.intact.is_none() && backup.proven_fraction > 0.9, "{backup:?}");
            assert!(backup.proven_fraction < 1.0 && backup.oldest_proof == Some(first_at));
        }

        // An audit between the two says what is proven so far, and reads nothing.
        let (report, read) = runs.run(None, "").await;
        assert!(!read.iter().any(|key| key.contains(".tar")), "{read:?}");
        for backup in &report.backups {
            assert!(backup.rungs.intact.is_none() && backup.proven_fraction > 0.9, "{backup:?}");
        }

        let (report, read) = runs.run(backups(), "").await;
        assert_eq!(report.error, None);
        assert!(!read.iter().any(|key| key.contains("/part_0")), "{read:?}");
        assert!(parts(&report) < first_parts + report.backups.len() as u64, "{}", parts(&report));
        assert!(report.findings.iter().all(|finding| !finding.code.starts_with("INT")), "{:?}", report.findings);
        for backup in &report.backups {
            // As old as its oldest part.
            assert_eq!((backup.proven_fraction, backup.rungs.intact), (1.0, Some(first_at)), "{backup:?}");
        }

        // Whole now: nothing is read any more.
        let (report, read) = runs.run(backups(), "").await;
        assert!(!read.iter().any(|key| key.contains(".tar")), "{read:?}");
        assert!(report.backups.iter().all(|backup| backup.rungs.intact == Some(first_at)));
    });
}

#[test]
fn a_half_read_backup_that_changed_is_read_again_and_damage_beside_it_is_found() {
    let Some(golden) = g::golden() else { return };
    runtime().block_on(async {
        let mut runs = Runs::new(&golden).await;
        let backups = || asked(BackupChoice::All, WalChoice::None);
        let (report, _) = runs.run(backups(), "/backup_label.tar").await;
        let (changed, other) = (&report.backups[0].name, &report.backups[1].name);
        let part = |name: &str, part: &str| {
            runs.copy.path().join(format!("basebackups_005/{name}/tar_partitions/{part}.tar.lz4"))
        };
        touch(&part(changed, "part_001"));
        // Damage in a part that was not read yet.
        let label = part(other, "backup_label");
        let time = std::fs::metadata(&label).unwrap().modified().unwrap();
        let bytes = std::fs::read(&label).unwrap();
        std::fs::write(&label, &bytes[..bytes.len() - 3]).unwrap();
        g::set_modified(&label, time);
        let (report, read) = runs.run(backups(), "").await;
        let was_read = |name: &str| read.iter().any(|key| key.contains(name) && key.contains("/part_001"));
        assert!(was_read(changed), "{read:?}");
        // Its size is another one: what was proven was proven of another backup.
        assert!(was_read(other));
        let findings: Vec<&str> = report.findings.iter().map(|finding| finding.subject.as_str()).collect();
        assert!(findings.iter().any(|subject| subject.contains(other.as_str())), "{findings:?}");
        // A full backup beside them.
        let third = &report.backups[3];
        assert!(!was_read(&third.name) && third.rungs.intact.is_some(), "{third:?}");
    });
}

#[test]
fn an_audit_shows_what_earlier_runs_proved_of_what_has_not_changed() {
    let Some(golden) = g::golden() else { return };
    runtime().block_on(async {
        let mut runs = Runs::new(&golden).await;
        let (report, _) = runs.run(None, "").await;
        assert!(report.proven.is_none() && report.timelines[0].runs[0].proven_fraction == 0.0);
        runs.run(asked(BackupChoice::Latest, WalChoice::None), "").await;
        let second_at = runs.as_of;
        runs.run(asked(BackupChoice::None, WalChoice::All), "").await;
        let (report, read) = runs.run(None, "").await;
        assert!(!read.iter().any(|key| key.contains(".tar")), "{read:?}");
        let proven = report.proven.as_ref().unwrap();
        assert_eq!((proven.oldest_proof, proven.oldest_proof_age_s), (Some(second_at), Some(7200)));
        assert!(proven.proven_fraction > 0.1 && proven.proven_fraction < 1.0, "{proven:?}");
        assert!(report.verify.is_none(), "nothing was read");
        let run = &report.timelines[0].runs[0];
        assert!(run.proven_fraction == 1.0 && run.rungs.valid.is_some() && run.oldest_proof.is_some());
        let latest = report.backups.last().unwrap();
        assert_eq!((latest.oldest_proof, latest.rung), (Some(second_at), Some(Rung::Valid)), "{latest:?}");

        // A segment that was stored anew is not what was proven.
        let first = report.timelines[0].first.clone().unwrap();
        let key = runs.copy.path().join(format!("wal_005/{first}.lz4"));
        touch(&key);
        let (report, _) = runs.run(None, "").await;
        let run = &report.timelines[0].runs[0];
        assert!(run.proven_fraction < 1.0 && run.proven_fraction > 0.5 && run.rungs.valid.is_none(), "{run:?}");

        // A run that reads only a part still counts what others proved.
        let (report, _) = runs.run(asked(BackupChoice::Latest, WalChoice::None), "").await;
        assert!(report.timelines[0].runs[0].proven_fraction > 0.5);
    });
}

/// The answer on a moment, with what the state holds.
async fn reach(runs: &Runs, moment: Moment) -> (ReachReport, String) {
    let (target, store) = runs.target("").await;
    let ctx = RunContext::new(runs.as_of);
    let mut found = audit::catalogue(&target, &Options::default(), &ctx).await.unwrap().remove(0);
    audit::count_on_proofs(&target, &mut found, &runs.state, &ctx).await;
    assert!(!store.read.lock().unwrap().iter().any(|key| key.contains(".tar")));
    let audit::Content::Known(known) = &found.content else { panic!("not read") };
    let answer = catalog::reach(&known.archive, &known.recovery, moment, None);
    let proofs = known.proven.as_deref();
    let report = reach_report("t", &found.url, &known.archive, &known.recovery, moment, &answer, proofs);
    let mut text = Vec::new();
    render_reach(&report, &mut text).unwrap();
    assert_eq!(answer.verdict == Verdict::Reachable, report.verdict == "reachable");
    (report, String::from_utf8(text).unwrap())
}

#[test]
fn reach_says_what_its_answer_rests_on() {
    let Some(golden) = g::golden() else { return };
    runtime().block_on(async {
        let mut runs = Runs::new(&golden).await;
        let (report, _) = runs.run(None, "").await;
        let window = report.recovery_window.clone().unwrap();
        let moment = Moment::Lsn(walproof::model::Lsn(window.to_lsn.0 - (16 << 20) - 100));
        let (answer, text) = reach(&runs, moment).await;
        assert!(text.contains("nothing is missing on the way (judged by listing and metadata)"), "{text}");
        assert!(answer.content.is_none());

        runs.run(asked(BackupChoice::All, WalChoice::None), "").await;
        let (answer, text) = reach(&runs, moment).await;
        assert!(text.contains("judged by listing and metadata; the backup was read and holds, 0 of"), "{text}");
        assert_eq!(answer.content.as_ref().unwrap().backup, "valid");

        let (report, _) = runs.run(asked(BackupChoice::None, WalChoice::All), "").await;
        let (answer, text) = reach(&runs, moment).await;
        assert!(text.contains("backup and WAL were read to the last byte and hold, oldest proof"), "{text}");
        let content = answer.content.unwrap();
        assert_eq!(content.segments, content.segments_proven);
        // The end that was read is exact: behind it nothing can be reached, at it everything.
        let end = report.recovery_window.unwrap().to_lsn;
        assert!(end < window.to_lsn, "{end} {}", window.to_lsn);
        assert_eq!(reach(&runs, Moment::Lsn(end)).await.0.verdict, "reachable");
        assert_eq!(reach(&runs, Moment::Lsn(walproof::model::Lsn(end.0 + 1))).await.0.verdict, "unreachable");
    });
}

#[test]
fn damage_that_is_remembered_counts_until_the_object_changes() {
    let Some(golden) = g::golden() else { return };
    runtime().block_on(async {
        let mut runs = Runs::new(&golden).await;
        let (report, _) = runs.run(None, "").await;
        let last = report.timelines[0].last.clone().unwrap();
        let end = report.recovery_window.unwrap().to_lsn;
        let moment = Moment::Lsn(walproof::model::Lsn(end.0 - (16 << 20) + 200));
        assert_eq!(reach(&runs, moment).await.0.verdict, "reachable", "before anybody looked");
        let path = runs.copy.path().join(format!("wal_005/{last}.lz4"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let (report, _) = runs.run(asked(BackupChoice::None, WalChoice::All), "").await;
        assert!(report.findings.iter().any(|finding| finding.code == "INT001"), "{:?}", report.findings);
        let (answer, text) = reach(&runs, moment).await;
        assert_eq!(answer.verdict, "unreachable", "{text}");
        assert!(text.contains("damaged when read last and not changed since: 1 segment, first"), "{text}");
        let (report, _) = runs.run(None, "").await;
        assert!(report.notes.iter().any(|note| note.contains(&last)), "{:?}", report.notes);
        // Archived again: nothing is known of it any more.
        std::fs::write(&path, &bytes).unwrap();
        let (answer, text) = reach(&runs, moment).await;
        assert_eq!(answer.verdict, "reachable", "{text}");
    });
}
