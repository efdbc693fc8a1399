//! Sends a request to an endpoint.

use std::{error::Error as _, net::SocketAddr, pin::pin, rc::Rc};

use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, sleep_until};

use crate::{
    body::Body,
    connect::{Peer, open},
    exchange::Exchange,
    fail::Fail,
    head::is_idempotent,
    pool::{Lease, Sender},
    proxy::Worker,
};

const TRIES: usize = 3;

/// Sends it to the first of `endpoints` that takes it. A request is sent again only where none of it can
/// have been acted upon.
pub(crate) async fn send(
    worker: &Worker,
    endpoints: Vec<SocketAddr>,
    peer: Peer,
    mut request: Request<Body>,
    exchange: &Exchange,
) -> Result<(Response<Incoming>, Lease), Fail> {
    let mut last = Fail(StatusCode::BAD_GATEWAY, "connect_refused");
    let (pool, metrics) = (&worker.pool, &worker.metrics);
    for endpoint in endpoints.into_iter().take(TRIES) {
        let key = peer.key(endpoint);
        // A connection that waited may have closed meanwhile: then a new one to the same endpoint.
        for fresh in [false, true] {
            let sender = match pool.take(key, &peer.name).filter(|_| !fresh) {
                Some(sender) => sender,
                None if !fresh => continue,
                None => match open(worker, endpoint, &peer).await {
                    Ok(sender) => sender,
                    Err(fail) => {
                        last = fail;
                        break;
                    }
                },
            };
            match attempt(sender, request, !fresh, exchange).await {
                Ok((response, sender)) => {
                    let (pool, name) = (Rc::clone(pool), peer.name);
                    return Ok((response, Lease { pool, key, name, sender }));
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

type Failed = (Option<Request<Body>>, Fail);

/// The request comes back where it may be sent again.
async fn attempt(
    mut sender: Sender,
    request: Request<Body>,
    reused: bool,
    exchange: &Exchange,
) -> Result<(Response<Incoming>, Sender), Failed> {
    let closed = Fail(StatusCode::BAD_GATEWAY, "upstream_closed");
    let (ready, many) = match &mut sender {
        Sender::One(sender) => (sender.ready().await, false),
        Sender::Many(stream) => (stream.sender.ready().await, true),
    };
    if ready.is_err() {
        return Err((Some(request), closed));
    }
    let reused = reused && is_idempotent(request.method());
    // Of HTTP/2 any request can be refused unseen.
    let again = (request.body().is_end_stream() && (reused || many)).then(|| copy(&request));
    exchange.touch();
    let timed_out = Fail(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout");
    let answered = {
        let sending = async {
            match &mut sender {
                Sender::One(sender) => sender.try_send_request(request).await,
                Sender::Many(stream) => stream.sender.try_send_request(request).await,
            }
        };
        let mut sending = pin!(sending);
        loop {
            tokio::select! {
                answered = sending.as_mut() => break answered,
                // A body that is still being sent is no endpoint that does not answer.
                () = sleep_until(exchange.due().1) => {
                    if exchange.due().0 <= Instant::now() {
                        return Err((None, timed_out));
                    }
                }
            }
        }
    };
    match answered {
        Ok(response) => Ok((response, sender)),
        Err(mut error) => {
            let again = again.filter(|_| reused || is_refused(error.error()));
            Err((error.take_message().or(again), closed))
        }
    }
}

/// An endpoint that refuses a stream has acted upon nothing of it (RFC 9113 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let reason = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    reason.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM)
}

fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::Text(None));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
