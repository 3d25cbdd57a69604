use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{PostgresError, Result};
use crate::run::Cancel;

/// Most that is kept of what a program says, per stream.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// How often a waiting loop looks whether it should stop.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// A program that came to its end.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// The last 256 KiB of its standard output.
    pub stdout: String,
    /// The last 256 KiB of its standard error.
    pub stderr: String,
}

/// Runs a program, which has to succeed: see [`run_to_end`].
///
/// # Errors
/// As [`run_to_end`], and `Program` if it ends with another status than 0.
pub async fn run(command: Command, limit: Duration, cancel: &Cancel) -> Result<Ended> {
    let program = name(&command);
    let ended = run_to_end(command, limit, cancel).await?;
    if !ended.status.success() {
        let output = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
        let output = output.trim();
        let start = output.char_indices().rev().nth(1999).map_or(0, |(at, _)| at);
        let (status, output) = (ended.status.to_string(), output[start..].to_owned());
        return Err(PostgresError::Program { program, status, output });
    }
    Ok(ended)
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs a program to its end, whatever that is: no input, bounded output. It and all that it started are killed at the
/// limit and when the run is cancelled.
///
/// # Errors
/// `Program` if it cannot be started, `TimedOut`, `Cancelled`.
pub async fn run_to_end(mut command: Command, limit: Duration, cancel: &Cancel) -> Result<Ended> {
    let program = name(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let failed = |status: String, output: String| PostgresError::Program { program: program.clone(), status, output };
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("did not start".into(), e.to_string()))?;
    // Dropped on every way out: programs such as initdb start others, which must not stay behind.
    let group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr, status) = tokio::join!(last_bytes(stdout), last_bytes(stderr), child.wait());
        status.map(|status| Ended { status, stdout, stderr })
    };
    let stopped = async {
        while !cancel.is_set() {
            tokio::time::sleep(POLL).await;
        }
    };
    let ended = tokio::select! {
        ended = work => ended.map_err(|e| failed("lost".into(), e.to_string()))?,
        () = stopped => return Err(PostgresError::Cancelled),
        () = tokio::time::sleep(limit) => return Err(PostgresError::TimedOut { what: program.clone(), limit }),
    };
    group.gone();
    Ok(ended)
}

/// Kills a process group unless told that it is gone.
struct Group(Option<u32>);

impl Group {
    fn gone(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

async fn last_bytes(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..length]);
        if kept.len() > 2 * OUTPUT_BYTES_MAX {
            kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
        }
    }
    kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_MAX));
    String::from_utf8_lossy(&kept).into_owned()
}

/// A word for `archive_command` and `restore_command`: quoted for the shell, and with `%` doubled because the server
/// replaces `%p`, `%f` and the like before the shell sees them.
///
/// # Errors
/// `NotUsable` for text that is not UTF-8: a server setting cannot hold it.
pub fn command_literal(word: impl AsRef<OsStr>) -> Result<String> {
    let word = word.as_ref();
    let text = word.to_str().ok_or_else(|| PostgresError::NotUsable {
        path: word.into(),
        reason: "is not UTF-8, so it cannot stand in a setting of PostgreSQL".into(),
    })?;
    Ok(format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test]
    async fn says_how_a_program_failed() {
        let cancel = Cancel::default();
        let ended = run(shell("echo out; echo err >&2"), Duration::from_secs(10), &cancel).await.unwrap();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
        let message = run(shell("echo broken >&2; exit 3"), Duration::from_secs(10), &cancel).await.unwrap_err();
        assert_eq!(message.to_string(), "sh failed (exit status: 3): broken");
        let flood = run(shell("head -c 3000000 /dev/zero"), Duration::from_secs(10), &cancel).await.unwrap();
        assert_eq!(flood.stdout.len(), OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn takes_everything_down_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", command_literal(&file).unwrap());
        let error = run(shell(&script), Duration::from_millis(300), &Cancel::default()).await.unwrap_err();
        assert!(matches!(error, PostgresError::TimedOut { .. }), "{error}");
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // A zombie may remain for its new parent to reap; it must not be running.
        for _ in 0..100 {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("process {pid} survived");
    }

    #[test]
    fn words_survive_server_and_shell() {
        assert_eq!(command_literal("/a b/it's 5%").unwrap(), r"'/a b/it'\''s 5%%'");
    }
}
