//! Serves the addresses that are wanted: a local route and sockets for each, and upstreams.
//!
//! The loop is told once all of them are served: from then on the address is this node's own for as long as
//! the threads that serve it beat, and leads to the Service's other endpoints when they do not.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rtnetlink::Handle;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::interval,
};
use towpath_dns::{DnsMetrics, Forwarder, Limits, Listeners, Server, read_resolv_conf};
use towpath_model::{Code, Event, Key, Kind, NodeFact, ObjectName, Problem};
use towpath_zone::Snapshot;

use super::{area::Wanted, heart::InKernel, keep::Keeper, routes};
use crate::{config::DnsConfig, state_file};

/// The port of DNS.
const PORT: u16 = 53;
/// What failed is tried again, and `resolv.conf` is looked at, so often.
const LOOK: Duration = Duration::from_secs(2);
/// A list of servers is a page of text at most.
const RESOLV_CONF_MAX: u64 = 64 << 10;

/// What serves DNS.
pub struct Serving {
    pub(super) config: DnsConfig,
    pub(super) zones: Arc<ArcSwap<Snapshot>>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) metrics: Arc<DnsMetrics>,
    pub(super) wanted: watch::Receiver<Wanted>,
    pub(super) problems: Arc<Mutex<Vec<Problem>>>,
    pub(super) keeper: Keeper,
    pub(super) heart: InKernel,
}

/// Why DNS cannot be served at all.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The loop is gone.
    #[error("the control loop has ended")]
    Loop,
    /// Routes cannot be made.
    #[error("DNS needs a netlink socket: {0}")]
    Netlink(#[from] io::Error),
}

/// What is served now.
struct State {
    handle: Handle,
    servers: BTreeMap<IpAddr, Server>,
    told: Option<ObjectName>,
    upstreams: Option<Vec<SocketAddr>>,
}

