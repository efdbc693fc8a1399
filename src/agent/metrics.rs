//! The registry of the daemon: every part's metrics together.

use std::sync::Arc;

use prometheus::IntGauge;

use crate::{
    admin::AdminMetrics,
    dns::DnsMetrics,
    ingress::IngressMetrics,
    metrics::{Error, Registry},
    packets::PacketMetrics,
    policy::PolicyMetrics,
    reconcile::LoopMetrics,
    report::ReportMetrics,
    services::ServiceMetrics,
    source::SourceMetrics,
};

/// Every part's, in one registry.
pub(super) struct Metrics {
    pub(super) registry: Arc<Registry>,
    pub(super) admin: AdminMetrics,
    pub(super) reconcile: Arc<LoopMetrics>,
    pub(super) source: SourceMetrics,
    pub(super) services: Arc<ServiceMetrics>,
    pub(super) dns: Arc<DnsMetrics>,
    pub(super) packets: Arc<PacketMetrics>,
    pub(super) policy: Arc<PolicyMetrics>,
    pub(super) ingress: Arc<IngressMetrics>,
    pub(super) report: Arc<ReportMetrics>,
    pub(super) problems: IntGauge,
}

impl Metrics {
    /// All of them, at zero.
    pub(super) fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        Ok(Self {
            admin: AdminMetrics::new(&registry)?,
            reconcile: Arc::new(LoopMetrics::new(&registry)?),
            source: SourceMetrics::new(&registry)?,
            services: Arc::new(ServiceMetrics::new(&registry)?),
            dns: Arc::new(DnsMetrics::new(&registry)?),
            packets: Arc::new(PacketMetrics::new(&registry)?),
            policy: Arc::new(PolicyMetrics::new(&registry)?),
            ingress: Arc::new(IngressMetrics::new(&registry)?),
            report: Arc::new(ReportMetrics::new(&registry)?),
            problems: registry.gauge("towpath_problems", "Problems of objects")?,
            registry: Arc::new(registry),
        })
    }
}

/// Names of all metrics of the daemon, sorted.
///
/// # Errors
/// When two metrics have one name.
pub fn metric_names() -> Result<Vec<String>, Error> {
    Ok(Metrics::new()?.registry.names())
}
