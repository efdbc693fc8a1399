//! What can wake the loop: one closed enum.

use std::fmt;

use tokio::sync::oneshot;
use towpath_image::KernelError;
use towpath_model::Event;

use super::{Finding, State};
use crate::clock::Millis;

/// A reason for the loop to turn.
pub enum Wake<A> {
    /// Events of the sources. Order within one stream is kept.
    Events(Vec<Event>),
    /// A question about the state (control socket, metrics); the answer goes its own way, after the
    /// turn.
    Ask(Question<A>),
    /// An RCU grace period that began at this time is over.
    Graced(Millis),
    /// The cluster's identity is known: do the maps belong to it?
    Bind(u64, oneshot::Sender<Result<(), KernelError>>),
    /// An audit is finished.
    Audited(Finding),
    /// A second went by: retry what failed.
    Tick,
    /// Stop after what was received before.
    Stop,
}

impl<A> From<Vec<Event>> for Wake<A> {
    fn from(events: Vec<Event>) -> Self {
        Self::Events(events)
    }
}

/// A question to the loop. It must not block, nor take longer than a portion (see
/// [`super::AreaAsker::walk`]).
pub type Question<A> = Box<dyn FnOnce(&State<A>) + Send>;

impl<A> fmt::Debug for Wake<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(events) => write!(f, "Events({})", events.len()),
            Self::Ask(_) => f.write_str("Ask"),
            Self::Graced(at) => write!(f, "Graced({at})"),
            Self::Bind(cluster, _) => write!(f, "Bind({cluster:x})"),
            Self::Audited(finding) => {
                write!(f, "Audited({} {})", finding.area, finding.differences.len())
            }
            Self::Tick => f.write_str("Tick"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}
