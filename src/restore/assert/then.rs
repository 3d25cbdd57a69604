//! A command of the user's, run while the restored server still answers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Outcome;
use super::session::{Database, Host};
use crate::postgres::{Identity, PostgresError, run as run_program};

/// End of what a command said that a report shows.
const SAID_CHARS_MAX: usize = 400;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Then {
    /// For `sh -c`.
    pub command: String,
    /// Whom it runs as: whoever the server runs as, so that nothing a restored database does reaches further.
    pub identity: Identity,
    /// Its working directory and `HOME`.
    pub dir: PathBuf,
    /// Put before `PATH`: where the matching `psql` and `pg_dump` are.
    pub bin: Option<PathBuf>,
    /// It is ended after this.
    pub time_limit: Duration,
}

/// Runs it with `PGHOST`, `PGPORT`, `PGUSER` and `PGDATABASE` set and nothing of walproof's own environment, in which
/// credentials may stand: a restored cluster can read the environment of its user's processes.
pub(super) async fn run(host: &Host<'_>, then: &Then, databases: &[Database]) -> Outcome {
    let outcome = Outcome::new(format!("then {}", then.command)).expected("exit status 0");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&then.command).env_clear().current_dir(&then.dir);
    let own = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(then.bin.iter().cloned().chain(std::env::split_paths(&own))).unwrap_or(own);
    command.env("PATH", path).env("HOME", &then.dir).env("TZ", "UTC").env("LC_ALL", "C");
    command.env("PGHOST", host.server.socket_dir()).env("PGPORT", host.server.port().to_string());
    command.env("PGUSER", host.user).env("PGDATABASE", database_of(databases)).env("PGAPPNAME", "walproof");
    then.identity.apply(&mut command);
    match run_program(command, then.time_limit, host.cancel).await {
        Ok(ended) => {
            let said = tail(if ended.stdout.trim().is_empty() { &ended.stderr } else { &ended.stdout });
            let outcome = outcome.actual("exit status 0").holds(true);
            if said.is_empty() { outcome } else { outcome.why(said) }
        }
        // The shell's own words for a command that is not there, or cannot be run.
        Err(PostgresError::Program { status, output, .. }) if status.ends_with("126") || status.ends_with("127") => {
            outcome.actual(status).why(tail(&output))
        }
        Err(PostgresError::Program { status, output, .. }) if status.starts_with("exit") => {
            outcome.actual(status).why(tail(&output)).holds(false)
        }
        Err(error) => outcome.why(error.to_string()),
    }
}

/// The one database that users have, if it is one.
fn database_of(databases: &[Database]) -> &str {
    let used: Vec<&Database> = databases.iter().filter(|d| d.holds_tables && !d.is_template).collect();
    match used.as_slice() {
        [one] => &one.name,
        _ => "postgres",
    }
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let start = text.char_indices().rev().nth(SAID_CHARS_MAX - 1).map_or(0, |(at, _)| at);
    text[start..].to_owned()
}
