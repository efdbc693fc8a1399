//! Connected UDP sockets whose endpoint is gone: ended on the host, so that their owners connect
//! again; counted inside pods.
//!
//! PEERS says where each connected UDP socket of the node was sent, whatever its namespace. Those
//! whose endpoint no Service uses are stale. It is looked at when an endpoint goes, once after the
//! first lists (what went while no daemon ran), and now and then for the count.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use towpath_ebpf::Peers;

use super::{ServiceMetrics, Services, answers, stale_sockets::StaleSockets};
use crate::{api::StaleUdpReply, metrics::number, reconcile::AreaAsker};

/// Time between two looks, at least: endpoints go one by one in a rollout.
const REST: Duration = Duration::from_millis(200);
/// Time between two looks, at most: sockets connect again or are closed without our doing.
const COUNT: Duration = Duration::from_secs(60);

/// What was found so far, for `status`.
#[derive(Debug, Default)]
pub(crate) struct StaleUdp {
    looks: AtomicU64,
    ended: AtomicU64,
    in_pods: AtomicU64,
}

impl StaleUdp {
    /// `None`: no sweep was made yet.
    pub(crate) fn reply(&self) -> Option<StaleUdpReply> {
        (self.looks.load(Ordering::Relaxed) > 0).then(|| StaleUdpReply {
            ended: self.ended.load(Ordering::Relaxed),
            in_pods_at_most: self.in_pods.load(Ordering::Relaxed),
        })
    }
}

/// Looks for them.
pub(crate) struct Sweeper {
    pub(crate) peers: Peers,
    pub(crate) asker: AreaAsker<Services>,
    pub(crate) metrics: Arc<ServiceMetrics>,
    pub(crate) found: Arc<StaleUdp>,
}

impl Sweeper {
    /// Looks on a thread of its own whenever it is told to; ends with the loop.
    pub(crate) fn start(self, told: mpsc::Receiver<()>) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("stale-udp".into()).spawn(move || {
            let mut sockets = StaleSockets::default();
            let mut ended = BTreeMap::new();
            loop {
                match told.recv_timeout(COUNT) {
                    Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                self.look(&mut sockets, &mut ended);
                thread::sleep(REST);
            }
        })
    }

    /// `ended`: sockets that were ended here, whose record is still there.
    fn look(&self, sockets: &mut StaleSockets, ended: &mut BTreeMap<u64, SocketAddr>) {
        let sent = match self.peers.all() {
            Ok(sent) => sent,
            Err(error) => {
                tracing::warn!(%error, "where UDP sockets were sent could not be read");
                return;
            }
        };
        let endpoints: BTreeSet<SocketAddr> = sent.iter().map(|(_, to)| *to).collect();
        // Not known before everything was listed: then nothing is stale.
        let Some(unused) = answers::unused_udp(&self.asker, endpoints) else { return };
        let backends = unused.iter().map(|to| (to.ip(), to.port())).collect();
        let mut tried = BTreeMap::new();
        let ours = |cookie, (ip, port)| {
            let ours = self.peers.sent_to(cookie, ip, port);
            if ours {
                tried.insert(cookie, SocketAddr::new(ip, port));
            }
            ours
        };
        match sockets.sweep(&backends, ours) {
            Ok(swept) => {
                ended.append(&mut tried);
                self.metrics.stale_udp_ended(swept.ended);
                self.found.ended.fetch_add(swept.ended, Ordering::Relaxed);
                if swept.ended > 0 {
                    let ended = swept.ended;
                    tracing::info!(ended, "connected UDP sockets whose endpoint is gone");
                }
            }
            Err(error) => tracing::warn!(%error, "connected UDP sockets"),
        }
        let stale: BTreeMap<u64, SocketAddr> =
            sent.into_iter().filter(|(_, to)| unused.contains(to)).collect();
        // A socket that connected again, or whose record is gone, has nothing to do with its past.
        ended.retain(|cookie, to| stale.get(cookie) == Some(to));
        let left = (stale.len() - ended.len()) as u64;
        self.metrics.stale_udp.set(number(left));
        self.found.in_pods.store(left, Ordering::Relaxed);
        self.found.looks.fetch_add(1, Ordering::Relaxed);
    }
}
