//! Echo servers and clients: what runs inside the namespaces.

mod agent;
mod client;
mod echo;

pub use agent::{Agent, Ask, Load, Seen};
pub use client::serve_agent;
pub use echo::serve;
