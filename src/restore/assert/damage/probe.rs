//! One connection that looks at relations, inside a transaction that is never committed: `amcheck` is created in it where
//! the database has none, and gone afterwards.

use std::time::Duration;

use super::Check;
use super::relations::{Relation, Sorting};
use crate::restore::assert::fault::{Fault, FaultKind, shown};
use crate::restore::assert::session::{Host, Session, literal, qualified};

/// Faults of one table that are fetched; the first few are told.
const FAULTS_MAX: usize = 1000;
/// Faults of one table that are told.
const TOLD_MAX: usize = 5;

/// What looking at a relation came to.
pub(super) enum Found {
    Sound,
    Damaged(String),
    NotChecked(String),
    /// No amcheck of the server's major takes such a relation.
    Beyond(&'static str),
}

/// A function of an extension, and the arguments of its longest form.
struct Function {
    name: String,
    arguments: Vec<String>,
}

pub(super) struct Probe<'a> {
    session: Session<'a>,
    encoding: String,
    version: u32,
    /// Replaying still: nothing can be created and no strong lock taken.
    standby: bool,
    /// Functions of amcheck, or why there are none.
    amcheck: Result<Vec<Function>, String>,
    prewarm: Result<Vec<Function>, String>,
}

impl<'a> Probe<'a> {
    pub async fn open(host: &'a Host<'a>, database: &str, amcheck: bool) -> Result<Self, Fault> {
        let session = host.own(database).await?;
        let one = async |sql: &str| -> Result<String, Fault> {
            let rows = session.rows(sql).await?;
            Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default())
        };
        let encoding = one("show server_encoding").await?;
        let standby = one("select pg_is_in_recovery()").await? == "t";
        let version = one("show server_version_num").await?.parse().unwrap_or(u32::MAX);
        session.run("begin", host.statement_time).await?;
        let amcheck = match amcheck {
            true => extension(&session, "amcheck", standby).await,
            false => Err("amcheck was not asked for".to_owned()),
        };
        let prewarm = extension(&session, "pg_prewarm", standby).await;
        session.run("set transaction read only; savepoint relation", host.statement_time).await?;
        Ok(Probe { session, encoding, version, standby, amcheck, prewarm })
    }

    /// Whether it has stopped answering.
    pub fn is_deaf(&self) -> bool {
        self.session.is_deaf()
    }

    /// Looks at one relation. The savepoint gives locks back and survives errors.
    pub async fn look(&self, relation: &Relation, check: Check, limit: Duration) -> Result<Found, Fault> {
        let ms = limit.as_millis().clamp(1, i32::MAX as u128);
        self.session.run(&format!("set local statement_timeout = {ms}"), limit).await?;
        let found = match check {
            Check::Index => self.index(relation, limit).await,
            Check::Table => self.table(relation, limit).await,
            Check::Read if relation.is_index() => self.pages(relation, limit).await,
            Check::Read => self.copy(relation, limit).await,
        };
        if !matches!(&found, Err(fault) if fault.kind == FaultKind::Lost) {
            self.session.run("rollback to savepoint relation", Duration::from_secs(60)).await?;
        }
        found
    }

    async fn index(&self, relation: &Relation, limit: Duration) -> Result<Found, Fault> {
        if relation.access_method == "gin" && self.version < 180_000 {
            return Ok(Found::Beyond("amcheck checks GIN indexes from PostgreSQL 18 on"));
        }
        if let Sorting::Differs(how) = &relation.sorting {
            return Ok(Found::NotChecked(format!("another version of a collation ({how})")));
        }
        let functions = match &self.amcheck {
            Ok(functions) => functions,
            Err(why) => return Ok(Found::NotChecked(why.clone())),
        };
        // The stronger check waits for nobody here, but its lock cannot be had during recovery.
        let name = match (relation.access_method.as_str(), self.standby) {
            ("gin", _) => "gin_index_check",
            (_, true) => "bt_index_check",
            (_, false) => "bt_index_parent_check",
        };
        let Some(function) = functions.iter().find(|function| function.name.ends_with(&format!(".\"{name}\""))) else {
            return Ok(Found::NotChecked(format!("this version of amcheck has no {name}")));
        };
        let arguments: Vec<String> = function
            .arguments
            .iter()
            .map(|argument| match argument.as_str() {
                "index" => format!("{}::oid::regclass", relation.oid),
                // Every tuple of the table is in the index, and no two visible ones are alike in a unique one.
                "heapallindexed" | "checkunique" => "true".to_owned(),
                // Refused by indexes that came from old majors through pg_upgrade.
                _ => "false".to_owned(),
            })
            .collect();
        let sql = format!("select {}({})", function.name, arguments.join(", "));
        match self.session.run(&sql, limit).await {
            Ok(()) => Ok(Found::Sound),
            Err(fault) if fault.kind == FaultKind::Damage => {
                let order = ["order invariant", "lacks matching index tuple", "uniqueness is violated"];
                if relation.sorting == Sorting::Unknown && order.iter().any(|words| fault.text.contains(words)) {
                    return Ok(Found::NotChecked(format!(
                        "its order may be that of another machine, whose collation version nobody recorded: {}",
                        fault.text
                    )));
                }
                Ok(Found::Damaged(fault.text))
            }
            // Expressions of an index are a user's functions: their errors are theirs.
            Err(fault) if fault.code.as_ref().is_some_and(|code| matches!(&code.code()[..2], "22" | "P0")) => {
                Ok(Found::NotChecked(fault.text))
            }
            Err(fault) => outcome(fault),
        }
    }

    async fn table(&self, relation: &Relation, limit: Duration) -> Result<Found, Fault> {
        if self.version < 140_000 {
            return Ok(Found::Beyond("amcheck checks tables from PostgreSQL 14 on"));
        }
        let functions = match &self.amcheck {
            Ok(functions) => functions,
            Err(why) => return Ok(Found::NotChecked(why.clone())),
        };
        let Some(function) = functions.iter().find(|function| function.name.ends_with(".\"verify_heapam\"")) else {
            return Ok(Found::NotChecked("this version of amcheck has no verify_heapam".to_owned()));
        };
        let sql = format!(
            "select blkno, offnum, msg from {}({}::oid::regclass, check_toast => true) limit {}",
            function.name,
            relation.oid,
            FAULTS_MAX + 1
        );
        let rows = match self.session.first_rows(&sql, TOLD_MAX, limit).await {
            Ok(rows) => rows,
            Err(raw) => return outcome(raw.reading()),
        };
        let (rows, count) = rows;
        if count == 0 {
            return Ok(Found::Sound);
        }
        let mut told: Vec<String> = Vec::new();
        for row in rows {
            let cell = |at: usize| row.get(at).and_then(Option::as_deref);
            let line = cell(1).map_or(String::new(), |offset| format!(", line pointer {offset}"));
            told.push(format!("block {}{line}: {}", cell(0).unwrap_or("?"), shown(cell(2).unwrap_or_default())));
        }
        match count as usize {
            more if more > FAULTS_MAX => told.push(format!("and more than {} more", FAULTS_MAX - told.len())),
            more if more > told.len() => told.push(format!("and {} more", more - told.len())),
            _ => {}
        }
        Ok(Found::Damaged(told.join("; ")))
    }

    /// Through the server's own eyes, and to nowhere: no value of the database travels, whatever its size.
    async fn copy(&self, relation: &Relation, limit: Duration) -> Result<Found, Fault> {
        let sql = format!(
            "copy (select * from only {}) to '/dev/null' with (encoding {})",
            qualified(&relation.schema, &relation.name),
            literal(&self.encoding)
        );
        match self.session.run(&sql, limit).await {
            Ok(()) => Ok(Found::Sound),
            Err(fault) => outcome(fault),
        }
    }

    async fn pages(&self, relation: &Relation, limit: Duration) -> Result<Found, Fault> {
        let function = match &self.prewarm {
            Ok(functions) => functions.iter().find(|function| function.name.ends_with(".\"pg_prewarm\"")),
            Err(why) => return Ok(Found::NotChecked(why.clone())),
        };
        let Some(function) = function else {
            return Ok(Found::NotChecked("pg_prewarm has no function of that name".to_owned()));
        };
        // Only `buffer` goes through the code that compares checksums.
        let sql = format!("select {}({}::oid::regclass, 'buffer')", function.name, relation.oid);
        match self.session.run(&sql, limit).await {
            Ok(()) => Ok(Found::Sound),
            Err(fault) => outcome(fault),
        }
    }
}

