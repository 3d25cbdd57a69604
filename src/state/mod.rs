//! What walproof remembers between runs: outcomes, proofs of content, test restores, what archives consisted of.
//!
//! Records are immutable: written once under a name that sorts by time and holds a random run id, so that two runs at
//! once never clash; never changed, never removed. What is read back may be hostile like any archive: every read has
//! a bound, every defect is an error with the record's name.
#![allow(clippy::disallowed_methods)]

#[cfg(feature = "s3")]
mod bucket;
mod directory;
mod envelope;
mod error;
mod inside;
mod name;
mod run;
#[cfg(feature = "s3")]
mod s3;
mod store;

use std::sync::Arc;

use futures::StreamExt;
use jiff::ToSpan;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use directory::Directory;
#[doc(hidden)]
pub use envelope::fuzz_one;
pub use envelope::{Head, Kind, Record, SCHEMA_VERSION, encode};
pub use error::StateError;
pub use inside::refuse_inside;
pub use name::{ArchiveId, RecordName, RunId};
pub use run::{BACKUPS_MAX, BackupEntry, ListingCost, NewestWal, RunSummary, Window};
pub use store::{Put, StateStore, Wanted};

use crate::model::Timestamp;
use crate::run::Cancel;
use crate::store::{Address, Limits, StoreOptions};
#[cfg(feature = "s3")]
use crate::store::{Cloud, S3Store};

/// Archives that one state tells apart.
const FOLDERS_MAX: usize = 10_000;
/// Records read at the same time.
const READS_AT_ONCE: usize = 8;
/// Days before the moment asked for in which records are looked for first; further back only if these hold too few.
const LOOK_BACK_DAYS: [i64; 3] = [8, 64, 512];

/// Opens the state at an address: a directory, made when first written to, or a prefix of a bucket.
///
/// # Errors
/// `Config` for an address that cannot hold a state.
pub async fn open_state(
    address: &Address,
    options: &StoreOptions,
    limits: Arc<Limits>,
    cancel: Cancel,
) -> Result<State, StateError> {
    match address {
        Address::Directory(path) => {
            let _ = (options, limits, cancel);
            Ok(State::new(Arc::new(Directory::open(path)?)))
        }
        #[cfg(feature = "s3")]
        Address::Bucket { cloud: Cloud::S3, bucket, prefix } => {
            let opened = S3Store::open(bucket, options, limits.clone(), cancel.clone()).await;
            let opened = opened.map_err(|error| StateError::store("opening the state", error))?;
            let store = Arc::new(opened);
            let writer = s3::S3Writer::new(store.clone(), prefix, options.retry.clone(), &limits, cancel);
            Ok(State::new(Arc::new(bucket::Bucket::new(store, Box::new(writer), prefix))))
        }
        Address::Bucket { cloud, .. } => Err(StateError::Config(format!(
            "this build of walproof keeps no state in {}://; give a directory",
            cloud.scheme()
        ))),
    }
}

/// The records of all archives in one place.
#[derive(Debug, Clone)]
pub struct State {
    store: Arc<dyn StateStore>,
}

impl State {
    /// Records in this place.
    pub fn new(store: Arc<dyn StateStore>) -> Self {
        State { store }
    }

    /// Where that is.
    pub fn url(&self) -> String {
        self.store.url("")
    }

    /// Writes a record and says under which name. A run may write several of a kind; each gets a name of its own.
    ///
    /// # Errors
    /// `TooLarge` if the body has to be split over several records, otherwise those of the place.
    pub async fn write<T: Serialize>(&self, head: &Head, body: &T) -> Result<RecordName, StateError> {
        let mut name = RecordName {
            folder: head.archive.folder(),
            kind: head.kind,
            as_of: name::whole_ms(head.as_of),
            run_id: head.run_id,
            part: 0,
            compressed: head.kind.is_compressed(),
        };
        let bytes = encode(&name.key(), head, body)?;
        loop {
            let key = name.key();
            match self.store.put_if_absent(&key, bytes.clone()).await? {
                Put::Written => return Ok(name),
                // An answer may have been lost on the way: then the record there is this one.
                Put::Exists if self.store.get(&key, head.kind.stored_bytes_max()).await?.as_ref() == Some(&bytes) => {
                    return Ok(name);
                }
                Put::Exists => name.part += 1,
            }
            if name.part >= name::PARTS_MAX {
                let why = format!("one run writes at most {} records of a kind", name::PARTS_MAX);
                return Err(StateError::Config(why));
            }
        }
    }

