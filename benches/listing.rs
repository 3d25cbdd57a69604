//! Listing a large archive: many listers against one, over HTTP with a fixed latency for each request.
//!
//! `cargo bench --bench listing [-- SEGMENTS ...] [--latency-ms 30]`; 100000 and 1000000 segments by default, and four
//! million in parallel only, for the memory of each further object. The endpoint computes its keys and renders pages
//! cheaply, in a process of its own, as do both clients: CPU and memory are told apart by the operating system.
//! Nothing is asserted here: machines are noisy, so look at the ratios.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{UsageWho, getrusage};
use walproof::layout::Layout;
use walproof::layout::walg::WalGLayout;
use walproof::model::{ObjectKey, SegmentNo, SegmentSize, TimelineId, Timestamp};
use walproof::run::{Cancel, RunContext};
use walproof::store::{self, Address, Limits, ListOptions, ListRequest, Secret, StoreOptions};

const PREFIX: &str = "pg/main/";
const PAGE: usize = 1000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("--simulate") => simulate(args[1].parse().unwrap(), args[2].parse().unwrap()),
        Some("--client") => client(&args[1], &args[2]),
        _ => compare(&args),
    }
}

fn compare(args: &[String]) {
    let latency = args.iter().position(|arg| arg == "--latency-ms").map_or(30, |at| args[at + 1].parse().unwrap());
    let mut sizes: Vec<u64> =
        args.iter().take_while(|arg| *arg != "--latency-ms").filter_map(|arg| arg.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 4_000_000];
    }
    println!("{latency} ms per request, pages of {PAGE} keys");
    println!(
        "{:>9}  {:<10}  {:>8}  {:>8}  {:>8}  {:>8}  {:>9}",
        "segments", "client", "wall s", "CPU s", "sim CPU", "requests", "peak MiB"
    );
    let mut parallel = Vec::new();
    for size in &sizes {
        let sequential = (*size <= 1_000_000).then(|| measure("sequential", *size, latency));
        let many = measure("parallel", *size, latency);
        if let Some(one) = &sequential {
            println!(
                "{size:>9}  {:.1} times faster than one lister, {:.3} times its requests",
                one.wall / many.wall,
                many.requests as f64 / one.requests as f64
            );
        }
        parallel.push((*size, many));
    }
    if let [.., (fewer, small), (more, large)] = parallel.as_slice() {
        let bytes = (large.peak_kib.saturating_sub(small.peak_kib)) * 1024;
        println!("{:.1} bytes for each further object ({fewer} to {more})", bytes as f64 / (more - fewer) as f64);
    }
}

struct Figures {
    wall: f64,
    cpu: f64,
    requests: u64,
    peak_kib: u64,
}

fn measure(kind: &str, segments: u64, latency: u64) -> Figures {
    let mut server = spawn(&["--simulate", &segments.to_string(), &latency.to_string()]);
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    let output = Command::new(std::env::current_exe().unwrap()).args(["--client", kind, &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [wall, cpu, requests, peak_kib, objects] = numbers[..] else {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr))
    };
    // The server says what it cost when its input ends.
    drop(server.stdin.take());
    let server_cpu: f64 = lines.next().unwrap().unwrap().parse().unwrap();
    server.wait().unwrap();
    assert_eq!(objects as u64, segments, "a listing that loses keys is no faster");
    let figures = Figures { wall, cpu, requests: requests as u64, peak_kib: peak_kib as u64 };
    println!(
        "{segments:>9}  {kind:<10}  {:>8.2}  {:>8.2}  {server_cpu:>8.2}  {:>8}  {:>9.1}",
        figures.wall,
        figures.cpu,
        figures.requests,
        figures.peak_kib as f64 / 1024.0
    );
    figures
}

