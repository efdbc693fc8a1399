//! All listeners, on a thread of their own.

use std::{io, net::SocketAddr, sync::Arc, thread};

use tokio::sync::{oneshot, watch};

use super::{
    Answers, Metrics,
    http::Asked,
    node_port_health::{self, NodePortChecks},
    pages,
    ports::{Ports, keep_open},
    socket,
};
use crate::config::AdminConfig;

/// Threads that wait for the loop's answers at most.
const WAITING_MAX: usize = 16;

/// The running listeners. Dropping it closes them.
pub struct Admin {
    checks: watch::Sender<Arc<NodePortChecks>>,
    ports: Arc<Ports>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    socket: std::path::PathBuf,
}

impl Admin {
    /// Starts the thread. A port that can not be opened is tried again and reported, never an error.
    ///
    /// # Errors
    /// When the thread or its runtime can not be made.
    pub fn start(
        config: &AdminConfig,
        answers: Arc<dyn Answers>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(WAITING_MAX)
            .enable_all()
            .build()?;
        let ports = Arc::new(Ports::new(Arc::clone(&metrics)));
        let (checks, wanted) = watch::channel(Arc::default());
        let (stop, stopped) = oneshot::channel();
        let (settings, doors) = (config.clone(), Arc::clone(&ports));
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async {
                open(&settings, &answers, &metrics, &doors, wanted);
                // A dropped sender stops as well.
                stopped.await.unwrap_or_default();
            });
            // Not waiting for threads that wait for a loop that may be gone.
            runtime.shutdown_background();
        })?;
        let socket = config.socket.clone();
        Ok(Self { checks, ports, stop: Some(stop), thread: Some(thread), socket })
    }

    /// The health check ports that are wanted from now on.
    pub fn publish(&self, checks: NodePortChecks) {
        self.checks.send_if_modified(|current| {
            let changed = **current != checks;
            if changed {
                *current = Arc::new(checks);
            }
            changed
        });
    }

    /// Where `healthz` or `metrics` listens; `None` while it does not.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.ports.address(listener)
    }

    /// Closes everything and waits for the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_ok()
            && self.ports.is_open(socket::LISTENER)
            && let Err(error) = std::fs::remove_file(&self.socket)
        {
            tracing::debug!(%error, "the control socket stays behind");
        }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Spawns one task for each listener.
fn open(
    config: &AdminConfig,
    answers: &Arc<dyn Answers>,
    metrics: &Arc<Metrics>,
    ports: &Arc<Ports>,
    checks: watch::Receiver<Arc<NodePortChecks>>,
) {
    if let Some(address) = config.healthz {
        let (answers, metrics) = (Arc::clone(answers), Arc::clone(metrics));
        let handler =
            move |asked: Asked| std::future::ready(pages::health(&asked, &*answers, &metrics));
        let name = "healthz";
        let task = keep_open(Arc::clone(ports), name.into(), name, address, Arc::new(handler));
        drop(tokio::spawn(task));
    }
    if let Some(address) = config.metrics {
        let (answers, metrics) = (Arc::clone(answers), Arc::clone(metrics));
        let handler =
            move |asked: Asked| pages::metrics(asked, Arc::clone(&answers), Arc::clone(&metrics));
        let name = "metrics";
        let task = keep_open(Arc::clone(ports), name.into(), name, address, Arc::new(handler));
        drop(tokio::spawn(task));
    }
    drop(tokio::spawn(socket::run(config.socket.clone(), Arc::clone(ports), Arc::clone(answers))));
    drop(tokio::spawn(node_port_health::run(checks, Arc::clone(ports), Arc::clone(answers))));
}
