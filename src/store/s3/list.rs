//! Sending `ListObjects` and `ListObjectVersions`.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;

use super::door::Door;
use super::fault::{Asked, Refusal};
use super::list_xml::{ListXml, Listed, XmlFault};
use super::{Bucket, MOVES_MAX, text};
use crate::store::http::{self, query, retry_after_of, words};
use crate::store::retry::with_retries;
use crate::store::{Again, Fault, ListPage, ListRequest, StoreError, StoreErrorKind, VersionPage};

/// Largest page that S3 knows.
const PAGE_KEYS_MAX: u32 = 1000;
/// What a token of ours begins with where the protocol has none.
const MARKER: &str = "marker:";
/// Between the two markers of a listing of versions; no version has it in its name.
const MARKERS_BETWEEN: char = '\n';

impl Bucket {
    pub(super) async fn list_page(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let max_keys = request.keys_max.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX).to_string();
        // In the order in which the signature wants them.
        let mut pairs: Vec<(&str, &[u8])> = Vec::new();
        if self.list_v1 {
            let marker = request.token.as_deref().map(|token| token.strip_prefix(MARKER).unwrap_or(token).as_bytes());
            if request.delimiter {
                pairs.push(("delimiter", b"/"));
            }
            pairs.push(("encoding-type", b"url"));
            if let Some(marker) = marker.or(request.start_after.as_deref()) {
                pairs.push(("marker", text(marker, "key")?.as_bytes()));
            }
        } else {
            if let Some(token) = &request.token {
                pairs.push(("continuation-token", token.as_bytes()));
            }
            if request.delimiter {
                pairs.push(("delimiter", b"/"));
            }
            pairs.push(("encoding-type", b"url"));
            pairs.push(("list-type", b"2"));
        }
        pairs.push(("max-keys", max_keys.as_bytes()));
        if !request.prefix.is_empty() {
            pairs.push(("prefix", text(&request.prefix, "prefix")?.as_bytes()));
        }
        if let (Some(key), None, false) = (&request.start_after, &request.token, self.list_v1) {
            pairs.push(("start-after", text(key, "key")?.as_bytes()));
        }
        let listed = self.ask(&query(&pairs), Asked::List).await?;
        let next = self.next_token(&listed)?;
        Ok(ListPage { rows: listed.rows, prefixes: listed.prefixes, next })
    }

    fn next_token(&self, listed: &Listed) -> Result<Option<String>, StoreError> {
        if !listed.truncated {
            return Ok(None);
        }
        if !self.list_v1 {
            return match &listed.next_token {
                Some(token) => Ok(Some(token.clone())),
                None => Err(protocol("a listing goes on but does not say where")
                    .advise("if this server knows the old listing call only, set list_objects_v1")),
            };
        }
        // The old call names the next marker only with a delimiter; otherwise it is the last key.
        let last = listed.rows.last().map(|row| row.key.as_bytes());
        let folded = listed.prefixes.last().map(|prefix| prefix.as_bytes());
        match listed.next_marker.as_deref().or(last.max(folded)) {
            Some(marker) => Ok(Some(format!("{MARKER}{}", text(marker, "key")?))),
            None => Err(protocol("a listing goes on but shows no key")),
        }
    }

    pub(super) async fn list_versions(
        &self,
        prefix: &[u8],
        key_marker: Option<&[u8]>,
        version_marker: Option<&str>,
        keys_max: Option<u32>,
    ) -> Result<Listed, StoreError> {
        let keys_max = keys_max.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX).to_string();
        let mut pairs: Vec<(&str, &[u8])> = vec![("encoding-type", b"url")];
        if let Some(key) = key_marker {
            pairs.push(("key-marker", text(key, "key")?.as_bytes()));
        }
        pairs.push(("max-keys", keys_max.as_bytes()));
        if !prefix.is_empty() {
            pairs.push(("prefix", text(prefix, "prefix")?.as_bytes()));
        }
        if let Some(version) = version_marker.filter(|_| key_marker.is_some()) {
            pairs.push(("version-id-marker", version.as_bytes()));
        }
        pairs.push(("versions", b""));
        self.ask(&query(&pairs), Asked::ListVersions).await
    }

    /// The same as a page of any store: its token holds both markers.
    pub(super) async fn versions_page(&self, request: ListRequest) -> Result<VersionPage, StoreError> {
        let (version, key) = match request.token.as_deref().map(|token| token.split_once(MARKERS_BETWEEN)) {
            Some(Some((version, key))) => (Some(version).filter(|version| !version.is_empty()), Some(key.as_bytes())),
            Some(None) => return Err(protocol("a page of versions was asked for with a token of another listing")),
            None => (None, request.start_after.as_deref()),
        };
        let listed = self.list_versions(&request.prefix, key, version, request.keys_max).await?;
        let next = match (listed.truncated, &listed.next_marker) {
            (false, _) => None,
            (true, Some(key)) => {
                let version = listed.next_version_marker.as_deref().unwrap_or_default();
                let token = format!("{version}{MARKERS_BETWEEN}{}", text(key, "key")?);
                if request.token.as_deref() == Some(token.as_str()) {
                    return Err(protocol("a listing of versions goes in circles"));
                }
                Some(token)
            }
            (true, None) => return Err(protocol("a listing of versions goes on but does not say where")),
        };
        Ok(VersionPage { rows: listed.versions, next })
    }

    async fn ask(&self, query: &str, asked: Asked<'_>) -> Result<Listed, StoreError> {
        with_retries(&self.retry, &self.gate, &self.cancel, &self.requests, || async move {
            for _ in 0..MOVES_MAX {
                let door = self.door();
                match self.send(&door, query).await? {
                    Ok(listed) => return Ok(listed),
                    Err(refusal) if self.follow(&refusal, &door)? => {}
                    Err(refusal) => return Err(refusal.judge(asked, self.place(&door))),
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

    /// Sends one signed request. The inner error is what the server answered instead of a listing.
    async fn send(&self, door: &Door, query: &str) -> Result<Result<Listed, Refusal>, Fault> {
        let mut url = door.url.clone();
        url.set_query(Some(query));
        let mut request = reqwest::Request::new(reqwest::Method::GET, url);
        if self.requester_pays {
            request.headers_mut().insert("x-amz-request-payer", reqwest::header::HeaderValue::from_static("requester"));
        }
        self.sign(&mut request, door).await?;
        let silence_max = self.retry.silence_max;
        let mut response = http::send(&self.http, request, silence_max).await?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let region = header("x-amz-bucket-region").map(str::to_owned);
        let retry_after = retry_after_of(header("retry-after"));
        let refusal = |fault| Refusal { status, fault, region, retry_after };
        if status != 200 {
            return Ok(Err(refusal(read_fault(&http::error_body(&mut response, silence_max).await))));
        }
        let mut reader = ListXml::new();
        while let Some(chunk) = http::chunk(&mut response, silence_max).await? {
            reader.feed(&chunk).map_err(bad_listing)?;
        }
        let mut listed = reader.finish().map_err(bad_listing)?;
        // A server that had begun to answer can only say so in the body.
        match listed.fault.take() {
            Some(fault) => Ok(Err(Refusal { status: 500, ..refusal(fault) })),
            None => Ok(Ok(listed)),
        }
    }

    async fn sign(&self, request: &mut reqwest::Request, door: &Door) -> Result<(), StoreError> {
        let Some(keys) = &self.chain.keys else { return Ok(()) };
        let identity = keys.get().await?.into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let unsigned = |error: Box<dyn std::error::Error + Send + Sync>| {
            StoreError::new(StoreErrorKind::Config, "cannot sign a request to S3").because(error)
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&door.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| unsigned(error.into()))?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new("GET", request.url().as_str(), headers, SignableBody::Bytes(&[]))
            .map_err(|error| unsigned(error.into()))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| unsigned(error.into()))?.into_parts();
        for header in instructions.into_parts().0 {
            let mut value =
                reqwest::header::HeaderValue::from_str(header.value()).map_err(|error| unsigned(error.into()))?;
            value.set_sensitive(header.sensitive());
            request.headers_mut().insert(header.name(), value);
        }
        Ok(())
    }
}

/// The error document in a body, or what can be told without one.
pub(super) fn read_fault(body: &[u8]) -> XmlFault {
    let mut reader = ListXml::new();
    let read = reader.feed(body).and_then(|()| reader.finish());
    match read {
        Ok(listed) => listed.fault.unwrap_or_default(),
        // HTML or text of a proxy; its first words help.
        Err(_) => XmlFault { message: words(&String::from_utf8_lossy(body)), ..XmlFault::default() },
    }
}

/// A body that is no listing may be a passing fault of a proxy in between: it is asked for again.
fn bad_listing(error: super::list_xml::ListXmlError) -> Fault {
    use super::list_xml::ListXmlError as Bad;
    let again = match &error {
        Bad::Cut(_) | Bad::NotAListing(_) => Again::Passing(None),
        _ => Again::No,
    };
    Fault { error: protocol(&error.to_string()).because(error), again }
}

fn protocol(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, message)
}
