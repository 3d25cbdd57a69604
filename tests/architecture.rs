//! The dependency rule, read off the source: which folder may name which, and what the pure core never does.
//!
//! A new edge needs a line in the table below, where a reviewer sees it.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folder, then the folders it may name.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("run", &["model"]),
    ("wal", &["model"]),
    ("page", &["model"]),
    ("catalog", &["model"]),
    ("policy", &["model", "catalog"]),
    ("layout", &["model", "catalog", "wal", "policy"]),
    ("checks", &["model", "catalog", "policy"]),
    ("report", &["model", "catalog", "policy", "checks"]),
    ("codec", &["model"]),
    ("store", &["model", "run"]),
    ("fetch", &["model", "run", "catalog", "codec", "store"]),
    ("state", &["model", "run", "store"]),
    ("postgres", &["model", "run"]),
    ("demo", &["model", "run", "codec", "postgres"]),
    ("verify", &["model", "run", "catalog", "policy", "codec", "wal", "page", "layout", "store", "fetch", "state"]),
    (
        "restore",
        &[
            "model", "run", "catalog", "policy", "codec", "wal", "page", "layout", "store", "fetch", "state",
            "postgres", "checks", "report",
        ],
    ),
    ("config", &["model", "catalog", "policy", "checks", "codec", "store"]),
    (
        "audit",
        &[
            "model", "run", "catalog", "policy", "layout", "checks", "report", "codec", "store", "fetch", "state",
            "verify", "restore",
        ],
    ),
    (
        "cli",
        &[
            "model", "run", "catalog", "policy", "layout", "wal", "page", "checks", "report", "codec", "store",
            "fetch", "state", "postgres", "demo", "verify", "restore", "config", "audit",
        ],
    ),
];

/// Folders that have no async, clock, environment or IO; they are all that a build without features holds.
const PURE: &[&str] = &["model", "catalog", "policy", "layout", "checks", "wal", "page", "report"];

/// What a pure folder never says.
const IMPURE: &[&str] = &[
    "async fn",
    "async move",
    ".await",
    "tokio::",
    "std::fs",
    "std::env::",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "rand::",
    "println!",
    "eprintln!",
];

/// Lines a file may have. Above 400 it wants a hard look.
const LINES_MAX: usize = 600;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The files of a folder without their tests and comments.
fn code(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    rust_files(&src().join(folder), &mut files);
    let is_test = |path: &Path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let inside = path.components().any(|part| part.as_os_str() == "tests");
        inside || name.starts_with("test") || name.ends_with("_tests") || name == "tests"
    };
    files
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
            let code =
                text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (path, code)
        })
        .collect()
}

fn folders() -> BTreeSet<String> {
    let entries = fs::read_dir(src()).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The folders that a text names through `crate::`.
fn named(code: &str, folders: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let mut add = |text: &str| {
            let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if folders.contains(&name) {
                found.insert(name);
            }
        };
        match rest.strip_prefix('{') {
            // `use crate::{model::Lsn, store}`: the parts at the outer level.
            Some(list) => {
                let mut depth = 0;
                let mut part = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            add(&part);
                            part.clear();
                            continue;
                        }
                        _ => {}
                    }
                    part.push(c);
                }
                add(&part);
            }
            None => add(rest),
        }
    }
    found
}

#[test]
fn folders_name_only_what_the_table_allows() {
    let folders = folders();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(folder, names)| (*folder, names.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for folder in &folders {
        let Some(allowed) = allowed.get(folder.as_str()) else {
            wrong.push(format!("src/{folder} is not in the table"));
            continue;
        };
        for (path, code) in code(folder) {
            for name in named(&code, &folders) {
                if name != *folder && !allowed.contains(name.as_str()) {
                    wrong.push(format!("{} names {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    fn visit<'a>(at: &'a str, allowed: &BTreeMap<&'a str, &'a [&'a str]>, way: &mut Vec<&'a str>) {
        assert!(!way.contains(&at), "{way:?} -> {at}");
        way.push(at);
        for next in allowed[at] {
            visit(next, allowed, way);
        }
        way.pop();
    }
    for (folder, _) in EDGES {
        visit(folder, &allowed, &mut Vec::new());
    }
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for folder in PURE {
        for (path, code) in code(folder) {
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{} says {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_store_cannot_write_or_delete() {
    let text = fs::read_to_string(src().join("store/mod.rs")).unwrap();
    let from = text.find("pub trait Store").unwrap();
    let body = &text[from..from + text[from..].find("\n}").unwrap()];
    let functions: Vec<&str> = body.split("fn ").skip(1).map(|rest| rest.split(['(', '<']).next().unwrap()).collect();
    assert!(functions.contains(&"list_page") && functions.contains(&"read"), "{functions:?}");
    for function in functions {
        for verb in ["put", "write", "delete", "remove", "copy", "upload", "restore"] {
            assert!(!function.contains(verb), "{function}");
        }
    }
}

#[test]
fn files_stay_readable_and_finished() {
    let mut wrong = Vec::new();
    for folder in folders() {
        for (path, code) in code(&folder) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > LINES_MAX {
                wrong.push(format!("{} has {lines} lines", path.display()));
            }
            // Put together here, so that the words do not stand in this file.
            for word in ["todo", "unimplemented"].map(|word| format!("{word}!(")) {
                if code.contains(&word) {
                    wrong.push(format!("{} says {word}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
