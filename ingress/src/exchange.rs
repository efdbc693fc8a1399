//! What the two halves of one request, and of its connection, know of each other.

use std::{cell::Cell, rc::Rc};

use tokio::time::Instant;

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
}

impl Exchange {
    pub(crate) fn new(connection: Moved) -> Rc<Self> {
        let moved = Cell::new(Instant::now());
        Rc::new(Self { connection, moved, over: Cell::new(false) })
    }

    /// A part of a body passed.
    pub(crate) fn touch(&self) {
        self.connection.touch();
        self.moved.set(self.connection.at());
    }

    pub(crate) const fn moved(&self) -> Instant {
        self.moved.get()
    }

    pub(crate) fn went_over(&self) {
        self.over.set(true);
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.over.get()
    }
}
