//! `wal-fetch`: what lands in place, and with which exit code everything else ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::golden_support as g;
use crate::made::control;
use crate::support::s3::{FakeS3, Faults, KEY_ID, SECRET};

const UNTOUCHED: &[u8] = b"untouched";

/// A data directory as far as `wal-fetch` looks at it.
pub struct Server(tempfile::TempDir);

impl Server {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(dir.path().join("pg_wal")).unwrap();
        Server(dir)
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn dest(&self) -> PathBuf {
        self.0.path().join("pg_wal/RECOVERYXLOG")
    }

    /// As PostgreSQL does it: from the data directory, with a relative path.
    pub fn command(&self, archive: &str, name: &str, more: &[&str]) -> Command {
        let mut command = g::walproof();
        command.args(["wal-fetch", "--archive", archive]).args(more).arg(name).arg("pg_wal/RECOVERYXLOG");
        command.current_dir(self.0.path());
        command
    }

    fn fetch(&self, golden: &Path, archive: (&str, &Path), name: &str, more: &[&str]) -> (i32, String) {
        fs::write(self.dest(), UNTOUCHED).unwrap();
        let mut command = self.command(archive.1.to_str().unwrap(), name, more);
        let output = g::with_keys(&mut command, golden, archive.0).output().unwrap();
        self.told(&output)
    }

    /// Nothing but the file in place is left, and it is as it was unless all went well.
    pub fn told(&self, output: &Output) -> (i32, String) {
        let (code, text) = (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
        if code != 0 {
            assert_eq!(fs::read(self.dest()).unwrap(), UNTOUCHED, "{text}");
        }
        let left: Vec<_> = fs::read_dir(self.0.path().join("pg_wal"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "RECOVERYXLOG" && name != ".walproof-prefetch")
            .collect();
        assert!(left.is_empty(), "{left:?}: {text}");
        (code, text)
    }
}

/// Names of complete segments in `wal_005`, in order.
fn segments(root: &Path) -> Vec<(String, PathBuf)> {
    let mut names: Vec<(String, PathBuf)> = fs::read_dir(root.join("wal_005"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name()?.to_str()?.to_owned();
            let (name, rest) = file.split_at_checked(24)?;
            let extension = rest.is_empty() || (rest.matches('.').count() == 1 && rest.starts_with('.'));
            let whole = name.bytes().all(|byte| byte.is_ascii_hexdigit());
            (extension && whole && rest != ".json" && rest != ".partial").then(|| (name.to_owned(), path))
        })
        .collect();
    names.sort();
    names
}

#[test]
fn whole_segments_of_every_codec_and_missing_ones() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    for name in g::all() {
        let root = g::root(&golden, name);
        let size = if name.contains("seg1m") { 1 << 20 } else { 16 << 20 };
        let segments = segments(&root);
        for (segment, _) in [&segments[0], &segments[segments.len() - 1]] {
            let (code, text) = server.fetch(&golden, (name, &root), segment, &[]);
            assert_eq!(code, 0, "{name} {segment}: {text}");
            assert_eq!(fs::metadata(server.dest()).unwrap().len(), size, "{name}");
        }
        for missing in ["0000000100000000000000FE", "00000009.history", "000000010000000000000001.00000028.backup"] {
            let (code, text) = server.fetch(&golden, (name, &root), missing, &[]);
            assert_eq!((code, text.as_str()), (1, ""), "{name} {missing}");
        }
    }
    let timelines = ("walg-zstd-pg17-timelines", g::root(&golden, "walg-zstd-pg17-timelines"));
    let (code, _) = server.fetch(&golden, (timelines.0, &timelines.1), "00000002.history", &[]);
    assert_eq!(code, 0);
    assert!(fs::read_to_string(server.dest()).unwrap().starts_with("1\t0/"));
}

#[test]
fn damage_is_never_served_and_never_called_missing() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    for name in g::all() {
        let copy = g::Copy::of(&g::root(&golden, name));
        let root = copy.path();
        let segments = segments(&root);
        // Not the last ones: what ends early there may be the end of WAL.
        let (segment, path) = &segments[1];
        let good = fs::read(path).unwrap();
        let mut cases: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("cut", good[..good.len() / 2].to_vec()),
            ("short", good[..good.len() - 1].to_vec()),
            ("longer", [&good[..], b"x"].concat()),
            ("zeros", vec![0; good.len()]),
            ("other", fs::read(&segments[2].1).unwrap()),
        ];
        let mut flipped = good.clone();
        // Where there is no codec: before the switch, since recovery never reads what lies behind.
        let used = good.iter().rposition(|byte| *byte != 0).unwrap();
        let at = if name.contains("none") { used / 2 } else { used / 10 };
        flipped[at] ^= 0x10;
        cases.push(("flipped", flipped));
        for (kind, bytes) in cases {
            fs::write(path, bytes).unwrap();
            let (code, text) = server.fetch(&golden, (name, &root), segment, &[]);
            assert_eq!(code, 126, "{name} {kind}: {text}");
            assert!(text.contains(&format!("wal_005/{segment}")), "{name} {kind}: {text}");
        }
        fs::write(path, good).unwrap();
    }
}

