//! A hostile S3: true paging, checked signatures, and every fault that a bucket can show.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::http::{self, Request, Response, decoded, range, response};
use super::sigv4;

pub const KEY_ID: &str = "AKIDFORTESTS";
pub const SECRET: &str = "secret/for+tests";
pub const BUCKET: &str = "archive";
pub const MODIFIED: &str = "2026-11-20T10:00:00.000Z";

/// What the server does wrong.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Keys in a page at most.
    pub page_keys: usize,
    /// Every so-many-th request is answered with 503 SlowDown.
    pub throttle_every: u64,
    /// Likewise with 500.
    pub fail_every: u64,
    /// Likewise: the connection breaks in the middle of the body.
    pub cut_every: u64,
    /// Likewise: a page is empty, but there is more.
    pub empty_every: u64,
    /// Forgets `encoding-type=url`, as some servers do, and sends raw bytes.
    pub raw_keys: bool,
    /// Pages say more bytes than the objects have.
    pub lie_size: bool,
    /// GET ignores ranges.
    pub no_ranges: bool,
    /// Everything is refused with this code and status.
    pub refuse: Option<(u16, &'static str, &'static str)>,
    /// The storage class of everything.
    pub class: &'static str,
    /// Keys that come and go: at each listing request the next one is toggled.
    pub flicker: Vec<Vec<u8>>,
    /// The object changes whenever it is read.
    pub change_on_read: bool,
    /// Objects were uploaded in parts of so many bytes; 0 for in one piece.
    pub part_bytes: usize,
    /// No checksums are sent along.
    pub no_sums: bool,
    /// An answer to GET takes so long.
    pub slow: Duration,
}

/// What is special about one object.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// Instead of a made up one.
    pub etag: Option<String>,
    /// Headers of an answer to GET, instead of the usual checksum.
    pub headers: Vec<(&'static str, String)>,
    pub class: Option<&'static str>,
    /// GET is refused with this status, code and message.
    pub refuse: Option<(u16, &'static str, &'static str)>,
    pub modified: Option<&'static str>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            page_keys: 1000,
            throttle_every: 0,
            fail_every: 0,
            cut_every: 0,
            empty_every: 0,
            raw_keys: false,
            lie_size: false,
            no_ranges: false,
            refuse: None,
            class: "STANDARD",
            flicker: Vec::new(),
            change_on_read: false,
            part_bytes: 0,
            no_sums: false,
            slow: Duration::ZERO,
        }
    }
}

/// The server.
pub struct FakeS3 {
    pub url: String,
    state: Arc<State>,
}

struct State {
    objects: Mutex<BTreeMap<Vec<u8>, Bytes>>,
    extras: Mutex<BTreeMap<Vec<u8>, Extra>>,
    /// Keys of whole objects that were asked for, in that order.
    gets: Mutex<Vec<String>>,
    faults: Mutex<Faults>,
    /// Where the bucket lives.
    region: String,
    /// Signatures are checked.
    signed: bool,
    requests: AtomicU64,
}

impl FakeS3 {
    pub async fn start(region: &str, signed: bool) -> Self {
        let state = Arc::new(State {
            objects: Mutex::default(),
            extras: Mutex::default(),
            gets: Mutex::default(),
            faults: Mutex::default(),
            region: region.to_owned(),
            signed,
            requests: AtomicU64::new(0),
        });
        let answer = |state: Arc<State>, request: Request| async move {
            let answer = answer(&state, &request);
            let slow = state.faults.lock().unwrap().slow;
            if request.uri().query().is_none_or(|query| !query.contains("list-type")) {
                tokio::time::sleep(slow).await;
            }
            answer
        };
        let url = http::serve(Arc::clone(&state), answer).await;
        FakeS3 { url, state }
    }

    pub fn put(&self, key: &[u8], body: impl Into<Bytes>) {
        self.state.objects.lock().unwrap().insert(key.to_vec(), body.into());
    }

    /// The object under a key behaves in its own way from now on.
    pub fn mark(&self, key: &[u8], extra: Extra) {
        self.state.extras.lock().unwrap().insert(key.to_vec(), extra);
    }

    pub fn remove(&self, key: &[u8]) {
        self.state.objects.lock().unwrap().remove(key);
    }

    /// Keys of the whole objects that were asked for since this was asked last.
    pub fn gets(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.gets.lock().unwrap())
    }

    /// So many whole objects were asked for since [`FakeS3::gets`].
    pub fn get_count(&self) -> usize {
        self.state.gets.lock().unwrap().len()
    }

    pub fn set(&self, faults: Faults) {
        *self.state.faults.lock().unwrap() = faults;
    }

    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

