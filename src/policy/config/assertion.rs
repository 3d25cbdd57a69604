use serde::Serialize;

use crate::policy::{Percent, Span};

use super::expect::Expect;
use super::key::Explain;

/// Something that has to hold on a restored server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assertion {
    /// How reports call it.
    pub name: String,
    /// Database to connect to. Where absent: every database with tables of a user, and for `rows` and `checksums` those
    /// that hold the table.
    pub database: Option<String>,
    /// What is looked at.
    pub check: AssertionCheck,
}

/// Kinds of assertion.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssertionCheck {
    /// One value of a query is compared.
    Sql {
        /// The query.
        sql: String,
        /// What its first value has to be.
        expect: Expect,
    },
    /// A file of statements; each has to run and return no false.
    File(String),
    /// Rows of a table.
    Rows {
        /// Qualified name.
        table: String,
        /// At least so many.
        min: Option<u64>,
        /// At most so many.
        max: Option<u64>,
        /// At most this share fewer than in the run before.
        max_drop: Option<Percent>,
        /// At most this share fewer or more than in the run before.
        max_drift: Option<Percent>,
    },
    /// At least so many tables outside the system's schemas.
    TablesMin(u64),
    /// The moment a query returns lies within this of the recovery target.
    Fresh {
        /// The query, as in `select max(created_at) from orders`.
        sql: String,
        /// Largest distance.
        within: Span,
    },
    /// A table of name, row count and checksum that was backed up with the data.
    Checksums {
        /// That table: columns `table_name`, `row_count`, `checksum`.
        table: String,
        /// The query that computed the checksums, with `{table}` where the name goes; else [`CHECKSUM_QUERY`].
        query: Option<String>,
        /// A column of that table which holds the query of each row instead.
        query_column: Option<String>,
    },
}

/// The table of checksums that `checksums = true` means.
pub const CHECKSUM_TABLE: &str = "backup_checksums";

/// How a checksum is computed unless the configuration says otherwise. The order of rows does not matter and nothing is
/// gathered in memory; rows are taken as text, with `TimeZone` UTC and the server's own defaults else.
pub const CHECKSUM_QUERY: &str =
    "select coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text from {table} t";

impl Explain for Assertion {
    fn explain(&self) -> String {
        format!("{:?}", self.name)
    }
}

#[cfg(feature = "config")]
mod read {
    use crate::policy::config::reader::{FromItem, Item, Place, Table, Value};

    use super::{Assertion, AssertionCheck, CHECKSUM_TABLE, Expect};

    /// A value that is compared as text, whatever the file's type.
    struct Scalar(String);

