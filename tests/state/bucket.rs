//! State in a bucket: against a small server that fails in the ways that matter for writing, and against moto and
//! LocalStack where the environment names them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use walproof::run::Cancel;
use walproof::state::{ArchiveId, Kind, RunId, State, StateError, open_state};
use walproof::store::{Address, Limits, Retry, StoreErrorKind, StoreOptions};

use super::{archive, at, head, summary};

/// What happens to the next PUT.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// 503, nothing is written.
    Throttled,
    /// The object is written, but the connection ends without an answer.
    AnswerLost,
    /// 409, as when two writers meet.
    Conflict,
    /// 403, nothing is written.
    Denied,
}

#[derive(Debug, Default)]
struct Server {
    objects: Mutex<BTreeMap<String, Bytes>>,
    faults: Mutex<VecDeque<Fault>>,
    /// `If-None-Match` on a PUT is answered with 501.
    no_conditions: bool,
    /// Listing is denied.
    no_list: bool,
    puts: Mutex<Vec<String>>,
}

impl Server {
    async fn start(self: Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&self);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let server = Arc::clone(&server);
                        async move { server.answer(request).await }
                    });
                    let io = TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        url
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let (_, key) = path.split_once('/').unwrap_or((&path, ""));
        if request.method() == Method::PUT {
            let conditional = request.headers().get("if-none-match").is_some_and(|value| value == "*");
            let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
            return self.put(key, conditional, body);
        }
        if key.is_empty() {
            let query = request.uri().query().unwrap_or_default().to_owned();
            return Ok(if self.no_list { refused(403, "AccessDenied") } else { self.list(&query) });
        }
        Ok(match self.objects.lock().unwrap().get(key) {
            Some(bytes) => answer(200, bytes.clone()),
            None => refused(404, "NoSuchKey"),
        })
    }

    fn put(&self, key: &str, conditional: bool, body: Bytes) -> Result<Response<Full<Bytes>>, std::io::Error> {
        self.puts.lock().unwrap().push(key.to_owned());
        if conditional && self.no_conditions {
            return Ok(refused(501, "NotImplemented"));
        }
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Throttled) => return Ok(refused(503, "SlowDown")),
            Some(Fault::Conflict) => return Ok(refused(409, "ConditionalRequestConflict")),
            Some(Fault::Denied) => return Ok(refused(403, "AccessDenied")),
            Some(Fault::AnswerLost) | None => {}
        }
        let mut objects = self.objects.lock().unwrap();
        if conditional && objects.contains_key(key) {
            return Ok(refused(412, "PreconditionFailed"));
        }
        objects.insert(key.to_owned(), body);
        match fault {
            Some(_) => Err(std::io::Error::other("no answer")),
            None => Ok(answer(200, Bytes::new())),
        }
    }

    /// Two keys to a page, so that everything takes several.
    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
            Some(percent_encoding::percent_decode_str(pair).decode_utf8().unwrap().into_owned())
        };
        let prefix = value("prefix").unwrap_or_default();
        let after = value("continuation-token").or(value("start-after")).unwrap_or_default();
        let delimiter = value("delimiter").is_some();
        let objects = self.objects.lock().unwrap();
        let mut items: Vec<String> = Vec::new();
        for key in objects.keys().filter(|key| key.starts_with(&prefix)) {
            let slash = key[prefix.len()..].find('/').filter(|_| delimiter);
            let item = slash.map_or(key.clone(), |slash| key[..=prefix.len() + slash].to_owned());
            if item > after && items.last() != Some(&item) {
                items.push(item);
            }
        }
        let mut body = String::from("<ListBucketResult>");
        for item in items.iter().take(2) {
            if item.ends_with('/') {
                body += &format!("<CommonPrefixes><Prefix>{item}</Prefix></CommonPrefixes>");
            } else {
                let size = objects[item].len();
                body += &format!(
                    "<Contents><Key>{item}</Key><LastModified>2026-11-20T10:00:00.000Z</LastModified><Size>{size}</Size></Contents>"
                );
            }
        }
        if items.len() > 2 {
            body += &format!("<NextContinuationToken>{}</NextContinuationToken>", items[1]);
        }
        body += &format!("<IsTruncated>{}</IsTruncated></ListBucketResult>", items.len() > 2);
        answer(200, body.into())
    }
}

fn answer(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body)).unwrap()
}

