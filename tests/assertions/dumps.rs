//! Dumps of every kind, loaded and asserted.

use std::io::Write;
use std::time::Duration;

use walproof::catalog::ObjectRef;
use walproof::catalog::evidence::{RestoreOutcome, RestoreStep, RestoreTest};
use walproof::fetch::{Source, Storage};
use walproof::model::{CodecKind, ObjectId, ObjectKey, StorageClass};
use walproof::policy::config::{AssertionCheck, Expect};
use walproof::postgres::{Sandbox, Server, StopMode};
use walproof::restore::assert::{Asked, Options};
use walproof::restore::dump;
use walproof::run::Cancel;
use walproof::store::{Address, Limits, StoreOptions, open};

use super::{Cluster, assertion, ctx, installation, sql};

/// Dumps of every kind, as PostgreSQL's own programs write them.
struct Dumps {
    dir: tempfile::TempDir,
    source: Source,
}

impl Dumps {
    async fn write(cluster: &Cluster, server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(cluster.installation.program(program));
            command.args(["-h", server.socket_dir().to_str().unwrap(), "-p", &server.port().to_string()]);
            let output = command.args(["-U", "postgres"]).args(arguments).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("shop.dump", &run("pg_dump", &["-Fc", "shop"]));
        write("shop.tar", &run("pg_dump", &["-Ft", "shop"]));
        let plain = run("pg_dump", &["shop"]);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&plain).unwrap();
        write("shop.sql.gz", &packed.finish().unwrap());
        write("shop.sql", &plain);
        write("all.sql", &run("pg_dumpall", &[]));
        let folder = dir.path().join("folder");
        run("pg_dump", &["-Fd", "-f", folder.to_str().unwrap(), "shop"]);
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all("backup/shop", &folder).unwrap();
        write("shop-dir.tar.zst", &zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap());
        let address = Address::Directory(dir.path().to_owned());
        let opened = open(&address, &StoreOptions::default(), Limits::new(4), Cancel::default()).await.unwrap();
        let storage = Storage { store: opened, address };
        let source = Source { storages: vec![storage], root: ObjectKey::new(&b""[..]), keys: Default::default() };
        Dumps { dir, source }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    async fn test(&self, cluster: &Cluster, name: &str, codec: CodecKind, expect: &str) -> RestoreTest {
        self.test_with(cluster, name, codec, expect, false).await
    }

    async fn test_with(
        &self,
        cluster: &Cluster,
        name: &str,
        codec: CodecKind,
        expect: &str,
        download: bool,
    ) -> RestoreTest {
        let sandbox = Sandbox::create(Some(cluster.base.path()), cluster.sandbox.identity().clone()).unwrap();
        let check = AssertionCheck::Sql { sql: "select count(*) from orders".into(), expect: Expect::parse(expect) };
        let asked = Asked { assertions: vec![assertion("orders", None, check)], ..Asked::default() };
        let installations = [cluster.installation.clone()];
        let options = dump::Options {
            installations: &installations,
            download,
            asked: &asked,
            assert: Options::default(),
            bytes_max: 1 << 30,
            time_limit: Duration::from_secs(120),
        };
        let object = ObjectRef {
            key: ObjectKey::new(name.as_bytes()),
            size: std::fs::metadata(self.dir.path().join(name)).unwrap().len(),
            modified: "2026-11-28T00:00:00Z".parse().unwrap(),
            class: StorageClass::Standard,
            id: ObjectId::digest(&[name.as_bytes()]),
            storage: 0,
        };
        let request = dump::Request { backup: name, source: &self.source, object: &object, codec };
        let test = dump::test(&request, &sandbox, &options, &ctx()).await.unwrap().test;
        let root = sandbox.root().to_owned();
        drop(sandbox);
        assert!(!root.exists(), "the sandbox stays");
        test
    }
}

