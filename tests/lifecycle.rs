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

const NOW: &str = "2026-11-20T15:00:00Z";

/// `lifecycle check` on files of our own.
fn check(args: &[&str]) -> Output {
    let policy = data("policy.toml");
    let mut all = vec!["lifecycle", "check", "--now", NOW, "--config", policy.to_str().unwrap()];
    all.extend(args);
    run(&all)
}

fn own(name: &str) -> String {
    data(name).to_str().unwrap().to_owned()
}

fn codes(report: &Value) -> Vec<&str> {
    let mut codes: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[test]
fn a_rule_on_everything_is_caught_with_dates_and_counts() {
    let (plan, objects) = (own("plan-whole-bucket.json"), own("objects-dumps.json"));
    let report = json(&check(&["--plan", &plan, "--inventory", &objects, "-f", "json"]), 1);
    assert_eq!((&report["schema"], &report["status"]), (&"walproof.lifecycle/1".into(), &"critical".into()));
    assert_eq!(codes(&report), ["LFC001", "LFC002", "LFC007"]);
    let bucket = &report["buckets"][0];
    // Seven days from 02:00 on the 12th end at midnight before the 20th; those of the 13th a day later.
    assert_eq!(bucket["summary"]["objects_with_shorter_life"], 20);
    assert_eq!(bucket["summary"]["eligible_at_apply"], 11);
    assert_eq!(bucket["summary"]["by_prefix_at_apply"], serde_json::json!({"daily/": 4, "weekly/": 7}));
    assert_eq!(bucket["summary"]["oldest_backup_before"], "2026-09-27T03:00:00Z");
    assert_eq!(bucket["summary"]["oldest_backup_after_apply"], "2026-11-13T02:00:00Z");
    let first = bucket["objects"].as_array().unwrap().iter().find(|loss| loss["key"] == "daily/2026-11-13.dump");
    assert_eq!(first.unwrap()["gone_after"], "2026-11-21T00:00:00Z");
    assert_eq!(first.unwrap()["gone_before"], "2026-11-28T00:00:00Z");
    assert_eq!(bucket["undo"]["Rules"].as_array().unwrap().len(), 2);
    let loss = report["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "LFC001").unwrap();
    assert_eq!(loss["facts"]["resource_address"], "aws_s3_bucket_lifecycle_configuration.dumps");
    assert_eq!(loss["facts"]["rule_ids"], serde_json::json!(["tidy"]));
    assert_eq!(loss["name"].as_str().unwrap().is_empty(), walproof::checks::rule("LFC001").is_none());
    let screen = text(&check(&["--plan", &plan, "--inventory", &objects]));
    for words in [
        "FAIL  acme-dumps: this change shortens recoverability",
        "rule \"tidy\": every object, expires after 7 d, aborts uploads after 7 d; replaces 2 rules",
        "20 of 20 objects live shorter; 11 may be unrecoverable as soon as it is applied",
        "put-bucket-lifecycle-configuration --bucket acme-dumps",
        "retention.weekly 60d (line 23)",
        "assumed: ",
    ] {
        assert!(screen.contains(words), "no {words:?} in:\n{screen}");
    }
    // What undoes it is taken back by the same command, and then nothing is wrong.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let undo = dir.path().join("undo.json");
    std::fs::write(&undo, bucket["undo"].to_string()).unwrap();
    let undone = ["--plan", undo.to_str().unwrap(), "--rules", &own("rules-tidy.json"), "--inventory", &objects];
    let undone = json(&check(&[&undone[..], &["-f", "json"]].concat()), 0);
    assert_eq!(codes(&undone).iter().filter(|code| **code != "LFC011").count(), 0, "{undone}");
}

#[test]
fn every_output_tells_the_same() {
    let (plan, objects) = (own("plan-whole-bucket.json"), own("objects-dumps.json"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let formats: Vec<String> = ["json", "jsonl", "junit", "markdown"]
        .iter()
        .map(|format| format!("--format={format}={}", file(format)))
        .collect();
    let mut args = vec!["--plan", &plan, "--inventory", &objects];
    args.extend(formats.iter().map(String::as_str));
    assert_eq!(check(&args).status.code(), Some(1));
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let junit = read("junit");
    assert!(
        junit.contains("<testsuite name=\"acme-dumps\"") && junit.contains("<failure type=\"critical\""),
        "{junit}"
    );
    let markdown = read("markdown");
    assert!(markdown.contains("### \u{274C} acme-dumps: CRITICAL") && markdown.contains("LFC001"), "{markdown}");
    assert!(markdown.contains("20 of 20 objects live shorter"), "{markdown}");
    let lines: Vec<Value> = read("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[1]["type"]), (&"run".into(), &"bucket".into()));
    assert_eq!(lines.iter().filter(|line| line["type"] == "finding").count() + 2, lines.len());
    let nagios = check(&["--plan", &plan, "--inventory", &objects, "-f", "nagios"]);
    assert_eq!(nagios.status.code(), Some(2));
    assert!(text(&nagios).starts_with("WALPROOF CRITICAL - acme-dumps: LFC001"), "{}", text(&nagios));
    // A saved one is shown again, and ends in the same way.
    let again = run(&["report", &file("json")]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(text(&again), text(&check(&["--plan", &plan, "--inventory", &objects])));
}

#[test]
fn a_safe_change_is_quiet_and_an_unknown_one_is_not() {
    let objects = own("objects-dumps.json");
    for more in [&["--inventory", objects.as_str()][..], &[]] {
        let safe = own("plan-safe.json");
        let report = json(&check(&[&["--plan", &safe, "-f", "json"], more].concat()), 0);
        assert!(codes(&report).iter().all(|code| *code == "LFC011"), "{report}");
        let unknown = own("plan-unknown.json");
        let report = json(&check(&[&["--plan", &unknown, "-f", "json"], more].concat()), 1);
        assert!(codes(&report).contains(&"LFC012") && codes(&report).contains(&"LFC001"), "{report}");
        let best = json(&check(&[&["--plan", &unknown, "-f", "json", "--unknown", "best"], more].concat()), 0);
        assert!(codes(&best).contains(&"LFC012"), "never silently: {best}");
    }
}

#[test]
fn rules_templates_and_lists_of_deletions() {
    let objects = own("objects-dumps.json");
    // Rules alone: whose they are is told by the objects.
    let tidy = own("rules-tidy.json");
    let report = json(&check(&["--plan", &tidy, "--inventory", &objects, "-f", "json"]), 1);
    assert_eq!(report["buckets"][0]["bucket"], "acme-dumps");
    assert!(report["assumptions"].to_string().contains("taken to be those of bucket acme-dumps"), "{report}");
    // With what is now beside them only the difference counts.
    let now = own("rules-now.json");
    let changed = json(&check(&["--plan", &tidy, "--rules", &now, "--inventory", &objects, "-f", "json"]), 1);
    assert_eq!(changed["buckets"][0]["rules_before"], 2);
    // Named, as for an audit: the bucket's own file counts, another bucket's does not.
    let rules = |bucket: &str| {
        let named = format!("{bucket}={now}");
        json(&check(&["--plan", &tidy, "--rules", &named, "--inventory", &objects, "-f", "json"]), 1)
    };
    assert_eq!(rules("acme-dumps")["buckets"][0]["rules_before"], 2);
    assert_eq!(rules("acme-other")["buckets"][0]["rules_before"], report["buckets"][0]["rules_before"]);
    let twice = check(&["--plan", &tidy, "--rules", &now, "--rules", &now, "--inventory", &objects]);
    refuses(&twice, &["which bucket", "BUCKET=FILE"]);
    refuses(&check(&["--plan", &tidy]), &["--bucket", "acme-backups, acme-dumps"]);
    json(&check(&["--plan", &tidy, "--bucket", "acme-dumps", "-f", "json"]), 1);
    // A template says only what will be: 30 days with weekly fulls do not hold 35.
    let report = json(&check(&["--plan", &own("template.yaml"), "-f", "json"]), 1);
    assert!(codes(&report).contains(&"LFC020"), "{report}");
    assert_eq!(report["buckets"][0]["guaranteed"][0]["after_days"], 23);
    let deletes = own("deletes.txt");
    let report = json(&check(&["--deletes", &deletes, "--inventory", &objects, "-f", "json"]), 1);
    assert_eq!(codes(&report), ["LFC001"]);
    // The daily one of the 9th is past its ten days; the weekly one of October is promised until December.
    let lost = report["findings"][0]["objects"].as_array().unwrap();
    assert_eq!(
        lost.iter().map(|key| key.as_str().unwrap()).collect::<Vec<_>>(),
        ["weekly/2026-10-25.dump", "daily/2026-11-19.dump"]
    );
    refuses(&check(&["--deletes", &deletes]), &["--inventory"]);
}

#[test]
fn what_cannot_be_judged_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("plan.json");
    let plan = |text: &str| {
        std::fs::write(&file, text).unwrap();
        check(&["--plan", file.to_str().unwrap()])
    };
    let shown = "terraform show -json";
    refuses(
        &plan("{\"@level\":\"info\",\"type\":\"version\"}\n{\"@level\":\"info\"}\n"),
        &["log of terraform plan", shown],
    );
    refuses(&plan("{\"format_version\":\"2.0\",\"resource_changes\":[]}"), &["2.0"]);
    refuses(&plan("{\"format_version\":\"1.2\",\"errored\":true,\"resource_changes\":[]}"), &["plan"]);
    refuses(&plan("tfplan\u{0}"), &["binary", shown]);
    refuses(&plan(""), &["empty"]);
    refuses(&plan("{\"version\":4,\"serial\":1,\"terraform_version\":\"1.9\"}"), &["state", shown]);
    refuses(&check(&["--plan", "/nonexistent.json"]), &["/nonexistent.json"]);
    refuses(&check(&[]), &["--plan", "--deletes"]);
    let safe = own("plan-safe.json");
    refuses(&check(&["--plan", &safe, "--require", "LFC999"]), &["LFC999"]);
    // A rule that must be able to run and cannot is never green.
    assert_eq!(check(&["--plan", &safe, "--require", "WAL001"]).status.code(), Some(2));
    let no_policy = run(&["lifecycle", "check", "--now", NOW, "--plan", &safe, "--require", "LFC022"]);
    assert_eq!(no_policy.status.code(), Some(2), "{}", text(&no_policy));
    assert_eq!(check(&["--plan", &safe, "--require", "LFC022"]).status.code(), Some(0));
    // A plan that touches nothing says so.
    let nothing = plan("{\"format_version\":\"1.2\",\"resource_changes\":[]}");
    assert_eq!(nothing.status.code(), Some(0));
    assert!(text(&nothing).contains("touches no bucket"), "{}", text(&nothing));
}

#[test]
fn objects_come_from_where_they_are() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plan = own("plan-whole-bucket.json");
    let original: Value = serde_json::from_str(&std::fs::read_to_string(data("objects-dumps.json")).unwrap()).unwrap();
    let objects = original["objects"].as_array().unwrap();
    let contents: Vec<Value> = objects
        .iter()
        .map(|object| {
            serde_json::json!({"Key": object["key"], "Size": object["size"], "LastModified": object["last_modified"],
                "StorageClass": "STANDARD", "ETag": "\"x\""})
        })
        .collect();
    let aws = put("aws.json", serde_json::json!({"Contents": contents}).to_string().as_bytes());
    let mut inventories = vec![aws];
    #[cfg(feature = "inventory")]
    {
        use std::io::Write;
        let mut csv = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for object in objects {
            let text = |name: &str| object[name].as_str().unwrap().replace('/', "%2F");
            writeln!(csv, "\"acme-dumps\",\"{}\",\"{}\",\"{}\"", text("key"), object["size"], text("last_modified"))
                .unwrap();
        }
        let csv = csv.finish().unwrap();
        put("inv/acme-dumps/all/data/1.csv.gz", &csv);
        let manifest = |md5: &str| {
            serde_json::json!({"sourceBucket": "acme-dumps", "fileFormat": "CSV", "creationTimestamp": "1795183200000",
                "fileSchema": "Bucket, Key, Size, LastModifiedDate",
                "files": [{"key": "some/prefix/acme-dumps/all/data/1.csv.gz", "size": csv.len(), "MD5checksum": md5}]})
            .to_string()
        };
        let wrong = put("inv/acme-dumps/all/2026-11-20T14-00Z/wrong.json", manifest("00").as_bytes());
        refuses(&check(&["--plan", &plan, "--inventory", &wrong]), &["1.csv.gz", "MD5"]);
        let digest: String = <md5::Md5 as md5::Digest>::digest(&csv).iter().map(|byte| format!("{byte:02x}")).collect();
        inventories.push(put("inv/acme-dumps/all/2026-11-20T14-00Z/manifest.json", manifest(&digest).as_bytes()));
        let lost = put("elsewhere/manifest.json", manifest(&digest).as_bytes());
        std::fs::remove_dir_all(dir.path().join("inv/acme-dumps/all/data")).unwrap();
        refuses(&check(&["--plan", &plan, "--inventory", &lost]), &["not beside it"]);
        put("inv/acme-dumps/all/data/1.csv.gz", &csv);
    }
    for inventory in inventories {
        let report = json(&check(&["--plan", &plan, "--inventory", &inventory, "-f", "json"]), 1);
        assert_eq!(report["buckets"][0]["summary"]["eligible_at_apply"], 11, "{inventory}");
    }
    let bad = put("bad.json", b"{\"a\": 1}");
    refuses(&check(&["--plan", &plan, "--inventory", &bad]), &["bad.json", "neither a list of objects"]);
}

/// A real archive on disk stands for the bucket it would lie in; its catalog says what each backup needs.
#[test]
fn a_live_archive_is_listed_and_catalogued() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-zstd-pg17-timelines");
    let root = root.to_str().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("rules.json");
    let rule = serde_json::json!({"Rules": [{"ID": "gone", "Status": "Enabled", "Filter": {"Prefix": "pg/main/wal_005/"}, "Expiration": {"Days": 3}}]});
    std::fs::write(&file, rule.to_string()).unwrap();
    let rules = file.to_str().unwrap();
    let audit = json(&run(&["audit", root, "-f", "json"]), 0);
    let backups = audit["archives"][0]["backups"].as_array().unwrap().len();
    let taken: walproof::model::Timestamp =
        audit["archives"][0]["backups"][0]["finished_at"].as_str().unwrap().parse().unwrap();
    let now = taken.checked_add(walproof_days(1)).unwrap().to_string();
    let policy = data("policy.toml");
    let mut args = vec!["lifecycle", "check", "--now", &now, "--config", policy.to_str().unwrap(), "--plan", rules];
    args.extend([root, "--bucket", "s3://acme-backups/pg/main", "-f", "json"]);
    let report = json(&run(&args), 1);
    let summary = &report["buckets"][0]["summary"];
    assert_eq!(summary["objects_total"], audit["archives"][0]["listing"]["objects"], "{summary}");
    assert!(codes(&report).contains(&"LFC003") && codes(&report).contains(&"LFC001"), "{:?}", codes(&report));
    // The backups themselves are not under the rule: what each loses first is a segment it needs.
    let window = report["findings"].as_array().unwrap().iter().find(|f| f["code"] == "LFC001").unwrap();
    assert!(window["facts"]["first_loss_at"].as_str().unwrap() > now.as_str(), "{window}");
    assert!(backups > 0 && summary["objects_with_shorter_life"].as_u64().unwrap() > 0);
    refuses(&run(&["lifecycle", "check", "--plan", rules, root]), &["--bucket s3://bucket/prefix"]);
}

fn walproof_days(days: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_hours(24 * days)
}

/// The reference samples, as their table says.
#[test]
fn the_reference_samples() {
    let Some(policy) = spec("samples/policy-example.toml") else { return };
    let sample = |name: &str| spec(&format!("samples/{name}")).unwrap().to_str().unwrap().to_owned();
    let check = |plan: &str, more: &[&str], code: i32| {
        let plan = sample(plan);
        let mut args = vec!["lifecycle", "check", "--now", NOW, "--config", policy.to_str().unwrap(), "-f", "json"];
        args.extend(["--plan", &plan]);
        args.extend(more);
        json(&run(&args), code)
    };
    let inventory = sample("inventory-incident004.json");
    let report = check("plan-incident004-whole-bucket-expiry.json", &["--inventory", &inventory], 1);
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(sample("audit-incident004-expected.json")).unwrap()).unwrap();
    assert_eq!(report["assumed_apply_time"], expected["assumed_apply_time"]);
    for (name, value) in expected["summary"].as_object().unwrap() {
        assert_eq!(&report["buckets"][0]["summary"][name], value, "{name}");
    }
    let losses: Vec<Value> = report["buckets"][0]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|loss| serde_json::json!({"key": loss["key"], "gone_before": loss["gone_before"], "gone_after": loss["gone_after"]}))
        .collect();
    assert_eq!(Value::from(losses), expected["objects"]);
    for code in expected["findings"].as_array().unwrap() {
        assert!(codes(&report).contains(&code.as_str().unwrap()), "{code}");
    }
    let safe = check("plan-safe-change.json", &[], 0);
    assert_eq!((codes(&safe), &safe["status"]), (Vec::new(), &"ok".into()));
    let typo = check("plan-prefix-typo.json", &[], 1);
    assert!(codes(&typo).contains(&"LFC002") && codes(&typo).contains(&"LFC020"), "{:?}", codes(&typo));
    assert_eq!(typo["buckets"][0]["guaranteed"][0]["after_days"], 0);
    let suspended = check("plan-versioning-suspended.json", &[], 1);
    assert!(codes(&suspended).contains(&"LFC007"));
    let unknown = check("plan-unknown-values.json", &[], 1);
    for code in ["LFC012", "LFC014", "LFC004"] {
        assert!(codes(&unknown).contains(&code), "{code}: {:?}", codes(&unknown));
    }
}

/// Rules that follow from a promise keep it: the check of the very rules finds nothing.
#[test]
fn derived_rules_keep_the_promise() {
    let policy = data("policy.toml");
    let policy = policy.to_str().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("rules.json");
    let file = file.to_str().unwrap();
    assert_eq!(run(&["policy", "rules", "main", "--config", policy, "-o", file]).status.code(), Some(0));
    let rules: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    // 35 d of window, 7 d between fulls, 1 d for the backup itself, 7 d of margin.
    assert_eq!(rules["Rules"][0]["Expiration"]["Days"], 50);
    let report = json(&check(&["--plan", file, "--bucket", "acme-backups", "-f", "json"]), 0);
    assert!(!codes(&report).iter().any(|code| ["LFC001", "LFC003", "LFC018", "LFC020"].contains(code)), "{report}");
    refuses(&run(&["policy", "rules", "dumps", "--config", policy]), &["wal-g"]);
}

/// A draft is a valid file that promises nothing.
#[test]
fn a_draft_holds_what_is_seen_as_comments() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-zstd-pg17-timelines");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("walproof.toml");
    let file = file.to_str().unwrap();
    let root = root.to_str().unwrap();
    let made = run(&["policy", "init", root, "-o", file]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let draft = std::fs::read_to_string(file).unwrap();
    for words in
        ["version = 1", "[[cluster]]", "layout  = \"wal-g\"", "# recovery_window", "# min_full_backups", "# seen: "]
    {
        assert!(draft.contains(words), "no {words:?} in:\n{draft}");
    }
    let explained = json(&run(&["policy", "explain", "--config", file, "-f", "json"]), 0);
    let keys = explained["clusters"][0]["keys"].as_array().unwrap();
    assert!(keys.is_empty(), "nothing is promised by a comment: {explained}");
    // With every # in front of a key taken away it is still a file without a mistake.
    let uncommented = draft
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    let promised = dir.path().join("promised.toml");
    std::fs::write(&promised, uncommented).unwrap();
    let checked = run(&["policy", "check", "--config", promised.to_str().unwrap(), "-f", "json"]);
    assert!(checked.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&checked.stderr));
    refuses(&run(&["policy", "init", root, "-o", file]), &["is there already"]);
    refuses(&run(&["policy", "init", "/nonexistent"]), &["/nonexistent"]);
}
/// A schema of `docs/schema`.
fn schema(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether a value is what a schema says: every keyword that our schemas use, and no other. Stricter than they are in one
/// thing: a member that the schema does not know is a mistake here, though not for readers.
fn holds(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        return if schema == &Value::Bool(true) { Ok(()) } else { Err(format!("{at}: nothing is allowed here")) };
    };
    for (keyword, wanted) in keywords {
        let list = || wanted.as_array().unwrap_or_else(|| panic!("{keyword} is no list"));
        let ok = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                holds(root, &root["$defs"][name], value, at)?;
                true
            }
            "type" => {
                let kinds = wanted.as_array().map_or_else(|| vec![wanted], |kinds| kinds.iter().collect());
                kinds.iter().any(|kind| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                })
            }
            "enum" => list().contains(value),
            "const" => wanted == value,
            "anyOf" => list().iter().any(|each| holds(root, each, value, at).is_ok()),
            "oneOf" => list().iter().filter(|each| holds(root, each, value, at).is_ok()).count() == 1,
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| text.parse::<walproof::model::Lsn>().is_ok()),
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    holds(root, wanted, item, &format!("{at}[{place}]"))?;
                }
                true
            }
            "required" => {
                list().iter().all(|name| value.as_object().is_none_or(|v| v.contains_key(name.as_str().unwrap())))
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    match wanted.get(name) {
                        Some(inner) => holds(root, inner, member, &format!("{at}.{name}"))?,
                        None => return Err(format!("{at}: the schema does not know {name}")),
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties");
                for (name, member) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| known.get(name).is_none()) {
                        holds(root, wanted, member, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            other => panic!("a keyword that nothing here understands: {other}"),
        };
        if !ok {
            return Err(format!("{at}: {value} is not {keyword} {wanted}"));
        }
    }
    Ok(())
}

