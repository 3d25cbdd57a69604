//! Loading a dump with the programs of PostgreSQL.

use std::process::Command;
use std::time::Duration;

use super::SUPERUSER;
use super::errors::{Verdict, judge};
use super::fetch::Fetched;
use crate::codec::dump::{Dump, DumpKind};
use crate::postgres::{Installation, Sandbox, Server, run_to_end};
use crate::run::RunContext;

/// Where no name can be taken from the dump.
const DATABASE: &str = "restored";
/// Parallel connections of `pg_restore`, at most.
const JOBS_MAX: usize = 4;

pub(super) async fn load(
    server: &Server,
    sandbox: &Sandbox,
    client: &Installation,
    fetched: &Fetched,
    time_limit: Duration,
    ctx: &RunContext,
) -> Verdict {
    let dump = &fetched.dump;
    let database = match dump.kind {
        DumpKind::PlainCluster => "postgres".to_owned(),
        _ => match create_database(server, dump).await {
            Ok(name) => name,
            Err(why) => return Verdict::NotRun(why),
        },
    };
    ctx.progress.note("loading the dump");
    let (program, mut command) = match dump.kind {
        DumpKind::Plain | DumpKind::PlainCluster => {
            let mut command = Command::new(client.program("psql"));
            // No file of the user's is read, and results go nowhere: only complaints matter.
            command.args(["-X", "-q", "-w", "-o", "/dev/null", "-v", "ON_ERROR_STOP=0"]).arg("-f").arg(&fetched.path);
            ("psql", command)
        }
        _ => {
            let mut command = Command::new(client.program("pg_restore"));
            command.args(["--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels", "-w"]);
            if dump.kind != DumpKind::Tar {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                command.arg(format!("--jobs={}", cores.min(JOBS_MAX)));
            }
            ("pg_restore", command)
        }
    };
    command.arg("-d").arg(connection(&database));
    if program == "pg_restore" {
        command.arg(&fetched.path);
    }
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("HOME", sandbox.root()).current_dir(sandbox.root());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("PGHOST", server.socket_dir()).env("PGPORT", server.port().to_string()).env("PGUSER", SUPERUSER);
    command.env("PGAPPNAME", "walproof");
    sandbox.identity().apply(&mut command);
    match run_to_end(command, time_limit, &ctx.cancel).await {
        Ok(ended) => judge(program, &ended.stderr, ended.status.success()),
        Err(error) => Verdict::NotRun(error.to_string()),
    }
}

/// A database of the dump's own name where that is possible. Texts of any encoding are converted, except those whose
/// encoding nobody knows.
async fn create_database(server: &Server, dump: &Dump) -> Result<String, String> {
    let usable = |name: &&str| {
        let known = ["postgres", "template0", "template1"].contains(name);
        !known && !name.is_empty() && name.len() < 64 && !name.contains(char::is_control)
    };
    let name = dump.database.as_deref().filter(usable).unwrap_or(DATABASE);
    let encoding = if dump.encoding.as_deref() == Some("SQL_ASCII") { "SQL_ASCII" } else { "UTF8" };
    let client = server.connect(SUPERUSER, "postgres").await.map_err(|error| error.to_string())?;
    let quoted = name.replace('"', "\"\"");
    let sql = format!("create database \"{quoted}\" template template0 encoding '{encoding}'");
    client.batch_execute(&sql).await.map_err(|error| format!("no database could be made for the dump: {error}"))?;
    Ok(name.to_owned())
}

/// A name is not taken for a connection string.
fn connection(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}