/// A dump of a server that this machine lacks: one is fetched if that is allowed, and any psql loads it.
async fn of_a_newer_server(cluster: &Cluster, dumps: &Dumps) {
    use walproof::postgres::download;
    const MAJOR: u32 = 17;
    let own = cluster.installation.version.major;
    if own >= MAJOR {
        return;
    }
    let plain = String::from_utf8(dumps.bytes("shop.sql")).unwrap();
    let newer = plain.replace(&format!("version {own}."), &format!("version {MAJOR}."));
    assert_ne!(plain, newer);
    std::fs::write(dumps.dir.path().join("newer.sql"), newer).unwrap();
    let test = dumps.test(cluster, "newer.sql", CodecKind::None, "5000").await;
    let why = test.why.as_deref().unwrap_or_default();
    assert_eq!(test.outcome, RestoreOutcome::NotRun, "{test:?}");
    assert!(why.contains("no PostgreSQL 17 or newer") && why.contains("--download-postgres"), "{why}");
    if let Err(error) = download::fetch(MAJOR, &download::cache_dir().unwrap(), &Cancel::default()).await {
        assert!(std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_none(), "{error}");
        let _ = writeln!(std::io::stdout(), "SKIPPED: PostgreSQL {MAJOR} cannot be fetched: {error}");
        return;
    }
    let test = dumps.test_with(cluster, "newer.sql", CodecKind::None, "5000", true).await;
    assert_eq!(test.outcome, RestoreOutcome::Proven, "{test:?}");
    assert!(test.pg_version.unwrap().starts_with("17."));
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_are_loaded_and_asserted() {
    let Some(cluster) = Cluster::new(installation(), true).await else { return };
    let server = cluster.start().await;
    sql(&server, "postgres", "create role app; create role reader").await;
    sql(&server, "postgres", "create database shop owner app").await;
    sql(
        &server,
        "shop",
        "create table orders (id int primary key, note text); alter table orders owner to app; grant select on orders to reader;
         insert into orders select i, md5(i::text) || md5((i + 1)::text) from generate_series(1, 5000) i;
         select lo_from_bytea(0, 'a large object')",
    )
    .await;
    let dumps = Dumps::write(&cluster, &server).await;
    server.stop(StopMode::Immediate, Duration::from_secs(30)).await.unwrap();

    for (name, codec) in [
        ("shop.dump", CodecKind::None),
        ("shop.tar", CodecKind::None),
        ("shop.sql.gz", CodecKind::Gzip),
        ("shop-dir.tar.zst", CodecKind::Zstd),
        ("all.sql", CodecKind::None),
    ] {
        let test = dumps.test(&cluster, name, codec, "5000").await;
        assert_eq!(test.outcome, RestoreOutcome::Proven, "{name}: {test:?}");
        assert_eq!(test.pg_version.as_deref(), Some(cluster.installation.version.text.as_str()));
        assert!(
            test.step(RestoreStep::Unpack).unwrap().bytes > 100_000 && test.rto_s.unwrap() > 0.0,
            "{name}: {test:?}"
        );
    }

    whole_archive(&cluster, &dumps);
    of_a_newer_server(&cluster, &dumps).await;

    // The data is there, and is not what it should be.
    let test = dumps.test(&cluster, "shop.dump", CodecKind::None, "> 5000").await;
    assert_eq!((test.outcome, test.failed_at), (RestoreOutcome::Failed, Some(RestoreStep::Assert)), "{test:?}");

    // Cut, at every kind: never loaded.
    for name in ["shop.dump", "shop.tar", "shop.sql", "all.sql"] {
        let bytes = dumps.bytes(name);
        for part in [3, 60, 99] {
            std::fs::write(dumps.dir.path().join("cut"), &bytes[..bytes.len() * part / 100]).unwrap();
            let test = dumps.test(&cluster, "cut", CodecKind::None, "5000").await;
            assert_eq!(
                (test.outcome, test.failed_at),
                (RestoreOutcome::Failed, Some(RestoreStep::Fetch)),
                "{name} {part}"
            );
            assert_eq!(test.failure.unwrap().code, "RST001");
        }
    }
    // Whole by its structure, and its data does not decompress.
    let mut bytes = dumps.bytes("shop.dump");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0x5A);
    std::fs::write(dumps.dir.path().join("broken"), &bytes).unwrap();
    let test = dumps.test(&cluster, "broken", CodecKind::None, "5000").await;
    assert_eq!((test.outcome, test.failed_at), (RestoreOutcome::Failed, Some(RestoreStep::Unpack)), "{test:?}");
    assert!(test.failure.unwrap().message.contains("uncompress"));
    // Something else says nothing.
    std::fs::write(dumps.dir.path().join("other"), "create table t ();").unwrap();
    let test = dumps.test(&cluster, "other", CodecKind::None, "5000").await;
    assert_eq!(test.outcome, RestoreOutcome::NotRun);
    assert!(test.why.unwrap().contains("other: not a dump"));
}

