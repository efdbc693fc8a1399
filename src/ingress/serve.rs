//! Takes requests at the configured addresses, once there is a table, until drained.

use std::{
    net::SocketAddr,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::interval,
};
use towpath_ingress::{
    Engine, EngineError, EngineSettings, IngressMetrics, Listen, Listeners, Snapshots,
};
use towpath_model::{Code, Problem};

use crate::config::IngressConfig;

/// An address that failed is tried again, and the engine looked at, so often.
const LOOK: Duration = Duration::from_secs(2);
/// What is being answered when the daemon is told to stop has so long to end, tunnels included: shorter
/// than the 30 seconds after which the kubelet kills.
pub const DRAIN: Duration = Duration::from_secs(20);
/// More threads than this are not taken from a node's pods.
const WORKERS_MAX: usize = 4;
/// Open connections of clients, for each worker.
const CONNECTIONS_MAX: usize = 16_384;
/// A proxied connection takes two files, one towards its endpoint; the rest is the daemon's.
const FILES_EACH: usize = 3;

/// What takes requests.
pub struct Serving {
    pub(super) config: IngressConfig,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) metrics: Arc<IngressMetrics>,
    /// True once there is a table.
    pub(super) begin: watch::Receiver<bool>,
    pub(super) problems: Arc<Mutex<Vec<Problem>>>,
}

/// Why Ingress cannot be served at all.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Threads or TLS cannot be had.
    #[error("Ingress: {0}")]
    Engine(#[from] EngineError),
    /// A defect.
    #[error("a worker of Ingress ended; please report this with the log")]
    Worker,
    /// No randomness.
    #[error("Ingress needs random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// What is served now.
struct State {
    settings: EngineSettings,
    engines: Vec<Engine>,
    served: Vec<Listen>,
}

impl Serving {
    /// Serves until drained; then `closed` is told. `files`: as many as the process may have open.
    ///
    /// # Errors
    /// When there are no threads, or one of them ended.
    pub async fn serve(
        mut self,
        files: u64,
        mut drain: watch::Receiver<bool>,
        closed: oneshot::Sender<()>,
    ) -> Result<(), ServeError> {
        let mut state =
            State { settings: self.settings(files)?, engines: Vec::new(), served: Vec::new() };
        let (mut look, mut waits) = (interval(LOOK), true);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                // It changes once; an error is the control loop's end, and what is served goes on.
                changed = self.begin.changed(), if waits => waits = changed.is_ok() && !*self.begin.borrow(),
                _ = drain.wait_for(|drain| *drain) => break,
            }
            // Without a table every host would be unknown, and clients be told so.
            if *self.begin.borrow() {
                self.look(&mut state)?;
            }
        }
        let engines = std::mem::take(&mut state.engines);
        let stops = engines.into_iter().map(|engine| {
            // It waits for its threads.
            tokio::task::spawn_blocking(move || engine.stop(DRAIN))
        });
        for stop in stops.collect::<Vec<_>>() {
            if let Err(error) = stop.await {
                tracing::warn!(%error, "Ingress did not end in order");
            }
        }
        // It is waited for no longer than a while.
        let _heard = closed.send(());
        std::future::pending().await
    }

    fn settings(&self, files: u64) -> Result<EngineSettings, ServeError> {
        // What the process may use: its affinity mask and its quota.
        let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let connections = (files / FILES_EACH / workers).min(CONNECTIONS_MAX);
        let https_port = self.config.https.first().map_or(443, SocketAddr::port);
        Ok(EngineSettings { workers, connections, https_port, seed: getrandom::u64()? })
    }

    /// Listens where it does not yet.
    fn look(&self, state: &mut State) -> Result<(), ServeError> {
        if !state.engines.iter().all(Engine::is_whole) {
            return Err(ServeError::Worker);
        }
        let plain = self.config.http.iter().map(|&address| Listen { address, tls: false });
        let tls = self.config.https.iter().map(|&address| Listen { address, tls: true });
        let missing = plain.chain(tls).filter(|listen| !state.served.contains(listen));
        let (mut listeners, mut problems) = (Vec::new(), Vec::new());
        for listen in missing.collect::<Vec<_>>() {
            match Listeners::bind(listen, state.settings.workers) {
                Ok(bound) => listeners.push((listen, bound)),
                // A node without this family: what was not asked for is not missed.
                Err(error)
                    if self.config.usual && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => problems.push(taken(listen, &error)),
            }
        }
        if !listeners.is_empty() {
            let (listens, bound): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
            let engine = Engine::start(&state.settings, bound, &self.snapshots, &self.metrics)?;
            tracing::info!(addresses = ?engine.addresses(), "Ingress takes requests");
            state.engines.push(engine);
            state.served.extend(listens);
        }
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
        Ok(())
    }
}

fn taken(listen: Listen, error: &std::io::Error) -> Problem {
    let field = if listen.tls { "ingress.https" } else { "ingress.http" };
    let why = format!("{}: {error}; nothing is served there", listen.address);
    let action = "free the port on this node, or name others; it is tried again";
    Problem::new(Code::IngressPortTaken, None, field, &why, action)
}