#[test]
fn documents_are_what_their_schemas_say() {
    let lifecycle = schema("lifecycle.json");
    let objects = own("objects-dumps.json");
    for (plan, more, code) in [
        ("plan-whole-bucket.json", &["--inventory", objects.as_str()][..], 1),
        ("plan-whole-bucket.json", &[], 1),
        ("plan-safe.json", &[], 0),
        ("plan-unknown.json", &["--inventory", objects.as_str()], 1),
        ("template.yaml", &[], 1),
    ] {
        let report = json(&check(&[&["--plan", &own(plan), "-f", "json"], more].concat()), code);
        holds(&lifecycle, &lifecycle, &report, plan).unwrap();
        for (member, value) in [("buckets", Value::from("none")), ("status", "fine".into()), ("new", 1.into())] {
            let mut wrong = report.clone();
            wrong[member] = value;
            assert!(holds(&lifecycle, &lifecycle, &wrong, plan).is_err(), "the schema refuses no wrong {member}");
        }
    }
    let Some(golden) = g::golden() else { return };
    let copy = g::Copy::of(&g::root(&golden, "walg-zstd-pg17-timelines"));
    std::fs::remove_file(copy.path().join("wal_005/000000010000000000000006.zst")).unwrap();
    let roots =
        [copy.path().to_path_buf(), g::root(&golden, "walg-zstd-pg17-timelines"), g::root(&golden, "wale-lzo-pg14")];
    for root in roots {
        let root = root.to_str().unwrap();
        for (command, name) in [("audit", "audit.json"), ("list", "list.json")] {
            let schema = schema(name);
            let report: Value = serde_json::from_slice(&run(&[command, root, "-f", "json"]).stdout).unwrap();
            holds(&schema, &schema, &report, command).unwrap();
        }
        let reach = schema("reach.json");
        for lsn in ["0/5000028", "0/6000028", "FF/0"] {
            let report: Value =
                serde_json::from_slice(&run(&["reach", root, "--lsn", lsn, "-f", "json"]).stdout).unwrap();
            holds(&reach, &reach, &report, lsn).unwrap();
        }
    }
}