    /// Folders of the archives that have records, ascending.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn folders(&self) -> Result<Vec<String>, StateError> {
        let mut folders = self.store.folders(name::ROOT, FOLDERS_MAX).await?;
        folders.retain(|folder| name::is_folder(folder));
        Ok(folders)
    }

    /// Names of the newest records of a kind as of a moment or before, newest first, at most `count`. Records of later
    /// moments are left out: what is judged as of a past moment must not depend on them.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn newest(
        &self,
        folder: &str,
        kind: Kind,
        until: Timestamp,
        count: usize,
    ) -> Result<Vec<RecordName>, StateError> {
        let prefix = name::prefix(folder, kind);
        let until = name::whole_ms(until);
        // Behind every name of that millisecond.
        let before = format!("{}.", name::stamp(until));
        let mut names = Vec::new();
        for days in LOOK_BACK_DAYS.into_iter().map(Some).chain([None]) {
            let from = match days.map(|days| until.checked_sub((days * 24).hours())) {
                Some(Ok(from)) => Some(name::stamp(from)),
                Some(Err(_)) => continue,
                None => None,
            };
            let wanted = Wanted { from: from.as_deref(), before: Some(&before), last: count };
            let files = self.store.list(&prefix, wanted).await?;
            names = files.iter().filter_map(|file| RecordName::parse(folder, kind, file)).collect();
            if names.len() >= count {
                break;
            }
        }
        names.reverse();
        Ok(names)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// `Newer`, `Damaged` or `TooLarge` for what is there, otherwise those of the place.
    pub async fn read(&self, name: &RecordName) -> Result<Record, StateError> {
        let key = name.key();
        let stored = self.store.get(&key, name.kind.stored_bytes_max()).await?;
        let stored = stored.ok_or_else(|| StateError::damaged(&key, "it vanished after it was listed"))?;
        let record = Record::decode(&key, name.kind, stored)?;
        let Head { run_id, archive, as_of, .. } = &record.head;
        // Copied or renamed by somebody: it would count for the wrong archive or moment.
        if archive.folder() != name.folder || *run_id != name.run_id || name::whole_ms(*as_of) != name.as_of {
            return Err(StateError::damaged(&key, "its name is not that of its content"));
        }
        Ok(record)
    }

    /// Reads records in the order of their names, some at a time. Damaged ones are errors in their place.
    ///
    /// # Errors
    /// The first that is not about one record only, such as a place that does not answer or a newer schema.
    pub async fn read_all(&self, names: Vec<RecordName>) -> Result<Vec<Result<Record, StateError>>, StateError> {
        let mut reads = futures::stream::iter(names.into_iter().map(|name| async move { self.read(&name).await }))
            .buffered(READS_AT_ONCE);
        let mut records = Vec::new();
        while let Some(record) = reads.next().await {
            match record {
                Err(error) if !error.is_about_one_record() => return Err(error),
                other => records.push(other),
            }
        }
        Ok(records)
    }

    /// The newest records of a kind, newest first, one after the other: for bodies of which only one at a time should
    /// be in memory. At most `count`.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn walk(
        &self,
        archive: &ArchiveId,
        kind: Kind,
        until: Timestamp,
        count: usize,
    ) -> Result<Walk<'_>, StateError> {
        let names = self.newest(&archive.folder(), kind, until, count).await?;
        Ok(Walk { state: self, names: names.into_iter() })
    }

    /// The last runs over an archive as of a moment, newest first, at most `count`. Damaged records are errors in
    /// their place.
    ///
    /// # Errors
    /// The first that is not about one record only.
    pub async fn last_runs(
        &self,
        archive: &ArchiveId,
        until: Timestamp,
        count: usize,
    ) -> Result<Vec<Result<(Head, RunSummary), StateError>>, StateError> {
        let names = self.newest(&archive.folder(), Kind::Run, until, count).await?;
        let records = self.read_all(names).await?;
        Ok(records
            .into_iter()
            .map(|record| record.and_then(|record| Ok((record.head.clone(), record.body()?))))
            .collect())
    }

    /// The last run over an archive as of a moment that can be read; damaged records are passed over.
    ///
    /// # Errors
    /// Those of the place, and `Newer`.
    pub async fn latest_run(
        &self,
        archive: &ArchiveId,
        until: Timestamp,
    ) -> Result<Option<(Head, RunSummary)>, StateError> {
        // A few, in case the newest are damaged.
        for run in self.last_runs(archive, until, READS_AT_ONCE).await? {
            match run {
                Ok(run) => return Ok(Some(run)),
                Err(error) if error.is_about_one_record() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Records one at a time, see [`State::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    state: &'a State,
    names: std::vec::IntoIter<RecordName>,
}

impl Walk<'_> {
    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// Those of [`State::read`]; after one that [`StateError::is_about_one_record`] the walk can go on.
    pub async fn next(&mut self) -> Result<Option<Record>, StateError> {
        match self.names.next() {
            Some(name) => self.state.read(&name).await.map(Some),
            None => Ok(None),
        }
    }

    /// The next record's head and body.
    ///
    /// # Errors
    /// Those of [`Walk::next`], and `Damaged` if the body is of another type.
    pub async fn next_body<T: DeserializeOwned>(&mut self) -> Result<Option<(Head, T)>, StateError> {
        match self.next().await? {
            Some(record) => Ok(Some((record.head.clone(), record.body()?))),
            None => Ok(None),
        }
    }

    /// Records still to come.
    pub fn left(&self) -> usize {
        self.names.len()
    }
}