fn refused(status: u16, code: &str) -> Response<Full<Bytes>> {
    answer(status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>").into())
}

fn options(url: &str, id: &str, secret: &str) -> StoreOptions {
    StoreOptions {
        endpoint_url: Some(url.to_owned()),
        access_key_id: Some(id.into()),
        secret_access_key: Some(secret.into()),
        retry: Retry { wait_first: std::time::Duration::from_millis(1), ..Retry::default() },
        ..StoreOptions::default()
    }
}

async fn open(address: &str, options: &StoreOptions) -> State {
    open_state(&Address::parse(address).unwrap(), options, Limits::new(8), Cancel::default()).await.unwrap()
}

async fn fake(server: Server) -> (Arc<Server>, State) {
    let server = Arc::new(server);
    let url = Arc::clone(&server).start().await;
    let state = open("s3://memory/walproof", &options(&url, "id", "secret")).await;
    (server, state)
}

/// Everything a state does, on whatever it lies.
async fn remembers(state: &State) {
    let now = at("2026-11-20T00:00:00Z");
    assert!(state.latest_run(&archive(), now).await.unwrap().is_none());
    assert!(state.folders().await.unwrap().is_empty());
    let times = ["2021-01-01T00:00:00Z", "2025-11-30T10:00:00Z", "2026-10-01T00:00:00Z", "2026-11-19T00:00:00Z"];
    for (number, time) in times.iter().enumerate() {
        let mut run = summary();
        run.waived = number as u64;
        state.write(&head(time, number as u64, Kind::Run), &run).await.unwrap();
    }
    state.write(&head("2027-01-01T00:00:00Z", 9, Kind::Run), &summary()).await.unwrap();
    for (count, want) in [(0, vec![]), (1, vec![3]), (3, vec![3, 2, 1]), (9, vec![3, 2, 1, 0])] {
        let runs = state.last_runs(&archive(), now, count).await.unwrap();
        let seen: Vec<u64> = runs.into_iter().map(|run| run.unwrap().1.waived).collect();
        assert_eq!(seen, want);
    }
    let proofs = head("2026-11-20T00:00:00Z", 5, Kind::Proofs);
    for part in 0..3 {
        assert_eq!(state.write(&proofs, &json!({"part": part})).await.unwrap().part, part);
    }
    assert_eq!(state.write(&proofs, &json!({"part": 1})).await.unwrap().part, 1, "the same again is the same");
    let mut walk = state.walk(&archive(), Kind::Proofs, now, 2).await.unwrap();
    assert_eq!(walk.next_body::<Value>().await.unwrap().unwrap().1["part"], 2);
    let mut other = head("2026-11-20T00:00:00Z", 5, Kind::Run);
    other.archive = ArchiveId::new("s3://backups/pg/other", None);
    state.write(&other, &summary()).await.unwrap();
    let mut folders = vec![archive().folder(), other.archive.folder()];
    folders.sort();
    assert_eq!(state.folders().await.unwrap(), folders);
}

/// Of many writers of one name exactly one wins.
async fn excludes(open: impl AsyncFn() -> State) {
    let mut tasks = Vec::new();
    for number in 0..8 {
        let state = open().await;
        tasks.push(tokio::spawn(async move {
            state
                .write(&head("2026-01-01T00:00:00Z", 77, Kind::Restore), &json!({"writer": number}))
                .await
                .unwrap()
                .part
        }));
    }
    let mut parts = Vec::new();
    for task in tasks {
        parts.push(task.await.unwrap());
    }
    parts.sort_unstable();
    assert_eq!(parts, (0..8).collect::<Vec<u32>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_remembers_like_a_directory() {
    let (server, state) = fake(Server::default()).await;
    remembers(&state).await;
    assert_eq!(state.url(), "s3://memory/walproof");
    assert!(server.objects.lock().unwrap().keys().all(|key| key.starts_with("walproof/v1/")));
    let dir = tempfile::tempdir().unwrap();
    remembers(&super::open(dir.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_to_a_bucket_one_wins() {
    let server = Arc::new(Server::default());
    let url = Arc::clone(&server).start().await;
    excludes(async || open("s3://memory/walproof", &options(&url, "id", "secret")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_on_the_way_neither_lose_nor_double_a_record() {
    let (server, state) = fake(Server::default()).await;
    *server.faults.lock().unwrap() = [Fault::Throttled, Fault::Conflict, Fault::AnswerLost].into();
    let name = state.write(&head("2026-11-20T00:00:00Z", 1, Kind::Run), &summary()).await.unwrap();
    assert_eq!(name.part, 0);
    assert_eq!(server.objects.lock().unwrap().keys().collect::<Vec<_>>(), [&format!("walproof/{}", name.key())]);
    // Throttled, conflict, lost, and then it was there.
    assert_eq!(server.puts.lock().unwrap().len(), 4);
    assert!(state.read(&name).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_conditional_writes_are_used_without() {
    let (server, state) = fake(Server { no_conditions: true, ..Server::default() }).await;
    for run in 1..4 {
        state.write(&head("2026-11-20T00:00:00Z", run, Kind::Run), &summary()).await.unwrap();
    }
    assert_eq!(server.puts.lock().unwrap().len(), 4, "found out once");
    assert_eq!(state.last_runs(&archive(), at("2026-11-20T00:00:00Z"), 9).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_grant_and_are_not_repeated() {
    // Who may only write needs no listing.
    let (server, state) = fake(Server { no_list: true, ..Server::default() }).await;
    state.write(&head("2026-11-20T00:00:00Z", 1, Kind::Run), &summary()).await.unwrap();
    server.faults.lock().unwrap().push_back(Fault::Denied);
    let error = state.write(&head("2026-11-20T00:00:00Z", 2, Kind::Run), &summary()).await.unwrap_err();
    let StateError::Store { cause, .. } = &error else { panic!("{error}") };
    assert_eq!(cause.kind, StoreErrorKind::Denied);
    let text = error.to_string();
    assert!(text.starts_with("writing the state: cannot write s3://memory/walproof/v1/main-"), "{text}");
    assert!(text.ends_with("AccessDenied: no; grant s3:PutObject on arn:aws:s3:::memory/walproof/*"), "{text}");
    assert_eq!(server.puts.lock().unwrap().len(), 2);
    let error = state.folders().await.unwrap_err().to_string();
    assert!(error.contains("grant s3:ListBucket on arn:aws:s3:::memory"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_refused_without_reading_them() {
    let (server, state) = fake(Server::default()).await;
    let name = state.write(&head("2026-11-20T00:00:00Z", 1, Kind::Run), &summary()).await.unwrap();
    let key = format!("walproof/{}", name.key());
    server.objects.lock().unwrap().insert(key, vec![b' '; 30 << 20].into());
    let error = state.read(&name).await.unwrap_err();
    assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
}

/// A server's address, or a word on why there is none.
fn server(name: &str) -> Option<String> {
    let url = std::env::var(format!("WALPROOF_{name}_URL")).ok();
    if url.is_none() {
        println!("SKIPPED: no {name} server (WALPROOF_{name}_URL is not set)");
    }
    url
}

async fn make_bucket(options: &StoreOptions, bucket: &str) {
    let reveal = |secret: &Option<walproof::store::Secret>| secret.as_ref().unwrap().reveal().to_owned();
    let (id, secret) = (reveal(&options.access_key_id), reveal(&options.secret_access_key));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(options.endpoint_url.as_deref().unwrap())
        .force_path_style(true)
        .credentials_provider(aws_sdk_s3::config::Credentials::new(id, secret, None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.build()).create_bucket().bucket(bucket).send().await.unwrap();
}

async fn on_a_real_server(options: &StoreOptions, name: &str) -> String {
    let bucket = format!("walproof-state-{name}-{}-{}", std::process::id(), RunId::random());
    make_bucket(options, &bucket).await;
    let address = format!("s3://{bucket}/deep/prefix/");
    remembers(&open(&address, options).await).await;
    let other = format!("s3://{bucket}/other");
    excludes(async || open(&other, options).await).await;
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_remembers_and_refuses() {
    let Some(url) = server("MOTO") else { return };
    let user = |user: &str| {
        let get = |what: &str| std::env::var(format!("WALPROOF_MOTO_{user}_{what}")).unwrap();
        options(&url, &get("KEY_ID"), &get("SECRET"))
    };
    let address = on_a_real_server(&user("ADMIN"), "moto").await;
    // Who may read an archive may not write a state.
    let state = open(&address, &user("READER")).await;
    let error = state.write(&head("2026-11-20T00:00:00Z", 7, Kind::Run), &summary()).await.unwrap_err().to_string();
    assert!(error.contains("; grant s3:PutObject on arn:aws:s3:::walproof-state-moto-"), "{error}");
    assert!(error.ends_with("/deep/prefix/*"), "{error}");
    assert!(state.latest_run(&archive(), at("2026-11-20T00:00:00Z")).await.unwrap().is_some());
    let error = open("s3://walproof-no-such-bucket/x", &user("ADMIN")).await;
    let error = error.write(&head("2026-11-20T00:00:00Z", 7, Kind::Run), &summary()).await.unwrap_err().to_string();
    assert!(error.contains("the bucket does not exist"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn localstack_remembers() {
    let Some(url) = server("LOCALSTACK") else { return };
    on_a_real_server(&options(&url, "test", "test"), "localstack").await;
}
