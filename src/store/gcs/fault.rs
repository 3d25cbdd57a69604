//! What the refusals of Google Cloud Storage mean, and what to do about them.

use std::time::Duration;

use serde_json::Value;

use crate::model::ObjectKey;
use crate::store::http::words;
use crate::store::{Again, Fault, StoreError, StoreErrorKind};

/// An answer that is not the one asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Google's short name for the reason, if the answer has one.
    reason: String,
    message: String,
    pub(super) retry_after: Option<Duration>,
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    List,
    Get(&'a ObjectKey),
}

/// Of whom it was asked, and as whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) bucket: &'a str,
    /// A server of one's own.
    pub(super) endpoint: Option<&'a str>,
    pub(super) anonymous: bool,
}

impl Refusal {
    /// Reads the body of an error: JSON for the API, plain text or XML for the bytes of objects.
    pub(super) fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let mut refusal = Refusal { status, retry_after, ..Refusal::default() };
        if let Ok(answer) = serde_json::from_slice::<Value>(body) {
            let error = &answer["error"];
            let first = &error["errors"][0];
            let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
            refusal.reason = text(&first["reason"]).or(text(&error["status"])).unwrap_or_default();
            refusal.message = text(&error["message"])
                .or(text(&first["message"]))
                .or(text(&answer["error_description"]))
                .or(text(error))
                .unwrap_or_default();
        } else {
            let text = String::from_utf8_lossy(body);
            let tag = |name: &str| {
                let inner = text.split_once(&format!("<{name}>"))?.1;
                inner.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned())
            };
            refusal.reason = tag("Code").unwrap_or_default();
            refusal.message = tag("Message").unwrap_or_else(|| {
                if text.trim_start().starts_with('<') { tag("title").unwrap_or_default() } else { text.to_string() }
            });
        }
        refusal
    }

    /// The server's own words, for messages.
    pub(super) fn said(&self) -> String {
        let parts = [words(&self.reason), words(&self.message)];
        let said: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        if said.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}, {}", self.status, said.join(": "))
        }
    }

    /// Whether to try again.
    pub(super) fn again(&self) -> Again {
        let limited = matches!(
            self.reason.as_str(),
            "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded" | "SlowDown" | "slowDown"
        );
        match self.status {
            429 | 503 => Again::Throttled(self.retry_after),
            403 if limited => Again::Throttled(self.retry_after),
            408 | 500 | 502 | 504 => Again::Passing(self.retry_after),
            _ => Again::No,
        }
    }

    /// Turns the refusal into an error with advice, and says whether to try again.
    pub(super) fn judge(&self, asked: Asked<'_>, place: Place<'_>) -> Fault {
        let again = self.again();
        Fault { error: self.error(asked, place, again), again }
    }

    fn error(&self, asked: Asked<'_>, place: Place<'_>, again: Again) -> StoreError {
        use StoreErrorKind as Kind;
        let bucket = place.bucket;
        let what = match asked {
            Asked::List => format!("cannot list gs://{bucket}/"),
            Asked::Get(key) => format!("cannot read gs://{bucket}/{key}"),
        };
        let said = self.said();
        let fail = |kind, why: &str| StoreError::new(kind, format!("{what}: {why}"));
        let message = self.message.to_ascii_lowercase();
        let no_bucket = self.reason == "NoSuchBucket" || message.contains("bucket does not exist");
        match self.status {
            _ if matches!(again, Again::Throttled(_)) => {
                fail(Kind::Throttled, &format!("the store asks to slow down ({said})"))
                    .advise("lower --connections, or run again at a quieter time")
            }
            _ if again != Again::No => fail(Kind::Network, &said),
            404 if no_bucket || matches!(asked, Asked::List) => {
                fail(Kind::NoSuchBucket, "the bucket does not exist").advise(match place.endpoint {
                    Some(endpoint) => format!("check the name; the server asked is {endpoint}"),
                    None => "check the name".to_owned(),
                })
            }
            404 | 410 => fail(Kind::NotFound, "there is no such object"),
            412 => fail(Kind::Cut, "it changed while it was read"),
            400 | 403 if message.contains("requester pays") || self.reason.starts_with("userProject") => {
                fail(Kind::Denied, &said).advise("the reader pays for this bucket: name the project that is billed")
            }
            400 if message.contains("customer-supplied") || self.reason.contains("CustomerEncryptionKey") => {
                fail(Kind::Unsupported, "it is encrypted with a key of the customer's own (CSEK)")
            }
            400 if message.contains("bucket name") => fail(Kind::Config, "this cannot be the name of a bucket"),
            // Keys are used by the service agent of the bucket's project, not by whoever reads.
            400 | 403 if message.contains("kms") => fail(Kind::KmsDenied, &said).advise(
                "enable the Cloud KMS key it is encrypted with, and grant roles/cloudkms.cryptoKeyDecrypter on it to the \
                 service agent of the bucket's project",
            ),
            401 if !place.anonymous => fail(Kind::Unauthenticated, &said)
                .advise("log in again with `gcloud auth application-default login`, or check the credentials file"),
            401 | 403 => self.denied(asked, place, &what),
            _ => fail(Kind::Protocol, &said),
        }
    }

    fn denied(&self, asked: Asked<'_>, place: Place<'_>, what: &str) -> StoreError {
        let permission = match asked {
            Asked::List => "storage.objects.list",
            Asked::Get(_) => "storage.objects.get",
        };
        let (kind, whom) = match (self.status, place.anonymous) {
            (401, _) => (StoreErrorKind::Unauthenticated, ", and give credentials: none were sent"),
            (_, true) => (StoreErrorKind::Denied, ", or give credentials: none were sent"),
            _ => (StoreErrorKind::Denied, ""),
        };
        StoreError::new(kind, format!("{what}: {}", self.said()))
            .advise(format!("grant {permission} on gs://{} (roles/storage.objectViewer holds it){whom}", place.bucket))
    }
}

