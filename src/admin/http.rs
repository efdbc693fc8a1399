//! Small HTTP/1.1 servers: bounded, and patient with ports that are taken.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time,
};

/// An answer.
pub type Response = http::Response<Full<Bytes>>;
/// Answers a request. Called on the admin thread; it may wait for the loop, nothing else.
pub(super) type Handler = Arc<dyn Fn(&Request<Incoming>) -> Response + Send + Sync>;

/// Connections of one server at a time; more wait in the backlog.
const CONNECTIONS: usize = 64;
/// A request's head, whole, within this time and size.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
/// A connection lives no longer, whatever it does.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// How long a port that is taken is left alone before the next try.
const RETRY: Duration = Duration::from_secs(2);

/// Ports that could not be bound.
#[derive(Debug, Default)]
pub struct Ports(Mutex<BTreeMap<SocketAddr, String>>);

impl Ports {
    /// In words.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().map(|(address, why)| format!("{address}: {why}")).collect()
    }
    pub(super) fn failed(&self, address: SocketAddr, why: String) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address, why).is_none()
    }
    pub(super) fn bound(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }
}

/// Serves an address for ever; while it is taken (by kube-proxy, say), tries again.
pub(super) async fn serve_tcp(address: SocketAddr, handler: Handler, ports: Arc<Ports>) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                if ports.failed(address, error.to_string()) {
                    tracing::warn!(%address, %error, "the port cannot be served yet: trying again");
                }
                time::sleep(RETRY).await;
            }
        }
    };
    ports.bound(address);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let handler = Arc::clone(&handler);
                tokio::spawn(async move {
                    connection(stream, handler).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%address, %error, "accepting");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, from its first request to its end.
pub(super) async fn connection<S>(stream: S, handler: Handler)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let response = handler(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(CONNECTION_LIFE, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection ended"),
    }
}

/// An answer with a body.
pub(super) fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// JSON.
pub(super) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, "application/json", body),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}