fn outcome(fault: Fault) -> Result<Found, Fault> {
    match fault.kind {
        FaultKind::Damage => Ok(Found::Damaged(fault.text)),
        _ => Err(fault),
    }
}

/// The functions of an extension, which is created or brought up to date first if that is possible. `Err` says why it
/// cannot be used.
async fn extension(session: &Session<'_>, name: &str, standby: bool) -> Result<Vec<Function>, String> {
    let limit = session.host().statement_time;
    let cannot = |why: &str| format!("the extension {name} cannot be used: {why}");
    let sql = format!("select installed_version, default_version from pg_available_extensions where name = '{name}'");
    let rows = session.rows(&sql).await.map_err(|fault| cannot(&fault.text))?;
    let Some([installed, default]) = rows.first().map(Vec::as_slice) else {
        return Err(cannot("this installation of PostgreSQL does not have it (package postgresql-contrib)"));
    };
    let change = match (installed, standby) {
        (None, true) => return Err(cannot("the database lacks it, and nothing can be created while it recovers")),
        (None, false) => Some(format!("create extension {name}")),
        (Some(_), true) => None,
        (Some(_), false) if installed == default => None,
        (Some(_), false) => Some(format!("alter extension {name} update")),
    };
    if let Some(change) = change {
        session.run("savepoint extension", limit).await.map_err(|fault| cannot(&fault.text))?;
        // Where the search path names no schema that exists, there is none to create it in.
        let target = if installed.is_none() { "set local search_path = public, pg_catalog; " } else { "" };
        if let Err(fault) = session.run(&format!("{target}{change}"), limit).await {
            session.run("rollback to savepoint extension", limit).await.map_err(|fault| cannot(&fault.text))?;
            if installed.is_none() {
                return Err(cannot(&fault.text));
            }
        }
        session.run("set local search_path = pg_catalog", limit).await.map_err(|fault| cannot(&fault.text))?;
    }
    // By what belongs to the extension, not by name: anybody may have made a function of the same name.
    let sql = format!(
        "select n.nspname, p.proname, array_to_string(p.proargnames[1:p.pronargs], ' ') from pg_extension e \
         join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e' \
         and d.classid = 'pg_proc'::regclass join pg_proc p on p.oid = d.objid \
         join pg_namespace n on n.oid = p.pronamespace where e.extname = '{name}' order by p.pronargs desc"
    );
    let rows = session.rows(&sql).await.map_err(|fault| cannot(&fault.text))?;
    let functions = rows.into_iter().filter_map(|row| {
        let [Some(schema), Some(name), arguments] = row.as_slice() else { return None };
        let arguments = arguments.as_deref().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        Some(Function { name: qualified(schema, name), arguments })
    });
    Ok(functions.collect())
}
