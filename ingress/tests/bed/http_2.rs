//! A server of HTTP/2, as gRPC's are, and a client.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http2::SendRequest,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_rustls::TlsAcceptor;

/// Echoes each body as it comes, then `grpc-status: 0` as a trailer. The first request for `/refused` is
/// refused unseen; one for `/hold` has its head answered, and its body when the server is told.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Those that are open end in order.
    pub(crate) leave: watch::Sender<u32>,
}

impl Server {
    pub(crate) fn start(tls: Option<Arc<rustls::ServerConfig>>, streams: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (leave, leaving) = watch::channel(0);
        let (recorded, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let acceptor = tls.map(TlsAcceptor::from);
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    let (acceptor, recorded) = (acceptor.clone(), Arc::clone(&recorded));
                    let mut leaving = leaving.clone();
                    leaving.mark_unchanged();
                    tokio::spawn(async move {
                        match acceptor {
                            None => serve(stream, "-", recorded, streams, leaving).await,
                            Some(acceptor) => {
                                let Ok(stream) = acceptor.accept(stream).await else { return };
                                let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                                let alpn = String::from_utf8(alpn.unwrap_or_default()).unwrap();
                                serve(stream, &alpn, recorded, streams, leaving).await;
                            }
                        }
                    });
                }
            });
        });
        Self { address, seen, connections, leave }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve<S>(
    stream: S,
    alpn: &str,
    seen: Arc<Mutex<Vec<String>>>,
    streams: u32,
    mut leaving: watch::Receiver<u32>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let alpn = alpn.to_owned();
    let service = service_fn(move |request: Request<Incoming>| {
        let line = format!("{alpn} {} {} {:?}", request.method(), request.uri(), request.headers());
        let mut seen = seen.lock().unwrap();
        seen.push(line);
        let path = request.uri().path();
        let first = seen.iter().filter(|line| line.contains(path)).count() == 1;
        let refused = path == "/refused" && first;
        async move {
            if refused {
                return Err(h2::Error::from(h2::Reason::REFUSED_STREAM));
            }
            assert_eq!(request.version(), Version::HTTP_2);
            let mut response = Response::new(Echo(Some(request.into_body()), None));
            let of_type = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", of_type);
            Ok(response)
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(streams);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ended = serving.as_mut() => return,
        _told = leaving.changed() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = serving.await;
}

/// The request's body, then a trailer.
struct Echo(Option<Incoming>, Option<()>);

impl Body for Echo {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        if !matches!(&frame, Some(Ok(frame)) if !frame.is_data()) && frame.is_some() {
            return Poll::Ready(frame);
        }
        self.0 = None;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// A body that is written as it goes.
pub(crate) struct Written(mpsc::UnboundedReceiver<Bytes>);

pub(crate) fn written() -> (mpsc::UnboundedSender<Bytes>, Written) {
    let (writer, reader) = mpsc::unbounded_channel();
    (writer, Written(reader))
}

/// A whole body.
pub(crate) fn whole(text: &'static str) -> Written {
    let (writer, body) = written();
    if !text.is_empty() {
        writer.send(Bytes::from_static(text.as_bytes())).unwrap();
    }
    body
}

impl Body for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty() && self.0.is_closed()
    }
}

pub(crate) type Client = SendRequest<Written>;

/// A client without TLS, by prior knowledge.
pub(crate) async fn client(address: SocketAddr) -> Client {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A call as gRPC makes them.
pub(crate) fn call(path: &str, body: Written) -> Request<Written> {
    Request::builder()
        .method("POST")
        .uri(format!("http://h.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// Body and trailers.
pub(crate) async fn collect(response: Response<Incoming>) -> (String, HeaderMap) {
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
}
