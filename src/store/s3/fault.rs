//! What S3's refusals mean, and what to do about them.

use std::time::Duration;

use super::list_xml::XmlFault;
use crate::model::ObjectKey;
use crate::store::http::words;
use crate::store::{Again, Fault, StoreError, StoreErrorKind};

/// An answer that is not the one asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) fault: XmlFault,
    /// Where the bucket lives, from the header or the body.
    pub(super) region: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    List,
    ListVersions,
    Get { key: &'a ObjectKey, version: bool },
}

/// Of whom it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) bucket: &'a str,
    pub(super) region: &'a str,
    /// A server of one's own.
    pub(super) endpoint: Option<&'a str>,
}

impl Refusal {
    /// The region to go to instead, if the refusal is because of the region.
    pub(super) fn elsewhere(&self, region: &str) -> Option<&str> {
        let about_region = matches!(self.status, 301 | 307 | 403)
            || (self.status == 400
                && matches!(
                    self.fault.code.as_str(),
                    "" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
                ));
        let named = self.region.as_deref().or(self.fault.region.as_deref())?;
        (about_region && !named.is_empty() && named != region).then_some(named)
    }

    /// Turns the refusal into an error with advice, and says whether to try again.
    pub(super) fn judge(&self, asked: Asked<'_>, place: Place<'_>) -> Fault {
        let code = self.fault.code.as_str();
        let again = match (code, self.status) {
            ("SlowDown" | "RequestLimitExceeded" | "BandwidthLimitExceeded" | "Throttling", _)
            | ("ThrottlingException" | "RequestThrottled" | "TooManyRequests" | "SlowDownRead", _)
            | (_, 429 | 503) => Again::Throttled(self.retry_after),
            ("InternalError" | "RequestTimeout" | "OperationAborted", _) | (_, 408 | 500 | 502 | 504 | 509) => {
                Again::Passing(self.retry_after)
            }
            _ => Again::No,
        };
        Fault { error: self.error(asked, place, again), again }
    }