/// As a user asks: the newest of an archive of dumps, with a file of assertions.
fn whole_archive(cluster: &Cluster, dumps: &Dumps) {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("shop.sql", "shop-2026-11-26.dump"), ("shop.dump", "shop-2026-11-27.dump")] {
        std::fs::copy(dumps.dir.path().join(from), folder.path().join(to)).unwrap();
    }
    let good = dumps.dir.path().join("good.sql");
    std::fs::write(&good, "select count(*) = 5000 as all_there from orders;").unwrap();
    let test = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("walproof").unwrap();
        command.arg("restore-test").arg(folder.path()).args(["--layout", "files", "--files-pattern"]);
        command.args(["{name}-{date}.dump", "--format", "json", "--now", "2026-11-28T12:00:00Z", "--no-progress"]);
        command.arg("--pg-bin").arg(&cluster.installation.bin).arg("--work-dir").arg(cluster.base.path());
        let output = command.arg("--assert").arg(&good).args(arguments).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report["archives"][0].clone())
    };
    let (code, archive) = test(&["--no-amcheck"]);
    let proof = &archive["restore_tests"][0];
    assert_eq!((code, proof["outcome"].as_str()), (Some(0), Some("proven")), "{archive:#}");
    assert_eq!((proof["backup"].as_str(), proof["target"].as_str()), (Some("shop-2026-11-27.dump"), Some("dump")));
    assert!(!archive["backups"][1]["rungs"]["proven"].is_null(), "{archive:#}");

    let verify = || {
        let mut command = assert_cmd::Command::cargo_bin("walproof").unwrap();
        command.arg("verify").arg(folder.path()).args(["--layout", "files", "--files-pattern", "{name}-{date}.dump"]);
        let output = command.args(["--format", "json", "--no-progress"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report["archives"][0].clone())
    };
    let (code, archive) = verify();
    let rungs = |at: usize| archive["backups"][at]["rungs"].clone();
    assert_eq!(code, Some(0), "{archive:#}");
    assert!((0..2).all(|at| !rungs(at)["intact"].is_null() && !rungs(at)["valid"].is_null()), "{archive:#}");

    // The newest is cut: it fails, and the one before serves.
    let newest = folder.path().join("shop-2026-11-27.dump");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() - 10]).unwrap();
    let (code, archive) = test(&["--no-amcheck", "--no-full-read", "--fallback"]);
    let outcomes: Vec<_> =
        archive["restore_tests"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!((code, outcomes), (Some(1), vec!["failed".into(), "proven".into()]), "{archive:#}");
    let codes: Vec<_> = archive["findings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert!(codes.contains(&"RST001".into()), "{codes:?}");
    let (code, archive) = verify();
    let codes: Vec<_> = archive["findings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert!(code == Some(1) && codes.contains(&"INT007".into()), "{archive:#}");
    assert!(archive["backups"][1]["rungs"]["valid"].is_null() && !archive["backups"][0]["rungs"]["valid"].is_null());
    // A moment between two dumps is in neither.
    assert_eq!(test(&["--target", "time=2026-11-26T12:00:00Z"]).0, Some(2));
}
