//! What can wake the loop: one closed enum.

use std::fmt;

use tokio::sync::oneshot;
use towpath_image::KernelError;
use towpath_model::Event;

use super::{Finding, State};

/// A reason for the loop to turn.
pub enum Wake {
    /// Sources say something. Order within one kind is kept.
    Events(Vec<Event>),
    /// Somebody asks for the state (control socket, metrics); the answer goes its own way, after the
    /// turn.
    Ask(Question),
    /// An RCU grace period that began at this time (daemon's milliseconds) is over.
    Graced(u64),
    /// The cluster's identity is known: do the maps belong to it?
    Bind(u64, oneshot::Sender<Result<(), KernelError>>),
    /// An audit is finished.
    Audited(Finding),
    /// A second went by: retry what failed.
    Tick,
    /// Stop after what was said before.
    Stop,
}

/// A question to the loop. It must not block, nor take longer than a portion (see
/// [`super::Asker::walk`]).
pub type Question = Box<dyn FnOnce(&State) + Send>;

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(events) => write!(f, "Events({})", events.len()),
            Self::Ask(_) => f.write_str("Ask"),
            Self::Graced(at) => write!(f, "Graced({at})"),
            Self::Bind(cluster, _) => write!(f, "Bind({cluster:x})"),
            Self::Audited(finding) => write!(f, "Audited({})", finding.differences.len()),
            Self::Tick => f.write_str("Tick"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}