    fn error(&self, asked: Asked<'_>, place: Place<'_>, again: Again) -> StoreError {
        use StoreErrorKind as Kind;
        let bucket = place.bucket;
        let what = match asked {
            Asked::List => format!("cannot list s3://{bucket}/"),
            Asked::ListVersions => format!("cannot list the versions in s3://{bucket}/"),
            Asked::Get { key, .. } => format!("cannot read s3://{bucket}/{key}"),
        };
        let fail = |kind, why: &str| StoreError::new(kind, format!("{what}: {why}"));
        let code = self.fault.code.as_str();
        let said = self.said();
        match (code, self.status) {
            _ if matches!(again, Again::Throttled(_)) => {
                fail(Kind::Throttled, &format!("the store asks to slow down ({said})"))
                    .advise("lower --connections, or run again at a quieter time")
            }
            _ if again != Again::No => fail(Kind::Network, &said),
            ("NoSuchBucket", _) => fail(Kind::NoSuchBucket, "the bucket does not exist").advise(match place.endpoint {
                Some(endpoint) => format!("check the name; the server asked is {endpoint}"),
                None => "check the name, and the account whose credentials are used".to_owned(),
            }),
            ("InvalidBucketName", _) => fail(Kind::Config, "this cannot be the name of a bucket"),
            ("NoSuchKey" | "NoSuchVersion", _) => fail(Kind::NotFound, "there is no such object"),
            ("InvalidAccessKeyId" | "NotSignedUp", _) => {
                fail(Kind::Unauthenticated, "the access key id is not known there")
                    .advise("check the key, the profile and the endpoint")
            }
            ("SignatureDoesNotMatch", _) => fail(Kind::Unauthenticated, "the secret access key is not the right one")
                .advise("check the secret; it belongs to the access key id that was sent"),
            ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired", _) => {
                fail(Kind::Unauthenticated, "the session token has expired")
                    .advise("get new credentials, e.g. with `aws sso login`")
            }
            ("InvalidToken" | "InvalidClientTokenId" | "UnrecognizedClientException", _) => {
                fail(Kind::Unauthenticated, "the session token is not valid")
                    .advise("get new credentials; a token is of use only with the key it came with")
            }
            ("RequestTimeTooSkewed", _) => fail(Kind::Unauthenticated, "the clock of this machine is wrong")
                .advise("set the clock: requests are signed with the time"),
            ("InvalidObjectState", _) => fail(Kind::ArchivedClass, "it lies in an archive class that GET refuses")
                .advise("restore it first (aws s3api restore-object)"),
            _ if self.elsewhere(place.region).is_some() => {
                let right = words(self.elsewhere(place.region).unwrap_or_default());
                fail(Kind::WrongRegion, &format!("the bucket lives in {right}, not in {}", place.region))
                    .advise(format!("set the region to {right}, or leave it out: it is then found"))
            }
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _) | (_, 301 | 307) => {
                fail(Kind::WrongRegion, &format!("the bucket does not live in {} ({said})", place.region))
                    .advise("set the region or the endpoint of the bucket")
            }
            ("PreconditionFailed", _) | (_, 412) => fail(Kind::Cut, "it changed while it was read"),
            (code, _) if code.starts_with("KMS.") => {
                fail(Kind::KmsDenied, &said).advise("enable the KMS key it is encrypted with")
            }
            (_, 401 | 403) => self.denied(asked, place, &what),
            (_, 404 | 405) => match asked {
                Asked::Get { .. } => fail(Kind::NotFound, "there is no such object"),
                _ => fail(Kind::NoSuchBucket, &said),
            },
            ("NotImplemented", _) | (_, 501) => fail(Kind::Unsupported, &said),
            ("InvalidRequest", _) if self.fault.message.contains("Server Side Encryption") => {
                fail(Kind::Unsupported, "it is encrypted with a key of the customer's own (SSE-C)")
            }
            _ => fail(Kind::Protocol, &said),
        }
    }

    fn denied(&self, asked: Asked<'_>, place: Place<'_>, what: &str) -> StoreError {
        let bucket = place.bucket;
        let message = format!("{what}: {}", self.said());
        if self.fault.message.to_ascii_lowercase().contains("kms") {
            let key = kms_arn(&self.fault.message).map_or("the KMS key it is encrypted with".to_owned(), words);
            return StoreError::new(StoreErrorKind::KmsDenied, message).advise(format!("grant kms:Decrypt on {key}"));
        }
        let partition = match place.region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let arn = format!("arn:{partition}:s3:::{bucket}");
        let advice = match asked {
            Asked::List => format!("grant s3:ListBucket on {arn}"),
            Asked::ListVersions => format!("grant s3:ListBucketVersions on {arn}"),
            Asked::Get { version: true, .. } => format!("grant s3:GetObjectVersion on {arn}/*"),
            Asked::Get { .. } => format!("grant s3:GetObject on {arn}/*"),
        };
        StoreError::new(StoreErrorKind::Denied, message).advise(advice)
    }

    /// Code and message as the server gave them.
    fn said(&self) -> String {
        let XmlFault { code, message, .. } = &self.fault;
        match (code.as_str(), message.as_str()) {
            ("", "") => format!("status {}", self.status),
            (code, "") => words(code),
            ("", message) => format!("status {}: {}", self.status, words(message)),
            (code, message) => format!("{}: {}", words(code), words(message)),
        }
    }
}

/// The KMS key that a message names.
fn kms_arn(message: &str) -> Option<&str> {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | ')' | '<');
    message
        .split(is_end)
        .map(|word| word.trim_end_matches('.'))
        .find(|word| word.starts_with("arn:") && word.split(':').nth(2) == Some("kms") && word.is_ascii())
}

