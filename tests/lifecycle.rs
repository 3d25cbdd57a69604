//! `walproof lifecycle` and `walproof policy` from outside: what a change of rules would do, before it is applied.
//!
//! Small files of our own lie in `tests/data/lifecycle`; the reference samples lie beside the golden archives.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]
#![cfg(all(feature = "cli", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

mod golden_support;

use std::path::PathBuf;
use std::process::Output;

use golden_support as g;
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/lifecycle").join(name)
}

/// A reference file, where they are at hand.
fn spec(name: &str) -> Option<PathBuf> {
    let path = g::golden()?.parent()?.join("specs").join(name);
    let found = path.is_file();
    assert!(found || std::env::var("WALPROOF_REQUIRE_GOLDEN").as_deref() != Ok("1"), "no {}", path.display());
    if !found {
        println!("SKIPPED: no {}", path.display());
    }
    found.then_some(path)
}

fn run(args: &[&str]) -> Output {
    g::walproof().args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard output as JSON, after a look at the exit code.
fn json(output: &Output, code: i32) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}\n{errors}", text(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{errors}", text(output)))
}

/// Exit code 2 and one sentence with these words.
fn refuses(output: &Output, words: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{}\n{errors}", text(output));
    for word in words {
        assert!(errors.contains(word), "no {word:?} in: {errors}");
    }
}

/// The command computes what the file expects; what it is given as `expect` plays no part in that.
fn simulates(path: &std::path::Path) -> usize {
    let original: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut blank = original.clone();
    for vector in blank["vectors"].as_array_mut().unwrap() {
        // Only the order of objects is taken from it.
        for expected in vector["expect"].as_array_mut().unwrap() {
            let (key, version) = (expected["key"].clone(), expected["version_id"].clone());
            *expected = serde_json::json!({"key": key, "version_id": version});
        }
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("blank.json");
    std::fs::write(&file, blank.to_string()).unwrap();
    let computed = json(&run(&["lifecycle", "simulate", file.to_str().unwrap()]), 0);
    let vectors = original["vectors"].as_array().unwrap();
    for (computed, original) in computed["vectors"].as_array().unwrap().iter().zip(vectors) {
        assert_eq!(computed, original, "{}", original["id"]);
    }
    vectors.len()
}

#[test]
fn what_if_files_are_answered() {
    assert_eq!(simulates(&data("what-if.json")), 2);
    if let Some(vectors) = spec("lifecycle-vectors.json") {
        assert!(simulates(&vectors) >= 29);
    }
    refuses(&run(&["lifecycle", "simulate", "/nonexistent.json"]), &["/nonexistent.json"]);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (text, words) in [("{\"objects\": 7}", "broken.json"), ("[", "is not JSON")] {
        let file = dir.path().join("broken.json");
        std::fs::write(&file, text).unwrap();
        refuses(&run(&["lifecycle", "simulate", file.to_str().unwrap()]), &[words]);
    }
}

#[test]
fn a_policy_is_checked_without_any_bucket() {
    let policy = data("policy.toml");
    let policy = policy.to_str().unwrap();
    let now = "2026-11-20T15:00:00Z";
    let good = run(&["policy", "check", "--config", policy, "--now", now]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    assert!(text(&good).contains("2 clusters  OK"), "{}", text(&good));
    let late = json(&run(&["policy", "check", "--config", policy, "--now", "2027-02-01T00:00:00Z", "-f", "json"]), 0);
    assert!(late["expired_exceptions"][0].as_str().unwrap().contains("OPS-7"), "{late}");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("walproof.toml");
    let check = |toml: &str| {
        std::fs::write(&file, toml).unwrap();
        run(&["policy", "check", "--config", file.to_str().unwrap(), "--now", now, "-f", "json"])
    };
    for (toml, words) in [
        ("[defaults]\nretention.daily = \"90d\"\nretention.weekly = \"30d\"\n", "retention.weekly"),
        (
            "[defaults]\nrto = \"1h\"\nrecovery_window = \"7d\"\nstorage.allowed_classes_in_window = [\"GLACIER\"]\n",
            "rto",
        ),
        ("[defaults]\nrecovery_window = \"7d\"\nimmutability.min_lock = \"90d\"\n", "min_lock"),
        ("[defaults]\nrecovery_window = \"1d\"\nrpo = \"2d\"\n", "rpo"),
        ("[defaults]\nrecovery_window = \"90d\"\nmax_age = \"30d\"\n", "max_age"),
    ] {
        let found = json(&check(toml), 1);
        assert!(found["contradictions"][0]["message"].as_str().unwrap().contains(words), "{found}");
    }
    let unknown = "[[cluster]]\nname = \"a\"\narchive = \"s3://b/a\"\n[[exception]]\nrule = \"WAL999\"\ncluster = \"a\"\n\
                   reason = \"x\"\nuntil = 2027-01-01\n";
    assert_eq!(json(&check(unknown), 1)["unknown_rules"][0], "line 4: there is no rule WAL999");
    refuses(&check("[defaults]\nrecovery_windw = \"35d\"\n"), &["recovery_windw", "recovery_window"]);
    refuses(&run(&["policy", "check", "--config", "/nonexistent.toml"]), &["/nonexistent.toml"]);
}

#[test]
fn every_value_says_where_it_came_from() {
    let policy = data("policy.toml");
    let policy = policy.to_str().unwrap();
    let explained = json(&run(&["policy", "explain", "--config", policy, "dumps", "-f", "json"]), 0);
    let keys = explained["clusters"][0]["keys"].as_array().unwrap();
    let key = |name: &str| keys.iter().find(|row| row["key"] == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(key("recovery_window")["value"], "0d");
    assert_eq!(key("recovery_window")["from"], "cluster dumps, line 21");
    assert_eq!(key("undo_window")["from"], "defaults, line 6");
    assert_eq!(key("undo_window")["rules"][0], "LFC008");
    let screen = text(&run(&["policy", "explain", "--config", policy]));
    assert!(screen.contains("main  s3://acme-backups/pg/main") && screen.contains("defaults, line 4"), "{screen}");
    let all = text(&run(&["policy", "explain", "--config", policy, "--all", "main"]));
    assert!(all.contains("deletions.max_per_day") && all.contains("not set"), "{all}");
    refuses(&run(&["policy", "explain", "--config", policy, "mian"]), &["mian", "main, dumps"]);
}
