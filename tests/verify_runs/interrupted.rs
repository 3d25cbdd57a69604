//! Ctrl-C in the middle: what was proven stays proven, and the next run goes on.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::made::Made;
use super::run::{Content, Run, at, remembered};
use crate::support::s3::{FakeS3, Faults};

async fn stopped_by(signal: Signal) {
    let server = FakeS3::start("us-east-1", true).await;
    let made = Made::default().packed(2, 61).backup(3, 5000);
    made.upload(&server);
    let content = Content::of(&server);
    let slowly = Faults { no_sums: true, slow: Duration::from_millis(40), ..Faults::default() };
    server.set(slowly);
    let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = at(&server, "verify");
    command.args(["--connections", "2", "--jobs", "1", "--state"]).arg(state.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The sidecars come first: seven small files, then content.
    let begun = Instant::now();
    while server.get_count() < 25 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{} objects were asked for", server.get_count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    let asked = Instant::now();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(30), "it ends soon");
    let run = Run::read(&output);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert_eq!(run.archive["status"], "incomplete");
    let error = run.archive["error"].as_str().unwrap();
    assert!(error.contains("verification was stopped"), "{error}");
    assert_eq!(run.codes(), BTreeSet::new(), "what was not read is not damaged");
    let read = run.read_objects();
    assert!((1..64).contains(&read), "{read}");
    let first: Vec<String> = content.gets();
    let proven: BTreeSet<String> = remembered(state.path()).concat().into_iter().collect();
    assert_eq!(proven.len() as u64, run.number("wal_segments"), "all that was read is remembered");

    server.set(Faults { no_sums: true, ..Faults::default() });
    let next = Run::of(at(&server, "verify").arg("--state").arg(state.path())).clean();
    let again = content.gets();
    assert_eq!(next.read_objects() + read, 64);
    assert_eq!((next.number("known"), again.len() as u64), (read, next.read_objects()));
    assert!(!again.iter().any(|key| proven.contains(&key[11..35])), "what was proven is not read again");
    assert!(first.len() as u64 >= read);
    assert!(next.proven() > 0.9999);
    let last = Run::of(at(&server, "verify").arg("--state").arg(state.path())).clean();
    assert_eq!((last.read_objects(), last.number("known")), (0, 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_ctrl_c() {
    stopped_by(Signal::SIGINT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_sigterm() {
    stopped_by(Signal::SIGTERM).await;
}