/// Reads any bytes as the body of a refusal.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let key = ObjectKey::new(bytes);
    for status in [301, 400, 403, 404, 416, 429, 500, 503] {
        let mut body = super::list_xml::ListXml::new();
        let fault = body.feed(bytes).and_then(|()| body.finish()).ok().and_then(|answer| answer.fault);
        let refusal = Refusal { status, fault: fault.unwrap_or_default(), ..Refusal::default() };
        let _ = refusal.elsewhere("eu-west-1");
        for asked in [Asked::List, Asked::ListVersions, Asked::Get { key: &key, version: true }] {
            let fault = refusal.judge(asked, Place { bucket: "b", region: "us-east-1", endpoint: None });
            assert!(!fault.error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{:?}", fault.error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(
        status: u16,
        code: &str,
        message: &str,
        region: Option<&str>,
        asked: Asked<'_>,
    ) -> (StoreErrorKind, Again, String) {
        let refusal = Refusal {
            status,
            fault: XmlFault { code: code.into(), message: message.into(), region: None },
            region: region.map(Into::into),
            retry_after: None,
        };
        let fault = refusal.judge(asked, Place { bucket: "b", region: "us-east-1", endpoint: None });
        (fault.error.kind, fault.again, fault.error.to_string())
    }

    #[test]
    fn refusals_name_what_to_do() {
        let key = ObjectKey::from("p/k");
        let get = Asked::Get { key: &key, version: false };
        let text = |status, code, message, region, asked| fault(status, code, message, region, asked).2;
        assert_eq!(
            text(403, "AccessDenied", "Access Denied", None, Asked::List),
            "cannot list s3://b/: AccessDenied: Access Denied; grant s3:ListBucket on arn:aws:s3:::b"
        );
        assert_eq!(
            text(403, "AccessDenied", "", None, get),
            "cannot read s3://b/p/k: AccessDenied; grant s3:GetObject on arn:aws:s3:::b/*"
        );
        let kms = "User: arn:aws:iam::1:user/u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-1:1:key/1-2 because no";
        let (kind, again, message) = fault(403, "AccessDenied", kms, None, get);
        assert_eq!((kind, again), (StoreErrorKind::KmsDenied, Again::No));
        assert!(message.ends_with("; grant kms:Decrypt on arn:aws:kms:eu-west-1:1:key/1-2"), "{message}");
        // A server's words reach the terminal without its control characters.
        let message = fault(403, "AccessDenied", "kms arn:aws:kms:eu:1:key/\u{1b}c", None, get).2;
        assert!(message.ends_with("; grant kms:Decrypt on arn:aws:kms:eu:1:key/%1Bc"), "{message}");
        assert_eq!(
            text(400, "AuthorizationHeaderMalformed", "", Some("eu-central-1"), Asked::List),
            "cannot list s3://b/: the bucket lives in eu-central-1, not in us-east-1; set the region to eu-central-1, or leave it out: it is then found"
        );
        assert_eq!(fault(403, "InvalidObjectState", "", None, get).0, StoreErrorKind::ArchivedClass);
        assert_eq!(fault(404, "NoSuchBucket", "", None, get).0, StoreErrorKind::NoSuchBucket);
        assert_eq!(fault(404, "", "", None, get).0, StoreErrorKind::NotFound);
        assert_eq!(fault(403, "ExpiredToken", "", None, get).0, StoreErrorKind::Unauthenticated);
        assert_eq!(fault(501, "NotImplemented", "", None, get).0, StoreErrorKind::Unsupported);
    }

    #[test]
    fn what_passes_is_tried_again() {
        let again = |status, code| fault(status, code, "", None, Asked::List).1;
        assert_eq!(again(503, "SlowDown"), Again::Throttled(None));
        assert_eq!(again(429, ""), Again::Throttled(None));
        assert_eq!(again(500, "InternalError"), Again::Passing(None));
        assert_eq!(again(400, "RequestTimeout"), Again::Passing(None));
        assert_eq!(again(404, "NoSuchBucket"), Again::No);
    }

    #[test]
    fn a_denial_that_names_another_region_is_about_the_region() {
        let refusal = |status, region: &str| Refusal { status, region: Some(region.into()), ..Refusal::default() };
        assert_eq!(refusal(301, "eu-west-1").elsewhere("us-east-1"), Some("eu-west-1"));
        assert_eq!(refusal(403, "eu-west-1").elsewhere("us-east-1"), Some("eu-west-1"));
        assert_eq!(refusal(403, "us-east-1").elsewhere("us-east-1"), None);
        assert_eq!(refusal(404, "eu-west-1").elsewhere("us-east-1"), None);
    }
}
