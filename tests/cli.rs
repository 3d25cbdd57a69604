//! The program from outside: what it prints, where, and how it ends.
#![allow(clippy::disallowed_methods)]
#![cfg(all(feature = "cli", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

mod golden_support;

use std::fs;
use std::path::Path;
use std::process::Output;

use golden_support as g;

fn run(args: &[&str]) -> Output {
    g::walproof().args(args).output().unwrap()
}

/// Exit code 2, nothing on standard output but a report, and one sentence that names these words.
fn fails(output: &Output, words: &[&str]) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn put(dir: &Path, key: &str, text: &str) {
    let path = dir.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn an_empty_place_is_never_green() {
    let dir = dir();
    let path = dir.path().to_str().unwrap();
    fails(&run(&["audit", path]), &["0 objects under", "basebackups_005/"]);
    fails(&run(&["list", path]), &["0 objects under"]);
    fails(&run(&["reach", path, "--lsn", "0/1"]), &["0 objects under"]);
}

#[test]
fn photos_are_not_an_archive() {
    let dir = dir();
    put(dir.path(), "2026/beach.jpg", "x");
    put(dir.path(), "2026/dog.jpg", "x");
    let output = run(&["audit", dir.path().to_str().unwrap()]);
    fails(&output, &["no archive below", "2 objects", "2026/beach.jpg", "wal_005/", "pgBackRest"]);
}

#[test]
fn a_file_a_missing_directory_and_an_address_too_deep() {
    let dir = dir();
    put(dir.path(), "pg/wal_005/000000010000000000000001.lz4", "x");
    let file = dir.path().join("pg/wal_005/000000010000000000000001.lz4");
    fails(&run(&["audit", file.to_str().unwrap()]), &["not a directory"]);
    fails(&run(&["audit", dir.path().join("pgg").to_str().unwrap()]), &["pgg"]);
    let deep = dir.path().join("pg/wal_005");
    fails(&run(&["audit", deep.to_str().unwrap()]), &["is inside an archive", "audit the folder above"]);
}

#[test]
fn wrong_usage_is_one_helpful_sentence() {
    fails(&run(&["audit", "s4://x"]), &["s4://"]);
    fails(&run(&["audit", "--format", "yaml", "."]), &["yaml", "json"]);
    fails(&run(&["audit", "--now", "yesterday", "."]), &["2026-11-20T14:30:00Z"]);
    fails(&run(&["audit", "--require", "WAL999", "."]), &["WAL999", "walproof rule"]);
    fails(&run(&["reach", "."]), &["--time", "--lsn"]);
    fails(&run(&["rule", "XYZ1"]), &["XYZ1"]);
    fails(&run(&["audit"]), &["nothing to audit", "WALG_S3_PREFIX"]);
    fails(&run(&["report", "/nonexistent.json"]), &["/nonexistent.json"]);
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_misspelt_key_names_the_right_one() {
    let dir = dir();
    let file = dir.path().join("walproof.toml");
    fs::write(&file, "version = 1\n[defaults]\nrecovery_windw = \"35d\"\n").unwrap();
    let output = run(&["audit", "--config", file.to_str().unwrap()]);
    fails(&output, &["recovery_windw", "recovery_window", ":3:"]);
    fs::write(&file, "version = 1\n[[cluster]]\nname = \"main\"\narchive = \"/nowhere/at/all\"\n").unwrap();
    fails(&run(&["audit", "--config", file.to_str().unwrap(), "mian"]), &["mian", "main"]);
}

#[test]
fn rules_and_completions_are_printed() {
    let list = String::from_utf8(run(&["rule"]).stdout).unwrap();
    for code in ["WAL001", "TLI001", "BKP001", "LFC004"] {
        assert!(list.contains(code), "{code}");
        let page = run(&["rule", &code.to_lowercase()]);
        assert!(page.status.success() && String::from_utf8_lossy(&page.stdout).contains("**Fires**"), "{code}");
    }
    assert!(String::from_utf8_lossy(&run(&["completions", "bash"]).stdout).contains("walproof"));
}

/// Whole first screens, so that a change of a word is seen.
#[test]
fn first_screens() {
    let Some(golden) = g::golden() else { return };
    for name in ["walg-zstd-pg17-timelines", "walg-composers-pg15", "wale-lzo-pg14"] {
        let root = g::root(&golden, name);
        let now = g::two_days_later(&root);
        let output = g::walproof().args(["audit", "--now", &now]).arg(&root).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().count() <= 20, "a healthy archive fits on one screen:\n{text}");
        assert_eq!(output.status.code(), Some(0), "{text}");
        screen(name, &root, &text);
    }
    let copy = g::Copy::of(&g::root(&golden, "walg-lz4-pg15"));
    fs::remove_file(copy.path().join("wal_005/000000010000000000000012.lz4")).unwrap();
    let emptied = copy.path().join("wal_005/000000010000000000000020.lz4");
    let stored = fs::metadata(&emptied).unwrap().modified().unwrap();
    fs::write(&emptied, "").unwrap();
    g::set_modified(&emptied, stored);
    let now = g::two_days_later(&copy.path());
    let output = g::walproof().args(["audit", "--now", &now]).arg(copy.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    screen("damaged", &copy.path(), &String::from_utf8(output.stdout).unwrap());
}

fn screen(name: &str, root: &Path, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.add_filter(&regex_escape(&root.display().to_string()), "/ARCHIVE");
    settings.add_filter(r"\d+\.\d s\b", "[seconds] s");
    settings.bind(|| insta::assert_snapshot!(format!("screen-{name}"), text));
}

fn regex_escape(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] }).collect()
}

