//! Runs `walproof restore-test` in a place of its own and reads what it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use walproof::postgres::{self, download};
use walproof::run::Cancel;

use crate::golden_support as g;

/// Programs of a major version: the machine's own, else fetched. `None` (after saying so) where neither works.
pub fn postgres(major: u32) -> Option<PathBuf> {
    static FOUND: Mutex<BTreeMap<u32, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = found.get(&major) {
        return known.clone();
    }
    // Other test programs may fetch at the same time.
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres.lock")).unwrap();
    lock.lock().unwrap();
    let installed = postgres::installations(&[]).unwrap();
    let bin = match postgres::choose(&installed, Some(major)) {
        Ok(installation) => Some(installation.bin.clone()),
        Err(_) => fetch(major),
    };
    if bin.is_none() {
        assert_ne!(std::env::var("WALPROOF_REQUIRE_GOLDEN").as_deref(), Ok("1"), "no PostgreSQL {major}");
        println!("SKIPPED: no PostgreSQL {major}");
    }
    found.insert(major, bin.clone());
    bin
}

fn fetch(major: u32) -> Option<PathBuf> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cache = download::cache_dir().ok()?;
    let fetched = runtime.block_on(download::fetch(major, &cache, &Cancel::default()));
    fetched.inspect_err(|error| println!("{error}")).ok().map(|installation| installation.bin)
}

/// The major version that an archive needs.
pub fn major_of(name: &str) -> u32 {
    let at = name.rfind("-pg").unwrap() + 3;
    name[at..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// A directory in which sandboxes are made, which the server's user can enter.
pub fn work_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("walproof-rt-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

/// Nothing is left of a test but what it was told to keep.
pub fn is_clean(work: &Path) -> Result<(), String> {
    let left: Vec<_> = std::fs::read_dir(work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
}

/// A `restore-test` of an archive with the settings that all tests share.
pub fn restore_test(archive: &Path, bin: &Path, work: &Path) -> Command {
    let mut command = g::walproof();
    command.arg("restore-test").arg(archive).arg("--pg-bin").arg(bin).arg("--work-dir").arg(work);
    command.args(["--format", "json", "--no-progress", "--now"]).arg(g::two_days_later(archive));
    command
}

/// The archive's entry of the report, its only test, and the exit code.
pub fn outcome(command: &mut Command) -> (Value, Value, i32) {
    let output = command.output().unwrap();
    let (report, code) = g::report(&output);
    let tests = report["restore_tests"].as_array().unwrap().clone();
    assert!(tests.len() <= 1, "{tests:?}");
    (report, tests.into_iter().next().unwrap_or(Value::Null), code)
}

/// The same, with an assertion on one database: a configuration says so.
pub fn asserting(archive: &Path, bin: &Path, work: &Path, config: &Path, sql: &str) -> Command {
    let text = format!(
        "version = 1\n[[cluster]]\nname = \"golden\"\narchive = {:?}\nrestore_test.assertions = [{{ name = \"truth\", \
         database = \"postgres\", sql = {sql:?}, expect = \"t\" }}]\n",
        archive.to_str().unwrap()
    );
    std::fs::write(config, text).unwrap();
    let mut command = g::walproof();
    command.args(["restore-test", "golden", "--config"]).arg(config).arg("--pg-bin").arg(bin);
    command.arg("--work-dir").arg(work).args(["--format", "json", "--no-progress", "--now"]);
    command.arg(g::two_days_later(archive));
    command
}

/// A file with one statement.
pub fn sql_file(dir: &Path, name: &str, sql: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, sql).unwrap();
    path
}

/// A statement that is true where the ledger is as it was.
pub fn ledger_is(rows: u64, md5: &str) -> String {
    format!(
        "select count(*) = {rows} and md5(string_agg(id||':'||amt||':'||note, ',' order by id)) = '{md5}' from ledger"
    )
}

/// Whether everything is to be tried.
pub fn full() -> bool {
    std::env::var_os("WALPROOF_FULL").is_some_and(|value| value == "1")
}

/// One step of SplitMix64.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An LSN as a number.
pub fn lsn(text: &str) -> u64 {
    text.parse::<walproof::model::Lsn>().unwrap().0
}
