//! HTTP/1 for small questions: heads, bytes and seconds are bounded, and connections are where they
//! are accepted.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};

/// What is answered.
pub(crate) type Answer = Response<Full<Bytes>>;

/// The first head of a connection that takes longer, from its first byte to its last, is not
/// answered.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection waits so long for its next question, its head included.
const KEPT_ALIVE: Duration = Duration::from_secs(5);
/// A connection that lives longer is closed, kept alive or not: it bounds slow readers.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;

/// A question: what is left of a request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: String,
}

/// Whether a connection waits for the daemon (its question is being answered) or for its client.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// A question came, or was answered.
    pub(super) fn set(&self, busy: bool) {
        self.0.store(busy, Ordering::Relaxed);
    }

    /// Is a question being answered?
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves one connection until it ends, or has lived long enough.
pub(super) async fn serve<S, H, F>(stream: S, handler: Arc<H>, busy: Busy)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let asked = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        first.store(true, Ordering::Relaxed);
        let (handler, busy) = (Arc::clone(&handler), busy.clone());
        async move {
            busy.set(true);
            let answer = answer(&request, &*handler).await;
            // A client that does not read the answer is what is waited for, not the daemon.
            busy.set(false);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEPT_ALIVE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let nothing_asked = async {
        tokio::time::sleep(HEAD_TIMEOUT).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection => ended,
        () = nothing_asked => return,
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn answer<H, F>(request: &Request<Incoming>, handler: &H) -> Answer
where
    H: Fn(Asked) -> F,
    F: Future<Output = Answer>,
{
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let uri = request.uri();
    let query = uri.query().unwrap_or_default().to_owned();
    handler(Asked { path: uri.path().to_owned(), query }).await
}

/// A text answer.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

/// A JSON answer.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// An answer of some type. No cache keeps it, no browser guesses at it.
pub(super) fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Nothing is served there.
pub(crate) fn not_found(known: &str) -> Answer {
    text(StatusCode::NOT_FOUND, format!("not here; known are {known}\n"))
}

/// The value of a parameter of a query string, percent-decoded; what is no valid escape stays.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::{self, Instant},
    };

    use super::*;

    /// How long a connection lives whose client sends this, byte by byte, and what it is answered.
    async fn lives(sent: &str, pause: Duration) -> (Duration, String) {
        let handler = |_| std::future::ready(text(StatusCode::OK, "well\n"));
        let (client, server) = tokio::io::duplex(4_096);
        tokio::spawn(serve(server, Arc::new(handler), Busy::default()));
        let (mut answers, mut questions) = tokio::io::split(client);
        let began = Instant::now();
        let sending = async {
            for byte in sent.bytes() {
                time::sleep(pause).await;
                if questions.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let mut answer = String::new();
        tokio::select! {
            read = answers.read_to_string(&mut answer) => drop(read.unwrap()),
            () = sending => {}
        }
        (began.elapsed(), answer)
    }

    /// A few milliseconds are the timer's own.
    #[track_caller]
    fn about(lived: Duration, expected: Duration) {
        assert!(
            lived.abs_diff(expected) < Duration::from_millis(20),
            "{lived:?}, not {expected:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_ask_is_not_waited_for() {
        let question = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
        for (sent, pause) in [("", Duration::ZERO), (question, Duration::from_millis(300))] {
            let (lived, answer) = lives(sent, pause).await;
            about(lived, HEAD_TIMEOUT);
            assert_eq!(answer, "");
        }
        // An answer, and then nothing more is asked.
        let (lived, answer) = lives(question, Duration::ZERO).await;
        about(lived, KEPT_ALIVE);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[test]
    fn parameters_are_found_and_decoded() {
        for (query, expected) in [
            ("name=shop/cart", Some("shop/cart")),
            ("x=1&name=shop%2Fcart", Some("shop/cart")),
            ("name=%zz%4", Some("%zz%4")),
            ("name=%e4%", Some("\u{fffd}%")),
            ("names=a", None),
            ("", None),
        ] {
            assert_eq!(parameter(query, "name").as_deref(), expected, "{query}");
        }
    }
}
