//! Connected UDP sockets of the host whose endpoint is gone: ended, so that their owners connect again.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, thread};

use tokio::sync::mpsc;
use towpath_ebpf::Peers;

use crate::{admin::Metrics, reconcile::stale_sockets::StaleSockets};

/// Sweeps on a thread of its own whenever endpoints are removed; ends with the loop.
pub(super) fn start(
    peers: Peers,
    mut removed: mpsc::Receiver<BTreeSet<SocketAddr>>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    thread::Builder::new().name("stale-udp".into()).spawn(move || {
        let mut sockets = StaleSockets::default();
        while let Some(mut gone) = removed.blocking_recv() {
            // Whatever else was removed meanwhile costs the same one listing of sockets.
            while let Ok(more) = removed.try_recv() {
                gone.extend(more);
            }
            let backends = gone.iter().map(|at| (at.ip(), at.port())).collect();
            let ours = |cookie, (ip, port)| peers.sent_to(cookie, ip, port);
            match sockets.sweep(&backends, ours) {
                Ok(swept) => {
                    metrics.stale_udp_ended(swept.ended);
                    if swept.ended > 0 {
                        let ended = swept.ended;
                        tracing::info!(ended, "connected UDP sockets whose endpoint is gone");
                    }
                }
                Err(error) => tracing::warn!(%error, "connected UDP sockets"),
            }
        }
    })?;
    Ok(())
}
