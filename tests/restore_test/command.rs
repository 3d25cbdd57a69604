//! Real servers whose `restore_command` is `walproof wal-fetch`: what it says is what they do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use walproof::postgres::{Identity, Installation, Origin, PostgresError, Sandbox, Server, StopMode};
use walproof::restore::test::settings;
use walproof::run::Cancel;
use walproof::wal::ControlFile;

use crate::golden_support as g;
use crate::run::{is_clean, ledger_is, lsn, postgres, work_dir};
use crate::served::{files, key};
use crate::support::s3::{FakeS3, Faults, KEY_ID, SECRET};

const PATIENCE: Duration = Duration::from_secs(120);
const USER: &str = "postgres";
/// What PostgreSQL calls exit codes 126 and 127, as a shell would.
const DAMAGED: &str = "command not executable";
const FAILED: &str = "command not found";

/// A copy that the server's user can read, in a directory that it can enter.
fn readable(root: &Path, work: &Path) -> PathBuf {
    let copy = work.join("archive");
    for (key, path) in files(root) {
        let to = copy.join(key);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).unwrap();
        g::set_modified(&to, path.metadata().unwrap().modified().unwrap());
    }
    for dir in [copy.clone(), copy.join("wal_005"), copy.join("basebackups_005")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}

/// Puts an object in place at once, as stores do.
fn put(archive: &Path, name: &str, bytes: &[u8]) {
    let new = archive.join("new");
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(new, archive.join("wal_005").join(name)).unwrap();
}

/// A restored data directory, and the server for it.
struct Restored {
    sandbox: Sandbox,
    installation: Installation,
    data: PathBuf,
    control: ControlFile,
    program: PathBuf,
}

impl Restored {
    fn new(archive: &Path, backup: &str, bin: &Path, work: &Path) -> Self {
        let sandbox = Sandbox::create(Some(work), Identity::resolve(None).unwrap()).unwrap();
        let data = sandbox.dir("data").unwrap();
        let mut command = g::walproof();
        command.arg("restore").arg(archive).arg(backup).arg("--into").arg(&data).args(["--no-progress", "--quiet"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        settings::prepare_data(&sandbox, &data).unwrap();
        let control = settings::control_of(&data).unwrap();
        let installation = Installation::at(bin, Origin::Given).unwrap();
        let program = reachable(&sandbox);
        Restored { sandbox, installation, data, control, program }
    }

    /// Starts it with `wal-fetch` and these flags; `environment` is written before the command, as users do it.
    fn start(&self, environment: &str, flags: &str, timeline: &str, more: &[(&str, String)]) -> Server {
        let program = self.program.display();
        let command = format!("{environment} {program} wal-fetch {flags} %f \"%p\"");
        let major = self.installation.version.major;
        let mut options = settings::harmless(&self.sandbox, major, &self.control)
            .unwrap()
            .set("restore_command", command.trim())
            .set("recovery_target_timeline", timeline)
            .set("wal_retrieve_retry_interval", "200ms");
        for (name, value) in more {
            options = options.set(name, value.clone());
        }
        options.time_limit = PATIENCE * 3;
        Server::start(&self.sandbox, &self.installation, &self.data, options).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.sandbox.root().join("data.log")).unwrap()
    }

    /// Whether it still waits for WAL: a server that has promoted has put this file away.
    fn is_recovering(&self) -> bool {
        self.data.join("recovery.signal").exists()
    }
}

/// The program itself where the server's user can run it, else a copy in the sandbox.
fn reachable(sandbox: &Sandbox) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_walproof"));
    let mut test = Command::new("/bin/sh");
    test.args(["-c", "test -x \"$1\"", "sh"]).arg(&program).current_dir("/");
    sandbox.identity().apply(&mut test);
    if test.status().unwrap().success() {
        return program;
    }
    let copy = sandbox.root().join("walproof");
    fs::copy(&program, &copy).unwrap();
    copy
}

async fn ask(server: &Server, sql: &str) -> Result<String, PostgresError> {
    let client = server.connect(USER, "postgres").await?;
    let row = client.query_one(sql, &[]).await?;
    Ok(row.get::<_, String>(0))
}

