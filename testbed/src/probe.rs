//! Echo servers and clients: what runs inside the namespaces.

mod agent;
mod client;
mod echo;
mod load;
mod measure;

pub use agent::{Agent, Ask, Compared, Load, Reached, Seen};
pub use client::serve_agent;
pub use echo::serve;
pub use measure::monotonic_ns;
