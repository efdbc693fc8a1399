//! A client's connection behind the [`Guard`].

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::{
    guard::{Guard, Violation},
    metrics::{IngressMetrics, Limit},
};

/// A head that began is complete by then (a client that drips it holds memory, RFC 9112 9.5).
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer for so long is given up, as with nginx's `send_timeout`.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// After an answer that came before the end of its request's body, the rest is read and thrown away for
/// so long, and up to so much: closing at once would reset the connection, and the client, still
/// sending, would never read the answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 256 << 20;
/// What hyper answers with 400, and then closes.
const REFUSED: &[u8] = b"\0\r\n\r\n";
const READ: usize = 8 << 10;

/// What hyper answers with 431, and then closes: one field more than it takes.
fn too_large() -> Vec<u8> {
    let fields = "a:\r\n".repeat(crate::guard::FIELDS_MAX + 1);
    format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes()
}

/// What became of a request for an upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Not known yet.
    Open,
    /// Answered like any request: the next one follows.
    Refused,
    /// Taken: what follows is no HTTP.
    Tunnel,
}

/// Told by what answers, read by what reads. One thread has both; hyper wants what it may move.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<AtomicU8>);

impl Told {
    pub(crate) fn get(&self) -> Fate {
        match self.0.load(Ordering::Relaxed) {
            0 => Fate::Open,
            1 => Fate::Refused,
            _ => Fate::Tunnel,
        }
    }

    pub(crate) fn set(&self, fate: Fate) {
        self.0.store(fate as u8, Ordering::Relaxed);
    }
}

/// Passes on what the guard understood.
pub(crate) struct Guarded<S> {
    inner: S,
    guard: Guard,
    unread: BytesMut,
    /// So many bytes at the front of `unread` may be passed on.
    passed: usize,
    refused: bool,
    fate: Told,
    late: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    metrics: Arc<IngressMetrics>,
}

impl<S> Guarded<S> {
    pub(crate) fn new(inner: S, fate: Told, metrics: Arc<IngressMetrics>) -> Self {
        Self {
            inner,
            guard: Guard::default(),
            unread: BytesMut::new(),
            passed: 0,
            refused: false,
            fate,
            late: None,
            stuck: None,
            linger: None,
            metrics,
        }
    }

