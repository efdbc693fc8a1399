//! Connections of clients.

use std::{cell::Cell, io, pin::pin, rc::Rc, sync::Arc, time::Duration};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    exchange::Moved,
    guard::HEAD_MAX,
    guarded::{Guarded, Told},
    head::From,
    local::Local,
    metrics::{IngressMetrics, Limit},
    proxy::{Connection, Worker},
};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two requests of a connection; of HTTP/2, between two signs of any of its requests.
const IDLE: Duration = Duration::from_secs(75);
/// After an accept that failed for want of something.
const PAUSE: Duration = Duration::from_millis(50);
/// What a connection of HTTP/2 begins with, as far as no method of HTTP/1 begins so.
const PREFACE: &[u8] = b"PRI ";
/// Between two looks at a preface that comes in pieces, at first; each time twice as long, up to
/// [`PIECE_MAX`]: a client that sends no more of it costs next to nothing.
const PIECE: Duration = Duration::from_millis(10);
const PIECE_MAX: Duration = Duration::from_secs(5);

/// Counts a connection as open for as long as it lives, however it ends.
pub(crate) struct Open {
    count: Rc<Cell<usize>>,
    metrics: Arc<IngressMetrics>,
}

impl Open {
    fn new(count: &Rc<Cell<usize>>, metrics: &Arc<IngressMetrics>) -> Self {
        count.set(count.get() + 1);
        metrics.accepted.inc();
        metrics.open.inc();
        Self { count: Rc::clone(count), metrics: Arc::clone(metrics) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.set(self.count.get().saturating_sub(1));
        self.metrics.open.dec();
    }
}

/// Takes connections until it is told to stop; those that are open go on.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    worker: Rc<Worker>,
    (open, limit): (Rc<Cell<usize>>, usize),
    mut stop: watch::Receiver<bool>,
) {
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _told = stop.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, client)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else { continue };
        if open.get() >= limit {
            // Closed at once: a client sees it, and those that are open are served.
            worker.metrics.limited(Limit::Connections);
            continue;
        }
        let connection = Connection {
            worker: Rc::clone(&worker),
            from: From { client, local, secure: tls.is_some() },
            fate: Told::default(),
            moved: Moved::default(),
            _open: Open::new(&open, &worker.metrics),
        };
        tokio::task::spawn_local(serve(stream, tls.clone(), Rc::new(connection), stop.clone()));
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    connection: Rc<Connection>,
    stop: watch::Receiver<bool>,
) {
    // A socket that lacks it works, only later.
    let _set = stream.set_nodelay(true);
    match tls {
        Some(tls) => {
            let metrics = &connection.worker.metrics;
            let stream = match timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(_not_tls)) => return metrics.handshake_failures.inc(),
                Err(_elapsed) => return metrics.limited(Limit::HandshakeTime),
            };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if h2 {
                http_2(stream, connection, stop).await
            } else {
                http_1(stream, connection, stop).await
            }
        }
        None => match timeout(IDLE, speaks_http_2(&stream)).await {
            Ok(Ok(true)) => http_2(stream, connection, stop).await,
            Ok(Ok(false)) => http_1(stream, connection, stop).await,
            Ok(Err(_)) | Err(_) => {}
        },
    }
}

/// Does it begin with the preface of HTTP/2?
async fn speaks_http_2(stream: &TcpStream) -> io::Result<bool> {
    let mut begin = [0; PREFACE.len()];
    let mut wait = PIECE;
    loop {
        let count = stream.peek(&mut begin).await?;
        let begun = begin.get(..count).unwrap_or_default();
        if count == 0 || !PREFACE.starts_with(begun) {
            return Ok(false);
        }
        if begun == PREFACE {
            return Ok(true);
        }
        // What was looked at stays readable.
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(PIECE_MAX);
    }
}

async fn http_1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Rc<Connection>,
    mut stop: watch::Receiver<bool>,
) {
    let metrics = Arc::clone(&connection.worker.metrics);
    let guarded = Guarded::new(stream, connection.fate.clone(), metrics);
    let service = service_fn(move |request| Rc::clone(&connection).answer(request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD_MAX * 2);
    let serving = builder.serve_connection(TokioIo::new(guarded), service).with_upgrades();
    let mut serving = pin!(serving);
    let told = tokio::select! {
        _ended = serving.as_mut() => false,
        _told = stop.wait_for(|stop| *stop) => true,
    };
    if told {
        serving.as_mut().graceful_shutdown();
        // How a connection ended is its client's business.
        let _ended = serving.await;
    }
}

async fn http_2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Rc<Connection>,
    mut stop: watch::Receiver<bool>,
) {
    let moved = connection.moved.clone();
    let service = service_fn(move |request| Rc::clone(&connection).answer(request));
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10)
        .max_header_list_size(32 << 10)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(IDLE)
        .keep_alive_timeout(Duration::from_secs(20));
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let told = loop {
        tokio::select! {
            _ended = serving.as_mut() => return,
            _told = stop.wait_for(|stop| *stop) => break true,
            () = tokio::time::sleep_until(moved.at() + IDLE) => {
                if moved.at().elapsed() >= IDLE {
                    break false;
                }
            }
        }
    };
    serving.as_mut().graceful_shutdown();
    if told {
        // As above.
        let _ended = serving.await;
    } else {
        // What is left are requests that stand still: of a client that takes nothing, too.
        let _ended = timeout(IDLE, serving).await;
    }
}
