//! Reading objects with plain GET, for the stores whose requests are our own. A stream that breaks goes on where it
//! broke, on the same version of the object.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use reqwest::header::HeaderMap;

use super::http;
use super::retry::{or_cancelled, with_retries};
use super::{BoxFuture, Fault, Gate, Limits, ObjectRead, ReadOptions, Retry, StoreError, StoreErrorKind};
use crate::model::ObjectKey;
use crate::run::Cancel;

/// How often one stream may break and go on.
const RESUMES_MAX: u32 = 5;

/// What all requests to one bucket share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) http: reqwest::Client,
    pub(super) retry: Retry,
    limits: Arc<Limits>,
    gate: Arc<Gate>,
    cancel: Cancel,
    requests: AtomicU64,
}

impl Line {
    /// A line to a bucket; `gate` is its name among the buckets of the process.
    pub(super) fn new(
        endpoint: &str,
        gate: &str,
        ca: Option<&std::path::Path>,
        retry: &Retry,
        limits: Arc<Limits>,
        cancel: Cancel,
    ) -> Result<Self, StoreError> {
        let http = http::client(&limits, Some(endpoint), ca)?;
        let gate = limits.gate(gate);
        Ok(Line { http, retry: retry.clone(), limits, gate, cancel, requests: AtomicU64::new(0) })
    }

    /// Sends until it goes well, as [`with_retries`].
    pub(super) async fn attempts<T, A>(&self, attempt: impl FnMut() -> A) -> Result<T, StoreError>
    where
        A: Future<Output = Result<T, Fault>>,
    {
        with_retries(&self.retry, &self.gate, &self.cancel, &self.requests, attempt).await
    }

    /// Requests sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The head of an answer to GET.
#[derive(Debug)]
pub(super) struct Opened {
    response: reqwest::Response,
    /// Bytes the body holds, where the server says.
    length: Option<u64>,
    /// Bytes before the ones asked for: the server does not know ranges.
    skip: u64,
    size: Option<u64>,
    pub(super) pin: Pin,
    pub(super) checksums: Vec<(String, String)>,
}

/// What holds a read to one version of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pin {
    /// Asked for by name.
    pub(super) version: Option<String>,
    /// Asked for as a condition, where there are no names, and compared.
    pub(super) etag: Option<String>,
}

/// A bucket that answers GET.
pub(super) trait Media: Send + Sync + 'static {
    fn line(&self) -> &Line;

    fn url(&self, key: &[u8]) -> String;

    /// Sends GET and waits for the head of the answer, as often as needed. `None`: the range begins behind the end.
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        range: Option<Range<u64>>,
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<Option<Opened>, StoreError>>;
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Opened {
    /// Reads the head of an answer of status 200 or 206.
    pub(super) fn new(response: reqwest::Response, asked: Option<Range<u64>>, key: &ObjectKey) -> Result<Self, Fault> {
        let length = header(response.headers(), "content-length").and_then(|length| length.trim().parse().ok());
        let range = header(response.headers(), "content-range").filter(|_| response.status().as_u16() == 206);
        let wrong = |message: String| Fault::from(StoreError::new(StoreErrorKind::Protocol, message));
        let (first, size) = match range.map(content_range) {
            Some(Some((first, size))) => (Some(first), size),
            Some(None) => {
                let range = http::words(range.unwrap_or_default());
                return Err(wrong(format!("{key}: the answer says it is {range:?}")));
            }
            None => (None, length),
        };
        let start = asked.map_or(0, |range| range.start);
        let skip = match first {
            Some(first) if first == start => 0,
            Some(first) => {
                return Err(wrong(format!("{key}: asked from byte {start}, the answer begins at byte {first}")));
            }
            None => start,
        };
        Ok(Opened { response, length, skip, size, pin: Pin::default(), checksums: Vec::new() })
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
}

/// `bytes 0-99/200`: first byte, and the size of the whole if it is told.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let first = range.split_once('-')?.0.trim().parse().ok()?;
    Some((first, size.trim().parse().ok()))
}

