//! What the two halves of one request, and of its connection, know of each other.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::time::Instant;
use towpath_route::Times;

/// When something of a connection moved last: a request came, or a part of a body passed.
#[derive(Clone)]
pub(crate) struct Moved(Rc<Cell<Instant>>);

impl Default for Moved {
    fn default() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }
}

impl Moved {
    pub(crate) fn touch(&self) {
        self.0.set(Instant::now());
    }

    pub(crate) fn at(&self) -> Instant {
        self.0.get()
    }
}

/// Between two parts of a request's body, as nginx's `client_body_timeout`.
const CLIENT_GAP: Duration = Duration::from_secs(60);

/// One request and its answer.
pub(crate) struct Exchange {
    connection: Moved,
    moved: Cell<Instant>,
    /// The request's body was larger than its route allows.
    over: Cell<bool>,
    /// Parts of the request are still to come.
    sending: Cell<bool>,
    times: Times,
}

impl Exchange {
    pub(crate) fn new(connection: Moved, times: Times) -> Rc<Self> {
        let moved = Cell::new(Instant::now());
        let (over, sending) = Default::default();
        Rc::new(Self { connection, moved, over, sending, times })
    }

    pub(crate) fn is_sending(&self, sending: bool) {
        self.sending.set(sending);
    }

    /// How long a body may stand still. That of a request so long as its endpoint may take for it, too: a
    /// client of gRPC that listens sends nothing, and nginx cuts it off after a minute.
    pub(crate) fn gap(&self, answer: bool) -> Duration {
        if answer { self.times.read } else { CLIENT_GAP.max(self.times.send) }
    }

    /// Until when it must have moved; and when to look, for the time changes with what is waited for.
    pub(crate) fn due(&self) -> (Instant, Instant) {
        let Times { send, read, .. } = self.times;
        let due = self.moved.get() + if self.sending.get() { send } else { read };
        (due, due.min(Instant::now() + send.min(read)))
    }

    /// A part of a body passed.
    pub(crate) fn touch(&self) {
        self.connection.touch();
        self.moved.set(self.connection.at());
    }

    pub(crate) fn went_over(&self) {
        self.over.set(true);
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.over.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_decides_how_long() {
        let seconds = Duration::from_secs;
        for (send, read, gaps) in [(60, 60, (60, 60)), (1, 3600, (60, 3600)), (3600, 5, (3600, 5))]
        {
            let times = Times { connect: seconds(5), send: seconds(send), read: seconds(read) };
            let exchange = Exchange::new(Moved::default(), times);
            assert_eq!(
                (exchange.gap(false), exchange.gap(true)),
                (seconds(gaps.0), seconds(gaps.1))
            );
            let begun = Instant::now();
            for (sending, time) in [(true, send), (false, read)] {
                exchange.is_sending(sending);
                let (due, look) = exchange.due();
                assert_eq!(due, begun + seconds(time));
                // Never later than the shorter one: what is waited for may change.
                assert_eq!(look, begun + seconds(send.min(read)));
            }
            tokio::time::advance(seconds(1)).await;
            exchange.touch();
            assert_eq!(exchange.due().0, begun + seconds(1 + read));
        }
    }
}
