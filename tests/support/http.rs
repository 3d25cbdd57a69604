//! A small HTTP server on a port of 127.0.0.1.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

pub type Request = hyper::Request<Incoming>;
pub type Response = hyper::Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Serves until the runtime ends; gives the address.
pub async fn serve<S, F, A>(state: Arc<S>, answer: F) -> String
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (state, answer) = (Arc::clone(&state), answer.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answered = answer(Arc::clone(&state), request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

/// An answer. With `cut`, the connection breaks after so many bytes of the promised body.
pub fn response(status: u16, headers: &[(&str, String)], body: impl Into<Bytes>, cut: Option<usize>) -> Response {
    let body = body.into();
    let mut builder = hyper::Response::builder().status(status).header("content-length", body.len());
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    let whole = cut.map_or(body.len(), |at| at.min(body.len()));
    let frames: Vec<_> = body[..whole].chunks(10_000).map(|chunk| Ok(Frame::data(body.slice_ref(chunk)))).collect();
    // What was promised before has to be on its way when the connection breaks.
    let cut = cut.map(|_| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(io::Error::other("cut"))
    });
    let stream = futures::stream::iter(frames).chain(futures::stream::iter(cut).then(|cut| cut));
    builder.body(UnsyncBoxBody::new(StreamBody::new(stream))).unwrap()
}

/// `bytes=a-b` on a body of so many bytes: the part, or `None` if it begins behind the end.
pub fn range(header: Option<&str>, size: usize) -> Option<Option<(usize, usize)>> {
    let Some((first, last)) = header.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Some(None);
    };
    let first: usize = first.parse().unwrap();
    let last = last.parse::<usize>().map_or(size.saturating_sub(1), |last| last.min(size.saturating_sub(1)));
    (first < size).then_some(Some((first, last)))
}

/// Undoes percent encoding; a plus stays one.
pub fn decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

/// The pairs of a query, decoded.
pub fn query(request: &Request) -> Vec<(String, Vec<u8>)> {
    let pairs = request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (String::from_utf8(decoded(name)).unwrap(), decoded(value))
        })
        .collect()
}
