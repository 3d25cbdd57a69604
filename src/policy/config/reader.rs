//! Reads a table of the file key by key and remembers what was asked for: a key that nobody asked for is an error that
//! can name the right one, because a misspelt promise must never silently mean "none".

use std::cell::RefCell;
use std::str::FromStr;

use crate::policy::span::{UnitError, printable};
use crate::policy::{ByteSize, Percent, Sample, Span};

use super::ConfigError;

/// A value of the file with its line.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub line: u32,
    pub value: Value,
}

/// What a configuration file can say.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A TOML date or time, as written.
    Date(String),
    List(Vec<Item>),
    Table(Vec<(String, Item)>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Where errors of one file are gathered.
#[derive(Debug, Default)]
pub(crate) struct Errors(RefCell<Vec<ConfigError>>);

impl Errors {
    pub fn push(&self, line: u32, message: impl Into<String>, suggestion: Option<String>) {
        self.0.borrow_mut().push(ConfigError { line, message: message.into(), suggestion });
    }

    pub fn into_inner(self) -> Vec<ConfigError> {
        let mut errors = self.0.into_inner();
        errors.sort_by_key(|error| error.line);
        errors
    }
}

/// A table whose keys are taken one after the other.
#[derive(Debug)]
pub(crate) struct Table<'e> {
    path: String,
    pub line: u32,
    entries: Vec<(String, Item)>,
    asked: Vec<&'static str>,
    pub errors: &'e Errors,
}

impl<'e> Table<'e> {
    pub fn new(path: impl Into<String>, line: u32, entries: Vec<(String, Item)>, errors: &'e Errors) -> Self {
        Table { path: path.into(), line, entries, asked: Vec::new(), errors }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether a key is written and not taken yet. Says nothing about whether anybody wants it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// The raw value of a key.
    pub fn take_item(&mut self, key: &'static str) -> Option<Item> {
        self.asked.push(key);
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(at).1)
    }

    /// The value of a key and its line; a wrong type is noted and counts as absent.
    pub fn take<T: FromItem>(&mut self, key: &'static str) -> Option<(T, u32)> {
        let item = self.take_item(key)?;
        let line = item.line;
        T::from_item(item, &Place { name: self.name(key), errors: self.errors }).map(|value| (value, line))
    }

    /// A value that has to be there.
    pub fn need<T: FromItem>(&mut self, key: &'static str) -> Option<(T, u32)> {
        if !self.entries.iter().any(|(name, _)| name == key) {
            self.errors.push(self.line, format!("{}: this key is required", self.name(key)), None);
        }
        self.take(key)
    }

    /// A table below this one.
    pub fn take_table(&mut self, key: &'static str) -> Option<Table<'e>> {
        let item = self.take_item(key)?;
        let name = self.name(key);
        match item.value {
            Value::Table(entries) => Some(Table::new(name, item.line, entries, self.errors)),
            other => {
                self.errors.push(item.line, format!("{name}: expected a table, found {}", other.kind()), None);
                None
            }
        }
    }

    /// An array of tables, as in `[[cluster]]`.
    pub fn take_tables(&mut self, key: &'static str) -> Vec<Table<'e>> {
        let Some(item) = self.take_item(key) else { return Vec::new() };
        let name = self.name(key);
        let Value::List(items) = item.value else {
            self.errors.push(item.line, format!("{name}: write [[{name}]], with two brackets"), None);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.value {
                Value::Table(entries) => tables.push(Table::new(name.clone(), item.line, entries, self.errors)),
                other => {
                    self.errors.push(item.line, format!("{name}: expected a table, found {}", other.kind()), None);
                }
            }
        }
        tables
    }

    /// Everything that was not asked for is an error.
    pub fn finish(self) {
        for (key, item) in &self.entries {
            let name = self.name(&printable(key));
            let suggestion = nearest(key, &self.asked).map(|near| self.name(near));
            let message = match super::elsewhere(key) {
                Some(place) if suggestion.is_none() => format!("{name}: unknown key; {key} belongs in {place}"),
                _ => format!("{name}: unknown key"),
            };
            self.errors.push(item.line, message, suggestion);
        }
    }
}

/// The place of a value, for messages.
pub(crate) struct Place<'e> {
    pub name: String,
    pub errors: &'e Errors,
}

impl Place<'_> {
    pub fn refuse<T>(&self, line: u32, message: impl AsRef<str>, suggestion: Option<String>) -> Option<T> {
        self.errors.push(line, format!("{}: {}", self.name, message.as_ref()), suggestion);
        None
    }
}

