//! Health, metrics and the control socket.
//!
//! On a thread and a runtime of their own: a scrape never disturbs the loop. What is answered comes
//! in as [`Route`]s, what else listens as [`Listener`]s: the servers know no area. Health comes from
//! the loop's signs of life and never waits for it.

mod connections;
mod health;
mod http;
pub mod logging;
mod metrics;
mod ports;
mod routes;
mod socket;

use std::{future::Future, pin::Pin, sync::Arc, thread, time::Duration};

use tokio::sync::watch;

pub(crate) use connections::Places;
pub(crate) use http::{Answer, Asked, json, not_found};
pub use metrics::AdminMetrics;
pub use ports::Ports;
pub(crate) use ports::serve as serve_port;
pub use routes::{Parameters, Route};

use crate::{clock::SystemClock, config::AdminConfig, metrics::Registry, vitals::Vitals};

/// What the admin servers know about the daemon.
pub struct Admin {
    /// Where to listen.
    pub config: AdminConfig,
    /// Signs of life of the loop.
    pub vitals: Arc<Vitals>,
    /// Every metric.
    pub registry: Arc<Registry>,
    /// The daemon's clock.
    pub clock: SystemClock,
    /// What the control socket answers.
    pub routes: Vec<Route>,
    /// Brings metrics up to date that are read, not counted. May wait for the loop.
    pub gather: Box<dyn Fn() + Send + Sync>,
    /// What the listeners share.
    pub servers: Arc<Servers>,
}

/// A server of some area, that runs as long as the others.
pub type Listener = Box<dyn FnOnce(Arc<Servers>) -> Serving + Send>;
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What every listener needs.
#[derive(Debug)]
pub struct Servers {
    /// Which listeners are open and which could not be, for `status`.
    pub ports: Arc<Ports>,
    /// What listeners count.
    pub metrics: AdminMetrics,
    /// Open files that the process may have.
    pub descriptors: u64,
    /// True once the daemon drains: listeners close, connections that are being answered go on.
    pub draining: watch::Receiver<bool>,
}

impl Servers {
    /// Waits until the daemon drains.
    async fn drains(&self) {
        // When the sender is gone the process ends without draining.
        let mut draining = self.draining.clone();
        if draining.wait_for(|draining| *draining).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Threads that wait for the loop's answers at most; health is answered without any.
const WAITING_MAX: usize = 16;
/// A drain waits so long for connections that are being answered.
pub const DRAIN: Duration = Duration::from_secs(2);

/// Starts the servers, and what else listens on their runtime. Their thread ends when the daemon has drained, or when one of them panics.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn start(admin: Admin, listeners: Vec<Listener>) -> std::io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(WAITING_MAX)
        .enable_all()
        .build()?;
    thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(serve(admin, listeners));
        // Questions that still wait for the loop are not waited for.
        runtime.shutdown_background();
    })
}

async fn serve(admin: Admin, listeners: Vec<Listener>) {
    let mut tasks = tokio::task::JoinSet::new();
    let servers = Arc::clone(&admin.servers);
    for listener in listeners {
        tasks.spawn(listener(Arc::clone(&servers)));
    }
    let admin = Arc::new(admin);
    if let Some(address) = admin.config.healthz {
        let asked = Arc::clone(&admin);
        let handler = move |question| std::future::ready(health::healthz(&asked, &question));
        tasks.spawn(listen(&servers, "healthz", address, handler));
    }
    if let Some(address) = admin.config.metrics {
        let asked = Arc::clone(&admin);
        let handler = move |question| health::metrics(Arc::clone(&asked), question);
        tasks.spawn(listen(&servers, "metrics", address, handler));
    }
    tasks.spawn(socket::serve(Arc::clone(&admin)));
    let drained = async {
        servers.drains().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = outlive(tasks) => {}
        () = drained => {}
    }
}

fn listen<H, F>(
    servers: &Arc<Servers>,
    name: &'static str,
    address: std::net::SocketAddr,
    handler: H,
) -> impl Future<Output = ()> + use<H, F>
where
    H: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    ports::serve(Arc::clone(servers), name.into(), name, address, ports::PLACES, handler)
}

/// Waits for servers, which end only when the daemon drains. A panic of one is a panic of all: a
/// daemon without `/healthz` would be restarted for a reason that is hard to find, one without its
/// socket could not be asked.
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
