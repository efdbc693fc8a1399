//! Makes the area out of the configuration, and what looks at it beside the loop.

use std::sync::{Arc, mpsc};

use tokio::sync::watch;
use towpath_ebpf::{LiveMaps, MapsReader, Peers};
use towpath_image::{KernelError, ServiceImage};
use towpath_proxy::{HealthCheck, ProxyConfig, Share};

use super::{ServiceMetrics, ServiceOutputs, Services};
use crate::{clock::Clock, config::Config, vitals::Vitals};

/// The other ends of what the area reads and says.
#[derive(Debug)]
pub struct ServiceEnds {
    /// What the maps hold, for audits.
    pub reader: MapsReader<ServiceImage>,
    /// Where connected UDP sockets were sent.
    pub peers: Peers,
    /// Bytes of the maps.
    pub map_bytes: u64,
    /// Told when a UDP endpoint is used no more.
    pub udp_gone: mpsc::Receiver<()>,
    /// healthCheckNodePorts to serve.
    pub health_checks: watch::Receiver<Vec<HealthCheck>>,
}

/// The area, over what its maps hold.
///
/// # Errors
/// When the maps cannot be read.
pub fn build(
    config: &Config,
    maps: LiveMaps<ServiceImage>,
    metrics: &Arc<ServiceMetrics>,
    vitals: &Arc<Vitals>,
    clock: impl Clock,
) -> Result<(Services, ServiceEnds), KernelError> {
    let (udp_gone_out, udp_gone) = mpsc::sync_channel(1);
    let (checks, health_checks) = watch::channel(Vec::new());
    let ends = ServiceEnds {
        reader: maps.reader(),
        peers: maps.peers(),
        map_bytes: maps.bytes(),
        udp_gone,
        health_checks,
    };
    let proxy = ProxyConfig {
        external_ips: config.services.external_ips.clone(),
        share: Share::of(&config.kernel.capacities),
    };
    let outputs = ServiceOutputs {
        health_checks: checks,
        udp_gone: Some(udp_gone_out),
        metrics: Arc::clone(metrics),
        vitals: Arc::clone(vitals),
    };
    Ok((Services::new(proxy, Box::new(maps), outputs, &clock)?, ends))
}