#[test]
fn what_postgres_would_take_for_the_end_is_told_from_it() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let copy = g::Copy::of(&g::root(&golden, "walg-none-pg15"));
    let root = copy.path();
    let archive = ("walg-none-pg15", root.as_path());
    let segments = segments(&root);
    let half = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[used / 2..].fill(0);
        fs::write(path, bytes).unwrap();
    };
    // The archive goes on behind it: damage. Behind the last one nothing does: it may be what a dying server left.
    half(&segments[1].1);
    let (code, text) = server.fetch(&golden, archive, &segments[1].0, &[]);
    assert!(code == 126 && text.contains("follows in the archive"), "{code} {text}");
    let last = &segments[segments.len() - 1];
    half(&last.1);
    assert_eq!(server.fetch(&golden, archive, &last.0, &[]).0, 0);
    // A copy in another codec is as good.
    let (name, path) = &segments[2];
    let packed = zstd::encode_all(&fs::read(path).unwrap()[..], 1).unwrap();
    fs::write(root.join("wal_005").join(format!("{name}.zst")), packed).unwrap();
    fs::write(path, "broken").unwrap();
    assert_eq!(server.fetch(&golden, archive, name, &[]).0, 0);
    // The server is another cluster.
    fs::create_dir(server.0.path().join("global")).unwrap();
    fs::write(server.0.path().join("global/pg_control"), control(1)).unwrap();
    let (code, text) = server.fetch(&golden, archive, &segments[0].0, &[]);
    assert!(code == 126 && text.contains("the server is 1"), "{text}");
}

#[test]
fn nothing_else_leaves_with_a_code_that_means_missing() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let root = g::root(&golden, "walg-lz4-pg15");
    let segment = "000000010000000000000005";
    let empty = server.0.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (place, says) in [
        (empty.as_path(), "there is no archive"),
        (root.join("wal_005").as_path(), "there is no archive"),
        (Path::new("/nowhere/at/all"), "/nowhere/at/all"),
        (Path::new("ftp://host/x"), "ftp"),
    ] {
        let (code, text) = server.fetch(&golden, ("", place), segment, &[]);
        assert!(code == 127 && text.contains(says), "{code} {text}");
    }
    for name in ["../../etc/passwd", "000000010000000000000005.json", "00000001000000000000000g", ""] {
        let (code, text) = server.fetch(&golden, ("", &root), name, &[]);
        assert!(code == 127, "{name}: {code} {text}");
    }
    for flags in [&["--no-such-flag"][..], &["--prefetch", "many"], &["--config", "/nowhere.toml"], &["extra", "words"]]
    {
        let (code, text) = server.fetch(&golden, ("", &root), segment, flags);
        assert!(code == 127, "{flags:?}: {code} {text}");
    }
    // Encrypted, and no key: not missing, and not to be served.
    let encrypted = g::root(&golden, "walg-libsodium-pg15");
    let (code, text) = server.fetch(&golden, ("", &encrypted), &segments(&encrypted)[0].0, &[]);
    assert!(code == 126, "{code} {text}");
    // A directory that cannot be written to.
    let mut command = server.command(root.to_str().unwrap(), segment, &[]);
    command.arg("--").current_dir(&empty);
    assert_eq!(command.output().unwrap().status.code(), Some(127));
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_fail_are_told_from_buckets_that_answer() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let root = g::root(&golden, "walg-lz4-pg15");
    let bucket = FakeS3::start("us-east-1", true).await;
    let segments = segments(&root);
    for (_, path) in &segments[..3] {
        let key = format!("pg/wal_005/{}", path.file_name().unwrap().to_str().unwrap());
        bucket.put(key.as_bytes(), fs::read(path).unwrap());
    }
    let run = |address: &str, name: &str, secret: &str| {
        fs::write(server.dest(), UNTOUCHED).unwrap();
        let mut command = server.command(address, name, &["--endpoint-url", &bucket.url, "--region", "us-east-1"]);
        command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let before = bucket.requests();
        let (code, text) = server.told(&command.output().unwrap());
        (code, text, bucket.requests() - before)
    };
    let (code, text, requests) = run("s3://archive/pg", &segments[0].0, SECRET);
    assert_eq!((code, requests), (0, 2), "{text}");
    // One listing tells all codecs at once, another that the archive is there.
    let (code, text, requests) = run("s3://archive/pg", "0000000100000000000000FE", SECRET);
    assert_eq!((code, requests), (1, 2), "{text}");
    for (address, secret) in [("s3://archive/pgg", SECRET), ("s3://absent/pg", SECRET), ("s3://archive/pg", "wrong")] {
        let (code, text, _) = run(address, &segments[0].0, secret);
        assert_eq!(code, 127, "{address}: {text}");
    }
    bucket.set(Faults { refuse: Some((403, "AccessDenied", "no")), ..Faults::default() });
    assert_eq!(run("s3://archive/pg", &segments[0].0, SECRET).0, 127);
    bucket.set(Faults { class: "GLACIER", ..Faults::default() });
    assert_eq!(run("s3://archive/pg", &segments[0].0, SECRET).0, 127);
    // Faults that pass are borne.
    bucket.set(Faults { cut_every: 2, ..Faults::default() });
    let (code, text, _) = run("s3://archive/pg", &segments[1].0, SECRET);
    assert_eq!(code, 0, "{text}");
    // Nobody answers.
    let mut command = server.command("s3://archive/pg", &segments[0].0, &["--endpoint-url", "http://127.0.0.1:9"]);
    fs::write(server.dest(), UNTOUCHED).unwrap();
    command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", "us-east-1");
    assert_eq!(server.told(&command.output().unwrap()).0, 127);
}

