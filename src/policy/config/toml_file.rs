//! From TOML text to items with lines.

use toml::de::{DeTable, DeValue};

use super::reader::{Errors, Item, Value};

/// Line numbers of byte offsets.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn of(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

/// All top-level entries; syntax errors are noted, all of them.
pub(super) fn read(text: &str, errors: &Errors) -> Vec<(String, Item)> {
    let lines = Lines::new(text);
    let (table, problems) = DeTable::parse_recoverable(text);
    for problem in &problems {
        let line = problem.span().map_or(1, |span| lines.of(span.start));
        errors.push(line, format!("not valid TOML: {}", problem.message().replace('\n', ", ")), None);
    }
    if problems.is_empty() { entries(table.get_ref(), &lines) } else { Vec::new() }
}

fn entries(table: &DeTable<'_>, lines: &Lines) -> Vec<(String, Item)> {
    table
        .iter()
        .map(|(key, value)| {
            // The line of the key: a table's own span may begin at a later header.
            let line = lines.of(key.span().start);
            (key.get_ref().to_string(), item(value.get_ref(), line, lines))
        })
        .collect()
}

fn item(value: &DeValue<'_>, line: u32, lines: &Lines) -> Item {
    let value = match value {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Text(number.to_string()),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => {
            let each = |value: &toml::Spanned<DeValue<'_>>| item(value.get_ref(), lines.of(value.span().start), lines);
            Value::List(list.iter().map(each).collect())
        }
        DeValue::Table(table) => Value::Table(entries(table, lines)),
    };
    Item { line, value }
}
