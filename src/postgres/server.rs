use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::program::POLL;
use super::{Identity, Installation, PostgresError, Result, Sandbox, log_tail, run};
use crate::run::Cancel;

/// Stands between walproof and `postgres`. Its standard input is a pipe whose other end only walproof holds: when
/// walproof dies, by whatever signal, the pipe ends and the server is stopped. Words on the pipe are orders, so nobody
/// has to guess process numbers. Two processes: one waits for the server, one listens; either alone suffices to end it.
///
/// Signals are repeated because a server that has just been started by a shell still ignores some.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
pg=$!
(
  while read -r word <&3; do
    case $word in
      fast) kill -INT "$pg" ;;
      immediate) kill -QUIT "$pg" ;;
      kill) kill -KILL "$pg" ;;
    esac
  done
  n=0
  while kill -QUIT "$pg" && [ "$n" -lt 10 ]; do n=$((n + 1)); sleep 1; done
  kill -KILL "$pg"
) 2>/dev/null &
listener=$!
exec 3<&-
trap 'kill -INT "$pg" 2>/dev/null' HUP INT QUIT TERM
while :; do
  wait "$pg"
  status=$?
  kill -0 "$pg" 2>/dev/null || break
done
kill "$listener" 2>/dev/null
exit "$status"
"#;

const PORT: u16 = 5432;
const LOG_BYTES_SHOWN: u64 = 4096;

/// How to end a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Checkpoint, archive what is left, end cleanly.
    Fast,
    /// Like a crash: nothing more is written.
    Immediate,
}

impl StopMode {
    fn word(self) -> &'static str {
        match self {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        }
    }
}

/// What a [`Server`] is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Settings for the command line (`-c name=value`), which nothing in the data directory can override. The
    /// socket directory, `listen_addresses` and logging are set by [`Server::start`].
    pub settings: Vec<(String, String)>,
    /// Environment of the server and of its `restore_command`, beside `PATH`, `HOME`, `TZ` and `LC_ALL`: nothing else
    /// is passed on, so no secret of walproof's reaches a restored database unless it is named here.
    pub env: Vec<(OsString, OsString)>,
    /// The server is stopped at once when it has run for so long.
    pub time_limit: Duration,
}

impl Default for ServerOptions {
    /// No settings, an hour.
    fn default() -> Self {
        ServerOptions { settings: Vec::new(), env: Vec::new(), time_limit: Duration::from_secs(3600) }
    }
}

impl ServerOptions {
    /// Adds a setting; a later one of the same name wins.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }
}

/// A running `postgres`. Dropping it stops it (immediately) and waits for its end.
///
/// It ends in every case: on drop, after [`ServerOptions::time_limit`], and when walproof is killed, because a small
/// shell stands between them and watches a pipe (the source of `SUPERVISOR` explains). It holds its [`Sandbox`], so
/// the files stay as long as the server does.
#[derive(Debug)]
pub struct Server {
    sandbox: Sandbox,
    child: Child,
    orders: Arc<Mutex<Option<ChildStdin>>>,
    ended: Option<ExitStatus>,
    data: PathBuf,
    socket_dir: PathBuf,
    log: PathBuf,
    started: Instant,
    time_limit: Duration,
    overdue: Arc<AtomicBool>,
    /// Dropped to tell the watchdog that there is nothing left to watch.
    _watchdog: Sender<()>,
}

