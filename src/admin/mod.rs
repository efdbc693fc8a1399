//! Health, metrics and the control socket.
//!
//! On a thread and a runtime of their own: a scrape never disturbs the loop. Answers come from the
//! loop through [`Answers`]; health comes from its signs of life and never waits for it.

pub mod api;
mod health;
mod http;
pub mod logging;
mod metrics;
mod node_port_health;
mod socket;

use std::{sync::Arc, thread};

pub use http::{Ports, Response};
pub use metrics::Metrics;

use crate::{
    config::AdminConfig,
    reconcile::{Clock, Vitals},
};

/// What the admin servers know about the daemon.
pub struct Admin {
    /// Where to listen.
    pub config: AdminConfig,
    /// Signs of life of the loop.
    pub vitals: Arc<Vitals>,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// The daemon's clock.
    pub clock: Clock,
    /// Questions to the loop.
    pub answers: Arc<dyn Answers>,
    /// healthCheckNodePorts to serve.
    pub health_checks: tokio::sync::watch::Receiver<Vec<towpath_proxy::HealthCheck>>,
    /// Ports that could not be bound, for `status`.
    pub ports: Arc<Ports>,
}

/// Questions to the loop. They may wait for it; `None`: it did not answer in time.
pub trait Answers: Send + Sync {
    /// `towpath status`.
    fn status(&self) -> Option<api::StatusReply>;
    /// `towpath services [NAME]`.
    fn services(&self, name: Option<String>) -> Option<api::ServicesReply>;
    /// Brings metrics up to date that are read, not counted.
    fn gather(&self);
}

/// Starts the servers. They end with the process.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn start(admin: Admin) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = Arc::new(admin);
    thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            let mut servers = tokio::task::JoinSet::new();
            if let Some(address) = admin.config.healthz {
                servers.spawn(http::serve_tcp(
                    address,
                    health::healthz_server(Arc::clone(&admin)),
                    Arc::clone(&admin.ports),
                ));
            }
            if let Some(address) = admin.config.metrics {
                servers.spawn(http::serve_tcp(
                    address,
                    health::metrics_server(Arc::clone(&admin)),
                    Arc::clone(&admin.ports),
                ));
            }
            servers.spawn(socket::serve(Arc::clone(&admin)));
            servers.spawn(node_port_health::serve(Arc::clone(&admin)));
            while servers.join_next().await.is_some() {}
        });
    })?;
    Ok(())
}
