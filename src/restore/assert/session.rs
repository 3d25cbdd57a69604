//! Connections to the restored server, each question with a time limit and an ear for the request to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::fault::{Fault, FaultKind, shown};
use crate::postgres::{PostgresError, Server, log_tail};
use crate::run::Cancel;

/// How much longer than its `statement_timeout` a question may take: some loops of a server hear no signal.
const DEAF: Duration = Duration::from_secs(20);
/// Databases of one cluster that are looked at.
const DATABASES_MAX: usize = 10_000;

/// The server under test.
pub(super) struct Host<'a> {
    pub server: &'a Server,
    pub user: &'a str,
    pub cancel: &'a Cancel,
    /// `statement_timeout` of everything that has no limit of its own.
    pub statement_time: Duration,
}

/// A database of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pub name: String,
    pub is_template: bool,
    /// Whether users have tables in it; unknown where it cannot be looked at.
    pub holds_tables: bool,
    /// Why it cannot be looked at.
    pub closed: Option<String>,
}

/// One connection.
pub(super) struct Session<'a> {
    host: &'a Host<'a>,
    client: Client,
    /// An answer is overdue; whatever is asked next would only wait behind it.
    deaf: AtomicBool,
}

/// What walproof's own questions need: nothing of the restored database can come between them and the catalog, and
/// no trigger or setting of a user's runs.
const OWN: &str = "set search_path = pg_catalog; set session_replication_role = replica; set lc_messages = 'C'; \
     set client_min_messages = error; set standard_conforming_strings = on; set lock_timeout = '60s'; set datestyle = iso; set timezone = 'UTC'; \
     set max_parallel_workers_per_gather = 0; set row_security = off";
/// What a user's statements find: the database's own search path, read only, texts that do not depend on the machine.
const USERS: &str = "set default_transaction_read_only = on; set lc_messages = 'C'; set lock_timeout = '60s'; \
     set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set timezone = 'UTC'; \
     set extra_float_digits = 1; set bytea_output = 'hex'";

