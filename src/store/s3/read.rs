//! Reading objects of S3. A stream that breaks goes on where it broke, on the same version of the object.

use std::ops::Range;
use std::sync::Arc;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumType, RequestPayer};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::StreamExt;

use super::door::Door;
use super::fault::{Asked, Refusal};
use super::list::read_fault;
use super::{Bucket, MOVES_MAX, text};
use crate::model::ObjectKey;
use crate::store::http::{innermost, retry_after_of};
use crate::store::retry::{or_cancelled, with_retries};
use crate::store::{Again, Fault, ObjectRead, ReadOptions, StoreError, StoreErrorKind};

/// How often one stream may break and go on.
const RESUMES_MAX: u32 = 5;

/// The head of an answer to GET.
struct Opened {
    body: ByteStream,
    /// Bytes the body holds, where the server says.
    length: Option<u64>,
    /// Bytes before the ones asked for: the server does not know ranges.
    skip: u64,
    size: Option<u64>,
    etag: Option<String>,
    version: Option<String>,
    checksums: Vec<(String, String)>,
}

pub(super) async fn open(bucket: Arc<Bucket>, key: ObjectKey, options: ReadOptions) -> Result<ObjectRead, StoreError> {
    text(key.as_bytes(), "key")?;
    if options.range.as_ref().is_some_and(Range::is_empty) {
        return Ok(ObjectRead { size: None, stream: futures::stream::empty().boxed(), checksums: Vec::new() });
    }
    let Some(opened) = bucket.get(&key, options.range.clone(), options.version.as_deref(), None).await? else {
        // The range begins behind the end of the object.
        return Ok(ObjectRead { size: None, stream: futures::stream::empty().boxed(), checksums: Vec::new() });
    };
    let start = options.range.as_ref().map_or(0, |range| range.start);
    let wanted = options.range.as_ref().map(|range| range.end - range.start);
    let (size, mut checksums) = (opened.size, opened.checksums.clone());
    if options.parts && options.range.is_none() && checksums.iter().any(|(name, value)| is_of_parts(name, value)) {
        let version = opened.version.as_deref().or(options.version.as_deref());
        checksums
            .extend(bucket.part_bytes(&key, version).await.map(|bytes| ("part-bytes".to_owned(), bytes.to_string())));
    }
    let length = opened.length.map(|length| length.saturating_sub(opened.skip));
    let end = match (length, wanted) {
        (Some(length), wanted) => Some(start.saturating_add(length.min(wanted.unwrap_or(u64::MAX)))),
        (None, wanted) => size.map(|size| size.min(start.saturating_add(wanted.unwrap_or(u64::MAX)))),
    };
    let state = Reading {
        bucket,
        key,
        version: opened.version.clone().or(options.version),
        etag: opened.etag,
        body: opened.body,
        skip: opened.skip,
        at: start,
        end,
        resumes: 0,
    };
    Ok(ObjectRead { size, stream: futures::stream::try_unfold(state, Reading::next).boxed(), checksums })
}

struct Reading {
    bucket: Arc<Bucket>,
    key: ObjectKey,
    version: Option<String>,
    etag: Option<String>,
    body: ByteStream,
    skip: u64,
    at: u64,
    /// Where the bytes asked for end; `None` if the server gave no length.
    end: Option<u64>,
    resumes: u32,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            if self.end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let why = match self.chunk().await? {
                Ok(Some(mut chunk)) => {
                    let skipped = self.skip.min(chunk.len() as u64);
                    self.skip -= skipped;
                    chunk = chunk.slice(skipped as usize..);
                    let left = self.end.map_or(u64::MAX, |end| end - self.at);
                    chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    if chunk.is_empty() {
                        continue;
                    }
                    self.at += chunk.len() as u64;
                    self.bucket.limits.pace(chunk.len(), &self.bucket.cancel).await?;
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if self.end.is_none() => return Ok(None),
                Ok(None) => "the stream ended early".to_owned(),
                Err(why) => why,
            };
            self.resume(why).await?;
        }
    }

    /// The next piece of the body. While it is waited for, the read counts as a request in flight; while the caller
    /// is busy with the last piece, it does not, so that a caller may ask for something else in between.
    async fn chunk(&mut self) -> Result<Result<Option<Bytes>, String>, StoreError> {
        let _permit = self.bucket.gate.enter(&self.bucket.cancel).await?;
        let silence_max = self.bucket.retry.silence_max;
        let next = tokio::time::timeout(silence_max, self.body.try_next());
        Ok(match or_cancelled(&self.bucket.cancel, next).await? {
            Err(_) => Err(format!("no bytes came for {} s", silence_max.as_secs())),
            Ok(Err(error)) => Err(innermost(&error)),
            Ok(Ok(chunk)) => Ok(chunk),
        })
    }

    /// Asks for the rest, on condition that it is still the same object.
    async fn resume(&mut self, why: String) -> Result<(), StoreError> {
        let cut = |reason: &str| {
            let key = ObjectKey::new([self.bucket.name.as_bytes(), b"/", self.key.as_bytes()].concat());
            StoreError::new(StoreErrorKind::Cut, format!("s3://{key} was cut at byte {}: {reason}", self.at))
        };
        let Some(end) = self.end else { return Err(cut(&why)) };
        if (self.etag.is_none() && self.version.is_none()) || self.resumes >= RESUMES_MAX {
            return Err(cut(&why));
        }
        self.resumes += 1;
        tracing::debug!(key = %self.key, at = self.at, why, "going on with a broken stream");
        let rest =
            self.bucket.get(&self.key, Some(self.at..end), self.version.as_deref(), self.etag.as_deref()).await?;
        let Some(rest) = rest else { return Err(cut("it became shorter while it was read")) };
        // Not every server looks at If-Match.
        if rest.etag != self.etag {
            return Err(cut("it changed while it was read"));
        }
        self.body = rest.body;
        self.skip = rest.skip;
        Ok(())
    }
}

