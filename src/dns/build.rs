//! Makes the area out of the configuration, and what serves its snapshot.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use tokio::sync::watch;
use towpath_dns::{DnsMetrics, ForwardSettings, Forwarder};
use towpath_zone::{Name, Settings, Zones};

use super::{Dns, Serving, area::Wanted};
use crate::config::DnsConfig;

/// The area, and what serves.
///
/// # Errors
/// When the cluster's domain has no room for names.
pub fn build(config: &DnsConfig, metrics: &Arc<DnsMetrics>) -> Result<(Dns, Serving)> {
    let domain = Name::parse(&config.domain).context("clusterDomain is no name")?;
    let settings = Settings { service: config.service.clone(), ..Settings::of_domain(domain) };
    let zones = Zones::new(settings).context("clusterDomain is too long")?;
    let published = Arc::new(ArcSwap::from_pointee(zones.snapshot().clone()));
    let wanted =
        Wanted { service: config.service.clone(), addresses: Vec::new(), sources: Vec::new() };
    let (wanted, to_serve) = watch::channel(wanted);
    let problems = Arc::new(Mutex::default());
    let serving = Serving {
        config: config.clone(),
        zones: Arc::clone(&published),
        forwarder: Arc::new(Forwarder::new(ForwardSettings::default(), Arc::clone(metrics))),
        metrics: Arc::clone(metrics),
        wanted: to_serve,
        problems: Arc::clone(&problems),
    };
    Ok((Dns::new(zones, published, wanted, problems), serving))
}
