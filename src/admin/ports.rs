//! Listeners that never give up: a port that is taken is tried again with back-off and reported, and
//! it never stops the daemon (routing does not depend on it).

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::{
    Servers,
    connections::{Admitted, Connections, Places},
    http::{self, Answer, Asked},
};
use crate::backoff::Backoff;

/// First pause after a failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Connections of one listener at a time. A kubelet, a scraper and a load balancer's checks of one
/// address need a few.
pub(super) const PLACES: Places = Places { all: 64, each: 16 };
const BACKLOG: i32 = 128;

/// Which listeners are wanted, and how each is.
#[derive(Debug, Default)]
pub struct Ports {
    states: Mutex<BTreeMap<String, State>>,
}

#[derive(Clone, Debug)]
enum State {
    Open(Option<SocketAddr>),
    Failed(String),
}

impl Ports {
    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, listener: &str, state: Option<State>) {
        let mut states = self.states();
        match state {
            Some(state) => states.insert(listener.to_owned(), state),
            None => states.remove(listener),
        };
    }

    /// How many are wanted and not open.
    #[must_use]
    pub fn down(&self) -> usize {
        self.states().values().filter(|state| matches!(state, State::Failed(_))).count()
    }

    /// It listens.
    pub(super) fn opened(&self, listener: &str, at: Option<SocketAddr>) {
        tracing::info!(listener, ?at, "listening");
        self.set(listener, Some(State::Open(at)));
    }

    /// It could not listen.
    pub(super) fn failed(&self, listener: &str, place: &str, error: &io::Error) {
        let why = format!(
            "can not listen on {place}: {error}; find who listens there (ss -ltnp), it is tried again \
             by itself"
        );
        let known = matches!(self.states().get(listener), Some(State::Failed(w)) if *w == why);
        if !known {
            tracing::warn!(listener, "{why}");
        }
        self.set(listener, Some(State::Failed(why)));
    }

    /// Some of its kind are not even tried, and why.
    pub(crate) fn left_out(&self, listener: &str, why: Option<String>) {
        let known = matches!((self.states().get(listener), &why), (Some(State::Failed(w)), Some(why)) if w == why);
        if let Some(why) = why.as_ref().filter(|_| !known) {
            tracing::warn!(listener, "{why}");
        }
        self.set(listener, why.map(State::Failed));
    }

    /// It is no longer wanted.
    pub(crate) fn closed(&self, listener: &str) {
        self.set(listener, None);
    }

    /// Where it listens (`healthz`, `metrics`): with port 0 in the configuration, any free one.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        match self.states().get(listener) {
            Some(State::Open(at)) => *at,
            _ => None,
        }
    }

    /// What `status` says about listeners that are not open.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let states = self.states();
        let failed = states.iter().filter_map(|(listener, state)| match state {
            State::Failed(why) => Some(format!("{listener}: {why}")),
            State::Open(_) => None,
        });
        failed.collect()
    }
}

/// Pauses between attempts to listen.
pub(super) fn pauses() -> Backoff {
    Backoff::new(PAUSE_MIN, PAUSE_MAX)
}

/// Listens at `address` and answers with `handler`, until the daemon drains. `group` is the
/// listener's name in metrics: one for all health check ports.
pub(crate) async fn serve<H, F>(
    servers: Arc<Servers>,
    listener: String,
    group: &'static str,
    address: SocketAddr,
    places: Places,
    handler: H,
) where
    H: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let handler = Arc::new(handler);
    let mut pauses = pauses();
    loop {
        let error = match listen(address) {
            Ok(open) => {
                servers.ports.opened(&listener, open.local_addr().ok());
                pauses.reset();
                match accept(&servers, group, open, places, &handler).await {
                    Some(error) => error,
                    None => return,
                }
            }
            Err(error) => error,
        };
        servers.metrics.listen_failed(group);
        servers.ports.failed(&listener, &address.to_string(), &error);
        tokio::select! {
            () = tokio::time::sleep(pauses.wait()) => {}
            () = servers.drains() => return,
        }
    }
}

/// Opens a listener; the unspecified IPv6 address takes IPv4 too, whatever the sysctl says.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until the listener itself fails, and says why it did; `None`: the daemon drains, and every
/// question was answered.
async fn accept<H, F>(
    servers: &Servers,
    group: &'static str,
    open: TcpListener,
    places: Places,
    handler: &Arc<H>,
) -> Option<io::Error>
where
    H: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = Connections::new(places);
    loop {
        let accepted = tokio::select! {
            accepted = open.accept() => accepted,
            () = servers.drains() => {
                drop(open);
                connections.drain().await;
                return None;
            }
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_passing(&error) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => return Some(error),
        };
        let handler = Arc::clone(handler);
        let admitted =
            connections.admit(Some(from.ip()), |busy| http::serve(stream, handler, busy));
        if admitted != Admitted::Free {
            servers.metrics.connection_refused(group);
        }
    }
}

/// Is it about one connection, or about descriptors running out, rather than about the listener?
pub(super) fn is_passing(error: &io::Error) -> bool {
    const PASSING: [i32; 6] =
        [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ECONNABORTED, libc::EINTR];
    error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}
