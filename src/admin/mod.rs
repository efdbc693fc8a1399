//! Health, metrics and the control socket: everything the daemon says about itself.
//!
//! Runs on a thread of its own, so that a scrape or a slow client never holds up the loop. It knows
//! the loop only through [`Answers`] and the handles in [`Metrics`].

pub mod api;
mod health;
mod http;
pub mod logging;
mod metrics;
mod node_port_health;
mod pages;
mod ports;
mod registry;
mod server;
mod socket;

pub use health::{FamilyHealth, HEALTH_TIMEOUT, HealthSnapshot, HealthTracker};
pub use metrics::{Metrics, Verdicts};
pub use node_port_health::{NodePortCheck, NodePortChecks};
pub use server::Admin;

/// What the daemon can be asked. Implemented over the loop; called from threads that may block.
pub trait Answers: Send + Sync + 'static {
    /// How the daemon is. May wait for the loop, for a bounded time.
    fn status(&self) -> api::StatusReply;
    /// All Services, or the one named `namespace/name`. May wait for the loop.
    fn services(&self, name: Option<&str>) -> api::ServicesReply;
    /// Health. Must not wait: load balancers and the kubelet ask while the loop is busy.
    fn health(&self) -> HealthSnapshot;
    /// Brings metrics up to date that are read rather than counted, before a scrape. May wait.
    fn gather(&self);
}

#[cfg(test)]
mod tests;
