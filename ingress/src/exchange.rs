//! What the two halves of one request, and of its connection, know of each other.

use std::{cell::Cell, rc::Rc};

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

    pub(crate) const fn times(&self) -> &Times {
        &self.times
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