/// Reads any bytes as the body of a refusal.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let key = ObjectKey::new(bytes);
    for status in [400, 401, 403, 404, 429, 500, 503] {
        let refusal = Refusal::read(status, bytes, None);
        for asked in [Asked::List, Asked::Get(&key)] {
            let fault = refusal.judge(asked, Place { bucket: "b", endpoint: None, anonymous: status % 2 == 0 });
            assert!(!fault.error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{:?}", fault.error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, body: &str, asked: Asked<'_>, anonymous: bool) -> (StoreErrorKind, Again, String) {
        let place = Place { bucket: "b", endpoint: None, anonymous };
        let fault = Refusal::read(status, body.as_bytes(), None).judge(asked, place);
        (fault.error.kind, fault.again, fault.error.to_string())
    }

    fn json(reason: &str, message: &str) -> String {
        serde_json::json!({"error": {"message": message, "errors": [{"reason": reason}]}}).to_string()
    }

    #[test]
    fn refusals_say_what_to_grant() {
        let key = ObjectKey::from("k");
        let get = Asked::Get(&key);
        let (kind, again, says) = fault(403, &json("forbidden", "x@y has no access\u{1b}"), Asked::List, false);
        assert_eq!((kind, again), (StoreErrorKind::Denied, Again::No));
        assert_eq!(
            says,
            "cannot list gs://b/: HTTP 403, forbidden: x@y has no access%1B; \
             grant storage.objects.list on gs://b (roles/storage.objectViewer holds it)"
        );
        let (kind, _, says) = fault(403, "x does not have access", get, false);
        assert_eq!(kind, StoreErrorKind::Denied);
        assert!(says.contains("grant storage.objects.get on gs://b"), "{says}");
        let (kind, _, says) = fault(401, &json("required", "Anonymous caller"), Asked::List, true);
        assert_eq!(kind, StoreErrorKind::Unauthenticated);
        assert!(says.ends_with("give credentials: none were sent"), "{says}");
        assert_eq!(fault(401, "", get, false).0, StoreErrorKind::Unauthenticated);
    }

    #[test]
    fn missing_things_are_told_apart() {
        let key = ObjectKey::from("k");
        let get = Asked::Get(&key);
        let bucket = json("notFound", "The specified bucket does not exist.");
        assert_eq!(fault(404, &bucket, Asked::List, false).0, StoreErrorKind::NoSuchBucket);
        assert_eq!(fault(404, &bucket, get, false).0, StoreErrorKind::NoSuchBucket);
        assert_eq!(fault(404, "No such object: b/k", get, false).0, StoreErrorKind::NotFound);
        let xml = "<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>";
        assert_eq!(fault(404, xml, get, false).0, StoreErrorKind::NoSuchBucket);
        assert_eq!(fault(412, "", get, false).0, StoreErrorKind::Cut);
        assert_eq!(
            fault(403, &json("forbidden", "Permission denied on Cloud KMS key."), get, false).0,
            StoreErrorKind::KmsDenied
        );
        assert_eq!(
            fault(400, &json("required", "Bucket is requester pays bucket"), get, false).0,
            StoreErrorKind::Denied
        );
        assert_eq!(fault(418, "<html><title>Teapot", get, false).0, StoreErrorKind::Protocol);
    }

    #[test]
    fn what_passes_is_tried_again() {
        let again = |status, reason: &str| fault(status, &json(reason, ""), Asked::List, false).1;
        assert_eq!(again(429, "rateLimitExceeded"), Again::Throttled(None));
        assert_eq!(again(403, "userRateLimitExceeded"), Again::Throttled(None));
        assert_eq!(again(503, "backendError"), Again::Throttled(None));
        assert_eq!(again(500, "backendError"), Again::Passing(None));
        assert_eq!(again(403, "forbidden"), Again::No);
    }
}
