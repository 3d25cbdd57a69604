//! Writing state to S3 and what speaks its protocol: `PutObject` with `If-None-Match: *`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use tokio::sync::OnceCell;

use super::Put;
use super::bucket::Writer;
use crate::model::ObjectKey;
use crate::run::Cancel;
use crate::store::{
    Again, BoxFuture, Fault, Gate, Limits, ListRequest, Retry, S3Store, Store, StoreError, StoreErrorKind, with_retries,
};

/// Most of a server's own words that a message repeats.
const WORDS_MAX: usize = 300;

/// Writes through the client of a store.
#[derive(Debug)]
pub(super) struct S3Writer {
    store: Arc<S3Store>,
    prefix: String,
    gate: Arc<Gate>,
    retry: Retry,
    cancel: Cancel,
    requests: AtomicU64,
    /// A first request was answered: the client knows the bucket's region.
    asked: OnceCell<()>,
    /// The server does not know conditional writes.
    unconditional: AtomicBool,
}

impl S3Writer {
    pub(super) fn new(store: Arc<S3Store>, prefix: &str, retry: Retry, limits: &Limits, cancel: Cancel) -> Self {
        let gate = limits.gate(&format!("state s3 {} {}", store.endpoint().unwrap_or_default(), store.bucket()));
        S3Writer {
            store,
            prefix: prefix.to_owned(),
            gate,
            retry,
            cancel,
            requests: AtomicU64::new(0),
            asked: OnceCell::new(),
            unconditional: AtomicBool::new(false),
        }
    }

    /// Finds the bucket's region and says early, and well, what is wrong with bucket or credentials. Who may only
    /// write is not told so by a listing that is denied.
    async fn ask_first(&self) -> Result<(), StoreError> {
        let ask = async {
            let request =
                ListRequest { prefix: self.prefix.clone().into_bytes(), keys_max: Some(1), ..ListRequest::default() };
            match self.store.list_page(request).await {
                Ok(_) => Ok(()),
                Err(error) if error.kind == StoreErrorKind::Denied => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.asked.get_or_try_init(|| ask).await.copied()
    }

    async fn put_once(&self, key: &str, bytes: Bytes) -> Result<Put, Fault> {
        let conditional = !self.unconditional.load(Ordering::Relaxed);
        let sent = self
            .store
            .sdk()
            .put_object()
            .bucket(self.store.bucket())
            .key(key)
            .set_if_none_match(conditional.then(|| "*".to_owned()))
            .content_type(if key.ends_with(".zst") { "application/zstd" } else { "application/json" })
            .body(ByteStream::from(bytes))
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Put::Written),
            Err(error) => error,
        };
        let (status, code) = said(&error);
        match (status, code) {
            (_, "PreconditionFailed") | (412, _) => Ok(Put::Exists),
            (_, "NotImplemented") | (501, _) if conditional => {
                // Names hold a random run id, so nothing is overwritten without the condition either.
                tracing::debug!(key, "the server does not know conditional writes");
                self.unconditional.store(true, Ordering::Relaxed);
                Err(Fault { error: self.refused(key, status, &error), again: Again::Passing(None) })
            }
            _ => Err(Fault { again: again(status, code, &error), error: self.refused(key, status, &error) }),
        }
    }

    fn refused(&self, key: &str, status: u16, error: &SdkError<PutObjectError, HttpResponse>) -> StoreError {
        let (_, code) = said(error);
        let bucket = self.store.bucket();
        let message = match error {
            SdkError::ServiceError(refused) => match (code, refused.err().message().unwrap_or_default()) {
                ("", "") => format!("status {status}"),
                (code, "") => words(code),
                (code, message) => format!("{}: {}", words(code), words(message)),
            },
            SdkError::ResponseError(_) => format!("status {status}"),
            error => words(&innermost(error)),
        };
        let fail =
            |kind| StoreError::new(kind, format!("cannot write s3://{bucket}/{}: {message}", ObjectKey::from(key)));
        let partition = match self.store.region() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        match (code, status) {
            ("NoSuchBucket", _) => fail(StoreErrorKind::NoSuchBucket).advise("make the bucket, or name another"),
            ("SlowDown", _) | (_, 429 | 503) => fail(StoreErrorKind::Throttled),
            (_, 301 | 307) => fail(StoreErrorKind::WrongRegion).advise("name the region of the bucket of the state"),
            (_, 401 | 403) if message.to_ascii_lowercase().contains("kms") => {
                fail(StoreErrorKind::KmsDenied).advise("grant kms:GenerateDataKey on the bucket's key")
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken", _) => {
                fail(StoreErrorKind::Unauthenticated)
            }
            (_, 401 | 403) => {
                let prefix = ObjectKey::from(self.prefix.as_str());
                fail(StoreErrorKind::Denied)
                    .advise(format!("grant s3:PutObject on arn:{partition}:s3:::{bucket}/{prefix}*"))
            }
            (_, 0 | 500..) => fail(StoreErrorKind::Network),
            _ => fail(StoreErrorKind::Protocol),
        }
    }
}

impl Writer for S3Writer {
    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<Put, StoreError>> {
        let bytes = Bytes::from(bytes);
        Box::pin(async move {
            self.ask_first().await?;
            let bytes = &bytes;
            with_retries(&self.retry, &self.gate, &self.cancel, &self.requests, || self.put_once(key, bytes.clone()))
                .await
        })
    }
}

/// Status and code of a refusal; 0 and nothing where there was no answer.
fn said(error: &SdkError<PutObjectError, HttpResponse>) -> (u16, &str) {
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let code = match error {
        SdkError::ServiceError(refused) => refused.err().code().unwrap_or_default(),
        _ => "",
    };
    (status, code)
}

fn again(status: u16, code: &str, error: &SdkError<PutObjectError, HttpResponse>) -> Again {
    match (code, status) {
        ("SlowDown", _) | (_, 429 | 503) => Again::Throttled(None),
        // Two writers of one name at the same moment: the next attempt sees who won.
        ("ConditionalRequestConflict" | "OperationAborted" | "RequestTimeout", _) | (_, 408 | 409) => {
            Again::Passing(None)
        }
        (_, 500 | 502 | 504) => Again::Passing(None),
        _ => match error {
            SdkError::DispatchFailure(failure) if failure.is_io() => Again::Unreachable,
            SdkError::DispatchFailure(failure) if failure.is_user() => Again::No,
            SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => Again::Passing(None),
            _ => Again::No,
        },
    }
}

/// A server's own words, short and safe to show.
fn words(text: &str) -> String {
    let end = text.char_indices().nth(WORDS_MAX).map_or(text.len(), |(at, _)| at);
    ObjectKey::from(&text[..end]).to_string()
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
