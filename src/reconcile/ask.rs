//! Questions to the loop from other threads, in portions that do not hold it up.
//!
//! The loop answers one question between two turns, so that an answer always is about a state in
//! which everything that was received is planned; and a question about the whole cluster is asked in
//! portions, so that a change waits for one portion at most.

use std::{
    fmt,
    sync::{Arc, mpsc as std_mpsc},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use towpath_model::View;

use super::{Area, Areas, Has, Runner, State, Wake};
use crate::clock::Now;

/// The loop answers within this, or it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time that one portion takes.
const PORTION: Duration = Duration::from_micros(300);
/// Entries between two looks at the clock.
const STRIDE: usize = 8;

/// Asks the loop.
pub struct Asker<A> {
    wakes: mpsc::Sender<Wake<A>>,
}

impl<A> Clone for Asker<A> {
    fn clone(&self) -> Self {
        Self { wakes: self.wakes.clone() }
    }
}

impl<A> fmt::Debug for Asker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

impl<A: Areas> Asker<A> {
    /// Over the loop's queue.
    #[must_use]
    pub const fn new(wakes: mpsc::Sender<Wake<A>>) -> Self {
        Self { wakes }
    }

    /// One question. `None`: the loop is busy, hangs or has ended.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State<A>) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = std_mpsc::sync_channel(1);
        let question = Box::new(move |state: &State<A>| {
            // What the question holds is let go of before the answer goes out, so that the asker is
            // the last to hold what is shared.
            let answer = question(state);
            // An asker that has given up takes no answer.
            let _given_up = reply.try_send(answer);
        });
        self.wakes.try_send(Wake::Ask(question)).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }

    /// Hands the loop something to do; false: it has ended.
    pub fn send(&self, wake: Wake<A>) -> bool {
        self.wakes.blocking_send(wake).is_ok()
    }

    /// Has the loop ended?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.wakes.is_closed()
    }

    /// Asks one area.
    #[must_use]
    pub fn area<X: Area>(&self) -> AreaAsker<X>
    where
        A: Has<X>,
    {
        let wakes = self.wakes.clone();
        let send = move |question: AreaQuestion<X>| {
            let question = move |state: &State<A>| {
                if let Some(runner) = state.areas().runner() {
                    question(&Asked { view: state.view(), runner, now: state.now() });
                }
            };
            wakes.try_send(Wake::Ask(Box::new(question))).is_ok()
        };
        AreaAsker { send: Arc::new(send) }
    }
}

/// What a question to an area looks at.
pub struct Asked<'a, X> {
    /// Everything that is known.
    pub view: View<'a>,
    /// The area, with its ledger.
    pub runner: &'a Runner<X>,
    /// When it is asked.
    pub now: Now,
}

type AreaQuestion<X> = Box<dyn FnOnce(&Asked<'_, X>) + Send>;

/// Asks one area, whichever others the loop drives.
pub struct AreaAsker<X> {
    send: Arc<dyn Fn(AreaQuestion<X>) -> bool + Send + Sync>,
}

impl<X> Clone for AreaAsker<X> {
    fn clone(&self) -> Self {
        Self { send: Arc::clone(&self.send) }
    }
}

impl<X> fmt::Debug for AreaAsker<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AreaAsker").finish_non_exhaustive()
    }
}

/// What one portion answers: a part of the answer, and where the next portion goes on; `None`: it
/// was the last one.
pub type Part<T, C> = (T, Option<C>);

impl<X: Area> AreaAsker<X> {
    /// Through whatever hands questions to the area between two turns; it answers false where it
    /// cannot. (Measurements put one in front of the loop's.)
    #[cfg(test)]
    pub(crate) fn through(send: impl Fn(AreaQuestion<X>) -> bool + Send + Sync + 'static) -> Self {
        Self { send: Arc::new(send) }
    }

    /// One question. `None`: the area is off, or the loop is busy, hangs or has ended.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Asked<'_, X>) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = std_mpsc::sync_channel(1);
        let question = Box::new(move |asked: &Asked<'_, X>| {
            // As in [`Asker::ask`].
            let answer = question(asked);
            let _given_up = reply.try_send(answer);
        });
        (self.send)(question).then(|| answer.recv_timeout(PATIENCE).ok()).flatten()
    }

    /// A question in portions: `portion` answers a part and where to go on, until there is no more.
    /// `each` takes the parts.
    pub fn walk<T, C, Q>(&self, portion: Q, mut each: impl FnMut(T)) -> Option<()>
    where
        T: Send + 'static,
        C: Send + 'static,
        Q: Fn(&Asked<'_, X>, Option<C>) -> Part<T, C> + Clone + Send + 'static,
    {
        let mut at = None;
        loop {
            let portion = portion.clone();
            let from = at.take();
            let (part, next) = self.ask(move |asked| portion(asked, from))?;
            each(part);
            match next {
                None => return Some(()),
                next => at = next,
            }
        }
    }
}

/// Takes entries one by one until a portion's time is over; answers the key of the last entry when
/// there may be more.
pub fn portion<E, C>(entries: impl Iterator<Item = E>, mut each: impl FnMut(E) -> C) -> Option<C> {
    let began = Instant::now();
    for (number, entry) in entries.enumerate() {
        let at = each(entry);
        if number % STRIDE == STRIDE - 1 && began.elapsed() >= PORTION {
            return Some(at);
        }
    }
    None
}
