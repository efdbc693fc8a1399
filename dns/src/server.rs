//! The server: listeners, and what each message goes through.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use hickory_proto::rr::Record;
use socket2::{Domain, Socket, Type};
use tokio::{runtime::Handle, sync::watch, time::interval};
use towpath_zone::{Client, Miss, Outcome, Query, Snapshot, Transport, respond};

use crate::{
    Forwarder, Heart,
    compose::{self, chain},
    labels::{Labelled, Plugin},
    metrics::DnsMetrics,
    places::{Place, Places},
    pulse::Pulse,
    question::{Given, Question},
    tcp, udp,
};

/// Limits of the server. One client has a quarter of `misses` and of `connections` at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Questions that wait for upstreams at a time.
    pub misses: usize,
    /// TCP connections at a time.
    pub connections: usize,
    /// Questions of one connection that are answered at a time.
    pub pipelined: usize,
    /// A connection without a question is closed after so long.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // 1,000 is kubeadm's `max_concurrent`. Clients that read nothing hold `connections` times
        // (`pipelined` + 2) messages of 64 KiB: 160 MiB.
        Self { misses: 1000, connections: 256, pipelined: 8, idle: Duration::from_secs(10) }
    }
}

/// An address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} ({transport}): {error}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// UDP or TCP.
    pub transport: &'static str,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// Sockets that are open, and not served yet.
#[derive(Debug)]
pub struct Listeners {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Listeners {
    /// Opens both sockets of an address.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let fails = |transport| move |error| ListenError { address, transport, error };
        let tcp = open(address, Type::STREAM).map_err(fails("TCP"))?;
        tcp.listen(1024).map_err(fails("TCP"))?;
        let tcp = TcpListener::from(tcp);
        // Where the kernel chooses the port, both have the same.
        let address = tcp.local_addr().map_err(fails("TCP"))?;
        let udp = UdpSocket::from(open(address, Type::DGRAM).map_err(fails("UDP"))?);
        tcp.set_nonblocking(true).map_err(fails("TCP"))?;
        Ok(Self { udp, tcp })
    }

    /// Where they listen.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

/// A bound socket. A ClusterIP is on no device, and is made local only once it is served: binding to it
/// must be asked for.
fn open(address: SocketAddr, of: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), of, None)?;
    if of == Type::STREAM {
        // Connections of the daemon before this one rest for a while.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What all listeners share.
pub(crate) struct Shared {
    pub(crate) zones: Arc<ArcSwap<Snapshot>>,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) metrics: Arc<DnsMetrics>,
    pub(crate) limits: Limits,
    labelled: Labelled,
    misses: Arc<Places>,
    pub(crate) connections: Arc<Places>,
    rotation: AtomicU32,
}

/// One message, on its way.
pub(crate) struct Asked<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) client: SocketAddr,
    pub(crate) transport: Transport,
}

/// What becomes of a message.
pub(crate) enum Turn {
    /// The reply stands in the buffer.
    Reply(usize),
    /// The reply.
    Written(Vec<u8>),
    /// An upstream is to be asked.
    Wait(Box<Waiting>),
    /// No reply.
    Drop,
}

/// A question that waits for upstreams.
pub(crate) struct Waiting {
    message: Vec<u8>,
    question: Question,
    begun: Vec<u8>,
    transport: Transport,
    place: Place,
}

impl Shared {
    /// Is there a zone to answer from?
    pub(crate) fn servable(&self) -> bool {
        self.zones.load().serial() != 0
    }

    /// Answers a message, or says what else is to be done.
    pub(crate) fn turn(&self, asked: &Asked<'_>, out: &mut [u8]) -> Turn {
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        let snapshot = self.zones.load();
        let client = Client { transport: asked.transport, rotation };
        let query = Query::parse(asked.message);
        let outcome = respond(&snapshot, client, asked.message, query.as_ref(), out);
        let ours = matches!(&outcome, Outcome::Reply(reply) if reply.ours);
        if let Ok(query) = &query {
            self.labelled.asked(ours, asked.transport, asked.client, query.rtype);
        }
        match outcome {
            Outcome::Drop => Turn::Drop,
            Outcome::Reply(reply) => {
                self.labelled.answered(ours, reply.rcode, Plugin::Kubernetes);
                Turn::Reply(reply.length)
            }
            Outcome::Miss(miss) => match query {
                Ok(query) => self.miss(asked, &query, &miss, out),
                Err(_) => Turn::Drop,
            },
        }
    }