/// Whether a checksum, or an ETag, is made of those of parts.
fn is_of_parts(name: &str, value: &str) -> bool {
    name.ends_with("-composite") || (name == "etag" && value.contains('-'))
}

impl Bucket {
    /// Bytes of the first of the parts that an object was uploaded in. `None` where the server does not say: then its
    /// checksum cannot be compared, and nothing else depends on it.
    async fn part_bytes(&self, key: &ObjectKey, version: Option<&str>) -> Option<u64> {
        let asked = with_retries(&self.retry, &self.gate, &self.cancel, &self.requests, || async move {
            let head = self.door().sdk.head_object().bucket(&self.name).key(text(key.as_bytes(), "key")?);
            let head = head
                .part_number(1)
                .set_version_id(version.map(str::to_owned))
                .set_request_payer(self.requester_pays.then_some(RequestPayer::Requester));
            match head.send().await {
                // A server that does not know parts answers for the whole.
                Ok(output) => Ok(output.parts_count().and(output.content_length())),
                Err(SdkError::ServiceError(_) | SdkError::ResponseError(_)) => Ok(None),
                Err(error) => Err(Fault {
                    error: StoreError::new(
                        StoreErrorKind::Network,
                        format!("s3://{}/: {}", self.name, innermost(&error)),
                    ),
                    again: Again::Passing(None),
                }),
            }
        });
        asked.await.ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0)
    }

    /// Sends GET and waits for the head of the answer. `None`: the range begins behind the end.
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
        version: Option<&str>,
        if_match: Option<&str>,
    ) -> Result<Option<Opened>, StoreError> {
        let range = &range;
        with_retries(&self.retry, &self.gate, &self.cancel, &self.requests, || async move {
            for _ in 0..MOVES_MAX {
                let door = self.door();
                let refusal = match self.get_once(&door, key, range.clone(), version, if_match).await? {
                    Ok(opened) => return Ok(Some(opened)),
                    Err(refusal) if refusal.status == 416 => return Ok(None),
                    Err(refusal) => refusal,
                };
                if !self.follow(&refusal, &door)? {
                    let asked = Asked::Get { key, version: version.is_some() };
                    return Err(refusal.judge(asked, self.place(&door)));
                }
            }
            Err(StoreError::new(
                StoreErrorKind::WrongRegion,
                format!("s3://{}/ is sent from region to region", self.name),
            )
            .advise("name the bucket's region")
            .into())
        })
        .await
    }

    async fn get_once(
        &self,
        door: &Door,
        key: &ObjectKey,
        range: Option<Range<u64>>,
        version: Option<&str>,
        if_match: Option<&str>,
    ) -> Result<Result<Opened, Refusal>, Fault> {
        // Asked for here as well, because the SDK's own error hides why there are none.
        if let Some(keys) = &self.chain.keys {
            keys.get().await?;
        }
        let asked = range.clone();
        let sent = door
            .sdk
            .get_object()
            .bucket(&self.name)
            .key(text(key.as_bytes(), "key")?)
            .set_version_id(version.map(str::to_owned))
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .set_if_match(if_match.map(|etag| format!("\"{etag}\"")))
            .set_request_payer(self.requester_pays.then_some(RequestPayer::Requester))
            .customize()
            .mutate_request(|request| {
                request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
            })
            .send()
            .await;
        match sent {
            Ok(output) => opened(output, asked, key).map(Ok),
            Err(SdkError::ServiceError(refused)) => Ok(Err(refusal(refused.err(), refused.raw()))),
            Err(SdkError::ResponseError(answer)) => {
                let body = answer.raw().body().bytes().unwrap_or_default();
                let status = answer.raw().status().as_u16();
                Ok(Err(Refusal { fault: read_fault(body), ..head(status, answer.raw()) }))
            }
            Err(error) => Err(not_answered(&self.name, error)),
        }
    }
}

