//! Runs of the whole program, and what their reports say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::made::{Made, counted, day};
use crate::golden_support as g;
use crate::support::s3::{FakeS3, KEY_ID, SECRET};

/// An archive in a directory, with a place for the state beside it.
pub struct Place {
    pub dir: TempDir,
    pub root: PathBuf,
}

impl Place {
    pub fn new(made: &Made) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = made.write(dir.path());
        Place { dir, root }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `walproof verify` as of a day, without state.
    pub fn verify(&self, args: &[&str]) -> Run {
        Run::of(g::walproof().arg("verify").arg(&self.root).args(["--now", &day(10), "--format", "json"]).args(args))
    }

    /// The same as of day `today`, remembered.
    pub fn remembered(&self, today: i64, args: &[&str]) -> Run {
        let state = self.state();
        let mut command = g::walproof();
        command.arg("verify").arg(&self.root).args(["--now", &day(today), "--format", "json"]);
        Run::of(command.arg("--state").arg(state).args(args))
    }
}

/// A command against an archive in a bucket.
pub fn at(server: &FakeS3, command: &str) -> Command {
    let mut walproof = g::walproof();
    walproof.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
    walproof.env("AWS_EC2_METADATA_DISABLED", "true");
    walproof.args([command, "s3://archive/pg", "--endpoint-url", &server.url, "--now", &day(40), "--format", "json"]);
    walproof
}

/// Tells what a run asks a server for beyond what an audit does, which looks into a few segments, too.
pub struct Content<'s> {
    server: &'s FakeS3,
    /// What an audit asks for.
    pub audit: Vec<String>,
}

impl<'s> Content<'s> {
    pub fn of(server: &'s FakeS3) -> Self {
        server.gets();
        Run::of(&mut at(server, "audit"));
        Content { server, audit: server.gets() }
    }

    /// The objects that were asked for since the last call, without those of one audit.
    pub fn gets(&self) -> Vec<String> {
        let mut left = counted(self.audit.iter().cloned());
        let mut gets = self.server.gets();
        gets.retain(|key| match left.get_mut(key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => key.contains("/wal_005/") || key.contains("/tar_partitions/"),
        });
        gets
    }
}

/// What a run reported.
#[derive(Debug)]
pub struct Run {
    pub archive: Value,
    pub code: i32,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Run {
        Run::read(&command.output().unwrap())
    }

    pub fn read(output: &Output) -> Run {
        let (archive, code) = g::report(output);
        Run { archive, code, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// One number of the report's `verify`.
    pub fn number(&self, name: &str) -> u64 {
        self.archive["verify"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", self.archive["verify"]))
    }

    /// Segments and parts of backups that were read.
    pub fn read_objects(&self) -> u64 {
        self.number("wal_segments") + self.number("backup_files")
    }

    pub fn read_bytes(&self) -> u64 {
        self.number("wal_bytes") + self.number("backup_bytes")
    }

    /// Share of the bytes that is proven, in the report as a whole.
    pub fn proven(&self) -> f64 {
        self.archive["verify"]["proven_fraction"].as_f64().unwrap()
    }

    /// Codes of findings with severities from `error` on.
    pub fn codes(&self) -> BTreeSet<String> {
        let findings = self.archive["findings"].as_array().unwrap();
        let bad = |finding: &&Value| finding["severity"] == "error" || finding["severity"] == "critical";
        findings.iter().filter(bad).map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    }

    pub fn finding(&self, code: &str) -> Option<&Value> {
        self.archive["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == code)
    }

    /// Nothing is wrong with it.
    #[track_caller]
    pub fn clean(self) -> Run {
        assert_eq!(self.archive["error"], Value::Null, "{}", self.stderr);
        assert_eq!((self.codes(), self.code), (BTreeSet::new(), 0), "{:#}", self.archive["findings"]);
        self
    }

    /// `not_run` with its reason, of a rule.
    pub fn rule(&self, code: &str) -> (String, String) {
        let rules = self.archive["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["code"] == code).unwrap();
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("why"))
    }
}

/// The objects of `verify.unread`: reason, count, names.
pub fn unread(run: &Run) -> Vec<(String, u64, Vec<String>)> {
    let list = run.archive["verify"]["unread"].as_array().unwrap();
    list.iter()
        .map(|unread| {
            let objects = unread["objects"].as_array().unwrap();
            let names = objects.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            (unread["why"].as_str().unwrap().to_owned(), unread["count"].as_u64().unwrap(), names)
        })
        .collect()
}

/// What each run remembered to have read, oldest first: names of segments and backups.
pub fn remembered(state: &Path) -> Vec<Vec<String>> {
    let mut files = Vec::new();
    let mut todo = vec![state.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => files.push(path),
            }
        }
    }
    let mut records: Vec<(String, Vec<String>)> = Vec::new();
    for path in files {
        let stored = std::fs::read(&path).unwrap();
        let Ok(json) = zstd::decode_all(&stored[..]) else { continue };
        let record: Value = serde_json::from_slice(&json).unwrap();
        let names = |list: &str| {
            let list = record["body"][list].as_array().cloned().unwrap_or_default();
            list.into_iter().map(|proof| proof["n"].as_str().unwrap().to_owned())
        };
        if record["kind"] == "proofs" {
            let names = names("segments").chain(names("backups")).collect();
            records.push((record["as_of"].as_str().unwrap().to_owned(), names));
        }
    }
    records.sort();
    records.into_iter().map(|(_, names)| names).collect()
}