    fn miss(&self, asked: &Asked<'_>, query: &Query<'_>, miss: &Miss, out: &[u8]) -> Turn {
        let question = Question {
            name: miss.name().into(),
            rtype: query.rtype,
            dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: query.flags & 0x0010 != 0,
        };
        let begun = out.get(..miss.written).unwrap_or_default();
        let id = id(asked.message);
        if let Some(given) = self.forwarder.known(&question) {
            self.labelled.answered(false, given.answer.code.into(), Plugin::Cache);
            let reply = self.reply(id, query, chain(begun), given, asked.transport);
            return reply.map_or(Turn::Drop, Turn::Written);
        }
        let Some(place) = self.misses.take(asked.client.ip()) else {
            self.metrics.limited("misses");
            return compose::busy(id, query).map_or(Turn::Drop, Turn::Written);
        };
        Turn::Wait(Box::new(Waiting {
            message: asked.message.to_vec(),
            question,
            begun: begun.to_vec(),
            transport: asked.transport,
            place,
        }))
    }

    /// What others answered, as this client takes it.
    fn reply(
        &self,
        id: u16,
        query: &Query<'_>,
        chain: Vec<Record>,
        given: Given,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let zones = self.zones.load();
        let limit = zones.settings().limit(transport, query);
        // The way to the name may not be so any more, either.
        let stale = given.stale || (zones.stale() && !chain.is_empty());
        let given = Given { stale, ..given };
        // There is nothing larger than TCP to ask by.
        let flag = transport == Transport::Udp;
        compose::reply(id, query, chain, given, limit, flag)
    }

    /// Asks upstreams; the reply, if there is one to write.
    pub(crate) async fn wait(&self, waiting: Box<Waiting>) -> Option<Vec<u8>> {
        let Waiting { message, question, begun, transport, place } = *waiting;
        let given = self.forwarder.ask(&question, place).await;
        self.labelled.answered(false, given.answer.code.into(), Plugin::Forward);
        let query = Query::parse(&message).ok()?;
        self.reply(id(&message), &query, chain(&begun), given, transport)
    }
}

/// The id of a message.
fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

/// A server at work; dropped, it stops.
pub struct Server {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves these listeners: UDP on a thread each, the rest on the runtime. Each of these beats while it has
    /// a zone to answer from.
    ///
    /// # Errors
    /// When a thread or a listener cannot be made.
    pub fn start(
        listeners: Vec<Listeners>,
        zones: Arc<ArcSwap<Snapshot>>,
        forwarder: Arc<Forwarder>,
        metrics: Arc<DnsMetrics>,
        limits: Limits,
        heart: &dyn Heart,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let labelled = Labelled::new(Arc::clone(&metrics), zones.load().domain_text());
        let shared = Arc::new(Shared {
            zones,
            forwarder,
            metrics,
            labelled,
            limits,
            misses: Places::new(limits.misses),
            connections: Places::new(limits.connections),
            rotation: AtomicU32::new(0),
        });
        let (stop, stopped) = watch::channel(false);
        let mut server = Self { stop, threads: Vec::new() };
        for Listeners { udp, tcp } in listeners {
            let tcp = {
                let _entered = runtime.enter();
                tokio::net::TcpListener::from_std(tcp)?
            };
            runtime.spawn(tcp::serve(tcp, Arc::clone(&shared), stopped.clone()));
            if let Some(pulse) = heart.pulse() {
                runtime.spawn(beat(pulse, Arc::clone(&shared), stopped.clone()));
            }
            udp.set_read_timeout(Some(udp::LOOK))?;
            let udp = Arc::new(udp);
            let pulse = heart.pulse();
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            let runtime = runtime.clone();
            let thread = std::thread::Builder::new().name("dns-udp".to_owned());
            let serve = move || udp::serve(&udp, &shared, &stopped, pulse, &runtime);
            server.threads.push(thread.spawn(serve)?);
        }
        Ok(server)
    }
}

/// The beat of the runtime, which serves TCP and questions that wait for upstreams.
async fn beat(mut pulse: Box<dyn Pulse>, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut turns = interval(udp::LOOK);
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            _ = stopped.changed() => return,
        }
        if shared.servable() {
            pulse.beat();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked said so itself.
            let _ended = thread.join();
        }
    }
}
