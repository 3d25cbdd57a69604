//! What the stores that speak HTTP share: one client, and what its failures mean.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{Again, Fault, Limits, StoreError, StoreErrorKind};
use crate::model::{ObjectKey, Timestamp};

/// Everything but RFC 3986's unreserved characters, as signatures want it.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest that a connection may take.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Largest body of an error that is read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Most of a server's own words that a message repeats.
const WORDS_MAX: usize = 400;

/// Bytes as a part of a path or query.
pub(super) fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

/// A query in the order given.
pub(super) fn query(pairs: &[(&str, &[u8])]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

/// A client that keeps a connection for each request that may be in flight. It follows no redirect: where a
/// bucket lives is for the store to decide.
pub(super) fn client(
    limits: &Limits,
    endpoint: Option<&str>,
    ca: Option<&Path>,
) -> Result<reqwest::Client, StoreError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("walproof/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_MAX)
        .pool_max_idle_per_host(limits.connections())
        .tcp_nodelay(true)
        .http1_only();
    if endpoint.is_some_and(is_loopback) {
        builder = builder.no_proxy();
    }
    for pem in ca.map(read_ca).transpose()?.unwrap_or_default() {
        builder = builder.add_root_certificate(pem);
    }
    builder.build().map_err(|error| {
        StoreError::new(StoreErrorKind::Config, "cannot set up a connection with TLS")
            .advise("install the system's CA certificates or name a bundle with SSL_CERT_FILE")
            .because(error)
    })
}

/// Servers on this machine are never reached through a proxy.
pub(super) fn is_loopback(endpoint: &str) -> bool {
    let url = reqwest::Url::parse(endpoint).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("");
    let ip: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || host.ends_with(".localhost") || ip.is_some_and(|ip| ip.is_loopback())
}

fn read_ca(path: &Path) -> Result<Vec<reqwest::Certificate>, StoreError> {
    let bad = |error: Box<dyn StdError + Send + Sync>| {
        let message = format!("cannot use the CA certificates in {}: {error}", path.display());
        StoreError::new(StoreErrorKind::Config, message).because(error)
    };
    let pem = std::fs::read(path).map_err(|error| bad(error.into()))?;
    reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.into()))
}

/// An endpoint as typed, checked.
pub(super) fn endpoint(text: &str) -> Result<reqwest::Url, StoreError> {
    let wrong = || {
        StoreError::new(StoreErrorKind::Config, format!("{text} is no endpoint"))
            .advise("write http://host:port or https://host")
    };
    let url = reqwest::Url::parse(text).map_err(|error| wrong().because(error))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
        return Err(wrong());
    }
    Ok(url)
}

/// Sends a request and waits for the head of the answer.
pub(super) async fn send(
    client: &reqwest::Client,
    request: reqwest::Request,
    silence_max: Duration,
) -> Result<reqwest::Response, Fault> {
    let server = server_of(request.url());
    match tokio::time::timeout(silence_max, client.execute(request)).await {
        Err(_) => Err(silence(&server, silence_max)),
        Ok(Err(error)) => Err(broken(&server, error)),
        Ok(Ok(response)) => Ok(response),
    }
}

/// The next piece of a body. `None` is its proper end.
pub(super) async fn chunk(
    response: &mut reqwest::Response,
    silence_max: Duration,
) -> Result<Option<bytes::Bytes>, Fault> {
    match tokio::time::timeout(silence_max, response.chunk()).await {
        Err(_) => Err(silence(&server_of(response.url()), silence_max)),
        Ok(Err(error)) => Err(broken(&server_of(response.url()), error)),
        Ok(Ok(chunk)) => Ok(chunk),
    }
}

/// The whole body up to a limit; what is more is left out. Breaks off quietly: the body of an error only explains.
pub(super) async fn error_body(response: &mut reqwest::Response, silence_max: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(part)) = chunk(response, silence_max).await {
        body.extend_from_slice(&part);
        if body.len() >= ERROR_BYTES_MAX {
            body.truncate(ERROR_BYTES_MAX);
            break;
        }
    }
    body
}

fn server_of(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or("the server");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn silence(server: &str, silence_max: Duration) -> Fault {
    let message = format!("no answer from {server} for {} s", silence_max.as_secs());
    Fault { error: StoreError::new(StoreErrorKind::Network, message), again: Again::Passing(None) }
}

fn broken(server: &str, error: reqwest::Error) -> Fault {
    let error = error.without_url();
    if error.is_builder() || error.is_request() && error.is_redirect() {
        return StoreError::new(StoreErrorKind::Config, format!("cannot ask {server}: {}", innermost(&error)))
            .because(error)
            .into();
    }
    if error.is_connect() {
        let unreachable =
            StoreError::new(StoreErrorKind::Network, format!("cannot reach {server}: {}", innermost(&error)))
                .advise("check the endpoint, the network and the proxy settings")
                .because(error);
        return Fault { error: unreachable, again: Again::Unreachable };
    }
    let message = format!("the connection to {server} broke: {}", innermost(&error));
    Fault { error: StoreError::new(StoreErrorKind::Network, message).because(error), again: Again::Passing(None) }
}

/// The last error of a chain says most: "connection refused" rather than "error sending request".
pub(super) fn innermost(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    words(&last.to_string())
}

/// A server's own words, safe to print.
pub(super) fn words(text: &str) -> String {
    let text = text.trim();
    let cut = text.char_indices().nth(WORDS_MAX).map_or(text, |(at, _)| &text[..at]);
    ObjectKey::from(cut).to_string()
}

/// The value of a `Retry-After` header: seconds, or an HTTP date seen at `now`.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(Duration::try_from(moment.duration_since(now)).unwrap_or_default())
}

/// What a response's header says about trying again.
pub(super) fn retry_after_of(header: Option<&str>) -> Option<Duration> {
    header.and_then(|value| retry_after(value, Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after("12", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn endpoints_and_words() {
        assert!(endpoint("http://127.0.0.1:9000").is_ok() && endpoint("https://s3.example.org/base").is_ok());
        for wrong in ["127.0.0.1:9000", "ftp://x", "http://", "https://user@x", "https://x/?a=b", ""] {
            let error = endpoint(wrong).unwrap_err();
            assert!(error.to_string().ends_with("write http://host:port or https://host"), "{wrong}: {error}");
        }
        assert!(is_loopback("http://localhost:1") && is_loopback("http://[::1]:1") && !is_loopback("http://10.0.0.1"));
        assert_eq!(words(" a\u{1b}[0m"), "a%1B[0m");
        assert_eq!(encoded("a/b c~ü".as_bytes()), "a%2Fb%20c~%C3%BC");
    }
}