impl<'a> Host<'a> {
    /// A connection for walproof's own questions.
    pub async fn own(&'a self, database: &str) -> Result<Session<'a>, Fault> {
        self.open(database, OWN).await
    }

    /// A connection for a user's statements.
    pub async fn users(&'a self, database: &str) -> Result<Session<'a>, Fault> {
        self.open(database, USERS).await
    }

    async fn open(&'a self, database: &str, settings: &str) -> Result<Session<'a>, Fault> {
        let connect = self.server.connect(self.user, database);
        let client = match self.within(Duration::from_secs(60), connect).await? {
            Ok(client) => client,
            Err(PostgresError::Sql(error)) => {
                let mut fault = Fault::of_reading(&error);
                // Nobody answers any more; what ended the server was found out by whoever lost it.
                if fault.kind == FaultKind::Lost {
                    fault.kind = FaultKind::Unable;
                }
                fault.text = format!("cannot connect to database {database:?}: {}", fault.text);
                return Err(fault);
            }
            Err(error) => return Err(Fault::unable(format!("cannot connect to database {database:?}: {error}"))),
        };
        let session = Session { host: self, client, deaf: AtomicBool::new(false) };
        let ms = self.statement_time.as_millis().max(1);
        session.run(&format!("{settings}; set statement_timeout = {ms}"), self.statement_time).await?;
        Ok(session)
    }

    /// Waits for an answer, but not for ever and not when the run is to stop.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Fault> {
        let stopped = async {
            while !self.cancel.is_set() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            answer = work => Ok(answer),
            () = stopped => Err(Fault::unable("interrupted")),
            () = tokio::time::sleep(limit.saturating_add(DEAF)) => {
                Err(Fault::unable(format!("the server did not answer within {} s", (limit + DEAF).as_secs())))
            }
        }
    }

    /// Every database that takes connections, `template0` left out.
    pub async fn databases(&'a self) -> Result<Vec<Database>, Fault> {
        let session = match self.own("postgres").await {
            Ok(session) => session,
            // Somebody may have dropped it.
            Err(_) => self.own("template1").await?,
        };
        let rows = session
            .rows(&format!(
                "select datname, datistemplate from pg_database where datallowconn and datconnlimit <> -2 \
                 and datname <> 'template0' order by datname limit {DATABASES_MAX}"
            ))
            .await?;
        let mut databases = Vec::new();
        for row in rows {
            let [Some(name), Some(template)] = row.as_slice() else { continue };
            let looked = async {
                let session = self.own(name).await?;
                let rows = session.rows(&format!("select exists ({USER_TABLES})")).await?;
                Ok::<bool, Fault>(rows.first().is_some_and(|row| row.first() == Some(&Some("t".to_owned()))))
            };
            let looked = looked.await;
            databases.push(Database {
                name: name.clone(),
                is_template: template == "t",
                holds_tables: *looked.as_ref().unwrap_or(&false),
                closed: looked.err().map(|fault| fault.text),
            });
        }
        Ok(databases)
    }

    /// Why the server is gone: a crash of one of its processes is the data's fault, everything else is not.
    pub async fn why_lost(&self, doing: &str, fault: Fault) -> Fault {
        if fault.kind != FaultKind::Lost {
            return fault;
        }
        const CRASHES: &[(&str, &str)] =
            &[("4", "SIGILL"), ("6", "SIGABRT"), ("7", "SIGBUS"), ("8", "SIGFPE"), ("11", "SIGSEGV")];
        for _ in 0..20 {
            let log = log_tail(self.server.log(), 16 << 10);
            let died = log.lines().rev().find_map(|line| {
                let (_, rest) = line.split_once(" was terminated by signal ")?;
                let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
                Some(number)
            });
            if let Some(number) = died {
                return match CRASHES.iter().find(|(crash, _)| *crash == number) {
                    Some((_, name)) => Fault {
                        kind: FaultKind::Damage,
                        text: format!("PostgreSQL crashed ({name}) while {doing}"),
                        code: None,
                    },
                    None => {
                        Fault::unable(format!("a process of PostgreSQL was killed (signal {number}) while {doing}"))
                    }
                };
            }
            if self.cancel.is_set() || log.lines().any(|line| line.contains("immediate shutdown request")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Fault::unable(format!("the connection was lost while {doing}: {}", fault.text))
    }
}

/// Tables of users, those of extensions included.
pub(super) const USER_TABLES: &str = "select from pg_catalog.pg_class c join pg_catalog.pg_namespace n \
     on n.oid = c.relnamespace where c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname <> \
     'information_schema' and n.nspname !~ '^pg_'";

/// A row in the text that the server prints.
pub(super) type TextRow = Vec<Option<String>>;

/// Rows that are kept of one question of walproof's own; more than that many relations is no database we know of.
const ROWS_MAX: usize = 4_000_000;

impl Session<'_> {
    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server it is connected to.
    pub fn host(&self) -> &Host<'_> {
        self.host
    }

    /// Whether an answer is overdue, so that nothing can be asked any more.
    pub fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Runs statements whose results do not matter.
    pub async fn run(&self, sql: &str, limit: Duration) -> Result<(), Fault> {
        self.ask(limit, self.client.batch_execute(sql)).await.map_err(Raw::reading)
    }

    /// All rows of a question of walproof's own.
    pub async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, Fault> {
        let answer = self.first_rows(sql, ROWS_MAX, self.host.statement_time).await;
        answer.map(|(rows, _)| rows).map_err(Raw::reading)
    }

    /// The first rows of a statement, and how many it returned. All are received, but only these are kept.
    pub async fn first_rows(&self, sql: &str, keep: usize, limit: Duration) -> Result<(Vec<TextRow>, u64), Raw> {
        let work = async {
            let mut stream = std::pin::pin!(self.client.simple_query_raw(sql).await?);
            let (mut rows, mut count) = (Vec::new(), 0_u64);
            while let Some(message) = stream.next().await {
                let SimpleQueryMessage::Row(row) = message? else { continue };
                count += 1;
                if rows.len() < keep {
                    rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
                }
            }
            Ok((rows, count))
        };
        self.ask(limit, work).await
    }

    /// Waits for an answer of [`Session::client`].
    pub async fn ask<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Raw> {
        if self.deaf.load(Ordering::Relaxed) {
            return Err(Raw::Fault(Fault::unable("the server no longer answers on this connection")));
        }
        match self.host.within(limit, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Raw::Sql(error)),
            Err(fault) => {
                self.deaf.store(true, Ordering::Relaxed);
                Err(Raw::Fault(fault))
            }
        }
    }
}

/// An error that is not judged yet: whose statement it was decides.
#[derive(Debug)]
pub(super) enum Raw {
    Sql(tokio_postgres::Error),
    Fault(Fault),
}

impl Raw {
    /// It was a user's statement.
    pub fn statement(self) -> Fault {
        match self {
            Raw::Sql(error) => Fault::of(&error),
            Raw::Fault(fault) => fault,
        }
    }

    /// It was walproof's.
    pub fn reading(self) -> Fault {
        match self {
            Raw::Sql(error) => Fault::of_reading(&error),
            Raw::Fault(fault) => fault,
        }
    }
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A relation in SQL.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// A text in SQL, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let quotes = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{quotes}'")
}

/// A relation for a reader.
pub(super) fn named(schema: &str, name: &str) -> String {
    shown(&format!("{schema}.{name}"))
}
