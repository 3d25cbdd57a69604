//! Finds the reference files that lie beside the golden archives.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;

/// The directory of the specification files.
pub(crate) fn specs_dir() -> PathBuf {
    let golden = std::env::var_os("WALPROOF_GOLDEN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"), PathBuf::from);
    golden.parent().map_or_else(|| PathBuf::from("specs"), |parent| parent.join("specs"))
}

/// The text of a reference file; without it the test is skipped, or fails where they are required.
#[allow(clippy::print_stdout)]
pub(crate) fn spec(name: &str) -> Option<String> {
    let path = specs_dir().join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(_) if std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_some_and(|value| value == "1") => {
            panic!("{} is required and missing", path.display())
        }
        Err(_) => {
            println!("SKIPPED: no {}", path.display());
            None
        }
    }
}

/// A file of `samples/`.
pub(crate) fn sample(name: &str) -> Option<String> {
    spec(&format!("samples/{name}"))
}
