//! Fetching ahead: a process of its own keeps the next segments in a directory beside the server's, so that most calls
//! are one rename.
//!
//! What lies there under a segment's name is whole and was checked; everything under way has another name. The
//! process ends by itself, and takes the directory with it: when nobody has asked for a while, when the server is gone,
//! when the directory is gone.
//!
//! A segment is there as soon as it is written, as with `cp`: the server replays it at once, syncs it if it keeps it, and
//! most are gone before the system would have written them. Syncing them here would make replay wait for the disk. But a
//! crash of the machine can leave a file of the right length with holes in it, so the directory notes in which run of
//! the system it was filled, and what another run left in it is never handed out.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Expect, FetchError, Fetched, MARK, check, fetch_synced, is_alive, is_synced_by_server};
use crate::fetch::Source;
use crate::model::{CodecKind, SegmentName, SegmentSize, WalFileName};
use crate::run::Cancel;

/// The directory beside the file that the server asked for.
const FOLDER: &str = ".walproof-prefetch";
const POSITION: &str = "position";
const CODEC: &str = "codec";
const LOCK: &str = "lock";
const BOOT: &str = "boot";
/// Differs from one run of the system to the next.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How often the position is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long nobody may ask before fetching ahead ends.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Segments fetched at the same time.
const PARALLEL_MAX: usize = 4;
/// Longest wait for a segment that is on its way.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// The directory for segments fetched ahead.
#[derive(Debug, Clone)]
pub struct Prefetch {
    dir: PathBuf,
}

/// What the server asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    name: SegmentName,
    size: SegmentSize,
}

impl Prefetch {
    /// Beside a file that the server asked for.
    pub fn beside(dest: &Path) -> Self {
        Prefetch { dir: dest.with_file_name(FOLDER) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The codec seen last.
    pub fn codec(&self) -> Option<CodecKind> {
        match read_small(&self.path(CODEC))?.as_str() {
            "none" => Some(CodecKind::None),
            extension => CodecKind::from_extension(extension.as_bytes()),
        }
    }

    /// Remembers the codec seen last. Best effort: it saves a request, no more.
    pub fn remember(&self, codec: CodecKind) {
        let text = match codec.extension() {
            "" => "none",
            extension => extension,
        };
        let _ = self.write(CODEC, text);
    }

    /// Says what is asked for now; what follows it is wanted next. Makes the directory: nothing else here does, so that
    /// one that was removed stays away.
    pub fn ask(&self, name: SegmentName, size: SegmentSize) {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        let _ = self.write(POSITION, &format!("{name} {}", size.bytes()));
    }

    fn position(&self) -> Option<Position> {
        let text = read_small(&self.path(POSITION))?;
        let (name, size) = text.split_once(' ')?;
        let (name, size) = (SegmentName::parse(name.as_bytes())?, SegmentSize::new(size.parse().ok()?).ok()?);
        Some(Position { name, size })
    }

    /// Whole or not at all, since another process reads it at any time.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let temporary = self.path(&format!("{name}{MARK}{}-w", std::process::id()));
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, self.path(name))
    }

