use serde::Serialize;

use crate::policy::{Percent, Span};

use super::key::Explain;

/// Something that has to hold on a restored server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assertion {
    /// How reports call it.
    pub name: String,
    /// Database to connect to; every user database where absent.
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
        /// At most this share fewer than in the run before.
        max_drop: Option<Percent>,
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
    Checksums(String),
}

/// What a value has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expect {
    /// How it is compared.
    pub operator: Comparison,
    /// With what, as text; numbers are compared as numbers.
    pub value: String,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Comparison {
    /// The same.
    Equal,
    /// Anything else.
    NotEqual,
    /// Less.
    Less,
    /// Less or the same.
    AtMost,
    /// More.
    More,
    /// More or the same.
    AtLeast,
}

impl Expect {
    /// Reads `42`, `>= 42`, `!= 'x'`; without an operator the value has to be equal.
    pub fn parse(text: &str) -> Self {
        const OPERATORS: &[(&str, Comparison)] = &[
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("==", Comparison::Equal),
            ("=", Comparison::Equal),
            (">", Comparison::More),
            ("<", Comparison::Less),
        ];
        let text = text.trim();
        for (sign, operator) in OPERATORS {
            if let Some(value) = text.strip_prefix(sign) {
                return Expect { operator: *operator, value: value.trim().to_owned() };
            }
        }
        Expect { operator: Comparison::Equal, value: text.to_owned() }
    }
}

impl Explain for Assertion {
    fn explain(&self) -> String {
        format!("{:?}", self.name)
    }
}

#[cfg(feature = "config")]
mod read {
    use crate::policy::config::reader::{FromItem, Item, Place, Table, Value};

    use super::{Assertion, AssertionCheck, Expect};

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

    fn check(table: &mut Table<'_>, place: &Place<'_>) -> Option<AssertionCheck> {
        let line = table.line;
        let text = |table: &mut Table<'_>, key| table.take::<String>(key).map(|(text, _)| text);
        let sql = text(table, "sql");
        let expect = table.take::<Scalar>("expect").map(|(value, _)| Expect::parse(&value.0));
        let file = text(table, "file");
        let rows = text(table, "rows");
        let min = table.take::<u64>("min").map(|(number, _)| number);
        let max_drop = table.take("max_drop").map(|(share, _)| share);
        let tables_min = table.take::<u64>("tables_min").map(|(number, _)| number);
        let fresh = text(table, "fresh");
        let within = table.take("within").map(|(span, _)| span);
        let checksums = text(table, "checksums");
        let mut found = Vec::new();
        if let Some(sql) = sql {
            match expect {
                Some(expect) => found.push(AssertionCheck::Sql { sql, expect }),
                None => return place.refuse(line, "sql needs expect, as in expect = \">= 1000\"", None),
            }
        }
        found.extend(file.map(AssertionCheck::File));
        found.extend(rows.map(|table| AssertionCheck::Rows { table, min, max_drop }));
        found.extend(tables_min.map(AssertionCheck::TablesMin));
        if let Some(sql) = fresh {
            match within {
                Some(within) => found.push(AssertionCheck::Fresh { sql, within }),
                None => return place.refuse(line, "fresh needs within, as in within = \"1h\"", None),
            }
        }
        found.extend(checksums.map(AssertionCheck::Checksums));
        match found.len() {
            1 => found.pop(),
            _ => {
                let help = "one of sql, file, rows, tables_min, fresh or checksums is needed in each assertion";
                place.refuse(line, help, None)
            }
        }
    }

    fn default_name(check: &AssertionCheck) -> String {
        match check {
            AssertionCheck::Sql { sql, .. } | AssertionCheck::Fresh { sql, .. } => sql.chars().take(60).collect(),
            AssertionCheck::File(file) => file.clone(),
            AssertionCheck::Rows { table, .. } => format!("rows of {table}"),
            AssertionCheck::TablesMin(min) => format!("at least {min} tables"),
            AssertionCheck::Checksums(table) => format!("checksums in {table}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_have_operators() {
        assert_eq!(Expect::parse("42"), Expect { operator: Comparison::Equal, value: "42".into() });
        assert_eq!(Expect::parse(">= 42"), Expect { operator: Comparison::AtLeast, value: "42".into() });
        assert_eq!(Expect::parse("<> x"), Expect { operator: Comparison::NotEqual, value: "x".into() });
    }
}