impl Server {
    /// Starts `postgres` on a data directory that belongs to the sandbox's user. Returns at once: [`Server::ready`]
    /// waits. Its log goes to a file of the sandbox named after the data directory.
    ///
    /// # Errors
    /// `Io` or `NotUsable` if it cannot be started at all.
    pub fn start(sandbox: &Sandbox, installation: &Installation, data: &Path, options: ServerOptions) -> Result<Self> {
        let socket_dir = sandbox.socket_dir()?;
        let log_name = format!("{}.log", data.file_name().unwrap_or_default().to_string_lossy());
        let log = sandbox.root().join(log_name);
        let open = || File::options().create(true).append(true).open(&log);
        let log_file = open().map_err(PostgresError::io("create", &log))?;
        let log_copy = log_file.try_clone().map_err(PostgresError::io("create", &log))?;
        let sockets = socket_dir.to_str().ok_or_else(|| PostgresError::NotUsable {
            path: socket_dir.clone(),
            reason: "is not UTF-8, so it cannot stand in a setting of PostgreSQL".into(),
        })?;
        let fixed = [
            // A list separated by commas: quoted, because a path may hold one.
            ("unix_socket_directories", format!("\"{}\"", sockets.replace('"', "\"\""))),
            ("unix_socket_permissions", "0700".to_owned()),
            ("listen_addresses", String::new()),
            ("port", PORT.to_string()),
            ("logging_collector", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
            // The supervisor runs in a group of its own; a lost postmaster must not be waited for.
            ("restart_after_crash", "off".to_owned()),
        ];
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SUPERVISOR).arg("walproof-supervisor").arg(installation.program("postgres"));
        command.arg("-D").arg(data);
        let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
        for (name, value) in given.chain(fixed) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        prepare(&mut command, sandbox.root(), sandbox.identity());
        command.envs(options.env).stdin(Stdio::piped()).stdout(log_copy).stderr(log_file);
        // Ctrl-C at the terminal is walproof's to handle.
        command.process_group(0);
        let mut child = command.spawn().map_err(PostgresError::io("run", Path::new("/bin/sh")))?;
        let orders = Arc::new(Mutex::new(child.stdin.take()));
        let overdue = Arc::new(AtomicBool::new(false));
        let watchdog = watch(options.time_limit, Arc::clone(&orders), Arc::clone(&overdue));
        Ok(Server {
            sandbox: sandbox.clone(),
            child,
            orders,
            ended: None,
            data: data.to_owned(),
            socket_dir,
            log,
            started: Instant::now(),
            time_limit: options.time_limit,
            overdue,
            _watchdog: watchdog,
        })
    }

    /// Where its socket lies: what `PGHOST` must say.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// What `PGPORT` must say: the number in the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The file that its log goes to; see [`super::log_tail`] and [`super::LogFollower`].
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How long it has been running.
    pub fn running_for(&self) -> Duration {
        self.started.elapsed()
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// `Exited` with the end of its log, or `TimedOut` if its time limit ended it.
    pub fn check(&mut self) -> Result<()> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        let Some(status) = self.ended else { return Ok(()) };
        if self.overdue.load(Ordering::Relaxed) {
            return Err(PostgresError::TimedOut { what: "the PostgreSQL sandbox".into(), limit: self.time_limit });
        }
        Err(PostgresError::Exited { status: exit_text(status), log: log_tail(&self.log, LOG_BYTES_SHOWN) })
    }

