//! The loop: events in, batches out.
//!
//! One thread, one function ([`State::turn`]) that calls the steps of DESIGN section 2 in order.
//! It knows nothing of HTTP, files or netlink: sources send [`Wake`]s, the kernel is behind
//! [`Door`], everything else looks at it through questions.

mod answers;
mod audit;
mod clock;
mod grace;
mod ledger;
pub mod stale_sockets;
mod state;
mod vitals;
mod wake;

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

pub use answers::{gather, services, status};
pub use audit::Finding;
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
    thread::Builder::new().name("reconcile".into()).spawn(move || {
        while collect(&mut state, &mut wakes) {
            state.turn();
        }
        state.turn();
        state
    })
}

/// Waits for a wake, then takes what else is there. Answers `false` when the loop is to end.
fn collect(state: &mut State, wakes: &mut mpsc::Receiver<Wake>) -> bool {
    let Some(first) = wakes.blocking_recv() else { return false };
    let began = Instant::now();
    let mut next = Some(first);
    let mut events = 0;
    while let Some(wake) = next {
        match wake {
            Wake::Events(batch) => {
                events += batch.len();
                state.hear(batch, began);
            }
            Wake::Ask(question) => question(state),
            Wake::Graced(at) => state.graced(at),
            Wake::Tick => state.tick(),
            Wake::Stop => return false,
        }
        if events >= EVENTS_PER_TURN || began.elapsed() >= COLLECT {
            break;
        }
        next = wakes.try_recv().ok();
    }
    true
}
