//! Bodies in both directions, with their limits.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::{exchange::Exchange, pool::Lease};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("larger than the limit of its route")]
    TooLarge,
    #[error("nothing came for too long")]
    Idle,
}

/// What is sent.
pub(crate) enum Body {
    Text(Option<Bytes>),
    Stream(Box<Stream>),
}

/// What comes from one side and goes to the other.
pub(crate) struct Stream {
    incoming: Incoming,
    exchange: Rc<Exchange>,
    /// What a request's body may still have; `None`: any.
    left: Option<u64>,
    /// The endpoint's connection, used again once the body was read.
    lease: Option<Lease>,
    /// Of an answer, not of a request.
    answer: bool,
    done: bool,
    gap: Option<Pin<Box<Sleep>>>,
}

impl Body {
    /// A request's.
    pub(crate) fn request(incoming: Incoming, max: Option<u64>, exchange: &Rc<Exchange>) -> Self {
        if incoming.is_end_stream() {
            return Self::Text(None);
        }
        exchange.is_sending(true);
        Self::stream(incoming, exchange, max, None)
    }

    /// A response's.
    pub(crate) fn response(incoming: Incoming, lease: Lease, exchange: &Rc<Exchange>) -> Self {
        Self::stream(incoming, exchange, None, Some(lease))
    }

    fn stream(
        incoming: Incoming,
        exchange: &Rc<Exchange>,
        left: Option<u64>,
        lease: Option<Lease>,
    ) -> Self {
        let exchange = Rc::clone(exchange);
        let (answer, done, gap) = (lease.is_some(), false, None);
        Self::Stream(Box::new(Stream { incoming, exchange, left, lease, answer, done, gap }))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.gap = None;
                self.exchange.touch();
                Poll::Ready(Some(self.counted(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                self.done = true;
                if !self.answer {
                    self.exchange.is_sending(false);
                }
                self.exchange.touch();
                Poll::Ready(None)
            }
            Poll::Pending => {
                // A timer is made only for a body that lets wait.
                let time = self.exchange.gap(self.answer);
                let gap = self.gap.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
                gap.as_mut().poll(cx).map(|()| Some(Err(BodyError::Idle)))
            }
        }
    }

    fn counted(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        if let Some(left) = self.left {
            self.left = left.checked_sub(length);
            if self.left.is_none() {
                self.left = Some(0);
                self.exchange.went_over();
                return Err(BodyError::TooLarge);
            }
        }
        Ok(frame)
    }
}

impl Drop for Stream {
    /// hyper may never ask for the end of a body whose length it knows.
    fn drop(&mut self) {
        if !self.answer {
            self.exchange.is_sending(false);
        }
        if (self.done || self.incoming.is_end_stream())
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}
