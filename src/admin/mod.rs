//! Health, metrics and the control socket.
//!
//! On a thread and a runtime of their own: a scrape never disturbs the loop. Answers come from the
//! loop through [`Answers`]; health comes from its signs of life and never waits for it.

pub mod api;
mod connections;
mod health;
mod http;
pub mod logging;
mod metrics;
mod node_port_health;
mod ports;
mod socket;

use std::{sync::Arc, thread};

pub use metrics::Metrics;
pub use ports::Ports;

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
    /// Open files that the process may have.
    pub descriptors: u64,
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

/// Threads that wait for the loop's answers at most; health is answered without any.
const WAITING_MAX: usize = 16;

/// Starts the servers. They end with the process: their thread ends only when one of them panics.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn start(admin: Admin) -> std::io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(WAITING_MAX)
        .enable_all()
        .build()?;
    let admin = Arc::new(admin);
    thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            let mut servers = tokio::task::JoinSet::new();
            if let Some(address) = admin.config.healthz {
                let asked = Arc::clone(&admin);
                let handler =
                    move |question| std::future::ready(health::healthz(&asked, &question));
                let name = "healthz";
                servers.spawn(ports::serve(
                    Arc::clone(&admin),
                    name.into(),
                    name,
                    address,
                    ports::PLACES,
                    handler,
                ));
            }
            if let Some(address) = admin.config.metrics {
                let asked = Arc::clone(&admin);
                let handler = move |question| health::metrics(Arc::clone(&asked), question);
                let name = "metrics";
                servers.spawn(ports::serve(
                    Arc::clone(&admin),
                    name.into(),
                    name,
                    address,
                    ports::PLACES,
                    handler,
                ));
            }
            servers.spawn(socket::serve(Arc::clone(&admin)));
            servers.spawn(node_port_health::serve(Arc::clone(&admin)));
            outlive(servers).await;
        });
    })
}

/// Waits for servers that never end. A panic of one is a panic of all: a daemon without `/healthz`
/// would be restarted for a reason that nobody finds, one without its socket could not be asked.
async fn outlive(mut servers: tokio::task::JoinSet<()>) {
    while let Some(ended) = servers.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests;
