//! Stopped at any moment: no server stays, and the next run works and leaves nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::golden_support as g;
use crate::run::{full, is_clean, mix, outcome, postgres, restore_test, work_dir};

/// Processes whose working directory, program or arguments lie below this directory.
pub fn processes_in(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if stat.contains(") Z ") {
                return None;
            }
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
            (inside || line.contains(needle)).then_some(line)
        })
        .collect()
}

fn wait_until_gone(dir: &Path, about: &str) {
    let begun = Instant::now();
    loop {
        let left = processes_in(dir);
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{about}: still running: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn at_random_moments() {
    let Some(golden) = g::golden() else { return };
    let Some(bin) = postgres(15) else { return };
    let root = g::root(&golden, "walg-lz4-pg15");
    let work = work_dir();
    let command = || {
        let mut command = restore_test(&root, &bin, work.path());
        command.args(["--pick", "latest", "--target", "latest", "--no-full-read", "--no-amcheck"]);
        command
    };
    let begun = Instant::now();
    let (_, test, _) = outcome(&mut command());
    assert_eq!(test["outcome"], "restored");
    let whole = begun.elapsed();
    let moments = if full() { 10 } else { 2 };
    for (at, signal) in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
        for moment in 0..moments {
            let share = (mix(at as u64 * 100 + moment) % 1000) as u32;
            let after = whole * share / 1000;
            let about = format!("{signal} after {after:?}");
            let child = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(after);
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal);
            let ended = Instant::now();
            let output = child.wait_with_output();
            assert!(ended.elapsed() < Duration::from_secs(30), "{about}: did not stop");
            let output = output.unwrap();
            wait_until_gone(work.path(), &about);
            if signal != Signal::SIGKILL {
                // It stopped by itself, said so, and left nothing; or it was just done.
                assert!(matches!(output.status.code(), Some(0 | 2)), "{about}: {:?}", output.status);
                is_clean(work.path()).unwrap_or_else(|left| panic!("{about}: {left}"));
                if output.status.code() == Some(2) {
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(!text.contains("\"outcome\": \"restored\""), "{about}: {text}");
                }
            }
        }
        // The next run works, and takes away what a killed one left.
        let (_, test, code) = outcome(&mut command());
        assert_eq!((test["outcome"].as_str(), code), (Some("restored"), 0), "{test:#}");
        is_clean(work.path()).unwrap();
    }
}
