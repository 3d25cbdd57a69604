use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::model::{SegmentName, StorageClass};
use crate::policy::{ByteSize, Sample, Span};

fn parse(text: &str) -> Config {
    parse_config(text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn errors(text: &str) -> Vec<String> {
    parse_config(text).expect_err("has to be refused").iter().map(ToString::to_string).collect()
}

fn days(days: u32) -> Option<Span> {
    Some(Span::from_days(days))
}

const CLUSTER: &str = "[[cluster]]\nname = \"a\"\narchive = \"s3://b/a\"\n";

#[test]
fn the_example_policy_is_read() {
    let Some(text) = crate::policy::test_data::sample("policy-example.toml") else { return };
    let config = parse(&text);
    let names: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["prod/main", "staging", "company"]);
    assert_eq!(config.contradictions(), []);

    let main = config.policy(config.cluster("prod/main").unwrap());
    assert_eq!(main.recovery_window.copied(), days(365));
    assert_eq!(main.recovery_window.origin().unwrap().to_string(), "cluster prod/main, line 45");
    assert_eq!(main.rpo.origin().unwrap().to_string(), "defaults, line 6");
    assert_eq!(main.full_backup_every.copied(), days(7));
    assert_eq!(main.retention.yearly.copied(), Some(Span::FOREVER));
    assert_eq!(main.copy.archive.get().unwrap(), "s3://company-pg-copy/prod/main");
    assert_eq!(main.copy.required.copied(), Some(true));
    assert_eq!(main.deletions.max_share_per_day.copied().unwrap().to_string(), "5%");
    assert_eq!(main.storage.allowed_classes_in_window.get().unwrap()[2], StorageClass::GlacierIr);
    assert_eq!(main.immutability.mode.copied(), Some(LockMode::Compliance));

    let company = config.cluster("company").unwrap();
    assert_eq!(company.layout, Some(LayoutName::Files));
    assert_eq!(company.files_pattern.as_deref(), Some("{tier}/{date}.tar.zst"));
    assert_eq!(config.policy(company).copy.required.copied(), Some(false));
    assert_eq!(config.exceptions[0].rule, "LFC002");
    assert!(!config.exceptions[0].is_expired("2027-03-31T23:59:59Z".parse().unwrap()));
    assert!(config.exceptions[0].is_expired("2027-04-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn unknown_keys_name_the_right_one() {
    let got = errors(&format!("{CLUSTER}recovery_windw = \"1d\"\nretention.dayly = \"3d\"\n[defaultz]\n"));
    assert_eq!(
        got,
        [
            "line 4: cluster.recovery_windw: unknown key; did you mean cluster.recovery_window?",
            "line 5: cluster.retention.dayly: unknown key; did you mean cluster.retention.daily?",
            "line 6: defaultz: unknown key; did you mean defaults?",
        ]
    );
    assert_eq!(
        errors("[defaults]\nmin_lock = \"3d\"\n"),
        ["line 2: defaults.min_lock: unknown key; min_lock belongs in [defaults.immutability], or in a [[cluster]] \
             as immutability.min_lock"]
    );
    assert_eq!(errors("rpo = \"15m\"\n"), ["line 1: rpo: unknown key; rpo belongs in [defaults] or a [[cluster]]"]);
}

#[test]
fn wrong_values_are_explained_all_at_once() {
    let got = errors(
        "version = 2\n[defaults]\nrecovery_window = 35\nrpo = \"3 months\"\nmin_full_backups = -1\n\
         activity = \"idle\"\nstorage.allowed_classes_in_window = [\"STANDARD\", \"GLACIER-IR\"]\n\
         [[cluster]]\nname = \"x\"\n",
    );
    assert_eq!(
        got,
        [
            "line 1: version: 2 is not known to this version; write version = 1",
            "line 3: defaults.recovery_window: \"35\" is not a duration: it has no unit; did you mean 35d?",
            "line 4: defaults.rpo: \"3 months\" is not a duration: months are not a unit (28 or 31 days?); write days, \
             as in 30d",
            "line 5: defaults.min_full_backups: -1 is out of range",
            "line 6: defaults.activity: \"idle\" is none of steady, idle-ok",
            "line 7: defaults.storage.allowed_classes_in_window: \"GLACIER-IR\" is none of STANDARD, STANDARD_IA, \
             ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, REDUCED_REDUNDANCY, EXPRESS_ONEZONE, \
             NEARLINE, COLDLINE, ARCHIVE, AZURE_ONLINE, AZURE_ARCHIVE; did you mean GLACIER_IR?",
            "line 8: cluster.archive: this key is required",
        ]
    );
}

#[test]
fn broken_syntax_has_a_line() {
    let got = errors("[defaults\nrpo = \n");
    assert!(got[0].starts_with("line 1: not valid TOML"), "{got:?}");
    let got = errors("[defaults]\nrpo = \"1d\"\nrpo = \"2d\"\n");
    assert!(got[0].starts_with("line 3: not valid TOML: duplicate key"), "{got:?}");
}

#[test]
fn clusters_inherit_key_by_key() {
    let config = parse(
        "[defaults]\nrpo = \"15m\"\nretention.daily = \"30d\"\nretention.weekly = \"90d\"\nregion = \"eu-west-1\"\n\
         [[cluster]]\nname = \"pg/*\"\narchive = \"s3://b/pg/*\"\nretention.daily = \"7d\"\nprofile = \"p\"\n\
         copy.archive = \"s3://c/pg\"\ncopy.profile = \"q\"\n",
    );
    let cluster = config.clusters[0].instance("main");
    assert_eq!((cluster.name.as_str(), cluster.archive.to_string().as_str()), ("pg/main", "s3://b/pg/main"));
    assert_eq!(cluster.identity.region.get().unwrap(), "eu-west-1");
    assert_eq!(cluster.identity.profile.get().unwrap(), "p");
    let policy = config.policy(&cluster);
    assert_eq!(policy.retention.daily.copied(), days(7));
    assert_eq!(policy.retention.weekly.copied(), days(90));
    assert_eq!(policy.copy.identity.profile.get().unwrap(), "q");
    let rows = cluster.explain(&config);
    let row = rows.iter().find(|row| row.key == "retention.daily").unwrap();
    assert_eq!(row.value.as_deref(), Some("7d"));
    assert_eq!(row.origin.as_ref().unwrap().line(), Some(9));
}

#[test]
fn sections_beside_the_promises() {
    let config = parse(
        "[state]\nurl = \"s3://state/walproof\"\nprofile = \"writer\"\n[notifications.slack]\nurl = \"x\"\n\
         [defaults.verify]\nsample = \"3/7\"\nbudget = \"20GiB\"\nallow_classes = [\"STANDARD\"]\ninterval = \"30d\"\n\
         [defaults.restore_test]\npick = \"least-recently-proven\"\ntarget = \"time=2026-01-01T00:00:00Z\"\n\
         max_restore_bytes = \"500GiB\"\nmax_replay = \"64GiB\"\nmax_time = \"4h\"\nrepresentative = false\n\
         download_postgres = true\npg_bin = \"/usr/lib/postgresql/15/bin\"\n\
         assertions = [\"checks.sql\", { name = \"orders\", sql = \"select count(*) from orders\", expect = \">= 10\" }]\n\
         [[cluster]]\nname = \"a\"\narchive = \"/b\"\nrestore_test.max_replay = \"2h\"\n\
         [[cluster.restore_test.assertions]]\nrows = \"public.t\"\nmin = 5\nmax_drop = \"10%\"\n",
    );
    assert_eq!(config.state.url.as_deref(), Some("s3://state/walproof"));
    assert_eq!(config.state.identity.profile.get().map(String::as_str), Some("writer"));
    assert_eq!(config.not_used(), ["notifications.slack: not sent by this version"]);
    assert_eq!(config.defaults.verify.sample.copied(), Some(Sample::Slice { number: 3, of: 7 }));
    assert_eq!(config.defaults.verify.budget.copied(), Some(ByteSize(20 << 30)));
    let tests = &config.defaults.restore_test;
    assert_eq!(tests.max_replay.copied(), Some(ReplayLimit::Bytes(ByteSize(64 << 30))));
    let assertions = tests.assertions.get().unwrap();
    assert_eq!(assertions[0].check, AssertionCheck::File("checks.sql".into()));
    let AssertionCheck::Sql { expect, .. } = &assertions[1].check else { panic!() };
    assert_eq!((expect.operator, expect.value.as_str()), (Comparison::AtLeast, "10"));
    let own = config.policy(&config.clusters[0]);
    assert_eq!(own.restore_test.max_replay.copied(), Some(ReplayLimit::Time(Span::from_seconds(7200))));
    assert_eq!(own.restore_test.assertions.get().unwrap()[0].name, "rows of public.t");

    let got = errors(&format!(
        "{CLUSTER}restore_test.assertions = [{{ sql = \"select 1\" }}, {{ tables = 3 }}]\nrestore_test.target = \"now\"\n"
    ));
    assert!(got[0].contains("sql needs expect"), "{got:?}");
    assert!(got.iter().any(|line| line.contains("tables: unknown key")), "{got:?}");
    assert!(got.iter().any(|line| line.contains("restore_test.target: no such target")), "{got:?}");
}

#[test]
fn exceptions_have_a_reason_a_date_and_one_scope() {
    let config = parse(&format!(
        "{CLUSTER}[[exception]]\nrule = \"WAL001\"\ncluster = \"a\"\nreason = \"known\"\nuntil = \"2027-01-31\"\n\
         segments = \"0000000100000000000000A3..0000000100000000000000A5\"\n"
    ));
    let exception = &config.exceptions[0];
    let name = |text: &str| SegmentName::parse(text.as_bytes()).unwrap();
    let inside = (name("0000000100000000000000A4"), name("0000000100000000000000A5"));
    let across = (name("0000000100000000000000A4"), name("0000000100000000000000A6"));
    assert!(exception.covers("WAL001", "a", "", Some(inside), ""));
    assert!(!exception.covers("WAL001", "a", "", Some(across), ""));
    assert!(!exception.covers("WAL001", "a", "", None, ""));
    assert!(!exception.covers("WAL001", "b", "", Some(inside), ""));

    let got = errors(&format!(
        "{CLUSTER}[[exception]]\nrule = \"segment-gap\"\ncluster = \"b\"\nreason = \" \"\nuntil = 2027-01-31T00:00:00Z\n"
    ));
    assert!(got.iter().any(|line| line.contains("is not a rule code")), "{got:?}");
    assert!(got.iter().any(|line| line.contains("needs a reason")), "{got:?}");
    assert!(got.iter().any(|line| line.contains("is not a date")), "{got:?}");
    let got = errors(&format!("{CLUSTER}[[exception]]\nrule = \"WAL001\"\ncluster = \"aa\"\nreason = \"r\"\n"));
    assert!(got.iter().any(|line| line.contains("until: this key is required")), "{got:?}");

    let block = exception_block("LFC002", "a", "0f", "2027-01-31".parse().unwrap());
    let read = parse(&format!("{CLUSTER}{}", block.replace("reason = \"\"", "reason = \"x\"")));
    assert_eq!(read.exceptions[0].scope, ExceptionScope::Fingerprint("0f".into()));
}

#[test]
fn contradictions_are_found_without_a_bucket() {
    let config = parse(&format!(
        "{CLUSTER}layout = \"wal-g\"\nrecovery_window = \"7d\"\nrpo = \"8d\"\nrto = \"4h\"\nmax_age = \"30d\"\n\
         retention.daily = \"30d\"\nretention.weekly = \"30d\"\nretention.yearly = \"forever\"\n\
         immutability.min_lock = \"35d\"\nimmutability.margin = \"7d\"\ncopy.required = true\n\
         storage.allowed_classes_in_window = [\"STANDARD\", \"DEEP_ARCHIVE\"]\ntest_restore_every = \"forever\"\n"
    ));
    let found: Vec<String> = config.contradictions().into_iter().map(|found| found.message).collect();
    assert_eq!(
        found,
        [
            "retention.weekly (30d) has to be longer than retention.daily (30d)",
            "rto (4h) is below the 12 h that objects in DEEP_ARCHIVE take to restore",
            "immutability.min_lock (35d) is longer than recovery_window plus margin (14d): objects could not be cleaned \
             up when they are no longer needed",
            "rpo (8d) is longer than recovery_window (7d)",
            "max_age (30d) forbids what retention.yearly (forever) promises",
            "copy.required is true, but copy.archive does not say where the copy is",
            "test_restore_every: forever cannot be checked; leave the key out",
        ]
    );
}

#[test]
fn what_is_not_checked_is_said() {
    let config = parse(&format!("{CLUSTER}rpo = \"15m\"\nretention.daily = \"3d\"\nrto = \"1h\"\n"));
    let lines = config.policy(&config.clusters[0]).not_checked(&["WAL002", "RET003"]);
    assert!(lines.contains(&"backup_max_age: no policy key".to_owned()));
    assert!(lines.contains(&"storage: no policy key".to_owned()));
    assert!(lines.contains(&"retention.weekly: no policy key".to_owned()));
    assert!(lines.contains(&"rto: no rule that ran judges it (RST007, LFC004)".to_owned()));
    assert!(!lines.iter().any(|line| line.starts_with("rpo:") || line.starts_with("retention.daily")));
    assert!(Policy::default().promises_nothing());
}

#[test]
fn golden_directory_is_found_as_documented() {
    // The sample files lie beside the golden archives; a wrong guess here would skip every other test silently.
    let path: PathBuf = crate::policy::test_data::specs_dir();
    assert!(path.ends_with("specs"), "{}", path.display());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_answered(text in "(\\[|\\]|[a-z_.]{1,8}|=|\"[^\"]{0,5}\"|\n|[0-9]{1,3}|\\{|\\}){0,40}") {
        let _ = parse_config(&text);
    }
}

#[test]
fn assertions_take_the_keys_of_their_kind_only() {
    let read = |text: &str| {
        let config = parse(&format!("{CLUSTER}restore_test.assertions = [{text}]\n"));
        config.policy(&config.clusters[0]).restore_test.assertions.get().unwrap()[0].check.clone()
    };
    assert_eq!(
        read("{ rows = \"t\", max = 9, max_drift = \"5%\" }"),
        AssertionCheck::Rows {
            table: "t".into(),
            min: None,
            max: Some(9),
            max_drop: None,
            max_drift: Some("5%".parse().unwrap())
        }
    );
    assert_eq!(
        read("{ checksums = true }"),
        AssertionCheck::Checksums { table: "backup_checksums".into(), query: None, query_column: None }
    );
    let refused = |text: &str| errors(&format!("{CLUSTER}restore_test.assertions = [{text}]\n")).join("\n");
    for (text, part) in [
        ("{ rows = \"t\" }", "rows needs min, max, max_drop or max_drift"),
        ("{ rows = \"t\", min = 1, expect = 3 }", "expect belongs to sql, not to rows"),
        ("{ sql = \"select 1\", expect = 1, within = \"1h\" }", "within belongs to fresh, not to sql"),
        (
            "{ sql = \"select 1\", expect = 1, tables_min = 1 }",
            "one of sql, file, rows, tables_min, fresh or checksums",
        ),
        ("{ checksums = false }", "checksums needs the name of a table, or true"),
        ("{ checksums = \"t\", checksum_query = \"select 1\" }", "needs {table}"),
        ("{ tables_mn = 1 }", "tables_min"),
        ("{ rows = \"t\", max_drp = \"1%\" }", "max_drop"),
    ] {
        assert!(refused(text).contains(part), "{text}: {}", refused(text));
    }
}

/// Examples in the manual are examples of this very parser.
#[test]
fn the_manual_of_restore_tests_can_be_pasted() {
    let manual = include_str!("../../../docs/restore-tests.md");
    let mut kinds = 0;
    let blocks = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    for block in blocks {
        let config = parse(block);
        assert_eq!(config.contradictions(), []);
        kinds += config.policy(&config.clusters[0]).restore_test.assertions.get().unwrap().len();
    }
    assert_eq!(kinds, 8);
    assert!(manual.contains(&CHECKSUM_QUERY["select ".len()..CHECKSUM_QUERY.find(" from").unwrap()]));
}