/// A type that a key can hold.
pub(crate) trait FromItem: Sized {
    fn from_item(item: Item, place: &Place<'_>) -> Option<Self>;
}

impl FromItem for bool {
    fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
        match item.value {
            Value::Bool(value) => Some(value),
            other => place.refuse(item.line, format!("expected true or false, found {}", other.kind()), None),
        }
    }
}

impl FromItem for String {
    fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
        match item.value {
            Value::Text(text) if text.chars().any(char::is_control) && place.name.ends_with("name") => {
                place.refuse(item.line, "control characters are not allowed here", None)
            }
            Value::Text(text) => Some(text),
            other => place.refuse(item.line, format!("expected a text, found {}", other.kind()), None),
        }
    }
}

macro_rules! whole_numbers {
    ($($name:ty),*) => {$(
        impl FromItem for $name {
            fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
                match item.value {
                    Value::Integer(number) => match <$name>::try_from(number) {
                        Ok(number) => Some(number),
                        Err(_) => place.refuse(item.line, format!("{number} is out of range"), None),
                    },
                    other => {
                        place.refuse(item.line, format!("expected a whole number, found {}", other.kind()), None)
                    }
                }
            }
        }
    )*};
}

whole_numbers!(u32, u64);

/// Text types whose parser explains itself; a bare number gets the same explanation.
fn from_text<T: FromStr<Err = UnitError>>(item: Item, place: &Place<'_>) -> Option<T> {
    let text = match item.value {
        Value::Text(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => return place.refuse(item.line, format!("expected a text, found {}", other.kind()), None),
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => place.refuse(item.line, error.to_string(), None),
    }
}

macro_rules! from_text {
    ($($name:ty),*) => {$(
        impl FromItem for $name {
            fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
                from_text(item, place)
            }
        }
    )*};
}

from_text!(Span, ByteSize, Percent, Sample);

impl<T: FromItem> FromItem for Vec<T> {
    fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
        match item.value {
            Value::List(items) => {
                // All errors of a list are told at once.
                let count = items.len();
                let read: Vec<T> = items.into_iter().filter_map(|item| T::from_item(item, place)).collect();
                (read.len() == count).then_some(read)
            }
            other => place.refuse(item.line, format!("expected a list, found {}", other.kind()), None),
        }
    }
}

/// An enum with fixed names, matched without regard to case; a wrong name suggests the nearest.
pub(crate) fn one_of<T: Copy>(item: Item, place: &Place<'_>, names: &[(&'static str, T)]) -> Option<T> {
    let Value::Text(text) = item.value else {
        return place.refuse(item.line, format!("expected a text, found {}", item.value.kind()), None);
    };
    if let Some((_, value)) = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)) {
        return Some(*value);
    }
    let all: Vec<&'static str> = names.iter().map(|(name, _)| *name).collect();
    let near = nearest(&text, &all).map(str::to_owned);
    place.refuse(item.line, format!("\"{}\" is none of {}", printable(&text), all.join(", ")), near)
}

/// The name most like a misspelt one, if any is like it at all.
pub(crate) fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let text = text.to_ascii_lowercase().replace('-', "_");
    // A longer word may hold more slips before it is another word; swapped letters count as one.
    let limit = (text.chars().count() / 3).clamp(1, 3);
    let (distance, name) = names
        .iter()
        .map(|name| (distance(&text, &name.to_ascii_lowercase().replace('-', "_")), *name))
        .min_by_key(|(distance, _)| *distance)?;
    if distance <= limit {
        return Some(name);
    }
    // A word left out or added: backup_age for backup_max_age.
    let words = |text: &str| text.split('_').map(str::to_owned).collect::<Vec<_>>();
    let given = words(&text);
    names.iter().copied().find(|name| {
        let wanted = words(name);
        let common = given.iter().filter(|word| wanted.contains(word)).count();
        common >= 2 && common + 1 >= given.len().max(wanted.len())
    })
}

/// Edits between two short texts: insert, delete, replace, swap neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["recovery_window", "rpo", "rto", "backup_max_age", "retention", "min_full_backups"];
        assert_eq!(nearest("recovery_windw", &names), Some("recovery_window"));
        assert_eq!(nearest("recovery-window", &names), Some("recovery_window"));
        assert_eq!(nearest("Retension", &names), Some("retention"));
        assert_eq!(nearest("rop", &names), Some("rpo"));
        assert_eq!(nearest("backup_age", &names), Some("backup_max_age"));
        assert_eq!(nearest("min_fulls", &names), None);
        assert_eq!(nearest("colour", &names), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abcd", "acbd"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
