//! Finding the objects of one file of WAL with few requests.

use super::FetchError;
use crate::fetch::{Problem, Source};
use crate::layout::walg::keys::{Key, parse};
use crate::model::{CodecKind, ObjectKey, WalFileName};
use crate::store::{ListRequest, ReadOptions, StoreError, StoreErrorKind};

/// Pages of a listing that are looked at: keys that begin with a segment's name are few.
const PAGES_MAX: usize = 20;

/// An object that holds a file of WAL, if it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub storage: u8,
    pub key: ObjectKey,
    pub codec: CodecKind,
}

impl Candidate {
    pub fn new(storage: u8, name: &WalFileName, codec: CodecKind) -> Self {
        let key = match codec.extension() {
            "" => format!("wal_005/{name}"),
            extension => format!("wal_005/{name}.{extension}"),
        };
        Candidate { storage, key: key.into(), codec }
    }
}

/// Every object that may hold a file, and the error of a storage that could not say. In a bucket one listing tells all
/// codecs at once; in a directory, asking for each costs less than reading a large directory.
pub(super) async fn candidates(
    source: &Source,
    name: &WalFileName,
) -> Result<(Vec<Candidate>, Option<FetchError>), FetchError> {
    let mut found = Vec::new();
    let mut failed = None;
    for (number, storage) in source.storages.iter().enumerate() {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        if storage.store.provider() == "file" {
            let codecs = CodecKind::ALL.iter().map(|(codec, _)| *codec).chain([CodecKind::None]);
            found.extend(codecs.map(|codec| Candidate::new(number, name, codec)));
            continue;
        }
        let Some((_, prefix)) = source.full_key(number, &format!("wal_005/{name}").into()) else { continue };
        let mut request = ListRequest { prefix: prefix.as_bytes().to_vec(), ..ListRequest::default() };
        let root = prefix.as_bytes().len() - format!("wal_005/{name}").len();
        for _ in 0..PAGES_MAX {
            let page = match storage.store.list_page(request.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    failed = Some(store_failed("looking for", &storage.store.url(prefix.as_bytes()), &error)?);
                    break;
                }
            };
            for row in page.rows {
                let relative = row.key.as_bytes().get(root..).unwrap_or_default();
                if let Key::Wal(file, codec) = parse(relative)
                    && file == *name
                {
                    found.push(Candidate { storage: number, key: ObjectKey::new(relative), codec });
                }
            }
            match page.next {
                Some(token) => request.token = Some(token),
                None => break,
            }
        }
    }
    Ok((found, failed))
}

/// Whether an object is there, by asking for none of its bytes.
pub(super) async fn exists(source: &Source, candidate: &Candidate) -> Result<bool, FetchError> {
    let nothing = ReadOptions { range: Some(0..1), ..ReadOptions::default() };
    match source.get(candidate.storage, &candidate.key, nothing, &crate::run::Cancel::default()).await {
        Ok(_) | Err(Problem::Refused(_)) => Ok(true),
        Err(Problem::Gone) => Ok(false),
        Err(problem) => Err(super::sorted(&candidate.key.to_string(), problem)),
    }
}

/// A wrong address looks like an archive that has ended: so "no such file" is only said of an archive that is there.
pub(super) async fn archive_is_there(source: &Source) -> Result<(), FetchError> {
    let mut places = Vec::new();
    for (number, storage) in source.storages.iter().enumerate() {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        for folder in ["wal_005/", "basebackups_005/"] {
            let Some((_, prefix)) = source.full_key(number, &folder.into()) else { continue };
            let request =
                ListRequest { prefix: prefix.as_bytes().to_vec(), keys_max: Some(1), ..ListRequest::default() };
            let url = storage.store.url(prefix.as_bytes());
            match storage.store.list_page(request).await {
                Ok(page) if !page.rows.is_empty() => return Ok(()),
                Ok(_) => places.push(url),
                Err(error) => return Err(store_failed("listing", &url, &error)?),
            }
        }
    }
    Err(FetchError::Failed(format!("there is no archive: nothing in {}", places.join(", "))))
}

fn store_failed(verb: &str, url: &str, error: &StoreError) -> Result<FetchError, FetchError> {
    match error.kind {
        StoreErrorKind::Cancelled => Err(FetchError::Stopped),
        _ => Ok(FetchError::Failed(format!("{verb} {url}: {error}"))),
    }
}
