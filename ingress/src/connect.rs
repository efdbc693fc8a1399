//! Connections to endpoints.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Poll, ready},
    time::Duration,
};

use http::StatusCode;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    body::Body,
    connector::Connector,
    fail::Fail,
    local::Watched,
    pool::{Key, Name, STREAMS_MAX, Sender, Shared},
    proxy::Worker,
};

/// Largest head of an answer; nginx's 4 KiB are a common cause of errors with large cookies.
const HEAD_MAX: u16 = u16::MAX;
/// What an answer may be ahead of its client.
const STREAM_WINDOW: u32 = 128 << 10;
/// As many as are open: clients that do not read their answers never stop another one's.
#[expect(clippy::cast_possible_truncation, reason = "100 fits")]
const WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// Stands for what an endpoint has not said yet: no endpoint says so.
const UNSAID: usize = 0x7fff_fff1;

/// How endpoints are spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) http_2: bool,
    pub(crate) tls: Option<Connector>,
    /// The request's host, where the connector asks for it.
    pub(crate) name: Name,
    /// For a connection, TLS included, as nginx's `proxy_connect_timeout`.
    pub(crate) time: Duration,
}

impl Peer {
    pub(crate) fn key(&self, endpoint: SocketAddr) -> Key {
        let tls = self.tls.as_ref().map_or(0, Connector::id);
        Key { endpoint, http_2: self.http_2, tls }
    }
}

const REFUSED: Fail = Fail(StatusCode::BAD_GATEWAY, "connect_refused");
const CLOSED: Fail = Fail(StatusCode::BAD_GATEWAY, "upstream_closed");
const NO_TLS: Fail = Fail(StatusCode::BAD_GATEWAY, "upstream_tls");

/// A connection that no other request uses, or a place on a new one of HTTP/2. Of many requests that want
/// one of HTTP/2 at the same time one makes it, and the others wait.
pub(crate) async fn open(
    worker: &Worker,
    endpoint: SocketAddr,
    peer: &Peer,
) -> Result<Sender, Fail> {
    let pool = &worker.pool;
    let key = peer.key(endpoint);
    if !peer.http_2 {
        return connect(worker, endpoint, peer).await;
    }
    loop {
        let maker = match pool.make(key, &peer.name) {
            Ok(maker) => maker,
            Err(mut made) => {
                // Gone without a word: its request was given up.
                if let Ok(made) = made.wait_for(Option::is_some).await
                    && let Some(Err(fail)) = *made
                {
                    return Err(fail);
                }
                match pool.take(key, &peer.name) {
                    Some(sender) => return Ok(sender),
                    None => continue,
                }
            }
        };
        let made = connect(worker, endpoint, peer).await;
        maker.announce(made.as_ref().map(|_sender| ()).map_err(|fail| *fail));
        return made;
    }
}

async fn connect(worker: &Worker, endpoint: SocketAddr, peer: &Peer) -> Result<Sender, Fail> {
    let timed_out = Fail(StatusCode::GATEWAY_TIMEOUT, "connect_timeout");
    let until = Instant::now() + peer.time;
    let stream = timeout(peer.time, TcpStream::connect(endpoint)).await;
    let stream = stream.map_err(|_elapsed| timed_out)?.map_err(|_error| REFUSED)?;
    // Without it small writes would wait for acknowledgements; a socket that lacks it works.
    let _set = stream.set_nodelay(true);
    let sender = match &peer.tls {
        None if !peer.http_2 => http_1(stream).await?,
        // Their states are large and rare: a request's own stays small.
        None => {
            let made = Box::pin(http_2(stream, worker, endpoint, peer));
            tokio::time::timeout_at(until, made).await.map_err(|_elapsed| timed_out)??
        }
        Some(tls) => {
            let made = Box::pin(over_tls(stream, tls, worker, endpoint, peer));
            tokio::time::timeout_at(until, made).await.map_err(|_elapsed| timed_out)??
        }
    };
    worker.metrics.upstream_connections.inc();
    Ok(sender)
}

async fn over_tls(
    stream: TcpStream,
    tls: &Connector,
    worker: &Worker,
    endpoint: SocketAddr,
    peer: &Peer,
) -> Result<Sender, Fail> {
    let name = peer.name.as_ref().or_else(|| tls.name()).cloned();
    // Neither verified nor told: sessions are kept by it.
    let name = name.unwrap_or_else(|| ServerName::IpAddress(endpoint.ip().into()));
    let connector = TlsConnector::from(tls.config(peer.http_2));
    let stream = connector.connect(name, stream).await.map_err(|_error| NO_TLS)?;
    if peer.http_2 { http_2(stream, worker, endpoint, peer).await } else { http_1(stream).await }
}

async fn http_1<S>(stream: S) -> Result<Sender, Fail>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(HEAD_MAX.into()).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|_error| REFUSED)?;
    tokio::task::spawn_local(async move {
        // How it ended is seen by the request that used it.
        let _ended = connection.with_upgrades().await;
    });
    Ok(Sender::One(sender))
}

/// No pings: a gRPC server takes them for abuse unless it was told of them.
async fn http_2<S>(
    stream: S,
    worker: &Worker,
    endpoint: SocketAddr,
    peer: &Peer,
) -> Result<Sender, Fail>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let watched = Watched::default();
    let mut builder = http2::Builder::new(watched.clone());
    builder
        .initial_max_send_streams(UNSAID)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(256 << 10)
        .max_header_list_size(HEAD_MAX.into());
    let handshake = builder.handshake::<_, Body>(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|_error| CLOSED)?;
    let mut connection = Box::pin(connection);
    // What it allows is the first that an endpoint says, so one that does not speak HTTP/2 has got no
    // request yet.
    let mut stepped = pin!(watched.0.notified());
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(CLOSED));
        }
        while connection.current_max_send_streams() == UNSAID {
            ready!(stepped.as_mut().poll(cx));
            stepped.set(watched.0.notified());
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    let limit = Rc::new(Cell::new(connection.current_max_send_streams()));
    let told = Rc::clone(&limit);
    tokio::task::spawn_local(poll_fn(move |cx| {
        let ended = connection.as_mut().poll(cx);
        told.set(connection.current_max_send_streams());
        // How it ended is seen by the requests that used it.
        ended.map(|_how| ())
    }));
    let (running, since, name) = (Rc::default(), Instant::now(), peer.name.clone());
    let shared = Shared { sender, name, limit, running, since };
    worker.pool.share(peer.key(endpoint), shared).ok_or(CLOSED)
}