#[test]
fn the_same_audit_gives_the_same_bytes_and_can_be_shown_again() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-lz4-pg15");
    let now = g::two_days_later(&root);
    let dir = dir();
    let file = dir.path().join("report.json");
    let both = |file: &Path| {
        let output = g::walproof()
            .args(["audit", "--now", &now, "--format", "text", "--format"])
            .arg(format!("json={}", file.display()))
            .arg(&root)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = both(&file);
    let first = json_without_run(&file);
    both(&file);
    assert_eq!(first, json_without_run(&file));
    let again = run(&["report", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0));
    let seconds =
        |text: &str| text.lines().filter(|line| !line.contains(" requests, ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(seconds(&String::from_utf8(again.stdout).unwrap()), seconds(&text));
    let lines = run(&["report", file.to_str().unwrap(), "--format", "jsonl"]);
    let kinds: Vec<String> = String::from_utf8(lines.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "backup").count(), 5);
    fs::write(&file, "{\"schema\": \"something/1\"}").unwrap();
    fails(&run(&["report", file.to_str().unwrap()]), &["something/1"]);
}

fn json_without_run(file: &Path) -> serde_json::Value {
    let mut report: serde_json::Value = serde_json::from_slice(&g::bytes(file).unwrap()).unwrap();
    for field in ["started_at", "duration_s"] {
        report.as_object_mut().unwrap().remove(field);
    }
    for archive in report["archives"].as_array_mut().unwrap() {
        archive["listing"].as_object_mut().unwrap().remove("duration_s");
        archive["listing"].as_object_mut().unwrap().remove("requests");
    }
    report
}

#[test]
fn waivers_are_shown_and_end() {
    let Some(golden) = g::golden() else { return };
    let copy = g::Copy::of(&g::root(&golden, "walg-lz4-pg15"));
    fs::remove_file(copy.path().join("wal_005/000000010000000000000012.lz4")).unwrap();
    let dir = dir();
    let config = dir.path().join("walproof.toml");
    let audit = |until: &str| {
        let text = format!(
            "version = 1\n[[cluster]]\nname = \"main\"\narchive = \"{}\"\n[[exception]]\nrule = \"WAL001\"\ncluster = \"main\"\n\
             segments = \"000000010000000000000012..000000010000000000000012\"\nreason = \"lost\"\nuntil = {until}\n",
            copy.path().display()
        );
        fs::write(&config, text).unwrap();
        run(&["audit", "--config", config.to_str().unwrap(), "--now", "2026-12-01T00:00:00Z", "--format", "json"])
    };
    let (report, code) = g::report(&audit("2026-12-31"));
    assert_eq!(code, 0, "{:#}", report["findings"]);
    assert_eq!(report["findings"][0]["waived"]["reason"], "lost");
    let rule = report["rules"].as_array().unwrap().iter().find(|rule| rule["code"] == "WAL001").unwrap();
    assert_eq!(rule["outcome"], "waived");
    assert_eq!(g::report(&audit("2026-11-30")).1, 1, "its end date is over");
}

#[test]
fn several_archives_below_one_address_are_each_audited() {
    let Some(golden) = g::golden() else { return };
    let dir = dir();
    for name in ["walg-none-pg15", "walg-zstd-pg18-seg1m"] {
        let copy = g::Copy::of(&g::root(&golden, name));
        fs::rename(copy.path(), dir.path().join(name)).unwrap();
    }
    fs::remove_file(dir.path().join("walg-zstd-pg18-seg1m/wal_005/00000001000000000000000C.zst")).unwrap();
    let path = dir.path().to_str().unwrap();
    let output = run(&["audit", path, "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let statuses: Vec<&str> =
        report["archives"].as_array().unwrap().iter().map(|a| a["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["info", "critical"]);
    assert_eq!(output.status.code(), Some(1));
    // One that cannot be read never stops the others, and decides the exit code.
    let output = run(&["audit", path, "/nowhere/at/all", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["archives"].as_array().unwrap().len(), 3);
    assert_eq!(output.status.code(), Some(2));
    let each = run(&["audit", &format!("{path}/*"), "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&each.stdout).unwrap();
    assert_eq!(report["archives"].as_array().unwrap().len(), 2);
}

#[test]
fn wal_gs_own_settings_are_enough() {
    let Some(golden) = g::golden() else { return };
    let root = g::root(&golden, "walg-libsodium-pg15");
    let mut command = g::walproof();
    command.args(["audit", "--format", "json"]).env("WALG_FILE_PREFIX", &root);
    let (report, code) = g::report(&g::with_keys(&mut command, &golden, "walg-libsodium-pg15").output().unwrap());
    assert_eq!((code, &report["layout"]), (0, &serde_json::json!("wal-g")));
    assert!(report["notes"].as_array().unwrap().is_empty(), "{}", report["notes"]);
    // Without the key what is encrypted stays unknown, with the reason; a rule that must run makes that exit code 2.
    let required = run(&["audit", root.to_str().unwrap(), "--require", "WAL006", "--format", "json"]);
    let (report, code) = g::report(&required);
    assert_eq!((code, &report["status"]), (2, &serde_json::json!("incomplete")));
    // The same in a file, with a storage prefix, in YAML.
    let dir = dir();
    let file = dir.path().join("walg.yaml");
    let parent = root.parent().unwrap();
    fs::write(
        &file,
        format!("WALG_FILE_PREFIX: file://localhost{}\nwalg_storage_prefix: walg-libsodium-pg15\n", parent.display()),
    )
    .unwrap();
    let output = g::walproof().args(["audit", "--format", "json"]).env("WALG_CONFIG_PATH", &file).output().unwrap();
    assert_eq!(g::report(&output).1, 0);
    fs::write(&file, "WALG_SWIFT_PREFIX: swift://x\n").unwrap();
    fails(&g::walproof().arg("audit").env("WALG_CONFIG_PATH", &file).output().unwrap(), &["SWIFT"]);
}

/// WAL in one storage, backups in the other: one archive.
#[test]
fn failover_storages_are_merged() {
    let Some(golden) = g::golden() else { return };
    let copy = g::Copy::of(&g::root(&golden, "walg-zstd-pg18-seg1m"));
    let other = dir();
    fs::create_dir_all(other.path().join("wal_005")).unwrap();
    let moved = "wal_005/00000001000000000000000C.zst";
    fs::rename(copy.path().join(moved), other.path().join(moved)).unwrap();
    let config = other.path().join("walg.json");
    let settings = serde_json::json!({
        "WALG_FILE_PREFIX": copy.path(),
        "WALG_FAILOVER_STORAGES": {"second": {"WALG_FILE_PREFIX": other.path()}},
    });
    fs::write(&config, settings.to_string()).unwrap();
    let output = g::walproof().args(["audit", "--format", "json"]).env("WALG_CONFIG_PATH", &config).output().unwrap();
    let (report, code) = g::report(&output);
    assert_eq!(code, 0, "{:#}", report["findings"]);
    assert_eq!(report["timelines"][0]["gaps"], serde_json::json!([]));
    assert_eq!(g::report(&run(&["audit", copy.path().to_str().unwrap(), "--format", "json"])).1, 1);
}

/// Any bytes as key or content: a finding, never a panic, never a control character on a terminal.
#[test]
fn hostile_archives_are_findings() {
    use std::os::unix::ffi::OsStrExt;
    let Some(golden) = g::golden() else { return };
    let copy = g::Copy::of(&g::root(&golden, "walg-zstd-pg17-timelines"));
    let root = copy.path();
    for name in [&b"\xff\xfe"[..], b"\x1b[2J", b"a\nb", b"000000010000000000000003.zst.zst", b"00000009.history"] {
        fs::write(root.join("wal_005").join(std::ffi::OsStr::from_bytes(name)), b"\0\xff").unwrap();
    }
    put(
        &root,
        "basebackups_005/base_FFFFFFFFFFFFFFFFFFFFFFFF_backup_stop_sentinel.json",
        "{\"LSN\":18446744073709551615,\"FinishLSN\":0}",
    );
    put(
        &root,
        "basebackups_005/base_000000010000000000000004_D_000000010000000000000003_backup_stop_sentinel.json",
        "{\"LSN\":67108904,\"FinishLSN\":67109160,\"DeltaFrom\":\"base_000000010000000000000004_D_000000010000000000000003\",\"PgVersion\":170000}",
    );
    std::os::unix::fs::symlink("/etc", root.join("basebackups_005/link")).unwrap();
    for format in ["text", "json", "jsonl"] {
        let output = g::walproof().args(["audit", "-v", "--format", format]).arg(&root).output().unwrap();
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{:?}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{format}");
        assert!(!text.contains("passwd"), "links are not followed");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::io::Read;
    use std::process::Stdio;
    let mut child = g::walproof().arg("rule").stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(child.wait().unwrap().code().is_some(), "ended by a signal");
}
