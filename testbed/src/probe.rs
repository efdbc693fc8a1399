//! Echo servers and clients: what runs inside the namespaces.

mod agent;
mod client;
mod echo;
mod http;
mod load;
mod measure;
mod names;

pub use agent::{Agent, Ask, Compared, Load, Reached, Resolved, Seen};
pub use client::serve_agent;
pub use echo::serve;
pub use http::{HttpAsk, HttpSeen};
pub use measure::monotonic_ns;
pub use names::serve_names;