    /// Looks at what was read, or was to be looked at later.
    fn judge(&mut self) {
        if self.guard.awaits_upgrade() && self.fate.get() == Fate::Refused {
            self.guard.not_upgraded();
        }
        let waited = self.guard.awaits_upgrade();
        let read = self.guard.read(&self.unread);
        self.passed = read.bytes;
        if self.guard.awaits_upgrade() && !waited {
            self.fate.set(Fate::Open);
        }
        if let Some(violation) = read.violation {
            self.metrics.malformed.inc();
            self.refused = true;
            self.unread.truncate(read.bytes);
            match violation {
                // In a body there is no head to be too large: it just ends.
                Violation::TooLarge if self.guard.is_between() => {
                    self.unread.extend_from_slice(&too_large());
                }
                _ => self.unread.extend_from_slice(REFUSED),
            }
            self.passed = self.unread.len();
        }
        // A head is waited for with nothing of it there: that is no slow one.
        if self.unread.len() == self.passed {
            self.late = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let tunnel = this.fate.get() == Fate::Tunnel;
            let ready = if tunnel { this.unread.len() } else { this.passed };
            if ready > 0 {
                let count = ready.min(buf.remaining());
                buf.put_slice(this.unread.get(..count).unwrap_or_default());
                this.unread.advance(count);
                this.passed = this.passed.saturating_sub(count);
                return Poll::Ready(Ok(()));
            }
            if tunnel {
                return Pin::new(&mut this.inner).poll_read(cx, buf);
            }
            if this.refused {
                return Poll::Ready(Ok(()));
            }
            this.unread.reserve(READ);
            let read = {
                let mut chunk = [0u8; READ];
                let mut chunk = ReadBuf::new(&mut chunk);
                match Pin::new(&mut this.inner).poll_read(cx, &mut chunk) {
                    Poll::Ready(result) => {
                        result?;
                        this.unread.extend_from_slice(chunk.filled());
                        Some(chunk.filled().len())
                    }
                    Poll::Pending => None,
                }
            };
            match read {
                Some(0) => return Poll::Ready(Ok(())),
                Some(_) => this.judge(),
                None if this.unread.is_empty() => return Poll::Pending,
                None => {
                    let late =
                        this.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(HEAD_TIME)));
                    ready!(late.as_mut().poll(cx));
                    this.metrics.limited(Limit::HeadTime);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
    }
}

impl<S> Guarded<S> {
    /// What a write came to, unless the client has taken nothing for too long. A tunnel has its own time.
    fn paced<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() || self.fate.get() == Fate::Tunnel {
            self.stuck = None;
            return written;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIME)));
        ready!(stuck.as_mut().poll(cx));
        self.metrics.limited(Limit::WriteTime);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.paced(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.paced(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.paced(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        ready!(this.paced(shut, cx))?;
        let in_body = this.refused || !this.guard.is_between();
        if !in_body || this.fate.get() == Fate::Tunnel {
            return Poll::Ready(Ok(()));
        }
        let linger = || (Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES);
        let (time, left) = this.linger.get_or_insert_with(linger);
        loop {
            if time.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0u8; READ];
            let mut chunk = ReadBuf::new(&mut chunk);
            // An error ends it like the client's end does.
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut chunk));
            *left = left.saturating_sub(chunk.filled().len());
            if read.is_err() || chunk.filled().is_empty() || *left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn guarded(buffer: usize) -> (DuplexStream, Guarded<DuplexStream>, Arc<IngressMetrics>) {
        let metrics = Arc::new(IngressMetrics::new(&prometheus::Registry::new()).unwrap());
        let (client, server) = duplex(buffer);
        let guarded = Guarded::new(server, Told::default(), Arc::clone(&metrics));
        (client, guarded, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_ends_the_connection_and_silence_between_heads_does_not() {
        let (mut client, mut guarded, _metrics) = guarded(1024);
        let mut byte = [0];
        let silent = tokio::time::timeout(HEAD_TIME * 3, guarded.read(&mut byte)).await;
        assert!(silent.is_err(), "hyper has its own patience between requests");
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nA: bbbbbbbbbbbbbbb" {
                client.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(HEAD_TIME / 8).await;
            }
        };
        let mut byte = [0];
        let (read, ()) = tokio::join!(guarded.read(&mut byte), drip);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_unless_it_is_a_tunnel() {
        let (_client, mut guarded, _metrics) = guarded(16);
        let written = guarded.write_all(&[0; 64]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        guarded.fate.set(Fate::Tunnel);
        let waiting = tokio::time::timeout(WRITE_TIME * 2, guarded.write_all(&[0; 64])).await;
        assert!(waiting.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_an_early_answer_is_read_before_the_connection_closes() {
        let (mut client, mut guarded, _metrics) = guarded(1024);
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 100];
        assert!(guarded.read(&mut head).await.unwrap() > 0);
        let upload = async {
            client.write_all(&[b'x'; 9000]).await.unwrap();
            drop(client);
        };
        let (shut, ()) = tokio::join!(guarded.shutdown(), upload);
        shut.unwrap();
        // A client that never ends is waited for no longer than a while.
        let (mut client, mut guarded, _metrics) = self::guarded(1024);
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n")
            .await
            .unwrap();
        assert!(guarded.read(&mut head).await.unwrap() > 0);
        tokio::time::timeout(LINGER * 2, guarded.shutdown()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_refused_is_counted_and_hyper_reads_what_it_refuses_too() {
        for (text, begins) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), REFUSED.to_vec()),
            (format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(40 << 10)), too_large()),
        ] {
            let (mut client, mut guarded, metrics) = guarded(64 << 10);
            client.write_all(text.as_bytes()).await.unwrap();
            let mut given = Vec::new();
            guarded.read_to_end(&mut given).await.unwrap();
            assert_eq!(given, begins);
            assert_eq!(metrics.malformed.get(), 1);
        }
    }
}
