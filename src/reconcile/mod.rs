//! The loop: events in, turns of the areas out.
//!
//! One thread, one function ([`State::turn`]) that calls the steps of DESIGN section 2 in order. It
//! names no area, and knows nothing of HTTP, files or netlink: sources send [`Wake`]s, programs are
//! behind [`towpath_image::Programs`], areas behind [`Area`]; everything else looks at it through
//! questions.

mod area;
mod areas;
mod ask;
mod audit;
mod grace;
mod ledger;
mod metrics;
mod retry;
mod runner;
mod self_heal;
mod state;
mod wake;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
pub use towpath_model::Stream;

pub use area::{Area, Failure, Outcome, Planned, Published};
pub use areas::{AreaState, Areas, Has, Report, Running, Turn};
pub use ask::{AreaAsker, Asked, Asker, Part, portion};
pub use audit::{Audit, Auditor, Finding, SPELLED_OUT, audit};
pub use grace::{GraceRequests, Graces};
pub use ledger::{Entry, Ledger};
pub use metrics::LoopMetrics;
pub use runner::Runner;
pub use state::{Outputs, State};
pub use wake::{Question, Wake};

use crate::vitals::Vitals;

/// Events that one turn takes at most, however full the queue is.
const EVENTS_PER_TURN: usize = 4096;
/// Time that one turn collects at most, however fast events come.
const COLLECT: Duration = Duration::from_millis(5);
/// Wakes that wait at most; a full queue slows the sources.
pub const QUEUE: usize = 1024;

/// Starts the loop on a thread of its own. It ends at [`Wake::Stop`] or when every sender is gone.
///
/// # Errors
/// When the thread cannot be started.
pub fn start<A: Areas>(
    mut state: State<A>,
    mut wakes: mpsc::Receiver<Wake<A>>,
) -> std::io::Result<thread::JoinHandle<State<A>>> {
    let last_words = LastWords(state.vitals());
    thread::Builder::new().name("reconcile".into()).spawn(move || {
        let _last_words = last_words;
        loop {
            let collected = collect(&mut state, &mut wakes);
            state.turn();
            match collected {
                Collected::More => {}
                // Asked between turns: a question never sees an event that is not yet planned.
                Collected::Question(question) => question(&state),
                Collected::Stop => return state,
            }
        }
    })
}

/// Health turns red at once when the loop panics.
struct LastWords(Arc<Vitals>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.died();
        }
    }
}

/// What ended a collection.
enum Collected<A> {
    More,
    Question(Question<A>),
    Stop,
}

/// Waits for a wake, then takes what else is there, up to the first question.
fn collect<A: Areas>(state: &mut State<A>, wakes: &mut mpsc::Receiver<Wake<A>>) -> Collected<A> {
    let Some(first) = wakes.blocking_recv() else { return Collected::Stop };
    let (began, received) = (Instant::now(), state.now());
    let mut next = Some(first);
    let mut events = 0;
    while let Some(wake) = next {
        match wake {
            Wake::Events(batch) => {
                events += batch.len();
                state.ingest(batch, received);
            }
            Wake::Ask(question) => return Collected::Question(question),
            Wake::Graced(at) => state.graced(at),
            Wake::Bind(cluster, answer) => {
                // A task that has given up takes no answer.
                let _given_up = answer.send(state.bind(cluster));
            }
            Wake::Audited(finding) => state.audited(finding),
            Wake::Tick => state.tick(),
            Wake::Stop => return Collected::Stop,
        }
        if events >= EVENTS_PER_TURN || began.elapsed() >= COLLECT {
            break;
        }
        next = wakes.try_recv().ok();
    }
    Collected::More
}

#[cfg(test)]
mod tests;