/// Waits until it has promoted, and tells whether the ledger is as it was at a mark.
async fn promoted(restored: &Restored, server: &mut Server, mark: &Value) {
    let ready = tokio::time::timeout(PATIENCE, server.ready(USER, "postgres", &Cancel::default(), |_| {})).await;
    ready.unwrap_or_else(|_| panic!("not ready: {}", restored.log())).unwrap();
    let is = ledger_is(mark["ledger_rows"].as_u64().unwrap(), mark["ledger_md5"].as_str().unwrap());
    let rows = ask(server, "select count(*)::text from ledger").await.unwrap();
    let same = ask(server, &format!("select ({is})::text")).await.unwrap();
    assert_eq!(same, "true", "{rows} rows instead of {}: {}", mark["ledger_rows"], restored.log());
    assert!(!restored.is_recovering());
}

/// Waits for the server's end, which has to come before any promotion.
fn died(restored: &Restored, mut server: Server) -> String {
    let begun = Instant::now();
    while server.check().is_ok() {
        assert!(begun.elapsed() < PATIENCE, "still running: {}", restored.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = restored.log();
    assert!(matches!(server.check(), Err(PostgresError::Exited { .. })), "{log}");
    assert!(restored.is_recovering(), "it promoted: {log}");
    assert!(!log.contains("archive recovery complete"), "{log}");
    log
}

/// Nobody fetches ahead for a server that is gone.
fn nobody_is_left(what: &str) {
    let begun = Instant::now();
    let lines = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| line.windows(what.len()).any(|window| window == what.as_bytes())).count()
    };
    while lines() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "somebody still fetches from {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The last mark of a timeline before a position.
fn mark(expected: &Value, timeline: u64, before: &str) -> Value {
    let marks = expected["marks"].as_array().unwrap().iter();
    let behind = |mark: &&Value| {
        mark["timeline"].as_u64() == Some(timeline) && lsn(mark["lsn"].as_str().unwrap()) <= lsn(before)
    };
    marks.rev().find(behind).unwrap().clone()
}

/// An S3 server with an archive in it: moto where it runs, which checks who asks.
struct Bucket {
    url: String,
    address: String,
    environment: String,
    _fake: Option<FakeS3>,
}

impl Bucket {
    async fn with(root: &Path) -> Self {
        let environment = |id: &str, secret: &str| {
            format!(
                "AWS_ACCESS_KEY_ID='{id}' AWS_SECRET_ACCESS_KEY='{secret}' \
                                             AWS_EC2_METADATA_DISABLED=true"
            )
        };
        let Ok(url) = std::env::var("WALPROOF_MOTO_URL") else {
            println!("SKIPPED: no MOTO server (WALPROOF_MOTO_URL is not set): the tests' own S3 server stands in");
            let fake = FakeS3::start("us-east-1", true).await;
            for (key, path) in files(root) {
                fake.put(format!("pg/{key}").as_bytes(), fs::read(path).unwrap());
            }
            let (url, environment) = (fake.url.clone(), environment(KEY_ID, SECRET));
            return Bucket { url, address: "s3://archive/pg".into(), environment, _fake: Some(fake) };
        };
        let name = format!("walproof-command-{}", std::process::id());
        let admin = Credentials::new(key("ADMIN", "KEY_ID"), key("ADMIN", "SECRET"), None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&url)
            .force_path_style(true)
            .credentials_provider(admin);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        client.create_bucket().bucket(&name).send().await.unwrap();
        for (key, path) in files(root) {
            let body = ByteStream::from(fs::read(path).unwrap());
            client.put_object().bucket(&name).key(format!("pg/{key}")).body(body).send().await.unwrap();
        }
        let environment = environment(&key("READER", "KEY_ID"), &key("READER", "SECRET"));
        Bucket { url, address: format!("s3://{name}/pg"), environment, _fake: None }
    }

    fn flags(&self) -> String {
        format!("--archive {} --endpoint-url {} --region us-east-1", self.address, self.url)
    }
}

/// Over two forks, from a directory and from a bucket, with segments fetched ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_recovers_over_timelines_through_the_command() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(17) else { return };
    let name = "walg-zstd-pg17-timelines";
    let (expected, work) = (g::expected(&golden, name), work_dir());
    let archive = readable(&g::root(&golden, name), work.path());
    let bucket = Bucket::with(&archive).await;
    let directory = format!("--archive {}", archive.display());
    for (what, flags, environment) in [
        (archive.to_str().unwrap(), directory.clone(), ""),
        (bucket.address.as_str(), bucket.flags(), bucket.environment.as_str()),
    ] {
        let restored = Restored::new(&archive, "base_000000010000000000000003", &bin, work.path());
        let mut server = restored.start(environment, &format!("{flags} --prefetch 4"), "latest", &[]);
        promoted(&restored, &mut server, &mark(&expected, 3, "FFFFFFFF/0")).await;
        let log = restored.log();
        for file in ["00000003.history", "000000010000000000000006", "000000030000000000000007"] {
            assert!(log.contains(&format!("restored log file \"{file}\" from archive")), "{what} {file}: {log}");
        }
        assert!(restored.data.join("pg_wal/.walproof-prefetch").exists(), "{what}: nothing was fetched ahead");
        server.stop(StopMode::Fast, Duration::from_secs(60)).await.unwrap();
        nobody_is_left(what);
        assert!(!restored.data.join("pg_wal/.walproof-prefetch").exists(), "{what}");
    }
    // A backup of the timeline in the middle, without anything fetched ahead.
    let restored = Restored::new(&archive, "base_00000002000000000000000C", &bin, work.path());
    let mut server = restored.start("", &directory, "2", &[]);
    promoted(&restored, &mut server, &mark(&expected, 2, "FFFFFFFF/0")).await;
    server.stop(StopMode::Fast, Duration::from_secs(60)).await.unwrap();
}

