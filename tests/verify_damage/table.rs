//! Every kind of damage that only content shows, on every archive that it applies to; bit flips and cuts at random.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use walproof::codec::{self, Limits};
use walproof::model::{CodecKind, Lsn};

use crate::golden_support as g;
use crate::library;

/// Bit flips, and half as many cuts, in one segment of each archive.
const FLIPS: usize = 24;

/// Runs jobs on two threads: the test's own, and the processes it waits for, are two in all.
fn on_two_threads<T: Sync>(jobs: &[T], run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(job);
                }
            });
        }
    });
}

/// Findings of `walproof verify` and its exit code.
fn verify(golden: &Path, name: &str, root: &Path, now: &str, more: &[String]) -> (Vec<Value>, i32) {
    let mut command = g::walproof();
    g::with_keys(&mut command, golden, name);
    command.args(["verify", "--format", "json", "--jobs", "1", "--now", now]).args(more).arg(root);
    let (report, code) = g::report(&command.output().unwrap());
    (report["findings"].as_array().unwrap().clone(), code)
}

fn is_bad(finding: &Value) -> bool {
    matches!(finding["severity"].as_str(), Some("error" | "critical"))
}

fn names_one(finding: &Value, names: &[String]) -> bool {
    let text = finding.to_string();
    names.iter().any(|name| text.contains(name.as_str()))
}

#[test]
fn intact_archives_give_nothing() {
    let Some(golden) = g::golden() else { return };
    let archives: Vec<&str> = g::all().collect();
    on_two_threads(&archives, |name| {
        let root = g::root(&golden, name);
        let (findings, code) = verify(&golden, name, &root, &g::two_days_later(&root), &[]);
        let bad: Vec<&Value> = findings.iter().filter(|finding| is_bad(finding)).collect();
        assert!(bad.is_empty() && code == 0, "{name}: exit {code}, {bad:#?}");
    });
}

#[test]
fn damage_is_found_and_named() {
    let Some(golden) = g::golden() else { return };
    let text = std::fs::read_to_string(golden.join("damage-rules.json")).unwrap();
    let kinds: Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<(&String, &Value)> =
        kinds["kinds"].as_object().unwrap().iter().filter(|(_, rule)| rule["command"] == "verify").collect();
    let jobs: Vec<(&str, &String, &Value)> =
        g::all().flat_map(|name| kinds.iter().map(move |(kind, rule)| (name, *kind, *rule))).collect();
    let (runs, alike) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_two_threads(&jobs, |(name, kind, rule)| {
        for same in (1..=5).map_while(|seed| damage_one(&golden, name, kind, rule, seed)) {
            runs.fetch_add(1, Ordering::Relaxed);
            alike.fetch_add(usize::from(same), Ordering::Relaxed);
        }
    });
    let (runs, alike) = (runs.into_inner(), alike.into_inner());
    println!("{runs} damaged archives, {alike} of them with the same content as before");
    assert!(alike * 50 <= runs, "{alike} of {runs}");
    assert!(runs > 400, "too few archives were damaged to prove anything: {runs}");
}

