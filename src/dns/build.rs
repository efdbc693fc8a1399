//! Makes the area out of the configuration, and what serves its snapshot.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use tokio::sync::watch;
use towpath_dns::{DnsMetrics, ForwardSettings, Forwarder};
use towpath_ebpf::Heartbeat;
use towpath_zone::{Name, Settings, Zones};

use super::{Dns, Serving, area::Wanted, heart::InKernel, keep::Keeper};
use crate::config::DnsConfig;

/// The area, and what serves.
///
/// # Errors
/// When the cluster's domain has no room for names.
pub fn build(
    config: &DnsConfig,
    run_dir: &Path,
    heartbeat: Heartbeat,
    metrics: &Arc<DnsMetrics>,
) -> Result<(Dns, Serving)> {
    let domain = Name::parse(&config.domain).context("clusterDomain is no name")?;
    let settings = Settings { service: config.service.clone(), ..Settings::of_domain(domain) };
    let (keeper, kept) = Keeper::open(run_dir, &settings);
    let zones = Zones::new(settings).context("clusterDomain is too long")?;
    // What an earlier daemon knew is answered at once, where that one did.
    let (snapshot, addresses, sources) = match kept {
        Some(kept) => (kept.snapshot, kept.place.addresses, kept.place.sources),
        None => (zones.snapshot().clone(), Vec::new(), Vec::new()),
    };
    metrics.zone_stale(snapshot.stale());
    let published = Arc::new(ArcSwap::from_pointee(snapshot));
    let wanted = Wanted { service: config.service.clone(), addresses, sources };
    let (wanted, to_serve) = watch::channel(wanted);
    let problems = Arc::new(Mutex::default());
    let serving = Serving {
        config: config.clone(),
        zones: Arc::clone(&published),
        forwarder: Arc::new(Forwarder::new(ForwardSettings::default(), Arc::clone(metrics))),
        metrics: Arc::clone(metrics),
        wanted: to_serve,
        problems: Arc::clone(&problems),
        keeper,
        heart: InKernel(heartbeat),
    };
    Ok((Dns::new(zones, published, wanted, problems, Arc::clone(metrics)), serving))
}