/// "Not there" ends recovery, since that is what the archive says; damage never does.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_ends_recovery_and_a_damaged_one_stops_the_server() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let (name, backup) = ("walg-s3-pg15", "base_000000010000000000000003");
    let (expected, work) = (g::expected(&golden, name), work_dir());
    let archive = readable(&g::root(&golden, name), work.path());
    let five = "000000010000000000000005.lz4";
    let good = fs::read(archive.join("wal_005").join(five)).unwrap();
    let directory = format!("--archive {}", archive.display());

    for prefetch in ["", " --prefetch 4"] {
        let flags = format!("{directory}{prefetch}");
        put(&archive, five, &good[..good.len() / 2]);
        let restored = Restored::new(&archive, backup, &bin, work.path());
        let log = died(&restored, restored.start("", &flags, "latest", &[]));
        assert!(log.contains(DAMAGED) && log.contains(&format!("wal_005/{five}")), "{log}");
        // Once the segment is whole the same server goes on, and comes to the end.
        put(&archive, five, &good);
        let mut server = restored.start("", &flags, "latest", &[]);
        promoted(&restored, &mut server, &mark(&expected, 1, "FFFFFFFF/0")).await;
        server.stop(StopMode::Fast, Duration::from_secs(60)).await.unwrap();

        fs::remove_file(archive.join("wal_005").join(five)).unwrap();
        let restored = Restored::new(&archive, backup, &bin, work.path());
        let mut server = restored.start("", &flags, "latest", &[]);
        promoted(&restored, &mut server, &mark(&expected, 1, "0/5000000")).await;
        server.stop(StopMode::Fast, Duration::from_secs(60)).await.unwrap();
        put(&archive, five, &good);
    }
    nobody_is_left(archive.to_str().unwrap());
}