#[test]
fn a_standby_waits_until_the_object_is_whole() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let copy = g::Copy::of(&g::root(&golden, "walg-lz4-pg15"));
    let root = copy.path();
    let (segment, path) = segments(&root).swap_remove(1);
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..100]).unwrap();
    let mut command = server.command(root.to_str().unwrap(), &segment, &["--standby"]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "it gave up");
    // Put in place at once: a half-written object would be told for what it is, and waited for again.
    fs::write(root.join("new"), &good).unwrap();
    fs::rename(root.join("new"), &path).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::metadata(server.dest()).unwrap().len(), 16 << 20);
    // What the archive does not have is said at once, and a signal ends the wait as PostgreSQL expects it.
    let (code, _) = server.fetch(&golden, ("", &root), "0000000100000000000000FE", &["--standby"]);
    assert_eq!(code, 1);
    fs::write(&path, "broken").unwrap();
    let mut command = server.command(root.to_str().unwrap(), &segment, &["--standby"]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// Processes whose command line names a path.
fn processes(path: &Path) -> usize {
    let path = path.to_str().unwrap().as_bytes();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.windows(path.len()).any(|window| window == path)).count()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn segments_fetched_ahead_are_whole_and_the_process_ends() {
    let Some(golden) = g::golden() else { return };
    let server = Server::new();
    let copy = g::Copy::of(&g::root(&golden, "walg-lz4-pg15"));
    let root = copy.path();
    let archive = ("walg-lz4-pg15", root.as_path());
    let segments = segments(&root);
    let first = segments.iter().position(|(name, _)| name == "000000010000000000000006").unwrap_or(2);
    // One of those to come is damaged.
    let damaged = &segments[first + 3];
    fs::write(&damaged.1, "broken").unwrap();
    let fetch = |at: usize| server.fetch(&golden, archive, &segments[at].0, &["--prefetch", "4"]);
    assert_eq!(fetch(first).0, 0);
    let folder = server.0.path().join("pg_wal/.walproof-prefetch");
    wait_for("the next segments", || folder.join(&segments[first + 2].0).exists());
    assert_eq!(fs::read_to_string(folder.join("codec")).unwrap(), "lz4");
    let moved = folder.join(&segments[first + 1].0);
    wait_for("the next segment", || moved.exists());
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&moved).unwrap());
    assert_eq!(fetch(first + 1).0, 0);
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&fs::metadata(server.dest()).unwrap()), inode);
    assert!(!moved.exists());
    assert_eq!(fetch(first + 2).0, 0);
    let (code, text) = fetch(first + 3);
    assert_eq!(code, 126, "{text}");
    // A segment that became unlike its name in the meantime is fetched anew.
    fs::write(folder.join(&segments[first + 4].0), "broken").unwrap();
    assert_eq!(fetch(first + 4).0, 0);
    assert_eq!(fs::metadata(server.dest()).unwrap().len(), 16 << 20);
    assert!(processes(&root) > 0);
    // Without its directory it has nothing to do, and makes none.
    wait_for("the directory to go", || fs::remove_dir_all(&folder).is_ok() || !folder.exists());
    wait_for("the process to end", || processes(&root) == 0);
    assert!(!folder.exists());
}