/// Opens an object for reading.
pub(super) async fn open<M: Media>(
    media: Arc<M>,
    key: ObjectKey,
    options: ReadOptions,
) -> Result<ObjectRead, StoreError> {
    let nothing = || ObjectRead { size: None, stream: futures::stream::empty().boxed(), checksums: Vec::new() };
    if options.range.as_ref().is_some_and(Range::is_empty) {
        return Ok(nothing());
    }
    let pin = Pin { version: options.version, etag: None };
    let Some(opened) = media.get(&key, options.range.clone(), &pin).await? else { return Ok(nothing()) };
    let start = options.range.as_ref().map_or(0, |range| range.start);
    let wanted = options.range.as_ref().map_or(u64::MAX, |range| range.end - range.start);
    let length = opened.length.map(|length| length.saturating_sub(opened.skip));
    let end = match length {
        Some(length) => Some(start.saturating_add(length.min(wanted))),
        None => opened.size.map(|size| size.min(start.saturating_add(wanted))),
    };
    let (size, checksums) = (opened.size, opened.checksums);
    let pin = Pin { version: opened.pin.version.or(pin.version), etag: opened.pin.etag };
    let state =
        Reading { media, key, pin, body: opened.response, skip: opened.skip, at: start, end, wanted, resumes: 0 };
    Ok(ObjectRead { size, stream: futures::stream::try_unfold(state, Reading::next).boxed(), checksums })
}

struct Reading<M> {
    media: Arc<M>,
    key: ObjectKey,
    pin: Pin,
    body: reqwest::Response,
    skip: u64,
    at: u64,
    /// Where the bytes asked for end; `None` if the server gave no length.
    end: Option<u64>,
    /// Bytes still wanted.
    wanted: u64,
    resumes: u32,
}

impl<M: Media> Reading<M> {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            if self.wanted == 0 || self.end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let why = match self.chunk().await? {
                Ok(Some(mut chunk)) => {
                    let skipped = self.skip.min(chunk.len() as u64);
                    self.skip -= skipped;
                    chunk = chunk.slice(skipped as usize..);
                    let left = self.end.map_or(self.wanted, |end| self.wanted.min(end - self.at));
                    chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    if chunk.is_empty() {
                        continue;
                    }
                    self.at += chunk.len() as u64;
                    self.wanted -= chunk.len() as u64;
                    let line = self.media.line();
                    line.limits.pace(chunk.len(), &line.cancel).await?;
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if self.end.is_none() => return Ok(None),
                Ok(None) => "the stream ended early".to_owned(),
                Err(why) => why,
            };
            self.resume(&why).await?;
        }
    }

    /// The next piece of the body. While it is waited for, the read counts as a request in flight; while the caller
    /// is busy with the last piece, it does not, so that a caller may ask for something else in between.
    async fn chunk(&mut self) -> Result<Result<Option<Bytes>, String>, StoreError> {
        let line = self.media.line();
        let _permit = line.gate.enter(&line.cancel).await?;
        let next = http::chunk(&mut self.body, line.retry.silence_max);
        Ok(or_cancelled(&line.cancel, next).await?.map_err(|fault| fault.error.message))
    }

    /// Asks for the rest, on condition that it is still the same object.
    async fn resume(&mut self, why: &str) -> Result<(), StoreError> {
        let cut = |reason: &str| {
            let url = self.media.url(self.key.as_bytes());
            StoreError::new(StoreErrorKind::Cut, format!("{url} was cut at byte {}: {reason}", self.at))
        };
        let Some(end) = self.end else { return Err(cut(why)) };
        if self.pin == Pin::default() || self.resumes >= RESUMES_MAX {
            return Err(cut(why));
        }
        self.resumes += 1;
        tracing::debug!(key = %self.key, at = self.at, why, "going on with a broken stream");
        let rest = match self.media.get(&self.key, Some(self.at..end), &self.pin).await {
            // The version that was being read has gone.
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(cut("it was replaced or deleted while it was read"));
            }
            rest => rest?,
        };
        let Some(rest) = rest else { return Err(cut("it became shorter while it was read")) };
        let same = |was: &Option<String>, is: &Option<String>| was.is_none() || was == is;
        // Not every server looks at conditions.
        if !same(&self.pin.version, &rest.pin.version) || !same(&self.pin.etag, &rest.pin.etag) {
            return Err(cut("it changed while it was read"));
        }
        self.body = rest.response;
        self.skip = rest.skip;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/20"), Some((5, Some(20))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for bad in ["", "bytes", "bytes */20", "bytes 5-9", "items 5-9/20"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