/// A store that fails is no end of the archive, neither from the start nor in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_fault_stops_the_server_and_it_goes_on_later() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let (name, backup) = ("walg-s3-pg15", "base_000000010000000000000003");
    let (expected, work) = (g::expected(&golden, name), work_dir());
    let root = g::root(&golden, name);
    let bucket = FakeS3::start("us-east-1", true).await;
    for (key, path) in files(&root) {
        bucket.put(format!("pg/{key}").as_bytes(), fs::read(path).unwrap());
    }
    let environment =
        format!("AWS_ACCESS_KEY_ID={KEY_ID} AWS_SECRET_ACCESS_KEY='{SECRET}' AWS_EC2_METADATA_DISABLED=true");
    let flags = |url: &str| format!("--archive s3://archive/pg --endpoint-url {url} --region us-east-1");
    let restored = Restored::new(&root, backup, &bin, work.path());
    // Nobody listens there.
    let log = died(&restored, restored.start(&environment, &flags("http://127.0.0.1:9"), "latest", &[]));
    assert!(log.contains(FAILED), "{log}");

    let server = restored.start(&environment, &flags(&bucket.url), "latest", &[]);
    let begun = Instant::now();
    let fetched = "restored log file \"000000010000000000000004\"";
    while !restored.log().contains(fetched) {
        assert!(begun.elapsed() < PATIENCE, "{}", restored.log());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bucket.set(Faults { refuse: Some((403, "AccessDenied", "no")), ..Faults::default() });
    let log = died(&restored, server);
    assert_eq!(log.matches(FAILED).count(), 2, "{log}");
    bucket.set(Faults::default());
    let mut server = restored.start(&environment, &flags(&bucket.url), "latest", &[]);
    promoted(&restored, &mut server, &mark(&expected, 1, "FFFFFFFF/0")).await;
    server.stop(StopMode::Fast, Duration::from_secs(60)).await.unwrap();
    let left = restored.sandbox.root().to_owned();
    drop(restored);
    assert!(!left.exists());
    is_clean(work.path()).unwrap();
}

/// A replica that has nothing but the archive: it follows what comes, waits for what is not whole, and can be stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_lives_on_the_archive() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let (name, backup) = ("walg-s3-pg15", "base_000000010000000000000003");
    let (expected, work) = (g::expected(&golden, name), work_dir());
    let archive = readable(&g::root(&golden, name), work.path());
    let later: Vec<(String, Vec<u8>)> = (6..=8)
        .map(|number| {
            let name = format!("00000001000000000000000{number}.lz4");
            let path = archive.join("wal_005").join(&name);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(path).unwrap();
            (name, bytes)
        })
        .collect();
    let restored = Restored::new(&archive, backup, &bin, work.path());
    fs::rename(restored.data.join("recovery.signal"), restored.data.join("standby.signal")).unwrap();
    let control = &restored.control;
    let hot = [
        ("hot_standby", "on".to_owned()),
        ("max_connections", control.max_connections.to_string()),
        ("max_wal_senders", control.max_wal_senders.unwrap_or(0).to_string()),
    ];
    let flags = format!("--archive {} --standby --prefetch 4", archive.display());
    let mut server = restored.start("", &flags, "latest", &hot);
    let client = tokio::time::timeout(PATIENCE, server.ready(USER, "postgres", &Cancel::default(), |_| {})).await;
    let client = client.unwrap_or_else(|_| panic!("{}", restored.log())).unwrap();
    let is_at = async |mark: &Value| {
        let is = ledger_is(mark["ledger_rows"].as_u64().unwrap(), mark["ledger_md5"].as_str().unwrap());
        let sql = format!("select coalesce(({is}), false) and pg_is_in_recovery()");
        client
            .query_one(&sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{error}: {}", restored.log()))
            .get::<_, bool>(0)
    };
    let arrives = async |mark: &Value| {
        let begun = Instant::now();
        while !is_at(mark).await {
            assert!(begun.elapsed() < PATIENCE, "not at {mark}: {}", restored.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let before = mark(&expected, 1, "0/6000000");
    arrives(&before).await;
    // A segment that is not whole: it waits, and promotes as little as for one that is missing.
    let (six, whole) = &later[0];
    put(&archive, six, &whole[..whole.len() / 2]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.check().is_ok() && is_at(&before).await, "{}", restored.log());
    for (name, bytes) in &later {
        put(&archive, name, bytes);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    arrives(&mark(&expected, 1, "FFFFFFFF/0")).await;
    // While it waits for a damaged one, the server can still be stopped.
    put(&archive, "000000010000000000000009.lz4", b"broken");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.check().is_ok(), "{}", restored.log());
    drop(client);
    server.stop(StopMode::Fast, Duration::from_secs(30)).await.unwrap();
    assert!(restored.data.join("standby.signal").exists() && !restored.log().contains("archive recovery complete"));
    nobody_is_left(archive.to_str().unwrap());
}
