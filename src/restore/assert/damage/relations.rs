//! The relations of one database, and whether this machine sorts as the one that built its indexes did.

use std::collections::BTreeMap;

use crate::restore::assert::fault::Fault;
use crate::restore::assert::session::{Host, Session, named};

/// Whether an index can be out of order only because another machine sorted it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Sorting {
    /// The order does not depend on the machine, or both sort the same way.
    #[default]
    Same,
    /// The versions differ: names both.
    Differs(String),
    /// Nobody recorded the version it was built with.
    Unknown,
}

/// A relation with storage.
#[derive(Debug, Clone, Default)]
pub(super) struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `relkind`: r, m, t, S or i.
    pub kind: char,
    pub access_method: String,
    pub bytes: u64,
    /// What lies in its TOAST table.
    pub toast_bytes: u64,
    /// For a TOAST table: whose.
    pub owner: Option<String>,
    pub sorting: Sorting,
}

impl Relation {
    pub fn is_index(&self) -> bool {
        self.kind == 'i'
    }

    pub fn is_toast(&self) -> bool {
        self.kind == 't'
    }

    pub fn is_heap(&self) -> bool {
        matches!(self.kind, 'r' | 'm' | 't') && self.access_method == "heap"
    }

    /// Access methods that some version of amcheck knows.
    pub fn amcheck_takes(&self) -> bool {
        matches!(self.access_method.as_str(), "btree" | "gin")
    }

    /// As a reader knows it.
    pub fn title(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{owner} (its TOAST table)"),
            None => named(&self.schema, &self.name),
        }
    }
}

/// Temporary and unlogged relations are left out: recovery empties them. So are indexes that were never finished.
const RELATIONS: &str = "select c.oid, n.nspname, c.relname, c.relkind, coalesce(a.amname, ''), \
     pg_relation_size(c.oid), coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0), \
     o.relname, (select nspname from pg_namespace where oid = o.relnamespace) \
     from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_am a on a.oid = c.relam \
     left join pg_class o on c.relkind = 't' and o.reltoastrelid = c.oid \
     left join pg_index i on c.relkind = 'i' and i.indexrelid = c.oid \
     where c.relkind in ('r', 'm', 't', 'S', 'i') and c.relpersistence = 'p' \
     and coalesce(i.indisvalid and i.indisready, true) and c.relispopulated";

pub(super) async fn list(host: &Host<'_>, database: &str, with_shared: bool) -> Result<Vec<Relation>, Fault> {
    let session = host.own(database).await?;
    let shared = if with_shared { "" } else { " and not c.relisshared" };
    let rows = session.rows(&format!("{RELATIONS}{shared}")).await?;
    let mut sorting = sorting(&session).await;
    let mut relations = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cells = row.into_iter();
        let mut text = || cells.next().flatten();
        let Some(oid) = text().and_then(|oid| oid.parse().ok()) else { continue };
        let (schema, name) = (text().unwrap_or_default(), text().unwrap_or_default());
        let kind = text().and_then(|kind| kind.chars().next()).unwrap_or('r');
        let access_method = text().unwrap_or_default();
        let mut number = || text().and_then(|number| number.parse().ok()).unwrap_or(0);
        let (bytes, toast_bytes) = (number(), number());
        let owner = text();
        let owner_schema = text();
        let owner = owner.map(|owner| named(&owner_schema.unwrap_or_default(), &owner));
        let sorting = sorting.remove(&oid).unwrap_or_default();
        relations.push(Relation { oid, schema, name, kind, access_method, bytes, toast_bytes, owner, sorting });
    }
    Ok(relations)
}

/// The indexes whose order depends on a collation that is not known to be the same here. Where the catalog cannot be
/// asked, every index over text is one.
async fn sorting(session: &Session<'_>) -> BTreeMap<u32, Sorting> {
    let version = session.rows("show server_version_num").await.ok();
    let version = version.and_then(|rows| rows.first()?.first()?.as_ref()?.parse::<u32>().ok()).unwrap_or(0);
    let of_database = if version >= 150_000 {
        "select case when d.datlocprovider = 'b' or (d.datlocprovider = 'c' and d.datcollate ~ '^(C|POSIX)([.]|$)') \
         then 'same' when d.datcollversion is null or pg_database_collation_actual_version(d.oid) is null then 'unknown' \
         when d.datcollversion = pg_database_collation_actual_version(d.oid) then 'same' else 'differs: the database was \
         sorted by version ' || d.datcollversion || ', here is ' || pg_database_collation_actual_version(d.oid) end \
         from pg_database d where d.datname = current_database()"
    } else {
        "select case when d.datcollate ~ '^(C|POSIX)([.]|$)' then 'same' else 'unknown' end from pg_database d \
         where d.datname = current_database()"
    };
    // ICU collations of 15 and later have no libc names at all.
    let sql = format!(
        "with k as (select i.indexrelid, unnest(i.indcollation::oid[]) as collation from pg_index i), \
         s as (select k.indexrelid, case when c.collprovider = 'd' then ({of_database}) \
         when c.collprovider = 'b' or (c.collprovider = 'c' and c.collcollate ~ '^(C|POSIX)([.]|$)') then 'same' \
         when c.collversion is null or pg_collation_actual_version(c.oid) is null then 'unknown' \
         when c.collversion = pg_collation_actual_version(c.oid) then 'same' \
         else 'differs: collation ' || c.collname || ' was version ' || c.collversion || ', here is ' || \
         pg_collation_actual_version(c.oid) end as state from k join pg_collation c on c.oid = k.collation) \
         select indexrelid, min(state) from s where state <> 'same' group by indexrelid"
    );
    let rows = match session.rows(&sql).await {
        Ok(rows) => rows,
        Err(_) => {
            let any = "select indexrelid, 'unknown' from pg_index where exists \
                       (select from unnest(indcollation::oid[]) c where c <> 0)";
            session.rows(any).await.unwrap_or_default()
        }
    };
    let states = rows.into_iter().filter_map(|row| {
        let [Some(oid), Some(state)] = row.as_slice() else { return None };
        let state = match state.strip_prefix("differs: ") {
            Some(how) => Sorting::Differs(how.to_owned()),
            None => Sorting::Unknown,
        };
        Some((oid.parse().ok()?, state))
    });
    states.collect()
}