impl Serving {
    /// Serves until drained; then the routes go, and `closed` is told.
    ///
    /// # Errors
    /// When the loop ended, or there is no netlink.
    pub async fn serve<T: From<Vec<Event>> + Send>(
        mut self,
        events: mpsc::Sender<T>,
        mut drain: watch::Receiver<bool>,
        closed: oneshot::Sender<()>,
    ) -> Result<(), ServeError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let mut state = State { handle, servers: BTreeMap::new(), told: None, upstreams: None };
        let mut look = interval(LOOK);
        let mut now = look.tick().await;
        look.reset_immediately();
        loop {
            let mut ended = false;
            tokio::select! {
                at = look.tick() => now = at,
                changed = self.wanted.changed() => ended = changed.is_err(),
                _ = drain.wait_for(|drain| *drain) => break,
            }
            if ended {
                // The loop is gone; what it wanted last is served until the end.
                let _drained = drain.wait_for(|drain| *drain).await;
                break;
            }
            let wanted = self.wanted.borrow_and_update().clone();
            let mut problems = self.upstreams(&wanted, &mut state);
            problems.extend(self.addresses(&wanted, &mut state).await);
            let served = !wanted.addresses.is_empty()
                && wanted.addresses.iter().all(|address| state.servers.contains_key(address));
            let told = served.then(|| wanted.service.clone());
            if told != state.told {
                tracing::info!(addresses = ?wanted.addresses, served, "DNS of this node");
                let fact = vec![Event::Local(NodeFact::AnswersDns(told.clone()))];
                events.send(fact.into()).await.map_err(|_ended| ServeError::Loop)?;
                state.told = told;
            }
            self.keeper.look(&self.zones, &wanted, now, false).await;
            problems.extend(self.keeper.problem());
            *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
        }
        for (address, server) in std::mem::take(&mut state.servers) {
            close(&state.handle, address, server).await;
        }
        let wanted = self.wanted.borrow().clone();
        self.keeper.look(&self.zones, &wanted, now, true).await;
        connection.abort();
        // It is waited for no longer than a while.
        let _heard = closed.send(());
        std::future::pending().await
    }

    /// Opens what is wanted and closes what is not.
    async fn addresses(&self, wanted: &Wanted, state: &mut State) -> Vec<Problem> {
        let gone: Vec<_> =
            state.servers.keys().filter(|ip| !wanted.addresses.contains(ip)).copied().collect();
        for address in gone {
            if let Some(server) = state.servers.remove(&address) {
                close(&state.handle, address, server).await;
            }
        }
        let mut problems = Vec::new();
        // At every look: a route that a person or a daemon that ends has taken away comes back.
        for address in state.servers.keys() {
            if let Err(error) = routes::add(&state.handle, *address, source(wanted, *address)).await
            {
                tracing::warn!(%address, %error, "the local route of a DNS address stays as it was");
            }
        }
        for address in &wanted.addresses {
            if state.servers.contains_key(address) {
                continue;
            }
            match self.open(&state.handle, *address, source(wanted, *address)).await {
                Ok(server) => {
                    state.servers.insert(*address, server);
                }
                Err(error) => {
                    let why = format!("{error}: DNS is answered by the Service's endpoints");
                    let key = Key { kind: Kind::Service, name: wanted.service.clone() };
                    let action = "free the port on this node; it is tried again";
                    problems.push(Problem::new(
                        Code::DnsAddressNotServed,
                        Some(key),
                        "spec.clusterIPs",
                        &why,
                        action,
                    ));
                }
            }
        }
        problems
    }

    async fn open(
        &self,
        handle: &Handle,
        address: IpAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Server> {
        // The route comes last: where another program has the port, its address stays its own, and nothing
        // is led here before it is answered.
        let listeners =
            Listeners::bind(SocketAddr::new(address, PORT)).map_err(io::Error::other)?;
        let server = Server::start(
            vec![listeners],
            Arc::clone(&self.zones),
            Arc::clone(&self.forwarder),
            Arc::clone(&self.metrics),
            Limits::default(),
            &self.heart,
            &tokio::runtime::Handle::current(),
        )?;
        routes::add(handle, address, source).await?;
        Ok(server)
    }

    /// Follows the list of servers.
    fn upstreams(&self, wanted: &Wanted, state: &mut State) -> Vec<Problem> {
        let mut problems = Vec::new();
        let path = &self.config.resolv_conf;
        let mut problem = |why: String, action| {
            problems.push(Problem::new(
                Code::NameserverUnusable,
                None,
                &path.display().to_string(),
                &why,
                action,
            ));
        };
        let mut servers = self.config.upstreams.clone();
        servers.retain(|server| !wanted.addresses.contains(&server.ip()));
        if self.config.upstreams.is_empty() {
            match read_bounded(path) {
                Ok(text) => {
                    let found = read_resolv_conf(&text, &wanted.addresses);
                    for address in found.looped {
                        let why = format!("nameserver {address} leads back to this server");
                        problem(why, "name the servers of the network, or set dns.upstreams");
                    }
                    servers = found.servers;
                }
                Err(error) => {
                    let why = format!("cannot be read ({error}): servers stay as they were");
                    problem(why, "set dns.upstreams, or name a list of servers in dns.resolvConf");
                    return problems;
                }
            }
        }
        if servers.is_empty() {
            let why = "no server is named: other names than the cluster's fail".to_owned();
            problem(why, "name a server, or set dns.upstreams");
        }
        if state.upstreams.as_ref() != Some(&servers) {
            tracing::info!(?servers, "upstreams of DNS");
            self.forwarder.set_upstreams(&servers);
            state.upstreams = Some(servers);
        }
        problems
    }
}

/// The text of an ordinary file.
fn read_bounded(path: &Path) -> io::Result<String> {
    let bytes = state_file::read(path, RESOLV_CONF_MAX)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// From which address the node asks an address.
fn source(wanted: &Wanted, address: IpAddr) -> Option<IpAddr> {
    wanted.sources.iter().find(|source| source.is_ipv4() == address.is_ipv4()).copied()
}

/// Closes the sockets and gives the address up.
async fn close(handle: &Handle, address: IpAddr, server: Server) {
    // First the route: an address without sockets would refuse what the Service's endpoints answer.
    let removed = routes::remove(handle, address).await;
    // It waits for its thread.
    let closed = tokio::task::spawn_blocking(move || drop(server)).await;
    if let (Err(error), _) = (&closed, &removed) {
        tracing::warn!(%address, %error, "a DNS server did not end in order");
    }
    if let Err(error) = removed {
        tracing::warn!(%address, %error, "the local route of a DNS address stays");
    }
}

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn a_list_of_servers_that_is_no_file_is_an_error_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("resolv.conf");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for path in [&*pipe, Path::new("/dev/zero"), dir.path()] {
            assert!(read_bounded(path).is_err(), "{}", path.display());
        }
    }
}