    impl FromItem for Scalar {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            match item.value {
                Value::Text(text) | Value::Date(text) => Some(Scalar(text)),
                Value::Integer(number) => Some(Scalar(number.to_string())),
                Value::Float(number) => Some(Scalar(number.to_string())),
                Value::Bool(value) => Some(Scalar(if value { "t" } else { "f" }.into())),
                Value::List(_) | Value::Table(_) => place.refuse(item.line, "expected a single value", None),
            }
        }
    }

    impl FromItem for Assertion {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            let line = item.line;
            let entries = match item.value {
                Value::Text(file) => {
                    return Some(Assertion { name: file.clone(), database: None, check: AssertionCheck::File(file) });
                }
                Value::Table(entries) => entries,
                _ => return place.refuse(line, "an assertion is a file name or a table", None),
            };
            let mut table = Table::new(place.name.clone(), line, entries, place.errors);
            let name = table.take::<String>("name");
            let database = table.take::<String>("database").map(|(text, _)| text);
            let check = check(&mut table, place);
            table.finish();
            let check = check?;
            let name = name.map_or_else(|| default_name(&check), |(name, _)| name);
            Some(Assertion { name, database, check })
        }
    }

    /// `checksums = true` or the name of a table.
    struct ChecksumTable(Option<String>);

    impl FromItem for ChecksumTable {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            match item.value {
                Value::Text(table) => Some(ChecksumTable(Some(table))),
                Value::Bool(wanted) => Some(ChecksumTable(wanted.then(|| CHECKSUM_TABLE.to_owned()))),
                _ => place.refuse(item.line, "expected the name of a table, or true", None),
            }
        }
    }

    /// The kinds and the keys that go with each.
    const KINDS: &[(&str, &[&str])] = &[
        ("sql", &["expect"]),
        ("file", &[]),
        ("rows", &["min", "max", "max_drop", "max_drift"]),
        ("tables_min", &[]),
        ("fresh", &["within"]),
        ("checksums", &["checksum_query", "query_column"]),
    ];

    fn check(table: &mut Table<'_>, place: &Place<'_>) -> Option<AssertionCheck> {
        let line = table.line;
        // Which keys are there at all, before they are taken one by one.
        let there: Vec<&str> =
            KINDS.iter().flat_map(|(kind, keys)| keys.iter().chain([kind])).copied().filter(|k| table.has(k)).collect();
        let kinds: Vec<_> = KINDS.iter().filter(|(kind, _)| there.contains(kind)).collect();
        let text = |table: &mut Table<'_>, key| table.take::<String>(key).map(|(text, _)| text);
        let sql = text(table, "sql");
        let expect = table.take::<Scalar>("expect").map(|(value, _)| Expect::parse(&value.0));
        let file = text(table, "file");
        let rows = text(table, "rows");
        let min = table.take::<u64>("min").map(|(number, _)| number);
        let max = table.take::<u64>("max").map(|(number, _)| number);
        let max_drop = table.take("max_drop").map(|(share, _)| share);
        let max_drift = table.take("max_drift").map(|(share, _)| share);
        let tables_min = table.take::<u64>("tables_min").map(|(number, _)| number);
        let fresh = text(table, "fresh");
        let within = table.take("within").map(|(span, _)| span);
        let checksums = table.take::<ChecksumTable>("checksums").and_then(|(name, _)| name.0);
        let query = text(table, "checksum_query");
        let query_column = text(table, "query_column");
        let [(kind, own)] = kinds.as_slice() else {
            let help = "one of sql, file, rows, tables_min, fresh or checksums is needed in each assertion";
            return place.refuse(line, help, None);
        };
        if let Some(stray) = there.iter().find(|key| *key != kind && !own.contains(key)) {
            let home = KINDS.iter().find(|(_, keys)| keys.contains(stray)).map_or("another", |(kind, _)| kind);
            return place.refuse(line, format!("{stray} belongs to {home}, not to {kind}"), None);
        }
        match *kind {
            "sql" => {
                let Some(expect) = expect else {
                    return place.refuse(line, "sql needs expect, as in expect = \">= 1000\"", None);
                };
                Some(AssertionCheck::Sql { sql: sql?, expect })
            }
            "file" => Some(AssertionCheck::File(file?)),
            "rows" => {
                if own.iter().all(|key| !there.contains(key)) {
                    return place.refuse(line, "rows needs min, max, max_drop or max_drift", None);
                }
                Some(AssertionCheck::Rows { table: rows?, min, max, max_drop, max_drift })
            }
            "tables_min" => Some(AssertionCheck::TablesMin(tables_min?)),
            "fresh" => {
                let Some(within) = within else {
                    return place.refuse(line, "fresh needs within, as in within = \"1h\"", None);
                };
                Some(AssertionCheck::Fresh { sql: fresh?, within })
            }
            _ => {
                let Some(name) = checksums else {
                    return place.refuse(line, "checksums needs the name of a table, or true", None);
                };
                if query.as_ref().is_some_and(|query| !query.contains("{table}")) {
                    return place.refuse(line, "checksum_query needs {table} where the table's name goes", None);
                }
                if query.is_some() && query_column.is_some() {
                    return place.refuse(line, "checksum_query and query_column exclude each other", None);
                }
                Some(AssertionCheck::Checksums { table: name, query, query_column })
            }
        }
    }

    fn default_name(check: &AssertionCheck) -> String {
        match check {
            AssertionCheck::Sql { sql, .. } | AssertionCheck::Fresh { sql, .. } => sql.chars().take(60).collect(),
            AssertionCheck::File(file) => file.clone(),
            AssertionCheck::Rows { table, .. } => format!("rows of {table}"),
            AssertionCheck::TablesMin(min) => format!("at least {min} tables"),
            AssertionCheck::Checksums { table, .. } => format!("checksums in {table}"),
        }
    }
}
