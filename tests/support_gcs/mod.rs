//! The JSON API of Google Cloud Storage, with true paging, on a port of 127.0.0.1.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

pub const BUCKET: &str = "b";

type Response = hyper::Response<UnsyncBoxBody<Bytes, io::Error>>;

#[derive(Clone)]
pub struct Object {
    pub body: Bytes,
    pub created: String,
    pub class: &'static str,
    pub generation: u64,
}

/// What the server holds, and how it behaves.
#[derive(Default)]
pub struct Server {
    pub objects: Mutex<BTreeMap<String, Object>>,
    /// Keys in a page, if fewer than asked for.
    pub page_max: usize,
    /// Answers given before the right ones: status, reason, message.
    pub faults: Mutex<VecDeque<(u16, &'static str, &'static str)>>,
    /// Bodies of objects break after so many bytes.
    pub cuts: Mutex<VecDeque<usize>>,
    /// The object gets a new generation when its body breaks.
    pub replace_when_cut: bool,
    /// The token that has to be sent.
    pub token: Option<&'static str>,
    /// Requests seen: path with query, and the authorization.
    pub log: Mutex<Vec<(String, String)>>,
}

impl Server {
    pub fn put(&self, key: &str, body: impl Into<Bytes>, created: &str) {
        let object = Object { body: body.into(), created: created.to_owned(), class: "STANDARD", generation: 17 };
        self.objects.lock().unwrap().insert(key.to_owned(), object);
    }

