//! Sends a request to an endpoint.

use std::{net::SocketAddr, pin::pin, rc::Rc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep_until, timeout},
};

use crate::{
    body::Body, exchange::Exchange, fail::Fail, head::is_idempotent, pool::Lease, proxy::Worker,
};

const CONNECT: Duration = Duration::from_secs(5);
/// From the last part of the request to the head of its answer, as nginx's `proxy_read_timeout`.
const FIRST_BYTE: Duration = Duration::from_secs(60);
/// Largest head of an answer; nginx's 4 KiB are a common cause of errors with large cookies.
const HEAD_MAX: usize = 64 << 10;
const TRIES: usize = 3;

/// Sends it to the first of `endpoints` that takes it. A request is sent again only where none of it can
/// have been acted upon.
pub(crate) async fn send(
    worker: &Worker,
    endpoints: Vec<SocketAddr>,
    mut request: Request<Body>,
    exchange: &Exchange,
) -> Result<(Response<Incoming>, Lease), Fail> {
    let mut last = Fail(StatusCode::BAD_GATEWAY, "connect_refused");
    let (pool, metrics) = (&worker.pool, &worker.metrics);
    for endpoint in endpoints.into_iter().take(TRIES) {
        // A connection that waited may have closed meanwhile: then a new one to the same endpoint.
        for fresh in [false, true] {
            let sender = match pool.take(endpoint).filter(|_| !fresh) {
                Some(sender) => sender,
                None if !fresh => continue,
                None => match connect(endpoint).await {
                    Ok(sender) => {
                        metrics.upstream_connections.inc();
                        sender
                    }
                    Err(fail) => {
                        last = fail;
                        break;
                    }
                },
            };
            match attempt(sender, request, !fresh, exchange).await {
                Ok((response, sender)) => {
                    let lease = Lease { pool: Rc::clone(pool), endpoint, sender };
                    return Ok((response, lease));
                }
                Err((Some(unsent), fail)) => {
                    metrics.retries.inc();
                    (request, last) = (unsent, fail);
                }
                Err((None, fail)) => return Err(fail),
            }
        }
    }
    Err(last)
}

async fn connect(endpoint: SocketAddr) -> Result<http1::SendRequest<Body>, Fail> {
    let timed_out = Fail(StatusCode::GATEWAY_TIMEOUT, "connect_timeout");
    let refused = Fail(StatusCode::BAD_GATEWAY, "connect_refused");
    let connected = timeout(CONNECT, TcpStream::connect(endpoint)).await;
    let stream = connected.map_err(|_elapsed| timed_out)?.map_err(|_error| refused)?;
    // Without it small writes would wait for acknowledgements; a socket that lacks it works.
    let _set = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(HEAD_MAX).handshake(io);
    let (sender, connection) = handshake.await.map_err(|_error| refused)?;
    tokio::task::spawn_local(async move {
        // How it ended is seen by the request that used it.
        let _ended = connection.with_upgrades().await;
    });
    Ok(sender)
}

type Failed = (Option<Request<Body>>, Fail);

/// The request comes back where it may be sent again.
async fn attempt(
    mut sender: http1::SendRequest<Body>,
    request: Request<Body>,
    reused: bool,
    exchange: &Exchange,
) -> Result<(Response<Incoming>, http1::SendRequest<Body>), Failed> {
    let closed = Fail(StatusCode::BAD_GATEWAY, "upstream_closed");
    if sender.ready().await.is_err() {
        return Err((Some(request), closed));
    }
    let again = (reused && request.body().is_end_stream() && is_idempotent(request.method()))
        .then(|| copy(&request));
    exchange.touch();
    let timed_out = Fail(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout");
    let answered = {
        let mut sending = pin!(sender.try_send_request(request));
        loop {
            tokio::select! {
                answered = sending.as_mut() => break answered,
                // A body that is still being sent is no endpoint that does not answer.
                () = sleep_until(exchange.moved() + FIRST_BYTE) => {
                    if exchange.moved().elapsed() >= FIRST_BYTE {
                        return Err((None, timed_out));
                    }
                }
            }
        }
    };
    match answered {
        Ok(response) => Ok((response, sender)),
        Err(mut error) => Err((error.take_message().or(again), closed)),
    }
}

fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::Text(None));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
