//! A directory as a store. Raw names, links never followed, everything listed that is a regular file.

mod read;
mod walk;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::resume::Resume;
use super::{BoxFuture, Limits, ListPage, ListRequest, ObjectRead, ReadOptions, Store, StoreError, StoreErrorKind};
use crate::model::ObjectKey;
use crate::run::Cancel;
use walk::{Shown, WalkError, Walker};

/// Keys in a page where the request does not say.
const PAGE_KEYS: u32 = 1000;
/// Largest page.
const PAGE_KEYS_MAX: u32 = 100_000;
/// Walks kept between two pages of a listing. A walk that was dropped starts again from its key.
const WALKS_MAX: usize = 8;

/// A directory as a store. Keys are relative to it.
#[derive(Debug)]
pub struct DiskStore {
    root: PathBuf,
    limits: Arc<Limits>,
    cancel: Cancel,
    requests: AtomicU64,
    walks: Arc<Mutex<Vec<Parked>>>,
}

/// A walk between two pages.
#[derive(Debug)]
struct Parked {
    prefix: Vec<u8>,
    delimiter: bool,
    token: String,
    walker: Walker,
}

impl DiskStore {
    /// Opens a directory. It may itself be reached through a link; links inside are not followed.
    ///
    /// # Errors
    /// `NoSuchBucket` if nothing is there, `Config` if it is no directory, `Denied` if it may not be read.
    pub async fn open(path: impl Into<PathBuf>, limits: Arc<Limits>, cancel: Cancel) -> Result<Self, StoreError> {
        let path = path.into();
        let root = blocking(move || {
            let root = std::path::absolute(&path).map_err(|error| fault(&path, error))?;
            match std::fs::metadata(&root) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    let message = format!("{} is a file, not a directory", shown(&path));
                    return Err(StoreError::new(StoreErrorKind::Config, message)
                        .advise("name the directory that holds the archive"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let message = format!("the directory {} does not exist", shown(&path));
                    return Err(StoreError::new(StoreErrorKind::NoSuchBucket, message).advise(
                        "a bucket is written s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
                    ));
                }
                Err(error) => return Err(fault(&path, error)),
            }
            std::fs::read_dir(&root).map_err(|error| fault(&path, error))?;
            Ok(root)
        })
        .await?;
        Ok(DiskStore { root, limits, cancel, requests: AtomicU64::new(0), walks: Arc::default() })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Goes on with a parked walk, or starts one.
    fn walker(&self, request: &ListRequest) -> Result<Walker, StoreError> {
        let resume = match (&request.token, &request.start_after) {
            (Some(token), _) => {
                let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
                let same = |parked: &Parked| {
                    parked.token == *token && parked.prefix == request.prefix && parked.delimiter == request.delimiter
                };
                if let Some(at) = walks.iter().position(same) {
                    return Ok(walks.remove(at).walker);
                }
                Resume::from_token(token).ok_or_else(|| {
                    StoreError::new(StoreErrorKind::Protocol, format!("{token:?} is no page token of a directory"))
                })?
            }
            (None, Some(key)) => Resume::Key(key.clone()),
            (None, None) => Resume::Start,
        };
        Ok(Walker::new(self.root.clone(), request.prefix.clone(), request.delimiter, resume))
    }
}

/// Reads one page; the walk is given back if there is more.
fn page(
    mut walker: Walker,
    keys_max: u32,
    cancel: &Cancel,
) -> Result<(ListPage, Option<(Resume, Walker)>), StoreError> {
    let mut page = ListPage::default();
    let mut last = Resume::Start;
    for number in 0..keys_max {
        if number % 256 == 0 && cancel.is_set() {
            return Err(StoreError::new(StoreErrorKind::Cancelled, "stopped on request"));
        }
        match walker.next().map_err(walk_fault)? {
            Some(Shown::Row(row)) => {
                if number + 1 == keys_max {
                    last = Resume::Key(row.key.as_bytes().to_vec());
                }
                page.rows.push(row);
            }
            Some(Shown::Prefix(prefix)) => {
                if number + 1 == keys_max {
                    last = Resume::Folded(prefix.as_bytes().to_vec());
                }
                page.prefixes.push(prefix);
            }
            None => return Ok((page, None)),
        }
    }
    if !walker.has_next().map_err(walk_fault)? {
        return Ok((page, None));
    }
    page.next = Some(last.to_token());
    Ok((page, Some((last, walker))))
}

impl Store for DiskStore {
    fn provider(&self) -> &'static str {
        "file"
    }

    fn url(&self, key: &[u8]) -> String {
        let slash = if self.root.as_os_str().as_bytes().ends_with(b"/") { "" } else { "/" };
        format!("file://{}{slash}{}", shown(&self.root), ObjectKey::new(key))
    }

    fn list_page(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        Box::pin(async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let walker = self.walker(&request)?;
            let keys_max = request.keys_max.unwrap_or(PAGE_KEYS).clamp(1, PAGE_KEYS_MAX);
            let cancel = self.cancel.clone();
            let (page, rest) = blocking(move || page(walker, keys_max, &cancel)).await?;
            if let Some((last, walker)) = rest {
                let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
                if walks.len() >= WALKS_MAX {
                    walks.remove(0);
                }
                let ListRequest { prefix, delimiter, .. } = request;
                walks.push(Parked { prefix, delimiter, token: last.to_token(), walker });
            }
            Ok(page)
        })
    }

    fn read<'a>(&'a self, key: &'a ObjectKey, options: ReadOptions) -> BoxFuture<'a, Result<ObjectRead, StoreError>> {
        Box::pin(async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            read::open(&self.root, key.clone(), options, Arc::clone(&self.limits), self.cancel.clone()).await
        })
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Every lister would read the same directories again.
    fn listers_max(&self) -> usize {
        1
    }
}

/// Runs blocking work where it blocks nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(StoreError::new(StoreErrorKind::Protocol, "a worker that reads the disk failed").because(error))
    })
}

/// A path for people; what is not plain text is percent-encoded.
fn shown(path: &Path) -> String {
    ObjectKey::new(path.as_os_str().as_bytes()).to_string()
}

fn walk_fault(fault_at: WalkError) -> StoreError {
    fault(&fault_at.path, fault_at.error)
}

fn fault(path: &Path, error: io::Error) -> StoreError {
    let path = shown(path);
    let (kind, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            (StoreErrorKind::Denied, Some("let this user read its files and search its directories"))
        }
        io::ErrorKind::NotFound => (StoreErrorKind::NotFound, None),
        _ => (StoreErrorKind::Network, None),
    };
    let fault = StoreError::new(kind, format!("cannot read {path}: {error}")).because(error);
    match advice {
        Some(advice) => fault.advise(advice),
        None => fault,
    }
}
