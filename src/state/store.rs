//! Where records lie. Apart from [`crate::store::Store`], because this one writes.

use std::fmt;

use super::StateError;
use crate::store::BoxFuture;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The record is there now.
    Written,
    /// Something of that name was there before, and is unchanged.
    Exists,
}

/// Which names of a folder are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Only names that sort at or behind this one.
    pub from: Option<&'a str>,
    /// Only names that sort before this one.
    pub before: Option<&'a str>,
    /// Only so many, the last ones: bounds memory whatever the folder holds.
    pub last: usize,
}

impl Wanted<'_> {
    /// Whether a name is in the range.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.from.is_none_or(|from| name >= from) && self.before.is_none_or(|before| name < before)
    }
}

/// A place for records: a directory or a prefix of a bucket. Records are written once and never changed or removed.
/// Keys are made of `[A-Za-z0-9._-]` and `/`.
pub trait StateStore: fmt::Debug + Send + Sync {
    /// The address of a key, for people.
    fn url(&self, key: &str) -> String;

    /// Writes a record whole or not at all, unless there is one of that name.
    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<Put, StateError>>;

    /// Names of the records directly in a folder, ascending; none if there is no such folder.
    fn list<'a>(&'a self, folder: &'a str, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Vec<String>, StateError>>;

    /// Names of the folders directly in a folder, ascending, at most `first` of them.
    fn folders<'a>(&'a self, folder: &'a str, first: usize) -> BoxFuture<'a, Result<Vec<String>, StateError>>;

    /// The bytes of a record; `None` if there is none. `TooLarge` above `bytes_max`, without having read more.
    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>>;
}
