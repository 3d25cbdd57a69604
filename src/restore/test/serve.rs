//! Hands WAL to a restored server: over a socket in its sandbox, to a small client that is its `restore_command`.
//!
//! Credentials and keys never come near the restored server, whose data may hold code of any kind: it can ask for
//! files of its own archive, and for nothing else. What is missing, damaged or could not be read is known here, so
//! nobody has to guess it from the server's log.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::pull::{Pulled, Wanted};
use crate::catalog::{Archive, Chain};
use crate::fetch::Source;
use crate::model::{SegmentName, SegmentNo, WalFileName};
use crate::postgres::{PostgresError, Result, Sandbox};
use crate::run::Cancel;

/// Segments fetched before they are asked for.
const AHEAD: u64 = 4;
/// A request is one short line.
const REQUEST_BYTES_MAX: u64 = 256;
const REQUEST_TIME: Duration = Duration::from_secs(10);
const SOCKET: &str = "wal.sock";

/// Answers of the protocol; the client turns them into exit codes.
pub(super) const SEND: &str = "send";
pub(super) const NONE: &str = "none";
pub(super) const DAMAGED: &str = "damaged";
pub(super) const FAILED: &str = "failed";

/// What was served so far.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// The last segment that was handed out.
    pub last: Option<SegmentName>,
    /// Segments handed out.
    pub segments: u64,
    /// Stored files' bytes in the plain.
    pub bytes: u64,
    /// What could not be handed out although it is in the archive, and why.
    pub problem: Option<Withheld>,
}

/// A file that was refused to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Its name in `pg_wal`.
    pub name: String,
    /// The object's key, for damage.
    pub object: Option<String>,
    /// What is wrong.
    pub why: String,
    /// The object is at fault, not the store, a key or this machine.
    pub damaged: bool,
}

/// Listens until it is dropped.
pub struct WalServer {
    socket: PathBuf,
    served: Arc<Mutex<Served>>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for WalServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalServer").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Drop for WalServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WalServer {
    /// Begins to listen in a sandbox, for one way of one archive as the model knows it: what was archived later is
    /// not served, so that the end of replay can be told.
    ///
    /// # Errors
    /// The socket or the directory for fetched segments cannot be made.
    pub fn start(
        sandbox: &Sandbox,
        source: &Source,
        archive: &Arc<Archive>,
        chain: &Chain,
        cancel: &Cancel,
    ) -> Result<Self> {
        let socket = sandbox.socket_dir()?.join(SOCKET);
        let listener = UnixListener::bind(&socket).map_err(PostgresError::io("listen at", &socket))?;
        sandbox.identity().give(&socket)?;
        let spool = sandbox.root().join("wal");
        std::fs::create_dir(&spool).map_err(PostgresError::io("create", &spool))?;
        std::fs::set_permissions(&spool, std::fs::Permissions::from_mode(0o700))
            .map_err(PostgresError::io("set the mode of", &spool))?;
        let served = Arc::new(Mutex::new(Served::default()));
        let mut desk = Desk {
            source: source.clone(),
            path: archive.timelines.path(chain.timeline),
            archive: Arc::clone(archive),
            last: chain.last.1,
            spool,
            cancel: cancel.clone(),
            served: Arc::clone(&served),
            ahead: HashMap::new(),
        };
        let task = tokio::spawn(async move {
            // One at a time: the server's startup process is the only one that asks.
            while let Ok((stream, _)) = listener.accept().await {
                let _ = desk.answer(stream).await;
            }
        });
        Ok(WalServer { socket, served, task })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What was served so far.
    pub fn served(&self) -> Served {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Desk {
    source: Source,
    archive: Arc<Archive>,
    path: crate::catalog::Path,
    /// Nothing behind this segment is on the way.
    last: SegmentNo,
    spool: PathBuf,
    cancel: Cancel,
    served: Arc<Mutex<Served>>,
    ahead: HashMap<String, JoinHandle<Pulled>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        for task in self.ahead.values() {
            task.abort();
        }
    }
}

impl Desk {
    async fn answer(&mut self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
        tokio::time::timeout(REQUEST_TIME, reader.read_line(&mut line)).await??;
        let name = line.trim_end().to_owned();
        match self.take(&name).await {
            Pulled::Here(path, bytes) => {
                let mut file = tokio::fs::File::open(&path).await?;
                write.write_all(format!("{SEND} {bytes}\n").as_bytes()).await?;
                let sent = tokio::io::copy(&mut file, &mut write).await;
                let _ = tokio::fs::remove_file(&path).await;
                sent?;
                self.note(|served| {
                    served.bytes += bytes;
                    if let Some(WalFileName::Segment(segment)) = WalFileName::parse(name.as_bytes()) {
                        served.last = Some(segment);
                        served.segments += 1;
                    }
                });
            }
            Pulled::Missing => write.write_all(format!("{NONE}\n").as_bytes()).await?,
            Pulled::Damaged(object, why) => {
                let text = format!("{DAMAGED} {object}: {}\n", one_line(&why));
                self.withhold(Withheld { name, object: Some(object), why, damaged: true });
                write.write_all(text.as_bytes()).await?;
            }
            Pulled::Failed(why) => {
                let text = format!("{FAILED} {}\n", one_line(&why));
                self.withhold(Withheld { name, object: None, why, damaged: false });
                write.write_all(text.as_bytes()).await?;
            }
        }
        write.shutdown().await
    }

    fn note(&self, change: impl FnOnce(&mut Served)) {
        change(&mut self.served.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn withhold(&self, withheld: Withheld) {
        self.note(|served| {
            served.problem.get_or_insert(withheld);
        });
    }

    /// The file asked for, fetched ahead or now; those behind it are begun.
    async fn take(&mut self, name: &str) -> Pulled {
        let own = match self.ahead.remove(name) {
            Some(task) => task,
            None => self.begin(name),
        };
        if let Some(WalFileName::Segment(segment)) = WalFileName::parse(name.as_bytes()) {
            self.look_ahead(segment);
        }
        own.await.unwrap_or_else(|error| Pulled::Failed(error.to_string()))
    }

    fn begin(&self, name: &str) -> JoinHandle<Pulled> {
        let wanted = Wanted::of(&self.archive, name);
        let (source, spool, cancel) = (self.source.clone(), self.spool.clone(), self.cancel.clone());
        tokio::spawn(async move {
            match wanted.exists() {
                true => wanted.pull(&source, &spool, &cancel).await,
                false => Pulled::Missing,
            }
        })
    }

    fn look_ahead(&mut self, segment: SegmentName) {
        let size = self.archive.segment_size;
        let Some(number) = segment.number(size) else { return };
        let mut wanted: Vec<String> = Vec::new();
        for next in number.0 + 1..=(number.0 + AHEAD).min(self.last.0) {
            let next = SegmentNo(next);
            wanted.push(next.name(self.path.owner(next, size), size).to_string());
        }
        // What the server did not ask for after all must not fill the disk.
        let spool = self.spool.clone();
        self.ahead.retain(|name, task| {
            let keep = wanted.contains(name);
            if !keep {
                task.abort();
                for at in 0..2 {
                    let _ = std::fs::remove_file(spool.join(format!("{name}.{at}")));
                }
            }
            keep
        });
        for name in wanted {
            if !self.ahead.contains_key(&name) {
                let task = self.begin(&name);
                self.ahead.insert(name, task);
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
