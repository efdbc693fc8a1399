//! Questions to the loop from other threads, in portions that do not hold it up.
//!
//! The loop answers one question between two turns, so that an answer always is about a state in
//! which everything that was heard is planned; and a question about the whole cluster is asked in
//! portions, so that a change waits for one portion at most.

use std::{
    sync::mpsc as std_mpsc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{State, Wake};

/// The loop answers within this, or it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time that one portion takes.
const PORTION: Duration = Duration::from_micros(300);
/// Entries between two looks at the clock.
const STRIDE: usize = 8;

/// Asks the loop.
#[derive(Clone, Debug)]
pub struct Asker {
    wakes: mpsc::Sender<Wake>,
}

/// What one portion answers: a part of the answer, and where the next portion goes on; `None`: it
/// was the last one.
pub type Part<T, C> = (T, Option<C>);

impl Asker {
    /// Over the loop's queue.
    #[must_use]
    pub const fn new(wakes: mpsc::Sender<Wake>) -> Self {
        Self { wakes }
    }

    /// One question. `None`: the loop is busy, hangs or has ended.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = std_mpsc::sync_channel(1);
        let question = Box::new(move |state: &State| {
            // What the question holds is let go of before the answer goes out, so that whoever
            // asked is the last to hold what is shared.
            let answer = question(state);
            // Whoever asked may have given up: then nobody misses the answer.
            let _given_up = reply.try_send(answer);
        });
        self.wakes.try_send(Wake::Ask(question)).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }

    /// A question in portions: `portion` answers a part and where to go on, until there is no more.
    /// `each` takes the parts.
    pub fn walk<T, C, Q>(&self, portion: Q, mut each: impl FnMut(T)) -> Option<()>
    where
        T: Send + 'static,
        C: Send + 'static,
        Q: Fn(&State, Option<C>) -> Part<T, C> + Clone + Send + 'static,
    {
        let mut at = None;
        loop {
            let portion = portion.clone();
            let from = at.take();
            let (part, next) = self.ask(move |state| portion(state, from))?;
            each(part);
            match next {
                None => return Some(()),
                next => at = next,
            }
        }
    }

    /// Hands the loop something to do.
    pub(super) fn tell(&self, wake: Wake) -> bool {
        self.wakes.blocking_send(wake).is_ok()
    }

    /// Has the loop ended?
    pub(super) fn is_over(&self) -> bool {
        self.wakes.is_closed()
    }
}

/// Takes entries one by one until a portion's time is over; answers the key of the last entry when
/// there may be more.
pub(super) fn portion<E, C>(
    entries: impl Iterator<Item = E>,
    mut each: impl FnMut(E) -> C,
) -> Option<C> {
    let began = Instant::now();
    for (number, entry) in entries.enumerate() {
        let at = each(entry);
        if number % STRIDE == STRIDE - 1 && began.elapsed() >= PORTION {
            return Some(at);
        }
    }
    None
}
