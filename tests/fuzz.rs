//! Every parser of foreign bytes, over mutated pieces of real archives: no panic, no hang, no memory without bound.
//!
//! Rounds are repeatable: `WALPROOF_FUZZ_SEED` chooses them (0), `WALPROOF_FUZZ_SECONDS` how long all targets are run
//! together, by two threads (60), `WALPROOF_FUZZ_TARGET` runs one alone. An input that fails is kept in
//! `target/tmp/fuzz`. The same entry points are targets of cargo-fuzz in `fuzz/`.
#![cfg(all(
    feature = "cli",
    feature = "s3",
    feature = "gcs",
    feature = "lzo",
    feature = "libsodium",
    feature = "openpgp",
    feature = "inventory",
    feature = "restore"
))]
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[path = "fuzz/allocator.rs"]
mod allocator;
#[path = "fuzz/corpus.rs"]
mod corpus;
mod golden_support;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/own.rs"]
mod own;
#[path = "fuzz/targets.rs"]
mod targets;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mutate::Random;
use targets::{KEYS, TARGETS, Target};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const THREADS: usize = 2;
/// CPU time of one input, in a build without optimisation. The slowest honest one takes a tenth of it.
const TIME_MAX: Duration = Duration::from_secs(5);
/// After this an input counts as a hang and ends the process.
const HANG: Duration = Duration::from_secs(120);

thread_local! {
    /// What the last panic on this thread said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// CPU time of this thread, so that a busy machine does not matter.
fn cpu_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a target did in its time.
#[derive(Default)]
struct Ran {
    rounds: u64,
    held: usize,
    slowest: Duration,
    failures: Vec<String>,
}

fn run(target: &Target, seeds: &[Vec<u8>], seed: u64, time: Duration, now: &Mutex<Option<(String, Instant)>>) -> Ran {
    let name = target.name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut ran = Ran::default();
    let begun = Instant::now();
    while begun.elapsed() < time && ran.failures.len() < 3 {
        let round = ran.rounds;
        ran.rounds += 1;
        let mut random = Random(name.wrapping_add(round.wrapping_mul(0x9E37_79B9)));
        // What is intact has to pass, too; every other round, because there may be time for few.
        let bytes = match seeds.get(round as usize / 2) {
            Some(intact) if round % 2 == 0 => intact.clone(),
            _ => {
                let mut bytes = mutate::mutated(&mut random, seeds);
                if let Some(mend) = target.mend
                    && random.below(2) == 0
                {
                    mend(&mut bytes);
                }
                bytes
            }
        };
        *now.lock().unwrap() = Some((format!("{} round {round}", target.name), Instant::now()));
        let before = cpu_time();
        let work = || catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
        let (result, held) = allocator::peak(target.name, round, work);
        let took = before.zip(cpu_time()).map_or(Duration::ZERO, |(before, after)| after - before);
        *now.lock().unwrap() = None;
        ran.held = ran.held.max(held);
        ran.slowest = ran.slowest.max(took);
        let held_max = target.held_max + 64 * bytes.len();
        let wrong = match result {
            Err(_) => format!("panic: {}", PANIC.with_borrow(String::clone)),
            Ok(()) if held > held_max => format!("held {held} bytes, {held_max} are allowed"),
            Ok(()) if took > TIME_MAX => format!("took {took:?}"),
            Ok(()) => continue,
        };
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
        fs::create_dir_all(&kept).unwrap();
        let kept = kept.join(format!("{}-{seed}-{round}", target.name));
        fs::write(&kept, &bytes).unwrap();
        ran.failures.push(format!(
            "{} round {round} ({} bytes, {}): {wrong}",
            target.name,
            bytes.len(),
            kept.display()
        ));
    }
    ran
}

#[test]
fn parsers_take_any_bytes() {
    let seed = setting("WALPROOF_FUZZ_SEED").map_or(0, |seed| seed.parse().unwrap());
    let seconds = setting("WALPROOF_FUZZ_SECONDS").map_or(60.0, |seconds| seconds.parse().unwrap());
    let only = setting("WALPROOF_FUZZ_TARGET");
    let chosen: Vec<&Target> = TARGETS.iter().filter(|t| only.as_deref().is_none_or(|only| only == t.name)).collect();
    let (corpus, keys) = corpus::corpus();
    let without: Vec<&str> =
        TARGETS.iter().map(|target| target.name).filter(|name| !corpus.0.contains_key(name)).collect();
    assert!(without.is_empty(), "no seeds for {without:?}");

    // Panics are caught and told at the end; some are caught inside, where a library asserts.
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    let time = Duration::from_secs_f64(seconds) * THREADS as u32 / chosen.len() as u32;
    let (next, lines) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let reading: Vec<Mutex<Option<(String, Instant)>>> = (0..THREADS).map(|_| Mutex::new(None)).collect();
    let failures = std::thread::scope(|scope| {
        let workers: Vec<_> = reading
            .iter()
            .map(|reading| {
                let (chosen, corpus, keys, next, lines) = (&chosen, &corpus, keys.clone(), &next, &lines);
                scope.spawn(move || {
                    KEYS.set(keys);
                    let mut failures = Vec::new();
                    while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let ran = run(target, &corpus.0[target.name], seed, time, reading);
                        lines.lock().unwrap().push(format!(
                            "{:<22} {:>7} rounds, slowest {:>5} ms, {:>6} KiB held",
                            target.name,
                            ran.rounds,
                            ran.slowest.as_millis(),
                            ran.held >> 10
                        ));
                        failures.extend(ran.failures);
                    }
                    failures
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(200));
            for reading in &reading {
                if let Some((what, since)) = &*reading.lock().unwrap()
                    && since.elapsed() > HANG
                {
                    println!("hang: {what} has not ended after {HANG:?}");
                    std::process::exit(101);
                }
            }
        }
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<String>>()
    });
    drop(std::panic::take_hook());
    for line in lines.into_inner().unwrap() {
        println!("{line}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
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

#[test]
fn every_entry_point_has_a_target_here_and_in_cargo_fuzz() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&top.join("src"), &mut files);
    let entry_points: BTreeSet<String> = files
        .iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("pub fn fuzz_"))
        .map(|path| path.strip_prefix(top.join("src")).unwrap().to_str().unwrap().to_owned())
        .collect();
    let covered: BTreeSet<String> = TARGETS.iter().map(|target| target.source.to_owned()).collect();
    assert_eq!(entry_points, covered, "files with an entry point, and sources of the targets in tests/fuzz/targets.rs");

    let manifest = fs::read_to_string(top.join("fuzz/Cargo.toml")).unwrap();
    for target in TARGETS {
        let path = format!("fuzz_targets/{}.rs", target.name);
        assert!(manifest.contains(&format!("path = \"{path}\"")), "fuzz/Cargo.toml has no {path}");
        let program = fs::read_to_string(top.join("fuzz").join(&path)).unwrap_or_default();
        assert!(program.contains("fuzz_target!"), "fuzz/{path}");
    }
}