    /// Serves until the runtime ends; gives the address.
    pub async fn serve(self) -> (String, Arc<Server>) {
        let server = Arc::new(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, Infallible>(state.answer(request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (url, server)
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Response {
        let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (authorization, range) = (text("authorization").unwrap_or_default(), text("range"));
        let path = request.uri().path().to_owned();
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        self.log.lock().unwrap().push((request.uri().to_string(), authorization.clone()));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if path == "/token" {
            let form = String::from_utf8(body.to_vec()).unwrap();
            assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=r%2F1"), "{form}");
            return answer(200, json!({"access_token": "login", "expires_in": 3599}));
        }
        if path.ends_with(":generateAccessToken") {
            if !path.contains("good%40") {
                return fault(403, "forbidden", "Permission 'iam.serviceAccounts.getAccessToken' denied");
            }
            assert_eq!(authorization, "Bearer login");
            let asked: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(asked["scope"][0], "https://www.googleapis.com/auth/devstorage.read_only");
            let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
            return answer(200, json!({"accessToken": "as-account", "expireTime": end.to_string()}));
        }
        if let Some((status, reason, message)) = self.faults.lock().unwrap().pop_front() {
            return fault(status, reason, message);
        }
        if self.token.is_some_and(|token| authorization != format!("Bearer {token}")) {
            return fault(401, "required", "Anonymous caller does not have access");
        }
        let Some(path) = path.strip_prefix(&format!("/storage/v1/b/{BUCKET}/o")) else {
            return fault(404, "notFound", "The specified bucket does not exist.");
        };
        match path.strip_prefix('/') {
            None => answer(200, self.list(&query)),
            Some(name) => self.read(&decoded(name), &query, range.as_deref()),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Value {
        let empty = String::new();
        let get = |name: &str| query.get(name).unwrap_or(&empty);
        assert!(get("fields").contains("nextPageToken"));
        let asked: usize = get("maxResults").parse().unwrap();
        assert!((1..=1000).contains(&asked));
        let max = if self.page_max == 0 { asked } else { asked.min(self.page_max) };
        let (prefix, token) = (get("prefix"), get("pageToken"));
        let (mut items, mut prefixes, mut last) = (Vec::new(), BTreeSet::new(), String::new());
        for (key, object) in self.objects.lock().unwrap().iter() {
            // The offset is inclusive; a token is the last name or folder of the page before.
            let folder_done = token.ends_with('/') && key.starts_with(token.as_str());
            let done = !token.is_empty() && (key <= token || folder_done);
            if done || !key.starts_with(prefix.as_str()) || (token.is_empty() && key < get("startOffset")) {
                continue;
            }
            let slash = key[prefix.len()..].find('/').filter(|_| get("delimiter") == "/");
            let folder = slash.map(|at| key[..prefix.len() + at + 1].to_owned());
            if folder.as_ref().is_some_and(|folder| prefixes.contains(folder)) {
                continue;
            }
            if items.len() + prefixes.len() == max {
                return json!({"kind": "storage#objects", "items": items, "prefixes": prefixes, "nextPageToken": last});
            }
            last = folder.clone().unwrap_or_else(|| key.clone());
            match folder {
                Some(folder) => drop(prefixes.insert(folder)),
                None => items.push(json!({
                    "kind": "storage#object", "name": key, "size": object.body.len().to_string(),
                    "generation": object.generation.to_string(), "etag": "CBEQAQ==", "storageClass": object.class,
                    "timeCreated": object.created, "updated": "2026-11-20T12:00:00Z",
                    "crc32c": crc32c_of(&object.body),
                })),
            }
        }
        if items.is_empty() && prefixes.is_empty() {
            return json!({"kind": "storage#objects"});
        }
        json!({"kind": "storage#objects", "items": items, "prefixes": prefixes})
    }

    fn read(&self, name: &str, query: &BTreeMap<String, String>, range: Option<&str>) -> Response {
        assert_eq!(query.get("alt").map(String::as_str), Some("media"));
        let mut objects = self.objects.lock().unwrap();
        let found = objects.get_mut(name).filter(|object| {
            query.get("generation").is_none_or(|generation| *generation == object.generation.to_string())
        });
        let Some(object) = found else {
            let body = format!("No such object: {BUCKET}/{name}");
            return send(hyper::Response::builder().status(404), body.into(), None);
        };
        let size = object.body.len();
        let mut head = hyper::Response::builder()
            .header("x-goog-generation", object.generation)
            .header("x-goog-hash", format!("crc32c={},md5=bWQ1", crc32c_of(&object.body)));
        let mut body = object.body.clone();
        if let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            if first >= size {
                return fault(416, "requestedRangeNotSatisfiable", "");
            }
            let end = last.saturating_add(1).min(size);
            body = body.slice(first..end);
            head = head.status(206).header("content-range", format!("bytes {first}-{}/{size}", end - 1));
        }
        let cut = self.cuts.lock().unwrap().pop_front();
        if cut.is_some() && self.replace_when_cut {
            object.generation += 1;
        }
        send(head, body, cut)
    }
}

fn crc32c_of(body: &[u8]) -> String {
    base64(&crc32c::crc32c(body).to_be_bytes())
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn answer(status: u16, body: Value) -> Response {
    send(
        hyper::Response::builder().status(status).header("content-type", "application/json"),
        body.to_string().into(),
        None,
    )
}

fn fault(status: u16, reason: &str, message: &str) -> Response {
    let errors = json!([{"message": message, "domain": "global", "reason": reason}]);
    answer(status, json!({"error": {"code": status, "message": message, "errors": errors}}))
}

/// With `cut`, the connection breaks after so many bytes of the promised body.
fn send(head: hyper::http::response::Builder, body: Bytes, cut: Option<usize>) -> Response {
    let whole = cut.map_or(body.len(), |at| at.min(body.len()));
    let frames: Vec<_> = body[..whole].chunks(10_000).map(|chunk| Ok(Frame::data(body.slice_ref(chunk)))).collect();
    // What was promised before has to be on its way when the connection breaks.
    let cut = cut.map(|_| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(io::Error::other("cut"))
    });
    let stream = futures::stream::iter(frames).chain(futures::stream::iter(cut).then(|cut| cut));
    head.header("content-length", body.len()).body(UnsyncBoxBody::new(StreamBody::new(stream))).unwrap()
}
