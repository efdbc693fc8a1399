//! The loop: events in, batches out. One thread, one function that calls the steps in order.

mod state;
mod wake;

pub use state::State;
pub use wake::{Question, Wake};