fn refusal(error: &GetObjectError, raw: &HttpResponse) -> Refusal {
    let mut refusal = head(raw.status().as_u16(), raw);
    refusal.fault.code = error.code().unwrap_or_default().to_owned();
    refusal.fault.message = error.message().unwrap_or_default().to_owned();
    // The region stands in the body only, for errors of the signature.
    refusal.fault.region = raw.body().bytes().and_then(|body| read_fault(body).region);
    refusal
}

fn head(status: u16, raw: &HttpResponse) -> Refusal {
    let region = raw.headers().get("x-amz-bucket-region").map(str::to_owned);
    Refusal { status, region, retry_after: retry_after_of(raw.headers().get("retry-after")), ..Refusal::default() }
}

fn not_answered(bucket: &str, error: SdkError<GetObjectError, HttpResponse>) -> Fault {
    let (again, what) = match &error {
        SdkError::TimeoutError(_) => (Again::Passing(None), "no answer in time"),
        SdkError::DispatchFailure(failure) if failure.is_io() => (Again::Unreachable, "cannot reach the server"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => (Again::Passing(None), "no answer in time"),
        SdkError::DispatchFailure(failure) if failure.is_user() => (Again::No, "the request cannot be sent"),
        SdkError::DispatchFailure(_) => (Again::Passing(None), "the request failed on its way"),
        _ => (Again::No, "the request cannot be sent"),
    };
    let kind = if again == Again::No { StoreErrorKind::Config } else { StoreErrorKind::Network };
    let message = format!("s3://{bucket}/: {what}: {}", innermost(&error));
    Fault { error: StoreError::new(kind, message).because(error), again }
}

fn opened(output: GetObjectOutput, asked: Option<Range<u64>>, key: &ObjectKey) -> Result<Opened, Fault> {
    let length = output.content_length().and_then(|length| u64::try_from(length).ok());
    let (first, size) = match output.content_range().map(content_range) {
        Some(Some((first, size))) => (Some(first), size),
        Some(None) => {
            let message = format!("{key}: the answer says it is {:?}", output.content_range().unwrap_or_default());
            return Err(StoreError::new(StoreErrorKind::Protocol, message).into());
        }
        None => (None, length),
    };
    let start = asked.map_or(0, |range| range.start);
    let skip = match first {
        Some(first) if first == start => 0,
        Some(first) => {
            let message = format!("{key}: asked from byte {start}, the answer begins at byte {first}");
            return Err(StoreError::new(StoreErrorKind::Protocol, message).into());
        }
        None => start,
    };
    let etag = output.e_tag().map(|etag| etag.trim_matches('"').to_owned());
    let version = output.version_id().map(str::to_owned);
    Ok(Opened { length, skip, size, checksums: checksums(&output, &etag, &version), etag, version, body: output.body })
}

/// `bytes 0-99/200`: first byte, and the size of the whole if it is told.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let first = range.split_once('-')?.0.trim().parse().ok()?;
    Some((first, size.trim().parse().ok()))
}

fn checksums(output: &GetObjectOutput, etag: &Option<String>, version: &Option<String>) -> Vec<(String, String)> {
    // A checksum of the parts' checksums says nothing on the bytes without knowing the parts' size.
    let composite = |value: &str| output.checksum_type() == Some(&ChecksumType::Composite) || value.contains('-');
    let sums = [
        ("crc32", output.checksum_crc32()),
        ("crc32c", output.checksum_crc32_c()),
        ("crc64nvme", output.checksum_crc64_nvme()),
        ("sha1", output.checksum_sha1()),
        ("sha256", output.checksum_sha256()),
    ];
    let sums = sums.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let sums = sums.map(|(name, value)| {
        let suffix = if composite(value) { "-composite" } else { "" };
        (format!("{name}{suffix}"), value.to_owned())
    });
    let named = |name: &str, value: &Option<String>| value.clone().map(|value| (name.to_owned(), value));
    // Decides whether an ETag can be an MD5.
    let customer = output.sse_customer_algorithm().map(|_| "customer".to_owned());
    let encryption = output.server_side_encryption().map(|kind| kind.as_str().to_owned()).or(customer);
    named("etag", etag)
        .into_iter()
        .chain(named("version", version))
        .chain(named("encryption", &encryption))
        .chain(sums)
        .collect()
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
