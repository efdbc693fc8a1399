//! The loop: events in, batches out.
//!
//! One thread, one function ([`State::turn`]) that calls the steps of DESIGN section 2 in order.
//! It knows nothing of HTTP, files or netlink: sources send [`Wake`]s, the kernel is behind
//! [`Door`], everything else looks at it through questions.

mod answers;
mod ask;
mod audit;
mod brake;
mod clock;
#[cfg(test)]
pub(crate) mod desk;
mod grace;
mod guard;
mod in_force;
mod ledger;
mod retry;
mod state;
mod triggers;
mod troubles;
mod udp_endpoints;
mod vitals;
mod wake;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

pub use answers::{gather, services, status, unused_udp};
pub use ask::{Asker, Part};
pub use audit::{Auditor, Finding, Reader};
pub use clock::Clock;
pub use grace::Graces;
pub use ledger::{Entry, Ledger, Outcome};
pub use state::{Door, Effects, State};
pub use vitals::Vitals;
pub use wake::{Question, Wake};

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
pub fn start(
    mut state: State,
    mut wakes: mpsc::Receiver<Wake>,
) -> std::io::Result<thread::JoinHandle<State>> {
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
enum Collected {
    More,
    Question(Question),
    Stop,
}

/// Waits for a wake, then takes what else is there, up to the first question.
fn collect(state: &mut State, wakes: &mut mpsc::Receiver<Wake>) -> Collected {
    let Some(first) = wakes.blocking_recv() else { return Collected::Stop };
    let began = Instant::now();
    let mut next = Some(first);
    let mut events = 0;
    while let Some(wake) = next {
        match wake {
            Wake::Events(batch) => {
                events += batch.len();
                state.hear(batch, began);
            }
            Wake::Ask(question) => return Collected::Question(question),
            Wake::Graced(at) => state.graced(at),
            Wake::Bind(cluster, answer) => {
                // Whoever asked may have given up.
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
