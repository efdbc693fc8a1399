//! What can wake the loop: one closed enum.

use towpath_model::Event;

/// A reason for the loop to turn.
pub enum Wake {
    /// Sources say something. Order within one kind is kept.
    Events(Vec<Event>),
    /// Somebody asks for the state (control socket, metrics); the loop answers into the channel.
    Ask(Question),
    /// Stop after what was said before.
    Stop,
}

/// A question to the loop, with the way back.
pub type Question = Box<dyn FnOnce(&super::State) + Send>;

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Events(events) => write!(f, "Events({})", events.len()),
            Self::Ask(_) => f.write_str("Ask"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}
