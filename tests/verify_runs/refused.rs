//! Objects that cannot be read as things are: a class that answers only after a restore or that nobody allowed, a key
//! service that says no. None of them is damage.

use std::collections::BTreeSet;
use std::fs;

use super::made::{Made, backup, name};
use super::run::{Content, Run, at, unread};
use crate::support::s3::{Extra, FakeS3, Faults};

async fn server() -> FakeS3 {
    let server = FakeS3::start("us-east-1", true).await;
    server.set(Faults { no_sums: true, ..Faults::default() });
    Made::default().packed(2, 21).backup(3, 1000).backup(12, 1000).upload(&server);
    server
}

fn wal(number: u64) -> String {
    format!("pg/wal_005/{}.zst", name(number))
}

fn part(number: u64, part: &str) -> String {
    format!("pg/basebackups_005/{}/tar_partitions/{part}.tar", backup(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_that_nobody_allowed_are_not_asked_for() {
    let server = server().await;
    let class = |key: &str, class| server.mark(key.as_bytes(), Extra { class: Some(class), ..Extra::default() });
    for number in 2..=6 {
        class(&wal(number), "STANDARD_IA");
    }
    for number in 7..=8 {
        class(&wal(number), "GLACIER_IR");
    }
    class(&part(3, "part_002"), "GLACIER_IR");
    let content = Content::of(&server);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = dir.path().join("walproof.toml");
    let with = |classes: &str| {
        let cluster = "[[cluster]]\nname = \"main\"\narchive = \"s3://archive/pg\"";
        let text = format!("version = 1\n{cluster}\n[cluster.verify]\nallow_classes = [{classes}]\n");
        fs::write(&config, text).unwrap();
        let run = Run::of(at(&server, "verify").arg("--config").arg(&config));
        assert_eq!(run.codes(), BTreeSet::new(), "{:#}", run.archive["findings"]);
        let gets = content.gets();
        assert_eq!(gets.len() as u64, run.read_objects());
        (run, gets)
    };
    let (run, gets) = with("\"STANDARD\"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    // A backup with one part that is not to be read is not read at all.
    assert_eq!((run.number("wal_segments"), run.number("backup_files")), (13, 4));
    assert!(!gets.iter().any(|key| (2..=8).any(|number| *key == wal(number)) || key.contains(&backup(3))), "{gets:?}");
    let said = unread(&run);
    let about = |class: &str| said.iter().find(|(why, _, _)| why.contains(class)).unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(about("STANDARD_IA").1, 5);
    assert_eq!(about("GLACIER_IR").1, 3);
    assert!(about("GLACIER_IR").0.contains("is not among verify.allow_classes"));
    assert!(run.archive["backups"][0]["rungs"]["intact"].is_null());
    let (run, _) = with("\"STANDARD\", \"STANDARD_IA\"");
    assert_eq!((run.number("wal_segments"), run.number("backup_files")), (18, 4));
    let (run, _) = with("\"STANDARD\", \"STANDARD_IA\", \"GLACIER_IR\"");
    assert_eq!((run.number("wal_segments"), run.number("backup_files")), (20, 8));
    assert_eq!(unread(&run), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_classes_name_the_restore_they_need() {
    let server = server().await;
    let class = |key: &str, class| server.mark(key.as_bytes(), Extra { class: Some(class), ..Extra::default() });
    class(&wal(19), "GLACIER");
    class(&wal(20), "DEEP_ARCHIVE");
    server.gets();
    let run = Run::of(&mut at(&server, "verify"));
    let gets = server.gets();
    assert!(!gets.iter().any(|key| *key == wal(19) || *key == wal(20)), "{gets:?}");
    let said = unread(&run);
    let about = |class: &str| said.iter().find(|(why, _, _)| why.contains(class)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(about("GLACIER:").0.contains("Standard 3-5 h, Bulk 5-12 h"), "{said:?}");
    assert!(about("DEEP_ARCHIVE").0.contains("Standard 12 h, Bulk 48 h"), "{said:?}");
    for code in ["INT001", "INT003", "INT004", "INT006"] {
        assert!(run.finding(code).is_none(), "{code}");
    }
    assert_eq!(run.number("wal_segments"), 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_service_that_says_no_is_not_damage() {
    let server = server().await;
    let refuse = (
        403,
        "AccessDenied",
        "User: arn:aws:iam::1:user/walproof is not authorized to perform: kms:Decrypt on resource: \
         arn:aws:kms:eu-west-1:1:key/2 because no identity-based policy allows the kms:Decrypt action",
    );
    let locked = [wal(9), wal(10), part(12, "part_001")];
    for key in &locked {
        server.mark(key.as_bytes(), Extra { refuse: Some(refuse), ..Extra::default() });
    }
    let run = Run::of(&mut at(&server, "verify"));
    let said = unread(&run);
    let (why, count, objects) =
        said.iter().find(|(why, _, _)| why.contains("kms:Decrypt")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(why.contains("grant kms:Decrypt on arn:aws:kms:eu-west-1:1:key/2"), "{why}");
    assert_eq!((*count, objects.len()), (3, 3), "one reason for all");
    assert_eq!(run.codes(), BTreeSet::new(), "{:#}", run.archive["findings"]);
    assert_eq!(run.archive["error"], serde_json::Value::Null, "the rest was read");
    assert_eq!(run.number("wal_segments"), 18);
    assert!(run.archive["recovery_window"].is_object(), "not read is not damaged");
    let backups = run.archive["backups"].as_array().unwrap();
    assert!(backups[1]["rungs"]["intact"].is_null() && !backups[0]["rungs"]["intact"].is_null());

    // All of it: nothing can be said, and that is said.
    let server = FakeS3::start("us-east-1", true).await;
    let made = Made::default().packed(2, 5).backup(3, 1000);
    made.upload(&server);
    for (key, _) in made.objects.iter().filter(|(key, _)| key.contains("wal_005/") || key.contains("tar_partitions")) {
        server.mark(format!("pg/{key}").as_bytes(), Extra { refuse: Some(refuse), ..Extra::default() });
    }
    let run = Run::of(&mut at(&server, "verify"));
    let (outcome, why) = run.rule("INT001");
    assert_eq!(outcome, "not_run");
    assert!(why.contains("kms:Decrypt on arn:aws:kms:eu-west-1:1:key/2"), "{why}");
    assert_eq!(run.codes(), BTreeSet::new());
}
