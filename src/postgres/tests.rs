//! Against a real server; where the machine has none these tests say so and pass.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::run::Cancel;

fn installation() -> Option<Installation> {
    let found = installations(&[]).unwrap();
    match choose(&found, None) {
        Ok(installation) if installation.has("initdb") => Some(installation.clone()),
        _ if std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_some() => panic!("no PostgreSQL on this machine"),
        _ => {
            use std::io::Write;
            let _ = writeln!(std::io::stdout(), "SKIPPED: no PostgreSQL on this machine");
            None
        }
    }
}

fn base() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    base
}

async fn cluster(base: &Path, installation: &Installation) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::create(Some(base), Identity::resolve(None).unwrap()).unwrap();
    let options = ClusterOptions { segment_mib: 1, ..ClusterOptions::default() };
    let data = create_cluster(&sandbox, installation, "data", &options, &Cancel::default()).await.unwrap();
    (sandbox, data)
}

fn settings() -> ServerOptions {
    ServerOptions::default().set("fsync", "off").set("shared_buffers", "4MB").set("max_connections", "5")
}

/// Processes whose working directory is this one, or below it.
fn processes_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|e| std::fs::read_link(e.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .map(|e| format!("{:?}", std::fs::read_to_string(e.path().join("cmdline"))))
        .collect()
}

fn wait_until_empty(dir: &Path) {
    let begun = Instant::now();
    while !processes_in(dir).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "still running: {:?}", processes_in(dir));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_server_answers_and_leaves_nothing() {
    let Some(installation) = installation() else { return };
    let base = base();
    let (sandbox, data) = cluster(base.path(), &installation).await;
    let mut server = Server::start(&sandbox, &installation, &data, settings().set("work_mem", "7MB")).unwrap();
    let client = server.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap();
    let row = client.query_one("select current_setting('work_mem'), current_setting('wal_segment_size')", &[]).await;
    let row = row.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("7MB", "1MB"));
    let unknown = server.connect("postgres", "no such database").await.unwrap_err().to_string();
    assert!(unknown.contains("does not exist"), "{unknown}");
    assert!(log_tail(server.log(), 1000).contains("no such database"));
    server.stop(StopMode::Fast, Duration::from_secs(30)).await.unwrap();
    assert!(client.simple_query("select 1").await.is_err());

    // Again on the same directory, this time dropped in the middle.
    let mut server = Server::start(&sandbox, &installation, &data, settings()).unwrap();
    server.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap();
    drop(sandbox);
    assert!(data.exists(), "a running server keeps its sandbox");
    drop(server);
    wait_until_empty(base.path());
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_ends_a_server_is_said() {
    let Some(installation) = installation() else { return };
    let base = base();
    let (sandbox, data) = cluster(base.path(), &installation).await;

    let mut broken = Server::start(&sandbox, &installation, &data, settings().set("max_connections", "-3")).unwrap();
    let error = broken.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("exit status 1") && error.contains("max_connections"), "{error}");
    drop(broken);

    let mut options = settings();
    options.time_limit = Duration::from_secs(2);
    let mut slow = Server::start(&sandbox, &installation, &data, options).unwrap();
    let client = slow.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap();
    assert!(client.simple_query("select pg_sleep(60)").await.is_err());
    let error = loop {
        if let Err(error) = slow.check() {
            break error.to_string();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(error, "the PostgreSQL sandbox took longer than 2 s");
    drop(slow);

    let cancel = Cancel::default();
    cancel.set();
    let mut stopped = Server::start(&sandbox, &installation, &data, settings()).unwrap();
    let error = stopped.ready("postgres", "postgres", &cancel, |_| {}).await.unwrap_err();
    assert!(matches!(error, PostgresError::Cancelled), "{error}");
    // Still between fork and its signal handlers: the hardest moment to stop it.
    drop(stopped);
    wait_until_empty(base.path());
}

const CHILD: &str = "WALPROOF_TEST_SANDBOX";

/// Not a test: what `killed_walproof_leaves_no_server` starts as a process of its own.
#[tokio::test]
#[ignore = "started by another test"]
async fn child_that_runs_a_server() {
    let Some(base) = std::env::var_os(CHILD) else { return };
    let Some(installation) = installation() else { return };
    let (sandbox, data) = cluster(Path::new(&base), &installation).await;
    let mut server = Server::start(&sandbox, &installation, &data, settings()).unwrap();
    server.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap();
    std::fs::write(Path::new(&base).join("ready"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[test]
fn killed_walproof_leaves_no_server() {
    if installation().is_none() || !Path::new("/proc/self").exists() {
        return;
    }
    let base = base();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::tests::child_that_runs_a_server", "--ignored"])
        .env(CHILD, base.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !base.path().join("ready").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!processes_in(base.path()).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_empty(base.path());
    assert_eq!(sweep(base.path()).len(), 1);
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1, "only the file `ready`");
}