fn spawn(args: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn cpu_s() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Lists into the same fold that an audit uses, and closes it.
fn client(kind: &str, url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let (objects, requests) = runtime.block_on(async {
        let address = Address::parse(&format!("s3://bench/{PREFIX}")).unwrap();
        let options = StoreOptions {
            endpoint_url: Some(url.to_owned()),
            region: Some("us-east-1".to_owned()),
            path_style: Some(true),
            access_key_id: Some(Secret::new("bench")),
            secret_access_key: Some(Secret::new("bench")),
            ..StoreOptions::default()
        };
        let store = store::open(&address, &options, Limits::new(64), Cancel::default()).await.unwrap();
        let mut fold = WalGLayout::new(ObjectKey::default());
        let mut push = |rows: Vec<walproof::model::ObjectRow>| {
            for mut row in rows {
                row.key = ObjectKey::new(&row.key.as_bytes()[PREFIX.len()..]);
                fold.push(row, 0);
            }
        };
        if kind == "parallel" {
            let ctx = RunContext::new(Timestamp::UNIX_EPOCH);
            store::list_all(Arc::clone(&store), PREFIX.as_bytes(), ListOptions::default(), &ctx, push).await.unwrap();
        } else {
            let mut request = ListRequest { prefix: PREFIX.as_bytes().to_vec(), ..ListRequest::default() };
            loop {
                let page = store.list_page(request.clone()).await.unwrap();
                push(page.rows);
                let Some(token) = page.next else { break };
                request.token = Some(token);
            }
        }
        let archive = fold.finish();
        (archive.wal.len(), store.requests())
    });
    let wall = begun.elapsed().as_secs_f64();
    let peak_kib = getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss();
    println!("{wall} {} {requests} {peak_kib} {objects}", cpu_s());
}

/// The archive of a cluster with a failover in the middle: two timelines of WAL, a handful of backups.
struct Keys {
    segments: u64,
    backups: Vec<String>,
}

impl Keys {
    fn new(segments: u64) -> Self {
        let name = |number: u64| SegmentNo(number).name(TimelineId::FIRST, SegmentSize::DEFAULT);
        let mut backups: Vec<String> = (0..10)
            .flat_map(|at| {
                let name = name(1 + at * segments / 20);
                let dir = format!("{PREFIX}basebackups_005/base_{name}");
                let part = |part: &str| format!("{dir}/tar_partitions/{part}.tar.lz4");
                [part("part_001"), part("part_002"), part("pg_control"), format!("{dir}/metadata.json")]
            })
            .collect();
        backups.sort();
        Keys { segments, backups }
    }

    fn len(&self) -> u64 {
        self.backups.len() as u64 + self.segments
    }

    fn write(&self, index: u64, out: &mut String) {
        if let Some(key) = self.backups.get(index as usize) {
            out.push_str(key);
            return;
        }
        let number = index - self.backups.len() as u64;
        let (timeline, number) = if number < self.segments / 2 { (1, number) } else { (2, number) };
        let name = SegmentNo(number + 1).name(TimelineId::new(timeline).unwrap(), SegmentSize::DEFAULT);
        let _ = write!(out, "{PREFIX}wal_005/{name}.lz4");
    }

    /// Index of the first key behind `after`.
    fn behind(&self, after: &str) -> u64 {
        let (mut low, mut high) = (0, self.len());
        let mut key = String::new();
        while low < high {
            let middle = (low + high) / 2;
            key.clear();
            self.write(middle, &mut key);
            if key.as_str() <= after { low = middle + 1 } else { high = middle }
        }
        low
    }
}

fn simulate(segments: u64, latency_ms: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let keys = Arc::new(Keys::new(segments));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        let stop = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
        tokio::pin!(stop);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    let _ = stream.set_nodelay(true);
                    let keys = Arc::clone(&keys);
                    tokio::spawn(async move {
                        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                            let keys = Arc::clone(&keys);
                            async move {
                                tokio::time::sleep(Duration::from_millis(latency_ms)).await;
                                Ok::<_, std::convert::Infallible>(page(&keys, request.uri().query().unwrap_or_default()))
                            }
                        });
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }
        }
    });
    println!("{}", cpu_s());
    runtime.shutdown_background();
}

/// One page of ListObjectsV2, as S3 renders it.
fn page(keys: &Keys, query: &str) -> Response<Full<Bytes>> {
    let value = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_encoding::percent_decode_str(pair).decode_utf8_lossy().into_owned())
    };
    let after = value("continuation-token").or_else(|| value("start-after")).unwrap_or_default();
    let prefix = value("prefix").unwrap_or_default();
    let page = value("max-keys").and_then(|max| max.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let mut index = keys.behind(&after);
    if prefix.as_str() > after.as_str() {
        // `behind` a string just below the prefix: the prefix itself is no key here.
        index = index.max(keys.behind(&prefix));
    }
    let mut rows = String::with_capacity(page * 340);
    let mut key = String::new();
    let mut count = 0;
    let mut folders: Vec<String> = Vec::new();
    let folded = value("delimiter").is_some_and(|delimiter| !delimiter.is_empty());
    while index < keys.len() && count < page {
        key.clear();
        keys.write(index, &mut key);
        let Some(rest) = key.strip_prefix(prefix.as_str()) else { break };
        if folded && let Some(slash) = rest.find('/') {
            let folder = key[..prefix.len() + slash + 1].to_owned();
            index = keys.behind(&format!("{folder}\u{10FFFF}"));
            folders.push(folder);
            count += 1;
            continue;
        }
        let _ = write!(
            rows,
            "<Contents><Key>{key}</Key><LastModified>2026-11-20T23:11:05.000Z</LastModified>\
             <ETag>&quot;{index:032x}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>5242880</Size><StorageClass>STANDARD</StorageClass></Contents>"
        );
        index += 1;
        count += 1;
    }
    let mut next = String::new();
    let mut more = false;
    if index < keys.len() {
        keys.write(index, &mut next);
        more = next.starts_with(&prefix);
    }
    let mut body = String::with_capacity(rows.len() + 600);
    let _ = write!(
        body,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>bench</Name><Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{page}</MaxKeys>\
         <EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>"
    );
    if more {
        key.clear();
        keys.write(index - 1, &mut key);
        let _ = write!(body, "<NextContinuationToken>{key}</NextContinuationToken>");
    }
    body.push_str(&rows);
    for folder in folders {
        let _ = write!(body, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    body.push_str("</ListBucketResult>");
    Response::builder().header("content-type", "application/xml").body(Full::new(Bytes::from(body))).unwrap()
}