fn error(state: &State, status: u16, code: &str, message: &str) -> Response {
    let region = (code == "AuthorizationHeaderMalformed").then(|| format!("<Region>{}</Region>", state.region));
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message>{}</Error>", region.unwrap_or_default());
    response(status, &[("x-amz-bucket-region", state.region.clone())], body, None)
}

fn answer(state: &State, request: &Request) -> Response {
    let number = 1 + state.requests.fetch_add(1, Ordering::Relaxed);
    let faults = state.faults.lock().unwrap().clone();
    let every = |every: u64| every > 0 && number.is_multiple_of(every);
    if state.signed
        && let Err(code) = sigv4::check(request, KEY_ID, SECRET, &state.region)
    {
        let status = if code == "AuthorizationHeaderMalformed" { 400 } else { 403 };
        return error(state, status, code, "refused");
    }
    if let Some((status, code, message)) = faults.refuse {
        return error(state, status, code, message);
    }
    if every(faults.throttle_every) {
        return error(state, 503, "SlowDown", "Please reduce your request rate.");
    }
    if every(faults.fail_every) {
        return error(state, 500, "InternalError", "We encountered an internal error. Please try again.");
    }
    let path = request.uri().path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return error(state, 404, "NoSuchBucket", "The specified bucket does not exist");
    }
    if key.is_empty() {
        list(state, request, &faults, number)
    } else {
        get(state, request, &decoded(key), &faults, number)
    }
}

fn xml(bytes: &[u8], faults: &Faults) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            byte if faults.raw_keys => out.push(*byte),
            byte if byte.is_ascii_alphanumeric() || b"-_./*".contains(byte) => out.push(*byte),
            b' ' => out.push(b'+'),
            byte => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
    // Whatever was not encoded for a URL above is for XML; these three are for both.
    if faults.raw_keys {
        out
    } else {
        String::from_utf8(out)
            .unwrap()
            .replace("&amp;", "%26")
            .replace("&lt;", "%3C")
            .replace("&gt;", "%3E")
            .into_bytes()
    }
}

fn list(state: &State, request: &Request, faults: &Faults, number: u64) -> Response {
    let query = http::query(request);
    let value = |name: &str| query.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    let v2 = value("list-type").is_some();
    let prefix = value("prefix").unwrap_or_default();
    let delimiter = value("delimiter").is_some();
    let max: usize = value("max-keys").map_or(1000, |max| String::from_utf8(max).unwrap().parse().unwrap());
    // A token names the last key or folded prefix.
    let token = value("continuation-token").map(|token| {
        let token = String::from_utf8(token).unwrap();
        let (_, key) = token.split_once(':').unwrap();
        decoded(key)
    });
    let after = if v2 { token.or(value("start-after")) } else { value("marker") };
    let extras = state.extras.lock().unwrap();
    let mut objects = state.objects.lock().unwrap();
    if !faults.flicker.is_empty() {
        let key = &faults.flicker[number as usize % faults.flicker.len()];
        if objects.remove(key).is_none() {
            objects.insert(key.clone(), Bytes::from_static(b"flicker"));
        }
    }
    let empty = faults.empty_every > 0 && number.is_multiple_of(faults.empty_every) && v2;
    let page_keys = if empty { 0 } else { faults.page_keys.min(max) };
    let mut body = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>archive</Name>".to_vec();
    let (mut count, mut last, mut truncated) = (0, after.clone().unwrap_or_default(), false);
    for (key, content) in objects.iter() {
        let folded = delimiter
            .then(|| key.get(prefix.len()..)?.iter().position(|byte| *byte == b'/'))
            .flatten()
            .map(|slash| key[..prefix.len() + slash + 1].to_vec());
        let behind = |last: &[u8]| {
            key.as_slice() > last && !(last.ends_with(b"/") && delimiter && folded.as_deref() == Some(last))
        };
        if !key.starts_with(&prefix) || !after.as_deref().is_none_or(behind) || (count > 0 && !behind(&last)) {
            continue;
        }
        if count == page_keys {
            truncated = true;
            break;
        }
        count += 1;
        last = folded.clone().unwrap_or_else(|| key.clone());
        match folded {
            Some(folded) => {
                body.extend(b"<CommonPrefixes><Prefix>");
                body.extend(xml(&folded, faults));
                body.extend(b"</Prefix></CommonPrefixes>");
            }
            None => {
                body.extend(b"<Contents><Key>");
                body.extend(xml(key, faults));
                let size = content.len() + if faults.lie_size { 7 } else { 0 };
                let extra = extras.get(key);
                let class = extra.and_then(|extra| extra.class).unwrap_or(faults.class);
                let modified = extra.and_then(|extra| extra.modified).unwrap_or(MODIFIED);
                let tag = extra.and_then(|extra| extra.etag.clone()).unwrap_or_else(|| etag(content));
                body.extend(format!("</Key><LastModified>{modified}</LastModified><ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size><StorageClass>{class}</StorageClass></Contents>").bytes());
            }
        }
    }
    drop(objects);
    if truncated && v2 {
        let name = last.iter().fold(String::new(), |mut text, byte| {
            write!(text, "%{byte:02X}").unwrap();
            text
        });
        body.extend(format!("<NextContinuationToken>{number}:{name}</NextContinuationToken>").bytes());
    }
    body.extend(format!("<IsTruncated>{truncated}</IsTruncated>").bytes());
    if !faults.raw_keys {
        body.extend(b"<EncodingType>url</EncodingType>");
    }
    body.extend(b"</ListBucketResult>");
    let cut = (faults.cut_every > 0 && number.is_multiple_of(faults.cut_every)).then_some(body.len() / 2);
    response(200, &[("content-type", "application/xml".to_owned())], body, cut)
}