    /// One attempt to connect. `None` while it is still starting or recovering.
    ///
    /// # Errors
    /// `Exited` or `TimedOut` if it has ended, `Sql` if it refuses for another reason than being busy starting.
    pub async fn try_connect(&mut self, user: &str, database: &str) -> Result<Option<Client>> {
        self.check()?;
        match self.connect(user, database).await {
            Ok(client) => Ok(Some(client)),
            Err(PostgresError::Sql(e)) if e.as_db_error().is_none_or(|e| e.code() == &SqlState::CANNOT_CONNECT_NOW) => {
                self.check()?;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Waits until it accepts connections, and opens one. `each_poll` is called about twenty times a second.
    ///
    /// # Errors
    /// As [`Server::try_connect`], and `Cancelled`.
    pub async fn ready(
        &mut self,
        user: &str,
        database: &str,
        cancel: &Cancel,
        mut each_poll: impl FnMut(&Server),
    ) -> Result<Client> {
        loop {
            if cancel.is_set() {
                return Err(PostgresError::Cancelled);
            }
            if let Some(client) = self.try_connect(user, database).await? {
                return Ok(client);
            }
            each_poll(self);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Opens a connection over the private socket. It ends with the returned client.
    ///
    /// # Errors
    /// `Sql` if the server does not let it in.
    pub async fn connect(&self, user: &str, database: &str) -> Result<Client> {
        let mut config = Config::new();
        config.host_path(&self.socket_dir).port(PORT).user(user).dbname(database).application_name("walproof");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move {
            // A broken connection shows as an error of the client's next call.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Stops it and waits for its end. After `limit` a fast stop becomes an immediate one.
    ///
    /// # Errors
    /// `TimedOut` if the server had to be stopped harder than asked.
    pub async fn stop(mut self, mode: StopMode, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut round = 0u32;
        while self.check().is_ok() {
            if begun.elapsed() > limit {
                // The drop does the rest.
                return Err(PostgresError::TimedOut { what: "stopping PostgreSQL".into(), limit });
            }
            if round.is_multiple_of(20) {
                order(&self.orders, mode.word());
            }
            round += 1;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (word, polls) in [("immediate", 150), ("kill", 100)] {
            for round in 0..polls {
                if self.check().is_err() {
                    // If the supervisor was killed, its listener still ends the server when the pipe closes.
                    self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
                    wait_for_postmaster(&self.data);
                    return;
                }
                if round % 20 == 0 {
                    order(&self.orders, word);
                }
                std::thread::sleep(POLL);
            }
        }
        tracing::warn!(sandbox = %self.sandbox.root().display(), "a PostgreSQL server could not be ended");
    }
}

fn order(orders: &Mutex<Option<ChildStdin>>, word: &str) {
    if let Some(pipe) = orders.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        let _ = pipe.write_all(format!("{word}\n").as_bytes());
    }
}

/// A clean end removes this file; after a crash it may stay, so not for ever.
fn wait_for_postmaster(data: &Path) {
    let file = data.join("postmaster.pid");
    for _ in 0..40 {
        let pid = std::fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
        match pid {
            Some(pid) if pid > 1 && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok() => {
                std::thread::sleep(POLL);
            }
            _ => return,
        }
    }
}

fn watch(limit: Duration, orders: Arc<Mutex<Option<ChildStdin>>>, overdue: Arc<AtomicBool>) -> Sender<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            overdue.store(true, Ordering::Relaxed);
            order(&orders, StopMode::Immediate.word());
            // Until the server is dropped; a server that ignores it is then killed by the listener.
            if receiver.recv_timeout(Duration::from_secs(10)) == Err(RecvTimeoutError::Timeout) {
                order(&orders, "kill");
            }
        }
    });
    sender
}

/// Own user, own directory, and an environment that says nothing about walproof.
fn prepare(command: &mut Command, dir: &Path, identity: &Identity) {
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("HOME", dir).current_dir(dir);
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    identity.apply(command);
}

fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        // What a shell makes of a signal.
        (Some(code @ 129..=192), _) => format!("signal {}", code - 128),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("its supervisor ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// What a new cluster is made with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// Name of its superuser.
    pub superuser: String,
    /// Size of WAL segments in MiB; 16 unless told otherwise.
    pub segment_mib: u32,
    /// Whether data pages get checksums.
    pub checksums: bool,
}

impl Default for ClusterOptions {
    /// `postgres`, 16 MiB, checksums.
    fn default() -> Self {
        ClusterOptions { superuser: "postgres".into(), segment_mib: 16, checksums: true }
    }
}

/// Makes a new empty cluster (UTF-8, C locale, everybody on the private socket is let in) in a new directory of the
/// sandbox, and returns that directory.
///
/// # Errors
/// `NotUsable` if the installation has no `initdb`, `Program` if that fails.
pub async fn create_cluster(
    sandbox: &Sandbox,
    installation: &Installation,
    name: &str,
    options: &ClusterOptions,
    cancel: &Cancel,
) -> Result<PathBuf> {
    if !installation.has("initdb") {
        return Err(PostgresError::NotUsable { path: installation.bin.clone(), reason: "holds no initdb".into() });
    }
    let data = sandbox.dir(name)?;
    let mut command = Command::new(installation.program("initdb"));
    command.arg("-D").arg(&data).args(["-U", &options.superuser, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]);
    command.arg(format!("--wal-segsize={}", options.segment_mib));
    if options.checksums {
        command.arg("--data-checksums");
    } else if installation.version.major >= 18 {
        command.arg("--no-data-checksums");
    }
    prepare(&mut command, sandbox.root(), sandbox.identity());
    run(command, Duration::from_secs(300), cancel).await?;
    Ok(data)
}