    /// Moves a segment that was fetched ahead to where the server wants it, after another look at it. Waits for one
    /// that is on its way.
    pub fn take(&self, name: SegmentName, dest: &Path, expect: Expect) -> bool {
        let ready = self.path(&name.to_string());
        let begun = Instant::now();
        loop {
            if let Ok(file) = File::open(&ready) {
                let is_whole = self.is_of_this_boot() && check::still_whole(name, &file, expect);
                let is_safe = is_whole && (is_synced_by_server(dest) || file.sync_data().is_ok());
                if is_safe && std::fs::rename(&ready, dest).is_ok() {
                    return true;
                }
                let _ = std::fs::remove_file(&ready);
                return false;
            }
            if begun.elapsed() > WAIT_MAX || !self.is_on_its_way(name) || !self.is_running() {
                // It may have arrived between the two looks.
                match ready.exists() {
                    true if begun.elapsed() <= WAIT_MAX => continue,
                    _ => return false,
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether what lies there was written since the system started. Where the system does not say, everything is
    /// synced before it is there.
    fn is_of_this_boot(&self) -> bool {
        read_small(Path::new(BOOT_ID)).is_none_or(|now| read_small(&self.path(BOOT)).is_some_and(|then| then == now))
    }

    /// Notes the run of the system, and removes what another one left.
    fn begin(&self) -> io::Result<()> {
        if self.is_of_this_boot() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&self.dir)?.flatten() {
            if SegmentName::parse(entry.file_name().as_encoded_bytes()).is_some() {
                std::fs::remove_file(entry.path())?;
            }
        }
        self.write(BOOT, &read_small(Path::new(BOOT_ID)).unwrap_or_default())
    }

    fn is_on_its_way(&self, name: SegmentName) -> bool {
        let begins = format!("{name}{MARK}");
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().as_encoded_bytes().starts_with(begins.as_bytes()))
    }

    /// Whether somebody fetches ahead already.
    pub fn is_running(&self) -> bool {
        match File::open(self.path(LOCK)) {
            Ok(lock) => lock.try_lock_shared().is_err(),
            Err(_) => false,
        }
    }

    /// The right to fetch ahead, which one process has at a time. `None`: another has it.
    pub fn turn(&self) -> Option<Turn> {
        let lock = self.lock()?;
        self.begin().ok()?;
        Some(Turn { _lock: lock })
    }

    /// Fetches ahead until there is no more use in it. `server` is the data directory whose server asks.
    pub async fn run(
        &self,
        turn: Turn,
        source: &Source,
        ahead: usize,
        server: Option<&Path>,
        expect: Expect,
        cancel: &Cancel,
    ) {
        let mut work = Work {
            prefetch: self,
            source,
            expect,
            cancel,
            codec: self.codec(),
            running: JoinSet::new(),
            under_way: BTreeSet::new(),
            given_up: BTreeSet::new(),
            sync_first: read_small(Path::new(BOOT_ID)).is_none(),
        };
        let mut last: Option<Position> = None;
        let mut asked = Instant::now();
        let watched = server.map(|dir| dir.join("postmaster.pid")).filter(|path| path.exists());
        while !cancel.is_set() && self.dir.is_dir() && asked.elapsed() < IDLE_MAX {
            if watched.as_deref().is_some_and(|path| !server_lives(path)) {
                break;
            }
            let position = self.position();
            if position != last {
                (last, asked) = (position, Instant::now());
                work.given_up.clear();
            }
            if let Some(position) = position {
                let window = window(position, ahead);
                self.clear(&window);
                work.start(&window);
            }
            tokio::select! {
                Some(done) = work.running.join_next() => {
                    if let Ok((name, result)) = done {
                        work.done(name, result);
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        work.running.shutdown().await;
        self.end();
        drop(turn);
    }

    fn lock(&self) -> Option<File> {
        let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(self.path(LOCK));
        let lock = open.ok()?;
        lock.try_lock().ok()?;
        Some(lock)
    }

    /// Removes segments that nobody will ask for, and what killed processes left.
    fn clear(&self, window: &[SegmentName]) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let stale = match name.split_once(MARK) {
                None => SegmentName::parse(name.as_bytes()).is_some_and(|name| !window.contains(&name)),
                Some((_, rest)) => {
                    let pid = rest.split('-').next().and_then(|pid| pid.parse::<i32>().ok());
                    pid.is_some_and(|pid| pid > 1 && !is_alive(pid))
                }
            };
            if stale {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Takes everything away. A directory in which somebody is just asking anew stays for the next run.
    fn end(&self) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Held by the process that fetches ahead.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

struct Work<'a> {
    prefetch: &'a Prefetch,
    source: &'a Source,
    expect: Expect,
    cancel: &'a Cancel,
    codec: Option<CodecKind>,
    running: JoinSet<(SegmentName, Result<Fetched, FetchError>)>,
    under_way: BTreeSet<SegmentName>,
    /// Missing or failed: left to whoever asks for it, who then says so.
    given_up: BTreeSet<SegmentName>,
    /// The system does not tell its runs apart.
    sync_first: bool,
}

impl Work<'_> {
    fn start(&mut self, window: &[SegmentName]) {
        for name in window {
            if self.running.len() >= PARALLEL_MAX {
                return;
            }
            // Behind a segment that is missing there is nothing to expect.
            if self.given_up.contains(name) {
                return;
            }
            let ready = self.prefetch.path(&name.to_string());
            if self.under_way.contains(name) || ready.exists() {
                continue;
            }
            self.under_way.insert(*name);
            let (source, expect, codec, cancel) = (self.source.clone(), self.expect, self.codec, self.cancel.clone());
            let (name, sync_first) = (*name, self.sync_first);
            self.running.spawn(async move {
                let file = WalFileName::Segment(name);
                (name, fetch_synced(&source, &file, (&ready, sync_first), expect, codec, &cancel).await)
            });
        }
    }

    fn done(&mut self, name: SegmentName, result: Result<Fetched, FetchError>) {
        self.under_way.remove(&name);
        match result {
            Ok(Fetched::Delivered { codec, .. }) => {
                if self.codec != Some(codec) {
                    self.codec = Some(codec);
                    self.prefetch.remember(codec);
                }
            }
            _ => {
                self.given_up.insert(name);
            }
        }
    }
}

/// The segments behind a position.
fn window(position: Position, ahead: usize) -> Vec<SegmentName> {
    let Some(mut number) = position.name.number(position.size) else { return Vec::new() };
    let mut names = Vec::with_capacity(ahead);
    for _ in 0..ahead {
        number = number.next();
        names.push(number.name(position.name.timeline, position.size));
    }
    names
}

/// Whether the server whose note this is still runs.
fn server_lives(note: &Path) -> bool {
    let pid = read_small(note).and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
    pid.is_some_and(|pid| pid > 1 && is_alive(pid))
}

fn read_small(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let prefetch = Prefetch::beside(&dir.path().join("RECOVERYXLOG"));
        assert!(prefetch.codec().is_none() && prefetch.position().is_none() && !prefetch.is_running());
        prefetch.remember(CodecKind::None);
        assert!(!dir.path().join(FOLDER).exists());
        let name = SegmentName::parse(b"0000000200000000000000FE").unwrap();
        prefetch.ask(name, SegmentSize::DEFAULT);
        prefetch.remember(CodecKind::None);
        assert_eq!(prefetch.codec(), Some(CodecKind::None));
        prefetch.remember(CodecKind::Zstd);
        assert_eq!(prefetch.codec(), Some(CodecKind::Zstd));
        let position = prefetch.position().unwrap();
        assert_eq!(position, Position { name, size: SegmentSize::DEFAULT });
        let names: Vec<String> = window(position, 2).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["0000000200000000000000FF", "000000020000000100000000"]);
        let lock = prefetch.lock().unwrap();
        assert!(prefetch.is_running() && prefetch.lock().is_none());
        drop(lock);
        assert!(!prefetch.is_running());
        prefetch.begin().unwrap();
        std::fs::write(prefetch.path("0000000200000000000000FD"), "old").unwrap();
        std::fs::write(prefetch.path("0000000200000000000000FF"), "next").unwrap();
        prefetch.clear(&window(position, 2));
        assert!(!prefetch.path("0000000200000000000000FD").exists());
        // It is not what its name says: refused, and gone.
        let expect = Expect::default();
        let next = SegmentName::parse(b"0000000200000000000000FF").unwrap();
        assert!(!prefetch.take(next, &dir.path().join("RECOVERYXLOG"), expect));
        assert!(!prefetch.path("0000000200000000000000FF").exists());
        prefetch.end();
        assert!(!dir.path().join(FOLDER).exists());
    }

    /// A segment as far as a second look goes: its header and its length.
    fn segment(path: &Path, number: u64) {
        use std::io::Write;
        let mut head = [0_u8; 40];
        head[..2].copy_from_slice(&0xD110_u16.to_le_bytes());
        head[2..4].copy_from_slice(&2_u16.to_le_bytes());
        head[4..8].copy_from_slice(&1_u32.to_le_bytes());
        head[8..16].copy_from_slice(&(number << 24).to_le_bytes());
        head[24..32].copy_from_slice(&7_u64.to_le_bytes());
        head[32..36].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        head[36..40].copy_from_slice(&8192_u32.to_le_bytes());
        let mut file = File::create(path).unwrap();
        file.write_all(&head).unwrap();
        file.set_len(16 << 20).unwrap();
    }

    #[test]
    fn what_was_left_before_a_crash_of_the_machine_is_never_handed_out() {
        let Some(now) = read_small(Path::new(BOOT_ID)) else { return };
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("RECOVERYXLOG");
        let prefetch = Prefetch::beside(&dest);
        let [three, four] =
            [b"000000010000000000000003", b"000000010000000000000004"].map(|name| SegmentName::parse(name).unwrap());
        prefetch.ask(three, SegmentSize::DEFAULT);
        let expect = Expect { system_identifier: Some(7), segment_size: Some(16 << 20) };
        for (boot, is_taken) in [(Some(now.as_str()), true), (Some("another"), false), (None, false)] {
            let _ = std::fs::remove_file(prefetch.path(BOOT));
            if let Some(boot) = boot {
                prefetch.write(BOOT, boot).unwrap();
            }
            segment(&prefetch.path(&three.to_string()), 3);
            assert_eq!(prefetch.take(three, &dest, expect), is_taken, "{boot:?}");
            assert!(!prefetch.path(&three.to_string()).exists());
        }
        // Whoever fetches ahead next begins with an empty directory, and notes the run it belongs to.
        segment(&prefetch.path(&four.to_string()), 4);
        let turn = prefetch.turn().unwrap();
        assert!(prefetch.turn().is_none());
        assert!(!prefetch.path(&four.to_string()).exists());
        segment(&prefetch.path(&four.to_string()), 4);
        drop(turn);
        drop(prefetch.turn().unwrap());
        assert!(prefetch.take(four, &dest, expect));
    }
}
