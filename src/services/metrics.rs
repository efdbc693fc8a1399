//! The numbers of Services.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, IntGaugeVec};
use towpath_image::{Batch, ServiceOp};
use towpath_model::Changes;

use crate::{
    api::MapReply,
    metrics::{Error, Registry, number},
};

/// kube-proxy's range, which ends at five minutes, and what is below its smallest bucket.
const PROGRAMMING_BUCKETS: [f64; 20] = [
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0,
    60.0, 120.0, 180.0, 300.0,
];

/// What is counted of Services.
#[derive(Debug)]
pub struct ServiceMetrics {
    sync_duration: Histogram,
    programming: Histogram,
    last_sync: Gauge,
    last_queued: Gauge,
    endpoint_changes: IntCounter,
    endpoint_changes_pending: IntGauge,
    service_changes: IntCounter,
    service_changes_pending: IntGauge,
    pub(super) no_local: IntGaugeVec,
    change_latency: Histogram,
    kernel_writes: IntCounter,
    kernel_write_errors: IntCounter,
    pub(super) services: IntGauge,
    pub(super) services_failed: IntGauge,
    map_entries: IntGaugeVec,
    map_max_entries: IntGaugeVec,
    pub(super) verdicts: IntGaugeVec,
    pub(super) choices_evicted: IntGauge,
    pub(super) unknown_port: IntGauge,
    pub(super) untracked: IntGauge,
    stale_udp_ended: IntCounter,
    pub(super) stale_udp: IntGauge,
}

impl ServiceMetrics {
    /// How full maps are.
    pub fn maps(&self, maps: &[MapReply]) {
        for map in maps {
            self.map_entries.with_label_values(&[map.name.as_str()]).set(number(map.entries));
            self.map_max_entries.with_label_values(&[map.name.as_str()]).set(number(map.capacity));
        }
    }

    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            sync_duration: r.histogram(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "Time to bring the kernel up to date",
            )?,
            programming: r.histogram_in(
                "kubeproxy_network_programming_duration_seconds",
                "From the change of a Pod or Service that the slice's annotation names to the kernel",
                &PROGRAMMING_BUCKETS,
            )?,
            last_sync: r.seconds(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When the kernel last was brought up to date",
            )?,
            last_queued: r.seconds(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a change was last received",
            )?,
            endpoint_changes_pending: r.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Changes of EndpointSlices received and not yet in the kernel",
            )?,
            service_changes_pending: r.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Changes of Services received and not yet in the kernel",
            )?,
            endpoint_changes: r.counter(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "Changes of EndpointSlices",
            )?,
            service_changes: r.counter(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "Changes of Services",
            )?,
            no_local: r.gauges(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Services with a Local policy and no local endpoint",
                "traffic_policy",
            )?,
            change_latency: r.histogram(
                "towpath_change_latency_seconds",
                "From the receipt of a change to the kernel",
            )?,
            kernel_writes: r.counter("towpath_kernel_writes_total", "Operations on kernel maps")?,
            kernel_write_errors: r
                .counter("towpath_kernel_write_errors_total", "Batches that stopped early")?,
            services: r.gauge("towpath_services", "Services routed")?,
            services_failed: r.gauge(
                "towpath_services_failed",
                "Services whose last change is not in the kernel",
            )?,
            map_entries: r.gauges("towpath_bpf_map_entries", "Elements in use", "map")?,
            map_max_entries: r.gauges("towpath_bpf_map_max_entries", "Elements at most", "map")?,
            verdicts: r.gauges(
                "towpath_socket_verdicts",
                "Flows by what became of them, over the Services that exist",
                "verdict",
            )?,
            choices_evicted: r
                .gauge("towpath_choices_evicted", "Choices of live unconnected sockets pushed out")?,
            unknown_port: r.gauge(
                "towpath_unknown_port_refusals",
                "Connections and datagrams refused because a clusterIP has no such port",
            )?,
            untracked: r.gauge(
                "towpath_untracked_sockets",
                "Sockets that were translated but see the endpoint's address: no memory for a record",
            )?,
            stale_udp_ended: r.counter(
                "towpath_stale_udp_sockets_ended_total",
                "Connected UDP sockets of the host ended because their endpoint is gone",
            )?,
            stale_udp: r.gauge(
                "towpath_stale_udp_sockets",
                "Connected UDP sockets inside pods whose endpoint is gone, at most: a socket that \
                 was closed since counts until its record is displaced",
            )?,
        })
    }

    pub(super) fn wrote(&self, batch: &Batch<ServiceOp>, took: Duration, at: SystemTime) {
        self.sync_duration.observe(took.as_secs_f64());
        self.kernel_writes.inc_by(batch.ops.len() as u64);
        self.last_sync.set(seconds(at));
    }

    pub(super) fn stale_udp_ended(&self, sockets: u64) {
        self.stale_udp_ended.inc_by(sockets);
    }

    pub(super) fn write_failed(&self) {
        self.kernel_write_errors.inc();
    }

    /// Changes came in.
    pub(super) fn heard(&self, changes: &Changes, at: SystemTime) {
        self.service_changes_pending.add(number(changes.services.len() as u64));
        self.endpoint_changes_pending.add(number(changes.slices.len() as u64));
        self.last_queued.set(seconds(at));
    }

    /// What came in was planned.
    pub(super) fn changed(&self, services: usize, slices: usize) {
        self.service_changes.inc_by(services as u64);
        self.endpoint_changes.inc_by(slices as u64);
    }

    /// Everything that came in is in the kernel.
    pub(super) fn nothing_waits(&self) {
        self.service_changes_pending.set(0);
        self.endpoint_changes_pending.set(0);
    }

    /// A change is in the kernel, so long after it was received.
    pub(super) fn in_force(&self, took: Duration) {
        self.change_latency.observe(took.as_secs_f64());
    }

    /// A change is in the kernel, so many seconds after it was made.
    pub(super) fn programmed(&self, seconds: f64) {
        self.programming.observe(seconds);
    }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