/// The first seed reads all of the archive, the others what was damaged. `true` if nothing that can be read changed.
fn damage_one(golden: &Path, name: &str, kind: &str, rule: &Value, seed: u32) -> Option<bool> {
    let copy = g::Copy::of(&g::root(golden, name));
    let now = g::two_days_later(&copy.path());
    let what = g::damage(golden, kind, &copy.path(), seed, &[])?;
    let all = seed == 1 || std::env::var_os("WALPROOF_FULL").is_some();
    let more = match (what["segment"].as_str(), what["backup"].as_str()) {
        _ if all => Vec::new(),
        (Some(segment), _) => vec!["--wal".to_owned(), format!("{segment}..{segment}")],
        (None, Some(backup)) => vec!["--backup".to_owned(), backup.to_owned(), "--wal".to_owned(), "none".to_owned()],
        (None, None) => Vec::new(),
    };
    let (findings, code) = verify(golden, name, &copy.path(), &now, &more);
    let codes: Vec<&str> = rule["rules"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let names = g::damaged_names(&what);
    let named =
        findings.iter().any(|finding| codes.contains(&finding["code"].as_str().unwrap()) && names_one(finding, &names));
    if !named && kind.starts_with("flip") && decodes_alike(golden, name, &copy.path(), &what) {
        // Packed bytes have more than one spelling: recovery reads the very same content.
        return Some(true);
    }
    assert!(named, "{name} {kind} seed {seed}: {what}\n{findings:#?}");
    assert_eq!(i64::from(code), rule["exit"].as_i64().unwrap(), "{name} {kind} seed {seed}: {findings:#?}");
    Some(false)
}

/// Whether every changed object still decodes to its end, and to what it held before.
fn decodes_alike(golden: &Path, name: &str, root: &Path, what: &Value) -> bool {
    let plain = |root: &Path, key: &str| {
        let stored = std::fs::read(root.join(key)).unwrap();
        let (_, codec) = CodecKind::split(key.rsplit('/').next().unwrap().as_bytes());
        decoded(golden, name, codec, &stored)
    };
    let intact = g::root(golden, name);
    let changed: Vec<&str> = what["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    !changed.is_empty()
        && changed.iter().all(|key| plain(root, key).is_some_and(|now| Some(now) == plain(&intact, key)))
}

/// What an object holds, if it decodes to its end.
fn decoded(golden: &Path, name: &str, codec: CodecKind, stored: &[u8]) -> Option<Vec<u8>> {
    let keys = library::keys(golden, name);
    let mut opened = codec::open(codec, &keys, Box::new(stored), &Limits::default()).ok()?;
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut opened.reader, &mut plain).ok()?;
    Some(plain)
}

/// A stored segment, what it holds, and how many bytes of that were written before the switch.
struct Segment {
    key: String,
    name: String,
    codec: CodecKind,
    stored: Vec<u8>,
    used: usize,
}

/// The largest stored segment of which the truth says how far it was written.
fn segment(expected: &Value, root: &Path) -> Option<Segment> {
    let segments = expected["segments"].as_array()?;
    let largest = segments
        .iter()
        .filter(|segment| segment["used_to_lsn"].is_string())
        .max_by_key(|segment| segment["bytes"].as_u64())?;
    let key = largest["object"].as_str()?.to_owned();
    let at = |field: &str| largest[field].as_str()?.parse::<Lsn>().ok();
    let used = usize::try_from(at("used_to_lsn")?.0 - at("start_lsn")?.0).ok()?;
    let file = key.rsplit('/').next()?;
    let (name, codec) = CodecKind::split(file.as_bytes());
    Some(Segment {
        name: String::from_utf8_lossy(name).into_owned(),
        codec,
        stored: std::fs::read(root.join(&key)).unwrap(),
        used,
        key,
    })
}

/// What recovery would read of an object; `None` if it does not decode.
fn written(golden: &Path, name: &str, segment: &Segment, stored: &[u8]) -> Option<Vec<u8>> {
    let mut plain = decoded(golden, name, segment.codec, stored)?;
    plain.truncate(segment.used);
    Some(plain)
}

#[test]
fn random_flips_and_cuts_of_a_segment_are_found() {
    let Some(golden) = g::golden() else { return };
    let archives: Vec<&str> = g::WALG.to_vec();
    let (flips, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_two_threads(&archives, |name| {
        let copy = g::Copy::of(&g::root(&golden, name));
        let root = copy.path();
        let now = g::two_days_later(&root);
        let segment = segment(&g::expected(&golden, name), &root).unwrap();
        let path: PathBuf = root.join(&segment.key);
        let whole = written(&golden, name, &segment, &segment.stored).unwrap();
        let more = ["--wal".to_owned(), format!("{0}..{0}", segment.name)];
        // Where nothing is packed, what lies behind the switch is not WAL.
        let within = if segment.codec == CodecKind::None { segment.used } else { segment.stored.len() };
        let mut random = Random(
            name.bytes().fold(1469598103934665603, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(1099511628211)),
        );
        for round in 0..FLIPS + FLIPS / 2 {
            let mut changed = segment.stored.clone();
            let what = if round < FLIPS {
                let (byte, bit) = (random.below(within), random.below(8));
                changed[byte] ^= 1 << bit;
                format!("bit {bit} of byte {byte}")
            } else {
                changed.truncate(random.below(segment.stored.len()));
                format!("cut to {} bytes", changed.len())
            };
            std::fs::write(&path, &changed).unwrap();
            let (findings, code) = verify(&golden, name, &root, &now, &more);
            let found =
                code == 1 && findings.iter().any(|f| is_bad(f) && names_one(f, std::slice::from_ref(&segment.name)));
            if round < FLIPS {
                flips.fetch_add(1, Ordering::Relaxed);
            }
            // A bit that no reader of the format looks at changes nothing that anybody could find.
            let same = !found && written(&golden, name, &segment, &changed).as_ref() == Some(&whole);
            if same && round < FLIPS {
                harmless.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // The one bit of a page header that a server may set or clear at will.
            if !found && segment.codec == CodecKind::None && is_removable_bit(&segment.stored, &changed) {
                continue;
            }
            assert!(found, "{name} {}: {what}: exit {code}, {findings:#?}", segment.key);
        }
        std::fs::write(&path, &segment.stored).unwrap();
    });
    let (flips, harmless) = (flips.into_inner(), harmless.into_inner());
    println!("{flips} flips, {harmless} of them in bits without meaning");
    assert!(flips >= FLIPS * 11 && harmless * 10 < flips, "{harmless} of {flips}");
}

/// Whether two segments differ in `XLP_BKP_REMOVABLE` of a page header only.
fn is_removable_bit(before: &[u8], after: &[u8]) -> bool {
    let mut differ = before.iter().zip(after).enumerate().filter(|(_, (a, b))| a != b);
    let first = differ.next();
    first.is_some_and(|(at, (a, b))| at % 8192 == 2 && a ^ b == 4) && differ.next().is_none()
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}