pub fn etag(content: &[u8]) -> String {
    format!("{:032x}", walproof::model::ObjectId::digest(&[content]).0)
}

fn get(state: &State, request: &Request, key: &[u8], faults: &Faults, number: u64) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let mut objects = state.objects.lock().unwrap();
    let Some(content) = objects.get(key).cloned() else {
        return error(state, 404, "NoSuchKey", "The specified key does not exist.");
    };
    let extra = state.extras.lock().unwrap().get(key).cloned();
    let class = extra.as_ref().and_then(|extra| extra.class).unwrap_or(faults.class);
    if header("range").is_none() && request.method() == "GET" {
        state.gets.lock().unwrap().push(String::from_utf8_lossy(key).into_owned());
    }
    if let Some((status, code, message)) = extra.as_ref().and_then(|extra| extra.refuse) {
        return error(state, status, code, message);
    }
    if class == "GLACIER" || class == "DEEP_ARCHIVE" {
        return error(state, 403, "InvalidObjectState", "The operation is not valid for the object's storage class");
    }
    let in_parts = faults.part_bytes > 0;
    let parts: Vec<&[u8]> = if in_parts { content.chunks(faults.part_bytes).collect() } else { Vec::new() };
    let made_up = if in_parts { format!("{}-{}", etag(&content), parts.len()) } else { etag(&content) };
    let tag = extra.as_ref().and_then(|extra| extra.etag.clone()).unwrap_or(made_up);
    if in_parts
        && request.method() == "HEAD"
        && request.uri().query().is_some_and(|query| query.contains("partNumber=1"))
    {
        let headers = [("etag", format!("\"{tag}\"")), ("x-amz-mp-parts-count", parts.len().to_string())];
        return response(206, &headers, parts[0].to_vec(), None);
    }
    if header("if-match").is_some_and(|wanted| wanted.trim_matches('"') != tag) {
        return error(
            state,
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        );
    }
    if faults.change_on_read {
        let mut changed = content.to_vec();
        changed[0] = changed[0].wrapping_add(1);
        objects.insert(key.to_vec(), changed.into());
    }
    let wanted = range(header("range").filter(|_| !faults.no_ranges), content.len());
    let cut = |length: usize| (faults.cut_every > 0 && number.is_multiple_of(faults.cut_every)).then_some(length / 2);
    let headers = |mut more: Vec<(&'static str, String)>| {
        more.push(("etag", format!("\"{tag}\"")));
        match &extra {
            Some(extra) => more.extend(extra.headers.iter().cloned()),
            None if faults.no_sums => {}
            None if in_parts => {
                more.push(("x-amz-checksum-crc32c", format!("AAAAAA==-{}", parts.len())));
                more.push(("x-amz-checksum-type", "COMPOSITE".to_owned()));
            }
            None => more.push(("x-amz-checksum-crc32c", "AAAAAA==".to_owned())),
        }
        more
    };
    match wanted {
        None => error(state, 416, "InvalidRange", "The requested range is not satisfiable"),
        Some(None) => response(200, &headers(vec![]), content.clone(), cut(content.len())),
        Some(Some((first, last))) => {
            let part = content.slice(first..=last);
            let range = format!("bytes {first}-{last}/{}", content.len());
            let length = part.len();
            response(206, &headers(vec![("content-range", range)]), part, cut(length))
        }
    }
}
