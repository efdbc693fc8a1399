//! Threads, each with a runtime and listeners of its own.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::watch, task::LocalSet};

use towpath_route::EndpointTls;

use crate::{
    Connector, IngressMetrics, Snapshots, Unusable, certs::Resolver, pool::Pool, proxy::Worker,
    serve::accept,
};

const BACKLOG: i32 = 4096;
const SWEEP: Duration = Duration::from_secs(2);

/// An address with a port, and whether TLS is spoken there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address and port; port 0: any that is free, the same for every worker.
    pub address: SocketAddr,
    /// TLS, with the protocol chosen by ALPN; else HTTP/1.1, or HTTP/2 by its preface.
    pub tls: bool,
}

/// What the engine is started with.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Threads; each set of listeners is made for so many.
    pub workers: usize,
    /// Open connections of clients, for each worker.
    pub connections: usize,
    /// Port that plain requests are redirected to.
    pub https_port: u16,
    /// A number that differs from start to start and node to node: request ids begin with it.
    pub seed: u64,
}

/// Sockets that take connections at one address, one for each worker.
#[derive(Debug)]
pub struct Listeners {
    address: SocketAddr,
    tls: bool,
    sockets: Vec<std::net::TcpListener>,
}

impl Listeners {
    /// Takes the address: from here on connections wait there.
    ///
    /// # Errors
    /// When it is taken, forbidden, or not this machine's.
    pub fn bind(listen: Listen, workers: usize) -> io::Result<Self> {
        let mut address = listen.address;
        let mut sockets = Vec::new();
        for _ in 0..workers.max(1) {
            let socket = bind(address)?;
            address = socket.local_addr()?;
            sockets.push(socket);
        }
        Ok(Self { address, tls: listen.tls, sockets })
    }
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS to endpoints cannot be set up.
    #[error("TLS to endpoints: {0}")]
    EndpointTls(#[from] Unusable),
    /// No thread.
    #[error("cannot start a worker: {0}")]
    Thread(#[source] io::Error),
}

/// The running threads.
#[derive(Debug)]
pub struct Engine {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Serves what was bound.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        settings: &EngineSettings,
        mut listeners: Vec<Listeners>,
        snapshots: &Arc<Snapshots>,
        metrics: &Arc<IngressMetrics>,
    ) -> Result<Self, EngineError> {
        let tls = Arc::new(server_config(snapshots)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let usual = Connector::new(&EndpointTls::default(), None, &provider)?;
        let (stop, stopped) = watch::channel(false);
        let addresses = listeners.iter().map(|listeners| listeners.address).collect();
        let mut threads = Vec::new();
        for number in 0..settings.workers.max(1) {
            let own = listeners.iter_mut().filter_map(|of| {
                let tls = of.tls.then(|| Arc::clone(&tls));
                of.sockets.pop().map(|socket| (socket, tls))
            });
            let own = own.collect();
            let (settings, snapshots) = (settings.clone(), Arc::clone(snapshots));
            let (stopped, metrics) = (stopped.clone(), Arc::clone(metrics));
            let usual = usual.clone();
            let thread = thread::Builder::new()
                .name(format!("ingress-{number}"))
                .spawn(move || run(number, &settings, (snapshots, usual, metrics), own, stopped))
                .map_err(EngineError::Thread)?;
            threads.push(thread);
        }
        Ok(Self { addresses, stop, threads })
    }

    /// Where connections are taken, in the order of the listeners.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Does every thread run? One that has ended is a defect: its connections have ended with it, and its
    /// share of new ones waits in a listener that nothing reads.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Takes no new connections; idle ones end, those in use after their requests. Answers when all have
    /// ended, tunnels included, or `grace` is over.
    pub fn stop(self, grace: Duration) {
        self.stop.send_replace(true);
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(10);
        while waited < grace && self.threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(step);
            waited += step;
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn server_config(snapshots: &Snapshots) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let resolver = Arc::new(Resolver(Arc::clone(&snapshots.certs)));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

type Listening = (std::net::TcpListener, Option<Arc<rustls::ServerConfig>>);

fn run(
    number: usize,
    settings: &EngineSettings,
    (snapshots, usual, metrics): (Arc<Snapshots>, Connector, Arc<IngressMetrics>),
    listeners: Vec<Listening>,
    stop: watch::Receiver<bool>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a worker of the ingress cannot start");
            return;
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let worker = Rc::new(Worker {
            snapshots,
            usual_tls: usual,
            pool: Rc::new(Pool::default()),
            turns: RefCell::new(HashMap::new()),
            id: (settings.seed.wrapping_add(number as u64), Cell::new(0)),
            https_port: settings.https_port,
            metrics,
        });
        let open: Rc<Cell<usize>> = Rc::default();
        for (listener, tls) in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    let open = (Rc::clone(&open), settings.connections);
                    let accept = accept(listener, tls, Rc::clone(&worker), open, stop.clone());
                    tokio::task::spawn_local(accept);
                }
                Err(error) => tracing::error!(%error, "a listener of the ingress cannot be used"),
            }
        }
        let mut stop = stop;
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => worker.sweep(),
                _told = stop.wait_for(|stop| *stop) => break,
            }
        }
        // Open connections are served to their end; `Engine::stop` bounds it.
        while open.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}
